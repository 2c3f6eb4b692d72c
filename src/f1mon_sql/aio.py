"""AsyncSQLStorage: the same operations for event loops, through SQLAlchemy's async engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import attrs
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from f1mon_core.errors import ClosedError, ConfigurationError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import AsyncClock, Clock, host_clock
from f1mon_core.storage.change import Step
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_sql.connect.engine import (
    Settings,
    abandon,
    let_go,
    make_async_engine,
    place_of,
    place_of_engine,
    remake_after_fork,
)
from f1mon_sql.connect.errors import cause_of, translated
from f1mon_sql.schema import versions
from f1mon_sql.verbs.calls import Call, Verbs

R = TypeVar("R")


_CLOSED = "this store is closed; open it again"
_PATIENCE = 1.0
"""Seconds to wait for another event loop to close its connections, before that is left to it."""
_POLL = 0.002


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


class AsyncSQLStorage:
    """A database as an `AsyncStorage`: aiosqlite, psycopg or asyncmy. Opened by `await AsyncSQLStorage.open(…)`.

    One handle serves several event loops: each has a pool of its own, and that of a loop that has ended is dropped.
    An application's own `AsyncEngine` is used as it is, so its loops are its own affair.
    """

    def __init__(self, place: str | URL | AsyncEngine, *, clock: Clock | None = None, **settings: Any) -> None:
        """Make a handle without looking at the database; arguments as of `SQLStorage`."""
        self._given = place
        self._options = settings
        self._clock = clock
        if isinstance(place, AsyncEngine):
            where = place_of_engine(place.sync_engine)
            remake_after_fork(place.sync_engine)
        else:
            where = place_of(place, asynchronous=True)
        self._verbs = Verbs(where, Settings.of(settings), clock, shared=isinstance(place, AsyncEngine))
        self._guard = threading.Lock()
        self._engines: dict[asyncio.AbstractEventLoop, LoopEngine] = {}
        self._only: AsyncEngine | None = place if isinstance(place, AsyncEngine) else None
        if self._only is None and where.in_memory:
            self._only = make_async_engine(where, self._verbs.settings)
        self._first_loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @classmethod
    async def open(
        cls, place: str | URL | AsyncEngine, *, clock: Clock | None = None, **settings: Any
    ) -> AsyncSQLStorage:
        """Open a database, and create f1mon's tables where there are none; as `SQLStorage`."""
        opened = cls(place, clock=clock, **settings)
        try:
            creation = opened._verbs.created(await opened._call(opened._verbs.revision()))
            if creation is not None:
                await asyncio.to_thread(versions.load_alembic)
                await opened._call(creation)
        except BaseException:
            await opened.close()
            raise
        return opened

    def __repr__(self) -> str:
        return f"AsyncSQLStorage({self.address!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._given, AsyncEngine) or self._verbs.place.in_memory:
            message = "only a store opened by the address of a file or a server can be pickled"
            raise TypeError(message)
        return (_reopened, (self._given, self._clock, self._options))

    @property
    def clock(self) -> AsyncClock:
        """See `AsyncStorage.clock`. Where none was given and a server has its own, what it answers must be awaited."""
        if self._clock is not None:
            return self._clock
        if self._verbs.transactions.dialect.server_clock is None:
            return host_clock
        return lambda: self._call(self._verbs.now())

    @property
    def address(self) -> str:
        """See `AsyncStorage.address`."""
        return self._verbs.place.address

    async def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        return await self._call(self._verbs.append(facts))

    async def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return await self._call(self._verbs.find(select))

    async def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        return await self._call(self._verbs.count(select, by))

    async def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return await self._call(self._verbs.tally(query))

    async def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`; `step` runs on the event loop."""
        if (forgetting := self._verbs.forget()) is not None:
            await self._call(forgetting)
        return await self._call(self._verbs.transition(key, step, operation_id))

    async def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        return await self._call(self._verbs.state(prefix, due_before, limit, after))

    async def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        return await self._call(self._verbs.prune(before, keep))

    async def check(self) -> CheckReport:
        """See `Storage.check`."""
        return await self._call(self._verbs.check())

    async def close(self) -> None:
        """See `Storage.close`. An application's own engine goes on.

        Calls that are under way, in this event loop or another, end as if the store were open.
        """
        with self._guard:
            self._closed = True
            engines = dict(self._engines)
            self._engines.clear()
        here = engines.pop(asyncio.get_running_loop(), None)
        if here is not None:
            here.retired = True
            if here.calls == 0:
                await here.engine.dispose()
        await _retire_elsewhere(engines)
        if self._only is not None and self._only is not self._given:
            await self._only.dispose()
        self._verbs.transactions.close()

    async def _call(self, call: Call[R]) -> R:
        if self._only is not None:
            if self._closed:
                raise ClosedError(_CLOSED)
            calling = self._on(self._shared(self._only, asyncio.get_running_loop()), call)
            return await (_to_its_end(calling) if self._verbs.place.in_memory else calling)
        held, ended = self._held(asyncio.get_running_loop())
        try:
            await abandon(*ended)
            return await self._on(held.engine, call)
        finally:
            held.calls -= 1
            if held.retired:
                held.retire()

    async def _on(self, engine: AsyncEngine, call: Call[R]) -> R:
        try:
            connection = await engine.connect()
        except SQLAlchemyError as error:
            raise translated(error, self._verbs.place.secrets, committing=False) from cause_of(error)
        try:
            return await connection.run_sync(self._verbs.run, call)
        finally:
            await connection.close()

    def _held(self, loop: asyncio.AbstractEventLoop) -> tuple[LoopEngine, list[AsyncEngine]]:
        """The engine of an event loop with one more call, and those of loops that have ended, now nobody's."""
        with self._guard:
            if self._closed:
                raise ClosedError(_CLOSED)
            held = self._engines.get(loop)
            ended: list[AsyncEngine] = []
            if held is None:
                ended = [self._engines.pop(other).engine for other in list(self._engines) if other.is_closed()]
                made = make_async_engine(self._verbs.place, self._verbs.settings)
                held = self._engines[loop] = LoopEngine(made)
            held.calls += 1
            return held, ended

    def _shared(self, engine: AsyncEngine, loop: asyncio.AbstractEventLoop) -> AsyncEngine:
        first = self._first_loop = self._first_loop or loop
        if first is not loop and engine.dialect.driver == "asyncmy":
            raise ConfigurationError(
                "asyncmy's connections belong to the event loop they were made in: give each loop its own AsyncEngine,"
                " or open the store by its address"
            )
        return engine


async def _to_its_end(calling: Coroutine[Any, Any, R]) -> R:
    """Await a call on a database in memory, which ends with its one connection if that is cancelled in a statement.

    Whoever cancels it, once or more, waits for the call's end too.
    """
    task = asyncio.ensure_future(calling)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # nobody waits for it any more
    raise cancelled


def _reopened(place: str | URL, clock: Clock | None, settings: Mapping[str, Any]) -> AsyncSQLStorage:
    return AsyncSQLStorage(place, clock=clock, **settings)
