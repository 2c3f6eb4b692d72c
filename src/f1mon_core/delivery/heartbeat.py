"""The address that is called after each whole round, for a service that misses the call."""

from __future__ import annotations

import logging
import os
import time
from urllib.parse import urlsplit

from f1mon_core.errors import ConfigurationError, shown
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan

AFTER_EVALUATING, AFTER_DELIVERING = "F1MON_PING", "F1MON_DELIVER_PING"
"""Two addresses: a worker that goes on must not hide that nobody evaluates any more."""
LEAST_SECONDS = 60.0
"""A watching worker calls no more often."""
TRIES = 3
TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.5

_log = logging.getLogger("f1mon.heartbeat")


def named(address: str | None, variable: str) -> str | None:
    """The address to call: what was given, or that of a variable; "" for none. Raises `ConfigurationError`."""
    found = os.environ.get(variable) if address is None else address
    if found is not None and not isinstance(found, str):
        raise ConfigurationError(f"the address to call after a round (ping) must be a str, got {shown(found)}")
    return checked(found) if found else None


def beat(address: str, said: str) -> Plan[None]:
    """`call` beside an event loop."""
    yield from plans.outside(lambda: call(address, said))


def call(address: str, said: str) -> None:
    """Call an address; that it could not be reached is logged, and is no failure of what it was about."""
    if (reason := ping(address, said)) is not None:
        _log.warning("the address to call after a round could not be reached: %s", reason)


def checked(address: str) -> str:
    """An address that can be called. Raises `ConfigurationError`, without repeating it: it is often the only secret."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not address.isascii() or any(character <= " " for character in address):
        raise ConfigurationError("the address to call after a round (ping, F1MON_PING) must be http://… or https://…")
    return address


def ping(address: str, said: str) -> str | None:
    """Call it with POST, and GET where that is not allowed; why it could not be reached, None if it was."""
    import urllib.error  # noqa: PLC0415 - with HTTP and TLS, only for who has an address
    import urllib.request  # noqa: PLC0415

    failure = "not reached"
    body: bytes | None = said.encode()
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS * attempt)
        asked = urllib.request.Request(address, body, {"User-Agent": "f1mon"})  # noqa: S310 - the scheme is checked
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT_SECONDS):  # noqa: S310 - as above
                return None
        except urllib.error.HTTPError as error:
            failure = f"HTTP {error.code}"
            if error.code in (404, 405, 501):
                body = None
        except OSError as error:
            reason = getattr(error, "reason", error)
            failure = type(reason).__name__ if isinstance(reason, Exception) else str(reason)
        except Exception as error:  # noqa: BLE001 - an answer that is no HTTP ends no evaluation
            failure = type(error).__name__
    return failure
