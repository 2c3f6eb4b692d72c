"""A recorder that does not wait for the store: a queue, and a thread that drains it."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self, cast

from f1mon_core import forks
from f1mon_core.errors import StorageError
from f1mon_core.monitor._sync.recording import Accepting
from f1mon_core.recording.buffer import Buffer, BufferOptions, BufferState
from f1mon_core.records.kinds import Fact
from f1mon_core.storage import plans
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.tally import check_flag

CLOSING_SECONDS = 30.0


class BufferedRecorder(Accepting):
    """Records without waiting for the store; made by `Monitor.buffered`, and a context manager.

    A fact is checked, copied and given the host's time where it is recorded; it is stored by a thread, with others,
    soon after. So what `record_…` answers says what was accepted at the door (`nulled`, `skipped`), and counts
    nothing as new or repeated. What the store refuses goes to `set-aside.jsonl` in the directory and is counted.
    A forked child begins with an empty queue.
    """

    def __init__(self, storage: Storage, options: BufferOptions, *, install_signal_handler: bool = False) -> None:
        """Begin; the thread starts with the first fact.

        Args:
            storage: Where the facts go. It is not closed with the recorder.
            options: How it behaves.
            install_signal_handler: Flush at SIGTERM, and then do what was done at it before; on the main thread only.
        """
        handled = check_flag("install_signal_handler", install_signal_handler)
        self._target = storage
        self._buffer = Buffer(options)
        self.storage = cast("Storage", _Door(self))
        self._start_anew()
        forks.start_anew(self, BufferedRecorder._forked)
        atexit.register(self.close)
        if handled:
            self._before = signal.signal(signal.SIGTERM, self._ended)

    def _start_anew(self) -> None:
        self._changed = threading.Condition(self._buffer.guard)
        self._thread: threading.Thread | None = None
        self._flushing = 0
        self._wake = False

    def _forked(self) -> None:
        self._buffer.forked()
        self._start_anew()

    @property
    def state(self) -> BufferState:
        """Depth, age and losses."""
        return self._buffer.state()

    def __repr__(self) -> str:
        return f"BufferedRecorder({self._target.address!r}, {self.state})"

    def accept(self, facts: Iterable[Fact]) -> Appended:
        """Accept facts, waiting for room where that is asked for."""
        if self._thread is None:
            self._start()
        for fact in facts:
            while not self._buffer.offer(fact):
                with self._changed:
                    self._wake = True
                    self._changed.notify_all()
                    if not self._buffer.closed and self._buffer.is_full:
                        self._changed.wait(0.5)
        if self._buffer.is_due and not self._wake:
            with self._changed:
                self._wake = True
                self._changed.notify_all()
        return Appended(unmatched=None)

    def _start(self) -> None:
        with self._changed:
            if self._thread is None and not self._buffer.closed:
                self._thread = threading.Thread(target=self._drain, name="f1mon-buffer", daemon=True)
                self._thread.start()

    def _drain(self) -> None:
        """Store what waits, until the recorder is closed."""
        pause = 0.0
        while True:
            with self._changed:
                if pause or not (self._wake or self._buffer.closed):
                    self._changed.wait(pause or self._buffer.options.seconds)
                self._wake = False
                if self._buffer.closed:
                    return
            try:
                while plans.run(self._buffer.drain(), self._target):
                    with self._changed:
                        self._changed.notify_all()
                        if not (self._buffer.is_due or self._flushing):
                            break
                pause = 0.0
            except Exception as error:  # noqa: BLE001 - it is counted and shown, and tried again
                pause = self._buffer.failed(error)
            with self._changed:
                self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was accepted so far, or left by another before it, is stored or set aside.

        False if it is not after so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._buffer.depth:
            self._start()
        with self._changed:
            self._flushing += 1
            try:
                while self._buffer.has_work(draining=self._thread is not None) and not self._buffer.closed:
                    left = 0.5 if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        return False
                    self._wake = True
                    self._changed.notify_all()
                    self._changed.wait(min(left, 0.5))
            finally:
                self._flushing -= 1
            return True

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """Flush, and accept no more; again is a no-op.

        Raises:
            StorageError: If the store did not take all of it in so many seconds. The rest is in a spill file of the
                directory, and the next recorder with this directory stores it.
        """
        if self._buffer.closed:
            return
        atexit.unregister(self.close)
        done = self.flush(timeout)
        left = self._buffer.close()
        with self._changed:
            self._changed.notify_all()
        if not done:
            state = self.state
            raise StorageError(
                f"{left} accepted facts are not stored yet ({state.error}); they lie in "
                f"{os.fspath(self._buffer.options.directory)}, and the next buffered recorder with it stores them"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ended(self, number: int, frame: FrameType | None) -> None:
        self.flush(CLOSING_SECONDS)
        before: Any = self._before
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _Door:
    """What a buffered recorder's plans are run over: all they ask is to append."""

    def __init__(self, recorder: BufferedRecorder) -> None:
        self.append = recorder.accept
