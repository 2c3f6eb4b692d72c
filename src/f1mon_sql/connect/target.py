"""Where a store is: what an address names, through which driver, and which secrets it holds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError

from f1mon_core.errors import ConfigurationError
from f1mon_core.storage.address import masked
from f1mon_sql.connect import parameters
from f1mon_sql.connect.errors import Secrets
from f1mon_sql.connect.settings import Session
from f1mon_sql.tables.definitions import MYSQL_NAMES

_DRIVERS: Mapping[str, tuple[str, str]] = {
    "sqlite": ("sqlite+pysqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+psycopg"),
    "mysql": ("mysql+pymysql", "mysql+asyncmy"),
}
_FAMILIES = {"postgres": "postgresql", "mariadb": "mysql"}
_PASSWORD_QUERY = ("password", "passwd", "pwd")
_LAST_PORT = 65535
_NAMED_ELSEWHERE = ("PGDATABASE", "PGSERVICE")
"""Variables by which libpq knows a database that an address does not name."""
_NO_ADDRESS = (
    "this is not a database address, and is not repeated as it may hold a password: it should look like"
    " postgresql://user:password@host:5432/database or sqlite:///f1mon.db, with :, /, ?, # and @ in a user, a"
    " password or a query as %3A, %2F, %3F, %23 and %40"
)
_MEMORY = {None, "", ":memory:"}


@attrs.frozen(repr=False)
class Target:
    """Where a store is.

    Attributes:
        url: The address, with its driver; a password in its password field only, which its texts do not show.
        secrets: What must not be seen.
        arguments: What the driver is told besides the address.
        shown: The address as it was given, without its secrets; None where that is `url`.
        encrypted: Whether a connection that is not encrypted is refused.
        session: What it says of sessions, which they are told when they are there: poolers refuse it in an address.
    """

    url: URL
    secrets: Secrets
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    shown: URL | None = None
    encrypted: bool = False
    session: Session = attrs.field(factory=Session)

    def __repr__(self) -> str:
        return f"Target({self.address!r})"

    @property
    def family(self) -> str:
        """sqlite, postgresql or mysql."""
        return self.url.get_backend_name()

    @property
    def engine_url(self) -> URL:
        """The address without what sessions are told."""
        rest = parameters.session_of(self.url.query)[1]
        return self.url.set(query=rest) if rest != self.url.query else self.url

    @property
    def address(self) -> str:
        """The address, fit to print."""
        plain = (self.shown or self.url).set(drivername="sqlite" if self.family == "sqlite" else self.family)
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


def target_of(address: str | URL, *, asynchronous: bool = False) -> Target:
    """The target an address names. Raises `ConfigurationError` if it names none."""
    if not isinstance(address, str | URL):
        raise ConfigurationError(f"url must be an address or an Engine, got a {type(address).__name__}")
    try:
        url = sa.make_url(address)
    except (ArgumentError, ValueError):
        # The library's message may repeat the address, password included.
        raise ConfigurationError(_NO_ADDRESS) from None
    if isinstance(address, str) and _is_misread(address, url):
        raise ConfigurationError(_NO_ADDRESS)
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
    if isinstance(address, str):
        parameters.refuse_blank(family, address.partition("?")[2])
    told = parameters.read(family, query, hiding=query != url.query)
    shown = url.set(query={name: value for name, value in query.items() if not parameters.SECRET.search(name)})
    url = url.set(query=told.query)
    _check_place(family, url)
    secrets = [url.password, *(str(value) for name, value in query.items() if parameters.SECRET.search(name))]
    escaped = [part.rpartition("@")[0].rpartition(":")[2] for part in (url.render_as_string(hide_password=False),)]
    # A server's refusal quotes these, and in a mistyped address any of them may hold what was meant as the password.
    odd = [one for one in (url.username, url.host, url.database) if family != "sqlite" and one and _ODD.search(one)]
    hiding = Secrets([*secrets, *(one for one in escaped if url.password), *odd])
    session = Session(parameters.session_of(told.query)[0], told.pooled)
    return Target(url, hiding, told.arguments, shown, told.encrypted, session)


_ODD = re.compile(r"[@&=?%]|:.*/|/.*:")
"""What a name of an account, a host or a database hardly ever holds."""


def _check_place(family: str, url: URL) -> None:
    if any("\0" in part for part in (url.username, url.password, url.host, url.database) if part):
        raise ConfigurationError("the address holds a NUL, which no database takes")
    if family == "sqlite":
        if url.host or url.username or url.password or url.port is not None:
            raise ConfigurationError(
                "an address of sqlite is sqlite:///relative/path or sqlite:////absolute/path: no host, and no account"
            )
        if url.database not in _MEMORY and "uri" not in url.query and os.path.isdir(str(url.database)):  # noqa: PTH112 - too long a name is none
            raise ConfigurationError(f"{masked(str(url.database))!r} is a directory: name a file of SQLite in it")
        return
    named = url.database or (family == "postgresql" and {"dbname", "service"} & set(url.query))
    if not named and not (family == "postgresql" and any(os.environ.get(name) for name in _NAMED_ELSEWHERE)):
        raise ConfigurationError(f"the address names no database: {family}://user@host/database")
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise ConfigurationError(f"the address says port {url.port}; it must be 1 to {_LAST_PORT}")


def _is_misread(address: str, url: URL) -> bool:
    """Whether a part of the account was taken for the host or the database, which errors of servers repeat."""
    if url.drivername.startswith("sqlite"):
        return False
    parts = (url.username or "", url.host or "", url.database or "")
    return "@" in parts[1] or sum(part.count("@") for part in parts) > address.count("%40")


def target_of_engine(engine: Engine) -> Target:
    """Where an application's own engine leads."""
    url = engine.url
    family = "mysql" if engine.dialect.name in MYSQL_NAMES else engine.dialect.name
    if family not in _DRIVERS:
        raise ConfigurationError(f"f1mon keeps its facts in SQLite, PostgreSQL, MariaDB or MySQL, not in {family}")
    if engine.dialect.driver.removesuffix("_async") not in _driver_names(family):
        raise ConfigurationError(_unknown_driver(family, engine.dialect.driver))
    secrets = [url.password, *(str(value) for name, value in url.query.items() if parameters.SECRET.search(name))]
    return Target(url.set(drivername=url.drivername.replace("mariadb", "mysql", 1)), Secrets(secrets))


def _driver_names(family: str) -> set[str]:
    return {one.partition("+")[2] for one in _DRIVERS[family]}


def _unknown_driver(family: str, driver: str) -> str:
    return f"f1mon reaches {family} through {' or '.join(sorted(_driver_names(family)))}, not {driver}"


def names_async_driver(address: str | URL) -> bool:
    """Whether an address asks for a driver that only event loops can use."""
    name = address.drivername if isinstance(address, URL) else str(address).partition("://")[0]
    return name.endswith(("+aiosqlite", "+asyncmy"))
