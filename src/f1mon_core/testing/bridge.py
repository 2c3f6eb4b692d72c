"""An async store under the sync laws: each verb is run to its end on the bridge's own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from f1mon_core import forks
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.change import Step
from f1mon_core.storage.contract import Appended, CheckReport, Pruned, Storage
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery

R = TypeVar("R")

PATIENCE = 120.0
"""Seconds after which whoever has not come home, a process or a verb, counts as deadlocked."""

Call = Callable[[Any], Any]
"""A function of a store, sync or async: `lambda store: store.append(facts)`."""


class BridgedStorage:
    """An `AsyncStorage` as a `Storage`, over one `asyncio.Runner`; the kit's, not for applications."""

    def __init__(self, opening: Callable[[], Awaitable[AsyncStorage]]) -> None:
        self._runner = asyncio.Runner()
        self._turn = threading.Lock()
        forks.start_anew(self, BridgedStorage.start_anew)
        try:
            self.inner = self.run(opening())
        except BaseException:
            self._runner.close()
            raise

    @property
    def clock(self) -> Clock:
        """The inner store's clock, waited for where it has to be."""
        return self._now

    @property
    def address(self) -> str:
        """The inner store's address."""
        return self.inner.address

    def _now(self) -> datetime:
        now = self.inner.clock()
        return now if isinstance(now, datetime) else self.run(now)

    def run(self, awaitable: Awaitable[R]) -> R:
        """Run an awaitable to its end on the bridge's loop; an `AssertionError` if it has none within `PATIENCE`."""
        with self._turn:
            return self._runner.run(_in_time(awaitable))

    def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        return self.run(self.inner.append(facts))

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return self.run(self.inner.find(select))

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        return self.run(self.inner.count(select, by))

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return self.run(self.inner.tally(query))

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        return self.run(self.inner.transition(key, step, operation_id=operation_id))

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        return self.run(self.inner.state(prefix, due_before=due_before, limit=limit, after=after))

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        return self.run(self.inner.prune(before, keep))

    def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return self.run(self.inner.dump(after))

    def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        return self.run(self.inner.restore(records))

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        return self.run(self.inner.check())

    def close(self) -> None:
        """See `Storage.close`."""
        self.run(self.inner.close())

    def release(self) -> None:
        """Close the store and the loop; the bridge is of no use afterwards."""
        try:
            self.close()
        finally:
            self._runner.close()

    def start_anew(self) -> None:
        """Run on a loop of this process from now on."""
        # A loop shares its selector with the parent it was forked from. Were it collected here, and thereby closed, the
        # parent's loop would never wake again: so this process keeps it, and the store that waits on it, to its end.
        _inherited.append((self, self._runner))
        self._runner, self._turn = asyncio.Runner(), threading.Lock()


_inherited: list[Any] = []


def together(store: Storage, calls: Sequence[Call]) -> list[Any]:
    """Make several calls of one handle at once, on threads or as tasks; each one's answer or its exception."""
    if isinstance(store, BridgedStorage):
        inner = store.inner

        async def gathered() -> list[Any]:
            return await asyncio.gather(*(_awaited(call(inner)) for call in calls), return_exceptions=True)

        return store.run(gathered())
    with ThreadPoolExecutor(len(calls)) as threads:
        answers = [threads.submit(call, store) for call in calls]
        return [answer.exception() or answer.result() for answer in answers]


async def _awaited(awaitable: Awaitable[R]) -> R:
    return await awaitable


async def _in_time(awaitable: Awaitable[R]) -> R:
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            return await awaitable
    except TimeoutError as error:
        if patience.expired():
            raise AssertionError(f"the store did not answer within {PATIENCE:g} s") from error
        raise
