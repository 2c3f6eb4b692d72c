"""The schema's version: created where there is none, refused where it is not this one, upgraded by Alembic."""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.errors import SchemaError
from f1mon_sql import migrations
from f1mon_sql.connect import statements
from f1mon_sql.dialects import dialect_of
from f1mon_sql.tables.definitions import MYSQL_NAMES, VERSION_TABLE, metadata
from f1mon_sql.transactions import pausing

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003")
"""Every revision, oldest first; the last is what this f1mon works with."""
HEAD = REVISIONS[-1]
VIEWS = ("f1mon_predictions_v", "f1mon_alerts_v", "f1mon_daily_accuracy_v")

_log = logging.getLogger("f1mon.sql")


class Version(Enum):
    """How a database's schema relates to this f1mon."""

    NONE = "none"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def stored_revision(connection: Connection) -> str | None:
    """The revision a database is at; None where f1mon has no tables there."""
    if not dialect_of(connection.dialect.name).has_table(connection, VERSION_TABLE):
        return None
    rows = statements.rows(connection, f"SELECT version_num FROM {VERSION_TABLE} ORDER BY version_num")
    if len(rows) > 1:
        found = " and ".join(repr(one) for (one,) in rows)
        raise SchemaError(
            f"{VERSION_TABLE} has {len(rows)} rows, {found}, where one says what the tables are: leave the right one"
            " there (after a restore it is that of the backup), and see by `f1mon db check` whether it is"
        )
    return rows[0][0] if rows else None


def version_of(revision: str | None) -> Version:
    """How a revision relates to this f1mon."""
    if revision is None:
        return Version.NONE
    if revision == HEAD:
        return Version.CURRENT
    return Version.OLDER if revision in REVISIONS else Version.NEWER


def refusal(revision: str | None, address: str) -> SchemaError:
    """Why a database of that revision cannot be used, and what to run."""
    if version_of(revision) is Version.NEWER:
        return SchemaError(f"{address} is at schema {revision}, which a newer f1mon made: update f1mon")
    return SchemaError(
        f"{address} is at schema {revision or 'none'}, this f1mon works with {HEAD}: run `{upgrade_command(address)}`"
    )


def upgrade_command(address: str) -> str:
    """The command that brings a database to this f1mon's schema."""
    return f"f1mon db upgrade --url {shlex.quote(address)}"


def ensure(connection: Connection, address: str) -> None:
    """Create the schema where there is none; inside a writing transaction, by itself.

    Raises:
        SchemaError: If it is older or newer than this f1mon.
    """
    revision = stored_revision(connection)
    if revision is None:
        refuse_foreign(connection, address)
        run_migrations(connection, lambda config, command: command.upgrade(config, "head"))
        _log.info("created the schema", extra={"store": address, "revision": HEAD})
    elif version_of(revision) is not Version.CURRENT:
        raise refusal(revision, address)


def refuse(connection: Connection, revision: str | None, address: str) -> None:
    """Refuse a database that is not at this f1mon's revision, by what is in the way of getting it there.

    Raises:
        SchemaError: Unless there is nothing of f1mon's, or all of it and current.
    """
    version = version_of(revision)
    if version is Version.NONE:
        refuse_foreign(connection, address)
        return
    if version is not Version.NEWER:
        refuse_incomplete(connection, revision, address)
    if version is not Version.CURRENT:
        raise refusal(revision, address)


def refuse_incomplete(connection: Connection, revision: str | None, address: str) -> None:
    """Refuse tables of which some are gone, which no migration makes again."""
    expected = set(metadata.tables) - (set() if revision is None or revision >= _META_SINCE else {"f1mon_meta"})
    if missing := expected - set(sa.inspect(connection).get_table_names()):
        raise SchemaError(
            f"{address} is at schema {revision}, and {', '.join(sorted(missing))} is gone: no upgrade makes it again;"
            " restore it from a backup"
        )


def refuse_foreign(connection: Connection, address: str) -> None:
    """Refuse to create where f1mon's names are taken although no revision is stored."""
    inspector = sa.inspect(connection)
    taken = set(inspector.get_table_names()) & set(metadata.tables)
    if connection.dialect.name in MYSQL_NAMES:
        # Every table is committed by itself there, so these may be half of a creation: the tables of revision 0001.
        taken = {name for name in taken if {one["name"] for one in inspector.get_columns(name)} != _columns(name)}
    taken |= set(inspector.get_view_names()) & set(VIEWS)
    if taken:
        raise SchemaError(f"{address} has {', '.join(sorted(taken))}, which f1mon's migrations did not make")


_META_SINCE = "0003"
_ADDED = {
    "f1mon_predictions": {"ordinal", "predicted_text", "actual_text", "segments"},
    "f1mon_features": {"ordinal"},
    "f1mon_outcomes": {"actual_text"},
    "f1mon_horizons": {"stands_until"},
}
"""Columns that came after revision 0001."""


def _columns(table: str) -> set[str]:
    """The columns of a table as revision 0001 makes it."""
    return {column.name for column in metadata.tables[table].columns} - _ADDED.get(table, set())


# Alembic ------------------------------------------------------------------------------------------------------------


def configuration(connection: Connection | None = None, output: Any = None) -> Config:
    """Alembic's configuration of f1mon's own migrations."""
    from alembic.config import Config  # noqa: PLC0415 - only to create or upgrade

    config = Config(stdout=output) if output is not None else Config()
    config.set_main_option("script_location", migrations.__path__[0].replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def load_alembic() -> Any:
    """Alembic's commands. Loading them takes a moment, which an event loop spends on a thread."""
    from alembic import command  # noqa: PLC0415 - only to create or upgrade

    return command


_alembic = threading.Lock()
"""Alembic keeps what it works on in its module, so the threads and tasks of a process use it one by one."""


def _forked() -> None:
    global _alembic  # noqa: PLW0603 - the thread that held it does not exist in a child
    _alembic = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def run_migrations(connection: Connection, work: Callable[[Any, Any], Any]) -> Any:
    """Run an Alembic command on a connection, inside its transaction."""
    pause = pausing(connection)
    took = [False]
    try:
        while True:
            # Tried only, for whoever holds it may be a task of this very thread; and noted at once, for an interrupt.
            took[:] = map(_alembic.acquire, took)
            if True in took:
                break
            pause(0.005)
        return work(configuration(connection), load_alembic())
    finally:
        if True in took:
            _alembic.release()


def drift(connection: Connection) -> Sequence[Any]:
    """How the database differs from `definitions.metadata` and the views of the migrations; empty if it does not."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - only to check
    from alembic.migration import MigrationContext  # noqa: PLC0415

    dialect_of(connection.dialect.name).at_home(connection)
    context = MigrationContext.configure(connection, opts=context_options())
    return [*compare_metadata(context, metadata), *_view_drift(connection)]


def _view_drift(connection: Connection) -> Iterator[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - only to check

    dialect = dialect_of(connection.dialect.name)
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions()
    queries = next(script.module.queries(dialect.name) for script in scripts if hasattr(script.module, "queries"))
    present = set(sa.inspect(connection).get_view_names())
    for view, query in queries.items():
        if view not in present:
            yield f"view {view} is missing"
        elif dialect.view_differs(connection, view, query):
            yield f"view {view} is not the one f1mon made"


def context_options() -> dict[str, Any]:
    """What Alembic is told in every run: its own version table, and to look at nothing but f1mon's."""
    return {
        "version_table": VERSION_TABLE,
        "include_name": include_name,
        "compare_type": True,
        "target_metadata": metadata,
    }


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Whether Alembic may look at something; in a shared database most of it is not ours."""
    if kind == "table":
        return name in metadata.tables
    if kind == "schema":
        return name is None
    table = parents.get("table_name")
    return table is None or table in metadata.tables
