"""Engines for a target: which pool, which session settings, and connections of its own for a forked child."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet, ref

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, Pool, QueuePool, StaticPool

from f1mon_core import forks
from f1mon_core.errors import ConfigurationError, MissingExtraError
from f1mon_sql.connect import reading
from f1mon_sql.connect.loops import connected, track
from f1mon_sql.connect.reading import why_only_read
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import Target
from f1mon_sql.connect.waiting import bound, connect_arguments
from f1mon_sql.dialects import dialect_of

E = TypeVar("E")


def engine_options(target: Target, settings: Settings, *, asynchronous: bool) -> dict[str, Any]:
    """What `create_engine` or `create_async_engine` is told."""
    # Rows are what a team monitors; they do not belong into logs and exception texts.
    options: dict[str, Any] = {"echo": settings.echo, "hide_parameters": True, "connect_args": dict(target.arguments)}
    if target.in_memory:
        return {**options, "poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    options |= {
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
    }
    if target.family == "sqlite":
        arguments: dict[str, Any] = {
            "check_same_thread": False,
            "timeout": settings.lock_timeout,
            "factory": SqliteConnection,
        }
        return {**options, **({} if asynchronous else {"poolclass": QueuePool}), "connect_args": arguments}
    options["connect_args"] |= connect_arguments(target, settings)
    if target.family == "postgresql":
        # A transaction begins by a statement of its own, which is the ping too (`Transactions.run`); what reads by one
        # statement needs none. And each new engine would ask the server for a type f1mon does not use.
        return {**options, "isolation_level": "AUTOCOMMIT", "use_native_hstore": False}
    return {**options, "pool_pre_ping": True, "isolation_level": "READ COMMITTED"}


class SqliteConnection(sqlite3.Connection):
    """A connection that ends with its statements.

    SQLite keeps a connection, its locks and its snapshot for as long as one of its statements is there, and the
    traceback of an interrupt may keep that.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: dict[int, ref[sqlite3.Cursor]] = {}
        """By where they lie, which later ones take over: as many as there ever were at once."""

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """See `sqlite3.Connection.cursor`."""
        made = sqlite3.Connection.cursor(self, factory)
        self._cursors[id(made)] = ref(made)
        return made

    untracked = sqlite3.Connection.cursor
    """A cursor for who closes it by itself: to remember it takes a tenth of a short statement."""

    def close(self) -> None:
        """See `sqlite3.Connection.close`."""
        for known in list(self._cursors.values()):
            if (cursor := known()) is not None:
                with suppress(sqlite3.Error):
                    cursor.close()
        super().close()


def make_engine(target: Target, settings: Settings) -> Engine:
    """A sync engine for a target. Raises `ConfigurationError`, or ImportError where its driver is not installed."""
    made = _made(
        target, lambda: sa.create_engine(target.engine_url, **engine_options(target, settings, asynchronous=False))
    )
    _prepare_sessions(made, target, settings)
    remake_after_fork(made)
    return made


def make_async_engine(target: Target, settings: Settings) -> AsyncEngine:
    """An async engine for a target, for one event loop. Raises as `make_engine`."""
    options = engine_options(target, settings, asynchronous=True)
    made = _made(target, lambda: create_async_engine(target.engine_url, **options))
    _prepare_sessions(made.sync_engine, target, settings)
    track(made.sync_engine)
    remake_after_fork(made.sync_engine)
    return made


def _made(target: Target, make: Callable[[], E]) -> E:
    if (path := target.database_file) is not None:
        make_parent(path)
    try:
        return make()
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(" ".join(target.secrets.hide(str(error)).split())) from None
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{target.family} needs {error.name!r}, which is not installed: pip install 'f1mon[{target.family}]'",
            name=error.name,
        ) from error


def make_parent(path: Path) -> None:
    """Make the directory a database file will lie in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the directory {path.parent}: {error.strerror}") from error


def _prepare_sessions(engine: Engine, target: Target, settings: Settings) -> None:
    """Set up each connection of an engine that f1mon made."""
    dialect = dialect_of(target.family)
    if (file := target.database_file) is not None and why_only_read(file, take_turns=settings.take_turns):
        _open_to_read(engine, file)

    def set_up(connection: Any, record: ConnectionPoolEntry) -> None:
        if target.encrypted:
            _refuse_plain(connection)
        dialect.set_up(connection, record.info, settings, target.session)

    if target.family == "sqlite":
        event.listen(engine, "connect", set_up)
    else:
        bound(engine, target, settings, set_up)


def _open_to_read(engine: Engine, file: Path) -> None:
    """Open each connection of an engine as one that only reads, and makes no file."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]) -> Any:
        state = reading.State.of(file)
        made = dialect.connect(reading.read_only_address(file, state), *arguments[1:], **{**options, "uri": True})
        reading.set_up(made, record.info, state)
        return made


def _refuse_plain(connection: Any) -> None:
    # The drivers of MariaDB and MySQL go on in plain text where a server offers nothing else.
    cursor = connection.cursor()
    cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    found = cursor.fetchall()
    cursor.close()
    if not found or not found[0][1]:
        raise ConfigurationError(
            "the address asks for TLS and the server has none: set it up there, or sslmode=disable"
        )


# Forks --------------------------------------------------------------------------------------------------------------

_engines: WeakSet[Engine] = WeakSet()
_inherited: list[tuple[Pool, list[Any]]] = []
"""Pools and connections of a parent process. Kept, never closed: the parent still talks over them."""


def remake_after_fork(engine: Engine) -> None:
    """Give a forked child connections of its own."""
    _engines.add(engine)
    forks.start_anew(engine, _start_anew)


def _start_anew(engine: Engine) -> None:
    connections = connected.get(engine, {})
    _inherited.append((engine.pool, list(connections.values())))
    connections.clear()
    engine.dispose(close=False)
