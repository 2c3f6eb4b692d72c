"""What revisions are written with: each step looks first, so that an interrupted upgrade can be run again.

MariaDB and MySQL commit every table by itself; a revision killed half-way leaves half of its tables there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from f1mon_sql.tables.definitions import MYSQL_NAMES, Ident

__all__ = [
    "Ident",
    "create_index",
    "create_table",
    "create_view",
    "dialect_name",
    "document",
    "drop_index",
    "drop_table",
    "drop_view",
    "has_column",
    "rebuild",
]


def dialect_name() -> str:
    """sqlite, postgresql or mysql."""
    name = op.get_bind().dialect.name
    return "mysql" if name in MYSQL_NAMES else name


def document() -> sa.types.TypeEngine[str]:
    """ASCII JSON of up to some MiB."""
    return sa.Text().with_variant(mysql.LONGTEXT(), *MYSQL_NAMES)


def create_table(name: str, *columns: sa.Column[Any], indexes: dict[str, tuple[str, ...]] | None = None) -> None:
    """Create a table and its indexes, where they are not there yet."""
    inspector = sa.inspect(op.get_bind())
    options: dict[str, Any] = {
        f"{family}_{option}": value
        for family in MYSQL_NAMES
        for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
    }
    if not inspector.has_table(name):
        op.create_table(name, *columns, **options)
    for index, names in (indexes or {}).items():
        create_index(index, name, names)


def create_index(name: str, table: str, columns: tuple[str, ...], *, unique: bool = False) -> None:
    """Create an index, where it is not there yet."""
    if name not in _indexes(table):
        op.create_index(name, table, list(columns), unique=unique)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there."""
    if name in _indexes(table):
        op.drop_index(name, table)


def _indexes(table: str) -> set[str | None]:
    return {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}


def has_column(table: str, name: str) -> bool:
    """Whether a table has a column."""
    return name in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}


def rebuild(name: str, *columns: sa.Column[Any], indexes: dict[str, tuple[str, ...]] | None = None) -> None:
    """Make a table of SQLite anew, with its rows and what of their columns there was before; inside a transaction."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(name)}
    kept = ", ".join(column.name for column in columns if column.name in there)
    op.create_table(f"{name}_new", *columns)
    op.execute(f"INSERT INTO {name}_new ({kept}) SELECT {kept} FROM {name} ORDER BY rowid")
    drop_table(name)
    op.execute(f"ALTER TABLE {name}_new RENAME TO {name}")
    for index, of in (indexes or {}).items():
        create_index(index, name, of)


def drop_table(name: str) -> None:
    """Drop a table with its indexes, if it is there."""
    op.execute(f"DROP TABLE IF EXISTS {name}")


def create_view(name: str, query: str) -> None:
    """Create or replace a view."""
    drop_view(name)
    op.execute(sa.text(f"CREATE VIEW {name} AS {query}".replace(":", r"\:")))


def drop_view(name: str) -> None:
    """Drop a view, if it is there."""
    op.execute(f"DROP VIEW IF EXISTS {name}")
