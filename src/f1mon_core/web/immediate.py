"""The screens over a monitor without a loop, for a report that is made in a script or a notebook.

What a screen awaits is then always there at once, so that its coroutine runs from its beginning to its end in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from f1mon_core.monitor import AsyncMonitor, Monitor

R = TypeVar("R")


class _Immediate:
    """A monitor whose answers are there when they are awaited."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._monitor, name)
        if not callable(found):
            return found
        verb: Callable[..., Any] = found

        async def answered(*given: Any, **named: Any) -> Any:
            return verb(*given, **named)

        return answered


def immediate(monitor: Monitor) -> AsyncMonitor:
    """A monitor as the screens ask it."""
    return cast("AsyncMonitor", _Immediate(monitor))


def done(coroutine: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("R", end.value)
    coroutine.close()
    raise AssertionError  # a screen waits for nothing but the monitor
