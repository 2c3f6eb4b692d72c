"""Stores on the key-value base keep every law, with long keys and with the shortest."""

import tempfile
from contextlib import contextmanager

import f1mon_table
import pytest
from keyvalue_stores import DICT, OPTIMISTIC, OPTIMISTIC_TABLE

from f1mon_core.storage.keyvalue.keys import SHORTEST
from f1mon_core.testing import LAWS, Location, StorageContract, run_law


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


OF_OTHERS = (
    *("clock", "concurrent", "claimer", "threads", "processes", "reader"),
    *("race", "meet", "once", "fork", "step", "sequence"),
)
"""What is in the names of the laws that a store without locks could break; the others are asked of stores above."""


WORDED = [name for name in LAWS if any(word in name for word in OF_OTHERS)]


@pytest.mark.parametrize("law", WORDED)
@pytest.mark.parametrize("colour", ["sync", "offloaded"])
def test_a_store_that_compares_and_begins_anew_keeps_the_laws(law, colour):
    @contextmanager
    def location():
        yield Location(OPTIMISTIC)

    assert run_law(location, law, colour=colour, sequences=10).status != "fail"


@pytest.mark.races
@pytest.mark.parametrize("law", WORDED)
def test_a_shared_store_that_compares_and_begins_anew_keeps_the_laws(law):
    @contextmanager
    def location():
        with tempfile.TemporaryDirectory(prefix="f1mon-optimistic-") as directory:
            yield Location(OPTIMISTIC_TABLE, path=f"{directory}/store.db")

    verdict = run_law(location, law, processes=4, windows=20, fresh_rules=10, meetings=40, items=30, sequences=5)
    assert verdict.status == "pass", verdict.failure
