"""The bridge that holds an async store to the sync laws survives forks and never waits for ever."""

import asyncio
import gc

import pytest

from f1mon_core.storage.select import Select
from f1mon_core.testing import Location, SharedClock, bridge
from f1mon_core.testing.bridge import BridgedStorage
from f1mon_core.testing.facts import NOON, prediction
from f1mon_core.testing.location import Place
from f1mon_core.testing.races import crew, fork_and_wait

# As an error, the warning of a loop that nobody closed would keep Python from closing it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture
def place(tmp_path):
    place = Place(Location("jsonl", path=str(tmp_path / "store")), "offloaded", SharedClock.made(tmp_path / "c", NOON))
    yield place
    place.close()


def test_the_garbage_of_a_forked_child_leaves_its_parents_loop_awake(place, monkeypatch):
    monkeypatch.setattr(bridge, "PATIENCE", 10)
    place.open().append([prediction("a")])

    def work(member):
        member.place.open().append([prediction(f"of-{member.number}")])
        gc.collect()

    crew(place, 2, work)
    (store,) = place._handles
    assert store.count(Select("prediction")) == {(): 3}


def test_a_child_that_uses_its_parents_bridge_leaves_the_parents_loop_awake(place, monkeypatch):
    monkeypatch.setattr(bridge, "PATIENCE", 10)
    store = place.open()

    def child():
        store.append([prediction("a")])
        gc.collect()
        store.release()

    for _ in range(3):
        fork_and_wait(child)
        assert store.count(Select("prediction")) == {(): 1}


def test_a_store_that_never_answers_is_told_after_a_while(monkeypatch):
    async def opened():
        return None

    stuck = BridgedStorage(opened)
    monkeypatch.setattr(bridge, "PATIENCE", 0.05)
    with pytest.raises(AssertionError, match=r"within 0\.05 s"):
        stuck.run(asyncio.sleep(60))
    with pytest.raises(TimeoutError, match="its own"):
        stuck.run(_late())
    stuck._runner.close()


async def _late():
    raise TimeoutError("its own")
