"""Text as SQL: an id is sent so that no mode of a session makes statements of it."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from f1mon_core.errors import ConfigurationError
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

from ..faults.mariadb_server import MariadbServer

pytestmark = [pytest.mark.servers]

AT = datetime(2026, 5, 1, tzinfo=UTC)
MODE = "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES"
HOSTILE = ["m',0,0.01e0,0) -- ", "\\", "\\' OR 1=1 -- ", "'", '"', "a\\'b", "%s", "\n\x1a"]


def predictions():
    return [
        Prediction(prediction_id=f"{number}{text}", model_version=text, predicted_outcome=1, confidence=0.5, at=AT)
        for number, text in enumerate(HOSTILE)
    ]


def in_mode(engine, mode=MODE):
    """The engine with sessions of that mode."""

    @sa.event.listens_for(engine, "connect")
    def connected(connection, _record):
        cursor = connection.cursor()
        cursor.execute(f"SET SESSION sql_mode = '{mode}'")
        cursor.close()

    return engine


def test_an_applications_session_without_backslash_escapes_is_refused(mysql_url):
    async def awaited():
        engine = create_async_engine(target_of(mysql_url, asynchronous=True).url, isolation_level="READ COMMITTED")
        in_mode(engine.sync_engine)
        with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
            await AsyncSQLStorage.open(engine)
        await engine.dispose()

    SQLStorage(mysql_url).close()
    engine = in_mode(sa.create_engine(target_of(mysql_url).url, isolation_level="READ COMMITTED"))
    with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
        SQLStorage(engine)
    engine.dispose()
    asyncio.run(awaited())


def test_and_one_that_gets_the_mode_later_is_refused_before_anything_is_sent(mysql_url):
    async def awaited():
        engine = create_async_engine(
            target_of(mysql_url, asynchronous=True).url, isolation_level="READ COMMITTED", pool_size=1, max_overflow=0
        )
        store = await AsyncSQLStorage.open(engine)
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"SET SESSION sql_mode = '{MODE}'")
        with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
            await store.append(predictions()[:1])
        with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
            await store.find(Select("prediction", where={"model_version": HOSTILE[0]}))
        await store.close()
        await engine.dispose()

    asyncio.run(awaited())
    engine = sa.create_engine(target_of(mysql_url).url, isolation_level="READ COMMITTED", pool_size=1, max_overflow=0)
    with closing(SQLStorage(engine)) as store:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET SESSION sql_mode = '{MODE}'")
        with pytest.raises(ConfigurationError, match="NO_BACKSLASH_ESCAPES"):
            store.append(predictions()[:1])
    engine.dispose()
    with closing(SQLStorage(mysql_url)) as store:
        assert store.find(Select("prediction")) == []


@pytest.mark.faults
def test_on_a_server_of_that_mode_f1mons_own_sessions_store_what_they_were_given():
    async def awaited(url):
        store = await AsyncSQLStorage.open(url)
        for one in predictions()[::2]:
            await store.append([one])
        found = await store.find(Select("prediction", where={"model_version": HOSTILE[0]}))
        await store.close()
        return found

    with MariadbServer(f"--sql-mode={MODE}") as server:
        (found,) = asyncio.run(awaited(server.url))
        assert (found.predicted_outcome, found.confidence, found.model_version) == (1, 0.5, HOSTILE[0])
        with closing(SQLStorage(server.url)) as store:
            store.append(predictions()[1::2])
            stored = {
                one.prediction_id: (one.model_version, one.confidence) for one in store.find(Select("prediction"))
            }
    assert stored == {one.prediction_id: (one.model_version, one.confidence) for one in predictions()}
