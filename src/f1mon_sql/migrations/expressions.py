"""What views say differently on each family of databases."""

from collections.abc import Callable


def _sqlite_time(column: str) -> str:
    seconds = f"strftime('%Y-%m-%dT%H:%M:%S', {column} / 1000000, 'unixepoch')"
    return f"{seconds} || printf('.%06dZ', {column} % 1000000)"


def _postgresql_field(column: str, name: str) -> str:
    # PostgreSQL has no NUL in text and would fail the whole query over one in a title.
    return rf"replace({column}, '\u0000', '\ufffd')::json ->> '{name}'"


TIME: dict[str, Callable[[str], str]] = {
    "sqlite": _sqlite_time,
    "postgresql": lambda column: f"TIMESTAMPTZ '1970-01-01T00:00:00Z' + {column} * INTERVAL '1 microsecond'",
    "mysql": lambda column: f"TIMESTAMPADD(MICROSECOND, {column}, CAST('1970-01-01' AS DATETIME(6)))",
}
DAY: dict[str, Callable[[str], str]] = {
    "sqlite": lambda column: f"date({column} / 1000000, 'unixepoch')",
    "postgresql": lambda column: (
        f"((TIMESTAMPTZ '1970-01-01T00:00:00Z' + {column} * INTERVAL '1 microsecond') AT TIME ZONE 'UTC')::date"
    ),
    "mysql": lambda column: f"DATE(TIMESTAMPADD(MICROSECOND, {column}, CAST('1970-01-01' AS DATETIME(6))))",
}
TEXT: dict[str, Callable[[str], str]] = {
    "sqlite": lambda column: column,
    "postgresql": lambda column: column,
    "mysql": lambda column: f"CONVERT({column} USING utf8mb4)",
}
FIELD: dict[str, Callable[[str, str], str]] = {
    "sqlite": lambda column, name: f"json_extract({column}, '$.{name}')",
    "postgresql": _postgresql_field,
    "mysql": lambda column, name: f"JSON_UNQUOTE(JSON_EXTRACT({column}, '$.{name}'))",
}
LABEL: dict[str, Callable[[str, str], str]] = {
    "sqlite": lambda number, text: f"COALESCE({text}, CAST({number} AS TEXT))",
    "postgresql": lambda number, text: f"COALESCE({text}, CAST({number} AS TEXT))",
    "mysql": lambda number, text: f"COALESCE(CONVERT({text} USING utf8mb4), CAST({number} AS CHAR))",
}
"""A label, from its two columns, as text."""
