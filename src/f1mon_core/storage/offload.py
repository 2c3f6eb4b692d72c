"""Any sync store for an event loop: its verbs run on threads of their own executor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TypeVar

from f1mon_core import forks
from f1mon_core.errors import ClosedError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock
from f1mon_core.storage.async_grouping import AsyncGroups
from f1mon_core.storage.change import Step
from f1mon_core.storage.condition import Damage, damage_of, why_only_read
from f1mon_core.storage.contract import Appended, CheckReport, Pruned, Storage
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery

R = TypeVar("R")

DEFAULT_THREADS = 4


class OffloadedStorage:
    """A sync store as an `AsyncStorage`.

    The executor is its own, never the loop's default one; it is made anew in a forked child and
    belongs to no event loop, so one handle serves several `asyncio.run` and a running loop alike. A call that is
    cancelled may still be carried out; repeating it is safe.
    """

    def __init__(self, storage: Storage, *, threads: int | None = None) -> None:
        """Wrap a store.

        Args:
            storage: The store; closing this handle closes it.
            threads: How many verbs may run at once; the store's own `concurrency`, else `DEFAULT_THREADS`.
        """
        self.storage = storage
        self._threads = threads or getattr(storage, "concurrency", DEFAULT_THREADS)
        self._closed = False
        each: Callable[[Sequence[Sequence[Fact]]], Sequence[Appended]] | None = getattr(storage, "append_each", None)
        self._groups: AsyncGroups | None = None
        if each is not None:
            self._groups = AsyncGroups(self._alone, lambda batches: self._on_thread(partial(each, batches)))
        self._start_anew()
        forks.start_anew(self, OffloadedStorage._start_anew)

    def _start_anew(self) -> None:
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="f1mon")  # starts none before a call
        self._ending: _Ending | None = None

    @classmethod
    async def opened(cls, opener: Callable[[], Storage], *, threads: int | None = None) -> OffloadedStorage:
        """Open a store off the event loop and wrap it."""
        return cls(await _aside(opener), threads=threads)

    @property
    def clock(self) -> Clock:
        """The wrapped store's clock."""
        return self.storage.clock

    @property
    def address(self) -> str:
        """The wrapped store's address."""
        return self.storage.address

    @property
    def damage(self) -> Damage | None:
        """What the wrapped store knows to be damaged in it."""
        return damage_of(self.storage)

    @property
    def read_only(self) -> str | None:
        """Why the wrapped store may only be read; None if it may be written."""
        return why_only_read(self.storage)

    async def _off(self, call: Callable[[], R]) -> R:
        if self._closed:
            raise ClosedError("this store is closed; open it again")
        return await self._on_thread(call)

    async def _on_thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        batch = list(facts)
        return await (
            self._off(partial(self.storage.append, batch)) if self._groups is None else self._groups.append(batch)
        )

    async def _alone(self, batch: Sequence[Fact]) -> Appended:
        return await self._on_thread(partial(self.storage.append, batch))

    async def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return await self._off(partial(self.storage.find, select))

    async def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        return await self._off(partial(self.storage.count, select, by))

    async def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return await self._off(partial(self.storage.tally, query))

    async def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`; `step` runs on a thread."""
        return await self._off(partial(self.storage.transition, key, step, operation_id=operation_id))

    async def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        return await self._off(partial(self.storage.state, prefix, due_before=due_before, limit=limit, after=after))

    async def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        return await self._off(partial(self.storage.prune, before, keep))

    async def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return await self._off(partial(self.storage.dump, after))

    async def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        return await self._off(partial(self.storage.restore, list(records)))

    async def check(self) -> CheckReport:
        """See `Storage.check`."""
        return await self._off(self.storage.check)

    async def close(self) -> None:
        """See `Storage.close`; waits for the verbs under way, also when called again and after a cancelled close."""
        self._closed = True
        if self._groups is not None:
            await self._groups.close()

        def finish() -> None:
            self._executor.shutdown()
            self.storage.close()

        ending = self._ending
        if ending is None or ending.failed:
            ending = self._ending = _Ending(finish)
        await ending.reached()


class _Ending:
    """A call on a thread of its own that goes on whatever becomes of those who wait for it, and that many may await."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._done: Future[None] = Future()
        self._done.set_running_or_notify_cancel()  # from here on nobody's cancellation reaches it
        self._thread = threading.Thread(target=self._run, args=(call,), name="f1mon-close")
        self._thread.start()

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - those who wait raise it
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    @property
    def failed(self) -> bool:
        return self._done.done() and self._done.exception() is not None

    async def reached(self) -> None:
        await asyncio.wrap_future(self._done)
        self._thread.join()  # it has nothing left to do


async def _aside(call: Callable[[], R]) -> R:
    """The answer of a call on a thread of its own."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="f1mon")
    finished = False
    try:
        answer = await asyncio.get_running_loop().run_in_executor(thread, call)
        finished = True
    finally:
        thread.shutdown(wait=finished)  # a cancelled call goes on by itself and must not hold up the loop
    return answer
