"""Whatever is done to a directory of files, through either of two handles, it answers as the memory store does."""

import math
import tempfile
from bisect import bisect_right
from datetime import UTC, datetime, timedelta

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
from f1mon_core.storage.change import Change
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery, bin_of
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.index import cells
from f1mon_jsonl.journal import loading

START = datetime(2026, 5, 1, tzinfo=UTC)

minutes = st.integers(0, 60 * 5)
instants = minutes.map(lambda number: START + timedelta(minutes=number))
maybe_instants = st.none() | instants
ids = st.sampled_from(["a", "b", "c", "d", "é", "zz", *"0123456789"])
models = st.sampled_from(["m", "n"])
confidences = st.sampled_from([0.0, 0.29, 0.3, 0.5, 0.7000000000000001, 0.75, 1.0]) | st.floats(0, 1)
predictions = st.builds(
    Prediction,
    prediction_id=ids,
    model_version=models,
    predicted_outcome=st.integers(-1, 1),
    confidence=confidences,
    features=st.dictionaries(st.text("xyé\U0001f3ce", max_size=2), st.floats(-1, 1), max_size=2),
    at=maybe_instants,
)
outcomes = st.builds(Outcome, prediction_id=ids, actual_outcome=st.integers(0, 1), at=maybe_instants)
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
    predictions, max_size=12, unique_by=lambda fact: fact.prediction_id
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
)


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
                    "predicted_outcome": st.just(True) | st.integers(0, 1),
                },
            ),
            ("outcome", {"prediction_id": ids | st.lists(ids), "actual_outcome": st.integers(0, 1)}),
            ("alert", {"severity": st.just("info"), "rule_id": st.none(), "alert_id": st.lists(ids)}),
            ("acknowledgement", {"by": st.none() | st.just("ann")}),
        )
    )
)


def answered(call):
    """What a call answers, or the type of what it raises."""
    try:
        return call()
    except F1monError as error:
        return type(error)


class LikeMemory(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = START
        self.memory = MemoryStorage(clock=self.clock)
        self.directory = tempfile.TemporaryDirectory()
        self.handles = [self.opened(), self.opened()]

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
    def reopen(self, which):
        self.handles[which].close()
        self.handles[which] = self.opened()

    @rule(query=queries, which=st.integers(0, 1))
    def tally(self, query, which):
        expected = answered(lambda: self.memory.tally(query))
        got = answered(lambda: self.handles[which].tally(query))
        if isinstance(expected, type):
            assert got == expected
            return
        assert got.bins == expected.bins
        assert got.cells.keys() == expected.cells.keys()
        for key, cell in expected.cells.items():
            assert got.cells[key][:3] == cell[:3]
            assert got.cells[key][3:] == pytest.approx(cell[3:], rel=1e-12, abs=1e-15)

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
        for handle in self.handles:
            handle.close()
        self.directory.cleanup()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of cells so small that a few predictions fill several of each level, and lines that are long early."""
    monkeypatch.setattr(cells, "SPANS", (2, 4, 8))
    monkeypatch.setattr(cells, "CROWDED", 0)
    monkeypatch.setattr(loading, "_LONG", 0)
    monkeypatch.setattr(loading, "_MANY", 2)


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
