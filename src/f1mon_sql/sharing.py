"""What an application needs whose own Alembic migrations share a database with f1mon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f1mon_sql.tables.definitions import PREFIX


def include_name(name: str | None, type_: str, parent_names: Mapping[str, Any]) -> bool:
    """Whether something in the database is for the application's Alembic to look at: all but f1mon's tables.

    Give it to `context.configure(include_name=…)`, or call it in an `include_name` of your own: else `alembic revision
    --autogenerate` would drop f1mon's tables, which the application's models do not have.

    Args:
        name: Of a schema, a table, an index and so on.
        type_: What it is, as Alembic says: "table", "index", …
        parent_names: Alembic's; what it belongs to, under "table_name".
    """
    table = name if type_ == "table" else parent_names.get("table_name")
    return table is None or not str(table).startswith(PREFIX)
