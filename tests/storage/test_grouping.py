"""Group commit: what goes together, what is taken apart, and that nobody waits for another for long."""

import asyncio
import os
import threading
import time

import pytest

from f1mon_core.errors import ClosedError, ConflictError, NotWritten, OutcomeUnknown
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.async_grouping import AsyncGroups
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.grouping import MOST_FACTS, ApartError, BlockedError, Groups, shares


def batch(name, facts=1):
    return [
        Prediction(prediction_id=f"{name}-{one}", model_version="m", predicted_outcome=1, confidence=0.5)
        for one in range(facts)
    ]


def name_of(facts):
    return facts[0].prediction_id.partition("-")[0]


class Store:
    """A store of a list, whose first call waits until it is let go."""

    def __init__(self, fails=None):
        self.calls = []
        self.entered, self.let = threading.Event(), threading.Event()
        self.fails = fails or {}
        self.guard = threading.Lock()

    def _note(self, *batches):
        names = [name_of(one) for one in batches]
        with self.guard:
            self.calls.append(names)
        if names == ["first"]:
            self.entered.set()
            assert self.let.wait(10)
        if (error := self.fails.get(tuple(names) if len(names) > 1 else names[0])) is not None:
            raise error

    def alone(self, facts):
        self._note(facts)
        return Appended(len(facts), 0, 0, 0)

    def together(self, batches):
        self._note(*batches)
        if len(batches) > 1 and (error := self.fails.get("together")) is not None:
            raise error
        return [Appended(len(one), 0, 0, 0) for one in batches]

    async def alone_async(self, facts):
        return await asyncio.to_thread(self.alone, facts)

    async def together_async(self, batches):
        return await asyncio.to_thread(self.together, batches)


@pytest.fixture(params=["threads", "tasks"])
def raced(request, monkeypatch):
    """Run calls that come, in this order, while a first one is under way; what came of each."""

    def by_threads(store, batches, hold):
        groups = Groups(store.alone, store.together)
        answers = {}

        def call(facts):
            try:
                answers[name_of(facts)] = groups.append(facts)
            except Exception as error:  # noqa: BLE001 - looked at
                answers[name_of(facts)] = error

        threads = [threading.Thread(target=call, args=(one,)) for one in [batch("first"), *batches]]
        for number, thread in enumerate(threads):
            thread.start()
            assert store.entered.wait(5)
            deadline = time.monotonic() + 1
            while len(groups._waiting) < number and time.monotonic() < deadline and not hold:
                time.sleep(0.001)
        time.sleep(hold)
        store.let.set()
        for thread in threads:
            thread.join(10)
        return answers

    def by_tasks(store, batches, hold):
        async def story():
            groups = AsyncGroups(store.alone_async, store.together_async)
            calls = [groups.append(one) for one in [batch("first"), *batches]]
            asyncio.get_running_loop().call_later(0.02 + hold, store.let.set)
            return await asyncio.gather(*calls, return_exceptions=True)

        names = ["first", *map(name_of, batches)]
        return dict(zip(names, asyncio.run(story()), strict=True))

    chosen = by_threads if request.param == "threads" else by_tasks
    # the machine may be busy, and those who wait shall wait for the first
    monkeypatch.setattr("f1mon_core.storage.grouping.PATIENCE", 5.0)
    monkeypatch.setattr("f1mon_core.storage.async_grouping.PATIENCE", 5.0)
    return lambda store, batches, hold=0.0: chosen(store, batches, hold)


def test_what_comes_meanwhile_goes_together_in_its_order(raced):
    store = Store()
    answers = raced(store, [batch("a"), batch("b", 3), batch("c")])
    assert store.calls == [["first"], ["a", "b", "c"]]
    assert {name: one.new for name, one in answers.items()} == {"first": 1, "a": 1, "b": 3, "c": 1}


def test_one_that_is_refused_is_alone_with_that(raced):
    conflict = ConflictError(*batch("x", 2))
    store = Store({"together": conflict, "b": conflict})
    answers = raced(store, [batch("a"), batch("b"), batch("c")])
    assert store.calls == [["first"], ["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert isinstance(answers.pop("b"), ConflictError)
    assert all(one == Appended(1, 0) for one in answers.values())


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), NotWritten("gone")])
def test_what_is_nobodys_fault_is_told_to_all(raced, error):
    store = Store({"together": error})
    answers = raced(store, [batch("a"), batch("b")])
    assert store.calls == [["first"], ["a", "b"]]
    for name in "ab":
        assert type(answers[name]) is type(error)
        assert answers[name] is not error
        assert str(answers[name]) == str(error)


def test_where_a_lock_is_held_each_goes_by_itself(raced):
    store = Store({"together": BlockedError()})
    answers = raced(store, [batch("a"), batch("b")])
    assert store.calls[:2] == [["first"], ["a", "b"]]
    assert sorted(store.calls[2:]) == [["a"], ["b"]]
    assert all(one == Appended(1, 0) for one in answers.values())


def test_a_failure_of_the_first_passes_the_lead_on(raced):
    store = Store({"first": NotWritten("gone")})
    answers = raced(store, [batch("a"), batch("b")])
    assert isinstance(answers["first"], NotWritten)
    assert store.calls == [["first"], ["a", "b"]]


def test_a_group_has_a_bound(raced):
    store = Store()
    raced(store, [batch("a", MOST_FACTS - 1), batch("b"), batch("c"), batch("d")])
    assert store.calls == [["first"], ["a", "b"], ["c", "d"]]


def test_a_large_call_does_not_wait(raced):
    store = Store()
    answers = {}
    groups = Groups(store.alone, store.together)
    first = threading.Thread(target=groups.append, args=(batch("first"),))
    first.start()
    assert store.entered.wait(5)
    answers = groups.append(batch("large", MOST_FACTS + 1))
    assert answers.new == MOST_FACTS + 1
    store.let.set()
    first.join(5)


@pytest.mark.parametrize("colour", ["threads", "tasks"])
def test_nobody_waits_long_for_one_that_hangs(colour):
    store = Store()
    began = time.monotonic()
    if colour == "threads":
        groups = Groups(store.alone, store.together)
        first = threading.Thread(target=groups.append, args=(batch("first"),))
        first.start()
        assert store.entered.wait(5)
        assert groups.append(batch("a")) == Appended(1, 0)
        store.let.set()
        first.join(5)
    else:

        async def story():
            groups = AsyncGroups(store.alone_async, store.together_async)
            first = asyncio.create_task(groups.append(batch("first")))
            await asyncio.sleep(0)
            assert await groups.append(batch("a")) == Appended(1, 0)
            assert not first.done()
            store.let.set()
            await first

        asyncio.run(story())
    assert 0.05 < time.monotonic() - began < 5


def test_a_cancelled_call_ends_no_other():
    async def story():
        store = Store()
        groups = AsyncGroups(store.alone_async, store.together_async)
        first, a, b = (asyncio.create_task(groups.append(batch(name))) for name in ("first", "a", "b"))
        await asyncio.sleep(0.01)
        first.cancel()
        a.cancel()
        await asyncio.sleep(0)
        store.let.set()
        assert await b == Appended(1, 0)
        assert first.cancelled()
        assert a.cancelled()
        await groups.close()
        with pytest.raises(ClosedError):
            await groups.append(batch("c"))

    asyncio.run(story())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child_nothing_is_under_way():
    store = Store()
    groups = Groups(store.alone, store.together)
    first = threading.Thread(target=groups.append, args=(batch("first"),))
    first.start()
    assert store.entered.wait(5)
    if (child := os.fork()) == 0:
        os._exit(0 if not groups._busy and groups.append(batch("a")) == Appended(1, 0) else 1)
    store.let.set()
    first.join(5)
    assert os.waitpid(child, 0)[1] == 0


def test_sums_that_do_not_say_whose_they_are_take_a_group_apart():
    outcomes = [Outcome(prediction_id="x", actual_outcome=1)]
    assert shares(Appended(2, 0, 0, 0), [batch("a"), outcomes]) == [Appended(1, 0)] * 2
    assert [one.unmatched for one in shares(Appended(2, 0, 0, 1), [batch("a"), outcomes])] == [0, 1]
    for sums in (Appended(1, 1, 0, 0), Appended(2, 0, 1, 0), Appended(3, 0, 0, 1)):
        with pytest.raises(ApartError):
            shares(sums, [batch("a"), outcomes, outcomes])
