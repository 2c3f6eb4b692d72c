"""One transaction around an operation, sync and async: begin, commit, roll back, repeat, and name what failed."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import SQLAlchemyError

from f1mon_core.errors import CorruptStoreError, LockTimeoutError, ReadOnlyError, StorageError
from f1mon_sql.connect import statements
from f1mon_sql.connect.errors import (
    cause_of,
    is_read_only,
    is_stale,
    is_transient,
    read_only,
    translated,
)
from f1mon_sql.connect.reading import READS_ONLY, State, why_only_read
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import Target
from f1mon_sql.dialects import Dialect, dialect_of
from f1mon_sql.dialects.base import PREPARED, UNCHANGED
from f1mon_sql.turns import Turns

R = TypeVar("R")

_ATTEMPTS = 8
"""How often a transaction that a server gave up to end a deadlock is run before that is an error."""
_UNHARMED = 40
"""How often a reader looks anew who cannot see writers, and found that somebody wrote."""
_AT_ONCE = 1.0
"""Seconds within which a statement fails on a connection that is not there. What takes longer was at work."""


@attrs.define
class Attempt:
    """How far a transaction came, which tells what its failure means.

    Attributes:
        write: Whether it writes.
        snapshot: Whether its several statements must read one state of the database.
        started: When it was started.
        begun: Whether it has begun, so that its work may have been done.
        committing: Whether COMMIT may have been sent for something written.
    """

    write: bool
    snapshot: bool
    started: float = attrs.field(factory=time.monotonic)
    begun: bool = False
    committing: bool = False

    @property
    def failed_at_once(self) -> bool:
        """Whether it failed before its work could have had an effect, and as fast as on a connection that is gone."""
        return not (self.write and self.begun) and time.monotonic() - self.started < _AT_ONCE


class Transactions:
    """Runs operations on connections to one target."""

    def __init__(self, target: Target, settings: Settings, *, shared: bool = False) -> None:
        """Make the transactions of a target.

        Args:
            target: Where they happen.
            settings: How long they wait.
            shared: Whether the connections are an application's own, which it gets back as they were.
        """
        self.target = target
        self.settings = settings
        self.shared = shared
        self.dialect: Dialect = dialect_of(target.family)
        file = target.database_file
        self.read_only: str | None = None
        """Why nothing may be written; None if something may, as far as is known."""
        self._file: Path | None = None
        if file is not None and not shared:
            self.read_only = why_only_read(file, take_turns=settings.take_turns)
            self._file = file if self.read_only else None
        queues = file is not None and settings.take_turns and self._file is None
        # Beside the file itself, which others may know by another name: SQLite follows links too.
        self.turns = Turns(file.resolve()) if file is not None and queues else None
        self._alone = threading.Lock() if target.in_memory else None
        self._is_pinged_by_begin = not shared and self.dialect.begins_by_statement
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
            ReadOnlyError: If it writes where this process may only read.
            CorruptStoreError: If the database says it is damaged.
        """
        if self._file is not None:
            return self._read_unharmed(self._file, connection, work, write=write, snapshot=snapshot)
        return self._run(connection, work, write=write, snapshot=snapshot)

    def _read_unharmed(
        self, file: Path, connection: Connection, work: Callable[[Connection], R], *, write: bool, snapshot: bool
    ) -> R:
        """Run what reads from a file without taking part in its locks, again where somebody wrote to it meanwhile."""
        if write:
            raise ReadOnlyError(
                f"{self.target.address} may only be read by this process: {self.read_only}; nothing was written. Write"
                " as somebody who may, and open the store again if that has changed"
            )
        pause = pausing(connection)
        for _ in range(_UNHARMED):
            if not connection.info[READS_ONLY].is_settled(file):
                _replace(connection)
            state: State = connection.info[READS_ONLY]
            try:
                found = self._run(connection, work, write=False, snapshot=snapshot)
            except CorruptStoreError:
                if state.is_settled(file):
                    raise
            else:
                if state.is_settled(file):
                    return found
            pause(0.05)
        raise StorageError(
            f"{self.target.address} is being written to without a way for a reader to see by whom: let this process"
            f" read and write {file}-shm, or the directory"
        )

    def _run(self, connection: Connection, work: Callable[[Connection], R], *, write: bool, snapshot: bool) -> R:
        pause = pausing(connection)
        deadlocks, may_be_stale, may_be_demoted = 0, self._is_pinged_by_begin, True
        while True:
            attempt = Attempt(write, snapshot)
            try:
                return self._attempted(attempt, connection, work, pause)
            except SQLAlchemyError as error:
                if may_be_stale and attempt.failed_at_once and is_stale(error):
                    may_be_stale = False
                    _replace(connection)
                elif is_read_only(error):
                    if not may_be_demoted:
                        raise self._refused(connection, error) from cause_of(error, self.target.secrets)
                    # Behind a name or a proxy another server may have become the primary, and this one still answers.
                    may_be_demoted = False
                    self._elsewhere(connection)
                elif is_transient(error) and deadlocks < _ATTEMPTS - 1:
                    deadlocks += 1
                    pause(random.uniform(0.2, 1.0) * 0.005 * 2**deadlocks)  # noqa: S311 - only to part the two
                else:
                    secrets = self.target.secrets
                    raise translated(error, secrets, committing=attempt.committing) from cause_of(error, secrets)

    def _elsewhere(self, connection: Connection) -> None:
        """Connect anew; an application's own pool goes on without this connection."""
        if self.shared:
            connection.invalidate()
            _roll_back(connection)
        else:
            _replace(connection)

    def _refused(self, connection: Connection, error: SQLAlchemyError) -> ReadOnlyError:
        try:
            where = self.dialect.place(connection)
            connection.rollback()
        except SQLAlchemyError:
            where = "it is gone meanwhile"
            connection.invalidate()
        return read_only(error, self.target.secrets, self.target.address, where)

    def close(self) -> None:
        """Let go of what is kept between transactions."""
        if self.turns is not None:
            self.turns.close()

    def _attempted(
        self,
        attempt: Attempt,
        connection: Connection,
        work: Callable[[Connection], R],
        pause: Callable[[float], None],
    ) -> R:
        # Setting up a connection may change the journal's mode, which is writing too.
        writes = attempt.write or (self._file is None and not connection.info.get(PREPARED))
        with self._exclusion(pause, write=writes):
            statements.look(connection, shared=self.shared)
            with self._prepared(connection):
                return self._done(attempt, connection, work)

    def _done(self, attempt: Attempt, connection: Connection, work: Callable[[Connection], R]) -> R:
        try:
            if not connection.in_transaction():
                connection.begin()  # the driver's statements would not make SQLAlchemy begin one
            self.dialect.begin(connection, write=attempt.write, snapshot=attempt.snapshot)
            attempt.begun = True
            result = work(connection)
            attempt.committing = attempt.write
            # A damaged SQLite file refuses even the COMMIT of who has only read; a ROLLBACK would make psycopg forget
            # what it has prepared.
            (connection.commit if attempt.write or self._is_pinged_by_begin else connection.rollback)()
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def _prepared(self, connection: Connection) -> AbstractContextManager[None]:
        in_memory = self._alone is not None
        return self.dialect.prepared(connection, self.settings, shared=self.shared, in_memory=in_memory)

    def _exclusion(self, pause: Callable[[float], None], *, write: bool) -> AbstractContextManager[None]:
        if self._alone is not None:
            return self._by_itself(self._alone, pause)
        if write and self.turns is not None:
            return self.turns.turn(self.settings.lock_timeout, pause)
        return UNCHANGED

    @contextmanager
    def _by_itself(self, lock: threading.Lock, pause: Callable[[float], None]) -> Iterator[None]:
        # A database in memory is one connection, which one thread or task uses at a time.
        deadline = time.monotonic() + self.settings.lock_timeout
        took = [False]
        try:
            while True:
                took[:] = map(lock.acquire, took)  # taken and noted at once: an interrupt comes between calls
                if True in took:
                    break
                if time.monotonic() > deadline:
                    raise LockTimeoutError("the database in memory was busy for longer than the timeout")
                pause(0.0001)
            yield
        finally:
            if True in took:
                lock.release()


def pausing(connection: Connection) -> Callable[[float], None]:
    """Sleeping that lets an event loop go on."""
    raw = connection.connection.dbapi_connection
    if isinstance(raw, AdaptedConnection):
        import asyncio  # noqa: PLC0415 - only where there is a loop

        return lambda seconds: raw.run_async(lambda _: asyncio.sleep(seconds))
    return time.sleep


def _replace(connection: Connection) -> None:
    """Get another connection for one that was lost, or its plans were, in the pool, as maybe the others there."""
    connection.invalidate()
    _roll_back(connection)
    connection.engine.dispose()


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except (SQLAlchemyError, sqlite3.Error):
        # The first error is the one to tell; a connection that cannot even roll back is not used again.
        connection.invalidate()
