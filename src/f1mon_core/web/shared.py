"""One answer for all who ask the same at once: a page costs the store once, however many look at it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

FRESH_SECONDS = 2.0
"""How old an answer may be; the page says when it was made."""
_MOST = 64
_Kept: TypeAlias = OrderedDict[Hashable, tuple[float, asyncio.Task[Any]]]


class Answers:
    """Answers by question, each kept for a moment. They are of one event loop, and forgotten in another."""

    def __init__(self, fresh: float = FRESH_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._fresh, self._clock = fresh, clock
        self._kept: WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = WeakKeyDictionary()

    async def of(self, question: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer: one that is fresh or on its way, else a new one. What failed is asked again."""
        here = self._kept.setdefault(asyncio.get_running_loop(), OrderedDict())
        kept = here.get(question)
        if kept is None or self._is_stale(*kept):
            kept = here[question] = (self._clock(), asyncio.ensure_future(_asked(ask)))
            here.move_to_end(question)
            while len(here) > _MOST:
                here.popitem(last=False)
        return await asyncio.shield(kept[1])  # who goes away leaves the answer to the others

    def _is_stale(self, at: float, task: asyncio.Task[Any]) -> bool:
        return task.done() and (task.cancelled() or task.exception() is not None or self._clock() - at > self._fresh)

    def forget(self) -> None:
        """Ask anew, because something was changed."""
        self._kept.clear()


async def _asked(ask: Callable[[], Awaitable[Any]]) -> Any:
    return await ask()
