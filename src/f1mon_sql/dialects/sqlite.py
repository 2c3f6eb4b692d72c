"""SQLite: one writer at a time, so the transaction itself is the lock; the host has the clock."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import chain, compress, repeat
from operator import is_not, itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.errors import ConfigurationError, NotWritten
from f1mon_core.storage.contract import Problem
from f1mon_sql.connect import statements
from f1mon_sql.connect.reading import READS_ONLY
from f1mon_sql.connect.settings import Settings, milliseconds
from f1mon_sql.dialects.base import (
    HORIZONS_SQL,
    IN_CHUNK,
    PREPARED,
    UNCHANGED,
    Dialect,
    insert_absent_sql,
    turned,
    update_sql,
)
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    FEATURE_COLUMNS,
    OPERATION_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
)

_LEGACY_CONTROL = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, which Python 3.11 does not name. Without it `commit()` may do nothing."""
_MANY = 10
"""From how many rows on it pays to look at them together."""
_MOST_PARAMETERS = 999
"""What a statement takes in every version of SQLite."""
_INSERT_FEATURES = insert_absent_sql("f1mon_features", FEATURE_COLUMNS)
_NONES = repeat(None)
_SYNCHRONOUS = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}
_WAL_RESET_FIXED = (3, 51, 3)


class Sqlite(Dialect):
    """SQLite, by Python's driver or aiosqlite."""

    name = "sqlite"
    marker = "?"
    lock_rows = ""
    has_table_sql = "SELECT 1 FROM sqlite_master WHERE name = ?"
    server_clock = None

    # Sessions -----------------------------------------------------------------------------------------------------

    def prepared(
        self, connection: Connection, settings: Settings, *, shared: bool, in_memory: bool
    ) -> AbstractContextManager[None]:
        """See `Dialect.prepared`."""
        if not shared and connection.info.get(PREPARED):
            return UNCHANGED  # nobody else has had it in hand
        raw: Any = connection.connection.dbapi_connection
        driver: Any = connection.connection.driver_connection
        # aiosqlite shows everything but this of the connection it wraps.
        if getattr(getattr(driver, "_connection", driver), "autocommit", _LEGACY_CONTROL) != _LEGACY_CONTROL:
            raise ConfigurationError("f1mon needs sqlite3's own transaction control: leave out autocommit=")
        if driver.in_transaction:
            raise NotWritten("the connection is inside a transaction of the application; nothing was written")
        if shared:
            _refuse_factories(driver)
        if not connection.info.get(PREPARED):
            _refuse_names(raw)
        found = raw.isolation_level
        if found is not None:
            # Python's driver would begin by itself, too late and not IMMEDIATE.
            raw.isolation_level = None
        if shared:
            return _lent(connection, found, _pragmas(settings, in_memory=in_memory))
        wanted = _pragmas(settings, in_memory=in_memory)
        if READS_ONLY in connection.info:
            wanted = {"busy_timeout": wanted["busy_timeout"]}  # the others are for who writes
        _set_pragmas(connection, wanted)
        connection.rollback()
        connection.info[PREPARED] = True
        return UNCHANGED

    # Transactions -------------------------------------------------------------------------------------------------

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin a transaction: at once the only writer, or a reader of one snapshot."""
        del snapshot  # every SQLite reader has one
        statements.rows(connection, "BEGIN IMMEDIATE" if write else "BEGIN")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """See `Dialect.horizons`."""
        del exclusive
        rows = statements.rows(connection, f"SELECT {HORIZONS_SQL} FROM f1mon_horizons")
        return None, {kind: tuple(row) for kind, *row in rows if kind}

    # Schema ---------------------------------------------------------------------------------------------------------

    def alone(self, connection: Connection, lock_timeout: float) -> AbstractContextManager[None]:
        """See `Dialect.alone`; a writer is."""
        del connection, lock_timeout
        return UNCHANGED

    def view_differs(self, connection: Connection, view: str, query: str) -> bool:
        """See `Dialect.view_differs`."""
        ((found,),) = statements.rows(connection, "SELECT sql FROM sqlite_master WHERE name = ?", (view,))
        return str(found).split() != f"CREATE VIEW {view} AS {query}".split()

    def rewritten_bytes(self, connection: Connection, tables: Sequence[str]) -> int:
        """See `Dialect.rewritten_bytes`; new tables stand in the journal, and then in the file beside the old ones."""
        del tables
        return 2 * int(_pragma(connection, "page_count")) * int(_pragma(connection, "page_size"))

    def problems(self, connection: Connection) -> list[Problem]:
        """See `Dialect.problems`."""
        found = [
            Problem("error", "SQLite integrity_check", str(said))
            for (said,) in statements.rows(connection, "PRAGMA integrity_check(20)")
            if said != "ok"
        ]
        if _pragma(connection, "synchronous") == _SYNCHRONOUS["NORMAL"]:
            message = "a power loss may take the newest acknowledged facts"
            found.append(Problem("warning", "synchronous=NORMAL", message))
        ((version,),) = statements.rows(connection, "SELECT sqlite_version()")
        if tuple(map(int, version.split("."))) < _WAL_RESET_FIXED:
            message = (
                "before 3.51.3 a rare race of a checkpoint with a writer that takes no turns can damage the file:"
                " update SQLite, and let all writers be f1mon with take_turns"
            )
            found.append(Problem("warning", f"SQLite {version}", message))
        return found

    # Rows -----------------------------------------------------------------------------------------------------------

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """See `Dialect.insert_absent`."""
        having, start, done = columns, 0, 0
        if len(rows) >= _MANY:
            having, rows = _without_nulls(columns, rows)
            for together in (_MOST_PARAMETERS // len(having), _MANY):
                text = _insert_together_sql(table, having, together)
                while len(rows) - start >= together:
                    values = tuple(chain.from_iterable(rows[start : start + together]))
                    done += statements.changed(connection, text, [values])
                    start += together
        return done + statements.changed(connection, insert_absent_sql(table, having), rows[start:])

    def insert_both(self, connection: Connection, row: Row, features: Row) -> bool:
        """See `Dialect.insert_both`; what is NULL is no parameter."""
        given = tuple(map(is_not, row, _NONES))
        text = _insert_given_sql("f1mon_predictions", PREDICTION_COLUMNS, given)
        if statements.changed(connection, text, [tuple(compress(row, given))]) != 1:
            return False
        statements.changed(connection, _INSERT_FEATURES, [features])
        return True

    def insert_current(self, connection: Connection, row: Row, current: Row, *, alone: bool) -> bool:
        """See `Dialect.insert_current`; what is NULL is no parameter, and of one row SQLite keeps no list to update."""
        given = tuple(map(is_not, row, _NONES))
        text = _insert_given_sql("f1mon_outcomes", OUTCOME_COLUMNS, given)
        if statements.changed(connection, text, [tuple(compress(row, given))]) != 1:
            return False
        item, *values = current
        given = tuple(map(is_not, values, _NONES))
        text = _set_current_sql(given, alone)
        statements.changed(connection, text, [(*compress(values, given), item)])
        return True

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """See `Dialect.update`."""
        given, nulls = columns, tuple[str, ...]()
        if len(rows) >= _MANY:
            having, rows = _without_nulls((*key, *columns), rows)
            given = tuple(name for name in columns if name in having)
            nulls = tuple(name for name in columns if name not in having)
        statements.changed(connection, update_sql(table, key, given, nulls), turned(rows, len(key)))

    def claim(self, connection: Connection, key: str) -> str | None:
        """See `Dialect.claim`; an absent document needs no row, as nobody else writes."""
        rows = statements.rows(connection, "SELECT document FROM f1mon_state WHERE state_key = ?", (key,))
        return rows[0][0] if rows else None

    def conclude(
        self, connection: Connection, columns: Sequence[str], row: Row, operation: Row, *, absent: bool
    ) -> None:
        """See `Dialect.conclude`; an absent document has no row since the claim."""
        if not absent:
            super().conclude(connection, columns, row, operation, absent=False)
            return
        self.insert_absent(connection, "f1mon_state", columns, [row])
        self.insert_absent(connection, "f1mon_operations", OPERATION_COLUMNS, [operation])

    # Expressions ----------------------------------------------------------------------------------------------------

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """See `Dialect.is_in`."""
        if len(values) <= IN_CHUNK:
            return column.in_(values)
        listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(sa.select(listed.c.value))

    def whole(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Dialect.whole`."""
        return sa.cast(value, sa.BigInteger)

    def lesser(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """See `Dialect.lesser`."""
        return sa.func.min(one, other)

    def greater(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """See `Dialect.greater`."""
        return sa.func.max(one, other)


def _refuse_names(raw: Any) -> None:
    """Refuse a file of several names, with a journal and a queue beside each of which the others do not know."""
    cursor = raw.cursor()
    try:
        cursor.execute("PRAGMA database_list")  # below SQLAlchemy, whose statements would begin a transaction
        found = cursor.fetchall()
    finally:
        cursor.close()
    for _, name, file in found:
        there = name == "main" and file and Path(file).exists()
        if there and (links := Path(file).stat().st_nlink) > 1:
            raise ConfigurationError(
                f"{file} has {links} names (hard links), under each of which SQLite would keep a journal of its own and"
                " damage it: keep one of them (`find -samefile` lists them); a symbolic link is fine"
            )


@cache
def _insert_together_sql(table: str, columns: Sequence[str], together: int) -> str:
    """An INSERT of so many rows that leaves those that are there.

    A statement of its own for each row takes twice as long in SQLite, most of it to begin and to end.
    """
    row = f"({','.join('?' * len(columns))})"
    return insert_absent_sql(table, columns).replace(row, ",".join([row] * together))


@cache
def _insert_given_sql(table: str, columns: Sequence[str], given: Sequence[bool]) -> str:
    """An INSERT of one row, of which these columns are given, that leaves one that is there."""
    return insert_absent_sql(table, tuple(compress(columns, given)))


@cache
def _set_current_sql(given: Sequence[bool], alone: bool) -> str:
    """An UPDATE of what is current of an item: the columns that are given, the others to NULL."""
    nulls = tuple(name for name, is_given in zip(CURRENT_COLUMNS, given, strict=True) if not is_given)
    text = update_sql("f1mon_predictions", ("prediction_id",), tuple(compress(CURRENT_COLUMNS, given)), nulls)
    return f"{text} AND ordinal = 0" if alone else text


def _without_nulls(columns: Sequence[str], rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Row]]:
    """Columns and rows without those columns that are NULL in all of the rows.

    Python's driver looks for an adapter of each None, which takes longer than all else of storing it: of a bulk append
    of predictions whose labels are integers that was a seventh. For a few rows to find out takes as long.
    """
    if None not in rows[0]:
        return columns, rows
    kept = [
        place
        for place, value in enumerate(rows[0])
        if value is not None or [row[place] for row in rows].count(None) < len(rows)
    ]
    if len(kept) == len(columns):
        return columns, rows
    left = tuple(columns[place] for place in kept)
    return left, [(row[kept[0]],) for row in rows] if len(kept) == 1 else list(map(itemgetter(*kept), rows))


# Pragmas ------------------------------------------------------------------------------------------------------------


def _pragmas(settings: Settings, *, in_memory: bool) -> dict[str, Any]:
    return {
        "busy_timeout": milliseconds(settings.lock_timeout),
        "synchronous": _SYNCHRONOUS[settings.synchronous],
        "foreign_keys": 1,
        "journal_mode": "memory" if in_memory else "wal",
    }


def _set_pragmas(connection: Connection, wanted: dict[str, Any], changed: dict[str, Any] | None = None) -> None:
    """Set what is not as f1mon needs it, noting what it was, and read it back."""
    for name, value in wanted.items():
        if (before := _pragma(connection, name)) == value:
            continue
        _pragma(connection, f"{name} = {value}")
        if changed is not None and name != "journal_mode":  # the journal's mode is the file's
            changed[name] = before
        if (found := _pragma(connection, name)) != value:
            raise ConfigurationError(f"SQLite keeps {name} at {found!r}, f1mon needs {value!r}")


def _pragma(connection: Connection, text: str) -> Any:
    rows = statements.rows(connection, f"PRAGMA {text}")
    return rows[0][0] if rows else None


def _refuse_factories(driver: Any) -> None:
    """Refuse an application's connection that answers rows or texts in a form of its own."""
    for name, usual in (("row_factory", None), ("text_factory", str)):
        if (other := getattr(driver, name)) is not usual:
            raise ConfigurationError(
                f"the engine's connections have a {name} of their own ({other!r:.80}), with which rows and ids are not"
                f" what f1mon wrote: leave out {name}, or give f1mon an engine of its own"
            )


@contextmanager
def _lent(connection: Connection, isolation_level: Any, wanted: dict[str, Any]) -> Iterator[None]:
    """An application's connection, set up for the block and given back as it was."""
    raw: Any = connection.connection.dbapi_connection
    changed: dict[str, Any] = {}
    try:
        connection.begin()
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction:
            raw.rollback()  # an event of the application began, which is not IMMEDIATE either
        _set_pragmas(connection, wanted, changed)
        connection.info[PREPARED] = True
        yield
    finally:
        if not connection.invalidated:
            _give_back(connection, raw, isolation_level, changed)


def _give_back(connection: Connection, raw: Any, isolation_level: Any, changed: dict[str, Any]) -> None:
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
