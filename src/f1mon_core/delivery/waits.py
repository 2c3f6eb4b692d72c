"""How long a caller waits, and until when: checked before anything is sent."""

from __future__ import annotations

import threading
from typing import Any

from f1mon_core.errors import InvalidQueryError, shown


def check_seconds(name: str, value: Any) -> None:
    """Refuse anything but a number of seconds that somebody can wait. Raises `InvalidQueryError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= threading.TIMEOUT_MAX:
        raise InvalidQueryError(f"{name} must be a number of seconds, 0 or more, got {shown(value)}")


def check_stop(stop: Any, example: str) -> None:
    """Refuse what nobody could set to end a worker. Raises `InvalidQueryError`."""
    if isinstance(stop, type) or not all(callable(getattr(stop, name, None)) for name in ("is_set", "wait")):
        raise InvalidQueryError(f"stop must be an event that somebody sets, as {example} is, got {shown(stop)}")
