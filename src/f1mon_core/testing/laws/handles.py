"""Handles: what each sees, what outlives them, and how they close."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from f1mon_core.errors import ClosedError, ConflictError, PrunedError
from f1mon_core.records.kinds import MetricSnapshot
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.bridge import BridgedStorage, together
from f1mon_core.testing.facts import HOUR, NOON, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import everything, recorded
from f1mon_core.testing.laws.base import Laws, demands
from f1mon_core.testing.laws.dump import store_record
from f1mon_core.testing.laws.transition import counted, put
from f1mon_core.testing.location import Place
from f1mon_core.testing.model import same_facts

VERBS: dict[str, Callable[[Storage], Any]] = {
    "append": lambda store: store.append([prediction()]),
    "append nothing": lambda store: store.append([]),
    "find": lambda store: store.find(Select("prediction")),
    "count": lambda store: store.count(Select("prediction")),
    "tally": lambda store: store.tally(TallyQuery()),
    "transition": lambda store: store.transition("k", counted, operation_id="op"),
    "state": lambda store: store.state(""),
    "prune": lambda store: store.prune(NOON),
    "dump": lambda store: store.dump(),
    "restore": lambda store: store.restore([store_record()]),
    "check": lambda store: store.check(),
}


def fill(store: Storage) -> None:
    """A little of everything, some of it pruned."""
    old = NOON - timedelta(days=2)
    store.append([prediction("old", at=old, segments={"country": "DE"}), outcome("old", 1, old)])
    store.append([prediction("a"), outcome("a", 1), alert("x")])
    store.append([acknowledgement("x", by="ada"), outcome("early", 0)])
    store.transition("rule/r", counted, operation_id="op")
    store.transition("incident/i", put({"holds": ["x"], "due": 1}, also={"delivery/x": {"due": 2}}), operation_id="op")
    store.prune(NOON - timedelta(days=1))


def assert_filled(store: Storage, place: Place) -> None:
    """All that `fill` left is there, and works."""
    kinds = sorted(fact.kind for fact in recorded(store))
    assert kinds == ["acknowledgement", "alert", "outcome", "outcome", "prediction"]
    assert store.count(Select("kept_tally")) == {(): 1}
    assert store.tally(TallyQuery(by=("country",), basis="outcome")).count == 2
    assert store.tally(TallyQuery()).count == 2
    assert sorted(store.state("")) == ["delivery/x", "incident/i", "rule/r"]
    assert list(store.state("", due_before=place.clock())) == ["delivery/x", "incident/i"]
    assert store.transition("rule/r", counted, operation_id="op") == 1
    assert store.append([prediction("a"), outcome("a", 1), alert("x")]) == Appended(0, 3)
    with pytest.raises(ConflictError):
        store.append([acknowledgement("x", by="bob")])
    for refused in (prediction("old"), outcome("old", 1), alert("late", at=NOON - timedelta(days=2))):
        with pytest.raises(PrunedError):
            store.append([refused])
    with pytest.raises(PrunedError):
        store.tally(TallyQuery(bins=3))
    assert store.check().ok


class HandleLaws(Laws):
    """What handles promise."""

    def test_a_store_is_empty_and_sound_when_it_is_fresh(self) -> None:
        with self.store() as store:
            assert everything(store) == []
            assert store.state("") == {}
            report = store.check()
            assert report.ok
            assert not any(report.facts.values())

    def test_asking_whether_a_store_is_there_makes_none(self) -> None:
        with self.place() as place:
            exists, options = place.record.exists, place.location.options
            if exists is None:  # it cannot tell, and need not
                return
            before = exists(**options)
            assert exists(**options) is before
            place.open()
            assert exists(**options) is True

    def test_a_store_shows_the_clock_it_was_opened_with(self) -> None:
        with self.place() as place:
            store = place.open()
            assert store.clock() == NOON
            place.clock.advance(HOUR)
            assert store.clock() == NOON + HOUR

    def test_an_address_is_text_without_a_password(self) -> None:
        with self.place() as place:
            address = place.open().address
            assert isinstance(address, str)
            for option in place.location.options.values():
                secret = urlsplit(option).password if isinstance(option, str) and "://" in option else None
                assert secret is None or f":{secret}@" not in address

    def test_a_store_is_what_its_protocol_says(self) -> None:
        with self.store() as store:
            if isinstance(store, BridgedStorage):
                assert isinstance(store.inner, AsyncStorage)
            assert isinstance(store, Storage)

    def test_check_counts_the_facts_of_each_kind(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), prediction("b"), outcome("a", 1), outcome("a", 0), alert("x")])
            store.append([MetricSnapshot(snapshot_id=name, model_version="m", metric_name="n") for name in "abc"])
            report = store.check()
            counted = {"prediction": 2, "outcome": 2, "alert": 1, "metric_snapshot": 3}
            assert {kind: n for kind, n in report.facts.items() if n} == counted
            assert report.ok

    def test_every_verb_of_a_closed_handle_raises_closed_error(self) -> None:
        with self.store() as store:
            store.append([prediction()])
            store.close()
            for name, verb in VERBS.items():
                with pytest.raises(ClosedError):
                    pytest.fail(f"{name} answered {verb(store)!r} after close")

    def test_closing_twice_is_a_no_op(self) -> None:
        with self.store() as store:
            store.close()
            store.close()

    def test_a_handle_that_was_never_used_closes(self) -> None:
        with self.store():
            pass

    def test_verbs_may_be_called_from_several_threads(self) -> None:
        with self.store() as store:
            calls: list[Callable[[Any], Any]] = [
                lambda own, n=number: own.append([prediction(f"p-{n}"), outcome(f"p-{n}", n % 2)])  # type: ignore[misc]
                for number in range(8)
            ]
            calls += [lambda own: own.find(Select("prediction")), lambda own: own.tally(TallyQuery())] * 4
            answers = together(store, calls)
            assert [answer for answer in answers if isinstance(answer, BaseException)] == []
            assert answers[:8] == [Appended(2, 0)] * 8
            assert store.count(Select("prediction", having="outcome")) == {(): 8}

    def test_appends_at_once_are_each_atomic_and_counted_by_themselves(self) -> None:
        def appending(name: str) -> Callable[[Any], Any]:
            return lambda own: own.append([prediction(name), outcome(name, 1)])

        with self.store() as store:
            store.append([prediction("taken"), prediction("again")])
            calls = [appending(f"p-{number}") for number in range(12)]
            calls.insert(3, lambda own: own.append([prediction("fresh"), prediction("taken", confidence=0.25)]))
            calls.insert(7, lambda own: own.append([prediction("again"), prediction("other")]))
            answers = together(store, calls)
            assert isinstance(answers.pop(3), ConflictError)
            assert answers.pop(6) == Appended(1, 1)
            assert answers == [Appended(2, 0)] * 12
            stored = {one.key[0] for one in store.find(Select("prediction"))}
            assert stored == {"taken", "again", "other", *(f"p-{number}" for number in range(12))}

    def test_a_reader_sees_all_of_a_batch_or_nothing(self) -> None:
        batch, all_predictions = [prediction(f"p-{number}") for number in range(300)], Select("prediction")
        with self.store() as store:
            seen: list[int] = [store.count(all_predictions).get((), 0)]
            looking, written = threading.Event(), threading.Event()

            def look(own: Any) -> None:
                while not written.is_set():
                    seen.append(own.count(all_predictions).get((), 0))
                    looking.set()
                    time.sleep(0.0005)  # between two looks a writer must come to a lock

            def write(own: Any) -> Any:
                looking.wait(10)
                try:
                    return own.append(batch)
                finally:
                    written.set()

            async def look_task(own: Any) -> None:
                while not written.is_set():
                    seen.append((await own.count(all_predictions)).get((), 0))
                    looking.set()

            async def write_task(own: Any) -> Any:
                while not looking.is_set():  # noqa: ASYNC110 - its readers look on the same loop
                    await asyncio.sleep(0.001)
                try:
                    return await own.append(batch)
                finally:
                    written.set()

            tasks = isinstance(store, BridgedStorage)
            answers = together(store, [*[look_task] * 6, write_task] if tasks else [*[look] * 6, write])
            assert answers == [*[None] * 6, Appended(300, 0)]
            assert set(seen) <= {0, 300}

    @demands("shared")
    def test_what_one_handle_appends_every_handle_sees_at_once(self) -> None:
        with self.place() as place:
            one, other, third = place.open(), place.open(), place.open()
            assert everything(other) == []
            for number in range(3):
                name = f"p-{number}"
                one.append([prediction(name), alert(name)])
                assert other.append([prediction(name), outcome(name, 1)]) == Appended(1, 1)
                assert third.tally(TallyQuery()).count == number + 1
                assert [key.actual for key in one.tally(TallyQuery()).cells] == [1]
                assert same_facts(everything(one), everything(third))
            with pytest.raises(ConflictError):
                third.append([prediction("p-0", confidence=0.1)])

    @demands("shared")
    def test_what_one_handle_transitions_every_handle_sees_at_once(self) -> None:
        with self.place() as place:
            one, other = place.open(), place.open()
            for number in range(1, 5):
                own, its = (one, other) if number % 2 else (other, one)
                assert own.transition("k", counted, operation_id=f"op-{number}") == number
                assert its.state("k")["k"] == {"n": number}
                assert its.transition("k", counted, operation_id=f"op-{number}") == number

    @demands("shared")
    def test_an_acknowledgement_by_one_handle_loses_no_alert_of_another(self) -> None:
        with self.place() as place:
            one, other = place.open(), place.open()
            for number in range(3):
                one.append([alert(f"a-{number}"), alert(f"b-{number}")])
                other.append([acknowledgement(f"a-{number}")])
            assert one.count(Select("alert")) == other.count(Select("alert")) == {(): 6}
            assert one.count(Select("alert", lacking="acknowledgement")) == {(): 3}

    @demands("shared")
    def test_what_one_handle_prunes_is_pruned_for_every_handle(self) -> None:
        with self.place() as place:
            one, other = place.open(), place.open()
            fill(one)
            assert_filled(other, place)
            with pytest.raises(PrunedError):
                other.append([prediction("older", at=NOON - timedelta(days=3))])

    @demands("shared")
    def test_closing_one_handle_leaves_the_others(self) -> None:
        with self.place() as place:
            one, other = place.open(), place.open()
            one.append([prediction("a")])
            place.release(one)
            other.append([prediction("b")])
            assert other.count(Select("prediction")) == {(): 2}

    @demands("durable")
    def test_everything_is_there_after_reopening(self) -> None:
        with self.place() as place:
            store = place.open()
            fill(store)
            before, documents = everything(store), store.state("")
            for _ in range(2):
                store = place.reopened(store)
                assert same_facts(everything(store), before)
                assert store.state("") == documents
                assert_filled(store, place)

    @demands("durable")
    def test_colours_read_what_the_other_wrote(self) -> None:
        with self.place() as place:
            for number, (writer, reader) in enumerate(((place.colour, place.twin), (place.twin, place.colour))):
                with place.handle(writer) as store:
                    if number == 0:
                        fill(store)
                    store.append([prediction(f"p-{number}", features={"ä": [1, 1.0, None]}, confidence=0.1 + 0.2)])
                    wrote = everything(store)
                    tallied, documents = store.tally(TallyQuery(since=NOON)), store.state("")
                with place.handle(reader) as store:
                    assert same_facts(everything(store), wrote)
                    assert store.tally(TallyQuery(since=NOON)) == tallied
                    assert store.state("") == documents
