"""Stores on the key-value base keep every law, with long keys and with the shortest."""

import tempfile
from contextlib import contextmanager

import f1mon_table
from keyvalue_stores import DICT

from f1mon_core.storage.keyvalue.keys import SHORTEST
from f1mon_core.testing import Location, StorageContract


class TestDict(StorageContract):
    @contextmanager
    def location(self):
        yield Location(DICT, longest_key=SHORTEST)


class TestTable(StorageContract):
    windows = 20
    fresh_rules = 10
    meetings = 60
    kills = 20
    writer_kills = 20

    @contextmanager
    def location(self):
        with tempfile.TemporaryDirectory(prefix="f1mon-table-") as directory:
            yield Location(f1mon_table.backend, path=f"{directory}/store.db")
