"""Every statement of f1mon goes through here: as text straight to the driver, or as an expression of SQLAlchemy's.

Hot statements are text, with the driver's own parameter markers; so is the one savepoint there is, which `append` sets
around a batch. Connections, pools and transactions stay SQLAlchemy's, and so does a statement that somebody watches: on
an engine that logs its statements, or whose events may trace or change them.

Without that short way, by `exec_driver_sql` alone, a verb takes so many times as long (medians of 200 rounds in turns,
on a disk that syncs in 0.06 ms; `benchmarks/sql.py` measures it again):

    ==========  ======  ==========
    verb        SQLite  PostgreSQL
    ==========  ======  ==========
    append        1.35        1.16
    outcome       1.49        1.17
    transition    1.45        1.27
    state         1.66        1.23
    ==========  ======  ==========

It is 15 to 20 microseconds for each statement: a disk that needs a whole millisecond for a sync would hide it, and so
does a batch of thousands. Expressions are built and compiled once for each shape of a question; a page of 100 facts is
one, and gains nothing.
"""

from __future__ import annotations

import logging
import struct
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError

from f1mon_core.errors import F1monError, RefusedError
from f1mon_sql.tables.rows import Row

_CURSOR = "f1mon_cursor"
"""Where `Connection.info` has the way to a cursor, if nobody watches."""


def execute(
    connection: Connection, expression: Executable, values: Mapping[str, Any] | None = None
) -> CursorResult[*tuple[Any, ...]]:
    """The result of an expression, for what is asked seldom or needs SQLAlchemy to be said on every database."""
    try:
        return connection.execute(expression, values)
    except UNTYPED as error:
        raise _typed(error) from error


# Text ---------------------------------------------------------------------------------------------------------------


def look(connection: Connection, *, shared: bool = True) -> None:
    """Find out whether anybody watches: once for what begins now, as it takes as long as a statement.

    Args:
        connection: What its statements will be sent on.
        shared: Whether its engine is an application's, which may have been told of each connection and watch it alone.
    """
    heard, dialect = (connection if shared else connection.engine).dispatch, connection.dialect.dispatch
    watched = bool(
        heard.before_cursor_execute
        or heard.after_cursor_execute
        or dialect.handle_error
        or dialect.do_execute
        or dialect.do_executemany
        or connection.engine.logger.isEnabledFor(logging.INFO)
    )
    raw: Any = connection.connection.dbapi_connection
    connection.info[_CURSOR] = None if watched else getattr(raw, "untracked", raw.cursor)


def rows(connection: Connection, text: str, values: Row = ()) -> Sequence[Any]:
    """The rows a statement answers; none where it answers nothing."""
    if (make_cursor := connection.info.get(_CURSOR)) is None:
        result = connection.exec_driver_sql(text, values)
        return result.all() if result.returns_rows else []
    cursor = None
    try:
        cursor = make_cursor()
        cursor.execute(text, values)
        found: Sequence[Any] = cursor.fetchall() if cursor.description is not None else []
        cursor.close()
    except BaseException as error:
        _give_up(connection, cursor, text, error)
        raise
    return found


def changed(connection: Connection, text: str, batch: Sequence[Row]) -> int:
    """Run a statement once for each row of values; answers how many rows it changed."""
    if not batch:
        return 0
    if (make_cursor := connection.info.get(_CURSOR)) is None:
        return connection.exec_driver_sql(text, batch[0] if len(batch) == 1 else list(batch)).rowcount
    cursor = None
    try:
        cursor = make_cursor()
        if len(batch) == 1:
            cursor.execute(text, batch[0])
        else:
            cursor.executemany(text, batch)
        number: int = cursor.rowcount
        cursor.close()
    except BaseException as error:
        _give_up(connection, cursor, text, error)
        raise
    return number


def last_rows(connection: Connection, *texts: str) -> Sequence[Any]:
    """The rows of the last of several statements without values, which psycopg sends in one message."""
    if connection.info.get(_CURSOR) is None:
        return [rows(connection, text) for text in texts][-1]
    raw: Any = connection.connection.dbapi_connection
    whole = ";".join(texts)
    with sent(connection, whole) as cursor:
        if isinstance(raw, AdaptedConnection):
            awaited: Sequence[Any] = raw.run_async(lambda driver: _last_rows(driver, whole))
            return awaited
        cursor.execute(whole)
        while cursor.nextset():
            pass
        found: Sequence[Any] = cursor.fetchall()
        return found


async def _last_rows(driver: Any, text: str) -> Any:
    async with driver.cursor() as cursor:
        await cursor.execute(text)
        while cursor.nextset():
            pass
        return await cursor.fetchall()


def columns(connection: Connection, text: str) -> list[str]:
    """The names of the columns that a query would answer."""
    return list(connection.exec_driver_sql(text).keys())


@contextmanager
def sent(connection: Connection, text: str) -> Iterator[Any]:
    """A cursor for what takes more than one call of it; errors leave as those of `rows`."""
    cursor: Any = None
    try:
        cursor = connection.connection.cursor()
        yield cursor
        cursor.close()
    except BaseException as error:
        _give_up(connection, cursor, text, error)
        raise


class letting_go:  # noqa: N801 - a context, as those of contextlib
    """Around a call: who keeps its interrupt or its cancellation keeps no cursor, no turn and no connection with it.

    Those lie in the frames of the traceback, whose variables are cleared. And the interrupt is told, not what
    SQLAlchemy came to in the midst of it: a commit that is interrupted ends in a bare `AssertionError`. A class, as it
    stands around every call.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = sys.exception()  # what the caller is about to handle has nothing to do with this call

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        before, self._before = self._before, None
        if error is None:
            return
        found = behind(error, before)
        if all(isinstance(one, Exception) for one in found):
            return
        for one in found:
            traceback.clear_frames(one.__traceback__)
        if not isinstance(error, F1monError) and (interrupt := _masked(error, before)) is not None:
            raise interrupt from None


def behind(error: BaseException, before: BaseException | None = None) -> list[BaseException]:
    """An error and all that it was raised from or during, but for what was there before and lies behind that."""
    found = [error]
    for one in found:
        for other in (one.__cause__, one.__context__):
            if other is not None and other is not before and all(other is not known for known in found):
                found.append(other)
    return found


def _masked(error: BaseException, before: BaseException | None) -> BaseException | None:
    """The interrupt during which an error came up; None if it is one, or was raised from another on purpose."""
    one: BaseException | None = error
    while one is not None and one is not before and isinstance(one, Exception):
        one = None if one.__suppress_context__ else one.__context__
    return None if one is error or one is before else one


def is_interrupted(error: BaseException) -> bool:
    """Whether an error is an interrupt, or what SQLAlchemy came to in the midst of one."""
    return any(not isinstance(one, Exception) for one in behind(error))


def _abandon(connection: Connection, cursor: Any, error: BaseException) -> None:
    """Leave a connection that was interrupted or cancelled in the middle of an answer: what comes next belongs to that.

    Whoever keeps the error keeps its traceback, and with it the driver's cursors. SQLite does not end a connection, nor
    its transaction, as long as one of its statements is there, so they are let go first.
    """
    try:
        traceback.clear_frames(error.__traceback__)
        if connection.dialect.name == "sqlite":
            raw: Any = connection.connection.dbapi_connection
            with suppress(Exception):
                if cursor is not None:
                    cursor.close()
                raw.rollback()
    finally:
        connection.invalidate(error)


UNTYPED = (OverflowError, UnicodeError, struct.error)
"""What drivers raise of their own accord where they cannot send a value."""


def _typed(error: Exception) -> RefusedError:
    return RefusedError(
        f"the driver cannot send a value ({type(error).__name__}: {str(error)[:200]}); nothing was written, nor"
        " would a repeat be"
    )


def _give_up(connection: Connection, cursor: Any, text: str, error: BaseException) -> None:
    """Raise a driver's error as SQLAlchemy's, and leave the connection as SQLAlchemy would."""
    if not isinstance(error, Exception):
        _abandon(connection, cursor, error)
        return
    if cursor is not None:
        with suppress(Exception):  # half read, it would hold a snapshot for as long as the error is kept
            cursor.close()
    driver: Any = connection.dialect.loaded_dbapi
    if not isinstance(error, driver.Error):
        if isinstance(error, UNTYPED) and not isinstance(error, F1monError):
            raise _typed(error) from error
        return
    raw: Any = connection.connection.dbapi_connection
    if lost := connection.dialect.is_disconnect(error, raw, None):
        connection.invalidate(error)
    raise DBAPIError.instance(
        text,
        None,
        error,
        driver.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=connection.dialect,
    ) from error
