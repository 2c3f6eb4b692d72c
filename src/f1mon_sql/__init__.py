"""The SQL backend of f1mon: SQLite, PostgreSQL, MariaDB and MySQL, through SQLAlchemy."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from f1mon_core.errors import F1monError
from f1mon_core.records.times import Clock
from f1mon_core.storage.registry import Backend
from f1mon_sql.aio import AsyncSQLStorage
from f1mon_sql.connect.target import names_async_driver, target_of
from f1mon_sql.fresh import fresh_sql
from f1mon_sql.sharing import include_name
from f1mon_sql.sync import SQLStorage

__all__ = ["AsyncSQLStorage", "SQLStorage", "backend", "include_name"]


def open_sql(*, url: str | URL | Engine, clock: Clock | None = None, **settings: Any) -> SQLStorage:
    """Open a database; see `SQLStorage`."""
    return SQLStorage(url, clock=clock, **settings)


async def open_async_sql(
    *, url: str | URL | Engine | AsyncEngine, clock: Clock | None = None, **settings: Any
) -> AsyncSQLStorage | None:
    """Open a database for an event loop; see `AsyncSQLStorage`.

    None, which asks to be offloaded to threads, for an SQLite address without `+aiosqlite` (a durable write takes half
    the time so) and for a sync `Engine`.
    """
    if isinstance(url, Engine):
        return None
    if not isinstance(url, AsyncEngine) and not names_async_driver(url) and target_of(url).family == "sqlite":
        return None
    return await AsyncSQLStorage.open(url, clock=clock, **settings)


def upgrade_sql(*, url: str | URL, clock: Clock | None = None, **settings: Any) -> None:  # noqa: ARG001 - as `open_sql`
    """Bring a database's schema up to date, creating it where there is none; what `f1mon db upgrade` does."""
    from f1mon_sql.schema import upgrading  # noqa: PLC0415 - only for who upgrades

    upgrading.upgrade(url)


def sql_exists(*, url: str | URL | Engine | AsyncEngine, tables: bool = True, **_settings: Any) -> bool:
    """Whether a database is there, and by default f1mon's tables in it; one in memory, or an engine, always is.

    True too where that cannot be told: opening it then says what is in the way.
    """
    from f1mon_sql.schema import upgrading  # noqa: PLC0415 - only for who asks

    if isinstance(url, Engine | AsyncEngine):
        return True
    target = target_of(url)
    try:
        file = target.database_file
        if target.in_memory or (file is not None and not file.exists()):
            return target.in_memory
        if not tables:
            return True
        if file is not None and not file.stat().st_size:
            return False  # even to look would write its header
        return upgrading.current(url) is not None
    except (OSError, F1monError):
        return True


backend = Backend(
    name="sql",
    open=open_sql,
    open_async=open_async_sql,
    fresh=fresh_sql,
    upgrade=upgrade_sql,
    exists=sql_exists,
    contract=2,
)
"""What `f1mon.backends` names "sql"."""
