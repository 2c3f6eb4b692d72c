"""What differs between the databases."""

from __future__ import annotations

from functools import cache

from f1mon_core.errors import ConfigurationError
from f1mon_sql.dialects.base import Dialect
from f1mon_sql.dialects.mysql import Mysql
from f1mon_sql.dialects.postgresql import Postgresql
from f1mon_sql.dialects.sqlite import Sqlite
from f1mon_sql.tables.definitions import MYSQL_NAMES

__all__ = ["Dialect", "dialect_of"]


@cache
def dialect_of(name: str) -> Dialect:
    """The dialect of that name; one object for all stores, so that they share their texts."""
    if name == "sqlite":
        return Sqlite()
    if name == "postgresql":
        return Postgresql()
    if name in MYSQL_NAMES:
        return Mysql()
    raise ConfigurationError(f"f1mon keeps its facts in SQLite, PostgreSQL, MariaDB or MySQL, not in {name}")
