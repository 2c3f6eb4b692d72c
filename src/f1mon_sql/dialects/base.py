"""What every database is asked for: transactions, locks, clocks and batches of rows.

What a dialect does not say in its own way is said here in the one that the others understand. Hot statements are driver
SQL with `?` for a parameter: to build and compile them for each call would cost more than a small insert does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.errors import ConfigurationError
from f1mon_core.storage.contract import Problem
from f1mon_sql.connect import statements
from f1mon_sql.connect.settings import Session, Settings
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    FEATURE_COLUMNS,
    OPERATION_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
)

IN_CHUNK = 1_000
HORIZON_COLUMNS = ("pruned_before", "outcomes_until", "stands_until")
HORIZONS_SQL = f"kind, {', '.join(HORIZON_COLUMNS)}"
PREPARED = "f1mon_prepared"
"""Where `Connection.info` says that a driver's connection is set up."""
ISOLATION = "READ COMMITTED"
UNCHANGED = nullcontext()


class Dialect(ABC):
    """One database's way to say things; without state but for its texts.

    Attributes:
        name: The family: sqlite, postgresql or mysql.
        marker: What stands for a parameter.
        lock_rows: What a SELECT ends in that locks its rows.
        has_table_sql: A query that has a row where there is a table of a name.
        server_clock: An expression for the microseconds since 1970 on the server's clock; None where the host has it.
        begins_by_statement: Whether on f1mon's own connections a transaction begins by a statement that is answered,
            which finds out whether a connection of the pool is still there.
    """

    name: ClassVar[str]
    marker: ClassVar[str] = "%s"
    lock_rows: ClassVar[str] = " FOR UPDATE"
    has_table_sql: ClassVar[str]
    server_clock: ClassVar[str | None]
    begins_by_statement: ClassVar[bool] = False

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

    def texts_out(self, rows: Iterable[Row], places: Collection[int]) -> Iterable[Row]:
        """Rows with the identifiers, or NULL, that stand at some places as this driver answered them."""
        del places
        return rows

    # Sessions -----------------------------------------------------------------------------------------------------

    def session_statements(self, settings: Settings) -> list[str]:  # noqa: ARG002 - SQLite's are `prepared`
        """What a session of f1mon's own is told when it begins."""
        return []

    def set_up(self, connection: Any, info: dict[Any, Any], settings: Settings, asked: Session) -> None:
        """Set up a driver's connection of f1mon's own, when it was made.

        Args:
            connection: The driver's, as SQLAlchemy shows it.
            info: What `Connection.info` will be.
            settings: How long it waits.
            asked: What its address says of its sessions.
        """
        del info, asked
        if texts := self.session_statements(settings):
            cursor = connection.cursor()
            for text in texts:
                cursor.execute(text)
            cursor.close()
            connection.commit()

    def prepared(
        self, connection: Connection, settings: Settings, *, shared: bool, in_memory: bool
    ) -> AbstractContextManager[None]:
        """Set up and check a driver's connection; an application's own one is as it was after the block.

        Args:
            connection: Without a transaction.
            settings: How long it waits, and how safe it is.
            shared: Whether it is an application's own.
            in_memory: Whether the database lives in this one connection.
        """
        del settings, in_memory  # the session was told when it began, and only SQLite has databases in memory
        asked = connection.get_execution_options().get("isolation_level", ISOLATION)
        if not connection.info.get(PREPARED) or asked != ISOLATION:
            if not connection.in_transaction():
                connection.begin()  # to be rolled back: the driver's statements would not make SQLAlchemy begin one
            if shared:
                check_rows(connection)
            if shared or not self.begins_by_statement:  # whose first statement says its isolation too
                check_isolation(connection)
            self.check_session(connection)
            connection.rollback()
            connection.info[PREPARED] = True
        return UNCHANGED

    def check_session(self, connection: Connection) -> None:  # noqa: B027 - SQLite's are checked as they are `prepared`
        """Refuse a session that cannot keep what f1mon stores, with `ConfigurationError`."""

    # Transactions -------------------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin a transaction that writes, or reads one snapshot, or reads by one statement."""

    @abstractmethod
    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """The server's clock where it came along, and what was pruned: kind to its `HORIZON_COLUMNS`.

        What is answered stays true until the transaction ends; `exclusive` for whoever changes it.
        """

    def now(self, connection: Connection) -> int | None:
        """The server's clock in microseconds; None where the host's counts."""
        if self.server_clock is None:
            return None
        ((micros,),) = statements.rows(connection, f"SELECT {self.server_clock}")
        return int(micros)

    def place(self, connection: Connection) -> str:
        """Where a connection leads and why nothing may be written there; as the server itself says, past any proxy."""
        del connection
        return "this file"

    def why_only_read(self, connection: Connection) -> str | None:
        """Why a session may only read f1mon's tables, as far as can be told beforehand; None if it may write.

        Of a file that is known before it is opened.
        """
        del connection
        return None

    # Schema ---------------------------------------------------------------------------------------------------------

    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether there is a table of that name."""
        return bool(statements.rows(connection, self.sql(self.has_table_sql), (name,)))

    def waiting_briefly(self, connection: Connection, seconds: float) -> AbstractContextManager[None]:
        """Wait for no lock of a row longer than that, and raise `BlockedError`; where a database is told so finely."""
        del connection, seconds
        return UNCHANGED

    @abstractmethod
    def alone(self, connection: Connection, lock_timeout: float) -> AbstractContextManager[None]:
        """Let nobody else create or upgrade this schema; on servers until the transaction, or the block, ends."""

    def at_home(self, connection: Connection) -> None:  # noqa: B027 - only PostgreSQL has a path to search
        """Until the transaction ends, let names without a schema be those where f1mon's tables lie."""

    @abstractmethod
    def view_differs(self, connection: Connection, view: str, query: str) -> bool:
        """Whether a view is not the one that a query makes."""

    @abstractmethod
    def rewritten_bytes(self, connection: Connection, tables: Sequence[str]) -> int:
        """How much more disk an upgrade that makes tables, or their keys, anew takes at most while it runs."""

    @abstractmethod
    def problems(self, connection: Connection) -> list[Problem]:
        """What a database finds wrong in itself, and settings of it that risk facts."""

    # Rows -----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """Insert the rows whose key is absent; answers how many, or fewer than there were if any was present."""

    def insert_or_lock(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert the rows whose key is absent, in the order given, each locked in its turn where it can be had."""
        self.insert_absent(connection, table, columns, rows)

    def put(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, or set the columns of those whose key, the first column, is there."""
        self.insert_or_lock(connection, table, columns, rows)
        self.update(connection, table, columns[:1], columns[1:], rows)

    def insert_all(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """Insert rows, inside a savepoint; False if the key of any was present, and then the savepoint is lost."""
        return self.insert_absent(connection, table, columns, rows) == len(rows)

    def insert_both(self, connection: Connection, row: Row, features: Row) -> bool:
        """Insert a prediction and its features, if its item is free; answers whether it was."""
        if self.insert_absent(connection, "f1mon_predictions", PREDICTION_COLUMNS, [row]) != 1:
            return False
        self.insert_absent(connection, "f1mon_features", FEATURE_COLUMNS, [features])
        return True

    def insert_current(self, connection: Connection, row: Row, current: Row, *, alone: bool) -> bool:
        """Insert an outcome, if its key is free, and set what is current by it; answers whether it was.

        Args:
            connection: Inside a transaction that has locked the item.
            row: The outcome.
            current: The item, then its `CURRENT_COLUMNS`.
            alone: Whether the item is known to have no row but that of ordinal 0.
        """
        del alone
        if self.insert_absent(connection, "f1mon_outcomes", OUTCOME_COLUMNS, [row]) != 1:
            return False
        self.set_current(connection, [current])
        return True

    def set_current(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Set `CURRENT_COLUMNS` in all rows of items that are locked; each row is the item, then the values."""
        self.update(connection, "f1mon_predictions", ("prediction_id",), CURRENT_COLUMNS, rows)

    def make_stubs(self, connection: Connection, ids: Sequence[str]) -> None:
        """Make the row of ordinal 0 for each item that has none, in the order given."""
        rows = [(one, 0) for one in ids]
        self.insert_or_lock(connection, "f1mon_predictions", ("prediction_id", "ordinal"), rows)

    @abstractmethod
    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Set columns of rows that exist; each row is its key, then the new values."""

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

    # State ----------------------------------------------------------------------------------------------------------

    def claim(self, connection: Connection, key: str) -> str | None:
        """Lock the document of a state key, which may be absent, and answer it."""
        text = self.sql(f"SELECT document FROM f1mon_state WHERE state_key = ?{self.lock_rows}")
        while True:  # a row that was there for the insert may be deleted before it is locked
            rows = statements.rows(connection, text, (self.text_in(key),))
            if rows:
                document: str | None = rows[0][0]
                return document
            self.insert_or_lock(connection, "f1mon_state", ("state_key",), [(key,)])

    def operation(self, connection: Connection, operation: str) -> tuple[str | None, int | None]:
        """The result of a transition that was done, None if it was not; and the server's clock if it has one."""
        text = "SELECT result FROM f1mon_operations WHERE operation = ?"
        if self.server_clock is None:
            rows = statements.rows(connection, text, (operation,))
            return (rows[0][0] if rows else None), None
        text = self.sql(f"SELECT ({text}), {self.server_clock}")
        ((result, micros),) = statements.rows(connection, text, (self.text_in(operation),))
        return result, int(micros)

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
        del absent  # its row is there since the claim
        self.update(connection, "f1mon_state", columns[:1], columns[1:], [row])
        self.insert_absent(connection, "f1mon_operations", OPERATION_COLUMNS, [operation])

    # Expressions ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """Whether a column has one of any number of values."""

    def portions(self, values: Sequence[Any]) -> list[Sequence[Any]]:
        """Values as many at once as one statement takes; mostly any number."""
        return [values]

    def real(self, value: int) -> sa.ColumnElement[Any]:
        """An integer as a literal double."""
        return sa.literal_column(f"{value}e0", sa.Double)

    def real_of(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """An integer expression as a double."""
        return sa.cast(value, sa.Double)

    def whole(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A double that is not negative, cut to an integer."""
        return sa.cast(sa.func.floor(value), sa.BigInteger)

    def lesser(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """The lesser of two values."""
        return sa.func.least(one, other)

    def greater(self, one: sa.ColumnElement[Any], other: Any) -> sa.ColumnElement[Any]:
        """The greater of two values, neither of which is NULL."""
        return sa.func.greatest(one, other)

    def apart(self, column: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], ...]:
        """What long texts must be grouped by besides, to be told apart to their last character."""
        del column
        return ()


def check_rows(connection: Connection) -> None:
    """Refuse a session whose cursors answer rows in a form of their own, with `ConfigurationError`."""
    with statements.sent(connection, "SELECT 1, 'a'") as cursor:
        cursor.execute("SELECT 1, 'a'")
        (row,) = cursor.fetchall()
    if not isinstance(row, tuple) or tuple(row) != (1, "a"):
        raise ConfigurationError(
            f"the engine's cursors answer a row as {row!r:.80} ({type(row).__name__}), where f1mon needs a tuple: leave"
            " out row_factory, cursorclass and the like, or give f1mon an engine of its own"
        )


def check_isolation(connection: Connection) -> None:
    """Refuse a session whose transactions are not READ COMMITTED, with `ConfigurationError`."""
    driver: Any = connection.connection.driver_connection
    autocommit = driver.get_autocommit() if hasattr(driver, "get_autocommit") else driver.autocommit
    level = "AUTOCOMMIT" if autocommit else connection.get_isolation_level()
    if level != ISOLATION:
        raise ConfigurationError(
            f"the engine's transactions are {level}, with which claims and batches of f1mon would not be safe:"
            f' create_engine(…, isolation_level="{ISOLATION}")'
        )


@cache
def insert_sql(table: str, columns: Sequence[str]) -> str:
    """An INSERT of one row."""
    return f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"


@cache
def insert_absent_sql(table: str, columns: Sequence[str]) -> str:
    """An INSERT of one row that leaves one that is there, as SQLite and PostgreSQL say it."""
    return f"{insert_sql(table, columns)} ON CONFLICT DO NOTHING"


@cache
def update_sql(table: str, key: Sequence[str], columns: Sequence[str], nulls: Sequence[str] = ()) -> str:
    """An UPDATE of one row: its new values but for those that are NULL, then its key."""
    setting = ",".join([f"{name} = ?" for name in columns] + [f"{name} = NULL" for name in nulls])
    having = " AND ".join(f"{name} = ?" for name in key)
    return f"UPDATE {table} SET {setting} WHERE {having}"


def turned(rows: Sequence[Row], parts: int) -> list[Row]:
    """Rows of a key of so many parts and values as `update_sql` has them."""
    return [(*row[parts:], *row[:parts]) for row in rows]
