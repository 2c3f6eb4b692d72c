"""Interrupted and cancelled calls: what a traceback keeps alive holds no lock, no snapshot and no connection."""

import asyncio
import random
import signal
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from f1mon_core.errors import F1monError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

from ...interrupting import Struck

pytestmark = [pytest.mark.faults]

AT = datetime(2026, 5, 1, tzinfo=UTC)
SMALL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5.0, "lock_timeout": 5.0}
INTERRUPTS = 200


def made(name):
    return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.5, at=AT)


def batch(name):
    return [made(f"{name}/{number}") for number in range(30)]


def assert_whole_and_free(url, kept):
    """Nobody holds anything, although the errors live; nothing is half there, and what was acknowledged is there."""
    assert kept
    with closing(SQLStorage(url, lock_timeout=2.0)) as other:
        assert other.append([made("free"), Outcome(prediction_id="free", actual_outcome=1, at=AT)]).new == 2
        other.transition("free", lambda state, now: Change({"n": 1}), operation_id="free")
        names = [one.prediction_id.partition("/")[0] for one in other.find(Select("prediction"))]
        assert {names.count(name) for name in set(names) - {"free"}} <= {30}
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(target_of(url).database_file)) as raw:
                busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                assert busy == 0, "an old snapshot keeps the journal from being emptied"
    return set(names)


async def cancelled_often(store):
    kept, acknowledged, chosen = [], set(), random.Random(7)
    began = time.monotonic()
    await store.append(batch("warm"))
    usual = time.monotonic() - began
    for number in range(INTERRUPTS):
        calls = [
            store.append(batch(str(number))),
            store.find(Select("prediction", limit=50)),
            store.transition("k", lambda state, now: Change({"n": 1}), operation_id=str(number)),
        ]
        tasks = [asyncio.ensure_future(one) for one in calls]
        await asyncio.sleep(chosen.random() * 2 * usual)
        for _ in range(1 + number % 3):  # impatient, too
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        kept += [one for one in done if isinstance(one, BaseException)]
        if not isinstance(done[0], BaseException):
            acknowledged.add(str(number))
    assert (await store.append(batch("last"))).new == 30
    await asyncio.gather(*(store.find(Select("alert")) for _ in range(4)))
    return kept, acknowledged


@pytest.mark.parametrize("whose", ["f1mon's", "an application's"])
def test_hundreds_of_cancelled_calls_leave_nothing_behind(url, whose):
    SQLStorage(url).close()

    async def run():
        if whose == "f1mon's":
            store = await AsyncSQLStorage.open(target_of(url, asynchronous=True).url, **SMALL)
            return (*await cancelled_often(store), store, None)
        level = {} if url.startswith("sqlite") else {"isolation_level": "READ COMMITTED"}
        engine = create_async_engine(
            target_of(url, asynchronous=True).url, pool_size=2, max_overflow=0, pool_timeout=5.0, **level
        )
        store = await AsyncSQLStorage.open(engine, lock_timeout=5.0)
        return (*await cancelled_often(store), store, engine)

    async def scenario():
        kept, acknowledged, store, engine = await run()
        assert not [one for one in kept if isinstance(one, F1monError)]
        found = await asyncio.to_thread(assert_whole_and_free, url, kept)
        assert acknowledged | {"warm", "last"} <= found
        await store.close()
        if engine is not None:
            await engine.dispose()

    asyncio.run(scenario())


class Interrupted(KeyboardInterrupt):
    """Ctrl-C."""


# PyMySQL leaves a socket that was interrupted while it connected to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.servers
def test_hundreds_of_interrupted_calls_leave_nothing_behind(url):
    def interrupt(_number, _frame):
        raise Interrupted

    store = SQLStorage(url, **SMALL)
    began = time.monotonic()
    store.append(batch("warm"))
    usual = time.monotonic() - began
    kept, acknowledged, chosen = [], set(), random.Random(7)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(INTERRUPTS):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + chosen.random() * 1.5 * usual)
                store.append(batch(str(number)))
                acknowledged.add(str(number))
                store.find(Select("prediction", limit=50))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except (Interrupted, AssertionError) as error:
                # SQLAlchemy asserts in a `finally` what an interrupt in the midst of it made untrue.
                if not isinstance(error, Interrupted) and not isinstance(error.__context__, Interrupted):
                    raise
                kept.append(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert store.append(batch("last")).new == 30
    assert acknowledged | {"warm", "last"} <= assert_whole_and_free(url, kept)
    store.close()


@pytest.mark.parametrize("where", ["cause", "context"])
def test_what_an_interrupt_came_from_or_went_through_holds_nothing(sqlite_url, where):
    """SQLAlchemy's own ending, interrupted, is an error of its own whose traceback has no cursor: its context's has."""
    SQLStorage(sqlite_url).close()
    with closing(SQLStorage(sqlite_url, lock_timeout=2.0)) as store:

        def step(document, now):
            half_read = sqlite3.connect(target_of(sqlite_url).database_file)
            cursor = half_read.execute("SELECT name FROM sqlite_master")
            cursor.fetchone()
            raise KeyboardInterrupt

        def ending(document, now):
            try:
                step(document, now)
            except KeyboardInterrupt as interrupt:
                raise AssertionError from (interrupt if where == "cause" else None)

        with pytest.raises(AssertionError) as kept:
            store.transition("k", ending, operation_id="k")
        store.append(batch("a"))
        assert_whole_and_free(sqlite_url, [kept])


def test_a_connection_that_is_closed_takes_its_half_read_statements_along(sqlite_url):
    with closing(SQLStorage(sqlite_url)) as store:
        store.append(batch("a"))
        with store._engine.connect() as connection:
            half_read = connection.exec_driver_sql("SELECT * FROM f1mon_predictions")
            half_read.fetchone()
            connection.invalidate()
            store.append(batch("b"))
            assert_whole_and_free(sqlite_url, [half_read])


@pytest.mark.parametrize("verb", ["a write", "a read"])
def test_one_interrupted_statement_of_sqlite_lets_go_at_once(sqlite_url, verb):
    class Cursor(sqlite3.Cursor):
        def execute(self, text, values=()):
            super().execute(text, values)
            if armed and armed[0] in text:
                raise KeyboardInterrupt
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, _factory=None):
            return super().cursor(Cursor)

    armed = []
    SQLStorage(sqlite_url).close()
    engine = sa.create_engine(sqlite_url, connect_args={"factory": Connection}, pool_size=1)
    with closing(SQLStorage(engine)) as store:
        store.append(batch("a"))
        armed.append("INSERT" if verb == "a write" else "SELECT")
        with pytest.raises(KeyboardInterrupt) as kept:
            store.append([made("b")]) if verb == "a write" else store.find(Select("prediction"))
        armed.clear()
        assert_whole_and_free(sqlite_url, [kept])
    engine.dispose()


def test_a_commit_that_is_interrupted_tells_the_interrupt(tmp_path):
    with closing(SQLStorage(f"sqlite:///{tmp_path}/f1mon.db", **SMALL)) as store:
        # SQLAlchemy ends a commit by asserting that the transaction is over.
        for name in ("commit", "_do_commit", "_connection_commit_impl", "_commit_impl"):
            assert Struck(1, inside=name).at(lambda name=name: store.append(batch(name)))
            assert store.append(batch(name)).new in (0, 30)
        assert store.check().ok


def test_what_fails_while_the_caller_handles_an_interrupt_is_told_as_itself(tmp_path):
    with closing(SQLStorage(f"sqlite:///{tmp_path}/f1mon.db")) as store:
        store.append([made("a")])

        def failing(_state, _now):
            raise ZeroDivisionError

        def handling():
            try:
                signal.default_int_handler(signal.SIGINT, None)
            except KeyboardInterrupt:
                store.transition("key", failing, operation_id="a")

        with pytest.raises(ZeroDivisionError):
            handling()
