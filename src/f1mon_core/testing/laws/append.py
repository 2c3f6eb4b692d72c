"""`Storage.append`, sentence by sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, cast

import attrs
import pytest

from f1mon_core.errors import ConflictError, PrunedError
from f1mon_core.records.kinds import KINDS, Fact, Outcome, Prediction
from f1mon_core.records.times import LATEST, MICROSECOND, to_micros
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.base import Laws, during
from f1mon_core.testing.location import Place
from f1mon_core.testing.model import same_facts, written
from f1mon_core.testing.strategies import OF_STORES

MANY = 10_500
"""More than any limit a store might hide."""


def everything(store: Storage) -> list[Fact]:
    """All facts of every kind."""
    return [fact for kind in KINDS for fact in store.find(Select(kind))]


def recorded(store: Storage) -> list[Fact]:
    """All facts but those that a prune kept of others."""
    return [fact for fact in everything(store) if fact.kind not in OF_STORES]


def current_actual(store: Storage, **query: object) -> list[int | str | None]:
    """The current outcome of every prediction counted."""
    return [key.actual for key in store.tally(TallyQuery(**query)).cells]  # type: ignore[arg-type]


class AppendLaws(Laws):
    """What `append` promises."""

    def test_append_answers_how_many_were_new_and_how_many_repeated(self) -> None:
        with self.store() as store:
            assert store.append([prediction("a"), prediction("b")]) == Appended(2, 0)
            assert store.append([prediction("b"), prediction("c")]) == Appended(1, 1)
            assert store.append([prediction("d"), prediction("d")]) == Appended(1, 1)
            assert store.append([]) == Appended(0, 0)

    def test_append_takes_any_iterable(self) -> None:
        with self.store() as store:
            assert store.append(prediction(name) for name in "abc") == Appended(3, 0)

    def test_an_iterable_that_fails_leaves_nothing(self) -> None:
        def failing() -> Iterator[Fact]:
            yield prediction("a")
            raise LookupError("the source broke off")

        with self.store() as store:
            with pytest.raises(LookupError, match="broke off"):
                store.append(failing())
            assert everything(store) == []

    def test_the_same_fact_again_is_a_no_op_and_the_first_stays(self) -> None:
        with self.place() as place:
            store = place.open()
            facts = [prediction("a", at=None), outcome("a", 1, NOON), alert("x", at=None), acknowledgement("x")]
            store.append(facts)
            before = everything(store)
            place.clock.advance(HOUR)
            assert store.append(facts) == Appended(0, 4)
            assert same_facts(everything(store), before)

    def test_two_times_are_compared_only_when_both_were_given(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("stamped", at=None), prediction("given", at=NOON)])
            place.clock.advance(HOUR)
            later = [prediction("stamped", at=NOON + 3 * HOUR), prediction("given", at=None)]
            assert store.append(later) == Appended(0, 2)
            with pytest.raises(ConflictError):
                store.append([prediction("given", at=NOON + MICROSECOND)])
            assert [fact.at for fact in store.find(Select("prediction"))] == [NOON, NOON]

    def test_a_fact_without_a_time_gets_the_stores_clock(self) -> None:
        with self.place() as place:
            store = place.open()
            now = place.clock.advance(timedelta(days=2, microseconds=7))
            store.append([prediction("a", at=None), alert("x", at=None), outcome("a"), acknowledgement("x")])
            for fact in everything(store):
                assert (fact.at, fact.at_given) == (now, False)

    def test_a_given_time_is_kept_and_remembered_as_given(self) -> None:
        with self.store() as store:
            store.append([prediction("a", at=NOON - HOUR), outcome("a", 1, NOON - MINUTE)])
            for fact, at in zip(everything(store), (NOON - HOUR, NOON - MINUTE), strict=True):
                assert (fact.at, fact.at_given) == (at, True)

    def test_recorded_at_is_always_the_stores(self) -> None:
        with self.place() as place:
            store = place.open()
            now = place.clock.advance(HOUR)
            store.append([prediction("a", recorded_at=NOON - HOUR), attrs.evolve(outcome("a"), recorded_at=NOON)])
            assert [fact.recorded_at for fact in everything(store)] == [now, now]

    def test_a_different_fact_under_the_same_key_is_a_conflict_that_names_both(self) -> None:
        with self.store() as store:
            for first, second in (
                (prediction("a"), prediction("a", confidence=0.5)),
                (alert("x"), alert("x", title="another")),
                (acknowledgement("x", by="ada"), acknowledgement("x", by="bob")),
                (outcome("a", 1, NOON), outcome("a", 0, NOON)),
            ):
                store.append([first])
                with pytest.raises(ConflictError) as refused:
                    store.append([second])
                stored, offered = refused.value.stored, refused.value.offered
                assert written(stored, stamps=False) == written(first, stamps=False)
                assert written(offered, stamps=False) == written(second, stamps=False)
                assert stored.recorded_at == NOON
                assert [written(fact, stamps=False) for fact in store.find(Select(first.kind))] == [
                    written(first, stamps=False)
                ]

    def test_each_fact_of_a_batch_is_compared_with_the_first_that_stands_under_its_key(self) -> None:
        made: tuple[tuple[str, Any], ...] = (
            ("prediction", prediction),
            ("alert", alert),
            ("acknowledgement", acknowledgement),
        )
        for kind, fact in made:
            with self.store() as store:
                store.append([fact("stamped", at=None), fact("given", at=NOON)])
                twice = [fact("stamped", at=NOON + HOUR), fact("stamped", at=NOON + 2 * HOUR)]
                assert store.append(twice) == Appended(0, 2)
                with pytest.raises(ConflictError):
                    store.append([fact("given", at=None), fact("given", at=NOON + HOUR)])
                with pytest.raises(ConflictError):
                    store.append([fact("new", at=NOON), fact("new", at=None), fact("new", at=NOON + HOUR)])
                assert store.append([fact("new", at=None), fact("new", at=NOON + HOUR)]) == Appended(1, 1)
                assert [one.at for one in store.find(Select(kind))] == [NOON] * 3
        with self.store() as store:
            contradicted = [outcome("a", 0, LATEST), outcome("a", 1, LATEST), outcome("a", 0)]
            with pytest.raises(ConflictError):
                store.append(contradicted)

    def test_a_batch_has_one_instant_of_whatever_kinds_it_is(self) -> None:
        with self.place() as place:

            def ticking() -> datetime:
                return place.clock.advance(SECOND)

            kinds = [prediction("a", at=None), outcome("a", 1), alert("x", at=None), acknowledgement("x")]
            with closing(Place(place.location, place.colour, cast("SharedClock", ticking))) as ticked:
                store = ticked.open()
                store.append(kinds)
                assert len({one for fact in everything(store) for one in (fact.at, fact.recorded_at)}) == 1
                again = [prediction("b", at=None), outcome("b", 1), alert("y", at=None), acknowledgement("y")]
                store.transition("k", lambda _, __: Change({}, again), operation_id="op")
                assert len({one for fact in everything(store) for one in (fact.at, fact.recorded_at)}) == 2

    def test_of_several_contradictions_the_first_of_the_batch_is_told(self) -> None:
        wrong: tuple[Fact, ...] = (
            acknowledgement("x", by="bob"),
            prediction("a", confidence=0.1),
            outcome("a", 0, NOON),
            alert("x", title="another"),
        )
        with self.store() as store:
            store.append([prediction("a"), outcome("a", 1, NOON), alert("x"), acknowledgement("x", by="ada")])
            store.append([prediction("old", at=NOON - 2 * HOUR)])
            store.prune(NOON - HOUR)
            for first in range(len(wrong)):
                turned = [*wrong[first:], *wrong[:first]]
                with pytest.raises(ConflictError) as refused:
                    store.append([prediction("new"), *turned, prediction("old", at=NOON - 2 * HOUR)])
                assert written(refused.value.offered, stamps=False) == written(turned[0], stamps=False)
                with pytest.raises(PrunedError):
                    store.append([prediction("old", at=NOON - 2 * HOUR), *turned])
            with pytest.raises(ConflictError) as refused:
                store.append([prediction("b"), prediction("b", confidence=0.1), prediction("a", confidence=0.2)])
            assert refused.value.offered.key[0] == "b"

    def test_values_that_differ_only_in_type_conflict(self) -> None:
        with self.store() as store:
            for name, one, other in (("a", 1, 1.0), ("b", 1, True), ("c", "1", 1), ("d", None, False), ("e", 0.0, 0)):
                store.append([prediction(name, features={"x": one})])
                with pytest.raises(ConflictError):
                    store.append([prediction(name, features={"x": other})])

    def test_the_order_of_keys_in_an_object_makes_no_difference(self) -> None:
        with self.store() as store:
            store.append([prediction(features={"a": 1, "b": {"c": 2, "d": 3}})])
            assert store.append([prediction(features={"b": {"d": 3, "c": 2}, "a": 1})]) == Appended(0, 1)

    def test_a_conflict_writes_nothing_of_its_batch(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), outcome("a", 1)])
            before = everything(store)
            with pytest.raises(ConflictError):
                store.append([alert("new"), prediction("new"), outcome("a", 0), prediction("a", confidence=0.1)])
            with pytest.raises(ConflictError):
                store.append([prediction("a", confidence=0.1), prediction("new"), outcome("new", 1)])
            assert same_facts(everything(store), before)
            assert current_actual(store) == [1]

    def test_a_conflict_within_a_batch_writes_nothing_of_it(self) -> None:
        with self.store() as store:
            with pytest.raises(ConflictError):
                store.append([prediction("a"), prediction("b"), prediction("a", confidence=0.5)])
            with pytest.raises(ConflictError):
                store.append([outcome("a", 1, NOON), outcome("a", 0, NOON)])
            assert everything(store) == []

    def test_a_conflict_does_not_stop_the_next_append(self) -> None:
        with self.store() as store:
            store.append([prediction("a")])
            with pytest.raises(ConflictError):
                store.append([prediction("b"), prediction("a", confidence=0.5)])
            assert store.append([prediction("b"), outcome("b", 0)]) == Appended(2, 0)
            assert len(everything(store)) == 3

    def test_the_current_outcome_again_without_known_at_is_a_no_op(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("a"), outcome("a", 1)])
            place.clock.advance(HOUR)
            assert store.append([outcome("a", 1), outcome("a", 1)]) == Appended(0, 2)
            assert [fact.at for fact in store.find(Select("outcome"))] == [NOON]

    def test_a_correction_without_known_at_is_known_now(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("a"), outcome("a", 1, NOON - HOUR)])
            now = place.clock.advance(HOUR)
            assert store.append([outcome("a", 0)]) == Appended(1, 0)
            assert [fact.at for fact in store.find(Select("outcome"))] == [NOON - HOUR, now]
            assert current_actual(store) == [0]

    def test_a_correction_is_known_after_every_earlier_revision(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), outcome("a", 1, NOON + HOUR)])
            store.append([outcome("a", 0)])
            store.append([outcome("a", 1)])
            known = [fact.at for fact in store.find(Select("outcome"))]
            assert known == [NOON + HOUR, NOON + HOUR + MICROSECOND, NOON + HOUR + 2 * MICROSECOND]
            assert current_actual(store) == [1]

    def test_outcomes_of_one_batch_are_taken_in_order(self) -> None:
        with self.store() as store:
            batch = [prediction("a"), outcome("a", 1), outcome("a", 0), outcome("a", 0), outcome("a", 1)]
            assert store.append(batch) == Appended(4, 1)
            found = [fact for fact in store.find(Select("outcome")) if isinstance(fact, Outcome)]
            assert [(fact.at, fact.actual_outcome) for fact in found] == [
                (NOON, 1),
                (NOON + MICROSECOND, 0),
                (NOON + 2 * MICROSECOND, 1),
            ]

    def test_the_newest_known_at_is_current_whatever_came_last(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), outcome("a", 1, NOON + HOUR)])
            store.append([outcome("a", 0, NOON)])
            assert current_actual(store) == [1]
            assert store.append([outcome("a", 1)]) == Appended(0, 1)

    def test_an_outcome_may_come_before_its_prediction(self) -> None:
        with self.store() as store:
            store.append([outcome("a", 0), outcome("b", 1, NOON - HOUR)])
            assert store.tally(TallyQuery()).cells == {}
            store.append([prediction("b"), prediction("a")])
            assert sorted(current_actual(store), key=str) == [0, 1]
            assert [fact.key[0] for fact in store.find(Select("prediction", having="outcome"))] == ["a", "b"]

    def test_one_microsecond_makes_another_revision(self) -> None:
        with self.store() as store:
            store.append([outcome("a", 1, NOON), outcome("a", 0, NOON + MICROSECOND)])
            assert [fact.at for fact in store.find(Select("outcome"))] == [NOON, NOON + MICROSECOND]

    def test_after_the_last_instant_there_is_no_correction(self) -> None:
        with self.store() as store:
            store.append([outcome("a", 1, LATEST)])
            with pytest.raises(ValueError, match="9999"):
                store.append([prediction("a"), outcome("a", 0)])
            assert [fact.at for fact in everything(store)] == [LATEST]

    def test_ids_that_look_alike_are_different_ids(self) -> None:
        ids = ["a", "A", "a ", " a", "a\t", "ä", "a\u0308", "ß", "ss", "ı", "i", "ﬁ", "fi", "a%", "a_", "1", "01"]  # noqa: RUF001
        with self.store() as store:
            assert store.append(prediction(one, metadata={"id": one}) for one in ids) == Appended(len(ids), 0)
            for one in ids:
                (found,) = store.find(Select("prediction", where={"prediction_id": one}))
                assert isinstance(found, Prediction)
                assert found.metadata == {"id": one}
            store.append([alert(one) for one in ids])
            store.append([acknowledgement(one, by=one) for one in ids[::2]])
            assert {fact.key[0] for fact in store.find(Select("alert", lacking="acknowledgement"))} == set(ids[1::2])

    def test_ids_of_255_characters_are_kept_apart_to_the_last(self) -> None:
        ids = [letter * 254 + last for letter in "aä\U0001f3ce" for last in "xy"]
        with self.store() as store:
            store.append([*(prediction(one) for one in ids), *(alert(one) for one in ids)])
            for one in ids:
                assert [fact.key for fact in store.find(Select("prediction", where={"prediction_id": one}))] == [
                    (one, "podium-1")
                ]
            store.append([acknowledgement(ids[0]), outcome(ids[1], 1)])
            assert store.count(Select("alert", having="acknowledgement")) == {(): 1}
            assert store.count(Select("prediction", having="outcome")) == {(): 1}

    def test_what_the_caller_changes_afterwards_changes_nothing(self) -> None:
        features = {"speed": 1.0, "laps": [1, 2]}
        with self.store() as store:
            store.append([prediction(features=features)])
            features["speed"] = 2.0
            for _ in range(2):
                (found,) = store.find(Select("prediction"))
                assert isinstance(found, Prediction)
                assert found.features == {"speed": 1.0, "laps": [1, 2]}
                found.features["speed"] = 3.0

    def test_a_big_batch_is_stored_whole(self) -> None:
        with self.store() as store:
            batch: list[Fact] = [
                prediction(f"p-{number:05d}", at=NOON + number * SECOND) for number in range(MANY // 2)
            ]
            batch += [outcome(f"p-{number:05d}", 1, NOON) for number in range(MANY // 2)]
            assert store.append(batch) == Appended(len(batch), 0)
            assert store.append(batch) == Appended(0, len(batch))
            assert store.count(Select("prediction", having="outcome")) == {(): MANY // 2}

    def test_a_conflict_late_in_a_big_batch_leaves_nothing_of_it(self) -> None:
        with self.store() as store:
            for late in (1_500, MANY):
                store.append([alert(f"a-{late}", title="stored")])
                batch: list[Fact] = [prediction(f"p-{number}") for number in range(MANY)]
                batch.insert(late, alert(f"a-{late}", title="offered"))
                with pytest.raises(ConflictError):
                    store.append(batch)
                assert store.find(Select("prediction", limit=1)) == []

    def test_a_batch_is_stamped_inside_its_critical_section(self) -> None:
        with self.place() as place:
            shown, armed, reading = place.clock, threading.Event(), threading.Event()

            def dawdling() -> datetime:
                now = shown()
                if armed.is_set():
                    armed.clear()
                    reading.set()
                    time.sleep(0.15)  # long enough for the other to come to the lock, or past it
                    shown.set(NOON + HOUR)
                return now

            def append_first(own: Any) -> Any:
                armed.set()
                return own.append([outcome("p", 1)])

            def append_second(own: Any) -> Any:
                return own.append([outcome("p", 0)])

            with closing(Place(place.location, place.colour, cast("SharedClock", dawdling))) as slow:
                store = slow.open()
                assert during(slow, store, append_first, append_second, reading) == [Appended(1, 0)] * 2
                found = store.find(Select("outcome"))
            # Whichever came first: the other was stored after the clock had been turned.
            assert [(fact.at, fact.recorded_at) for fact in found] == [(NOON, NOON), (NOON + HOUR, NOON + HOUR)]

    def test_times_are_kept_to_the_microsecond(self) -> None:
        instants = [NOON + MICROSECOND, NOON - MICROSECOND, LATEST, LATEST - MICROSECOND]
        with self.store() as store:
            store.append(prediction(str(to_micros(at)), at=at) for at in instants)
            assert [fact.at for fact in store.find(Select("prediction"))] == sorted(instants)
