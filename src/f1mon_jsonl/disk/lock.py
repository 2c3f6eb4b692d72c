"""The writers' lock: `flock` on a file of its own that is never deleted.

The kernel lets go of it when its holder dies, however it dies, so there is nothing to steal and nothing stale. A lock
on the journal itself would be lost with the inode when a compaction replaces it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time

from f1mon_core.errors import CorruptStoreError, LockTimeoutError, NotWritten
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.disk.typed import typed

_SHORTEST, _LONGEST = 0.000_1, 0.005
"""Seconds between two tries for the lock; flock has no timeout of its own."""


class WriteLock:
    """The lock between all writers of one directory: the threads of this handle, then other handles and processes.

    Entering raises `LockTimeoutError` if another writer still holds it after the timeout, and `NotWritten` if this
    thread holds it already or the file cannot be opened or locked.
    """

    def __init__(self, path: str, files: Files, descriptors: set[int], timeout: float) -> None:
        """Name the lock.

        Args:
            path: The lock file; made where it is missing.
            files: The file layer.
            descriptors: Holds the descriptor while it is open, so that a forked child can close its copy.
            timeout: How many seconds to wait for another writer.
        """
        self._path = path
        self._files = files
        self._descriptors = descriptors
        self._timeout = timeout
        self._directory = os.path.dirname(path)
        self._turn = threading.Lock()
        self._holder = 0
        """The thread that holds it, for it must not wait for itself."""
        self._descriptor = -1

    def __enter__(self) -> None:
        if self._holder == threading.get_ident():
            raise NotWritten(
                "this thread is inside a step, which holds the lock; nothing was written: return what is to be stored "
                "in the step's Change, or write when the transition is done"
            )
        deadline = time.monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._timed_out()
        try:
            with typed(NotWritten, f"could not lock {self._directory}"):
                self._take(deadline)
            self._holder = threading.get_ident()
        except BaseException:
            # Also where an interrupt came when it was taken already.
            if self._descriptor in self._descriptors:
                self._closed(self._descriptor)
            self._turn.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._descriptor in self._descriptors:  # not in a child that was forked in here: it has closed its copy
                # Unlocked by name and not only by closing: another child may still hold a copy.
                with contextlib.suppress(OSError):
                    self._files.flock(self._descriptor, fcntl.LOCK_UN)
                self._closed(self._descriptor)
        finally:
            self._holder = 0
            self._turn.release()

    def _take(self, deadline: float) -> None:
        """Lock the file that lies there, with a descriptor that is known before it is locked."""
        while True:
            try:
                self._descriptor = descriptor = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:
                raise CorruptStoreError(
                    f"{self._directory} is gone; bring it back, or open the store again for a new one"
                ) from None
            self._descriptors.add(descriptor)
            self._wait(descriptor, deadline)
            if self._files.fstat(descriptor).st_nlink:
                return
            self._closed(descriptor)  # somebody deleted the file while we waited: lock the one that is there now

    def _wait(self, descriptor: int, deadline: float) -> None:
        pause = _SHORTEST
        while True:
            try:
                self._files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if (left := deadline - time.monotonic()) <= 0:
                    raise self._timed_out() from None
                time.sleep(min(left, pause * (0.5 + random.random())))  # noqa: S311 - spreads the waiters
                pause = min(_LONGEST, pause * 2)
            else:
                return

    def _closed(self, descriptor: int) -> None:
        self._descriptors.discard(descriptor)
        with contextlib.suppress(OSError):  # Linux gives the descriptor back whatever close answers
            self._files.close(descriptor)

    def _timed_out(self) -> LockTimeoutError:
        return LockTimeoutError(
            f"another writer held {self._path} for more than {self._timeout:g} s; nothing was written: try again, or "
            "give a longer lock_timeout"
        )
