"""Statements as text, sent straight to the driver: through SQLAlchemy one takes ten times what SQLite needs for it.

Connections, pools, transactions and savepoints stay SQLAlchemy's, and so does whatever somebody watches: an engine that
logs its statements, or whose events may trace or change them. A statement has the driver's own parameter markers and is
sent inside a transaction that has begun.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError

Row: TypeAlias = tuple[Any, ...]


_WATCHED = "f1mon_watched"


def look(connection: Connection) -> None:
    """Find out whether anybody watches: once for the transaction that begins, as it takes as long as a statement."""
    heard, dialect = connection.dispatch, connection.dialect.dispatch
    connection.info[_WATCHED] = bool(
        heard.before_cursor_execute
        or heard.after_cursor_execute
        or dialect.handle_error
        or dialect.do_execute
        or dialect.do_executemany
        or connection.engine.logger.isEnabledFor(logging.INFO)
    )


def rows(connection: Connection, text: str, values: Row = ()) -> Sequence[Any]:
    """The rows a statement answers; none where it answers nothing."""
    if _is_watched(connection):
        result = connection.exec_driver_sql(text, values)
        return result.all() if result.returns_rows else []
    with Sent(connection, text) as cursor:
        cursor.execute(text, values)
        found: Sequence[Any] = cursor.fetchall() if cursor.description is not None else []
        return found


def changed(connection: Connection, text: str, batch: Sequence[Row]) -> int:
    """Run a statement once for each row of values; answers how many rows it changed."""
    if not batch:
        return 0
    if _is_watched(connection):
        return connection.exec_driver_sql(text, batch[0] if len(batch) == 1 else list(batch)).rowcount
    with Sent(connection, text) as cursor:
        if len(batch) == 1:
            cursor.execute(text, batch[0])
        else:
            cursor.executemany(text, batch)
        number: int = cursor.rowcount
        return number


def last_rows(connection: Connection, *texts: str) -> Sequence[Any]:
    """The rows of the last of several statements without values, which psycopg sends in one message."""
    if _is_watched(connection):
        return [rows(connection, text) for text in texts][-1]
    raw: Any = connection.connection.dbapi_connection
    whole = ";".join(texts)
    with Sent(connection, whole) as cursor:
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


def _is_watched(connection: Connection) -> bool:
    watched: bool = connection.info.get(_WATCHED, True)
    return watched


class Sent:
    """A cursor for one statement. A driver's error leaves as SQLAlchemy's, and the connection as SQLAlchemy's would."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text

    def __enter__(self) -> Any:
        self._cursor: Any = self._connection.connection.cursor()
        return self._cursor

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            self._cursor.close()
            return
        connection = self._connection
        if not isinstance(error, Exception):
            # Interrupted or cancelled in the middle of an answer: what would come next on it belongs to this one.
            connection.invalidate(error)
            return
        with suppress(Exception):  # half read, it would hold a snapshot for as long as the error is kept
            self._cursor.close()
        driver: Any = connection.dialect.loaded_dbapi
        if not isinstance(error, driver.Error):
            return
        raw: Any = connection.connection.dbapi_connection
        if lost := connection.dialect.is_disconnect(error, raw, None):
            connection.invalidate(error)
        raise DBAPIError.instance(
            self._text,
            None,
            error,
            driver.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error
