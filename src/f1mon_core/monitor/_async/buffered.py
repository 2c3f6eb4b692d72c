"""The buffered recorder of event loops, written by hand: a task drains it where `_sync/buffered.py` has a thread."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, cast

from f1mon_core import forks
from f1mon_core.errors import StorageError
from f1mon_core.monitor._async.recording import Accepting
from f1mon_core.monitor._sync.buffered import CLOSING_SECONDS
from f1mon_core.recording.buffer import Buffer, BufferOptions, BufferState
from f1mon_core.records.kinds import Fact
from f1mon_core.storage import plans
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.tally import check_flag

_POLL = 0.5


class AsyncBufferedRecorder(Accepting):
    """Records without waiting for the store; made by `AsyncMonitor.buffered`, and an async context manager.

    As `BufferedRecorder`, of one event loop: a task of it stores what waits. `record_…` is awaited, and waits only for
    room. Where the loop ends without `close`, what waits in memory is left in a spill file when the process exits.
    """

    def __init__(self, storage: AsyncStorage, options: BufferOptions, *, install_signal_handler: bool = False) -> None:
        """Begin; the task starts with the first fact. Arguments as of `BufferedRecorder`."""
        handled = check_flag("install_signal_handler", install_signal_handler)
        self._target = storage
        self._buffer = Buffer(options)
        self.storage = cast("AsyncStorage", _Door(self))
        self._start_anew()
        forks.start_anew(self, AsyncBufferedRecorder._forked)
        atexit.register(self._buffer.close)
        if handled:
            self._before: Any = signal.getsignal(signal.SIGTERM)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._ended)

    def _start_anew(self) -> None:
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._flushing = 0

    def _forked(self) -> None:
        self._buffer.forked()
        self._start_anew()

    @property
    def state(self) -> BufferState:
        """Depth, age and losses."""
        return self._buffer.state()

    def __repr__(self) -> str:
        return f"AsyncBufferedRecorder({self._target.address!r}, {self.state})"

    async def accept(self, facts: Iterable[Fact]) -> Appended:
        """Accept facts, waiting for room where that is asked for."""
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="f1mon-buffer")
        for fact in facts:
            while not self._buffer.offer(fact):
                self._room.clear()
                self._wake.set()
                await self._room.wait()
        if self._buffer.is_due:
            self._wake.set()
        return Appended(unmatched=None)

    async def _drain(self) -> None:
        """Store what waits, until the recorder is closed."""
        pause = 0.0
        while not self._buffer.closed:
            await self._woken(self._buffer.options.seconds)
            self._wake.clear()
            await asyncio.sleep(pause)
            try:
                while await plans.run_async(self._buffer.drain(), self._target):
                    self._room.set()
                    if not (self._buffer.is_due or self._flushing):
                        break
                pause = 0.0
            except Exception as error:  # noqa: BLE001 - it is counted and shown, and tried again
                pause = self._buffer.failed(error)
            self._room.set()

    async def _woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as the sync side has it
        """Wait until all that was accepted so far, or left by another before it, is stored or set aside.

        False if it is not after so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._buffer.depth and self._task is None:
            self._task = asyncio.create_task(self._drain(), name="f1mon-buffer")
        self._flushing += 1
        try:
            while self._buffer.has_work(draining=self._task is not None) and not self._buffer.closed:
                left = _POLL if deadline is None else min(_POLL, deadline - time.monotonic())
                if left <= 0:
                    return False
                self._wake.set()
                self._room.clear()
                try:
                    async with asyncio.timeout(left):
                        await self._room.wait()
                except TimeoutError:
                    continue
        finally:
            self._flushing -= 1
        return True

    async def close(self, timeout: float = CLOSING_SECONDS) -> None:  # noqa: ASYNC109 - as the sync side has it
        """Flush, and accept no more; again is a no-op. Raises as `BufferedRecorder.close`."""
        if self._buffer.closed:
            return
        done = await self.flush(timeout)
        left = self._buffer.close()
        atexit.unregister(self._buffer.close)
        self._wake.set()
        self._room.set()
        if self._task is not None and done:
            await self._task
        elif self._task is not None:
            self._task.cancel()
        if not done:
            raise StorageError(
                f"{left} accepted facts are not stored yet ({self.state.error}); they lie in "
                f"{os.fspath(self._buffer.options.directory)}, and the next buffered recorder with it stores them"
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _ended(self) -> None:
        self._ending = asyncio.create_task(self._flush_and_end())

    async def _flush_and_end(self) -> None:
        await self.flush(CLOSING_SECONDS)
        before = self._before
        if callable(before):
            before(signal.SIGTERM, None)
        elif before == signal.SIG_DFL:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


class _Door:
    """What a buffered recorder's plans are run over: all they ask is to append."""

    def __init__(self, recorder: AsyncBufferedRecorder) -> None:
        self.append = recorder.accept
