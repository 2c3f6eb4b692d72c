"""Which store the environment names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from f1mon_core.errors import ConfigurationError
from f1mon_core.storage.address import masked, scheme_of

_log = logging.getLogger("f1mon.backends")

DEFAULT_BACKEND = "jsonl"

DATABASE_BACKEND = "sql"
"""The backend of the database that `MONITORING_DB_*` names."""

DEFAULT_DIRECTORY = "data/monitoring"

DEFAULT_SQLITE_PATH = "data/monitoring/monitoring.db"


def from_environment(
    environ: Mapping[str, str], directory: str = DEFAULT_DIRECTORY
) -> tuple[str | None, dict[str, Any]]:
    """The backend name (None where the address says it) and options that environment variables name, or the default.

    `F1MON_BACKEND` and `F1MON_URL` win over the `MONITORING_DB_*` family, with a warning where the two differ.

    Args:
        environ: The environment.
        directory: Where the file backend lives if no variable says so.
    """
    own = _from_f1mon(environ, directory)
    old = from_monitoring_db(environ, directory)
    if own is None:
        return old or (DEFAULT_BACKEND, {"path": directory})
    if old is not None and own == (DATABASE_BACKEND, {}) and old[0] == DATABASE_BACKEND:
        return old
    if old is not None and _place(own) != _place(old):
        _log.warning("F1MON_BACKEND/F1MON_URL and MONITORING_DB_* name different stores; F1MON_* wins")
    return own


def _place(named: tuple[str | None, Mapping[str, Any]]) -> tuple[Any, ...]:
    """What two settings have in common if they name one store, however each spells it and whoever logs in."""
    name, options = named
    if (url := options.get("url")) is None:
        return (name, os.path.abspath(options.get("path", "")))  # noqa: PTH100 - only to compare, also what is no path
    scheme, rest = scheme_of(url), url.partition("://")[2]
    if scheme == DEFAULT_BACKEND:
        return (scheme, os.path.abspath(unquote(rest)))  # noqa: PTH100
    if scheme == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        return (scheme, os.path.abspath(unquote(path)))  # noqa: PTH100
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    try:
        parts = urlsplit(f"//{rest}")
        return (scheme, parts.hostname, parts.port or _PORTS.get(scheme), unquote(parts.path))
    except ValueError:
        return (scheme, url)  # no address at all, which whoever opens it says


_PORTS = {"postgresql": 5432}


def database_enabled(environ: Mapping[str, str]) -> bool:
    """Whether `MONITORING_DB_ENABLED` asks for a database; unset means no, as it always did."""
    return _boolean("MONITORING_DB_ENABLED", environ.get("MONITORING_DB_ENABLED") or "false")


def _from_f1mon(environ: Mapping[str, str], directory: str) -> tuple[str | None, dict[str, Any]] | None:
    name, url = environ.get("F1MON_BACKEND"), environ.get("F1MON_URL")
    if not name and not url:
        return None
    if url:
        return name or None, {"url": url}
    return name, ({"path": directory} if name == DEFAULT_BACKEND else {})


def from_monitoring_db(environ: Mapping[str, str], directory: str) -> tuple[str | None, dict[str, Any]] | None:
    """The backend and options that the `MONITORING_DB_*` family names; None where it is not set."""
    family = {name: value for name, value in environ.items() if name.startswith("MONITORING_DB_") and value}
    if not family:
        return None
    if not database_enabled(family):
        return DEFAULT_BACKEND, {"path": directory}
    options: dict[str, Any] = {"url": _database_url(family)}
    for variable, option in (("POOL_SIZE", "pool_size"), ("MAX_OVERFLOW", "max_overflow")):
        if (value := family.get(f"MONITORING_DB_{variable}")) is not None:
            options[option] = _integer(f"MONITORING_DB_{variable}", value)
    if (echo := family.get("MONITORING_DB_ECHO")) is not None:
        options["echo"] = _boolean("MONITORING_DB_ECHO", echo)
    return "sql", options


def _database_url(family: Mapping[str, str]) -> str:
    kind = family.get("MONITORING_DB_TYPE", "sqlite").lower()
    if kind == "sqlite":
        path = family.get("MONITORING_DB_PATH", DEFAULT_SQLITE_PATH)
        return "sqlite:///" + re.sub("[%?#]", lambda special: quote(special[0]), path)
    if kind != "postgresql":
        raise ConfigurationError(
            f"MONITORING_DB_TYPE must be sqlite or postgresql, got {kind if kind.isalnum() else '***'!r}"
        )
    host = family.get("MONITORING_DB_HOST", "localhost")
    if re.search(r"[/?#@%\s]", host):
        # It is not repeated: an address in here may hold a password.
        raise ConfigurationError(
            "MONITORING_DB_HOST must be a host's name or address alone; for a socket or anything else set F1MON_URL"
        )
    port = _integer("MONITORING_DB_PORT", family.get("MONITORING_DB_PORT", "5432"))
    account = quote(family.get("MONITORING_DB_USER", "postgres"), safe="")
    if (password := family.get("MONITORING_DB_PASSWORD")) is not None:
        account += ":" + quote(password, safe="")
    location = f"[{host}]" if ":" in host else host
    name = quote(family.get("MONITORING_DB_NAME", "f1_predict_monitoring"), safe="")
    return f"postgresql://{account}@{location}:{port}/{name}"


def _boolean(name: str, value: str) -> bool:
    if (lowered := value.strip().lower()) in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ConfigurationError(f"{name} must be true or false, got {masked(value)!r}")


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigurationError(f"{name} must be a whole number, got {masked(value)!r}") from None
