"""OffloadedStorage beyond the laws: event loops that come and go, forks, and an executor of its own."""

import asyncio
import os
import threading
import time

import pytest

from f1mon_core import ClosedError
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.registry import open_async_storage, open_storage
from f1mon_core.storage.select import Select
from f1mon_core.testing.facts import prediction
from f1mon_core.testing.races import fork_and_wait


@pytest.fixture
def offloaded(tmp_path):
    store = OffloadedStorage(open_storage("jsonl", path=tmp_path / "store"))
    yield store
    asyncio.run(store.close())


def test_one_handle_serves_several_event_loops(offloaded):
    assert asyncio.run(offloaded.append([prediction("a")])) == Appended(1, 0)
    assert asyncio.run(offloaded.append([prediction("a"), prediction("b")])) == Appended(1, 1)
    with asyncio.Runner() as runner:
        assert runner.run(offloaded.count(Select("prediction"))) == {(): 2}


def test_it_works_inside_a_running_loop_and_does_not_block_it(tmp_path):
    async def main():
        store = await open_async_storage("jsonl", path=tmp_path / "store")
        inside, go_on = threading.Event(), threading.Event()

        def step(_, __):
            inside.set()
            assert go_on.wait(10)
            return Change({}, result="done")

        slow = asyncio.ensure_future(store.transition("k", step, operation_id="op"))
        while not inside.is_set():  # noqa: ASYNC110 - the step sets it from a thread
            await asyncio.sleep(0)
        assert not slow.done()
        go_on.set()
        assert await slow == "done"
        await store.close()

    asyncio.run(main())


def test_the_executor_is_its_own(offloaded):
    names = set()

    def step(_, __):
        names.add(threading.current_thread().name)
        return Change({})

    async def main():
        await offloaded.transition("k", step, operation_id="op")
        return asyncio.get_running_loop()._default_executor

    assert asyncio.run(main()) is None
    assert [name.startswith("f1mon") for name in names] == [True]


def test_a_forked_child_has_threads_of_its_own(offloaded):
    asyncio.run(offloaded.append([prediction("before")]))
    parent = os.getpid()

    def child():
        assert os.getpid() != parent
        return asyncio.run(offloaded.append([prediction("child")])), asyncio.run(offloaded.count(Select("prediction")))

    assert fork_and_wait(child) == (Appended(1, 0), {(): 2})
    assert asyncio.run(offloaded.count(Select("prediction"))) == {(): 2}


def test_a_fork_while_a_verb_is_under_way_does_not_hang_the_child(offloaded):
    inside, go_on = threading.Event(), threading.Event()

    def step(_, __):
        inside.set()
        assert go_on.wait(20)
        return Change({"by": "parent"})

    working = threading.Thread(
        target=lambda: asyncio.run(offloaded.transition("k", step, operation_id="op")), name="under-way"
    )
    working.start()
    assert inside.wait(10)
    try:
        assert fork_and_wait(lambda: asyncio.run(offloaded.count(Select("prediction")))) == {}
    finally:
        go_on.set()
        working.join()
    assert asyncio.run(offloaded.state("")) == {"k": {"by": "parent"}}


def test_closing_waits_for_the_verbs_under_way_and_closes_the_store(tmp_path):
    async def main():
        store = await open_async_storage("jsonl", path=tmp_path / "store")
        appended = [asyncio.ensure_future(store.append([prediction(f"p-{number}")])) for number in range(20)]
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        assert [one.result() for one in appended] == [Appended(1, 0)] * 20
        with pytest.raises(ClosedError):
            await store.find(Select("prediction"))
        return [one.name for one in threading.enumerate() if one.name.startswith("f1mon") and one not in others]

    others = threading.enumerate()
    assert asyncio.run(main()) == []


class Slow(MemoryStorage):
    """Takes a while to append, and tells how often it was closed."""

    closed = 0

    def append(self, facts):
        time.sleep(0.02)
        return super().append(facts)

    def close(self):
        self.closed += 1
        super().close()


async def under_way(number):
    """A store with so many appends under way."""
    store = OffloadedStorage(Slow())
    appended = [asyncio.ensure_future(store.append([prediction(f"p-{one}")])) for one in range(number)]
    await asyncio.sleep(0)
    return store, appended


def test_everybody_who_closes_waits_for_the_verbs_under_way():
    async def main():
        store, appended = await under_way(20)
        await asyncio.gather(store.close(), store.close())
        assert [one.result() for one in appended] == [Appended(1, 0)] * 20
        assert store.storage.closed == 1

    asyncio.run(main())


def test_a_cancelled_close_goes_on_and_the_next_one_waits_for_it():
    async def main():
        store, appended = await under_way(8)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0.001)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await store.close()
        assert [one.result() for one in appended] == [Appended(1, 0)] * 8
        assert store.storage.closed == 1

    asyncio.run(main())


def test_a_close_that_failed_may_be_repeated(monkeypatch):
    async def main():
        store, _ = await under_way(1)
        with monkeypatch.context() as patched:
            patched.setattr(store.storage, "close", lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await store.close()
        await store.close()
        assert store.storage.closed == 1

    asyncio.run(main())


def test_a_cancelled_call_leaves_the_handle_usable(offloaded):
    async def main():
        call = asyncio.ensure_future(offloaded.append([prediction("a")]))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await offloaded.append([prediction("a"), prediction("b")])

    appended = asyncio.run(main())
    assert appended.new + appended.repeated == 2
    assert asyncio.run(offloaded.count(Select("prediction"))) == {(): 2}
