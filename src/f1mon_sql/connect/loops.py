"""One async handle in many event loops: an engine for each loop, and what becomes of those of loops that ended.

A driver's connection belongs to the event loop it was made in, and a handle outlives loops: a program calls
`asyncio.run` more than once, or has a loop in each of several threads. So each loop gets an engine with a pool of its
own, whose connections have to be closed where nobody can await that any more: when the loop has ended, or is about to.
Neither SQLAlchemy nor the drivers have a way to do it, so this reaches below both: to libpq's connection in psycopg, to
the thread of aiosqlite, to asyncmy's transport. To refuse such handles would leave the same to every application.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from f1mon_core.errors import ClosedError

_PATIENCE = 1.0
"""Seconds to wait for another event loop to close its connections, before that is left to it."""
_POLL = 0.002


class LoopEngines:
    """The engines of a handle, one for each event loop that has called it."""

    def __init__(self, make: Callable[[], AsyncEngine]) -> None:
        """Begin without any; `make` makes one for the event loop that runs."""
        self._make = make
        self._guard = threading.Lock()
        self._closed = False
        self.by_loop: dict[asyncio.AbstractEventLoop, LoopEngine] = {}

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        """The engine of this event loop, for one call. Raises `ClosedError`."""
        held, ended = self._held(asyncio.get_running_loop())
        try:
            await abandon(*ended)
            yield held.engine
        finally:
            held.calls -= 1
            if held.retired:
                held.retire()

    def _held(self, loop: asyncio.AbstractEventLoop) -> tuple[LoopEngine, list[AsyncEngine]]:
        """The engine of an event loop with one more call, and those of loops that have ended, now nobody's."""
        with self._guard:
            if self._closed:
                raise ClosedError("this store is closed; open it again")
            held = self.by_loop.get(loop)
            ended: list[AsyncEngine] = []
            if held is None:
                ended = [self.by_loop.pop(other).engine for other in list(self.by_loop) if other.is_closed()]
                held = self.by_loop[loop] = LoopEngine(self._make())
            held.calls += 1
            return held, ended

    async def close(self) -> None:
        """Let go of all connections; calls that are under way, here or in another event loop, come to their end."""
        with self._guard:
            self._closed = True
            engines = dict(self.by_loop)
            self.by_loop.clear()
        here = engines.pop(asyncio.get_running_loop(), None)
        if here is not None:
            here.retired = True
            if here.calls == 0:
                await here.engine.dispose()
        await _retire_elsewhere(engines)


@attrs.define(eq=False)
class LoopEngine:
    """The engine of one event loop, used up when it is retired and its last call has ended.

    Attributes:
        engine: The engine.
        calls: How many calls are under way. Only its event loop changes this.
        retired: Whether its connections are to go.
        gone: Whether they are gone.
    """

    engine: AsyncEngine
    calls: int = 0
    retired: bool = False
    gone: bool = False

    def retire(self) -> None:
        """Let go of its connections as soon as no call is under way; inside its event loop, which may end then."""
        self.retired = True
        if self.calls == 0 and not self.gone:
            let_go(self.engine)
            self.gone = True


async def _retire_elsewhere(engines: Mapping[asyncio.AbstractEventLoop, LoopEngine]) -> None:
    """Have the event loops of other threads let go of their connections, and do it for those that have ended."""
    waiting = dict(engines)
    for loop, held in engines.items():
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(held.retire)
    deadline = time.monotonic() + _PATIENCE
    while waiting:
        # A loop that does not run does nothing; one that has heard of it does the rest when its last call has ended.
        ended = [loop for loop in waiting if not loop.is_running()]
        await abandon(*(held.engine for held in map(waiting.pop, ended) if not held.gone))
        waiting = {loop: held for loop, held in waiting.items() if not held.retired}
        if time.monotonic() > deadline:
            return
        if waiting:
            await asyncio.sleep(_POLL)


# The drivers' connections -------------------------------------------------------------------------------------------

connected: WeakKeyDictionary[Engine, dict[int, Any]] = WeakKeyDictionary()
"""The drivers' connections of async engines that f1mon made."""


def track(engine: Engine) -> None:
    """Remember the drivers' connections of an async engine for as long as they are open."""
    connections = connected[engine] = {}

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
    connections = connected.get(engine.sync_engine, {})
    while connections:
        _, adapted = connections.popitem()
        yield adapted.driver_connection


def _cut(driver: Any) -> None:
    # asyncmy closes through its loop's transport, which a closed loop no longer does; so its socket is closed.
    transport: Any = driver._transport  # noqa: SLF001 - there is no public way
    held, transport._sock = getattr(transport, "_sock", None), None  # noqa: SLF001
    if held is not None:
        held.close()
