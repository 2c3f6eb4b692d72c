"""Appends that go together: one transaction, no savepoint, and a lock that one of them waits for holds up no other."""

import asyncio
import threading
import time

import pytest
import sqlalchemy as sa

from f1mon_core.errors import ConflictError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.grouping import ApartError, BlockedError
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage

from ...servers import FRESH


def made(name, confidence=0.5):
    return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=confidence)


def test_several_batches_are_one_transaction(url):
    storage = SQLStorage(url)
    begun = []
    sa.event.listen(storage._engine, "commit", lambda _: begun.append(1))
    batches = [[made("a")], [made("b"), made("c")], [Outcome(prediction_id="a", actual_outcome=1)]]
    assert storage.append_each(batches) == [Appended(1, 0), Appended(2, 0), Appended(1, 0)]
    assert len(begun) == 1
    assert len({one.recorded_at for one in storage.find(Select("prediction"))}) == 1
    storage.close()


def test_a_group_that_is_taken_apart_leaves_nothing(url):
    storage = SQLStorage(url)
    storage.append([made("a")])
    with pytest.raises(ApartError):
        storage.append_each([[made("b")], [made("a")]])
    with pytest.raises(ConflictError):
        storage.append_each([[made("b")], [made("a", 0.25)]])
    assert storage.count(Select("prediction")) == {(): 1}
    storage.close()


@pytest.fixture
def held():
    """A store on PostgreSQL, and a connection that holds the row of the item "held"."""
    with FRESH["postgresql"]() as address:
        storage = SQLStorage(address)
        storage.append([made("held")])
        with storage._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SELECT * FROM f1mon_predictions WHERE prediction_id = 'held' FOR UPDATE")
            yield address, storage, connection
        storage.close()


@pytest.mark.servers
def test_a_lock_takes_the_group_apart_within_a_tenth_of_a_second(held):
    _, storage, connection = held
    began = time.monotonic()
    with pytest.raises(BlockedError):
        storage.append_each([[made("free")], [Outcome(prediction_id="held", actual_outcome=1)]])
    assert time.monotonic() - began < 5
    connection.exec_driver_sql("ROLLBACK")
    assert storage.append([Outcome(prediction_id="held", actual_outcome=1)]) == Appended(1, 0)


@pytest.mark.servers
def test_who_waits_for_no_lock_is_held_up_by_none(held):
    address, storage, connection = held

    async def story():
        own = await AsyncSQLStorage.open(address)
        first, blocked, free = (
            asyncio.create_task(own.append([one]))
            for one in (made("first"), Outcome(prediction_id="held", actual_outcome=1), made("free"))
        )
        async with asyncio.timeout(10):
            assert await first == await free == Appended(1, 0)
            assert not blocked.done()
            connection.exec_driver_sql("ROLLBACK")
            assert await blocked == Appended(1, 0)
        await own.close()

    asyncio.run(story())
    assert storage.count(Select("prediction")) == {(): 3}


def test_threads_of_one_handle_lose_nothing(url):
    storage, answers = SQLStorage(url), []

    def write(of):
        answers.extend(storage.append([made(f"{of}-{number}")]) for number in range(20))

    threads = [threading.Thread(target=write, args=(of,)) for of in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [Appended(1, 0)] * 160
    assert storage.count(Select("prediction")) == {(): 160}
    storage.close()
