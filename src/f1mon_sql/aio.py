"""AsyncSQLStorage: the same operations for event loops, through SQLAlchemy's async engine."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from f1mon_core.errors import ClosedError, ConfigurationError, F1monError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import AsyncClock, Clock, host_clock
from f1mon_core.storage.async_grouping import AsyncGroups
from f1mon_core.storage.change import Step
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_sql.connect.engine import make_async_engine, remake_after_fork
from f1mon_sql.connect.errors import CONNECTING, cause_of, unreachable
from f1mon_sql.connect.loops import LoopEngines
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.statements import letting_go
from f1mon_sql.connect.target import target_of, target_of_engine
from f1mon_sql.schema import versions
from f1mon_sql.verbs.calls import Call, Verbs

R = TypeVar("R")


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
            target = target_of_engine(place.sync_engine)
            remake_after_fork(place.sync_engine)
        else:
            target = target_of(place, asynchronous=True)
        self._verbs = Verbs(target, Settings.of(settings), clock, shared=isinstance(place, AsyncEngine))
        self._engines = LoopEngines(partial(make_async_engine, target, self._verbs.settings))
        self._only: AsyncEngine | None = place if isinstance(place, AsyncEngine) else None
        if self._only is None and target.in_memory:
            self._only = make_async_engine(target, self._verbs.settings)
        self._first_loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._groups = AsyncGroups(self._alone, self._together)

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
        if isinstance(self._given, AsyncEngine) or self._verbs.target.in_memory:
            message = "only a store opened by the address of a file or a server can be pickled"
            raise TypeError(message)
        return (_reopened, (self._given, self._clock, self._options))

    @property
    def clock(self) -> AsyncClock:
        """See `AsyncStorage.clock`. Where none was given and a server has its own, what it answers must be awaited."""
        if self._clock is not None:
            return self._clock
        if self._verbs.dialect.server_clock is None:
            return host_clock
        return lambda: self._call(self._verbs.now())

    @property
    def address(self) -> str:
        """See `AsyncStorage.address`."""
        return self._verbs.target.address

    @property
    def read_only(self) -> str | None:
        """Why nothing may be written to it by this process, as known since it was opened; None if something may."""
        return self._verbs.transactions.read_only

    async def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        batch = list(facts)
        if self._verbs.target.in_memory:
            return await self._alone(batch)
        return await self._groups.append(batch)

    async def _alone(self, batch: Sequence[Fact]) -> Appended:
        return await self._call(self._verbs.append(batch))

    async def _together(self, batches: Sequence[Sequence[Fact]]) -> Sequence[Appended]:
        return await self._call(self._verbs.append_each(batches))

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

    async def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return await self._call(self._verbs.dump(after))

    async def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        return await self._call(self._verbs.restore(records))

    async def check(self) -> CheckReport:
        """See `Storage.check`."""
        return await self._call(self._verbs.check())

    async def close(self) -> None:
        """See `Storage.close`. An application's own engine goes on.

        Calls that are under way, in this event loop or another, end as if the store were open.
        """
        await self._groups.close()
        self._closed = True
        await self._engines.close()
        if self._only is not None and self._only is not self._given:
            await self._only.dispose()
        self._verbs.transactions.close()

    async def _call(self, call: Call[R]) -> R:
        with letting_go():
            return await self._called(call)

    async def _called(self, call: Call[R]) -> R:
        if self._only is not None:
            if self._closed:
                raise ClosedError("this store is closed; open it again")
            calling = self._on(self._shared(self._only, asyncio.get_running_loop()), call)
            return await (_to_its_end(calling) if self._verbs.target.in_memory else calling)
        async with self._engines.engine() as engine:
            return await self._on(engine, call)

    async def _on(self, engine: AsyncEngine, call: Call[R]) -> R:
        try:
            connection = await engine.connect()
        except F1monError:
            raise
        except CONNECTING as error:
            raise unreachable(error, self._verbs.target.secrets) from cause_of(error, self._verbs.target.secrets)
        try:
            return await connection.run_sync(self._verbs.run, call)
        finally:
            await connection.close()

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
