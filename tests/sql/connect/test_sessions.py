"""What a session says of itself: encodings and settings that would change a value are set, or refused at open."""

import asyncio
import secrets
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from f1mon_core.errors import ConfigurationError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

from ...servers import SERVERS, admin

pytestmark = [pytest.mark.servers]

AT = datetime(2026, 5, 1, 12, 30, 0, 123457, tzinfo=UTC)
PREDICTIONS = [
    Prediction(prediction_id=f"é{number}\\'", model_version="m\\ü", predicted_outcome=1, confidence=0.1 + 0.2, at=AT)
    if number % 2
    else Prediction(prediction_id=f"é{number}", model_version="m", predicted_outcome=0, confidence=1 / 3, at=AT)
    for number in range(7)
]


@pytest.fixture
def family(request):
    return request.param


postgresql = pytest.mark.parametrize("family", ["postgresql"], indirect=True)
mysql = pytest.mark.parametrize("family", ["mysql"], indirect=True)


def kept(url):
    """Write and read, sync and async, one by one and as a batch: what was written is what is read."""

    async def awaited():
        store = await AsyncSQLStorage.open(url)
        try:
            await store.append(PREDICTIONS[3:6])
            await store.append(PREDICTIONS[6:])
            return await store.find(Select("prediction"))
        finally:
            await store.close()

    with closing(SQLStorage(url)) as store:
        store.append(PREDICTIONS[:1])
        store.append(PREDICTIONS[1:3])
        read = asyncio.run(awaited())
        assert read == store.find(Select("prediction"))
        store.append([Outcome(prediction_id=one.prediction_id, actual_outcome=1, at=AT) for one in PREDICTIONS])
        assert len(store.find(Select("outcome"))) == len(PREDICTIONS)
    found = {one.prediction_id: attrs.evolve(one, recorded_at=None) for one in read}
    assert found == {one.prediction_id: attrs.evolve(one, recorded_at=None) for one in PREDICTIONS}
    assert all(one.metadata == wanted.metadata for one, wanted in zip(read, PREDICTIONS, strict=False))


@contextmanager
def as_role(url, *settings, options="SUPERUSER"):
    """The address for a role of its own with settings of its own."""
    server, _ = SERVERS["postgresql"]()
    name = f"f1mon_role_{secrets.token_hex(4)}"
    admin(server, f"CREATE ROLE {name} LOGIN {options}", *(f"ALTER ROLE {name} SET {one}" for one in settings))
    try:
        yield sa.make_url(url).set(username=name).render_as_string(hide_password=False)
    finally:
        admin(server, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


# Encodings ----------------------------------------------------------------------------------------------------------


@postgresql
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252"])
@pytest.mark.parametrize("by", ["PGCLIENTENCODING", "PGOPTIONS", "the role", "the address"])
def test_connections_are_utf8_whatever_the_environment_says(url, monkeypatch, encoding, by):
    if by == "the role":
        with as_role(url, f"client_encoding = '{encoding}'") as address:
            kept(address)
        return
    if by == "the address":
        with pytest.raises(ConfigurationError, match=f"not {encoding}"):
            SQLStorage(f"{url}&client_encoding={encoding}")
        return
    monkeypatch.setenv(by, encoding if by == "PGCLIENTENCODING" else f"-c client_encoding={encoding}")
    kept(url)


@postgresql
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_engine_in_another_encoding_is_refused(url, encoding):
    async def awaited():
        engine = create_async_engine(target_of(url).url, isolation_level="READ COMMITTED", connect_args=arguments)
        with pytest.raises(ConfigurationError, match=f"not {encoding}"):
            await AsyncSQLStorage.open(engine)
        await engine.dispose()

    arguments = {"client_encoding": encoding}
    engine = sa.create_engine(target_of(url).url, isolation_level="READ COMMITTED", connect_args=arguments)
    with pytest.raises(ConfigurationError, match=f"not {encoding}"):
        SQLStorage(engine)
    engine.dispose()
    asyncio.run(awaited())


@mysql
@pytest.mark.parametrize("change", ["SET+NAMES+latin1", "SET+character_set_results=latin1", "SET+NAMES+utf8mb3"])
def test_a_command_that_changes_letters_changes_none_of_f1mons(url, change):
    kept(f"{url}?init_command={change}")


@mysql
@pytest.mark.parametrize("change", ["SET NAMES latin1", "SET character_set_results=latin1", "SET NAMES utf8mb3"])
def test_an_engine_whose_sessions_change_letters_is_refused(url, change):
    engine = sa.create_engine(target_of(url).url, isolation_level="READ COMMITTED")
    sa.event.listen(engine, "connect", lambda connection, _: connection.cursor().execute(change))
    with pytest.raises(ConfigurationError, match=r"utf8mb4, not (latin1|utf8)"):
        SQLStorage(engine)
    engine.dispose()


@mysql
def test_what_is_written_is_read_with_a_servers_own_letters(url):
    kept(f"{url}?charset=utf8")


# Settings -----------------------------------------------------------------------------------------------------------

CHANGES = {
    "array_nulls": "off",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "row_security": "off",
    "quote_all_identifiers": "on",
    "lc_numeric": "C",
    "enable_indexscan": "off",
}
"""Settings of PostgreSQL that change a value, a comparison, a time or a plan."""


@postgresql
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_written_is_read_whatever_a_role_is_set_to(url, name):
    with as_role(url, f"{name} = '{CHANGES[name]}'") as address:
        kept(address)


@postgresql
@pytest.mark.parametrize("by", ["PGOPTIONS", "the address", "the database"])
def test_all_of_them_at_once(url, monkeypatch, by):
    if by == "the database":
        server, _ = SERVERS["postgresql"]()
        name = f"f1mon_test_{secrets.token_hex(6)}"
        admin(server, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            admin(server, *(f"ALTER DATABASE {name} SET {one} = '{value}'" for one, value in CHANGES.items()))
            kept(server.set(database=name).render_as_string(hide_password=False))
        finally:
            admin(server, f"DROP DATABASE {name} WITH (FORCE)")
        return
    options = " ".join(f"-c {one}={value.replace(' ', chr(92) + ' ')}" for one, value in CHANGES.items())
    if by == "PGOPTIONS":
        monkeypatch.setenv(by, options)
        kept(url)
        return
    made = sa.make_url(url)
    address = made.update_query_dict({"options": f"{made.query['options']} {options}"})
    kept(address.render_as_string(hide_password=False))


@postgresql
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("array_nulls=off", "array_nulls must be on"),
        ("extra_float_digits=0", "extra_float_digits must be at least 1"),
        ("standard_conforming_strings=off", "standard_conforming_strings must be on"),
        ("transform_null_equals=on", "transform_null_equals must be off"),
    ],
)
def test_an_applications_session_that_would_change_values_is_refused(url, setting, message):
    made = sa.make_url(url)
    address = made.update_query_dict({"options": f"{made.query['options']} -c{setting}"})
    engine = sa.create_engine(address.set(drivername="postgresql+psycopg"), isolation_level="READ COMMITTED")
    with pytest.raises(ConfigurationError, match=message):
        SQLStorage(engine)
    engine.dispose()


@postgresql
def test_rows_that_a_policy_hides_are_not_taken_for_absent(url):
    SQLStorage(url).close()
    schema = sa.make_url(url).query["options"].rpartition("=")[2]
    server, _ = SERVERS["postgresql"]()
    with as_role(url, options="NOSUPERUSER") as address:
        role = sa.make_url(address).username
        admin(
            server,
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
        )
        SQLStorage(address).close()
        admin(server, f"ALTER TABLE {schema}.f1mon_alerts ENABLE ROW LEVEL SECURITY")
        for opened in (SQLStorage, lambda one: asyncio.run(AsyncSQLStorage.open(one))):
            with pytest.raises(ConfigurationError, match="row-level security"):
                opened(address)
        admin(server, f"ALTER TABLE {schema}.f1mon_alerts DISABLE ROW LEVEL SECURITY")


@postgresql
@pytest.mark.parametrize("path", ["nowhere", '""', "pg_temp"])
def test_a_search_path_that_leads_nowhere_is_refused(url, path):
    for opened in (SQLStorage, lambda one: asyncio.run(AsyncSQLStorage.open(one))):
        with pytest.raises(ConfigurationError, match="search path"):
            opened(f"{url.partition('?')[0]}?options=-csearch_path%3D{path}")
