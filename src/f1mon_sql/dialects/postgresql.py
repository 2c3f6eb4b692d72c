"""PostgreSQL: row locks under READ COMMITTED; advisory locks keep pruning and writing apart; batches are arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError, IntegrityError

from f1mon_core.errors import ConfigurationError, LockTimeoutError
from f1mon_core.storage.contract import Problem
from f1mon_core.storage.grouping import BlockedError
from f1mon_sql.connect import statements
from f1mon_sql.connect.settings import Session, Settings, milliseconds
from f1mon_sql.dialects.base import HORIZONS_SQL, IN_CHUNK, Dialect, insert_absent_sql, turned, update_sql
from f1mon_sql.tables.definitions import VERSION_TABLE
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    FEATURE_COLUMNS,
    OPERATION_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
)

_COPY_FROM = 500
"""Batches of at least so many rows go by COPY."""
_TOLD_ALONG = 100
"""For more locked rows it is cheaper to ask for the clock afterwards than to compute it for each of them."""
_PRUNE_LOCK = 0x66316D6F
"""What pruning and writing lock, with the oid of a table: the bytes of "f1mo"."""
_UPGRADE_LOCK = 0x66316D70
"""What upgrades lock, with the oid of a schema and then of the table of its version."""
_UNIQUE_VIOLATION = "23505"
_MADE = "EXISTS (SELECT FROM made)"
_TYPES = {
    "ordinal": "int",
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
    "due": "bigint",
}


NO_SCHEMA = (
    "the search path names no schema that exists and may be used: CREATE SCHEMA, GRANT USAGE on it, or name another one"
    " in the address (?options=-csearch_path%3Dmonitoring)"
)
_OURS = {
    # An array's absent value would be the text NULL; floats would be rounded to 15 digits; rows would be left out
    # silently where a policy hides them; a read outside a transaction could fail to be serialized.
    "array_nulls": "on",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "row_security": "off",
    "default_transaction_isolation": "read committed",
}
"""What f1mon's own sessions are told, whatever a database, a role or the environment says."""
_RELIED_ON = """
SELECT pg_catalog.pg_backend_pid(), current_setting('array_nulls'), current_setting('extra_float_digits'),
    current_setting('standard_conforming_strings'), current_setting('transform_null_equals'),
    EXISTS (SELECT FROM pg_catalog.pg_class WHERE pg_catalog.left(relname, 6) = 'f1mon_' AND relkind IN ('r', 'p')
        AND pg_catalog.pg_table_is_visible(oid) AND pg_catalog.row_security_active(oid))
"""
_LOCK_NOT_AVAILABLE = "55P03"
_EACH_TIME = "f1mon_each_time"
"""Where `Connection.info` says what each transaction is told, if a pooler hands out sessions by the transaction."""
_KNOWS_TRANSACTION_TIMEOUT = 170000


class Postgresql(Dialect):
    """PostgreSQL, by psycopg."""

    name = "postgresql"
    # Not to_regclass, which may remember that there was none from before a wait for whoever made it.
    has_table_sql = "SELECT 1 FROM pg_catalog.pg_class WHERE relname = ? AND pg_catalog.pg_table_is_visible(oid)"
    server_clock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    begins_by_statement = True

    def set_up(self, connection: Any, info: dict[Any, Any], settings: Settings, asked: Session) -> None:
        """See `Dialect.set_up`."""
        driver: Any = getattr(connection, "driver_connection", connection)
        check_encoding(driver)
        cursor = connection.cursor()
        if asked.pooled or _is_pooled(driver, _first(cursor, "SELECT pg_catalog.pg_backend_pid()")):
            # What is set or prepared would stay on a session that the next transaction, or another application, gets.
            driver.prepare_threshold = None
            info[_EACH_TIME] = text = _settings_sql(settings, asked, driver.info.server_version, local=True)
            cursor.execute("BEGIN")
        else:
            text = _settings_sql(settings, asked, driver.info.server_version, local=False)
        schema = _first(cursor, text)
        cursor.close()
        connection.commit()
        if schema is None or schema.startswith("pg_temp"):
            raise ConfigurationError(NO_SCHEMA)

    def check_session(self, connection: Connection) -> None:
        """See `Dialect.check_session`."""
        driver: Any = connection.connection.driver_connection
        check_encoding(driver)
        ((pid, nulls, digits, strings, equals, hidden),) = statements.rows(connection, _RELIED_ON)
        if driver.prepare_threshold is not None and _is_pooled(driver, pid):
            raise ConfigurationError(
                "a pooler such as PgBouncer stands before the server, where what psycopg prepares is found on another"
                ' session or on none: create_engine(…, connect_args={"prepare_threshold": None})'
            )
        if hidden:
            raise ConfigurationError(
                "row-level security hides rows of f1mon's tables from this role, so that what is stored would be"
                " written again: ALTER TABLE … DISABLE ROW LEVEL SECURITY, or a role with BYPASSRLS"
            )
        if tables := distributed(connection):
            raise ConfigurationError(distributed_message(tables))
        if connection.info.get(_EACH_TIME) is not None:
            return  # each transaction is told
        wrong = {
            "array_nulls must be on, or a value that is absent is stored as the text NULL": nulls != "on",
            "extra_float_digits must be at least 1, or floats are read rounded": int(digits) < 1,
            "standard_conforming_strings must be on": strings != "on",
            "transform_null_equals must be off": equals != "off",
        }
        for what, is_so in wrong.items():
            if is_so:
                raise ConfigurationError(f"the engine's sessions: {what}")

    # Transactions -------------------------------------------------------------------------------------------------

    def begin(self, connection: Connection, *, write: bool, snapshot: bool) -> None:
        """Begin on a connection of f1mon's own, unless it reads by one statement; on others the driver does.

        A reader of several statements gets one snapshot.
        """
        driver: Any = connection.connection.dbapi_connection
        if not driver.autocommit:
            if snapshot:
                statements.rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        elif (settings := connection.info.get(_EACH_TIME)) is not None:
            level = "REPEATABLE READ, READ ONLY" if snapshot else "READ COMMITTED"
            statements.last_rows(connection, f"BEGIN ISOLATION LEVEL {level}", settings)
        elif snapshot:
            statements.rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        elif write:
            statements.rows(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")

    def horizons(self, connection: Connection, *, exclusive: bool = False) -> tuple[int | None, dict[str, Row]]:
        """See `Dialect.horizons`."""
        # The lock in a statement of its own: the snapshot of the next one is then taken after any wait for it.
        # By the table's own number: roles with other search paths find the one table under other schemas' names.
        function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
        rows = statements.last_rows(
            connection,
            f"SELECT pg_catalog.{function}({_PRUNE_LOCK}, 'f1mon_horizons'::regclass::oid::int)",
            f"SELECT {HORIZONS_SQL}, {self.server_clock} FROM f1mon_horizons",
        )
        return max(row[-1] for row in rows), {kind: tuple(row) for kind, *row, _ in rows if kind}

    def place(self, connection: Connection) -> str:
        """See `Dialect.place`."""
        ((host, port, standby, default),) = statements.rows(
            connection,
            "SELECT pg_catalog.host(pg_catalog.inet_server_addr()), current_setting('port'),"
            " pg_catalog.pg_is_in_recovery(), current_setting('default_transaction_read_only')",
        )
        why = "a standby" if standby else f"default_transaction_read_only is {default} there"
        return f"{host or 'a socket'}, port {port}, {why}"

    def why_only_read(self, connection: Connection) -> str | None:
        """See `Dialect.why_only_read`."""
        ((role, granted, standby, default),) = statements.rows(
            connection,
            "SELECT current_user::text, pg_catalog.has_table_privilege('f1mon_predictions', 'INSERT'),"
            " pg_catalog.pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'",
        )
        if not granted:
            return f"role {role} has no INSERT on its tables"
        if standby:
            return "the server is a standby"
        return "default_transaction_read_only is on" if default else None

    # Schema ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def waiting_briefly(self, connection: Connection, seconds: float) -> Iterator[None]:
        """See `Dialect.waiting_briefly`."""
        statements.rows(connection, f"SET LOCAL lock_timeout = {milliseconds(seconds)}")
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise BlockedError from error
            raise

    @contextmanager
    def alone(self, connection: Connection, lock_timeout: float) -> Iterator[None]:
        """See `Dialect.alone`; the session has its own timeout.

        Locked is where tables would be made, and then, if they are there, what is found by that name wherever it lies.
        """
        del lock_timeout
        for named in (
            "pg_catalog.pg_namespace WHERE nspname = current_schema()",
            f"pg_catalog.pg_class WHERE relname = '{VERSION_TABLE}' AND pg_catalog.pg_table_is_visible(oid)",
        ):
            lock = f"pg_catalog.pg_advisory_xact_lock({_UPGRADE_LOCK}, oid::int)"
            try:
                statements.rows(connection, f"SELECT {lock} FROM {named}")
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                raise LockTimeoutError(
                    "someone else has been upgrading this database for longer than the timeout"
                ) from error.orig
        self.at_home(connection)
        yield

    def at_home(self, connection: Connection) -> None:
        """See `Dialect.at_home`."""
        found = statements.rows(
            connection,
            "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname <> current_schema()"
            f" AND c.relname = '{VERSION_TABLE}' AND pg_catalog.pg_table_is_visible(c.oid)",
        )
        for (schema,) in found:
            statements.rows(connection, "SELECT pg_catalog.set_config('search_path', %s, true)", (schema,))

    def view_differs(self, connection: Connection, view: str, query: str) -> bool:
        """See `Dialect.view_differs`.

        The server keeps no text but what it understood, so it is told the other one too, for this session only.
        """
        statements.rows(connection, f"CREATE TEMPORARY VIEW f1mon_expected AS {query}")
        text = "SELECT pg_get_viewdef(to_regclass(%s)), pg_get_viewdef(to_regclass('f1mon_expected'))"
        ((found, expected),) = statements.rows(connection, text, (view,))
        statements.rows(connection, "DROP VIEW f1mon_expected")
        return bool(found != expected)

    def rewritten_bytes(self, connection: Connection, tables: Sequence[str]) -> int:
        """See `Dialect.rewritten_bytes`; the indexes of keys are made anew."""
        sizes = " + ".join("pg_indexes_size(to_regclass(%s))" for _ in tables)
        ((size,),) = statements.rows(connection, f"SELECT {sizes}", tuple(tables))
        return 2 * int(size)

    def problems(self, connection: Connection) -> list[Problem]:
        """See `Dialect.problems`."""
        damage, loss = (
            "a crash of the machine may damage the database",
            "a crash may take the newest acknowledged facts",
        )
        risks = (
            Problem("error", "fsync=off", damage),
            Problem("error", "full_page_writes=off", damage),
            Problem("warning", "synchronous_commit=off", loss),
        )
        found = [one for one in risks if statements.rows(connection, f"SHOW {one.where[:-4]}")[0][0] == "off"]
        if tables := distributed(connection):
            found.append(Problem("error", "Citus", distributed_message(tables)))
        return found

    # Rows -----------------------------------------------------------------------------------------------------------

    def insert_absent(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """See `Dialect.insert_absent`; counted are the rows that come back, not what the server says it did."""
        if not rows:
            return 0
        if len(rows) == 1:
            text, values = insert_absent_sql(table, columns), rows[0]
        else:
            given = f"SELECT * FROM unnest({_arrays(columns)})"
            text = f"INSERT INTO {table} ({','.join(columns)}) {given} ON CONFLICT DO NOTHING"
            values = _by_column(rows)
        return len(statements.rows(connection, self.sql(f"{text} RETURNING 1"), values))

    def insert_all(self, connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """See `Dialect.insert_all`."""
        if len(rows) < _COPY_FROM:
            return super().insert_all(connection, table, columns, rows)
        try:
            _copy_rows(connection, f"COPY {table} ({','.join(columns)}) FROM STDIN", rows)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise
            return False
        return True

    def insert_both(self, connection: Connection, row: Row, features: Row) -> bool:
        """See `Dialect.insert_both`; in one statement."""
        marks = ",".join("?" * len(features))
        then = f"INSERT INTO f1mon_features ({','.join(FEATURE_COLUMNS)}) SELECT {marks} WHERE {_MADE}"
        return self._insert_then(connection, "f1mon_predictions", PREDICTION_COLUMNS, row, then, features)

    def insert_current(self, connection: Connection, row: Row, current: Row, *, alone: bool) -> bool:
        """See `Dialect.insert_current`; in one statement."""
        del alone
        then = f"{update_sql('f1mon_predictions', ('prediction_id',), CURRENT_COLUMNS)} AND {_MADE}"
        return self._insert_then(connection, "f1mon_outcomes", OUTCOME_COLUMNS, row, then, (*current[1:], current[0]))

    def _insert_then(
        self, connection: Connection, table: str, columns: Sequence[str], row: Row, then: str, values: Row
    ) -> bool:
        made = f"{insert_absent_sql(table, columns)} RETURNING 1"
        text = f"WITH made AS ({made}), rest AS ({then}) SELECT 1 FROM made"
        return bool(statements.rows(connection, self.sql(text), (*row, *values)))

    def update(
        self, connection: Connection, table: str, key: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """See `Dialect.update`."""
        if len(rows) <= 1:
            statements.changed(connection, self.sql(update_sql(table, key, columns)), turned(rows, len(key)))
            return
        names = (*key, *columns)
        setting = ",".join(f"{name} = given.{name}" for name in columns)
        having = " AND ".join(f"{table}.{name} = given.{name}" for name in key)
        given = f"unnest({_arrays(names)}) AS given ({','.join(names)})"
        text = f"UPDATE {table} SET {setting} FROM {given} WHERE {having}"
        statements.changed(connection, self.sql(text), [_by_column(rows)])

    def select_in(
        self, connection: Connection, text: str, ids: Collection[str], *, lock: bool = False, outer: str = ""
    ) -> Iterator[Any]:
        """See `Dialect.select_in`; one array, which is planned in no time, where a list of a thousand is not."""
        if not ids:
            return
        statement = f"{text} = ANY(?::text[])"
        if lock:
            statement += f" ORDER BY 1{self.lock_rows}"
        yield from statements.rows(
            connection, self.sql(outer.format(statement) if outer else statement), (_text_array(sorted(ids)),)
        )

    def locked(self, connection: Connection, text: str, ids: Collection[str]) -> tuple[list[Row], int | None]:
        """See `Dialect.locked`."""
        if len(ids) > _TOLD_ALONG:
            return list(self.select_in(connection, text, ids, lock=True)), None
        # What stands around the locking query is computed for each row when that has locked it.
        outer = f"SELECT held.*, {self.server_clock} FROM ({{}}) AS held"
        rows = list(self.select_in(connection, text, ids, lock=True, outer=outer))
        return [row[:-1] for row in rows], max((row[-1] for row in rows), default=None)

    def conclude(
        self, connection: Connection, columns: Sequence[str], row: Row, operation: Row, *, absent: bool
    ) -> None:
        """See `Dialect.conclude`; in one statement."""
        del absent  # its row is there since the claim
        put = update_sql("f1mon_state", columns[:1], columns[1:])
        text = f"WITH put AS ({put}) {insert_absent_sql('f1mon_operations', OPERATION_COLUMNS)}"
        statements.changed(connection, self.sql(text), [(*row[1:], row[0], *operation)])

    # Expressions ----------------------------------------------------------------------------------------------------

    def is_in(self, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[Any]:
        """See `Dialect.is_in`."""
        if len(values) <= IN_CHUNK:
            return column.in_(values)
        kind = sa.BigInteger() if isinstance(values[0], int) else sa.Text()
        return column == sa.func.any(sa.literal(list(values), ARRAY(kind)))


# Sessions -----------------------------------------------------------------------------------------------------------


def check_encoding(driver: Any) -> None:
    """Refuse a connection that is not UTF-8, by what the server said of itself when it was made."""
    for name in ("server_encoding", "client_encoding"):
        found = (driver.pgconn.parameter_status(name.encode()) or b"UTF8").decode()
        if found.upper().replace("-", "") not in ("UTF8", "UNICODE"):  # poolers say it as they were asked
            whose = "database" if name == "server_encoding" else "connection"
            raise ConfigurationError(f"the {whose} must be encoded in UTF8, not {found} ({name})")


def distributed(connection: Connection) -> Sequence[str]:
    """Which of f1mon's tables Citus keeps in parts, or in copies, on other servers."""
    ((citus,),) = statements.rows(connection, "SELECT to_regclass('pg_dist_partition')")
    if citus is None:
        return []
    text = (
        "SELECT c.relname FROM pg_dist_partition JOIN pg_catalog.pg_class c ON c.oid = logicalrel::oid"
        " WHERE pg_catalog.left(c.relname, 6) = 'f1mon_' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1"
    )
    return [name for (name,) in statements.rows(connection, text)]


def distributed_message(tables: Sequence[str]) -> str:
    """Why distributed tables are refused, and what to do."""
    return (
        f"Citus has distributed {', '.join(tables)}: keys would not be unique, nor batches atomic, as f1mon needs them;"
        " SELECT undistribute_table(…) for each, or use a schema that is not distributed"
    )


def _is_pooled(driver: Any, pid: int) -> bool:
    """Whether a pooler stands before the server: it greets with a number of its own for the server's process."""
    found: bool = driver.info.backend_pid != pid
    return found


def _first(cursor: Any, text: str) -> Any:
    cursor.execute(text)
    return cursor.fetchall()[0][0]


def _settings_sql(settings: Settings, asked: Session, version: int, *, local: bool) -> str:
    """A statement that sets up a session or a transaction, and answers its schema; None where there is none."""
    wanted = {
        **asked.settings,
        **_OURS,
        "lock_timeout": str(milliseconds(settings.lock_timeout)),
        "idle_in_transaction_session_timeout": str(milliseconds(settings.idle_timeout)),
        "statement_timeout": str(milliseconds(settings.statement_timeout)),
    }
    if version >= _KNOWS_TRANSACTION_TIMEOUT:
        wanted["transaction_timeout"] = "0"
    said = ",".join(
        f"pg_catalog.set_config({_literal(name)},{_literal(value)},{str(local).lower()})"
        for name, value in wanted.items()
    )
    # In a statement around it, so that the schema is that of the search path it sets.
    return f"SELECT pg_catalog.current_schema(), made.* FROM (SELECT {said} OFFSET 0) AS made"


def _literal(text: str) -> str:
    """A literal that is read the same whatever `standard_conforming_strings` is."""
    quoted = text.replace("'", "''")
    return "E'{}'".format(quoted.replace("\\", "\\\\")) if "\\" in text else f"'{quoted}'"


def _text_array(texts: Sequence[str]) -> str:
    """An array of texts as the server reads it. psycopg looks at each text by itself, which takes ten times as long."""
    whole = "".join(texts)
    if '"' in whole or "\\" in whole:
        texts = [one.replace("\\", r"\\").replace('"', r"\"") for one in texts]
    return '{"' + '","'.join(texts) + '"}'


def _arrays(columns: Sequence[str]) -> str:
    return ",".join(f"?::{_TYPES.get(name, 'text')}[]" for name in columns)


def _by_column(rows: Sequence[Row]) -> Row:
    return tuple(list(column) for column in zip(*rows, strict=True))


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
