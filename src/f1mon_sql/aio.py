"""AsyncSQLStorage: the same operations for event loops, through SQLAlchemy's async engine."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from f1mon_core.errors import ClosedError, ConfigurationError
from f1mon_core.records import Fact
from f1mon_core.storage import Appended, CheckReport, Pruned, Scalar, Select, Step
from f1mon_core.tally import Tally, TallyQuery
from f1mon_core.times import Clock, host_clock
from f1mon_core.validation import Document, Json
from f1mon_sql import _schema
from f1mon_sql._engine import (
    Settings,
    abandon,
    make_async_engine,
    place_of,
    place_of_engine,
    remake_after_fork,
)
from f1mon_sql._errors import cause_of, translated
from f1mon_sql._verbs import Call, Verbs

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
            where = place_of_engine(place.sync_engine)
            remake_after_fork(place.sync_engine)
        else:
            where = place_of(place, asynchronous=True)
        self._verbs = Verbs(where, Settings.of(settings), clock, shared=isinstance(place, AsyncEngine))
        self._engines: dict[asyncio.AbstractEventLoop, AsyncEngine] = {}
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
                await asyncio.to_thread(_schema.load_alembic)
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
    def clock(self) -> Clock:
        """See `AsyncStorage.clock`. Where none was given and a server has its own, what it answers must be awaited."""
        if self._clock is not None:
            return self._clock
        if self._verbs.transactions.dialect.server_clock is None:
            return host_clock
        return cast("Clock", lambda: self._call(self._verbs.now()))

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
        """See `Storage.close`. An application's own engine goes on."""
        self._closed = True
        here = self._engines.pop(asyncio.get_running_loop(), None)
        elsewhere = list(self._engines.values())
        self._engines.clear()
        if here is not None:
            await here.dispose()
        await abandon(*elsewhere)
        if self._only is not None and self._only is not self._given:
            await self._only.dispose()

    async def _call(self, call: Call[R]) -> R:
        if self._closed:
            raise ClosedError("this store is closed; open it again")
        try:
            connection = await (await self._engine()).connect()
        except SQLAlchemyError as error:
            raise translated(error, self._verbs.place.secrets, committing=False) from cause_of(error)
        try:
            return await connection.run_sync(self._verbs.run, call)
        finally:
            await connection.close()

    async def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        if self._only is not None:
            return self._shared(self._only, loop)
        engine = self._engines.get(loop)
        if engine is None:
            closed = [self._engines.pop(other, None) for other in list(self._engines) if other.is_closed()]
            engine = self._engines[loop] = make_async_engine(self._verbs.place, self._verbs.settings)
            await abandon(*filter(None, closed))
        return engine

    def _shared(self, engine: AsyncEngine, loop: asyncio.AbstractEventLoop) -> AsyncEngine:
        first = self._first_loop = self._first_loop or loop
        if first is not loop and engine.dialect.driver == "asyncmy":
            raise ConfigurationError(
                "asyncmy's connections belong to the event loop they were made in: give each loop its own AsyncEngine,"
                " or open the store by its address"
            )
        return engine


def _reopened(place: str | URL, clock: Clock | None, settings: Mapping[str, Any]) -> AsyncSQLStorage:
    return AsyncSQLStorage(place, clock=clock, **settings)
