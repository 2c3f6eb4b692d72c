"""Statements sent past SQLAlchemy: seen where somebody looks, told in its errors, and never half read."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from f1mon_core.errors import ConflictError, CorruptStoreError
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect import statements
from f1mon_sql.connect.target import target_of
from f1mon_sql.verbs.calls import Verbs

from ...factories import outcome, prediction

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WRITTEN = ("f1mon_predictions", "f1mon_outcomes", "f1mon_state", "f1mon_operations")


def write_everything(storage):
    storage.append([prediction(at=NOW)])
    storage.append([outcome(at=NOW)])
    storage.transition("rule", lambda _document, _now: Change({"n": 1}), operation_id="1")


def told_to_a_listener(target):
    seen = []

    def listen(*given):
        seen.append(given[2])

    sa.event.listen(target, "before_cursor_execute", listen)
    return seen, lambda: sa.event.remove(target, "before_cursor_execute", listen)


@pytest.mark.parametrize("of", ["this engine", "every engine"])
def test_events_see_every_statement(sqlite_url, of, monkeypatch):
    monkeypatch.setattr(Verbs, "forget", lambda _: None)  # once in so many transitions, old results are dropped first
    engine = sa.create_engine(sqlite_url)
    seen, forget = told_to_a_listener(engine if of == "this engine" else sa.Engine)
    storage = SQLStorage(engine if of == "this engine" else sqlite_url)
    seen.clear()
    write_everything(storage)
    forget()
    assert all(any(f"INTO {table}" in text for text in seen) for table in WRITTEN)
    assert seen.count("BEGIN IMMEDIATE") == 3
    storage.close()
    engine.dispose()


@pytest.mark.parametrize("ask", ["echo", "sqlalchemy.engine", "sqlalchemy.engine.Engine"])
def test_whoever_asks_for_a_log_of_statements_gets_all_of_them(sqlite_url, caplog, ask):
    if ask != "echo":
        caplog.set_level(logging.INFO, logger=ask)
    storage = SQLStorage(sqlite_url, echo=ask == "echo")
    caplog.clear()
    write_everything(storage)
    said = [record.getMessage() for record in caplog.records]
    assert all(any(f"INTO {table}" in text for text in said) for table in WRITTEN)
    storage.close()


@pytest.mark.parametrize("colour", ["sync", "aiosqlite"])
def test_an_error_that_is_kept_holds_no_old_snapshot(sqlite_url, colour):
    async def scenario(storage):
        for number in range(5):
            await storage.transition(f"k{number}", lambda document, now: Change({"n": 1}), operation_id="1")
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("UPDATE f1mon_state SET document = CAST(X'FFFE' AS TEXT) WHERE state_key = 'k2'")
        with pytest.raises(CorruptStoreError) as kept:
            await storage.state("")
        with closing(SQLStorage(sqlite_url)) as other:
            write_everything(other)
        assert len(await storage.find(Select("prediction"))) == 1
        assert (await storage.append([outcome(prediction_id="b", at=NOW)])).new == 1
        assert kept.value is not None
        await storage.close()

    async def run():
        options = {"pool_size": 1, "max_overflow": 0, "lock_timeout": 2.0}
        if colour == "sync":
            await scenario(OffloadedStorage(SQLStorage(sqlite_url, **options)))
        else:
            await scenario(await AsyncSQLStorage.open(sqlite_url, **options))

    asyncio.run(run())


def test_a_fact_that_cannot_be_read_holds_no_old_snapshot(sqlite_url):
    facts = [
        Prediction(
            prediction_id=f"{number:03d}",
            model_version="m",
            predicted_outcome=1,
            confidence=0.5,
            features={"x": 1},
            at=NOW,
        )
        for number in range(300)
    ]
    with closing(SQLStorage(sqlite_url, pool_size=1, max_overflow=0, lock_timeout=2.0)) as storage:
        storage.append(facts)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("UPDATE f1mon_features SET features = '{' WHERE prediction_id = '002'")
        with pytest.raises(CorruptStoreError) as kept:
            storage.find(Select("prediction"))
        with closing(SQLStorage(sqlite_url)) as other:
            write_everything(other)
        assert storage.append([outcome(prediction_id="b", at=NOW)]).new == 1
        assert kept.value is not None


def test_a_call_that_is_cancelled_does_not_take_a_database_in_memory_along():
    def batch(prefix):
        made = prediction(at=NOW)
        return [attrs.evolve(made, prediction_id=f"{prefix}/{number}") for number in range(50)]

    async def scenario():
        store = await AsyncSQLStorage.open("sqlite://")
        await store.append(batch("first"))
        for given_way in range(60):
            task = asyncio.ensure_future(store.append(batch(given_way)))
            for _ in range(given_way):
                await asyncio.sleep(0)
            for _ in range(1 + given_way % 3):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])
        found = {fact.prediction_id.partition("/")[0] for fact in await store.find(Select("prediction"))}
        counted = await store.count(Select("prediction"))
        await store.close()
        assert "first" in found
        assert counted == {(): 50 * len(found)}
        return found

    assert len(asyncio.run(scenario())) > 1


@pytest.fixture
def connection():
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:", factory=_Interrupted))
    with engine.connect() as opened:
        opened.begin()
        statements.look(opened)
        yield opened
    engine.dispose()


class _Interrupted(sqlite3.Connection):
    """Ctrl-C comes in the middle of any statement that says so."""

    def cursor(self):
        return super().cursor(_InterruptedCursor)


class _InterruptedCursor(sqlite3.Cursor):
    def execute(self, text, values=()):
        if "interrupt" in text:
            raise KeyboardInterrupt
        return super().execute(text, values)


def test_a_drivers_error_is_told_as_sqlalchemy_tells_it(connection):
    statements.rows(connection, "CREATE TABLE t (a INTEGER PRIMARY KEY)")
    assert statements.changed(connection, "INSERT INTO t VALUES (?)", [(1,), (2,)]) == 2
    with pytest.raises(IntegrityError) as caught:
        statements.changed(connection, "INSERT INTO t VALUES (?)", [(1,)])
    assert isinstance(caught.value.orig, sqlite3.IntegrityError)
    assert "(1,)" not in str(caught.value)
    assert statements.rows(connection, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]


def test_a_connection_that_was_interrupted_is_not_used_again(connection):
    with pytest.raises(KeyboardInterrupt):
        statements.rows(connection, "SELECT 'interrupt'")
    assert connection.invalidated


def test_a_wrong_call_is_no_error_of_the_database(connection):
    with pytest.raises(TypeError):
        statements.rows(connection, None)
    assert not connection.invalidated


@pytest.mark.parametrize("watched", ["nobody", "echo", "listener"])
@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mysql"])
def test_a_batch_that_meets_what_is_stored_leaves_its_savepoint_whole(server, watched, request):
    """On an application's own engine: a conflict in a batch or a transition costs that alone."""
    url = target_of(request.getfixturevalue(f"{server}_url")).url
    options = {} if server == "sqlite" else {"isolation_level": "READ COMMITTED"}
    engine = sa.create_engine(url, echo=watched == "echo", **options)
    seen = told_to_a_listener(engine)[0] if watched == "listener" else None
    storage = SQLStorage(engine)
    storage.append([prediction(prediction_id="1", at=NOW)])
    other = attrs.evolve(prediction(prediction_id="1", at=NOW), confidence=0.25)
    batch = [prediction(prediction_id=f"{number}", at=NOW) for number in (0, 2)]
    with pytest.raises(ConflictError):
        storage.append([*batch, other])
    with pytest.raises(ConflictError):
        storage.transition("k", lambda _document, _now: Change({"n": 1}, [*batch, other]), operation_id="1")
    assert storage.state("") == {}
    assert [one.prediction_id for one in storage.find(Select("prediction"))] == ["1"]
    assert storage.append([*batch, prediction(prediction_id="1", at=NOW)]).new == 2
    assert seen is None or any("SAVEPOINT f1mon_rows" in text for text in seen)
    storage.close()
    engine.dispose()
