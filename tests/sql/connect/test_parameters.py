"""Addresses as panels hand them out: each parameter is known, translated, or refused by name, on every driver."""

import asyncio
from contextlib import closing, suppress

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from f1mon_core.errors import ConfigurationError, F1monError
from f1mon_core.storage.select import Select
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

PLACE = {"sqlite": "sqlite:///f1mon.db", "postgresql": "postgresql://u:secret@h/d", "mysql": "mysql://u:secret@h/d"}


def with_query(url, query):
    return f"{url}{'&' if '?' in url else '?'}{query}"


def both(url, ask):
    """What a question about its session answers, sync and async."""

    async def awaited():
        store = await AsyncSQLStorage.open(url)
        try:
            assert await store.find(Select("prediction")) == []
            async with store._engines.engine() as engine, engine.connect() as connection:
                return (await connection.exec_driver_sql(ask)).scalar()
        finally:
            await store.close()

    with closing(SQLStorage(url)) as store:
        assert store.find(Select("prediction")) == []
        with store._engine.connect() as connection:
            found = connection.exec_driver_sql(ask).scalar()
    return found, asyncio.run(awaited())


PANELS = {
    "postgresql": [
        ("sslmode=disable&connect_timeout=10", "SELECT 1", 1),
        ("ssl=false&application_name=panel", "SHOW application_name", "panel"),
        ("sslmode=PREFERRED&ApplicationName=panel", "SHOW application_name", "panel"),
        ("charset=utf8&keepalives=1&keepalives_idle=30", "SHOW client_encoding", "UTF8"),
        ("client_encoding=UTF-8&target_session_attrs=read-write", "SHOW client_encoding", "UTF8"),
        ("channel_binding=prefer&gssencmode=disable", "SELECT 1", 1),
    ],
    "mysql": [
        ("ssl-mode=DISABLED&connect_timeout=10", "SELECT 1", 1),
        ("ssl=false&charset=utf8&read_timeout=10", "SELECT @@character_set_client", "utf8mb4"),
        ("useSSL=0&encoding=UTF-8", "SELECT @@character_set_connection", "utf8mb4"),
        ("init_command=SET+%40panel%3D7&max_allowed_packet=1048576", "SELECT @panel", 7),
        ("application_name=panel&sslmode=disable", "SELECT 1", 1),
    ],
    "sqlite": [("uri=true&mode=rwc", "SELECT 1", 1), ("cached_statements=64", "SELECT 1", 1)],
}


def panels(family):
    return [
        pytest.param(family, *one, marks=[] if family == "sqlite" else pytest.mark.servers) for one in PANELS[family]
    ]


@pytest.mark.parametrize(
    ("family", "query", "ask", "answer"),
    [*panels("sqlite"), *panels("postgresql"), *panels("mysql")],
    indirect=["family"],
)
def test_what_is_known_or_translated_works_the_same_on_both_drivers(url, query, ask, answer):
    if "uri=true" in query:
        url = url.replace("sqlite:///", "sqlite:///file:")
    assert both(with_query(url, query), ask) == (answer, answer)


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql"], indirect=True)
def test_a_schema_is_the_search_path(url):
    name = sa.make_url(url).query["options"].rpartition("=")[2]
    plain = url.partition("?")[0]
    assert both(f"{plain}?currentSchema={name}", "SELECT current_schema()") == (name, name)
    assert both(f"{plain}?schema={name}&options=-cwork_mem%3D8MB", "SHOW work_mem") == ("8MB", "8MB")


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
@pytest.mark.parametrize(
    "spelling", ["ssl-mode=REQUIRED", "sslmode=require", "ssl=true", "sslaccept=accept_invalid_certs"]
)
def test_tls_that_a_server_does_not_have_is_refused_on_both_drivers(url, spelling):
    with pytest.raises(F1monError, match=r"(?i)ssl|tls"):
        SQLStorage(with_query(url, spelling))
    with pytest.raises(F1monError, match=r"(?i)ssl|tls"):
        asyncio.run(AsyncSQLStorage.open(with_query(url, spelling)))


@pytest.mark.parametrize(
    ("family", "query", "message"),
    [
        ("mysql", "sslcert=/none", "ssl_cert"),
        ("mysql", "pool_size=5", "'pool_size' is no parameter .* f1mon takes charset, connect_timeout"),
        ("mysql", "autocommit=true", "'autocommit' is no parameter"),
        ("mysql", "connect_timeout=ten", "whole number, not 'ten'"),
        ("mysql", "connect_timeout=0", "at least 1 second"),
        ("mysql", "connect_timeout=-1", "whole number"),
        ("mysql", "connect_timeout=1e9", "whole number"),
        ("mysql", "read_timeout=99999999999999999999", "whole number"),
        ("mysql", "charset=latin1", "not latin1"),
        ("mysql", "charset=binary", "not binary"),
        ("mysql", "ssl-mode=SOMETIMES", "must be one of disable, allow"),
        ("mysql", "ssl-mode=PREFERRED", "require or disable"),
        ("mysql", "ssl-mode=REQUIRED&sslmode=require", "more than once"),
        ("mysql", "options=-csearch_path%3Dx", "'options' is no parameter"),
        ("mysql", "ssl_ca=/nowhere", "ssl_ca.*No such file"),
        ("postgresql", "pgbouncers=true", "'pgbouncers' is no parameter .*application_name"),
        ("postgresql", "connect_timeout=ten", "whole number, not 'ten'"),
        ("postgresql", "connect_timeout=", "no value"),
        ("postgresql", "sslmode", "no value"),
        ("postgresql", "sslmode=nonsense", "must be one of disable, allow"),
        ("postgresql", "sslmode=require&sslmode=disable", "more than once"),
        ("postgresql", "charset=latin1", "not latin1"),
        ("postgresql", "replication=database", "'replication' is no parameter"),
        ("postgresql", "autocommit=1", "'autocommit' is no parameter"),
        ("sqlite", "mode=ro", "needs uri=true"),
        ("sqlite", "timeout=5", "'timeout' is no parameter"),
        ("sqlite", "check_same_thread=perhaps", "'check_same_thread' is no parameter"),
        ("sqlite", "uri=perhaps", "true or false"),
    ],
)
def test_what_is_not_known_is_refused_by_name(family, query, message):
    for opened in (SQLStorage, lambda url: asyncio.run(AsyncSQLStorage.open(url))):
        with pytest.raises(ConfigurationError, match=message):
            opened(with_query(PLACE[family], query))


@pytest.mark.parametrize(
    "address", ["mysql://root@h", "mysql://root@h/", "postgresql://u@h", "postgresql://h/?sslmode=require"]
)
def test_an_address_without_a_database_is_refused(address, monkeypatch):
    monkeypatch.delenv("PGDATABASE", raising=False)
    for opened in (SQLStorage, lambda url: asyncio.run(AsyncSQLStorage.open(url))):
        with pytest.raises(ConfigurationError, match="names no database"):
            opened(address)


@pytest.mark.parametrize("port", ["0", "65536", "99999999999"])
def test_a_port_that_cannot_be_is_refused(port):
    for family in ("mysql", "postgresql"):
        with pytest.raises(ConfigurationError, match="port"):
            SQLStorage(f"{family}://u@h:{port}/d")


@pytest.mark.parametrize(
    "place", ["postgresql://h/d?dbname=x", "postgresql://?service=here", "postgresql:///d?host=a:1&host=b:2"]
)
def test_a_database_may_be_named_as_libpq_does(place):
    assert target_of(place).family == "postgresql"


def test_a_secret_in_the_query_is_not_shown():
    with pytest.raises(ConfigurationError) as refused:
        target_of("mysql://h/d?ssl_key_password=c4nary&ssl_cert=/none")
    assert "c4nary" not in str(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        target_of("postgresql://h/d?password:c4nary&sslmode=require")
    assert "c4nary" not in str(refused.value)


pieces = st.lists(
    st.sampled_from(
        [
            "sslmode",
            "ssl",
            "=",
            "&",
            "%",
            "%3D",
            "true",
            "\ud800",
            "\0",
            "é",
            "charset",
            "utf8",
            ";",
            "@",
            ":",
            "/",
            "?",
            "#",
            " ",
            "1",
            "connect_timeout",
        ]
    )
    | st.text(max_size=4),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(PLACE)), pieces)
@example("mysql", "ssl={}")
@example("postgresql", "%ff=%ff")
def test_any_query_is_a_target_or_a_refusal(family, query):
    with suppress(ConfigurationError):
        target_of(f"{PLACE[family]}?{query}")


def test_an_address_whose_query_was_taken_for_its_password_is_refused():
    with pytest.raises(ConfigurationError, match="as %3A"):
        target_of("mysql://root@127.0.0.1:3306/d?init_command=SET+@a=1")
