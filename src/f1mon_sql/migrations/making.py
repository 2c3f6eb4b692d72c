"""What revisions are written with: each step looks first, so that an interrupted upgrade can be run again.

MariaDB and MySQL commit every table by itself; a revision killed half-way leaves half of its tables there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from f1mon_sql.tables.definitions import MYSQL_NAMES, Ident

__all__ = ["Ident", "create_table", "create_view", "dialect_name", "document", "drop_table", "drop_view"]


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
    present = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(name)}
    for index, names in (indexes or {}).items():
        if index not in present:
            op.create_index(index, name, list(names))


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
