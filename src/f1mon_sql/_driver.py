"""Statements as text, sent straight to the driver: through SQLAlchemy one takes ten times what SQLite needs for it.

Connections, pools, transactions and savepoints stay SQLAlchemy's, and so does whatever somebody watches: the statements
of an application's own engine, whose events may trace or change them, and those of an engine that logs them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError

Row: TypeAlias = tuple[Any, ...]

_log = logging.getLogger("sqlalchemy.engine")


class Driver:
    """Sends statements that have the driver's own parameter markers, inside a transaction that has begun."""

    def __init__(self, *, watched: bool = False) -> None:
        """Make the sender; `watched` where every statement must be seen by SQLAlchemy."""
        self._watched = watched

    def rows(self, connection: Connection, text: str, values: Row = ()) -> Sequence[Any]:
        """The rows a statement answers; none where it answers nothing."""
        if self._is_watched():
            result = connection.exec_driver_sql(text, values)
            return result.all() if result.returns_rows else []
        with Told(connection, text):
            cursor: Any = connection.connection.cursor()
            cursor.execute(text, values)
            found: Sequence[Any] = cursor.fetchall() if cursor.description is not None else []
            cursor.close()
            return found

    def changed(self, connection: Connection, text: str, rows: Sequence[Row]) -> int:
        """Run a statement once for each row of values; answers how many rows it changed."""
        if not rows:
            return 0
        if self._is_watched():
            return connection.exec_driver_sql(text, rows[0] if len(rows) == 1 else list(rows)).rowcount
        with Told(connection, text):
            cursor: Any = connection.connection.cursor()
            if len(rows) == 1:
                cursor.execute(text, rows[0])
            else:
                cursor.executemany(text, rows)
            changed: int = cursor.rowcount
            cursor.close()
            return changed

    def last_rows(self, connection: Connection, *texts: str) -> Sequence[Any]:
        """The rows of the last of several statements without values, which psycopg sends in one message."""
        if self._is_watched():
            return [self.rows(connection, text) for text in texts][-1]
        raw: Any = connection.connection.dbapi_connection
        whole = ";".join(texts)
        with Told(connection, whole):
            if isinstance(raw, AdaptedConnection):
                awaited: Sequence[Any] = raw.run_async(lambda driver: _last_rows(driver, whole))
                return awaited
            with raw.cursor() as cursor:
                cursor.execute(whole)
                while cursor.nextset():
                    pass
                found: Sequence[Any] = cursor.fetchall()
                return found

    def _is_watched(self) -> bool:
        return self._watched or _log.isEnabledFor(logging.INFO)


async def _last_rows(driver: Any, text: str) -> Any:
    async with driver.cursor() as cursor:
        await cursor.execute(text)
        while cursor.nextset():
            pass
        return await cursor.fetchall()


class Told:
    """Tells a driver's error as SQLAlchemy would tell it, and does with the connection what it would do."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            return
        connection = self._connection
        driver: Any = connection.dialect.loaded_dbapi
        if isinstance(error, driver.Error):
            raw: Any = connection.connection.dbapi_connection
            lost = connection.dialect.is_disconnect(error, raw, None)
            if lost:
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
        if not isinstance(error, Exception):
            # Interrupted or cancelled in the middle of an answer: what would come next on it belongs to this one.
            connection.invalidate(error)
