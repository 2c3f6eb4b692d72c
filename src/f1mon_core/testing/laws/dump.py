"""`Storage.dump` and `Storage.restore`, sentence by sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from f1mon_core.errors import ConflictError, F1monError, InvalidRecordError, PrunedError, RestoreError, SchemaError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import DriftResult, Fact, HealthSnapshot
from f1mon_core.records.times import MICROSECOND, to_micros
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.dumping import CONTRACT, PAGE
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import current_actual, everything
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.laws.prune import OLD, PRUNED_BEFORE, season
from f1mon_core.testing.laws.transition import counted, put, store_documents
from f1mon_core.testing.location import Place
from f1mon_core.testing.model import Model, disagreement, same_facts
from f1mon_core.testing.writing import carry


def store_record(store: str = "elsewhere", **fields: Any) -> Document:
    """The record that a page of a store begins with."""
    unpruned: Document = {"pruned_before": {}, "outcomes_until": None, "stands_until": None}
    return {"record": "store", "store": store, "contract": CONTRACT, **unpruned, **fields}


def fact_record(fact: Fact) -> Document:
    """The record of a fact."""
    return {"record": "fact", "fact": documents.to_document(fact)}


def live(place: Place, store: Storage) -> None:
    """Fill a store over some days: facts of several instants, corrections, documents, operations, and two prunes."""
    for part in range(4):
        store.append(season()[part::4])
        place.clock.advance(HOUR + SECOND)
    store.append([alert("held", at=OLD), alert("x", at=None), acknowledgement("x"), outcome("early", "text")])
    store.append([prediction("stamped", at=None, features={"ä": [1, 1.0, None]}), outcome("stamped", 1)])
    store_documents(store, "a", "incident/ä", "rule/r")
    store.transition("incident/i", put({"holds": ["held"], "due": 1}, result=[1, 1.0]), operation_id="open")
    store.prune(PRUNED_BEFORE - 9 * HOUR)
    place.clock.advance(MINUTE)
    store.prune(PRUNED_BEFORE)


def _of_all_kinds(name: str, at: datetime) -> list[Fact]:
    """Facts of several kinds that go by their own time, under one name."""
    made: dict[str, Any] = {"at": at, "model_version": "m"}
    return [
        alert(name, at=at),
        acknowledgement(name, at=at),
        HealthSnapshot(snapshot_id=name, metrics={"accuracy": 0.5}, **made),
        DriftResult(drift_id=name, feature="grid", detected=False, **made),
    ]


QUESTIONS = [
    TallyQuery(),
    TallyQuery(basis="outcome", bucket=HOUR),
    TallyQuery(by=("country",), bucket=timedelta(days=1)),
    TallyQuery(basis="outcome", where={"tier": [1, None]}),
    TallyQuery(since=PRUNED_BEFORE, by=("tier", "country"), bins="exact", delay=HOUR),
    TallyQuery(since=PRUNED_BEFORE, as_recorded=NOON + 2 * HOUR),
]


def assert_alike(one: Storage, other: Storage) -> None:
    """Check that two stores hold the same and answer the same."""
    assert same_facts(everything(other), everything(one))
    assert other.state("") == one.state("")
    for query in QUESTIONS:
        assert _counted(other, query) == _counted(one, query), query
    assert other.check().ok


def _counted(store: Storage, query: TallyQuery) -> Any:
    """What a tally counts exactly; where it is refused, the start from which on it is answered."""
    try:
        return {key: (cell.n, cell.minimum, cell.maximum) for key, cell in store.tally(query).cells.items()}
    except PrunedError as refused:
        return refused.since


class DumpLaws(Laws):
    """What `dump` and `restore` promise."""

    def test_a_store_is_carried_away_whole(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            live(place, source)
            elsewhere.clock.set(place.clock())
            held = len(everything(source))
            assert carry(source, target) == Appended(held, 0)
            assert_alike(source, target)

    def test_a_fact_keeps_the_times_it_was_recorded_with(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append([prediction("given", at=OLD), prediction("stamped", at=None), outcome("given", 1)])
            now = place.clock.advance(HOUR + MICROSECOND)
            source.append([alert("later", at=OLD), prediction("given", model_version="late", at=None)])
            elsewhere.clock.set(NOON + timedelta(days=9))
            carry(source, target)
            found = everything(target)
            assert same_facts(found, everything(source))
            assert {fact.recorded_at for fact in found} == {NOON, now}
            assert {(fact.key[0], fact.at_given) for fact in target.find(Select("prediction"))} == {
                ("given", True),
                ("given", False),
                ("stamped", False),
            }
            assert target.append([prediction("stamped", at=NOON - HOUR), outcome("given", 1)]) == Appended(0, 2)

    def test_labels_and_segments_come_through_with_their_types(self) -> None:
        facts: list[Fact] = [
            prediction("a", model_version=model, predicted_outcome=label, segments={"x": label})
            for model, label in (("int", 1), ("text", "1"), ("hostile", "\u2028'; --"), ("edge", -(2**63)))
        ]
        facts += [outcome("a", 0, NOON), outcome("a", "0", NOON + HOUR)]
        with self.store() as source, self.store() as target:
            source.append(facts)
            carry(source, target)
            assert same_facts(everything(target), everything(source))
            assert target.append(facts) == Appended(0, len(facts))
            with pytest.raises(ConflictError):
                target.append([prediction("a", model_version="int", predicted_outcome="1", segments={"x": 1})])

    def test_a_store_of_many_pages_comes_through(self) -> None:
        with self.store() as source, self.store() as target:
            many = PAGE + PAGE // 2
            source.append(prediction(f"p-{number:05d}", at=OLD + number * SECOND) for number in range(many))
            source.append(outcome(f"p-{number:05d}", 1, NOON) for number in range(many))
            also = {f"k/{number:05d}": {"n": number} for number in range(PAGE + 1)}
            source.transition("k", put({}, also=also), operation_id="op")
            source.prune(OLD + HOUR)
            pages, after = 0, None
            while (page := source.dump(after)).after is not None:
                assert len(page.records) <= PAGE + 10
                pages, after = pages + 1, page.after
            assert pages > 1
            carry(source, target)
            assert same_facts(everything(target), everything(source))
            assert target.state("") == source.state("")
            assert target.tally(TallyQuery()).count == many
            with pytest.raises(PrunedError):
                target.append([prediction("p-00000")])

    def test_an_empty_store_is_carried_away_too(self) -> None:
        with self.store() as source, self.store() as target:
            assert source.dump().after is None
            assert carry(source, target) == Appended(0, 0)
            assert everything(target) == []
            source.append([prediction()])
            assert carry(source, target) == Appended(1, 0)

    def test_what_was_pruned_is_known_where_it_was_carried_to(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append([prediction("a", at=OLD), outcome("a", 1, OLD), prediction("b", model_version="m", at=OLD)])
            source.prune(PRUNED_BEFORE)
            source.append([prediction("b", model_version="n")])
            carry(source, target)
            refusals: list[list[Fact]] = [
                [prediction("a")],
                [outcome("a", 1)],
                [prediction("b", model_version="m")],
                [prediction("never-seen", at=PRUNED_BEFORE - MICROSECOND)],
                [alert("never-seen", at=PRUNED_BEFORE - MICROSECOND)],
            ]
            for refused in refusals:
                with pytest.raises(PrunedError):
                    target.append(refused)
            with pytest.raises(PrunedError):
                target.tally(TallyQuery(bins=3))
            assert target.prune(OLD).removed == {}
            assert target.append([outcome("b", 0), prediction("a", model_version="n")]) == Appended(2, 0)
            assert sorted(current_actual(target), key=str) == [0, 1, None, None]

    def test_an_operation_is_answered_where_it_was_carried_to(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            for key in ("k", "K"):
                source.transition(key, counted, operation_id="op")
            source.transition("gone", put(None, result={"ä": [None, 1.0]}), operation_id="delete")
            elsewhere.clock.set(place.clock.advance(24 * HOUR))
            carry(source, target)
            for key in ("k", "K"):
                assert target.transition(key, counted, operation_id="op") == 1
            answer = target.transition("gone", counted, operation_id="delete")
            assert repr(answer) == repr({"ä": [None, 1.0]})
            assert target.transition("k", counted, operation_id="other") == 2

    def test_carried_twice_changes_nothing(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            live(place, source)
            elsewhere.clock.set(place.clock())
            carry(source, target)
            before = everything(target)
            assert carry(source, target) == Appended(0, len(before))
            assert same_facts(everything(target), before)
            assert_alike(source, target)

    def test_a_page_may_be_restored_twice_in_one_call(self) -> None:
        with self.store() as source, self.store() as target:
            source.append([prediction("a"), outcome("a", 1), outcome("a", 0), alert("x")])
            page = source.dump().records
            assert target.restore([*page, *page]) == Appended(4, 4)
            assert same_facts(everything(target), everything(source))
            assert current_actual(target) == [0]

    def test_a_second_pass_brings_what_changed(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            live(place, source)
            elsewhere.clock.set(place.clock())
            carry(source, target)
            source.append([prediction("new", at=None), outcome("new", 1), outcome("stamped", 0)])
            source.append([prediction("p-71", model_version="late", at=None)])
            source.transition("a", put(None), operation_id="delete")
            source.transition("rule/r", put({"changed": True}), operation_id="change")
            source.transition("z", counted, operation_id="new")
            place.clock.advance(HOUR)
            pruned = source.prune(NOON - 9 * HOUR).removed
            assert pruned["prediction"] > 0
            assert target.state("a") != {}
            carry(source, target)
            assert_alike(source, target)
            with pytest.raises(PrunedError):
                target.append([prediction("late", at=NOON - 10 * HOUR)])

    def test_what_went_with_a_pruned_prediction_labels_none_that_came_since(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append([prediction("item", at=NOON - 9 * HOUR), outcome("item", 1)])
            elsewhere.clock.set(place.clock())
            carry(source, target)
            source.prune(NOON - 8 * HOUR)
            source.append([prediction("item", model_version="later", at=None)])
            carry(source, target)
            assert_alike(source, target)

    def test_facts_of_any_kind_that_the_source_pruned_go_with_the_next_pass(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            facts = [fact for number in range(4) for fact in _of_all_kinds(f"{number}", OLD + number * 12 * HOUR)]
            source.append(facts)
            source.transition("incident/i", put({"holds": ["held-1", "1"]}), operation_id="open")
            source.append([alert("held-1", at=OLD), alert("b", at=OLD), alert("new", at=None), acknowledgement("b")])
            carry(source, target)
            elsewhere.clock.set(place.clock())
            assert_alike(source, target)
            for before in (OLD + HOUR, OLD + 25 * HOUR):
                assert source.prune(before).removed["alert"] > 0
                carry(source, target)
                assert_alike(source, target)
                assert carry(source, target).new == 0
            assert {"held-1", "1", "3", "new"} == {fact.key[0] for fact in target.find(Select("alert"))}
            source.transition("incident/i", put(None), operation_id="close")
            source.prune(OLD + 25 * HOUR)
            carry(source, target)
            assert [fact.key[0] for fact in target.find(Select("alert"))] == ["3", "new"]
            assert_alike(source, target)

    def test_what_a_copy_pruned_further_than_its_source_does_not_come_back(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append(season()[::6])
            source.prune(PRUNED_BEFORE)
            carry(source, target)
            further = NOON - 9 * HOUR
            assert target.prune(further).removed["prediction"] > 0
            held, totals = everything(target), _counted(target, QUESTIONS[0])
            source.append([prediction("new", at=NOON), outcome("new", 1, NOON), alert("old", at=further - MICROSECOND)])
            assert carry(source, target).new == 2
            added = {(fact.kind, fact.key[0]) for fact in everything(target)}
            assert added - {(fact.kind, fact.key[0]) for fact in held} == {("prediction", "new"), ("outcome", "new")}
            assert len(everything(target)) == len(held) + 2
            assert sum(number for number, *_ in _counted(target, QUESTIONS[0]).values()) == 1 + sum(
                number for number, *_ in totals.values()
            )
            late: list[Fact] = [
                prediction("late", at=further - HOUR),
                alert("late", at=further - HOUR),
                outcome("p-53", 5, NOON + HOUR),
            ]
            for fact in late:
                with pytest.raises(PrunedError):
                    target.append([fact])
            assert target.prune(PRUNED_BEFORE).removed == {}
            assert target.check().ok

    def test_a_copy_that_pruned_for_itself_has_what_its_source_keeps_once_that_pruned_as_far(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append(season()[::6])
            source.prune(PRUNED_BEFORE)
            carry(source, target)
            target.prune(NOON - 9 * HOUR)
            source.append([prediction("between", at=NOON - 10 * HOUR), outcome("between", 1)])
            source.prune(NOON - 11 * HOUR)
            carry(source, target)
            for query in QUESTIONS[:3]:
                assert target.tally(query).count == source.tally(query).count
            for before in (NOON - 9 * HOUR, NOON - 5 * HOUR):
                source.prune(before)
                carry(source, target)
                assert_alike(source, target)
            target.prune(NOON - 5 * HOUR)
            assert_alike(source, target)

    def test_a_copy_that_pruned_further_refuses_predictions_of_which_only_cells_are_left(self) -> None:
        with self.place() as place, self.place() as elsewhere:
            source, target = place.open(), elsewhere.open()
            source.append([prediction("a", at=OLD), prediction("b", at=NOON)])
            carry(source, target)
            target.prune(NOON - HOUR)
            source.append([prediction("between", at=OLD + HOUR)])
            source.prune(OLD + 2 * HOUR)
            before = everything(target)
            with pytest.raises(RestoreError, match="between"):
                carry(source, target)
            assert same_facts(everything(target), before)
            source.prune(NOON - HOUR)
            carry(source, target)
            assert_alike(source, target)
            assert target.tally(TallyQuery()).count == 3

    def test_documents_outside_the_range_of_a_page_stay(self) -> None:
        with self.store() as store:
            put_there: list[Document] = [
                {"record": "document", "key": key, "document": {"n": 1}} for key in ("a", "b", "c", "d")
            ]
            store.restore([store_record(), {"record": "documents", "after": None, "until": None}, *put_there])
            changed: Document = {"record": "document", "key": "c", "document": {"n": 2}}
            store.restore([store_record(), {"record": "documents", "after": "a", "until": "c"}, changed])
            assert store.state("") == {"a": {"n": 1}, "c": {"n": 2}, "d": {"n": 1}}

    def test_a_restore_is_atomic(self) -> None:
        with self.store() as store:
            stored = prediction("a", recorded_at=NOON)
            store.restore([store_record(), fact_record(stored)])
            documents_of_it: Document = {"record": "documents", "after": None, "until": None}
            new = [fact_record(prediction("new", recorded_at=NOON)), documents_of_it]
            new.append({"record": "document", "key": "k", "document": {}})
            wrongs: list[Mapping[str, Any]] = [
                fact_record(prediction("a", confidence=0.5, recorded_at=NOON)),
                {"record": "nothing"},
                {"record": "fact", "fact": {"kind": "nothing"}},
                {"record": "document", "key": "", "document": {}},
            ]
            for wrong in wrongs:
                with pytest.raises(F1monError):
                    store.restore([store_record(pruned_before={"prediction": to_micros(NOON)}), *new, wrong])  # type: ignore[list-item]
                assert same_facts(everything(store), [stored])
                assert store.state("") == {}
            assert store.append([prediction("late", at=OLD)]) == Appended(1, 0)

    def test_a_different_fact_under_a_key_is_a_conflict(self) -> None:
        with self.store() as store:
            store.restore([store_record(), fact_record(prediction("a", recorded_at=NOON))])
            with pytest.raises(ConflictError) as refused:
                store.restore([store_record(), fact_record(prediction("a", segments={"x": 1}, recorded_at=NOON))])
            assert refused.value.stored.key == ("a", "podium-1")

    def test_a_store_that_holds_something_else_refuses(self) -> None:
        fillings: list[Any] = [
            lambda store: store.append([prediction("own")]),
            lambda store: store.transition("k", counted, operation_id="op"),
            lambda store: store.transition("k", put(None), operation_id="op"),
            lambda store: store.restore([store_record("another"), fact_record(prediction(recorded_at=NOON))]),
        ]
        with self.store() as source:
            source.append([prediction("a")])
            for fill in fillings:
                with self.store() as target:
                    fill(target)
                    before = everything(target)
                    with pytest.raises(RestoreError):
                        carry(source, target)
                    assert same_facts(everything(target), before)
            with pytest.raises(RestoreError):
                carry(source, source)

    def test_a_store_goes_on_where_it_was_carried_to_and_can_be_carried_on(self) -> None:
        with self.store() as first, self.store() as second, self.store() as third:
            first.append([prediction("a"), outcome("a", 1)])
            carry(first, second)
            second.append([prediction("b"), outcome("a", 0)])
            carry(second, third)
            second.append([prediction("c")])
            assert carry(second, third) == Appended(1, 4)
            assert same_facts(everything(third), everything(second))
            with pytest.raises(RestoreError):
                carry(first, third)

    def test_records_of_another_contract_are_refused(self) -> None:
        with self.store() as store:
            with pytest.raises(SchemaError):
                store.restore([store_record(contract=CONTRACT + 1)])
            nobodys: list[list[Any]] = [[], [{}], [None], [fact_record(prediction(recorded_at=NOON))]]
            nobodys.append([store_record(), {"record": "document", "key": "k", "document": {}}])
            for records in nobodys:
                with pytest.raises(InvalidRecordError):
                    store.restore(records)
            assert everything(store) == []

    def test_what_an_earlier_f1mon_pruned_stays_pruned_under_every_model(self) -> None:
        until = NOON - 2 * HOUR
        pruned = store_record(pruned_before={"prediction": to_micros(PRUNED_BEFORE)}, outcomes_until=to_micros(until))
        with self.store() as store:
            store.restore([pruned, {"record": "pruned", "prediction_id": "a", "model_version": None}])
            for model in ("m", "n"):
                with pytest.raises(PrunedError):
                    store.append([prediction("a", model_version=model)])
            with pytest.raises(PrunedError):
                store.append([outcome("a", 1)])
            with pytest.raises(PrunedError) as refused:
                store.tally(TallyQuery(basis="outcome", since=until))
            assert refused.value.since == until + MICROSECOND
            store.append([prediction("b"), outcome("b", 1, NOON)])
            query = TallyQuery(basis="outcome", since=refused.value.since)
            model_of_it = Model()
            model_of_it.append([prediction("b"), outcome("b", 1, NOON)], NOON)
            assert disagreement(store.tally(query), model_of_it.tally(query)) is None
