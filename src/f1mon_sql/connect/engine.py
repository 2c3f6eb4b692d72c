"""Addresses to engines: which driver, which pool, which session settings; and the secrets an address holds."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import attrs
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool, QueuePool, StaticPool

from f1mon_core.errors import ConfigurationError, MissingExtraError
from f1mon_core.storage.address import masked
from f1mon_sql.connect.errors import Secrets
from f1mon_sql.tables.definitions import MYSQL_NAMES

E = TypeVar("E")

_DRIVERS: Mapping[str, tuple[str, str]] = {
    "sqlite": ("sqlite+pysqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+psycopg"),
    "mysql": ("mysql+pymysql", "mysql+asyncmy"),
}
_FAMILIES = {"postgres": "postgresql", "mariadb": "mysql"}
_PASSWORD_QUERY = ("password", "passwd", "pwd")
_SECRET_QUERY = re.compile("password|passwd|pwd|secret|token", re.IGNORECASE)
_MEMORY = {None, "", ":memory:"}


@attrs.frozen(kw_only=True)
class Settings:
    """How an engine that f1mon makes is set up.

    Attributes:
        pool_size, max_overflow: Connections kept, and how many more for a rush.
        pool_timeout: Seconds to wait for one of them.
        echo: Log every statement.
        lock_timeout: Seconds to wait for a lock of another writer, or for a turn on SQLite.
        statement_timeout: Seconds one statement may take; None for any.
        idle_timeout: Seconds after which a server ends a transaction whose owner does nothing.
        synchronous: SQLite's setting: "FULL" (what was acknowledged survives a power loss), "EXTRA", or "NORMAL" (the
            newest facts may not).
        take_turns: Whether writers of one SQLite file queue up at a lock file beside it.
    """

    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 30.0
    echo: bool = False
    lock_timeout: float = 30.0
    statement_timeout: float | None = None
    idle_timeout: float = 60.0
    synchronous: str = "FULL"
    take_turns: bool = True

    def __attrs_post_init__(self) -> None:
        for name in ("pool_size", "max_overflow"):
            if type(getattr(self, name)) is not int or getattr(self, name) < (1 if name == "pool_size" else 0):
                raise ConfigurationError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        for name in ("pool_timeout", "lock_timeout", "statement_timeout", "idle_timeout"):
            value = getattr(self, name)
            if value is None and name == "statement_timeout":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**6:
                raise ConfigurationError(f"{name} must be a number of seconds above 0, got {value!r}")
        if self.synchronous not in ("FULL", "EXTRA", "NORMAL"):
            raise ConfigurationError(f"synchronous must be FULL, EXTRA or NORMAL, got {self.synchronous!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from options by name. Raises `ConfigurationError` for an unknown name, naming those there are."""
        known = attrs.fields_dict(cls)
        if unknown := sorted(set(options) - set(known)):
            raise ConfigurationError(
                f"backend 'sql' has no option {', '.join(unknown)}; it takes url, clock, {', '.join(sorted(known))}"
            )
        return cls(**options)


@attrs.frozen(repr=False)
class Place:
    """Where a store is.

    Attributes:
        url: The address, with its driver; a password in its password field only, which its texts do not show.
        secrets: What must not be seen.
        arguments: What the driver is told besides the address: the secrets that were part of its query.
    """

    url: URL
    secrets: Secrets
    arguments: Mapping[str, Any] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"Place({self.address!r})"

    @property
    def family(self) -> str:
        """sqlite, postgresql or mysql."""
        return self.url.get_backend_name()

    @property
    def address(self) -> str:
        """The address, fit to print."""
        plain = self.url.set(drivername="sqlite" if self.family == "sqlite" else self.family)
        return self.secrets.hide(masked(plain.render_as_string(hide_password=True)))

    @property
    def database_file(self) -> Path | None:
        """The database file of SQLite; None on a server or in memory."""
        if self.family != "sqlite" or self.url.database in _MEMORY or "uri" in self.url.query:
            return None
        return Path(str(self.url.database))

    @property
    def in_memory(self) -> bool:
        """Whether it is an SQLite database that lives in one connection."""
        return self.family == "sqlite" and self.url.database in _MEMORY


def place_of(address: str | URL, *, asynchronous: bool = False) -> Place:
    """The place an address names. Raises `ConfigurationError` if it names none."""
    if not isinstance(address, str | URL):
        raise ConfigurationError(f"url must be an address or an Engine, got a {type(address).__name__}")
    try:
        url = sa.make_url(address)
    except (ArgumentError, ValueError):
        # The library's message may repeat the address, password included.
        raise ConfigurationError(f"{masked(str(address))!r} is not a database address") from None
    family, _, driver = url.drivername.partition("+")
    family = _FAMILIES.get(family, family)
    if family not in _DRIVERS:
        raise ConfigurationError(f"no {family!r} here: f1mon keeps its facts in sqlite, postgresql, mysql or mariadb")
    if driver and driver not in _driver_names(family):
        raise ConfigurationError(_unknown_driver(family, driver))
    url = url.set(drivername=_DRIVERS[family][asynchronous])
    query = dict(url.query)
    for name in _PASSWORD_QUERY:
        if (value := query.pop(name, None)) is not None:
            url = url.set(password=value if isinstance(value, str) else value[-1])
    hidden = {name: query.pop(name) for name in list(query) if _SECRET_QUERY.search(name)}
    if family == "mysql":
        query.setdefault("charset", "utf8mb4")
    url = url.set(query=query)
    secrets = [url.password, *map(str, hidden.values())]
    escaped = [part.rpartition("@")[0].rpartition(":")[2] for part in (url.render_as_string(hide_password=False),)]
    return Place(url, Secrets([*secrets, *(one for one in escaped if url.password)]), hidden)


def _driver_names(family: str) -> set[str]:
    return {one.partition("+")[2] for one in _DRIVERS[family]}


def _unknown_driver(family: str, driver: str) -> str:
    return f"f1mon reaches {family} through {' or '.join(sorted(_driver_names(family)))}, not {driver}"


def names_async_driver(address: str | URL) -> bool:
    """Whether an address asks for a driver that only event loops can use."""
    name = address.drivername if isinstance(address, URL) else str(address).partition("://")[0]
    return name.endswith(("+aiosqlite", "+asyncmy"))


def engine_options(place: Place, settings: Settings, *, asynchronous: bool) -> dict[str, Any]:
    """What `create_engine` or `create_async_engine` is told."""
    # Rows are what a team monitors; they do not belong into logs and exception texts.
    options: dict[str, Any] = {"echo": settings.echo, "hide_parameters": True, "connect_args": dict(place.arguments)}
    if place.in_memory:
        return {**options, "poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    options |= {
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
    }
    if place.family == "sqlite":
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": settings.lock_timeout}
        return {**options, **({} if asynchronous else {"poolclass": QueuePool}), "connect_args": arguments}
    if place.family == "postgresql":
        # A transaction begins by a statement of its own, which is the ping too (`Transactions.run`); what reads by one
        # statement needs none. And each new engine would ask the server for a type f1mon does not use.
        return {**options, "isolation_level": "AUTOCOMMIT", "use_native_hstore": False}
    return {**options, "pool_pre_ping": True, "isolation_level": "READ COMMITTED"}


def make_engine(place: Place, settings: Settings) -> Engine:
    """A sync engine for a place. Raises `ConfigurationError`, or ImportError where its driver is not installed."""
    made = _made(place, lambda: sa.create_engine(place.url, **engine_options(place, settings, asynchronous=False)))
    _prepare_sessions(made, place, settings)
    remake_after_fork(made)
    return made


def make_async_engine(place: Place, settings: Settings) -> AsyncEngine:
    """An async engine for a place, for one event loop. Raises as `make_engine`."""
    options = engine_options(place, settings, asynchronous=True)
    made = _made(place, lambda: create_async_engine(place.url, **options))
    _prepare_sessions(made.sync_engine, place, settings)
    _track(made.sync_engine)
    remake_after_fork(made.sync_engine)
    return made


def _made(place: Place, make: Callable[[], E]) -> E:
    if (path := place.database_file) is not None:
        make_parent(path)
    try:
        return make()
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(place.secrets.hide(str(error))) from None
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{place.family} needs {error.name!r}, which is not installed: pip install 'f1mon[{place.family}]'",
            name=error.name,
        ) from error


def make_parent(path: Path) -> None:
    """Make the directory a database file will lie in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the directory {path.parent}: {error.strerror}") from error


def _prepare_sessions(engine: Engine, place: Place, settings: Settings) -> None:
    """Set up each connection of an engine that f1mon made."""
    statements = _session_statements(place.family, settings)
    if not statements:
        return

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()
        connection.commit()


def _session_statements(family: str, settings: Settings) -> list[str]:
    """What a server session is told when it begins."""
    if family == "postgresql":
        return [
            f"SET lock_timeout = {milliseconds(settings.lock_timeout)}",
            f"SET idle_in_transaction_session_timeout = {milliseconds(settings.idle_timeout)}",
            f"SET statement_timeout = {milliseconds(settings.statement_timeout)}",
        ]
    if family == "mysql":
        return [
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
            # One for rows; one for tables and their definitions, which the server would wait a day for.
            f"SET SESSION innodb_lock_wait_timeout = {max(1, round(settings.lock_timeout))}",
            f"SET SESSION lock_wait_timeout = {max(1, round(settings.lock_timeout))}",
            # Only MariaDB has these two, and says them in a comment MySQL does not read.
            f"/*M!100300 SET SESSION idle_transaction_timeout = {max(1, round(settings.idle_timeout))} */",
            f"/*M!100300 SET SESSION max_statement_time = {settings.statement_timeout or 0} */",
        ]
    return []


def milliseconds(seconds: float | None) -> int:
    """Whole milliseconds, at least 1; 0 for None."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def place_of_engine(engine: Engine) -> Place:
    """Where an application's own engine leads."""
    url = engine.url
    family = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name
    if family not in _DRIVERS:
        raise ConfigurationError(f"f1mon keeps its facts in SQLite, PostgreSQL, MariaDB or MySQL, not in {family}")
    if engine.dialect.driver.removesuffix("_async") not in _driver_names(family):
        raise ConfigurationError(_unknown_driver(family, engine.dialect.driver))
    secrets = [url.password, *(str(value) for name, value in url.query.items() if _SECRET_QUERY.search(name))]
    return Place(url.set(drivername=url.drivername.replace("mariadb", "mysql", 1)), Secrets(secrets))


# Forks --------------------------------------------------------------------------------------------------------------

_engines: WeakSet[Engine] = WeakSet()
_inherited: list[tuple[Pool, list[Any]]] = []
"""Pools and connections of a parent process. Kept, never closed: the parent still talks over them."""


def remake_after_fork(engine: Engine) -> None:
    """Give a forked child connections of its own."""
    _engines.add(engine)


def _forked() -> None:
    for engine in list(_engines):
        connections = _connected.get(engine, {})
        _inherited.append((engine.pool, list(connections.values())))
        connections.clear()
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forked)


# Event loops of their own ---------------------------------------------------------------------------------------------

_connected: WeakKeyDictionary[Engine, dict[int, Any]] = WeakKeyDictionary()
"""The drivers' connections of async engines that f1mon made."""


def _track(engine: Engine) -> None:
    connections = _connected[engine] = {}

    @event.listens_for(engine, "connect")
    def opened(connection: Any, _record: Any) -> None:
        connections[id(connection)] = connection

    @event.listens_for(engine, "close")
    def closed(connection: Any, _record: Any) -> None:
        connections.pop(id(connection), None)


async def abandon(*engines: AsyncEngine) -> None:
    """Close the connections of async engines without the event loops they were made in, which have ended."""
    stopping: list[asyncio.Future[Any]] = []
    for engine in engines:
        for driver in _taken_from(engine):
            if hasattr(driver, "pgconn"):
                driver.pgconn.finish()
            elif hasattr(driver, "stop"):
                stopping.append(driver.stop())
            else:
                _cut(driver)
    # aiosqlite's thread reports its end to this loop, which must still be there to hear it.
    await asyncio.gather(*stopping)


def let_go(engine: AsyncEngine) -> None:
    """Close the idle connections of an async engine inside its event loop, without waiting: the loop may end now."""
    for driver in _taken_from(engine):
        if hasattr(driver, "pgconn"):
            driver.pgconn.finish()
        elif hasattr(driver, "stop"):
            # Told by a thread without an event loop, aiosqlite's thread reports its end to none.
            teller = threading.Thread(target=driver.stop)
            teller.start()
            teller.join()
        else:
            driver.close()


def _taken_from(engine: AsyncEngine) -> Iterator[Any]:
    """The drivers' connections of an async engine, whose pool forgets them."""
    engine.sync_engine.dispose(close=False)
    connections = _connected.get(engine.sync_engine, {})
    while connections:
        _, adapted = connections.popitem()
        yield adapted.driver_connection


def _cut(driver: Any) -> None:
    # asyncmy closes through its loop's transport, which a closed loop no longer does; so its socket is closed.
    transport: Any = driver._transport  # noqa: SLF001 - there is no public way
    held, transport._sock = getattr(transport, "_sock", None), None  # noqa: SLF001
    if held is not None:
        held.close()
