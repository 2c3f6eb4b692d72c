"""PgBouncer in transaction mode: sessions are shared with strangers, and all of f1mon works whole."""

import asyncio
import threading
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from f1mon_core.errors import ConfigurationError, LockTimeoutError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading

from ...servers import SERVERS, fresh_postgresql
from .pooler import PgBouncer
from .workload import assert_right, write_together

pytestmark = [pytest.mark.servers, pytest.mark.faults]

AT = datetime(2026, 5, 1, tzinfo=UTC)
SESSION = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "search_path", "array_nulls")


def made(name):
    return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.5, at=AT)


@pytest.fixture(scope="module")
def pooler():
    server, reason = SERVERS["postgresql"]()
    if server is None:
        pytest.skip(reason)
    with PgBouncer(server) as running:
        yield running


@pytest.fixture
def direct():
    with fresh_postgresql() as url:
        yield url


@pytest.fixture
def url(pooler, direct):
    return pooler.through(direct)


def test_360_predictions_of_many_threads_are_all_written(url, direct):
    account = write_together([{"url": url}] * 6, 60)
    assert account.not_written == account.unknown == 0
    with closing(SQLStorage(url)) as store:
        assert_right(store, account, 360)
    with closing(SQLStorage(direct)) as store:
        assert_right(store, account, 360)


def test_and_of_many_tasks_in_batches_of_every_size(url):
    async def awaited():
        store = await AsyncSQLStorage.open(url, pool_size=8)
        sizes = [1, 1, 3, 40, 700] * 6
        batches = [[made(f"{number}/{one}") for one in range(size)] for number, size in enumerate(sizes)]
        done = await asyncio.gather(*(store.append(batch) for batch in batches))
        assert sum(one.new for one in done) == sum(sizes)
        await store.append([Outcome(prediction_id="0/0", actual_outcome=1, at=AT)])
        assert len(await store.find(Select("prediction"))) == sum(sizes)
        assert (await store.tally(TallyQuery())) is not None
        await store.transition("k", lambda state, now: Change({"n": 1}), operation_id="1")
        assert await store.state("") == {"k": {"n": 1}}
        assert (await store.check()).problems is not None
        await store.close()

    asyncio.run(awaited())


def test_nothing_of_it_stays_on_the_sessions_that_others_get(url, pooler):
    database = sa.make_url(url).database
    plain = f"postgresql://postgres@127.0.0.1:{pooler.port}/{database}"

    def seen():
        found = set()
        connections = [psycopg.connect(plain, prepare_threshold=None) for _ in range(2)]
        for one in connections:
            shown = tuple(one.execute(f"SHOW {name}").fetchone()[0] for name in SESSION)
            prepared = one.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
            found.add((shown, prepared))
        for one in connections:
            one.close()
        return found

    before = seen()
    with closing(SQLStorage(url, statement_timeout=0.4)) as store:
        for number in range(30):
            store.append([made(str(number))])
            store.find(Select("prediction"))
            store.tally(TallyQuery())
        assert seen() == before
        with psycopg.connect(plain, autocommit=True) as other:
            other.execute("SELECT pg_sleep(0.6)")  # a query that f1mon's timeout would have ended
    assert seen() == before


def test_its_timeouts_hold_in_its_own_transactions(url, direct):
    with closing(SQLStorage(url, lock_timeout=0.5)) as store:
        store.append([made("a")])
        engine = sa.create_engine(target_of(direct).url)
        with engine.connect() as holding:
            holding.exec_driver_sql("SELECT * FROM f1mon_predictions FOR UPDATE").all()
            with pytest.raises(LockTimeoutError):
                store.append([Outcome(prediction_id="a", actual_outcome=1, at=AT)])
            holding.rollback()
        engine.dispose()
        assert store.append([Outcome(prediction_id="a", actual_outcome=1, at=AT)]).new == 1


def test_two_schemas_share_the_poolers_sessions_and_are_not_mixed_up(pooler, url):
    def write(store, name):
        for number in range(40):
            store.append([made(f"{name}{number}")])

    with (
        fresh_postgresql() as another,
        closing(SQLStorage(url)) as one,
        closing(SQLStorage(pooler.through(another))) as other,
    ):
        threads = [threading.Thread(target=write, args=pair) for pair in ((one, "a"), (other, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for store, name in ((one, "a"), (other, "b")):
            found = {fact.prediction_id for fact in store.find(Select("prediction"))}
            assert found == {f"{name}{number}" for number in range(40)}


def test_the_schema_is_made_upgraded_and_compared_through_it(url):
    SQLStorage(url).close()
    assert upgrading.drift(url) == []
    upgrading.upgrade(url, "0001")
    upgrading.upgrade(url)
    assert upgrading.drift(url) == []


def test_an_address_may_say_it_which_panels_do(url):
    with closing(SQLStorage(f"{url}&pgbouncer=true")) as store:
        assert store.append([made("a")]).new == 1


def test_an_engine_that_prepares_is_refused_with_the_setting_that_works(url, direct):
    schema = sa.make_url(direct).query["options"].rpartition("=")[2]
    plain = sa.make_url(url).set(query={}, drivername="postgresql+psycopg")

    def engine(**arguments):
        made = sa.create_engine(plain, isolation_level="READ COMMITTED", connect_args=arguments)
        sa.event.listen(
            made, "begin", lambda connection: connection.exec_driver_sql(f"SET LOCAL search_path = {schema}")
        )
        return made

    refused, works = engine(), engine(prepare_threshold=None)
    with pytest.raises(ConfigurationError, match=r"PgBouncer .*prepare_threshold"):
        SQLStorage(refused)
    with closing(SQLStorage(works)) as store:
        for number in range(20):
            assert store.append([made(str(number))]).new == 1
    refused.dispose()
    works.dispose()


def test_what_the_pooler_does_not_pass_on_is_told_with_its_name(url, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=8MB")
    with pytest.raises(ConfigurationError, match=r"PgBouncer .*PGOPTIONS"):
        SQLStorage(sa.make_url(url).set(query={}).render_as_string())


def test_in_session_mode_it_works_too(direct):
    server, _ = SERVERS["postgresql"]()
    with PgBouncer(server, mode="session", sessions=20) as pooler:
        account = write_together([{"url": pooler.through(direct)}] * 2, 20)
        assert account.not_written == 0
