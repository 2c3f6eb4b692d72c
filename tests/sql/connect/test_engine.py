"""Connections: how they are set up, shared, forked, pickled, timed out and given back."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import random
import secrets
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine

from f1mon_core import ClosedError, ConfigurationError, LockTimeoutError, NotWritten
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.registry import open_async_storage, open_storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect import loops
from f1mon_sql.connect.target import target_of, target_of_engine
from f1mon_sql.schema import upgrading
from f1mon_sql.verbs import calls
from f1mon_sql.verbs.calls import Call

from ...factories import outcome, prediction
from ...servers import SERVERS, admin, administering

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def driver_url(url, asynchronous=False):
    return target_of(url, asynchronous=asynchronous).url


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 0},
        {"max_overflow": -1},
        {"lock_timeout": 0},
        {"statement_timeout": "1"},
        {"synchronous": "OFF"},
        {"poolsize": 1},
    ],
)
def test_a_setting_that_cannot_be_is_refused(sqlite_url, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        open_storage("sql", url=sqlite_url, **options)


@pytest.mark.parametrize(
    "address", ["postgresql+asyncpg://h/d", "oracle://h/d", "nonsense", 7, "sqlite+pysqlcipher://"]
)
def test_an_address_that_cannot_be_reached_is_refused(address):
    with pytest.raises(ConfigurationError):
        open_storage("sql", url=address)


def test_pragmas_hold_on_every_connection(sqlite_url):
    store = SQLStorage(sqlite_url, lock_timeout=2.5)
    for connection in [store._engine.connect() for _ in range(3)]:
        with connection:
            pragmas = store._verbs.run(connection, Call(_pragmas))
        assert pragmas == ("wal", 2, 2500, 1)
    store.close()


def test_a_database_that_keeps_another_setting_is_refused():
    with pytest.raises(ConfigurationError, match="journal_mode at 'memory'"):
        SQLStorage("sqlite:///file::memory:?uri=true")


def _pragmas(connection):
    names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
    return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names)


def test_the_environment_names_pool_and_echo(sqlite_url, monkeypatch):
    path = target_of(sqlite_url).database_file
    for name, value in {
        "ENABLED": "true",
        "PATH": str(path),
        "POOL_SIZE": "2",
        "MAX_OVERFLOW": "1",
        "ECHO": "false",
    }.items():
        monkeypatch.setenv(f"MONITORING_DB_{name}", value)
    with Monitor.open() as monitor:
        assert monitor.storage._engine.pool.size() == 2
        assert monitor.storage.concurrency == 2


def test_directories_are_made(tmp_path):
    SQLStorage(f"sqlite:///{tmp_path}/a/b/f1mon.db").close()
    assert (tmp_path / "a/b/f1mon.db").exists()


# SQLite's rules -----------------------------------------------------------------------------------------------------


def test_writes_begin_immediately_also_against_a_writer_that_takes_no_turns(sqlite_url):
    store = SQLStorage(sqlite_url, take_turns=False)
    other = sqlite3.connect(target_of(sqlite_url).database_file, isolation_level=None, check_same_thread=False)
    seen = []

    def step(state, now):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        seen.append(now)
        return Change({"n": 1})

    other.execute("PRAGMA busy_timeout = 0")
    store.transition("k", step, operation_id="1")
    assert seen
    other.close()
    store.close()


def test_a_lock_held_by_someone_else_is_a_typed_timeout_and_then_all_goes_on(sqlite_url):
    store = SQLStorage(sqlite_url, lock_timeout=0.2)
    other = sqlite3.connect(target_of(sqlite_url).database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockTimeoutError):
        store.append([prediction()])
    other.execute("ROLLBACK")
    other.close()
    assert store.append([prediction()]).new == 1
    store.close()


def test_a_database_in_memory_is_one_for_all_threads():
    store = SQLStorage("sqlite://")
    threads = [
        threading.Thread(target=lambda name=str(number): store.append([prediction(prediction_id=name)]))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.find(Select("prediction"))) == 8
    with pytest.raises(TypeError):
        pickle.dumps(store)
    store.close()


COMMITTED = {"isolation_level": "READ COMMITTED"}


def committed(url):
    """What an application tells `create_engine` to share its engine with f1mon."""
    return {} if url.startswith("sqlite") else COMMITTED


def test_handles_that_live_for_a_few_transitions_forget_old_results_too(sqlite_url, monkeypatch):
    monkeypatch.setattr(calls, "random", random.Random(1))
    now = [NOON]
    for day in range(200):
        now[0] += timedelta(days=1)
        store = SQLStorage(sqlite_url, clock=lambda: now[0])
        for number in range(10):
            store.transition("k", lambda state, now: Change({}), operation_id=f"{day}-{number}")
        store.close()
    raw = sqlite3.connect(target_of(sqlite_url).database_file)
    (kept,) = raw.execute("SELECT COUNT(*) FROM f1mon_operations").fetchone()
    (plan,) = (row[3] for row in raw.execute("EXPLAIN QUERY PLAN DELETE FROM f1mon_operations WHERE at < 1"))
    raw.close()
    assert kept < 1_300  # of 2,000, of which 1,000 stay, where one transition in 200 forgets
    assert "ix_f1mon_operations_at" in plan


def test_values_that_no_fact_can_have_select_none(url):
    store = SQLStorage(url)
    store.append([prediction(at=NOON), outcome(at=NOON)])
    assert store.find(Select("outcome", where={"actual_outcome": 2**63})) == []
    assert len(store.find(Select("outcome", where={"actual_outcome": [2**80, 1, -(2**90)]}))) == 1
    assert store.find(Select("prediction", where={"prediction_id": "\ud800"})) == []
    assert len(store.find(Select("prediction", limit=2**80))) == 1
    assert len(store.find(Select("prediction", limit=2**31))) == 1
    store.close()


# Sharing ------------------------------------------------------------------------------------------------------------


def test_an_applications_engine_is_used_and_left_open(url):
    engine = sa.create_engine(driver_url(url), **committed(url))
    store = SQLStorage(engine)
    assert store.append([prediction(features={"x": 1})]).new == 1
    assert len(store.find(Select("prediction"))) == 1
    with pytest.raises(TypeError):
        pickle.dumps(store)
    store.close()
    with pytest.raises(ClosedError):
        store.find(Select("prediction"))
    with engine.begin() as connection:  # its own transactions work as before
        assert connection.execute(sa.text("SELECT COUNT(*) FROM f1mon_predictions")).scalar() == 1
    engine.dispose()


def test_an_applications_async_engine_is_used_and_left_open(url):
    async def shared():
        engine = create_async_engine(driver_url(url, asynchronous=True), **committed(url))
        store = await open_async_storage("sql", url=engine)
        assert isinstance(store, AsyncSQLStorage)
        await store.append([prediction()])
        await store.close()
        async with engine.connect() as connection:
            assert (await connection.execute(sa.text("SELECT COUNT(*) FROM f1mon_predictions"))).scalar() == 1
        await engine.dispose()

    asyncio.run(shared())


ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY)"
TAKE_BACK = "INSERT INTO orders VALUES (NULL)"


def taken_back(engine):
    """An application's transaction that fails; how many of its rows are there, and how its connection is set up."""
    with suppress(ZeroDivisionError), engine.begin() as connection:
        connection.exec_driver_sql(TAKE_BACK)
        raise ZeroDivisionError
    with engine.connect() as connection:
        return (
            connection.exec_driver_sql("SELECT COUNT(*) FROM orders").scalar(),
            connection.connection.dbapi_connection.isolation_level,
            _pragmas(connection)[1:],
        )


def as_sqlalchemy_advises(engine):
    """What SQLAlchemy's manual tells who wants real transactions on SQLite to do."""

    @sa.event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql("BEGIN")


@pytest.mark.parametrize("adjust", [lambda engine: None, as_sqlalchemy_advises], ids=["plain", "as advised"])
def test_an_applications_sqlite_transactions_stay_its_own(sqlite_url, adjust):
    engine = sa.create_engine(sqlite_url, pool_size=1, connect_args={"timeout": 3})
    adjust(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(ORDERS)
    before = taken_back(engine)
    assert before[0] == 0
    store = SQLStorage(engine)
    for name in "ab":
        assert store.append([prediction(prediction_id=name)]).new == 1
        assert taken_back(engine) == before
    with pytest.raises(ZeroDivisionError):
        store.transition("k", lambda state, now: 1 / 0, operation_id="1")
    assert taken_back(engine) == before
    assert store.state("") == {}
    store.close()
    assert taken_back(engine) == before
    engine.dispose()


def test_an_applications_aiosqlite_transactions_stay_its_own(sqlite_url):
    async def taken_back_async(engine):
        with suppress(ZeroDivisionError):
            async with engine.begin() as connection:
                await connection.exec_driver_sql(TAKE_BACK)
                raise ZeroDivisionError
        async with engine.connect() as connection:
            count = (await connection.exec_driver_sql("SELECT COUNT(*) FROM orders")).scalar()
            return count, await connection.run_sync(_pragmas)

    async def shared():
        engine = create_async_engine(driver_url(sqlite_url, asynchronous=True), pool_size=1)
        async with engine.begin() as connection:
            await connection.exec_driver_sql(ORDERS)
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        before = await taken_back_async(engine)
        assert before[0] == 0
        store = await open_async_storage("sql", url=engine)
        for name in "ab":
            await store.append([prediction(prediction_id=name)])
            assert await taken_back_async(engine) == before
        await store.close()
        assert await taken_back_async(engine) == before
        await engine.dispose()

    asyncio.run(shared())


def test_a_transaction_of_an_application_on_its_only_connection_is_not_ended():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    store = SQLStorage(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(ORDERS)
        connection.exec_driver_sql(TAKE_BACK)
        with pytest.raises(NotWritten, match="application"):
            store._verbs.run(connection, Call(lambda _: None, write=True))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM orders").scalar() == 1
    store.close()
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit= before Python 3.12")
def test_an_engine_whose_driver_commits_by_itself_is_refused(sqlite_url):
    engine = sa.create_engine(sqlite_url, connect_args={"autocommit": True})
    with pytest.raises(ConfigurationError, match="autocommit"):
        SQLStorage(engine)
    engine.dispose()


def test_an_sqlite_address_is_offloaded_unless_it_names_aiosqlite(sqlite_url):
    async def colours():
        named = sqlite_url.replace(":", "+aiosqlite:", 1)
        for address, kind in ((sqlite_url, OffloadedStorage), (named, AsyncSQLStorage)):
            store = await open_async_storage("sql", url=address)
            assert isinstance(store, kind)
            await store.close()

    asyncio.run(colours())


def test_one_handle_serves_several_event_loops(url):
    store = AsyncSQLStorage(driver_url(url, asynchronous=True))
    SQLStorage(url).close()
    for name in "abc":
        asyncio.run(_together(store, name))
    asyncio.run(store.close())
    gc.collect()  # whatever was left open would warn now


@pytest.mark.parametrize("then", ["go on", "close"])
def test_connections_of_a_loop_that_ended_are_gone_before_the_next_one_ends(sqlite_url, then):
    store = AsyncSQLStorage(sqlite_url)
    SQLStorage(sqlite_url).close()
    asyncio.run(_together(store, "a"))
    (held,) = store._engines.by_loop.values()
    for connection in loops.connected[held.engine.sync_engine].values():
        connection.driver_connection._tx.put((None, lambda: time.sleep(0.2)))  # each ends late
    if then == "go on":
        asyncio.run(_together(store, "b"))
    asyncio.run(store.close())


@pytest.mark.parametrize("round_", range(2))
def test_a_store_closed_by_one_event_loop_ends_well_in_another(url, round_):
    SQLStorage(url).close()
    store = AsyncSQLStorage(driver_url(url, asynchronous=True))
    working, errors = threading.Event(), []

    async def busy():
        async def some(worker):
            for number in range(2000):
                await store.append([prediction(prediction_id=f"{worker}-{number}")])
                working.set()

        errors.extend(await asyncio.gather(*(some(worker) for worker in range(3)), return_exceptions=True))

    thread = threading.Thread(target=asyncio.run, args=(busy(),), daemon=True)
    thread.start()
    assert working.wait(10)
    asyncio.run(store.close())
    thread.join(10)
    assert not thread.is_alive()
    assert [type(one) for one in errors] == [ClosedError] * 3
    gc.collect()  # whatever was left open would warn now


@pytest.mark.parametrize("block", [time.sleep, None], ids=["blocked", "idle"])
def test_closing_waits_for_no_event_loop_that_does_not_go_on(url, block):
    SQLStorage(url).close()
    store = AsyncSQLStorage(driver_url(url, asynchronous=True))
    worked = threading.Event()

    async def idle():
        await store.append([prediction()])
        worked.set()
        if block is not None:
            block(3)
        else:
            await asyncio.sleep(3)

    thread = threading.Thread(target=asyncio.run, args=(idle(),), daemon=True)
    thread.start()
    assert worked.wait(10)
    began = time.monotonic()
    asyncio.run(store.close())
    assert time.monotonic() - began < 2.5
    thread.join(10)
    assert not thread.is_alive()
    gc.collect()


async def _together(store, name):
    done = await asyncio.gather(*(store.append([prediction(prediction_id=f"{name}{number}")]) for number in range(8)))
    assert sum(one.new for one in done) == 8


def test_a_store_is_pickled_by_its_address(url):
    store = SQLStorage(url, lock_timeout=7.0)
    copy = pickle.loads(pickle.dumps(store))
    copy.append([prediction()])
    assert len(store.find(Select("prediction"))) == 1
    assert copy._verbs.settings == store._verbs.settings
    copy.close()
    store.close()


def test_a_forked_child_has_connections_of_its_own(url):
    store = SQLStorage(url)
    store.append([prediction(prediction_id="parent")])
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(store,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert {one.prediction_id for one in store.find(Select("prediction"))} == {"parent", "child"}
    store.close()


def _in_child(store):
    store.append([prediction(prediction_id="child")])
    gc.collect()
    os._exit(0 if len(store.find(Select("prediction"))) == 2 else 1)


# Servers ------------------------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_a_held_row_is_a_typed_timeout_and_then_all_goes_on(url):
    store = SQLStorage(url, lock_timeout=1.0)
    other = SQLStorage(url)
    entered, go = threading.Event(), threading.Event()

    def hold(state, now):
        entered.set()
        go.wait(30)
        return Change({"held": True})

    thread = threading.Thread(target=lambda: other.transition("k", hold, operation_id="1"))
    thread.start()
    entered.wait(30)
    with pytest.raises(LockTimeoutError):
        store.transition("k", lambda state, now: Change({}), operation_id="2")
    go.set()
    thread.join()
    assert store.transition("k", lambda state, now: Change(state, result=1), operation_id="3") == 1
    assert store.state("") == {"k": {"held": True}}
    other.close()
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_large_batch_that_meets_a_held_row_is_a_typed_timeout_and_then_stored(url, asynchronous):
    SQLStorage(url).close()
    batch = [prediction(prediction_id=f"{number:04d}", at=NOON, features={"x": number}) for number in range(600)]
    other = sa.create_engine(driver_url(url))
    with other.connect() as holding:
        holding.exec_driver_sql("INSERT INTO f1mon_predictions (prediction_id) VALUES ('0300')")
        with pytest.raises(LockTimeoutError):
            _appended(url, batch, asynchronous)
        holding.rollback()
    other.dispose()
    store = SQLStorage(url)
    store.append([batch[7], outcome(prediction_id="0008")])
    assert _appended(url, batch, asynchronous) == Appended(599, 1)
    assert _appended(url, batch, asynchronous) == Appended(0, 600)
    assert [one.features for one in store.find(Select("prediction"))] == [one.features for one in batch]
    store.close()


def _appended(url, batch, asynchronous):
    async def awaited():
        store = await AsyncSQLStorage.open(url, lock_timeout=1.0)
        try:
            return await store.append(batch)
        finally:
            await store.close()

    if asynchronous:
        return asyncio.run(awaited())
    store = SQLStorage(url, lock_timeout=1.0)
    try:
        return store.append(batch)
    finally:
        store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_the_servers_clock_is_read_after_the_lock(url):
    store, other = SQLStorage(url), SQLStorage(url)
    entered, go, times = threading.Event(), threading.Event(), []

    def hold(state, now):
        entered.set()
        go.wait(30)
        return Change({})

    thread = threading.Thread(target=lambda: other.transition("k", hold, operation_id="1"))
    thread.start()
    entered.wait(30)
    late = threading.Thread(
        target=lambda: store.transition("k", lambda _, now: times.append(now) or Change({}), operation_id="2")
    )
    late.start()
    late.join(0.5)
    released = other.clock()
    go.set()
    thread.join()
    late.join()
    assert times[0] >= released
    other.close()
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_an_outcome_is_known_when_the_lock_of_its_prediction_was_had(url):
    store = SQLStorage(url)
    store.append([prediction()])
    known = []
    late = threading.Thread(target=lambda: known.append(store.append([outcome()])))
    other = sa.create_engine(driver_url(url))
    with other.connect() as holding:
        holding.exec_driver_sql("SELECT * FROM f1mon_predictions FOR UPDATE").all()
        late.start()
        late.join(0.5)
        released = store.clock()
        holding.rollback()
    late.join()
    other.dispose()
    assert known == [Appended(1, 0)]
    (stored,) = store.find(Select("outcome"))
    assert stored.at >= released
    assert stored.recorded_at >= released
    store.close()


CONNECTIONS = 4


def named(url):
    """The address with a name by which a server knows its sessions."""
    made = sa.make_url(url)
    if made.get_backend_name() == "postgresql":
        made = made.update_query_dict({"application_name": secrets.token_hex(6)})
    return made


def admin_of(url, *statements):
    """Run statements by themselves where an address leads."""
    engine = sa.create_engine(driver_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def end_sessions(url, number=CONNECTIONS):
    """End the sessions of a named address, as a restart of its server would."""
    server, _ = SERVERS[url.get_backend_name()]()
    with administering(server) as connection:
        if url.get_backend_name() == "postgresql":
            ask = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
            ended = connection.exec_driver_sql(ask, (url.query["application_name"],)).all()
        else:
            listed = "SELECT id FROM information_schema.processlist WHERE db = %s"
            ended = connection.exec_driver_sql(listed, (url.database,)).scalars().all()
            for one in ended:
                connection.exec_driver_sql(f"KILL {one}")
    assert len(ended) == number


VERBS = {
    "append": lambda store: store.append([prediction()]),
    "find": lambda store: store.find(Select("prediction")),
    "tally": lambda store: store.tally(TallyQuery()),
    "transition": lambda store: store.transition("k", lambda state, now: Change({}), operation_id="1"),
}


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
@pytest.mark.parametrize("verb", VERBS)
def test_connections_that_ended_while_nobody_used_them_are_replaced(url, verb):
    async def awaited():
        store = await AsyncSQLStorage.open(url)
        await asyncio.gather(*(store.find(Select("alert")) for _ in range(CONNECTIONS)))
        end_sessions(url)
        await VERBS[verb](store)
        await store.close()

    url = named(url)
    store = SQLStorage(url)
    held = [store._engine.connect() for _ in range(CONNECTIONS)]
    for one in held:
        one.close()
    end_sessions(url)
    VERBS[verb](store)
    store.close()
    asyncio.run(awaited())


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_a_step_whose_connection_ends_is_not_called_again(url):
    def step(_state, _now):
        calls.append(1)
        end_sessions(url)
        return Change({})

    url, calls = named(url), []
    store = SQLStorage(url)
    held = [store._engine.connect() for _ in range(CONNECTIONS)]
    for one in held:
        one.close()
    with pytest.raises(NotWritten):
        store.transition("k", step, operation_id="1")
    assert calls == [1]
    assert store.state("k") == {}
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql"], indirect=True)
def test_a_read_that_ends_its_own_connection_is_tried_twice(url):
    def read(connection):
        calls.append(1)
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())").all()

    store, calls = SQLStorage(url), []
    with pytest.raises(NotWritten):
        store._call(Call(read))
    assert calls == [1, 1]
    assert store.find(Select("prediction")) == []
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_a_read_that_is_ended_while_it_works_does_not_come_back(url):
    def read(connection):
        calls.append(1)
        connection.exec_driver_sql("SELECT 1").all()
        time.sleep(1.1)
        end_sessions(url, 1)
        connection.exec_driver_sql("SELECT 1").all()

    url, calls = named(url), []
    store = SQLStorage(url)
    with pytest.raises(NotWritten):
        store._call(Call(read))
    assert calls == [1]
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql"], indirect=True)
def test_what_was_prepared_for_tables_as_they_were_is_prepared_anew(url):
    store = SQLStorage(url)
    for _ in range(8):  # psycopg prepares a statement when it was sent five times
        assert store.find(Select("alert")) == []
    admin_of(url, "ALTER TABLE f1mon_alerts ALTER v TYPE bigint")
    assert store.find(Select("alert")) == []
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_what_an_application_does_as_a_read_begins_is_not_committed(url):
    SQLStorage(url).close()
    admin_of(url, "CREATE TABLE theirs (n int)")
    engine = sa.create_engine(driver_url(url), isolation_level="READ COMMITTED")
    store = SQLStorage(engine)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("INSERT INTO theirs VALUES (1)"))
    store.find(Select("alert"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM theirs").scalar() == 1
    store.close()
    engine.dispose()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql"], indirect=True)
def test_transactions_have_their_isolation_whatever_the_default_of_the_role(url):
    url = sa.make_url(url)
    level = "SHOW transaction_isolation"
    options = f"{url.query['options']} -cdefault_transaction_isolation=serializable"
    store = SQLStorage(url.update_query_dict({"options": options}))
    ask = Call(lambda connection: connection.exec_driver_sql(level).scalar(), write=True)
    assert store._call(ask) == "read committed"
    assert store._call(ask._replace(write=False, snapshot=True)) == "repeatable read"
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_a_statement_timeout_is_not_written(url):
    SQLStorage(url).close()
    store = SQLStorage(url, statement_timeout=0.5)
    sleeping = "SELECT pg_sleep(5)" if url.startswith("postgresql") else "SELECT SLEEP(5) FROM f1mon_horizons"

    with pytest.raises(NotWritten):
        store._call(Call(lambda connection: connection.exec_driver_sql(sleeping).all(), write=True))
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
def test_an_engine_of_another_isolation_level_is_refused(url, level):
    async def opened(engine):
        with pytest.raises(ConfigurationError, match=level):
            await AsyncSQLStorage.open(engine)
        await engine.dispose()

    SQLStorage(url).close()
    engine = sa.create_engine(driver_url(url), isolation_level="READ COMMITTED", pool_size=1)
    SQLStorage(engine).close()
    for one in (
        sa.create_engine(driver_url(url), isolation_level=level),
        engine.execution_options(isolation_level=level),
    ):
        with pytest.raises(ConfigurationError, match=level):
            SQLStorage(one)
        one.dispose()
    asyncio.run(opened(create_async_engine(driver_url(url, asynchronous=True), isolation_level=level)))


@pytest.mark.servers
def test_a_locked_table_is_a_typed_timeout(mysql_url):
    store = SQLStorage(mysql_url, lock_timeout=1.0)
    engine = sa.create_engine(driver_url(mysql_url))
    with engine.connect() as other:
        other.exec_driver_sql("LOCK TABLES f1mon_state WRITE")
        with pytest.raises(LockTimeoutError):
            store.transition("k", lambda state, now: Change({}), operation_id="1")
        other.exec_driver_sql("UNLOCK TABLES")
        other.rollback()
        other.exec_driver_sql("SELECT * FROM f1mon_predictions_v")
        with pytest.raises(LockTimeoutError):
            upgrading.upgrade(mysql_url, "0001", lock_timeout=1.0)
    engine.dispose()
    store.close()


@pytest.mark.parametrize(
    ("dialect", "driver"),
    [
        (sqlite.pysqlcipher.dialect, "aiosqlite or pysqlite"),
        (postgresql.psycopg2.dialect, "psycopg"),
        (postgresql.asyncpg.dialect, "psycopg"),
        (mysql.mysqldb.dialect, "asyncmy or pymysql"),
        (mysql.aiomysql.dialect, "asyncmy or pymysql"),
    ],
)
def test_an_engine_of_another_driver_is_refused_by_name(dialect, driver):
    unused = SimpleNamespace(dialect=dialect(), url=sa.make_url("sqlite://"))
    with pytest.raises(ConfigurationError, match=f"through {driver}, not {dialect.driver}"):
        target_of_engine(unused)


@pytest.mark.servers
def test_a_session_that_cuts_what_it_cannot_store_is_refused(mysql_url):
    engine = sa.create_engine(
        driver_url(mysql_url), **COMMITTED, connect_args={"init_command": "SET SESSION sql_mode = ''"}
    )
    with pytest.raises(ConfigurationError, match="STRICT_ALL_TABLES"):
        SQLStorage(engine)
    engine.dispose()


@pytest.mark.servers
def test_a_session_that_knows_few_letters_is_refused(mysql_url):
    with pytest.raises(ConfigurationError, match="utf8mb4, not latin1"):
        SQLStorage(f"{mysql_url}?charset=latin1")


@pytest.mark.servers
def test_a_database_that_knows_few_letters_is_refused(postgresql_url):
    server = sa.make_url(postgresql_url).set(query={})
    name = f"f1mon_test_{secrets.token_hex(6)}"
    admin(server, f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with pytest.raises(ConfigurationError, match="UTF8, not LATIN1"):
            SQLStorage(server.set(database=name))
    finally:
        admin(server, f"DROP DATABASE {name}")


@pytest.mark.servers
def test_asyncmy_in_another_event_loop_is_a_typed_error(mysql_url):
    async def opened(engine):
        return await AsyncSQLStorage.open(engine)

    async def used(store):
        with pytest.raises(ConfigurationError, match="event loop"):
            await store.append([prediction()])

    engine = create_async_engine(driver_url(mysql_url, asynchronous=True), **COMMITTED, poolclass=sa.NullPool)
    store = asyncio.run(opened(engine))
    asyncio.run(used(store))


def test_an_async_monitor_has_the_servers_time(url):
    async def asked():
        async with await AsyncMonitor.open("sql", url=url) as monitor:
            await monitor.record_prediction("a", "m", 1, 0.5)
            return await monitor.performance(last=None)

    assert asyncio.run(asked()) is not None
