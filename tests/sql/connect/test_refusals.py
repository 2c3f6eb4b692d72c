"""What no repeat mends is an error of its own with the next step, on every database, sync and async."""

import asyncio
import secrets
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from f1mon_core.errors import (
    AccessDeniedError,
    ConfigurationError,
    NoSpaceError,
    NotWritten,
    RefusedError,
    SchemaError,
    TooLargeError,
)
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

from ...servers import administering
from ..faults.mariadb_server import MariadbServer

AT = datetime(2026, 5, 1, tzinfo=UTC)


def made(name, **fields):
    given = {"model_version": "m", "predicted_outcome": 1, "confidence": 0.5, "features": {"a": 1.0}, "at": AT}
    return Prediction(prediction_id=name, **given | fields)


def executed(url, *texts):
    engine = sa.create_engine(target_of(url).url)
    with engine.begin() as connection:
        for text in texts:
            connection.exec_driver_sql(text)
    engine.dispose()


def refusals(url, *, error, says, calls):
    """Each call on a new handle, sync and async, is that error, and not `NotWritten`."""
    native = target_of(url, asynchronous=True).url

    async def awaited():
        for call in calls:
            store = await AsyncSQLStorage.open(native)
            with pytest.raises(error, match=says) as told:
                await call(store)
            assert not isinstance(told.value, NotWritten)
            assert "repeat is safe" not in str(told.value)
            await store.close()

    for call in calls:
        with closing(SQLStorage(url)) as store, pytest.raises(error, match=says) as told:
            call(store)
        assert not isinstance(told.value, NotWritten)
        assert "repeat is safe" not in str(told.value)
    asyncio.run(awaited())


def append(store):
    return store.append([made("a")])


def find(store):
    return store.find(Select("prediction"))


def transition(store):
    return store.transition("k", lambda state, now: Change({"a": 1}), operation_id="a")


def test_a_missing_table_or_column(url):
    SQLStorage(url).close()
    executed(url, "ALTER TABLE f1mon_features RENAME TO elsewhere")
    refusals(url, error=SchemaError, says="f1mon db check", calls=[append, find])
    executed(url, "ALTER TABLE elsewhere RENAME TO f1mon_features")
    executed(url, "ALTER TABLE f1mon_state RENAME COLUMN due TO due_2")
    refusals(url, error=SchemaError, says="f1mon db check", calls=[transition])


def test_a_trigger_of_somebody_elses(url, family):
    SQLStorage(url).close()
    trigger = {
        "sqlite": ["CREATE TRIGGER t BEFORE INSERT ON f1mon_features BEGIN SELECT RAISE(ABORT, 'not here'); END"],
        "mysql": ["CREATE TRIGGER t BEFORE INSERT ON f1mon_features FOR EACH ROW SIGNAL SQLSTATE '45001'"],
        "postgresql": [
            "CREATE FUNCTION t() RETURNS trigger AS 'BEGIN RAISE ''not here''; END' LANGUAGE plpgsql",
            "CREATE TRIGGER t BEFORE INSERT ON f1mon_features EXECUTE FUNCTION t()",
        ],
    }[family]
    executed(url, *trigger)
    refusals(url, error=RefusedError, says="trigger", calls=[append])


def test_a_column_that_takes_less_than_what_is_written(url, family):
    SQLStorage(url).close()
    narrower = {
        "sqlite": "CREATE TRIGGER t BEFORE INSERT ON f1mon_features BEGIN SELECT zeroblob(2000000000); END",
        "mysql": "ALTER TABLE f1mon_features MODIFY ordinal TINYINT NOT NULL DEFAULT 0, MODIFY features VARCHAR(4)",
        "postgresql": "ALTER TABLE f1mon_features ALTER features TYPE varchar(4)",
    }[family]
    executed(url, narrower)
    refusals(url, error=TooLargeError, says="larger", calls=[append])


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_an_account_without_the_right(url, family):
    SQLStorage(url).close()
    address, role = sa.make_url(url), f"f1mon_r_{secrets.token_hex(6)}"
    if family == "mysql":
        account, place = f"'{role}'@'%%'", f"`{address.database}`.*"
        grants = [f"CREATE USER {account}", f"GRANT SELECT ON {place} TO {account}"]
        ends = [f"DROP USER {account}"]
    else:
        schema = address.query["options"].partition("search_path=")[2]
        grants = [f"CREATE ROLE {role} LOGIN", f"GRANT USAGE ON SCHEMA {schema} TO {role}"]
        grants += [f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"]
        ends = [f"DROP OWNED BY {role}", f"DROP ROLE {role}"]
    with administering(address) as connection:
        for text in grants:
            connection.exec_driver_sql(text)
    try:
        poor = address.set(username=role).render_as_string(hide_password=False)
        refusals(poor, error=AccessDeniedError, says="GRANT", calls=[append, transition])
        with closing(SQLStorage(poor)) as store:
            assert find(store) == []
        if family == "mysql":
            with pytest.raises(AccessDeniedError, match="GRANT"):
                SQLStorage(address.set(username=role, password="wrong"))
    finally:
        with administering(address) as connection:
            for text in ends:
                connection.exec_driver_sql(text)


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_a_database_that_is_not_there_and_a_setting_the_server_does_not_have(url, family):
    address = sa.make_url(url)
    wrong = [address.set(database="f1mon_nowhere", query={})]
    if family == "postgresql":
        wrong.append(address.update_query_dict({"options": "-cwork_men=1MB"}))
        wrong.append(address.update_query_dict({"options": "-cwork_mem=lots"}))
    for one in wrong:
        with pytest.raises(ConfigurationError, match="correct it"):
            SQLStorage(one)
        with pytest.raises(ConfigurationError, match="correct it"):
            asyncio.run(AsyncSQLStorage.open(one))


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_host_that_is_no_name_is_a_typed_error(scheme, host):
    for opening in (SQLStorage, lambda url: asyncio.run(AsyncSQLStorage.open(url))):
        with pytest.raises((ConfigurationError, NotWritten)):
            opening(f"{scheme}://u@{host}:1/db")


def test_a_full_disk(sqlite_url):
    SQLStorage(sqlite_url).close()
    engine = sa.create_engine(sqlite_url)

    @sa.event.listens_for(engine, "connect")
    def limited(connection, _record):
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with closing(SQLStorage(engine)) as store:
        with pytest.raises(NoSpaceError, match="make room"):
            store.append([made(f"{number}", features={"a": "x" * 1000}) for number in range(500)])
        assert find(store) == []
    engine.dispose()


@pytest.mark.faults
def test_a_packet_larger_than_the_server_takes():
    with MariadbServer("--max-allowed-packet=512K") as server:
        SQLStorage(server.url).close()
        large = made("a", features={"a": "x" * 900_000})
        calls = [lambda store: store.append([large]), lambda store: store.append([made("b"), large])]
        refusals(server.url, error=TooLargeError, says="max_allowed_packet", calls=calls)
        with closing(SQLStorage(server.url)) as store:
            assert find(store) == []
