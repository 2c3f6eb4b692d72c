"""MariaDB and MySQL: row locks under READ COMMITTED; identifiers are bytes; inserts that meet a row say so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from f1mon_core.errors import ConfigurationError, LockTimeoutError, TooLargeError
from f1mon_core.storage.contract import Problem
from f1mon_sql.connect import statements
from f1mon_sql.connect.errors import is_denied
from f1mon_sql.connect.settings import Settings
from f1mon_sql.dialects.base import HORIZONS_SQL, Dialect, insert_sql, turned, update_sql
from f1mon_sql.tables.definitions import utf8
from f1mon_sql.tables.rows import CURRENT_COLUMNS, Row

_NO_BACKSLASH_ESCAPES = 0x200
"""The flag of the mode in the server's status, which comes with each of its answers."""
_DUPLICATE_ENTRY = 1062
_PACKET = "f1mon_packet"
"""Where `Connection.info` has the most bytes that the server takes at once."""
_STATEMENT = 1_024_000
"""Bytes after which the drivers begin another statement of a batch."""
_DOCUMENTS = frozenset({"content", "features", "metadata", "document", "result", "segments"})
"""The columns whose text is no identifier."""


class Mysql(Dialect):
    """MariaDB and MySQL."""

    name = "mysql"
    has_table_sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
    server_clock = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"

    def text_in(self, value: str) -> Any:
        """See `Dialect.text_in`."""
        return value.encode()

    def text_out(self, value: Any) -> str:
        """See `Dialect.text_out`."""
        return utf8(value)

    def texts_out(self, rows: Iterable[Row], places: Collection[int]) -> Iterable[Row]:
        """See `Dialect.texts_out`."""
        for row in rows:
            yield tuple(
                utf8(value) if number in places and value is not None else value for number, value in enumerate(row)
            )

    def session_statements(self, settings: Settings) -> list[str]:
        """See `Dialect.session_statements`."""
        return [
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
            # One for rows; one for tables and their definitions, which the server would wait a day for.
            f"SET SESSION innodb_lock_wait_timeout = {max(1, round(settings.lock_timeout))}",
            f"SET SESSION lock_wait_timeout = {max(1, round(settings.lock_timeout))}",
            # Only MariaDB has these two, and says them in a comment MySQL does not read.
            f"/*M!100300 SET SESSION idle_transaction_timeout = {max(1, round(settings.idle_timeout))} */",
            f"/*M!100300 SET SESSION max_statement_time = {settings.statement_timeout or 0} */",
        ]

    def check_session(self, connection: Connection) -> None:
        """See `Dialect.check_session`."""
        ((mode, packet, *charsets),) = statements.rows(
            connection,
            "SELECT @@sql_mode, @@max_allowed_packet, @@character_set_client, @@character_set_connection,"
            " @@character_set_results",
        )
        connection.info[_PACKET] = int(packet)
        if "NO_BACKSLASH_ESCAPES" in mode:
            raise ConfigurationError("sql_mode must not contain NO_BACKSLASH_ESCAPES, with which ids are text of SQL")
        if "STRICT_" not in mode:
            raise ConfigurationError(
                "sql_mode must contain STRICT_ALL_TABLES: else the server cuts what it cannot store"
            )
        for charset in charsets:
            if charset != "utf8mb4":
                raise ConfigurationError(
                    f"the connection's character set must be utf8mb4, not {charset}: no SET NAMES in init_command, in"
                    " init_connect or in the application, and ?charset=utf8mb4 in its engine's address"
                )

    # Transactions -------------------------------------------------------------------------------------------------

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin a reader of several statements, which gets one snapshot; all else the driver begins."""
        del write
        driver: Any = connection.connection.driver_connection
        if driver.server_status & _NO_BACKSLASH_ESCAPES:
            raise ConfigurationError(
                "sql_mode must not contain NO_BACKSLASH_ESCAPES: a driver that escapes by backslashes would send an id"
                " as statements of its own"
            )
        if snapshot:
            statements.rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            statements.rows(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """See `Dialect.horizons`; the clock is not asked here, as it stands still in a statement that waits."""
        lock = "FOR UPDATE" if exclusive else "LOCK IN SHARE MODE"
        rows = statements.rows(connection, f"SELECT {HORIZONS_SQL} FROM f1mon_horizons {lock}")
        return None, {self.text_out(kind): tuple(row) for kind, *row in rows if kind}

    def place(self, connection: Connection) -> str:
        """See `Dialect.place`."""
        ((host, port, read_only, name),) = statements.rows(
            connection, "SELECT @@hostname, @@port, @@read_only, CONCAT('server_id ', @@server_id)"
        )
        return f"{host}, port {port}, {name}, read_only={read_only}"

    def why_only_read(self, connection: Connection) -> str | None:
        """See `Dialect.why_only_read`; to explain a statement needs the privileges that it needs, and does nothing."""
        try:
            statements.rows(connection, "EXPLAIN INSERT INTO f1mon_predictions (prediction_id, ordinal) VALUES ('', 0)")
        except DBAPIError as error:
            if not is_denied(error):
                raise
            ((account,),) = statements.rows(connection, "SELECT CURRENT_USER()")
            return f"{account} has no INSERT on its tables"
        return None

    # Schema ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, connection: Connection, lock_timeout: float) -> Iterator[None]:
        """See `Dialect.alone`; DDL commits by itself here, so the lock outlives transactions."""
        ((name,),) = statements.rows(connection, "SELECT CONCAT('f1mon upgrade ', MD5(DATABASE()))")
        wait = max(1, round(lock_timeout))
        ((taken,),) = statements.rows(connection, "SELECT GET_LOCK(%s, %s)", (name, wait))
        if taken != 1:
            raise LockTimeoutError("someone else has been upgrading this database for longer than the timeout")
        ((kept,),) = statements.rows(connection, "SELECT @@max_error_count")
        try:
            # What it has to note about names of keys and views that are not there yet, asyncmy would log as warnings.
            statements.rows(connection, "SET SESSION max_error_count = 0")
            yield
            statements.rows(connection, "COMMIT")  # or who is let in next would not see the revision yet
        finally:
            statements.rows(connection, f"SET SESSION max_error_count = {int(kept)}")
            statements.rows(connection, "SELECT RELEASE_LOCK(%s)", (name,))

    def view_differs(self, connection: Connection, view: str, query: str) -> bool:
        """See `Dialect.view_differs`; by the columns alone, whose types a view has in its own way.

        The server keeps no text but what it understood, and has no temporary views to tell it the other one.
        """
        found, expected = (
            statements.columns(connection, f"{text} LIMIT 0") for text in (f"SELECT * FROM {view}", query)
        )
        return found != expected

    def rewritten_bytes(self, connection: Connection, tables: Sequence[str]) -> int:
        """See `Dialect.rewritten_bytes`; one table after the other is made anew."""
        text = (
            "SELECT COALESCE(MAX(data_length + index_length), 0) FROM information_schema.tables"
            f" WHERE table_schema = DATABASE() AND table_name IN ({','.join(['%s'] * len(tables))})"
        )
        ((size,),) = statements.rows(connection, text, tuple(tables))
        return 2 * int(size)

    def problems(self, connection: Connection) -> list[Problem]:
        """See `Dialect.problems`."""
        ((flush, engine),) = statements.rows(
            connection,
            "SELECT @@innodb_flush_log_at_trx_commit, (SELECT COUNT(*) FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name LIKE 'f1mon\\_%%' AND engine <> 'InnoDB'"
            " AND table_type = 'BASE TABLE')",
        )
        found = []
        if int(flush) != 1:
            where = f"innodb_flush_log_at_trx_commit={flush}"
            found.append(Problem("warning", where, "a crash may take the newest acknowledged facts"))
        if engine:
            message = f"{engine} tables of f1mon are not InnoDB: nothing is atomic"
            found.append(Problem("error", "storage engine", message))
        return found

    # Rows -----------------------------------------------------------------------------------------------------------

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """See `Dialect.insert_absent`; a plain INSERT that may fail, as IGNORE would swallow far more than that."""
        try:
            self._sent(connection, insert_sql(table, columns), columns, rows)
        except IntegrityError as error:
            if error.orig is None or error.orig.args[:1] != (_DUPLICATE_ENTRY,):
                raise
            return 0
        return len(rows)

    def insert_or_lock(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Dialect.insert_or_lock`; a row that is there is locked in its turn, by setting its key to itself."""
        text = f"{insert_sql(table, columns)} ON DUPLICATE KEY UPDATE {columns[0]}={columns[0]}"
        self._sent(connection, text, columns, rows)

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """See `Dialect.update`; one statement, which the driver would otherwise send row by row."""
        names = (*key, *columns)
        setting = ",".join(f"{name}=VALUES({name})" for name in columns)
        text = f"{insert_sql(table, names)} ON DUPLICATE KEY UPDATE {setting}"
        self._sent(connection, text, names, rows)

    def set_current(self, connection: Connection, rows: Sequence[Row]) -> None:
        """See `Dialect.set_current`; one statement, for which the ordinals are looked up where there are many items."""
        table = "f1mon_predictions"
        if len(rows) == 1:
            text = update_sql(table, ("prediction_id",), CURRENT_COLUMNS)
            self._sent(connection, text, (*CURRENT_COLUMNS, "prediction_id"), turned(rows, 1))
            return
        current = {row[0]: row[1:] for row in rows}
        joined = f"SELECT prediction_id, ordinal FROM {table} WHERE ordinal > 0 AND prediction_id"
        keys = [(one, 0) for one in current]
        keys += [(self.text_out(one), ordinal) for one, ordinal in self.select_in(connection, joined, current)]
        values = [(*key, *current[key[0]]) for key in sorted(keys)]
        self.update(connection, table, ("prediction_id", "ordinal"), CURRENT_COLUMNS, values)

    def _sent(self, connection: Connection, text: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        encoded = [
            tuple(
                value.encode() if isinstance(value, str) and name not in _DOCUMENTS else value
                for name, value in zip(columns, row, strict=True)
            )
            for row in rows
        ]
        packet = connection.info.get(_PACKET)
        try:
            statements.changed(connection, self.sql(text), encoded)
        except DBAPIError as error:
            if error.connection_invalidated and packet is not None and _bytes_of(encoded) > packet:
                # The server does not read it to its end, and so its answer is not always read either.
                raise TooLargeError(
                    f"a statement is larger than the server's max_allowed_packet of {packet} bytes; nothing was"
                    " written: raise it, or write less at once"
                ) from error
            raise

    # Expressions ----------------------------------------------------------------------------------------------------

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """See `Dialect.is_in`; the drivers put values into the text, so it is its size that counts."""
        return column.in_(values)

    def portions(self, values: Sequence[Any]) -> list[Sequence[Any]]:
        """See `Dialect.portions`."""
        found: list[list[Any]] = [[]]
        size = 0
        for value in values:
            size += 2 * len(value.encode("utf-8", "surrogatepass")) + 16 if isinstance(value, str) else 32
            if size > _STATEMENT and found[-1]:
                found.append([])
                size = 0
            found[-1].append(value)
        return [*found]

    def apart(self, column: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], ...]:
        """See `Dialect.apart`; of a longer text than `max_sort_length` the server compares the beginning alone."""
        return (sa.func.sha2(column, 256),)

    def real_of(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """See `Dialect.real_of`."""
        return sa.type_coerce(value + self.real(0), sa.Double)


def _bytes_of(rows: Sequence[Row]) -> int:
    """The least size of the largest statement that the drivers make of rows."""
    sizes = [sum(len(value) for value in row if isinstance(value, str | bytes)) for row in rows]
    return max(max(sizes, default=0), min(sum(sizes), _STATEMENT))
