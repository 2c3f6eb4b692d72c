"""A store on the key-value base, as plain as can be: sorted keys in a dictionary."""

import random
import sqlite3
import threading
import time
from bisect import bisect_left, insort
from contextlib import closing

from f1mon_table import Rows, TableStorage

from f1mon_core.errors import NotWritten
from f1mon_core.storage import Backend
from f1mon_core.storage.keyvalue import KeyValueStorage, Staged


class Pairs:
    """Sorted keys in a dictionary."""

    def __init__(self):
        self.values, self.ordered = {}, []

    def get(self, keys):
        return [self.values.get(key) for key in keys]

    def items(self, start, stop, *, reverse=False):
        keys = self.ordered[bisect_left(self.ordered, start) : bisect_left(self.ordered, stop)]
        return ((key, self.values[key]) for key in (reversed(keys) if reverse else keys))

    def put(self, key, value):
        if key not in self.values:
            insort(self.ordered, key)
        self.values[key] = value

    def delete(self, key):
        if self.values.pop(key, None) is not None:
            del self.ordered[bisect_left(self.ordered, key)]

    def changed(self, changes):
        """A copy with changes made to it."""
        copied = Pairs()
        copied.values, copied.ordered = dict(self.values), list(self.ordered)
        for key, value in changes.items():
            if value is None:
                copied.delete(key)
            else:
                copied.put(key, value)
        return copied


class DictStorage(KeyValueStorage):
    def __init__(self, *, longest_key=None, clock=None):
        super().__init__(address="dict:", clock=clock, longest_key=longest_key)
        self._pairs, self._lock, self._version = Pairs(), threading.RLock(), 0
        self.begin()

    def write(self, work):
        with self._lock:
            staged = Staged(self._pairs)
            done = work(staged)
            for key, value in staged.changes.items():
                if value is None:
                    self._pairs.delete(key)
                else:
                    self._pairs.put(key, value)
            return done

    def read(self, work):
        with self._lock:
            return work(self._pairs)


def open_dict(*, longest_key=None, clock=None):
    return DictStorage(longest_key=longest_key, clock=clock)


DICT = Backend(name="dict", open=open_dict, durable=False, shared=False, contract=2)


class OptimisticStorage(DictStorage):
    """Takes no lock for its work: what was committed meanwhile makes it work again, from the beginning."""

    def write(self, work):
        while True:
            with self._lock:
                version, pairs = self._version, self._pairs
            staged = Staged(pairs)
            done = work(staged)
            with self._lock:
                if self._version != version:
                    continue
                self._pairs = pairs.changed(staged.changes)
                self._version += 1
                return done

    def read(self, work):
        with self._lock:
            pairs = self._pairs
        return work(pairs)


def open_optimistic(*, longest_key=None, clock=None):
    return OptimisticStorage(longest_key=longest_key, clock=clock)


OPTIMISTIC = Backend(name="optimistic", open=open_optimistic, durable=False, shared=False, contract=2)


VERSION = b"\0version"


class OptimisticTable(TableStorage):
    """The same over a table and among processes: compares a version in the commit, and begins anew if it is another."""

    def __init__(self, path, clock=None):
        with closing(sqlite3.connect(path, timeout=60)) as db:
            db.execute("PRAGMA journal_mode = WAL")  # else a snapshot keeps commits out
        super().__init__(path, clock)

    def write(self, work):
        while True:
            with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as db:
                db.execute("BEGIN")
                version, staged = Rows(db).get([VERSION]), Staged(Rows(db))
                done = work(staged)
            if self._replaced(version, staged.changes):
                return done
            time.sleep(random.random() / 200)

    def _replaced(self, version, changes):
        try:
            with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                if Rows(db).get([VERSION]) != version:
                    return False
                for key, value in changes.items():
                    if value is None:
                        Rows(db).delete(key)
                    else:
                        Rows(db).put(key, value)
                Rows(db).put(VERSION, str(1 + int(version[0] or 0)).encode())
                self._commit(db)
                return True
        except sqlite3.Error as error:
            raise NotWritten(f"{self.address}: {error}; nothing was written") from error


def open_optimistic_table(*, path, clock=None):
    return OptimisticTable(path, clock)


OPTIMISTIC_TABLE = Backend(name="optimistic-table", open=open_optimistic_table, contract=2)
