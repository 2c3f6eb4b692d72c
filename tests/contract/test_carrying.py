"""Every store carried into every other one: what a copy tells of itself is what its source tells, record by record."""

import itertools
import json
from contextlib import contextmanager, nullcontext

import pytest

from f1mon_core.storage.contract import Appended
from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.facts import HOUR, NOON, SECOND, alert, outcome, prediction
from f1mon_core.testing.laws.prune import OLD, PRUNED_BEFORE, season
from f1mon_core.testing.laws.transition import put
from f1mon_core.testing.location import Location, Place
from f1mon_core.testing.writing import carry

from ..servers import ready

SERVERS = ("postgresql", "mysql")
PAIRS = [
    pytest.param(*pair, id=" into ".join(pair), marks=pytest.mark.servers if {*pair} & {*SERVERS} else ())
    for pair in itertools.product(("memory", "jsonl", "sqlite", *SERVERS), repeat=2)
]


@contextmanager
def opened(store, directory):
    """A store in a fresh place, with its clock."""
    directory.mkdir()
    with nullcontext() if store in ("memory", "jsonl") else ready(store) as url:
        options = {"memory": {}, "jsonl": {"path": f"{directory}/store"}}.get(store, {"url": url})
        location = Location(store if store in ("memory", "jsonl") else "sql", **options)
        place = Place(location, "sync", SharedClock.made(directory / "clock", NOON))
        try:
            yield place.open(), place.clock
        finally:
            place.close()


def fill(store, clock):
    """Facts of several instants and of every type of label, operations, documents, and two prunes that leave some."""
    facts = season()[::9]
    store.append(facts[::2])
    clock.advance(HOUR + SECOND)
    store.append(facts[1::2])
    store.append(
        prediction(f"x-{label!r}", predicted_outcome=label, segments={"s": label}) for label in (2**63 - 1, "é")
    )
    store.append(
        [outcome("x-'é'", -(2**63)), outcome("early", "1"), prediction("stamped", at=None, features={"ä": [1.0]})]
    )
    store.append([alert("held", at=OLD), alert("goes", at=OLD), alert("stays", at=None)])
    store.transition("incident/ä", put({"holds": ["held"], "due": 1}, result=[1, 1.0, None]), operation_id="open")
    store.transition("gone", put(None, also={"a": {"n": 2**53}, "A": {}}), operation_id="ö")
    store.prune(PRUNED_BEFORE - 20 * HOUR)
    store.prune(PRUNED_BEFORE, keep=["alert"])


def told(store):
    """All records that a store tells, but for which store it is."""
    records, after = [], None
    while True:
        page = store.dump(after)
        records += [{name: one for name, one in record.items() if name != "store"} for record in page.records]
        after = page.after
        if after is None:
            return sorted(json.dumps(record, sort_keys=True) for record in records)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_copy_tells_what_its_source_tells(source, target, tmp_path):
    with opened(source, tmp_path / "source") as (one, clock), opened(target, tmp_path / "target") as (other, elsewhere):
        fill(one, clock)
        elsewhere.set(clock())
        carry(one, other)
        everything = told(one)
        assert told(other) == everything
        facts = sum('"record": "fact"' in record for record in everything)
        assert carry(one, other) == Appended(0, facts)
        assert told(other) == everything
        one.append([prediction("new"), outcome("p-60", 1)])
        one.transition("gone", put({"n": 1}), operation_id="again")
        one.prune(PRUNED_BEFORE + 9 * HOUR)
        carry(one, other)
        assert told(other) == told(one)
        assert other.check().ok
