"""What SQLite, PostgreSQL and MariaDB/MySQL say differently: transactions, locks, clocks and batches of rows.

Hot statements are driver SQL with `?` for a parameter, sent as they are: building and compiling them for each call
would cost more than a small insert does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import IntegrityError

from f1mon_core.errors import ConfigurationError
from f1mon_sql.connect import statements
from f1mon_sql.connect.statements import Row
from f1mon_sql.tables.definitions import MYSQL_NAMES, utf8
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    FEATURE_COLUMNS,
    OPERATION_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
)

IN_CHUNK = 1_000
COPY_FROM = 500
"""Batches of at least so many rows go to PostgreSQL by COPY."""
PRUNE_LOCK = 0x66316D6F
"""What pruning and writing lock on PostgreSQL, with the schema: the bytes of "f1mo"."""
DUPLICATE_ENTRY = 1062
UNIQUE_VIOLATION = "23505"
_MADE = "EXISTS (SELECT FROM made)"
_POSTGRESQL_TYPES = {
    "predicted_at": "bigint",
    "known_at": "bigint",
    "first_known_at": "bigint",
    "at": "bigint",
    "recorded_at": "bigint",
    "predicted_outcome": "bigint",
    "actual_outcome": "bigint",
    "confidence": "float8",
    "at_given": "smallint",
    "pruned": "smallint",
    "v": "int",
}


class Sqlite:
    """One writer at a time, so the transaction itself is the lock; the host has the clock."""

    name = "sqlite"
    marker = "?"
    lock_rows = ""
    server_clock: str | None = None
    """An expression for the microseconds since 1970 on the server's clock, where it has one."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    # Text ---------------------------------------------------------------------------------------------------------

    def sql(self, text: str) -> str:
        """A statement with this driver's parameter markers."""
        try:
            return self._texts[text]
        except KeyError:
            return self._texts.setdefault(text, text.replace("?", self.marker))

    def text_in(self, value: str) -> Any:
        """An identifier as this driver is given it."""
        return value

    def text_out(self, value: Any) -> str:
        """An identifier as this driver answered it."""
        text: str = value
        return text

    def insert_sql(self, table: str, columns: Sequence[str]) -> str:
        """Insert what is absent."""
        return _insert_absent_sql(table, columns)

    # Transactions -------------------------------------------------------------------------------------------------

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin a transaction: at once the only writer, or a reader of one snapshot."""
        del snapshot  # every SQLite reader has one
        statements.rows(connection, "BEGIN IMMEDIATE" if write else "BEGIN")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """The server's clock where it came along, and what was pruned: kind to (before, outcomes_until).

        What is answered stays true until the transaction ends; `exclusive` for whoever changes it.
        """
        del exclusive
        rows = statements.rows(connection, "SELECT kind, pruned_before, outcomes_until FROM f1mon_horizons")
        return None, {kind: (before, until) for kind, before, until in rows if kind}

    def now(self, connection: Connection) -> int | None:
        """The server's clock in microseconds; None where the host's counts."""
        if self.server_clock is None:
            return None
        ((micros,),) = statements.rows(connection, f"SELECT {self.server_clock}")
        return int(micros)

    # Tables ---------------------------------------------------------------------------------------------------------

    has_table_sql = "SELECT 1 FROM sqlite_master WHERE name = ?"

    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether there is a table of that name."""
        return bool(statements.rows(connection, self.sql(self.has_table_sql), (name,)))

    # Rows -----------------------------------------------------------------------------------------------------------

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """Insert the rows whose key is absent; answers how many, or fewer than there were if any was present."""
        return self._many(connection, self.insert_sql(table, columns), rows)

    def insert_all(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """Insert rows, inside a savepoint; False if the key of any was present, and then the savepoint is lost."""
        return self.insert_absent(connection, table, columns, rows) == len(rows)

    def insert_both(self, connection: Connection, row: Row, features: Row) -> bool:
        """Insert a prediction and its features, if its id is free; answers whether it was."""
        if self.insert_absent(connection, "f1mon_predictions", PREDICTION_COLUMNS, [row]) != 1:
            return False
        self.insert_absent(connection, "f1mon_features", FEATURE_COLUMNS, [features])
        return True

    def insert_current(self, connection: Connection, row: Row, current: Row) -> bool:
        """Insert an outcome, if its key is free, and set what is current by it; answers whether it was."""
        if self.insert_absent(connection, "f1mon_outcomes", OUTCOME_COLUMNS, [row]) != 1:
            return False
        self.update(connection, "f1mon_predictions", ("prediction_id",), CURRENT_COLUMNS, [current])
        return True

    def make_stubs(self, connection: Connection, ids: Sequence[str]) -> None:
        """Make a row for each prediction id that has none, in the order given."""
        rows = [(one, 0, 0) for one in ids]
        self.insert_absent(connection, "f1mon_predictions", ("prediction_id", "at_given", "pruned"), rows)

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Set columns of rows that exist; each row is its key, then the new values."""
        turned = [(*row[len(key) :], *row[: len(key)]) for row in rows]
        self._many(connection, _update_sql(table, key, columns), turned)

    def _many(self, connection: Connection, text: str, rows: Sequence[Row]) -> int:
        return statements.changed(connection, self.sql(text), rows)

    def select_in(
        self, connection: Connection, text: str, ids: Collection[str], *, lock: bool = False, outer: str = ""
    ) -> Iterator[Any]:
        """Rows of a statement that ends in a column, for any number of ids.

        Args:
            connection: Inside a transaction.
            text: The statement up to that column.
            ids: What the column may be.
            lock: Whether to lock the rows, in the order of their first column.
            outer: A statement to wrap it in, with `{}` for it.
        """
        wanted = sorted(ids)
        for start in range(0, len(wanted), IN_CHUNK):
            chunk = wanted[start : start + IN_CHUNK]
            statement = f"{text} IN ({','.join('?' * len(chunk))})"
            if lock and self.lock_rows:
                statement += f" ORDER BY 1{self.lock_rows}"
            if outer:
                statement = outer.format(statement)
            yield from statements.rows(connection, self.sql(statement), tuple(self.text_in(one) for one in chunk))

    def locked(self, connection: Connection, text: str, ids: Collection[str]) -> tuple[list[Row], int | None]:
        """The locked rows of `select_in`, and the server's clock after that; None where it must be asked for."""
        return list(self.select_in(connection, text, ids, lock=True)), None

    def operation(self, connection: Connection, operation: str) -> tuple[str | None, int | None]:
        """The result of a transition that was done, None if it was not; and the server's clock if it has one."""
        text = "SELECT result FROM f1mon_operations WHERE operation = ?"
        if self.server_clock is None:
            rows = statements.rows(connection, text, (operation,))
            return (rows[0][0] if rows else None), None
        ((result, micros),) = statements.rows(
            connection, self.sql(f"SELECT ({text}), {self.server_clock}"), (self.text_in(operation),)
        )
        return result, int(micros)

    def claim(self, connection: Connection, key: str) -> str | None:
        """Lock the document of a state key, which may be absent, and answer it."""
        text = self.sql("SELECT document FROM f1mon_state WHERE state_key = ?")
        rows = statements.rows(connection, text, (self.text_in(key),))
        return rows[0][0] if rows else None

    def conclude(
        self, connection: Connection, columns: Sequence[str], row: Row, operation: Row, *, absent: bool
    ) -> None:
        """Write the claimed document of a state key and the result of the operation that made it.

        Args:
            connection: Inside the transaction that claimed it.
            columns: Which columns of `f1mon_state` to write, the key first.
            row: Their values.
            operation: A row of `f1mon_operations`.
            absent: Whether there was no document before.
        """
        if absent:
            self.insert_absent(connection, "f1mon_state", columns, [row])
        else:
            self.update(connection, "f1mon_state", columns[:1], columns[1:], [row])
        self.insert_absent(connection, "f1mon_operations", OPERATION_COLUMNS, [operation])

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """Whether a column has one of any number of values."""
        if len(values) <= IN_CHUNK:
            return column.in_(values)
        listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(sa.select(listed.c.value))

    def real(self, value: int) -> sa.ColumnElement[Any]:
        """An integer as a literal double."""
        return sa.literal_column(f"{value}e0", sa.Double)

    def real_of(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """An integer expression as a double."""
        return sa.cast(value, sa.Double)

    def whole(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A double that is not negative, cut to an integer."""
        return sa.cast(value, sa.BigInteger)

    def lesser(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """The lesser of two values."""
        return sa.func.min(one, other)

    def padded(self, micros: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Microseconds as the text of a key part."""
        return sa.func.printf("%020d", micros)


class Postgresql(Sqlite):
    """Row locks under READ COMMITTED; advisory locks keep pruning and writing apart."""

    name = "postgresql"
    # Not to_regclass, which may remember that there was none from before a wait for whoever made it.
    has_table_sql = "SELECT 1 FROM pg_catalog.pg_class WHERE relname = ? AND pg_catalog.pg_table_is_visible(oid)"
    marker = "%s"
    lock_rows = " FOR UPDATE"
    server_clock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin on a connection of f1mon's own, unless it reads by one statement; on others the driver does.

        A reader of several statements gets one snapshot.
        """
        driver: Any = connection.connection.dbapi_connection
        if not driver.autocommit:
            if snapshot:
                statements.rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        elif snapshot:
            statements.rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        elif write:
            statements.rows(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """See `Sqlite.horizons`."""
        # The lock in a statement of its own: the snapshot of the next one is then taken after any wait for it.
        function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
        rows = statements.last_rows(
            connection,
            f"SELECT {function}({PRUNE_LOCK}, hashtext(current_schema()))",
            f"SELECT kind, pruned_before, outcomes_until, {self.server_clock} FROM f1mon_horizons",
        )
        return max(row[3] for row in rows), {kind: (before, until) for kind, before, until, _ in rows if kind}

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """See `Sqlite.insert_absent`."""
        if len(rows) <= 1:
            return self._many(connection, self.insert_sql(table, columns), rows)
        names = ",".join(columns)
        arrays = ",".join(f"?::{_POSTGRESQL_TYPES.get(name, 'text')}[]" for name in columns)
        text = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
        values = tuple(list(column) for column in zip(*rows, strict=True))
        return statements.changed(connection, self.sql(text), [values])

    def insert_both(self, connection: Connection, row: Row, features: Row) -> bool:
        """See `Sqlite.insert_both`; in one statement."""
        marks = ",".join("?" * len(features))
        then = f"INSERT INTO f1mon_features ({','.join(FEATURE_COLUMNS)}) SELECT {marks} WHERE {_MADE}"
        return self._insert_then(connection, "f1mon_predictions", PREDICTION_COLUMNS, row, then, features)

    def insert_current(self, connection: Connection, row: Row, current: Row) -> bool:
        """See `Sqlite.insert_current`; in one statement."""
        then = f"{_update_sql('f1mon_predictions', ('prediction_id',), CURRENT_COLUMNS)} AND {_MADE}"
        return self._insert_then(connection, "f1mon_outcomes", OUTCOME_COLUMNS, row, then, (*current[1:], current[0]))

    def _insert_then(
        self, connection: Connection, table: str, columns: Sequence[str], row: Row, then: str, values: Row
    ) -> bool:
        text = f"WITH made AS ({self.insert_sql(table, columns)} RETURNING 1) {then}"
        return statements.changed(connection, self.sql(text), [(*row, *values)]) == 1

    def insert_all(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """See `Sqlite.insert_all`."""
        if len(rows) < COPY_FROM:
            return super().insert_all(connection, table, columns, rows)
        try:
            _copy_rows(connection, f"COPY {table} ({','.join(columns)}) FROM STDIN", rows)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != UNIQUE_VIOLATION:
                raise
            return False
        return True

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """See `Sqlite.update`."""
        if len(rows) <= 1:
            super().update(connection, table, key, columns, rows)
            return
        names = (*key, *columns)
        arrays = ",".join(f"?::{_POSTGRESQL_TYPES.get(name, 'text')}[]" for name in names)
        setting = ",".join(f"{name} = given.{name}" for name in columns)
        having = " AND ".join(f"{table}.{name} = given.{name}" for name in key)
        text = f"UPDATE {table} SET {setting} FROM unnest({arrays}) AS given ({','.join(names)}) WHERE {having}"
        statements.changed(connection, self.sql(text), [tuple(list(column) for column in zip(*rows, strict=True))])

    def locked(self, connection: Connection, text: str, ids: Collection[str]) -> tuple[list[Row], int | None]:
        """See `Sqlite.locked`."""
        # What stands around the locking query is computed for each row when that has locked it.
        outer = f"SELECT held.*, {self.server_clock} FROM ({{}}) AS held"
        rows = list(self.select_in(connection, text, ids, lock=True, outer=outer))
        return [row[:-1] for row in rows], max((row[-1] for row in rows), default=None)

    def claim(self, connection: Connection, key: str) -> str | None:
        """See `Sqlite.claim`."""
        select = self.sql("SELECT document FROM f1mon_state WHERE state_key = ? FOR UPDATE")
        insert = self.insert_sql("f1mon_state", ("state_key",))
        while True:  # a row that was there for the insert may be deleted before it is locked
            rows = statements.rows(connection, select, (self.text_in(key),))
            if rows:
                document: str | None = rows[0][0]
                return document
            statements.changed(connection, self.sql(insert), [(self.text_in(key),)])

    def conclude(
        self, connection: Connection, columns: Sequence[str], row: Row, operation: Row, *, absent: bool
    ) -> None:
        """See `Sqlite.conclude`; in one statement, and an absent document's row is there since the claim."""
        del absent
        put = _update_sql("f1mon_state", columns[:1], columns[1:])
        text = f"WITH put AS ({put}) {self.insert_sql('f1mon_operations', OPERATION_COLUMNS)}"
        statements.changed(connection, self.sql(text), [(*row[1:], row[0], *operation)])

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.is_in`."""
        if len(values) <= IN_CHUNK:
            return column.in_(values)
        kind = sa.BigInteger() if isinstance(values[0], int) else sa.Text()
        return column == sa.func.any(sa.literal(list(values), postgresql.ARRAY(kind)))

    def whole(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.whole`."""
        return sa.cast(sa.func.floor(value), sa.BigInteger)

    def lesser(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """See `Sqlite.lesser`."""
        return sa.func.least(one, other)

    def padded(self, micros: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.padded`."""
        return sa.func.lpad(sa.cast(micros, sa.Text), 20, "0")


class Mysql(Postgresql):
    """MariaDB and MySQL: row locks under READ COMMITTED; identifiers are bytes; inserts that meet a row say so."""

    name = "mysql"
    has_table_sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
    server_clock = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"

    def text_in(self, value: str) -> Any:
        """See `Sqlite.text_in`."""
        return value.encode()

    def text_out(self, value: Any) -> str:
        """See `Sqlite.text_out`."""
        return utf8(value)

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """See `Postgresql.begin`."""
        del write
        if snapshot:
            statements.rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            statements.rows(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """See `Sqlite.horizons`."""
        lock = "FOR UPDATE" if exclusive else "LOCK IN SHARE MODE"
        rows = statements.rows(connection, f"SELECT kind, pruned_before, outcomes_until FROM f1mon_horizons {lock}")
        return None, {self.text_out(kind): (before, until) for kind, before, until in rows if kind}

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.is_in`; the drivers put values into the text, so there may be any number."""
        return column.in_(values)

    def insert_sql(self, table: str, columns: Sequence[str]) -> str:
        """Insert, or fail with a duplicate entry: IGNORE would swallow far more than that."""
        return _insert_sql(table, columns)

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """See `Sqlite.insert_absent`."""
        try:
            self._many(connection, self.insert_sql(table, columns), [self._encoded(columns, row) for row in rows])
        except IntegrityError as error:
            if error.orig is None or error.orig.args[:1] != (DUPLICATE_ENTRY,):
                raise
            return 0
        return len(rows)

    def insert_all(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """See `Sqlite.insert_all`."""
        return Sqlite.insert_all(self, connection, table, columns, rows)

    def conclude(
        self, connection: Connection, columns: Sequence[str], row: Row, operation: Row, *, absent: bool
    ) -> None:
        """See `Sqlite.conclude`; an absent document's row is there since the claim."""
        del absent
        Sqlite.conclude(self, connection, columns, row, operation, absent=False)

    insert_both = Sqlite.insert_both
    insert_current = Sqlite.insert_current

    def locked(self, connection: Connection, text: str, ids: Collection[str]) -> tuple[list[Row], int | None]:
        """See `Sqlite.locked`; this server's clock stands still in a statement, also while that waits."""
        return Sqlite.locked(self, connection, text, ids)

    def make_stubs(self, connection: Connection, ids: Sequence[str]) -> None:
        """See `Sqlite.make_stubs`; a row that is there is locked in its turn."""
        insert = self.insert_sql("f1mon_predictions", ("prediction_id", "at_given", "pruned"))
        text = f"{insert} ON DUPLICATE KEY UPDATE prediction_id=prediction_id"
        self._many(connection, text, [(self.text_in(one), 0, 0) for one in ids])

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """See `Sqlite.update`; one statement, which the driver would otherwise send row by row."""
        names = (*key, *columns)
        setting = ",".join(f"{name}=VALUES({name})" for name in columns)
        text = f"{self.insert_sql(table, names)} ON DUPLICATE KEY UPDATE {setting}"
        self._many(connection, text, [self._encoded(names, row) for row in rows])

    def _encoded(self, columns: Sequence[str], row: Row) -> Row:
        return tuple(
            value.encode() if isinstance(value, str) and name not in _DOCUMENTS else value
            for name, value in zip(columns, row, strict=True)
        )

    def claim(self, connection: Connection, key: str) -> str | None:
        """See `Sqlite.claim`."""
        select = self.sql("SELECT document FROM f1mon_state WHERE state_key = ? FOR UPDATE")
        insert = self.sql("INSERT INTO f1mon_state (state_key) VALUES (?) ON DUPLICATE KEY UPDATE state_key=state_key")
        while True:
            rows = statements.rows(connection, select, (self.text_in(key),))
            if rows:
                document: str | None = rows[0][0]
                return document
            statements.changed(connection, insert, [(self.text_in(key),)])

    def whole(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.whole`."""
        return sa.cast(sa.func.floor(value), sa.BigInteger)

    def real_of(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Sqlite.real_of`."""
        return sa.type_coerce(value + self.real(0), sa.Double)


@cache
def _insert_sql(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"


@cache
def _insert_absent_sql(table: str, columns: Sequence[str]) -> str:
    return f"{_insert_sql(table, columns)} ON CONFLICT DO NOTHING"


@cache
def _update_sql(table: str, key: Sequence[str], columns: Sequence[str]) -> str:
    setting = ",".join(f"{name} = ?" for name in columns)
    having = " AND ".join(f"{name} = ?" for name in key)
    return f"UPDATE {table} SET {setting} WHERE {having}"


_DOCUMENTS = frozenset({"content", "features", "metadata", "document", "result"})


def _copy_rows(connection: Connection, text: str, rows: Sequence[Row]) -> None:
    raw: Any = connection.connection.dbapi_connection
    with statements.sent(connection, text) as cursor:
        if isinstance(raw, AdaptedConnection):
            raw.run_async(lambda awaited: _copy_rows_async(awaited, text, rows))
            return
        with cursor.copy(text) as copy:
            for row in rows:
                copy.write_row(row)


async def _copy_rows_async(driver: Any, text: str, rows: Sequence[Row]) -> None:
    async with driver.cursor() as cursor, cursor.copy(text) as copy:
        for row in rows:
            await copy.write_row(row)


@cache
def dialect_of(name: str) -> Sqlite:
    """What the dialect of that name says differently; one object for all stores, so that they share their texts."""
    if name == "sqlite":
        return Sqlite()
    if name == "postgresql":
        return Postgresql()
    if name in MYSQL_NAMES:
        return Mysql()
    raise ConfigurationError(f"f1mon keeps its facts in SQLite, PostgreSQL, MariaDB or MySQL, not in {name}")
