"""Whatever is done to a directory of files, through either of two handles, it answers as the memory store does."""

import json
import math
import tempfile
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from f1mon_core.errors import F1monError
from f1mon_core.records.kinds import (
    KINDS,
    Acknowledgement,
    Alert,
    Cursor,
    Outcome,
    Prediction,
    key_text,
)
from f1mon_core.storage import dumping
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery, bin_of
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.index import cells
from f1mon_jsonl.journal import loading
from f1mon_jsonl.verbs import dump

START = datetime(2026, 5, 1, tzinfo=UTC)

minutes = st.integers(0, 60 * 5)
instants = minutes.map(lambda number: START + timedelta(minutes=number))
maybe_instants = st.none() | instants
ids = st.sampled_from(["a", "b", "c", "d", "é", "zz", *"0123456789"])
models = st.sampled_from(["m", "n"])
confidences = st.sampled_from([0.0, 0.29, 0.3, 0.5, 0.7000000000000001, 0.75, 1.0]) | st.floats(0, 1)
labels = st.sampled_from([0, 1, "1", "é"])
values = st.sampled_from([0, 1, "1", "", "de"])
segments = st.dictionaries(st.sampled_from(["c", "t"]), values, max_size=2)
predictions = st.builds(
    Prediction,
    prediction_id=ids,
    model_version=models,
    predicted_outcome=labels,
    confidence=confidences,
    features=st.dictionaries(st.text("xyé\U0001f3ce", max_size=2), st.floats(-1, 1), max_size=2),
    segments=segments,
    at=maybe_instants,
)
outcomes = st.builds(Outcome, prediction_id=ids, actual_outcome=labels, at=maybe_instants)
alerts = st.builds(
    Alert,
    alert_id=ids,
    severity=st.sampled_from(["info", "warning"]),
    title=st.just("t"),
    message=st.just("m"),
    metric_name=st.just("accuracy"),
    component=st.just("model"),
    model_version=models,
    at=maybe_instants,
)
acknowledgements = st.builds(Acknowledgement, alert_id=ids, by=st.sampled_from(["ann", "bob", None]))
facts = st.lists(predictions | outcomes | alerts | acknowledgements, max_size=4) | st.lists(
    predictions, max_size=12, unique_by=lambda fact: fact.key
)
queries = st.builds(
    TallyQuery,
    model_version=st.none() | models,
    since=maybe_instants,
    until=maybe_instants,
    basis=st.sampled_from(["prediction", "outcome"]),
    as_of=maybe_instants,
    as_recorded=maybe_instants,
    bins=st.sampled_from([1, 3, 10, 100, "exact"]),
    bucket=st.sampled_from([None, timedelta(minutes=7), timedelta(hours=1)]),
    delay=st.sampled_from([None, timedelta(minutes=10)]),
    by=st.sampled_from([(), (), ("c",), ("t", "c"), ("unheard of",)]),
    where=st.just({}) | st.dictionaries(st.sampled_from(["c", "t"]), st.none() | values | st.lists(st.none() | values)),
)
kept_queries = st.builds(
    TallyQuery,
    model_version=st.none() | models,
    since=st.none() | st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours)),
    basis=st.sampled_from(["prediction", "outcome"]),
    bucket=st.sampled_from([None, timedelta(hours=1)]),
) | st.builds(
    TallyQuery,
    basis=st.sampled_from(["prediction", "outcome"]),
    bucket=st.sampled_from([None, timedelta(days=1)]),
    by=st.sampled_from([("c",), ("t",)]),
)
"""Queries that are answered behind a prune too."""


@st.composite
def cursors(draw: st.DrawFn, kind: str) -> Cursor:
    """Places in a listing, most of them of no fact."""
    at = draw(instants)
    return Cursor(at, tuple(key_text(at) if name == "at" else draw(ids) for name in KINDS[kind].key_fields))


selects = st.one_of(
    *(
        st.builds(
            Select,
            kind=st.just(kind),
            since=maybe_instants,
            until=maybe_instants,
            where=st.fixed_dictionaries({}, optional=where),
            having=st.none() | st.sampled_from(["outcome", "acknowledgement", "alert", "prediction"]),
            lacking=st.none() | st.sampled_from(["outcome", "acknowledgement", "alert", "prediction"]),
            descending=st.booleans(),
            limit=st.none() | st.integers(0, 3),
            after=st.none() | cursors(kind),
        )
        for kind, where in (
            (
                "prediction",
                {
                    "prediction_id": ids,
                    "model_version": models | st.lists(models),
                    "predicted_outcome": st.just(True) | labels,
                },
            ),
            ("outcome", {"prediction_id": ids | st.lists(ids), "actual_outcome": labels | st.lists(labels)}),
            ("kept_tally", {"model_version": models}),
            ("kept_cells", {"order": st.sampled_from(["prediction", "outcome"]), "segment": st.none() | st.just("c")}),
            ("alert", {"severity": st.just("info"), "rule_id": st.none(), "alert_id": st.lists(ids)}),
            ("acknowledgement", {"by": st.none() | st.just("ann")}),
        )
    )
)


def answered(call):
    """What a call answers, spelled out where equality is not all; or what it raises."""
    try:
        answer = call()
    except F1monError as error:
        return type(error), str(error)
    return attrs.astuple(answer) if isinstance(answer, Appended) else answer


def dumped(store):
    """All that a store would carry away, but its own id, and however its pages are cut."""
    kinds = {"store", "facts", "documents"}
    return sorted(json.dumps(record, sort_keys=True) for record in pages(store) if record["record"] not in kinds)


def pages(store):
    """The records of all pages of a store."""
    page = store.dump()
    records = [*page.records]
    while page.after is not None:
        page = store.dump(page.after)
        records += page.records
    return records


def agree(expected, got):
    """Whether two answers to a query are the same, up to the rounding of sums."""
    if isinstance(expected, tuple):
        assert got == expected
        return
    assert got.bins == expected.bins
    assert got.cells.keys() == expected.cells.keys()
    for key, cell in expected.cells.items():
        assert got.cells[key][:3] == cell[:3]
        assert got.cells[key][3:] == pytest.approx(cell[3:], rel=1e-12, abs=1e-15)


class LikeMemory(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = START
        self.memory = MemoryStorage(clock=self.clock)
        self.directory = tempfile.TemporaryDirectory()
        self.handles = [self.opened(), self.opened()]
        self.copies = [
            JSONLStorage(f"{self.directory.name}/copy", clock=self.clock, durability="os"),
            MemoryStorage(clock=self.clock),
        ]

    def clock(self):
        return self.now

    def opened(self):
        return JSONLStorage(self.directory.name, clock=self.clock, durability="os")

    def both(self, call, which):
        expected = answered(lambda: call(self.memory))
        got = answered(lambda: call(self.handles[which]))
        assert got == expected

    @rule(minutes=st.integers(-30, 60))
    def time_passes(self, minutes):
        self.now = max(START, self.now + timedelta(minutes=minutes))

    @rule(batch=facts, which=st.integers(0, 1))
    def append(self, batch, which):
        self.both(lambda store: store.append(batch), which)

    @rule(
        key=ids,
        operation_id=st.sampled_from(["1", "2", "3"]),
        state=st.none()
        | st.fixed_dictionaries({}, optional={"due": st.integers(0, 2), "holds": st.lists(ids), "é": st.floats(-1, 1)}),
        also=st.dictionaries(ids, st.fixed_dictionaries({"n": st.integers()}), max_size=2),
        batch=facts,
        which=st.integers(0, 1),
    )
    def transition(self, key, operation_id, state, also, batch, which):
        def step(stored, now):
            return Change(state, batch, also, [stored, now.isoformat()])

        self.both(lambda store: store.transition(key, step, operation_id=operation_id), which)

    @rule(
        before=instants, keep=st.lists(st.sampled_from(["prediction", "alert"]), unique=True), which=st.integers(0, 1)
    )
    def prune(self, before, keep, which):
        self.both(lambda store: store.prune(before, keep), which)

    @rule(which=st.integers(0, 1))
    def compact(self, which):
        self.handles[which].compact()

    @rule(which=st.integers(0, 1))
    def carry(self, which):
        """Page by page into another directory, and into another memory; again, and nothing changes."""
        store, copies = self.handles[which], self.copies
        page = store.dump()
        while page is not None:
            got, expected = (answered(lambda copy=copy, page=page: copy.restore(page.records)) for copy in copies)
            assert got == expected
            if isinstance(expected[0], type):
                return  # an id was used anew after the source pruned it
            page = None if page.after is None else store.dump(page.after)
        everything, found = dumped(store), dumped(copies[0])
        assert found == dumped(copies[1])
        assert not {*everything} - {*found}
        # Of what a source prunes after it was carried, predictions and their outcomes go, and nothing else.
        assert all(json.loads(one)["fact"]["kind"] in {"alert", "acknowledgement"} for one in {*found} - {*everything})
        size = Path(copies[0].path, "journal.jsonl").stat().st_size
        assert copies[0].restore(pages(store)).new == 0
        assert Path(copies[0].path, "journal.jsonl").stat().st_size == size
        assert copies[0].check().ok

    @rule()
    def compact_the_copy(self):
        self.copies[0].compact()

    @rule(query=queries)
    def tally_of_the_copy(self, query):
        got, expected = self.copies
        agree(answered(lambda: expected.tally(query)), answered(lambda: got.tally(query)))

    @rule(which=st.integers(0, 1))
    def reopen(self, which):
        self.handles[which].close()
        self.handles[which] = self.opened()

    @rule(query=queries, which=st.integers(0, 1))
    def tally(self, query, which):
        self.same_tally(query, which)

    @rule(query=kept_queries, which=st.integers(0, 1))
    def tally_behind_a_prune(self, query, which):
        self.same_tally(query, which)

    def same_tally(self, query, which):
        agree(answered(lambda: self.memory.tally(query)), answered(lambda: self.handles[which].tally(query)))

    @rule(select=selects, which=st.integers(0, 1))
    def find(self, select, which):
        self.both(lambda store: store.find(select), which)

    @rule(kind=st.sampled_from(["prediction", "outcome", "alert"]), which=st.integers(0, 1), data=st.data())
    def count(self, kind, which, data):
        by = {
            "prediction": ["model_version", "predicted_outcome", "prediction_id"],
            "outcome": ["actual_outcome", "prediction_id"],
            "alert": ["severity", "rule_id"],
        }
        names = data.draw(st.lists(st.sampled_from(by[kind]), unique=True))
        self.both(lambda store: store.count(Select(kind), names), which)

    @rule(
        prefix=st.sampled_from(["", "a", "z"]),
        due=maybe_instants,
        limit=st.none() | st.integers(0, 3),
        after=st.none() | ids,
        which=st.integers(0, 1),
    )
    def state(self, prefix, due, limit, after, which):
        self.both(lambda store: list(store.state(prefix, due_before=due, limit=limit, after=after).items()), which)

    @invariant()
    def nothing_is_wrong(self):
        report = self.handles[0].check()
        assert report.ok
        assert report.facts == self.memory.check().facts

    def teardown(self):
        for handle in (*self.handles, *self.copies):
            handle.close()
        self.directory.cleanup()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of cells so small that a few predictions fill several of each level; lines long early, short pages."""
    monkeypatch.setattr(cells, "SPANS", (2, 4, 8))
    monkeypatch.setattr(cells, "CROWDED", 0)
    monkeypatch.setattr(loading, "_LONG", 0)
    monkeypatch.setattr(loading, "_MANY", 2)
    monkeypatch.setattr(dump, "page", partial(dumping.page, limit=3))


TestLikeMemory = LikeMemory.TestCase
TestLikeMemory.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_bins_found_by_bisection_are_the_bins_of_core():
    for bins in (1, 2, 3, 7, 10, 100, 10_000):
        edges = [number / bins for number in range(bins)]
        for edge in edges:
            for value in (edge, math.nextafter(edge, 2), max(0.0, math.nextafter(edge, -1))):
                assert bisect_right(edges, value) - 1 == bin_of(value, bins)
