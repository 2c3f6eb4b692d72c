"""`Storage.prune` and what it leaves behind, sentence by sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

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
from f1mon_core.storage.tally import KEPT_VALUES, TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import current_actual, everything, recorded
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.laws.find import ids
from f1mon_core.testing.laws.transition import counted, put
from f1mon_core.testing.model import Model, disagreement, same_facts

OLD = NOON - timedelta(days=3)
PRUNED_BEFORE = NOON - timedelta(days=1)


def season() -> list[Fact]:
    """Predictions from three days ago to noon, most of them labelled, some corrected, some items by two models.

    The segment `country` is lacking in some of them, `tier` in all of the first day.
    """
    facts: list[Fact] = []
    for number in range(72):
        name, at = f"p-{number:02d}", OLD + number * HOUR + number % 60 * MINUTE
        made = {"confidence": number / 71, "predicted_outcome": number % 2, "model_version": f"m-{number % 3}"}
        segments: dict[str, int | str] = {"country": ("DE", "FR")[number % 2]} if number % 5 else {}
        if number >= 24:
            segments["tier"] = (1, "1", 0)[number % 3]
        facts.append(prediction(name, at=at, segments=segments, **made))
        if number % 6 == 0:
            facts.append(prediction(name, at=at + 30 * HOUR, segments={"tier": 0}, model_version="challenger"))
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
            TallyQuery(basis="outcome"),
            TallyQuery(basis="outcome", model_version="challenger", bucket=timedelta(weeks=1)),
            TallyQuery(basis="outcome", since=OLD + 5 * HOUR, until=PRUNED_BEFORE),
            TallyQuery(basis="outcome", since=PRUNED_BEFORE - HOUR, bucket=HOUR),
            TallyQuery(basis="outcome", since=PRUNED_BEFORE + 2 * HOUR),
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
                TallyQuery(basis="outcome", bins=3),
                TallyQuery(basis="outcome", since=OLD + MINUTE),
                TallyQuery(basis="outcome", bucket=MINUTE),
                TallyQuery(basis="outcome", since=OLD, as_of=NOON),
                TallyQuery(by=("country",), since=OLD + HOUR),
                TallyQuery(by=("country",), bucket=HOUR),
                TallyQuery(where={"country": "DE"}, basis="outcome", until=OLD + HOUR),
                TallyQuery(by=("country", "tier")),
                TallyQuery(by=("country",), where={"tier": 1}),
                TallyQuery(by=("country",), where={"country": "DE"}),
                TallyQuery(where={"country": "DE", "tier": None}, basis="outcome"),
            ):
                with pytest.raises(PrunedError) as refused:
                    store.tally(query)
                assert refused.value.since is not None, query
                answerable = attrs.evolve(query, since=refused.value.since, until=None)
                assert disagreement(store.tally(answerable), model.tally(answerable)) is None, query
                for name in query.by or query.where:
                    assert name in str(refused.value), query
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

    def test_what_is_kept_answers_for_each_segment_by_the_day_in_both_orders(self) -> None:
        day = timedelta(days=1)
        midnight = OLD.replace(hour=0)
        questions: list[dict[str, Any]] = [
            {},
            {"bucket": day},
            {"bucket": 7 * day, "model_version": "m-1"},
            {"since": midnight + day},
            {"until": midnight + 2 * day, "bucket": day},
            {"since": midnight + day, "until": midnight + 2 * day},
            {"since": midnight + 2 * day, "model_version": "challenger"},
        ]
        splits: list[dict[str, Any]] = [
            {"by": ("country",)},
            {"by": ("tier",)},
            {"by": ("no",)},
            {"where": {"country": "FR"}},
            {"where": {"country": [None, "DE"]}},
            {"where": {"tier": 1}},
            {"where": {"tier": ["1", 7]}},
            {"where": {"tier": None}},
            {"where": {"tier": ()}},
        ]
        with self.store() as store:
            model = pruned_season(store)
            for before in (PRUNED_BEFORE, PRUNED_BEFORE + 7 * HOUR):  # a day is pruned in two parts
                store.prune(before)
                for question in questions:
                    for split in splits:
                        for basis in ("prediction", "outcome"):
                            query = TallyQuery(basis=basis, **question, **split)
                            assert disagreement(store.tally(query), model.tally(query)) is None, query

    def test_predictions_without_a_segment_stay_counted_in_the_group_of_none(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD, segments={"country": "DE"}), prediction("b", at=OLD)])
            store.append([prediction("c", at=OLD - timedelta(days=1)), prediction("d", at=OLD, model_version="n")])
            store.append([outcome(name, 1, OLD) for name in "abcd"])
            store.prune(PRUNED_BEFORE)
            for basis in ("prediction", "outcome"):
                groups: dict[Any, int] = {}
                for key, cell in store.tally(TallyQuery(basis=basis, by=("country",))).cells.items():
                    groups[key.segments] = groups.get(key.segments, 0) + cell.n
                assert groups == {("DE",): 1, (None,): 3}

    def test_segments_of_hostile_names_and_values_stay_apart_when_they_are_pruned(self) -> None:
        texts = ["a", "A", "a ", "ä", "/", "%", ".", '"', "\n", "\x01", "'; --", "\U0001f3ce" * 64, "0", "null"]
        model = Model()
        facts: list[Fact] = [prediction("numbers", at=OLD, segments={"0": 0, "/": 0})]
        facts += [prediction(f"p-{n}", at=OLD, segments={text: text, "x": text}) for n, text in enumerate(texts)]
        model.append(facts, NOON)
        with self.store() as store:
            store.append(facts)
            store.prune(PRUNED_BEFORE)
            for name in (*texts, "x"):
                query = TallyQuery(by=(name,))
                assert disagreement(store.tally(query), model.tally(query)) is None, name

    def test_a_segment_of_too_many_values_is_not_kept_and_is_named(self) -> None:
        with self.store() as store:
            for model, values in (("few", KEPT_VALUES), ("many", KEPT_VALUES + 1)):
                made = {"model_version": model, "at": OLD}
                store.append(
                    prediction(f"p-{n}", segments={"circuit": n, "country": "DE"}, **made) for n in range(values)
                )
            store.append([outcome("p-0", 1, OLD)])
            store.prune(PRUNED_BEFORE)
            for basis in ("prediction", "outcome"):
                query = TallyQuery(by=("circuit",), model_version="many", basis=basis)
                for wrong in (query, attrs.evolve(query, model_version=None)):
                    with pytest.raises(PrunedError, match="circuit") as refused:
                        store.tally(wrong)
                    assert refused.value.since is not None
                    assert store.tally(attrs.evolve(wrong, since=refused.value.since)).count == 0
            few = store.tally(TallyQuery(by=("circuit",), model_version="few"))
            assert len({key.segments for key in few.cells}) == KEPT_VALUES
            assert store.tally(TallyQuery(by=("country",))).count == 2 * KEPT_VALUES + 1

    def test_the_outcomes_of_an_item_go_with_its_last_prediction(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version="old", at=OLD), prediction("a", model_version="new", at=NOON)])
            store.append([outcome("a", 1, OLD), outcome("a", 0, NOON)])
            assert store.prune(PRUNED_BEFORE).removed == {"prediction": 1}
            assert [key.actual for key in store.tally(TallyQuery(model_version="new")).cells] == [0]
            assert ids(store.find(Select("prediction", having="outcome"))) == ["a"]
            assert store.prune(NOON + HOUR).removed == {"prediction": 1, "outcome": 2}
            assert recorded(store) == []
            assert store.tally(TallyQuery(basis="outcome")).count == 2

    def test_outcomes_that_stay_label_what_is_stored_and_change_no_kept_cell(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version="old", at=OLD), prediction("a", model_version="new", at=NOON)])
            store.append([prediction("b", model_version="old", at=OLD), prediction("b", model_version="new", at=NOON)])
            store.append([outcome("a", 1, OLD)])
            store.prune(PRUNED_BEFORE)
            assert store.append([outcome("a", 0), outcome("b", 0)]) == Appended(2, 0)
            assert sorted(current_actual(store, model_version="old"), key=str) == [1, None]
            assert current_actual(store, model_version="new") == [0]
            assert store.append([prediction("a", model_version="third", at=NOON)]) == Appended(1, 0)
            assert current_actual(store, model_version="third") == [0]

    def test_the_key_of_a_pruned_prediction_stays_known_and_not_its_item(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version="m", at=OLD), outcome("a", 1, OLD)])
            store.prune(PRUNED_BEFORE)
            for at in (None, NOON, OLD):
                with pytest.raises(PrunedError):
                    store.append([prediction("a", model_version="m", at=at)])
            for refused in (
                [outcome("a", 1)],
                [outcome("a", 1, OLD)],
                [outcome("a", 0), prediction("a", model_version="n")],
            ):
                with pytest.raises(PrunedError):
                    store.append(refused)
            assert store.append([prediction("a", model_version="n")]) == Appended(1, 0)
            assert current_actual(store, model_version="n") == [None]
            assert store.append([outcome("a", 0)]) == Appended(1, 0)
            assert current_actual(store, model_version="n") == [0]
            assert current_actual(store, model_version="m") == [1]

    def test_an_outcome_may_come_in_one_batch_with_the_prediction_of_another_model(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version="m", at=OLD)])
            store.prune(PRUNED_BEFORE)
            assert store.append([prediction("a", model_version="n"), outcome("a", 1)]) == Appended(2, 0)
            assert sorted(current_actual(store), key=str) == [1, None]
            assert store.prune(NOON + HOUR).removed == {"prediction": 1, "outcome": 1}
            with pytest.raises(PrunedError):
                store.append([outcome("a", 1)])

    def test_windows_by_outcome_time_survive_a_prune(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=OLD), outcome("a", 1, NOON - HOUR), prediction("open", at=OLD)])
            store.append([prediction("b", at=OLD), outcome("b", 0, OLD + HOUR), outcome("b", 1, NOON)])
            store.append([outcome("early", 1, OLD - 9 * HOUR), prediction("early", at=OLD + 2 * HOUR)])
            store.append([prediction("new", at=NOON), outcome("new", 1, NOON)])
            windows = {OLD: 0, OLD + HOUR: 1, OLD + 2 * HOUR: 1, NOON - HOUR: 1, NOON: 1}
            for _ in range(2):
                for since, counted_there in windows.items():
                    query = TallyQuery(basis="outcome", since=since, until=since + HOUR)
                    assert store.tally(query).count == counted_there, since
                store.prune(PRUNED_BEFORE)
            with pytest.raises(PrunedError) as refused:
                store.tally(TallyQuery(basis="outcome", since=NOON - HOUR, bins=3))
            assert refused.value.since == NOON - HOUR + MICROSECOND

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
            assert recorded(store) == []

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
