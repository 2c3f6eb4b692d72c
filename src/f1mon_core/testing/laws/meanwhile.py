"""What goes on while a verb is under way: the caller's own code, interrupts, another handle, another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Fact
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.bridge import BridgedStorage
from f1mon_core.testing.facts import HOUR, NOON, SECOND, alert, outcome, prediction
from f1mon_core.testing.laws.append import everything
from f1mon_core.testing.laws.base import Laws, demands, during
from f1mon_core.testing.laws.prune import OLD, PRUNED_BEFORE
from f1mon_core.testing.laws.transition import counted, put
from f1mon_core.testing.races import Slots, fork_beside

SOON = 2.0
"""Seconds within which a verb must come through that nothing keeps out."""


class Cancelled(BaseException):
    """What no `except Exception` catches, as `KeyboardInterrupt`, which an event loop would take for its own."""


def in_time(call: Callable[[], Any]) -> Any:
    """What a call answers on a thread of its own, which is left where it does not come home."""
    answer: Future[Any] = Future()

    def answering() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=answering, daemon=True).start()
    return answer.result(SOON)


class MeanwhileLaws(Laws):
    """What is promised while a verb is under way.

    Attributes:
        lease: How long, in seconds, a step may take without losing its place.
    """

    lease = 0.6

    # The caller's own code --------------------------------------------------------------------------------------------

    def test_a_batch_is_stamped_when_all_of_it_is_there_however_long_that_takes(self) -> None:
        with self.place() as place:
            store = place.open()

            def slowly() -> Iterator[Fact]:
                for number in range(5):
                    place.clock.advance(HOUR)
                    yield prediction(f"p-{number}", at=None)
                    yield outcome(f"p-{number}", 1)
                yield alert("x", at=None)

            assert store.append(slowly()) == Appended(11, 0)
            assert {(fact.at, fact.recorded_at) for fact in everything(store)} == {(NOON + 5 * HOUR, NOON + 5 * HOUR)}

    def test_a_batch_may_be_iterated_once_and_in_any_form(self) -> None:
        facts = [prediction("a"), outcome("a", 1, NOON), alert("x")]
        with self.store() as store:
            values = {fact.key: fact for fact in facts}.values()
            forms: list[Any] = [iter(facts), tuple(facts), values, filter(None, facts)]
            answers = [store.append(form) for form in forms]
            assert answers == [Appended(3, 0), *[Appended(0, 3)] * 3]

    def test_nothing_of_the_callers_keeps_others_out_while_a_batch_is_read(self) -> None:
        with self.place() as place:
            store = place.open()
            if isinstance(store, BridgedStorage):
                return  # one event loop: whoever reads a batch there keeps everybody out
            other = place.open() if place.record.shared else store
            came = threading.Event()

            def write() -> None:
                other.append([prediction("meanwhile")])
                other.transition("k", counted, operation_id="meanwhile")
                came.set()

            def waiting() -> Iterator[Fact]:
                yield prediction("first")
                writer.start()
                let_in.append(came.wait(SOON))
                yield prediction("last")

            let_in: list[bool] = []
            writer = threading.Thread(target=write, daemon=True)
            store.append(waiting())
            writer.join(SOON)  # where it was kept out, it must be through before its handle is closed
            assert let_in == [True]
            assert store.count(Select("prediction")) == {(): 3}

    def test_what_an_iterable_asks_of_the_same_handle_is_answered(self) -> None:
        with self.store() as store:
            if isinstance(store, BridgedStorage):
                return  # its verbs are awaited, which an iterable cannot do
            store.append([prediction("before")])
            seen: list[Any] = []

            def asking() -> Iterator[Fact]:
                seen.append(store.count(Select("prediction")))
                yield prediction("a")
                seen.append(store.append([prediction("within")]))
                yield prediction("within")
                seen.append(store.transition("k", counted, operation_id="within"))

            assert store.append(asking()) == Appended(1, 1)
            assert seen == [{(): 1}, Appended(1, 0), 1]

    # Interrupts -------------------------------------------------------------------------------------------------------

    def test_an_interrupt_in_a_step_leaves_nothing_and_keeps_nobody_out(self) -> None:
        with self.place() as place:
            store = place.open()
            interrupt = Cancelled if isinstance(store, BridgedStorage) else KeyboardInterrupt
            store.transition("k", counted, operation_id="first")

            def step(document: Document | None, _: datetime) -> Change:
                assert document is not None
                document["n"] = 99
                raise interrupt

            other = place.open() if place.record.shared else store
            for _ in range(3):
                with pytest.raises(interrupt):
                    store.transition("k", step, operation_id="op")
                assert in_time(lambda: other.append([prediction("free")])).new in {0, 1}
            assert store.transition("k", counted, operation_id="op") == 2
            assert other.state("k") == {"k": {"n": 2}}

    def test_an_interrupt_while_a_batch_is_read_leaves_nothing_and_keeps_nobody_out(self) -> None:
        def interrupted() -> Iterator[Fact]:
            yield prediction("a")
            raise Cancelled

        with self.store() as store:
            for _ in range(2):
                with pytest.raises(Cancelled):
                    store.append(interrupted())
                assert everything(store) == []
            assert store.append([prediction("a")]) == Appended(1, 0)
            assert store.transition("k", counted, operation_id="op") == 1

    def test_a_step_may_take_its_time(self) -> None:
        with self.place() as place:
            store, inside = place.open(), threading.Event()

            def slow(document: Document | None, now: datetime) -> Change:
                if not inside.is_set():
                    inside.set()
                    time.sleep(self.lease)
                return counted(document, now)

            first = during(
                place,
                store,
                lambda own: own.transition("k", slow, operation_id="slow"),
                lambda own: own.transition("k", counted, operation_id="quick"),
                inside,
            )
            assert first in ([1, 2], [2, 1])
            assert store.state("k") == {"k": {"n": 2}}

    # Another handle ---------------------------------------------------------------------------------------------------

    @demands("shared")
    def test_a_close_leaves_the_running_verbs_of_other_handles_alone(self) -> None:
        with self.place() as place:
            store = place.open()
            inside, closed = threading.Event(), threading.Event()

            def step(document: Document | None, now: datetime) -> Change:
                inside.set()
                closed.wait(SOON)
                return counted(document, now)

            others = [place.open() for _ in range(2)]
            for other in others:
                other.append([prediction("seen")])
            with ThreadPoolExecutor(1) as thread:
                running = thread.submit(lambda: store.transition("k", step, operation_id="op"))
                inside.wait(SOON)
                for other in others:
                    place.release(other)
                closed.set()
                assert running.result(4 * SOON) == 1
            assert store.append([prediction("seen"), prediction("after")]) == Appended(1, 1)
            with place.handle() as last:
                assert last.state("k") == {"k": {"n": 1}}
                assert last.count(Select("prediction")) == {(): 2}

    @demands("shared")
    def test_totals_stand_for_another_handle_while_a_prune_is_under_way(self) -> None:
        number = 240
        with self.place() as place:
            store = place.open()
            facts: list[Fact] = [prediction(f"p-{one}", at=OLD + one * SECOND) for one in range(number)]
            store.append([*facts, *(outcome(f"p-{one}", one % 2, OLD + HOUR) for one in range(number))])
            other = place.open()
            seen: set[Any] = set()
            done, looking = threading.Event(), threading.Event()

            def look() -> None:
                while not done.is_set():
                    cells = other.tally(TallyQuery()).cells
                    seen.add(tuple(sorted((str(key.actual), cell.n) for key, cell in cells.items())))
                    seen.add(other.tally(TallyQuery(basis="outcome")).count)
                    left = other.find(Select("prediction")), other.find(Select("outcome"))
                    seen.add(("left", len(left[0]) % number, len(left[1]) % number))
                    looking.set()

            with ThreadPoolExecutor(1) as thread:
                looks = thread.submit(look)
                looking.wait(SOON)
                try:
                    pruned = store.prune(PRUNED_BEFORE)
                finally:
                    done.set()
                looks.result()
            assert pruned.removed == {"prediction": number, "outcome": number}
            assert seen == {(("0", number // 2), ("1", number // 2)), number, ("left", 0, 0)}

    @demands("shared")
    def test_a_forked_child_and_its_parent_work_at_the_same_time(self) -> None:
        number = 12
        with self.place() as place:
            store = place.open()
            store.append([prediction("before")])

            def work(own: Any, name: str) -> list[Any]:
                done = []
                for one in range(number):
                    own.append([prediction(f"{name}-{one}"), prediction("before")])
                    done.append(own.transition("k", counted, operation_id=f"{name}-{one}"))
                    own.tally(TallyQuery())
                return done

            begun = Slots(2)

            def meet(own: int) -> None:
                begun[own] = 1
                begun.await_positive(1 - own)

            def child() -> list[Any]:
                own = place.open() if self.colour == "async" else store
                meet(0)
                return work(own, "child")

            def parent() -> list[Any]:
                meet(1)
                return work(store, "parent")

            of_child, of_parent = fork_beside(child, parent)
            assert sorted([*of_child, *of_parent]) == list(range(1, 2 * number + 1))
            assert store.count(Select("prediction")) == {(): 2 * number + 1}
            assert store.transition("k", put({"n": 0}, result="on"), operation_id="last") == "on"
