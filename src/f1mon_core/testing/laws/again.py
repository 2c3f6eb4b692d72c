"""Asked, changed and asked again on one handle; pruned and pruned again; outcomes that come in another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from f1mon_core.errors import ConflictError, PrunedError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import MICROSECOND, to_micros
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended, Pruned, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.laws.prune import OLD, PRUNED_BEFORE
from f1mon_core.testing.laws.transition import put
from f1mon_core.testing.location import Place
from f1mon_core.testing.model import Model, disagreement, written
from f1mon_core.testing.writing import carry

DAY = timedelta(days=1)
LATE = OLD + 60 * HOUR
"""Later than every prediction of `made`, and than `PRUNED_BEFORE`."""

SELECTS = (
    Select("prediction"),
    Select("prediction", since=OLD + HOUR, until=LATE),
    Select("prediction", having="outcome", limit=5),
    Select("prediction", lacking="outcome", descending=True),
    Select("prediction", where={"predicted_outcome": 1}, model_version="m"),
    Select("outcome"),
    Select("outcome", where={"actual_outcome": 0}),
    Select("alert", lacking="acknowledgement"),
    Select("alert", having="acknowledgement", where={"severity": ["warning"]}),
    Select("acknowledgement"),
)
COUNTED = (
    (Select("prediction"), ("model_version",)),
    (Select("prediction", having="outcome"), ()),
    (Select("outcome"), ("actual_outcome",)),
    (Select("alert", lacking="acknowledgement"), ("severity",)),
)
QUERIES = (
    TallyQuery(),
    TallyQuery(since=PRUNED_BEFORE),
    TallyQuery(basis="outcome"),
    TallyQuery(basis="outcome", bucket=HOUR, model_version="m"),
    TallyQuery(by=("tier",), bucket=DAY),
    TallyQuery(where={"tier": 1}),
    TallyQuery(since=LATE - HOUR, as_of=NOON, bins=3, delay=HOUR),
)
STATES: tuple[dict[str, Any], ...] = (
    {"prefix": ""},
    {"prefix": "k", "limit": 2},
    {"prefix": "k", "after": "k1"},
    {"prefix": "", "due_before": NOON},
)


def made(number: int) -> list[Fact]:
    """The facts every question is about: of two models, in segments, half of them labelled."""
    facts: list[Fact] = []
    for one in range(number):
        at = OLD + one * 50 * HOUR / number
        facts.append(prediction(f"p-{one:04d}", model_version="mn"[one % 2], at=at, segments={"tier": one % 3}))
        if one % 2:
            facts.append(outcome(f"p-{one:04d}", one % 4 // 2, at + HOUR))
    return [*facts, *(alert(name, at=PRUNED_BEFORE) for name in "ab"), acknowledgement("a", at=PRUNED_BEFORE)]


class Asked:
    """One handle and the model of it, of which everything is asked before and after each change."""

    def __init__(self, place: Place, number: int = 12) -> None:
        self.place, self.store, self.model = place, place.open(), Model()
        self.append(made(number))
        self.transition("k1", put({"n": 1, "due": to_micros(NOON - HOUR)}))
        self.transition("k2", put({"n": 2, "due": to_micros(NOON + HOUR)}))
        self.agrees("it was filled")

    def append(self, facts: Sequence[Fact]) -> None:
        """To both."""
        now = self.place.clock()
        assert self.store.append(facts) == self.model.append(facts, now)

    def transition(self, key: str, step: Any) -> None:
        """In both, each time another operation."""
        operation_id = f"op-{len(self.model.answered)}"
        now = self.place.clock()
        answer = self.store.transition(key, step, operation_id=operation_id)
        assert answer == self.model.transition(key, step, operation_id, now)

    def agrees(self, after: str) -> None:
        """Ask everything."""
        store, model = self.store, self.model
        for select in SELECTS:
            assert list(map(written, store.find(select))) == list(map(written, model.find(select))), (after, select)
        for select, by in COUNTED:
            assert dict(store.count(select, by)) == model.count(select, by), (after, select)
        for query in QUERIES:
            assert disagreement(store.tally(query), model.tally(query)) is None, (after, query)
        for asked in STATES:
            settled = {"due_before": None, "limit": None, "after": None, **asked}
            assert store.state(**asked) == model.state(**settled), (after, asked)


class AgainLaws(Laws):
    """What a handle answers once something has changed."""

    def _after(self, *changes: tuple[str, Callable[[Asked], Any]], number: int = 12) -> None:
        with self.place() as place:
            asked = Asked(place, number)
            for name, change in changes:
                place.clock.advance(SECOND)
                change(asked)
                asked.agrees(name)

    def test_what_is_asked_again_after_predictions_is_answered_anew(self) -> None:
        self._after(
            ("one more", lambda asked: asked.append([prediction("new", model_version="m", at=LATE)])),
            ("one among the old", lambda asked: asked.append([prediction("old", model_version="n", at=OLD)])),
            ("the same item by another", lambda asked: asked.append([prediction("p-0001", model_version="m", at=OLD)])),
        )

    def test_what_is_asked_again_after_outcomes_and_corrections_is_answered_anew(self) -> None:
        self._after(
            ("a label", lambda asked: asked.append([outcome("p-0000", 1)])),
            ("a label of the past", lambda asked: asked.append([outcome("p-0002", 0, OLD)])),
            ("a correction", lambda asked: asked.append([outcome("p-0001", 1)])),
            ("one before the first", lambda asked: asked.append([outcome("p-0003", 0, OLD)])),
            ("one of nobody's item", lambda asked: asked.append([outcome("nobody", 1, NOON)])),
        )

    def test_what_is_asked_again_after_acknowledgements_is_answered_anew(self) -> None:
        self._after(
            ("another alert", lambda asked: asked.append([alert("c", severity="info")])),
            ("its acknowledgement", lambda asked: asked.append([acknowledgement("b")])),
            ("an early one", lambda asked: asked.append([acknowledgement("c", at=OLD)])),
        )

    def test_what_is_asked_again_after_transitions_is_answered_anew(self) -> None:
        self._after(
            ("another", lambda asked: asked.transition("k3", put({"due": 0}))),
            ("one in between", lambda asked: asked.transition("k11", put({}, also={"k12": {"due": 1}, "k2": {}}))),
            ("a later due", lambda asked: asked.transition("k1", put({"due": to_micros(NOON + HOUR)}))),
            ("one that went", lambda asked: asked.transition("k2", put(None))),
        )

    def test_what_is_asked_again_after_the_facts_of_a_step_is_answered_anew(self) -> None:
        facts: list[Fact] = [prediction("new", model_version="m", at=LATE), outcome("p-0000", 1), acknowledgement("b")]
        self._after(("a step", lambda asked: asked.transition("k9", put({"n": 9}, *facts, alert("d")))))

    def test_what_is_asked_again_after_prunes_is_answered_anew(self) -> None:
        def prune(before: Any, *keep: str) -> Callable[[Asked], None]:
            def change(asked: Asked) -> None:
                pruned = asked.store.prune(before, keep)
                assert dict(pruned.removed) == asked.model.prune(before, keep)

            return change

        self._after(
            ("a prune", prune(OLD + 8 * HOUR)),
            ("a prune that keeps predictions", prune(PRUNED_BEFORE, "prediction")),
            ("a prune of what was kept", prune(PRUNED_BEFORE)),
            ("an earlier one", prune(OLD)),
        )

    def test_what_is_asked_again_after_a_restore_is_answered_anew(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            asked = Asked(elsewhere)
            source, target = asked.store, place.open()
            before = [list(target.find(select)) for select in SELECTS], target.tally(TallyQuery()).count
            assert (before, dict(target.state(""))) == (([[] for _ in SELECTS], 0), {})
            carry(source, target)
            asked.store = target
            asked.agrees("it was carried away")
            later: list[list[Fact]] = [[prediction("new", model_version="m", at=LATE)]]
            later.append([outcome("p-0000", 1), acknowledgement("b")])
            for facts in later:
                asked.store = source
                asked.append(facts)
                asked.transition("k1", put({"n": len(facts)}))
                carry(source, target)
                asked.store = target
                asked.agrees("it was carried again")

    def test_what_is_asked_again_after_what_was_refused_is_what_it_was(self) -> None:
        def refused(asked: Asked) -> None:
            different = prediction("p-0000", model_version="m", at=NOON)
            with pytest.raises(ConflictError):
                asked.store.append([prediction("new", at=LATE), outcome("p-0000", 1), different])
            wrong = put({"n": 7}, outcome("p-0002", 1), alert("a", title="another"), also={"k8": {}})
            with pytest.raises(ConflictError):
                asked.store.transition("k1", wrong, operation_id="refused")

            def broken(document: Document | None, _: Any) -> Change:
                assert document is not None
                document["n"] = 99
                raise LookupError("on purpose")

            with pytest.raises(LookupError):
                asked.store.transition("k1", broken, operation_id="broken")

        def handed_out(asked: Asked) -> None:
            for select in SELECTS:
                found = asked.store.find(select)
                if isinstance(found, list):
                    found.clear()
            for asks in STATES:
                for document in asked.store.state(**asks).values():
                    document.clear()

        self._after(("what was refused", refused), ("what was handed out was emptied", handed_out))

    def test_windows_of_thousands_of_rows_are_answered_anew(self) -> None:
        many = 2_400
        window = {"since": OLD, "until": NOON}
        within, labelled = Select("prediction", **window), Select("prediction", having="outcome", **window)  # type: ignore[arg-type]

        def answers(store: Storage) -> list[Any]:
            cells = store.tally(TallyQuery(**window)).cells  # type: ignore[arg-type]
            by_outcome = store.tally(TallyQuery(basis="outcome", since=NOON)).count
            numbers = [sum(cell.n for key, cell in cells.items() if key.actual == one) for one in (None, 0, 1)]
            found = [len(store.find(within)), store.count(labelled).get((), 0)]
            return [*numbers, by_outcome, *found, store.find(attrs.evolve(within, descending=True, limit=1))[0].key[0]]

        with self.place() as place:
            store = place.open()
            store.append(prediction(f"p-{one:04d}", at=OLD + one * MINUTE) for one in range(many))
            assert answers(store) == [many, 0, 0, 0, many, 0, "p-2399"]
            store.append([outcome("p-0000", 1), outcome("p-1200", 1)])
            assert answers(store) == [many - 2, 0, 2, 2, many, 2, "p-2399"]
            place.clock.advance(HOUR)
            store.append([outcome("p-1200", 0), prediction("midst", at=OLD + 1200 * MINUTE)])
            assert answers(store) == [many - 1, 1, 1, 2, many + 1, 2, "p-2399"]
            store.transition("k", put({}, prediction("last", at=NOON - SECOND), outcome("midst", 0)), operation_id="op")
            assert answers(store) == [many - 1, 2, 1, 3, many + 2, 3, "last"]
            store.prune(OLD + HOUR)
            assert answers(store) == [many - 1, 2, 1, 3, many - 58, 2, "last"]

    # Pruned again -----------------------------------------------------------------------------------------------------

    def test_a_second_prune_forgets_nothing_of_the_first(self) -> None:
        with self.store() as store:
            store.append([prediction("one", at=OLD), outcome("one", 1, OLD + HOUR), prediction("kept", at=NOON)])
            store.append([prediction("two", at=OLD + DAY), outcome("two", 0, OLD + DAY)])
            store.prune(OLD + DAY)
            for before in (PRUNED_BEFORE, PRUNED_BEFORE, OLD + HOUR):
                store.prune(before)
                for name in ("one", "two"):
                    for wrong in (prediction(name, at=NOON), outcome(name, 1, NOON)):
                        with pytest.raises(PrunedError):
                            store.append([wrong])
                assert store.tally(TallyQuery()).count == 3
                assert store.tally(TallyQuery(basis="outcome")).count == 2
                assert store.append([prediction("kept", at=NOON)]) == Appended(0, 1)

    def test_a_second_prune_leaves_the_horizon_of_what_it_keeps(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD), alert("a", at=OLD), acknowledgement("a", at=OLD)])
            store.prune(PRUNED_BEFORE, ["alert", "prediction"])
            store.prune(PRUNED_BEFORE + HOUR, ["acknowledgement", "alert"])
            assert store.append([alert("b", at=OLD)]) == Appended(1, 0)
            with pytest.raises(PrunedError):
                store.append([prediction("b", at=PRUNED_BEFORE + HOUR - MICROSECOND)])
            between = acknowledgement("b", at=PRUNED_BEFORE)
            assert store.append([between]) == Appended(1, 0)
            with pytest.raises(PrunedError):
                store.append([acknowledgement("c", at=PRUNED_BEFORE - MICROSECOND)])
            assert store.prune(PRUNED_BEFORE + HOUR).removed == {"alert": 2, "acknowledgement": 1}

    def test_by_outcome_time_a_second_prune_moves_nothing_back(self) -> None:
        with self.store() as store:
            store.append([prediction("late", at=OLD), outcome("late", 1, NOON - HOUR)])
            store.append([prediction("early", at=OLD + DAY), outcome("early", 1, OLD + DAY)])
            store.prune(OLD + HOUR)
            store.prune(PRUNED_BEFORE)
            with pytest.raises(PrunedError) as refused:
                store.tally(TallyQuery(basis="outcome", bins=3))
            assert refused.value.since is not None
            assert refused.value.since > NOON - HOUR
            assert store.tally(TallyQuery(basis="outcome", since=NOON - HOUR, until=NOON)).count == 1

    def test_an_earlier_before_answers_its_own_instant(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD), prediction("b", at=PRUNED_BEFORE)])
            assert store.prune(PRUNED_BEFORE + MINUTE) == Pruned(PRUNED_BEFORE, {"prediction": 1})
            assert store.prune(OLD + MINUTE) == Pruned(OLD, {})
            assert store.prune(PRUNED_BEFORE + 59 * MINUTE) == Pruned(PRUNED_BEFORE, {})
            assert store.prune(PRUNED_BEFORE + HOUR) == Pruned(PRUNED_BEFORE + HOUR, {"prediction": 1})

    def test_held_facts_are_what_they_were_and_found_by_what_they_say(self) -> None:
        def found(store: Storage) -> list[list[str]]:
            selects = (
                Select("alert", where={"severity": "critical", "rule_id": "r"}),
                Select("alert", model_version="m", having="acknowledgement"),
                Select("alert", until=PRUNED_BEFORE, where={"metric_name": "recall"}),
                Select("acknowledgement", where={"by": None}),
            )
            return [list(map(written, store.find(select))) for select in selects]

        with self.store() as store:
            own: dict[str, Any] = {"severity": "critical", "rule_id": "r", "metric_name": "recall"}
            store.append([alert("held", at=OLD, model_version="m", message="ä\n" * 99, **own), alert("free", at=OLD)])
            store.append([acknowledgement("held", None, at=OLD, note="seen")])  # type: ignore[arg-type]
            store.transition("k", put({"holds": ["held"]}), operation_id="op")
            before = found(store)
            assert [len(one) for one in before] == [1, 1, 1, 1]
            for horizon in (PRUNED_BEFORE, PRUNED_BEFORE + HOUR):
                store.prune(horizon)
                assert found(store) == before
                again = alert("held", at=OLD, model_version="m", message="ä\n" * 99, **own)
                assert store.append([again]) == Appended(0, 1)
                assert store.count(Select("alert"), ["severity", "rule_id"]) == {("critical", "r"): 1}

    def test_holds_are_those_of_every_document_as_it_is_when_the_prune_is_done(self) -> None:
        def names(store: Storage) -> list[str]:
            return [fact.key[0] for fact in store.find(Select("alert"))]

        with self.store() as store:
            store.append(alert(name, at=OLD) for name in "abcd")
            store.transition("k", put({"holds": ["a"]}, also={"other/k": {"holds": ["b"]}}), operation_id="op")
            store.transition("z", put({"holds": ["c"], "due": 5}), operation_id="op")
            store.prune(PRUNED_BEFORE)
            assert names(store) == ["a", "b", "c"]
            store.transition("k", put({"holds": ["b"]}), operation_id="other")
            store.transition("other/k", put(None), operation_id="gone")
            store.prune(PRUNED_BEFORE)
            assert names(store) == ["b", "c"]
            store.transition("z", put({"n": ["c"]}), operation_id="other")
            store.transition("k", put({"holds": [], "before": {"holds": ["b"]}}), operation_id="last")
            assert store.prune(PRUNED_BEFORE).removed == {"alert": 2}

    # Outcomes in another order ----------------------------------------------------------------------------------------

    def test_outcomes_may_come_in_another_order_than_they_were_known_while_the_clock_goes_on(self) -> None:
        given: list[tuple[int | None, int]] = [(5, 1), (2, 0), (9, 1), (None, 0), (7, 0), (1, 1)]
        given += [(3, 1), (None, 1), (30, 0)]
        with self.place() as place:
            store, model = place.open(), Model()
            first = [prediction("a", at=NOON), prediction("a", model_version="n", at=NOON + 3 * HOUR)]
            store.append(first)
            model.append(first, place.clock())
            for known, actual in given:
                now = place.clock.advance(HOUR)
                batch = [outcome("a", actual, None if known is None else NOON + known * HOUR)]
                assert store.append(batch) == model.append(batch, now)
                instants = [NOON + number * HOUR for number in range(0, 32, 3)]
                queries = [TallyQuery(), TallyQuery(basis="outcome", bucket=HOUR, delay=HOUR)]
                queries += [TallyQuery(as_of=one) for one in instants]
                queries += [TallyQuery(as_recorded=one, basis="outcome", bucket=HOUR) for one in instants]
                for query in queries:
                    assert disagreement(store.tally(query), model.tally(query)) is None, (known, query)
                found = store.find(Select("outcome"))
                assert list(map(written, found)) == list(map(written, model.find(Select("outcome"))))

    def test_which_outcome_of_a_batch_is_current_its_times_say_and_not_its_order(self) -> None:
        orders = [(3, 1, 2), (1, 3, 2), (2, 3, 1), (1, 2, 3), (3, 2, 1)]
        with self.place() as place:
            store, model = place.open(), Model()
            for number, order in enumerate(orders):
                name = f"p-{number}"
                batch: list[Fact] = [outcome(name, known % 2, NOON + known * HOUR) for known in order]
                batch = [*batch[:2], prediction(name), *batch[2:]]
                batch += [outcome(name, number % 2), outcome(name, 1 - number % 2)]
                batch.append(outcome(name, number % 2, NOON + 20 * HOUR))
                now = place.clock.advance(MINUTE)
                assert store.append(batch) == model.append(batch, now)
                queries = [TallyQuery(), TallyQuery(basis="outcome", bucket=HOUR), TallyQuery(as_of=NOON + 2 * HOUR)]
                for query in queries:
                    assert disagreement(store.tally(query), model.tally(query)) is None, (order, query)
            found = store.find(Select("outcome"))
            assert list(map(written, found)) == list(map(written, model.find(Select("outcome"))))
