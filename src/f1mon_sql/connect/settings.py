"""How an engine that f1mon makes is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from f1mon_core.errors import ConfigurationError, shown
from f1mon_core.text import closest, is_one_of


@attrs.frozen(kw_only=True)
class Settings:
    """What an owner may set.

    Attributes:
        pool_size, max_overflow: Connections kept, and how many more for a rush.
        pool_timeout: Seconds to wait for one of them.
        connect_timeout: Seconds to wait for a server until a connection to it is set up; in whole ones, and on
            PostgreSQL at least 2 for each of several hosts. `connect_timeout` of an address goes before it.
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
    connect_timeout: float = 10.0
    echo: bool = False
    lock_timeout: float = 30.0
    statement_timeout: float | None = None
    idle_timeout: float = 60.0
    synchronous: str = "FULL"
    take_turns: bool = True

    def __attrs_post_init__(self) -> None:
        for name in ("pool_size", "max_overflow"):
            least = 1 if name == "pool_size" else 0
            if type(getattr(self, name)) is not int or not least <= getattr(self, name) < 10**6:
                raise ConfigurationError(f"{name} must be a whole number, got {shown(getattr(self, name))}")
        for name in ("pool_timeout", "connect_timeout", "lock_timeout", "statement_timeout", "idle_timeout"):
            value = getattr(self, name)
            if value is None and name == "statement_timeout":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**6:
                raise ConfigurationError(f"{name} must be a number of seconds above 0, got {shown(value)}")
        for name in ("echo", "take_turns"):
            if type(getattr(self, name)) is not bool:
                raise ConfigurationError(f"{name} must be True or False, got {shown(getattr(self, name))}")
        if not is_one_of(self.synchronous, ("FULL", "EXTRA", "NORMAL")):
            raise ConfigurationError(f"synchronous must be FULL, EXTRA or NORMAL, got {shown(self.synchronous)}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from options by name. Raises `ConfigurationError` for an unknown name, naming those there are."""
        known = attrs.fields_dict(cls)
        if unknown := sorted(set(options) - set(known)):
            hint = closest(unknown[0], known)
            raise ConfigurationError(
                f"backend 'sql' has no option {', '.join(unknown)}{hint}; it takes url, clock,"
                f" {', '.join(sorted(known))}"
            )
        return cls(**options)


@attrs.frozen
class Session:
    """What an address says of its sessions.

    Attributes:
        settings: PostgreSQL's settings by name (`options=-cname=value`).
        pooled: Whether it says that a pooler hands out the server's sessions by the transaction.
    """

    settings: Mapping[str, str] = attrs.field(factory=dict)
    pooled: bool = False


def milliseconds(seconds: float | None) -> int:
    """Whole milliseconds, at least 1; 0 for None."""
    return 0 if seconds is None else max(1, round(seconds * 1000))
