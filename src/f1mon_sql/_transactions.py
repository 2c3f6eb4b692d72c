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

from f1mon_core.errors import ConfigurationError, LockTimeoutError
from f1mon_sql._dialects import Sqlite, dialect_of
from f1mon_sql._engine import Place, Settings, milliseconds
from f1mon_sql._errors import cause_of, is_transient, translated
from f1mon_sql._turns import Turns

R = TypeVar("R")

_ATTEMPTS = 8
"""How often a transaction that a server gave up to end a deadlock is run before that is an error."""
_PREPARED = "f1mon_prepared"
_SYNCHRONOUS = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}


class Transactions:
    """Runs operations on connections of one place."""

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place = place
        self.settings = settings
        self.dialect: Sqlite = dialect_of(place.family)
        file = place.database_file
        self.turns = Turns(file.absolute()) if file is not None and settings.take_turns else None
        self._alone = threading.Lock() if place.in_memory else None

    def run(
        self, connection: Connection, work: Callable[[Connection], R], *, write: bool = False, snapshot: bool = False
    ) -> R:
        """Run `work` in a transaction of its own.

        Args:
            connection: A connection without a transaction.
            work: What to do; may be called again where the server gave up the transaction to end a deadlock.
            write: Whether it writes.
            snapshot: Whether its several statements must read one state of the database.

        Raises:
            NotWritten: If it failed, and nothing is stored. `LockTimeoutError` if because of a lock.
            OutcomeUnknown: If the answer to COMMIT was lost.
            CorruptStoreError: If the database says it is damaged.
        """
        pause = pausing(connection)
        attempt = 1
        while True:
            committing = False
            try:
                # Setting up a connection may change the journal's mode, which is writing too.
                with self._exclusion(pause, write=write or not connection.info.get(_PREPARED)):
                    self._prepare(connection)
                    self.dialect.begin(connection, write=write, snapshot=snapshot)
                    try:
                        result = work(connection)
                        committing = write
                        connection.commit()
                    except BaseException:
                        _roll_back(connection)
                        raise
                    return result
            except SQLAlchemyError as error:
                if is_transient(error) and attempt < _ATTEMPTS:
                    pause(random.uniform(0.2, 1.0) * 0.005 * 2**attempt)  # noqa: S311 - only to part the two
                    attempt += 1
                    continue
                raise translated(error, self.place.secrets, committing=committing) from cause_of(error)

    def _exclusion(self, pause: Callable[[float], None], *, write: bool) -> AbstractContextManager[None]:
        if self._alone is not None:
            return self._by_itself(self._alone, pause)
        if write and self.turns is not None:
            return self.turns.turn(self.settings.lock_timeout, pause)
        return nullcontext()

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

    def _prepare(self, connection: Connection) -> None:
        """Set up and check a driver's connection the first time it is used here."""
        info = connection.info
        raw: Any = connection.connection.dbapi_connection
        if self.place.family == "sqlite" and raw.isolation_level is not None:
            # Python's driver would begin by itself, too late and not IMMEDIATE.
            raw.isolation_level = None
        if info.get(_PREPARED):
            return
        if self.place.family == "sqlite":
            self._prepare_sqlite(connection)
        else:
            _CHECKS[self.place.family](connection)
        connection.rollback()
        info[_PREPARED] = True

    def _prepare_sqlite(self, connection: Connection) -> None:
        settings = self.settings

        def pragma(text: str) -> Any:
            result = connection.exec_driver_sql(f"PRAGMA {text}")
            return result.scalar() if result.returns_rows else None

        pragma(f"busy_timeout = {milliseconds(settings.lock_timeout)}")
        pragma(f"synchronous = {settings.synchronous}")
        pragma("foreign_keys = ON")
        journal = "memory" if self.place.in_memory else "wal"
        if pragma("journal_mode") != journal:
            pragma(f"journal_mode = {journal}")
        wanted = {
            "journal_mode": journal,
            "synchronous": _SYNCHRONOUS[settings.synchronous],
            "busy_timeout": milliseconds(settings.lock_timeout),
            "foreign_keys": 1,
        }
        for name, value in wanted.items():
            if (found := pragma(name)) != value:
                raise ConfigurationError(f"SQLite keeps {name} at {found!r}, f1mon needs {value!r}")


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
