"""Group commit for event loops: see `grouping`. A task commits a group, so that nobody's cancellation ends it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakKeyDictionary

import attrs

from f1mon_core import forks
from f1mon_core.errors import ClosedError
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.grouping import APART, MOST_FACTS, PATIENCE, Batch, BlockedError, told_again

_POLL = 0.005


@attrs.define(eq=False)
class _Call:
    batch: Batch
    done: asyncio.Future[Appended]


@attrs.define(eq=False)
class _Queue:
    """The calls of one event loop.

    Attributes:
        busy: How many commits are under way.
        waiting: Calls that wait for one of them to end.
        tasks: Those that commit groups.
        late: Takes the lead where what is under way takes long.
    """

    busy: int = 0
    waiting: deque[_Call] = attrs.field(factory=deque)
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    late: asyncio.TimerHandle | None = None


class AsyncGroups:
    """The appends of one handle, by tasks of any event loops."""

    def __init__(
        self,
        alone: Callable[[Batch], Awaitable[Appended]],
        together: Callable[[Sequence[Batch]], Awaitable[Sequence[Appended]]],
    ) -> None:
        """Begin without any call; arguments as of `Groups`."""
        self._alone = alone
        self._together = together
        self._closed = False
        self._start_anew()
        forks.start_anew(self, AsyncGroups._start_anew)

    def _start_anew(self) -> None:
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    async def append(self, batch: Batch) -> Appended:
        """Append a batch; together with others, if some are under way."""
        if self._closed:
            raise ClosedError("this store is closed; open it again")
        if len(batch) > MOST_FACTS:
            return await self._alone(batch)
        loop = asyncio.get_running_loop()
        if (queue := self._queues.get(loop)) is None:
            queue = self._queues[loop] = _Queue()
        if queue.busy:
            call = _Call(batch, loop.create_future())
            queue.waiting.append(call)
            if queue.late is None:
                queue.late = loop.call_later(PATIENCE, self._lead, queue)
            return await call.done
        queue.busy += 1
        try:
            return await self._alone(batch)
        finally:
            queue.busy -= 1
            if queue.waiting and not queue.busy:
                self._lead(queue)

    async def close(self) -> None:
        """Take no more calls, and wait for those of this event loop that wait for each other."""
        self._closed = True
        queue = self._queues.get(asyncio.get_running_loop())
        while queue is not None and (queue.waiting or queue.tasks):  # noqa: ASYNC110 - each group has its own task
            await asyncio.sleep(_POLL)

    def _lead(self, queue: _Queue) -> None:
        """Have a task commit what waits."""
        if queue.late is not None:
            queue.late.cancel()
            queue.late = None
        if queue.waiting:
            queue.busy += 1
            task = asyncio.get_running_loop().create_task(self._committed(queue))
            queue.tasks.add(task)
            task.add_done_callback(queue.tasks.discard)

    async def _committed(self, queue: _Queue) -> None:
        try:
            while group := _taken(queue.waiting):
                if queue.late is not None:
                    queue.late.cancel()
                    queue.late = None
                await self._settled(group)
        finally:
            queue.busy -= 1
            for call in [*queue.waiting] if not queue.busy else ():
                call.done.cancel()  # only where this task was cancelled: the loop ends

    async def _settled(self, group: list[_Call]) -> None:
        try:
            if len(group) == 1 or await self._is_taken_apart(group):
                for one in group:
                    await self._by_itself(one)
        except BlockedError:
            await asyncio.gather(*map(self._by_itself, group))  # none waits for what another one waits for
        finally:
            for one in group:
                one.done.cancel()  # where this task was: a no-op for those that are told

    async def _is_taken_apart(self, group: list[_Call]) -> bool:
        """Whether nothing came of a group, so that its calls are to go one by one."""
        try:
            answers = await self._together([one.batch for one in group])
        except BlockedError:
            raise
        except APART:
            return True
        except Exception as error:  # noqa: BLE001 - each of them raises it
            for one in group:
                _tell(one, told_again(error))
        else:
            for one, answer in zip(group, answers, strict=True):
                _tell(one, answer)
        return False

    async def _by_itself(self, call: _Call) -> None:
        if call.done.cancelled():
            return
        try:
            _tell(call, await self._alone(call.batch))
        except Exception as error:  # noqa: BLE001 - its caller raises it
            _tell(call, error)


def _taken(waiting: deque[_Call]) -> list[_Call]:
    group: list[_Call] = []
    facts = 0
    while waiting and (not group or facts + len(waiting[0].batch) <= MOST_FACTS):
        call = waiting.popleft()
        if not call.done.cancelled():
            group.append(call)
            facts += len(call.batch)
    return group


def _tell(call: _Call, answer: Appended | Exception) -> None:
    if call.done.done():
        return  # cancelled; what was written is written, and to repeat is safe
    if isinstance(answer, Exception):
        call.done.set_exception(answer)
    else:
        call.done.set_result(answer)
