"""A store on the key-value base, as plain as can be: sorted keys in a dictionary."""

import threading
from bisect import bisect_left, insort

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


class DictStorage(KeyValueStorage):
    def __init__(self, *, longest_key=None, clock=None):
        super().__init__(address="dict:", clock=clock, longest_key=longest_key)
        self._pairs, self._lock = Pairs(), threading.RLock()
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
