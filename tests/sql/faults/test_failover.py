"""A failover: the old primary still answers and takes no writes, the new one is behind the same address."""

import asyncio
import shutil
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa

from f1mon_core.errors import ReadOnlyError
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

from .cutting_proxy import CuttingProxy
from .mariadb_server import MariadbServer
from .postgres_server import PostgresServer

pytestmark = [pytest.mark.servers, pytest.mark.faults]

AT = datetime(2026, 5, 1, tzinfo=UTC)
HELD = 3


def made(name):
    return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.5, at=AT)


class Postgres:
    """A primary and its standby."""

    def __init__(self, primary, standby):
        self.primary, self.standby = primary, standby

    @classmethod
    @contextmanager
    def running(cls):
        with PostgresServer() as primary:
            other = PostgresServer()
            other._run(
                "pg_basebackup",
                "-D",
                other.data,
                "-h",
                "127.0.0.1",
                "-p",
                primary.port,
                "-U",
                "postgres",
                "-R",
                "-c",
                "fast",
            )
            other.start()
            try:
                yield cls(primary, other)
            finally:
                other.stop("immediate")
                shutil.rmtree(other.home)

    @property
    def url(self):
        return self.primary.url

    def demote(self):
        self.replayed()
        (self.primary.data / "standby.signal").touch()
        if self.primary.user:
            shutil.chown(self.primary.data / "standby.signal", self.primary.user)
        self.primary.stop("fast")
        self.primary.start()
        self.standby._run("pg_ctl", "-D", self.standby.data, "-w", "promote")

    def replayed(self):
        with psycopg.connect(self.primary.url) as one, psycopg.connect(self.standby.url) as other:
            ((lsn,),) = one.execute("SELECT pg_current_wal_lsn()::text").fetchall()
            until = time.monotonic() + 30
            while not other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0]:
                assert time.monotonic() < until
                time.sleep(0.02)


class Mariadb:
    """Two servers that hold the same."""

    def __init__(self, primary, standby):
        self.primary, self.standby = primary, standby

    @classmethod
    @contextmanager
    def running(cls):
        with MariadbServer("--server-id=1") as primary, MariadbServer("--server-id=2") as standby:
            yield cls(primary, standby)

    @property
    def url(self):
        return self.primary.url

    def demote(self):
        with closing(SQLStorage(self.standby.url)) as store:
            store.append([made("before")])
        self.primary.run("SET GLOBAL read_only = 1")


PAIRS = {"postgresql": Postgres, "mysql": Mariadb}


@pytest.fixture(params=PAIRS)
def pair(request):
    with PAIRS[request.param].running() as running:
        yield running


@pytest.fixture
def proxy(pair):
    with CuttingProxy("127.0.0.1", pair.primary.port, rate=0.0) as running:
        yield running


@pytest.fixture
def url(pair, proxy):
    return sa.make_url(pair.url).set(port=proxy.port).render_as_string(hide_password=False)


def written(store, name):
    return store.append([made(name)])


def changed(store, name):
    return store.transition("k", lambda state, now: Change({"n": 1}, result=1), operation_id=name)


VERBS = [written, changed]


def fill_the_pool(store):
    held = [store._engine.connect() for _ in range(HELD)]
    for one in held:
        one.close()


async def fill_the_pool_async(store):
    await asyncio.gather(*(store.find(Select("alert")) for _ in range(HELD)))


def test_a_demoted_primary_is_left_for_the_new_one_without_an_error(pair, proxy, url):
    async def awaited():
        store = await AsyncSQLStorage.open(url)
        await fill_the_pool_async(store)
        await asyncio.to_thread(pair.demote)
        for verb in VERBS:
            with pytest.raises(ReadOnlyError, match=f"port {pair.primary.port}") as refused:
                await verb(store, "during")
            assert "to repeat is safe" not in str(refused.value)
        await fill_the_pool_async(store)  # all of whose connections lead to the old primary
        proxy.target = ("127.0.0.1", pair.standby.port)
        assert (await written(store, "after")).new == 1
        assert await changed(store, "after") == 1
        found = {one.prediction_id for one in await store.find(Select("prediction"))}
        assert found == {"before", "after"}
        await store.close()

    with closing(SQLStorage(url)) as store:
        store.append([made("before")])
        fill_the_pool(store)
        asyncio.run(awaited())  # demoted meanwhile
        proxy.target = ("127.0.0.1", pair.primary.port)
        for one in range(2):
            with pytest.raises(ReadOnlyError, match=f"port {pair.primary.port}"):
                VERBS[one](store, f"again{one}")
        fill_the_pool(store)
        proxy.target = ("127.0.0.1", pair.standby.port)
        assert written(store, "sync").new == 1
        assert changed(store, "sync") == 1


def test_reads_go_on_and_an_applications_engine_is_not_disposed(pair, proxy, url):
    engine = sa.create_engine(target_of(url).url, isolation_level="READ COMMITTED", pool_size=2, max_overflow=0)
    with closing(SQLStorage(engine)) as store:
        store.append([made("before")])
        pool = engine.pool
        pair.demote()
        with pytest.raises(Exception, match=r"port|lost|terminat|closed|refused"):
            # On PostgreSQL its connections ended; an application without a ping hears of that once.
            written(store, "during")
        with pytest.raises(ReadOnlyError, match=f"port {pair.primary.port}"):
            written(store, "during")
        assert [one.prediction_id for one in store.find(Select("prediction"))] == ["before"]
        proxy.target = ("127.0.0.1", pair.standby.port)
        assert written(store, "after").new == 1
        assert engine.pool is pool
    engine.dispose()


@pytest.mark.parametrize(
    "opened", [SQLStorage, lambda url: asyncio.run(AsyncSQLStorage.open(url))], ids=["sync", "async"]
)
def test_a_store_that_cannot_be_made_says_where_it_is(pair, opened):
    if isinstance(pair, Postgres):
        address = pair.standby.url
    else:
        pair.standby.run("SET GLOBAL read_only = 1")
        address = pair.standby.url
    with pytest.raises(ReadOnlyError, match=f"port {pair.standby.port}"):
        opened(address)


def test_a_role_that_may_only_read_is_told_so(postgres_url, postgres):
    SQLStorage(postgres_url).close()
    with psycopg.connect(postgres.url, autocommit=True) as operator:
        operator.execute("CREATE ROLE reader LOGIN SUPERUSER")
        operator.execute("ALTER ROLE reader SET default_transaction_read_only = on")
    address = postgres_url.replace("postgres@", "reader@")
    with closing(SQLStorage(address)) as store:
        assert store.find(Select("prediction")) == []
        with pytest.raises(ReadOnlyError, match="default_transaction_read_only is on"):
            partial(written, store)("a")
