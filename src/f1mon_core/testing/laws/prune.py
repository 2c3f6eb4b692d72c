"""`Storage.prune` and what it leaves behind, sentence by sentence."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from f1mon_core.errors import ConflictError, InvalidQueryError, PrunedError
from f1mon_core.records.kinds import (
    Fact,
    IncidentEvent,
    MetricSnapshot,
    Prediction,
    RuleRevision,
)
from f1mon_core.records.times import MICROSECOND
from f1mon_core.storage.contract import Appended, Pruned, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import everything
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.laws.find import ids
from f1mon_core.testing.laws.transition import counted, put
from f1mon_core.testing.model import Model, disagreement, same_facts

OLD = NOON - timedelta(days=3)
PRUNED_BEFORE = NOON - timedelta(days=1)


def season() -> list[Fact]:
    """Predictions from three days ago to noon, most of them labelled, some corrected."""
    facts: list[Fact] = []
    for number in range(72):
        name, at = f"p-{number:02d}", OLD + number * HOUR + number % 60 * MINUTE
        made = {"confidence": number / 71, "predicted_outcome": number % 2, "model_version": f"m-{number % 3}"}
        facts.append(prediction(name, at=at, **made))
        if number % 4:
            facts.append(outcome(name, number % 3 % 2, at + HOUR))
        if number % 8 == 1:
            facts.append(outcome(name, 1, at + 40 * HOUR))
    return facts


def pruned_season(store: Storage) -> Model:
    """A season in the store, pruned to `PRUNED_BEFORE`; and the model of it, not pruned."""
    model = Model()
    model.append(season(), NOON)
    store.append(season())
    store.prune(PRUNED_BEFORE)
    return model


class PruneLaws(Laws):
    """What `prune` promises."""

    def test_prune_removes_predictions_before_the_horizon_with_all_their_outcomes(self) -> None:
        with self.store() as store:
            store.append(
                [prediction("old", at=PRUNED_BEFORE - MICROSECOND), outcome("old", 1, NOON), outcome("old", 0, OLD)]
            )
            store.append([prediction("new", at=PRUNED_BEFORE), outcome("new", 1, OLD)])
            pruned = store.prune(PRUNED_BEFORE)
            assert pruned == Pruned(PRUNED_BEFORE, {"prediction": 1, "outcome": 2})
            assert ids(store.find(Select("prediction"))) == ["new"]
            assert ids(store.find(Select("outcome"))) == ["new"]

    def test_the_horizon_is_floored_to_the_full_hour(self) -> None:
        with self.store() as store:
            store.append(
                [prediction("a", at=PRUNED_BEFORE - MICROSECOND), prediction("b", at=PRUNED_BEFORE + 10 * MINUTE)]
            )
            assert store.prune(PRUNED_BEFORE + 59 * MINUTE).before == PRUNED_BEFORE
            assert ids(store.find(Select("prediction"))) == ["b"]

    def test_outcomes_without_a_prediction_stay(self) -> None:
        with self.store() as store:
            store.append([outcome("early", 1, OLD)])
            store.prune(PRUNED_BEFORE)
            assert ids(store.find(Select("outcome"))) == ["early"]
            store.append([prediction("early", at=NOON)])
            assert [key.actual for key in store.tally(TallyQuery(since=PRUNED_BEFORE)).cells] == [1]

    def test_other_facts_before_the_horizon_go_too(self) -> None:
        with self.store() as store:
            for name, at in (("old", PRUNED_BEFORE - MICROSECOND), ("new", PRUNED_BEFORE)):
                store.append([alert(name, at=at), acknowledgement(name, at=at)])
                store.append([MetricSnapshot(snapshot_id=name, model_version="m", metric_name="n", at=at)])
                store.append([IncidentEvent(event_id=name, event="fired", rule_id="r", incident_id="i", at=at)])
            pruned = store.prune(PRUNED_BEFORE)
            assert pruned.removed == {"alert": 1, "acknowledgement": 1, "metric_snapshot": 1, "incident_event": 1}
            assert {fact.key[0] for fact in everything(store)} == {"new"}
            assert ids(store.find(Select("alert", having="acknowledgement"))) == ["new"]

    def test_kept_and_lasting_kinds_stay(self) -> None:
        with self.store() as store:
            store.append([alert("old", at=OLD), acknowledgement("old", at=OLD), prediction("old", at=OLD)])
            store.append([RuleRevision(rule_id="r", revision=1, at=OLD), outcome("old", 1, OLD)])
            assert store.prune(PRUNED_BEFORE, keep=["alert", "prediction"]).removed == {"acknowledgement": 1}
            kinds = [fact.kind for fact in everything(store)]
            assert kinds == ["prediction", "outcome", "alert", "rule_revision"]
            assert store.append([prediction("older", at=OLD - HOUR), alert("older", at=OLD)]) == Appended(2, 0)
            assert store.tally(TallyQuery(since=OLD + MICROSECOND, bins=3)).count == 0

    def test_facts_that_a_state_document_holds_stay(self) -> None:
        with self.store() as store:
            for name in ("held", "free"):
                store.append([alert(name, at=OLD), acknowledgement(name, at=OLD)])
            store.transition("incident/i", put({"holds": ["held", "other"]}), operation_id="open")
            store.prune(PRUNED_BEFORE)
            assert ids(store.find(Select("alert"))) == ["held"]
            assert ids(store.find(Select("acknowledgement"))) == ["held"]
            store.transition("incident/i", put({"holds": []}), operation_id="closed")
            assert store.prune(PRUNED_BEFORE).removed == {"alert": 1, "acknowledgement": 1}

    def test_totals_the_kept_cells_can_answer_stand(self) -> None:
        queries = [
            TallyQuery(),
            TallyQuery(model_version="m-1"),
            TallyQuery(since=OLD),
            TallyQuery(since=OLD + 5 * HOUR, until=PRUNED_BEFORE - 5 * HOUR),
            TallyQuery(since=PRUNED_BEFORE - HOUR, until=NOON + MICROSECOND),
            TallyQuery(bucket=timedelta(days=1)),
            TallyQuery(bucket=HOUR, until=PRUNED_BEFORE),
        ]
        with self.store() as store:
            model = pruned_season(store)
            for query in queries:
                assert disagreement(store.tally(query), model.tally(query)) is None, query
            store.prune(PRUNED_BEFORE + 7 * HOUR)
            for query in queries:
                assert disagreement(store.tally(query), model.tally(query)) is None, query

    def test_windows_the_kept_cells_cannot_answer_are_refused(self) -> None:
        with self.store() as store:
            model = pruned_season(store)
            for query in (
                TallyQuery(bins=3),
                TallyQuery(bins="exact"),
                TallyQuery(since=OLD + MINUTE),
                TallyQuery(until=PRUNED_BEFORE - MINUTE),
                TallyQuery(bucket=MINUTE),
                TallyQuery(delay=HOUR),
                TallyQuery(as_of=NOON),
                TallyQuery(as_recorded=NOON),
                TallyQuery(basis="outcome"),
                TallyQuery(basis="outcome", since=PRUNED_BEFORE),
            ):
                with pytest.raises(PrunedError) as refused:
                    store.tally(query)
                assert refused.value.since is not None, query
                answerable = attrs.evolve(query, since=refused.value.since, until=None)
                assert disagreement(store.tally(answerable), model.tally(answerable)) is None, query
                if query.basis == "prediction":
                    assert refused.value.since == PRUNED_BEFORE

    def test_windows_after_the_horizon_answer_everything(self) -> None:
        with self.store() as store:
            model = pruned_season(store)
            for query in (
                TallyQuery(since=PRUNED_BEFORE, bins=3),
                TallyQuery(since=PRUNED_BEFORE + MINUTE, bins="exact", as_of=NOON, delay=HOUR),
                TallyQuery(since=NOON - 5 * HOUR, basis="outcome"),
            ):
                assert disagreement(store.tally(query), model.tally(query)) is None, query

    def test_a_repeat_of_what_was_pruned_is_refused_and_totals_stand(self) -> None:
        with self.store() as store:
            store.append([prediction("given", at=OLD), prediction("made-new", at=OLD), outcome("given", 1, OLD)])
            store.prune(PRUNED_BEFORE)
            for refused in (
                [prediction("given", at=OLD)],
                [prediction("given", at=None)],
                [prediction("given", at=NOON)],
                [outcome("given", 1, OLD)],
                [outcome("given", 0)],
                [prediction("never-seen", at=PRUNED_BEFORE - MICROSECOND)],
                [alert("never-seen", at=PRUNED_BEFORE - MICROSECOND)],
                [prediction("fine"), alert("fine"), outcome("made-new", 1)],
            ):
                with pytest.raises(PrunedError):
                    store.append(refused)
            assert store.tally(TallyQuery()).count == 2
            assert [fact.kind for fact in everything(store) if fact.kind != "kept_tally"] == []

    def test_what_is_still_stored_is_a_repeat_or_a_conflict_after_prune(self) -> None:
        with self.store() as store:
            store.append([alert("held", at=OLD), prediction("new")])
            store.transition("incident/i", put({"holds": ["held"]}), operation_id="open")
            store.prune(PRUNED_BEFORE)
            assert store.append([alert("held", at=OLD), prediction("new")]) == Appended(0, 2)
            with pytest.raises(ConflictError):
                store.append([alert("held", at=OLD, title="another")])

    def test_a_fact_stamped_by_the_store_is_not_behind_the_horizon(self) -> None:
        with self.store() as store:
            store.prune(PRUNED_BEFORE)
            assert store.append([prediction("a", at=None), alert("x", at=PRUNED_BEFORE)]) == Appended(2, 0)

    def test_a_pruned_hour_is_final_also_for_predictions_stamped_into_it(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("a")])
            store.prune(NOON + HOUR)
            with pytest.raises(PrunedError):
                store.append([prediction("b", at=None)])
            store.prune(NOON + 2 * HOUR)
            assert store.tally(TallyQuery()).count == 1
            place.clock.set(NOON + 2 * HOUR)
            assert store.append([prediction("b", at=None)]) == Appended(1, 0)

    def test_other_facts_stamped_behind_the_horizon_are_taken(self) -> None:
        with self.store() as store:
            store.prune(NOON + HOUR)
            assert store.append([alert("x", at=None), acknowledgement("x")]) == Appended(2, 0)
            with pytest.raises(PrunedError):
                store.append([alert("y", at=NOON)])

    def test_a_refused_step_of_a_transition_leaves_nothing(self) -> None:
        with self.store() as store:
            store.prune(PRUNED_BEFORE)
            with pytest.raises(PrunedError):
                store.transition("k", put({}, alert("new"), alert("old", at=OLD)), operation_id="op")
            assert store.state("") == {}
            assert everything(store) == []

    def test_a_horizon_never_moves_back(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=NOON - HOUR), alert("b", at=NOON)])
            store.prune(PRUNED_BEFORE)
            before = everything(store)
            assert store.prune(OLD).removed == {}
            assert same_facts(everything(store), before)
            with pytest.raises(PrunedError):
                store.append([prediction("late", at=PRUNED_BEFORE - MICROSECOND)])

    def test_a_prune_that_cannot_be_done_removes_nothing(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD), alert("x", at=OLD)])
            before = everything(store)
            for wrong in ("alerts", "", "Alert"):
                with pytest.raises(InvalidQueryError):
                    store.prune(PRUNED_BEFORE, keep=["prediction", wrong])
            for when in (None, PRUNED_BEFORE.replace(tzinfo=None), PRUNED_BEFORE.timestamp()):
                with pytest.raises(InvalidQueryError):
                    store.prune(when)  # type: ignore[arg-type]
            assert same_facts(everything(store), before)

    def test_prune_again_removes_nothing_more(self) -> None:
        with self.store() as store:
            pruned_season(store)
            before = everything(store)
            assert store.prune(PRUNED_BEFORE).removed == {}
            assert same_facts(everything(store), before)

    def test_kept_cells_are_facts_one_for_each_model_and_hour(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD), prediction("b", at=OLD + MINUTE), prediction("c", at=OLD + HOUR)])
            store.append([prediction("d", at=OLD, model_version="other")])
            store.prune(PRUNED_BEFORE)
            kept = store.find(Select("kept_tally"))
            assert [(fact.at, fact.key[0]) for fact in kept] == [
                (OLD, "other"),
                (OLD, "podium-1"),
                (OLD + HOUR, "podium-1"),
            ]

    def test_prune_leaves_state_and_operations(self) -> None:
        with self.store() as store:
            store.transition("k", counted, operation_id="op")
            store.prune(NOON)
            assert store.state("k") == {"k": {"n": 1}}
            assert store.transition("k", counted, operation_id="op") == 1

    def test_pruned_features_are_gone(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD, features={"secret": "x"}), prediction("b", features={"kept": 1})])
            store.prune(PRUNED_BEFORE)
            found = [fact for fact in store.find(Select("prediction")) if isinstance(fact, Prediction)]
            assert [fact.features for fact in found] == [{"kept": 1}]
