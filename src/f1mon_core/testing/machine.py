"""Any sequence of verbs over any number of handles, against the model."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from f1mon_core.errors import F1monError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import (
    KINDS,
    Acknowledgement,
    Alert,
    Fact,
    Outcome,
    Prediction,
    RuleRevision,
)
from f1mon_core.records.times import MICROSECOND
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing import strategies
from f1mon_core.testing.facts import HOUR, NOON
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.location import Place
from f1mon_core.testing.model import Model, Refused, disagreement, written
from f1mon_core.testing.writing import Interrupted, Writing, carry, meeting

IDS = ("a", "A", "a ", "b", "ä")
"""Few, so that facts repeat, conflict and meet."""

MODELS = ("m", "M")
KEYS = ("k", "K", "k/1", "k%", "incident")
MOST_HANDLES = 3

SEGMENTS: dict[str, tuple[Any, ...]] = {"country": ("DE", "de", 1, "1", True), "tier": (0, 1, "")}

_times = st.none() | strategies.near(NOON)
_ids = st.sampled_from(IDS)
_small = st.sampled_from([0, 1, 1, "1", True])
_segments = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SEGMENTS.items()})

_predictions = st.builds(
    Prediction,
    prediction_id=_ids,
    model_version=st.sampled_from(MODELS),
    predicted_outcome=_small,
    confidence=st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.7, 1.0]),
    features=st.sampled_from([{}, {}, {"x": 1}, {"x": 1.0}, {"x": True}]),
    segments=st.just({}) | _segments,
    at=_times,
)
_outcomes = st.builds(Outcome, prediction_id=_ids, actual_outcome=_small, at=_times)
_alerts = st.builds(
    Alert,
    alert_id=_ids,
    severity=st.sampled_from(["info", "critical"]),
    title=st.just("t"),
    message=st.just(""),
    metric_name=st.just("accuracy"),
    component=st.just("model"),
    model_version=st.sampled_from(MODELS),
    rule_id=st.sampled_from([None, "r"]),
    at=_times,
)
_acknowledgements = st.builds(Acknowledgement, alert_id=_ids, by=st.sampled_from([None, "ada", "bob"]), at=_times)
_revisions = st.builds(RuleRevision, rule_id=_ids, revision=st.sampled_from([1, 2, 10]), at=_times)
_facts = st.one_of(_predictions, _outcomes, _predictions, _outcomes, _alerts, _acknowledgements, _revisions)
_batches = st.lists(_facts, max_size=6)
_few = st.lists(_facts, max_size=2)

_days = [NOON.replace(hour=0) + timedelta(days=number) for number in (-1, 0, 1)]
_edges = st.none() | strategies.near(NOON) | st.sampled_from(_days)
_where: dict[str, dict[str, tuple[Any, ...]]] = {
    "prediction": {"prediction_id": IDS, "model_version": MODELS, "predicted_outcome": (0, 1, "1", True)},
    "outcome": {"prediction_id": IDS, "actual_outcome": (0, 1, False, "1")},
    "alert": {"alert_id": IDS, "severity": ("info", "critical"), "rule_id": (None, "r")},
    "acknowledgement": {"alert_id": IDS, "by": (None, "ada")},
    "rule_revision": {"rule_id": IDS, "revision": (1, 10)},
}
_others = st.sampled_from([None, None, None, None, "outcome", "prediction", "acknowledgement", "alert"])


@st.composite
def selects(draw: st.DrawFn, *, whole: bool = False) -> Select:
    """Any question about the facts the machine appends; `whole`: without limit or cursor."""
    kind = draw(st.sampled_from(sorted(_where)))
    named = draw(st.lists(st.sampled_from(sorted(_where[kind])), max_size=2, unique=True))
    return Select(
        kind,
        since=draw(_edges),
        until=draw(_edges),
        model_version=draw(st.sampled_from([None, None, *MODELS])) if kind in {"prediction", "alert"} else None,
        where={name: draw(strategies.one_of_values(_where[kind][name])) for name in named},
        lacking=draw(_others),
        having=draw(_others),
        descending=draw(st.booleans()),
        limit=None if whole else draw(st.sampled_from([None, None, 0, 1, 3])),
    )


_queries = st.builds(
    TallyQuery,
    model_version=st.sampled_from([None, *MODELS]),
    since=_edges,
    until=_edges,
    basis=st.sampled_from(["prediction", "outcome"]),
    as_of=st.none() | _edges,
    as_recorded=st.none() | _edges,
    bins=st.sampled_from([10, 10, 3, 1, 100, "exact"]),
    bucket=st.sampled_from([None, None, HOUR, timedelta(days=1), timedelta(minutes=7), timedelta(weeks=1)]),
    delay=st.sampled_from([None, None, None, HOUR, MICROSECOND]),
    by=st.sampled_from([(), (), ("country",), ("tier",), ("country", "tier"), ("nothing",)]),
    where=st.just({})
    | st.just({})
    | st.fixed_dictionaries(
        {}, optional={name: strategies.one_of_values((*SEGMENTS[name], None)) for name in SEGMENTS}
    ),
)


AT_A_STRETCH = 1_000
"""The most sequences of one search, for Hypothesis remembers every draw of it: 0.4 MB a sequence of 50 verbs."""


class Machine(RuleBasedStateMachine):
    """One store under several handles, and the model of it; a subclass names the contract it runs for."""

    laws: Laws

    def __init__(self) -> None:
        super().__init__()
        self._opened = ExitStack()
        self.place: Place = self._opened.enter_context(self.laws.place())
        self.handles: list[Storage] = [self.place.open()]
        self.model = Model()
        self.operations = 0
        self.met = False
        self.carried = False

    def teardown(self) -> None:
        """Compare all there is, in the end."""
        try:
            for store in self.handles:
                self._compare_all(store)
        finally:
            self._opened.close()

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self.place.clock()

    def handle(self, number: int) -> Storage:
        """One of the open handles."""
        return self.handles[number % len(self.handles)]

    # Writing --------------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 2), batch=_batches)
    def append(self, number: int, batch: list[Fact]) -> None:
        self._append(number, batch)

    @precondition(lambda self: self.model.facts)
    @rule(number=st.integers(0, 2), data=st.data())
    def append_again(self, number: int, data: st.DataObject) -> None:
        self._append(number, data.draw(st.lists(st.sampled_from(self.model.facts), max_size=3)))

    def _append(self, number: int, batch: list[Fact]) -> None:
        try:
            wanted = self.model.append(batch, self.now)
        except Refused as refused:
            self._assert_refused(refused, lambda: self.handle(number).append(batch))
        else:
            assert self.handle(number).append(batch) == wanted

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), delete=st.booleans(), due=_edges)
    def count(self, number: int, key: str, delete: bool, due: datetime | None) -> None:
        def step(document: Any, now: datetime) -> Change:
            seen = 1 + (document or {}).get("n", 0)
            settled: dict[str, Any] = {"n": seen, "at": now.isoformat()}
            if due is not None:
                settled["due"] = (due - datetime.fromtimestamp(0, due.tzinfo)) // MICROSECOND
            return Change(None if delete and seen > 1 else settled, result=[seen, now.isoformat()])

        self._transition(number, key, step)

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), batch=_batches, also=st.sampled_from(KEYS))
    def fire(self, number: int, key: str, batch: list[Fact], also: str) -> None:
        holds: Any = [fact.key[0] for fact in batch if isinstance(fact, Alert)]

        def step(document: Any, _: datetime) -> Change:
            others: dict[str, Document] = {} if also == key else {also: {"by": key}}
            return Change({"n": 0, "holds": holds, "before": document}, batch, others, result=len(batch))

        self._transition(number, key, step)

    def _transition(self, number: int, key: str, step: Any) -> None:
        operation_id = f"op-{self.operations}"
        self.operations += 1
        try:
            wanted = self.model.transition(key, step, operation_id, self.now)
        except Refused as refused:
            store = self.handle(number)
            self._assert_refused(refused, lambda: store.transition(key, step, operation_id=operation_id))
        else:
            assert self.handle(number).transition(key, step, operation_id=operation_id) == wanted

    @precondition(lambda self: self.model.answered)
    @rule(number=st.integers(0, 2), data=st.data())
    def repeat_an_operation(self, number: int, data: st.DataObject) -> None:
        key, operation_id = data.draw(st.sampled_from(sorted(self.model.answered)))

        def never(_: Any, __: datetime) -> Change:
            raise AssertionError("a repeated operation must not be stepped again")

        answer = self.handle(number).transition(key, never, operation_id=operation_id)
        assert answer == self.model.answered[key, operation_id]

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS))
    def fail_in_a_step(self, number: int, key: str) -> None:
        def step(_: Any, __: datetime) -> Change:
            raise Interrupted

        try:
            self.handle(number).transition(key, step, operation_id="never-done")
        except Interrupted:
            return
        raise AssertionError("the exception of a step did not come out of its transition")

    @precondition(lambda self: self.place.record.shared and not self.met)
    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), batches=st.tuples(_few, _few), appends=st.booleans())
    def write_at_once(self, number: int, key: str, batches: tuple[list[Fact], list[Fact]], appends: bool) -> None:
        self.met = True  # once in a sequence: it takes its time
        if len(self.handles) == 1:
            self.handles.append(self.place.open())
        first, second = (Writing(batch, key, f"op-{self.operations + turn}") for turn, batch in enumerate(batches))
        if appends:
            second = attrs.evolve(second, key=None)
        self.operations += 2
        met = meeting((first, self.handle(number)), (second, self.handle(number + 1)))
        answers = {first.operation_id: met[0], second.operation_id: met[1]}
        left = [_contents(store) for store in self.handles]
        for turns in ((first, second), (second, first)):
            model = copy.deepcopy(self.model)
            wanted = {one.operation_id: one.to_model(model, self.now) for one in turns}
            agreed = all(_is_answer(answers[name], wanted[name]) for name in wanted)
            if agreed and all(one == _contents(model) for one in left):
                self.model = model
                return
        raise AssertionError(f"answered {answers!r} and left {left[0]!r}, which the two come to in neither order")

    @rule(
        number=st.integers(0, 2),
        back=st.sampled_from([0, 1, 30, 61, 600, 1900]),
        keep=st.lists(st.sampled_from(["alert", "acknowledgement", "prediction"]), max_size=1),
    )
    def prune(self, number: int, back: int, keep: list[str]) -> None:
        before = self.now - timedelta(minutes=back)
        wanted = self.model.prune(before, keep)
        assert dict(self.handle(number).prune(before, keep).removed) == wanted

    @precondition(lambda self: not self.carried)
    @rule(number=st.integers(0, 2))
    def carry_away(self, number: int) -> None:
        self.carried = True  # once in a sequence, which goes on in the other place
        now, source = self.now, self.handle(number)
        self.place = self._opened.enter_context(self.laws.place())
        self.place.clock.set(now)
        self.handles = [self.place.open()]
        carry(source, self.handles[0])

    @rule(minutes=st.sampled_from([0, 1, 59, 60, 61, 24 * 60 - 1]))
    def let_time_pass(self, minutes: int) -> None:
        if self.now < NOON + timedelta(hours=20):  # operations are remembered for a day
            self.place.clock.advance(timedelta(minutes=minutes % 600, microseconds=1))

    # Handles --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.place.record.shared and len(self.handles) < MOST_HANDLES)
    @rule()
    def open_another_handle(self) -> None:
        self.handles.append(self.place.open())

    @precondition(lambda self: len(self.handles) > 1)
    @rule(number=st.integers(0, 2))
    def close_a_handle(self, number: int) -> None:
        store = self.handle(number)
        self.handles.remove(store)
        self.place.release(store)

    @precondition(lambda self: self.place.record.durable)
    @rule()
    def reopen(self) -> None:
        for store in self.handles:
            self.place.release(store)
        self.handles = [self.place.open()]

    # Asking ---------------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 2), kind=st.sampled_from(sorted(_where)))
    def list_all(self, number: int, kind: str) -> None:
        # The same question of the same handle again and again: what it once read must not be what it answers.
        self.find(number, Select(kind))

    @rule(number=st.integers(0, 2), select=selects())
    def find(self, number: int, select: Select) -> None:
        found = self.handle(number).find(select)
        assert [written(one) for one in found] == [written(one) for one in self.model.find(select)]

    @rule(number=st.integers(0, 2), select=selects(whole=True), size=st.sampled_from([1, 2, 5]))
    def page(self, number: int, select: Select, size: int) -> None:
        found: list[str] = []
        after = None
        while page := self.handle(number).find(_paged(select, size, after)):
            assert page[-1].cursor != after, "paging does not go on"
            found += [written(one) for one in page]
            after = page[-1].cursor
        assert found == [written(one) for one in self.model.find(select)]

    @rule(number=st.integers(0, 2), select=selects(whole=True), data=st.data())
    def count_facts(self, number: int, select: Select, data: st.DataObject) -> None:
        names = sorted({*KINDS[select.kind].attributes, *KINDS[select.kind].key_fields} - {"at"})
        by = data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
        counted = self.handle(number).count(select, by)
        assert _typed(counted) == _typed(self.model.count(select, by))

    @rule(number=st.integers(0, 2), query=_queries)
    def tally(self, number: int, query: TallyQuery) -> None:
        try:
            wanted = self.model.tally(query)
        except Refused as refused:
            self._assert_refused(refused, lambda: self.handle(number).tally(query))
        else:
            assert disagreement(self.handle(number).tally(query), wanted) is None

    @rule(
        number=st.integers(0, 2),
        prefix=st.sampled_from(["", "k", "k/", "k%", "K", "z"]),
        due_before=_edges,
        limit=st.sampled_from([None, None, 0, 1, 2]),
        after=st.sampled_from([None, None, "k", "K"]),
    )
    def state(
        self, number: int, prefix: str, due_before: datetime | None, limit: int | None, after: str | None
    ) -> None:
        found = self.handle(number).state(prefix, due_before=due_before, limit=limit, after=after)
        wanted = self.model.state(prefix, due_before, limit, after)
        assert list(found.items()) == list(wanted.items())

    def _compare_all(self, store: Storage) -> None:
        assert _contents(store) == _contents(self.model)
        report = store.check()
        assert report.ok, report.problems
        counted = {kind: n for kind, n in report.facts.items() if n and kind not in strategies.OF_STORES}
        assert counted == {kind: n for kind in _where if (n := len(self.model.find(Select(kind))))}

    @staticmethod
    def _assert_refused(refused: Refused, call: Any) -> None:
        answer: Any
        try:
            answer = call()
        except F1monError as error:
            answer = error
        assert _is_answer(answer, refused), f"answered {answer!r} where {refused.reasons} is due"


def _is_answer(answer: Any, wanted: Any) -> bool:
    return type(answer) in wanted.reasons if isinstance(wanted, Refused) else answer == wanted


def _contents(asked: Storage | Model) -> dict[str, Any]:
    """All that a store, or the model, holds."""
    listed = {kind: [written(one) for one in asked.find(Select(kind))] for kind in _where}
    return {**listed, "state": dict(asked.state(""))}


def _paged(select: Select, size: int, after: Any) -> Select:
    return Select(
        select.kind,
        select.since,
        select.until,
        select.model_version,
        select.where,
        select.lacking,
        select.having,
        select.descending,
        size,
        after,
    )


def _typed(counted: Any) -> dict[str, int]:
    return {repr(group): n for group, n in counted.items()}


def run_machine(laws: Laws, examples: int, steps: int, *, derandomize: bool, shrink: bool) -> None:
    """Search for a sequence of verbs on which a store and the model disagree; raises with the shortest found.

    Args:
        laws: The contract whose places are tried.
        examples: How many sequences.
        steps: The most verbs in one.
        derandomize: Try the same sequences in every run.
        shrink: Look for a shorter sequence once one is found, for minutes on a slow store.
    """
    for begun in range(0, max(examples, 1), AT_A_STRETCH):  # Hypothesis refuses to try none
        machine = type("MachineOfAStore", (Machine,), {"laws": laws})
        if derandomize and begun:
            machine = seed(begun)(machine)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=min(AT_A_STRETCH, examples - begun),
                stateful_step_count=steps,
                derandomize=derandomize,
                database=None,
                deadline=None,
                print_blob=False,
                phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])],
                suppress_health_check=list(HealthCheck),
            ),
        )
