"""One transaction around an operation, for both colours: begin, commit, roll back, repeat, and name what failed."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import SQLAlchemyError

from f1mon_core.errors import ConfigurationError, LockTimeoutError, NotWritten
from f1mon_sql.connect import statements
from f1mon_sql.connect.engine import Place, Settings, milliseconds
from f1mon_sql.connect.errors import cause_of, is_stale, is_transient, translated
from f1mon_sql.dialects.sqlite import Sqlite, dialect_of
from f1mon_sql.turns import Turns

R = TypeVar("R")

_ATTEMPTS = 8
"""How often a transaction that a server gave up to end a deadlock is run before that is an error."""
_AT_ONCE = 1.0
"""Seconds within which a statement fails on a connection that is not there. What takes longer was at work."""
_PREPARED = "f1mon_prepared"
_ISOLATION = "READ COMMITTED"
_LEGACY_CONTROL = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, which Python 3.11 does not name. Without it `commit()` may do nothing."""
_AS_IT_IS = nullcontext()
_SYNCHRONOUS = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}


class Transactions:
    """Runs operations on connections of one place."""

    def __init__(self, place: Place, settings: Settings, *, shared: bool = False) -> None:
        """Make the transactions of a place.

        Args:
            place: Where they happen.
            settings: How long they wait.
            shared: Whether the connections are an application's own, which it gets back as they were.
        """
        self.place = place
        self.settings = settings
        self.shared = shared
        self.dialect: Sqlite = dialect_of(place.family)
        file = place.database_file
        self.turns = Turns(file.absolute()) if file is not None and settings.take_turns else None
        self._alone = threading.Lock() if place.in_memory else None
        self._is_pinged_by_begin = not shared and place.family == "postgresql"
        """Whether the first statement finds out if a connection of the pool is still there."""

    def run(
        self, connection: Connection, work: Callable[[Connection], R], *, write: bool = False, snapshot: bool = False
    ) -> R:
        """Run `work` in a transaction of its own, unless it reads by one statement where that needs none.

        Args:
            connection: A connection without a transaction.
            work: What to do; may be called again where the server gave up the transaction to end a deadlock, and a
                reader also where its connection turned out to be stale.
            write: Whether it writes.
            snapshot: Whether its several statements must read one state of the database.

        Raises:
            NotWritten: If it failed, and nothing is stored. `LockTimeoutError` if because of a lock.
            OutcomeUnknown: If the answer to COMMIT was lost.
            CorruptStoreError: If the database says it is damaged.
        """
        pause = pausing(connection)
        attempt = 1
        pooled = self._is_pinged_by_begin
        while True:
            begun = committing = False
            started = time.monotonic()
            try:
                # Setting up a connection may change the journal's mode, which is writing too.
                with (
                    self._exclusion(pause, write=write or not connection.info.get(_PREPARED)),
                    self._prepared(connection),
                ):
                    try:
                        if not connection.in_transaction():
                            connection.begin()  # the driver's statements would not make SQLAlchemy begin one
                        statements.look(connection, shared=self.shared)
                        self.dialect.begin(connection, write=write, snapshot=snapshot)
                        begun = True
                        result = work(connection)
                        committing = write
                        # A damaged SQLite file refuses even the COMMIT of who has only read; a ROLLBACK would make
                        # psycopg forget what it has prepared.
                        (connection.commit if write or self._is_pinged_by_begin else connection.rollback)()
                    except BaseException:
                        _roll_back(connection)
                        raise
                    return result
            except SQLAlchemyError as error:
                at_once = time.monotonic() - started < _AT_ONCE
                if pooled and at_once and not (write and begun) and is_stale(error):
                    # It was lost, or its plans were, while it lay in the pool, as maybe the others there.
                    pooled = False
                    connection.invalidate()
                    _roll_back(connection)
                    connection.engine.dispose()
                    continue
                if is_transient(error) and attempt < _ATTEMPTS:
                    pause(random.uniform(0.2, 1.0) * 0.005 * 2**attempt)  # noqa: S311 - only to part the two
                    attempt += 1
                    continue
                raise translated(error, self.place.secrets, committing=committing) from cause_of(error)

    def close(self) -> None:
        """Let go of what is kept between transactions."""
        if self.turns is not None:
            self.turns.close()

    def _exclusion(self, pause: Callable[[float], None], *, write: bool) -> AbstractContextManager[None]:
        if self._alone is not None:
            return self._by_itself(self._alone, pause)
        if write and self.turns is not None:
            return self.turns.turn(self.settings.lock_timeout, pause)
        return _AS_IT_IS

    @contextmanager
    def _by_itself(self, lock: threading.Lock, pause: Callable[[float], None]) -> Iterator[None]:
        # A database in memory is one connection, which one thread or task uses at a time.
        deadline = time.monotonic() + self.settings.lock_timeout
        while not lock.acquire(blocking=False):
            if time.monotonic() > deadline:
                raise LockTimeoutError("the database in memory was busy for longer than the timeout")
            pause(0.0001)
        try:
            yield
        finally:
            lock.release()

    def _prepared(self, connection: Connection) -> AbstractContextManager[None]:
        """Set up and check a driver's connection; an application's own one is as it was afterwards."""
        if self.place.family == "sqlite":
            return self._prepared_sqlite(connection)
        asked = connection.get_execution_options().get("isolation_level", _ISOLATION)
        if not connection.info.get(_PREPARED) or asked != _ISOLATION:
            if not self._is_pinged_by_begin:  # which says its isolation too
                _check_isolation(connection)
            _CHECKS[self.place.family](connection)
            connection.rollback()
            connection.info[_PREPARED] = True
        return _AS_IT_IS

    def _prepared_sqlite(self, connection: Connection) -> AbstractContextManager[None]:
        raw: Any = connection.connection.dbapi_connection
        driver: Any = connection.connection.driver_connection
        # aiosqlite shows everything but this of the connection it wraps.
        if getattr(getattr(driver, "_connection", driver), "autocommit", _LEGACY_CONTROL) != _LEGACY_CONTROL:
            raise ConfigurationError("f1mon needs sqlite3's own transaction control: leave out autocommit=")
        if driver.in_transaction:
            raise NotWritten("the connection is inside a transaction of the application; nothing was written")
        found = raw.isolation_level
        if found is not None:
            # Python's driver would begin by itself, too late and not IMMEDIATE.
            raw.isolation_level = None
        if self.shared:
            return self._lent(connection, raw, found)
        if not connection.info.get(_PREPARED):
            self._set_pragmas(connection)
            connection.rollback()
            connection.info[_PREPARED] = True
        return _AS_IT_IS

    @contextmanager
    def _lent(self, connection: Connection, raw: Any, isolation_level: Any) -> Iterator[None]:
        changed: dict[str, Any] = {}
        try:
            connection.begin()
            driver: Any = connection.connection.driver_connection
            if driver.in_transaction:
                raw.rollback()  # an event of the application began, which is not IMMEDIATE either
            self._set_pragmas(connection, changed)
            connection.info[_PREPARED] = True
            yield
        finally:
            if not connection.invalidated:
                _give_back(connection, raw, isolation_level, changed)

    def _set_pragmas(self, connection: Connection, changed: dict[str, Any] | None = None) -> None:
        """Set what is not as f1mon needs it, noting what it was, and read it back."""
        wanted: dict[str, Any] = {
            "busy_timeout": milliseconds(self.settings.lock_timeout),
            "synchronous": _SYNCHRONOUS[self.settings.synchronous],
            "foreign_keys": 1,
            "journal_mode": "memory" if self.place.in_memory else "wal",
        }
        for name, value in wanted.items():
            if (before := _pragma(connection, name)) == value:
                continue
            _pragma(connection, f"{name} = {value}")
            if changed is not None and name != "journal_mode":  # the journal's mode is the file's
                changed[name] = before
            if (found := _pragma(connection, name)) != value:
                raise ConfigurationError(f"SQLite keeps {name} at {found!r}, f1mon needs {value!r}")


def _pragma(connection: Connection, text: str) -> Any:
    result = connection.exec_driver_sql(f"PRAGMA {text}")
    return result.scalar() if result.returns_rows else None


def _give_back(connection: Connection, raw: Any, isolation_level: Any, changed: dict[str, Any]) -> None:
    """Leave an application's SQLite connection as it was found."""
    try:
        # Below SQLAlchemy, whose statements would begin a transaction, and whose rollback an engine can switch off.
        raw.rollback()
        cursor = raw.cursor()
        for name, value in changed.items():
            cursor.execute(f"PRAGMA {name} = {value}")
        cursor.close()
        raw.isolation_level = isolation_level
    except sqlite3.Error:
        connection.invalidate()  # it is not used again, and what was done stands
    except BaseException:
        connection.invalidate()
        raise


def _check_isolation(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    autocommit = driver.get_autocommit() if hasattr(driver, "get_autocommit") else driver.autocommit
    level = "AUTOCOMMIT" if autocommit else connection.get_isolation_level()
    if level != _ISOLATION:
        raise ConfigurationError(
            f"the engine's transactions are {level}, with which claims and batches of f1mon would not be safe:"
            f' create_engine(…, isolation_level="{_ISOLATION}")'
        )


def _check_mysql(connection: Connection) -> None:
    mode, charset = connection.exec_driver_sql("SELECT @@sql_mode, @@character_set_client").one()
    if "STRICT_" not in mode:
        raise ConfigurationError("sql_mode must contain STRICT_ALL_TABLES: else the server cuts what it cannot store")
    if charset != "utf8mb4":
        raise ConfigurationError(f"the connection's character set must be utf8mb4, not {charset} (?charset=utf8mb4)")


def _check_postgresql(connection: Connection) -> None:
    if (encoding := connection.exec_driver_sql("SHOW server_encoding").scalar()) != "UTF8":
        raise ConfigurationError(f"the database must be encoded in UTF8, not {encoding}")


_CHECKS: dict[str, Callable[[Connection], None]] = {"mysql": _check_mysql, "postgresql": _check_postgresql}


def pausing(connection: Connection) -> Callable[[float], None]:
    """Sleeping that lets an event loop go on."""
    raw = connection.connection.dbapi_connection
    if isinstance(raw, AdaptedConnection):
        import asyncio  # noqa: PLC0415 - only where there is a loop

        return lambda seconds: raw.run_async(lambda _: asyncio.sleep(seconds))
    return time.sleep


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except (SQLAlchemyError, sqlite3.Error):
        # The first error is the one to tell; a connection that cannot even roll back is not used again.
        connection.invalidate()
