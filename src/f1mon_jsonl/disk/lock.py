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
from f1mon_jsonl.disk.files import Files, shut
from f1mon_jsonl.disk.typed import typed

_SHORTEST, _LONGEST = 0.000_1, 0.005
"""Seconds between two tries for the lock; flock has no timeout of its own."""


class WriteLock:
    """The lock between all writers of one directory: the threads of this handle, then other handles and processes.

    No context by itself: an interrupt may come at the beginning of its end. Whoever takes it lets go of it twice then.
    """

    def __init__(self, path: str, files: Files, descriptors: dict[int, object], timeout: float) -> None:
        """Name the lock.

        Args:
            path: The lock file; made where it is missing.
            files: The file layer.
            descriptors: Has the descriptor and whose it is while it is open, so that a forked child can close its copy.
            timeout: How many seconds to wait for another writer.
        """
        self._path = path
        self._files = files
        self._descriptors = descriptors
        self._timeout = timeout
        self._directory = os.path.dirname(path)
        self._turn = threading.RLock()
        """No thread has it twice; but only its owner can release it, so that to do so once too often is harmless."""
        self._holder: tuple[int, object] | None = None
        """The thread that holds it, for it must not wait for itself, and the verb."""
        self._descriptor = -1

    def take(self, verb: object) -> None:
        """Take it for a verb, which lets go of it in any case.

        Raises:
            LockTimeoutError: If another writer still holds it after the timeout.
            NotWritten: If this thread holds it already, or the file cannot be opened or locked.
        """
        holder, thread = self._holder, threading.get_ident()
        if holder is not None and holder[0] == thread:
            raise NotWritten(
                "this thread is inside a step, which holds the lock; nothing was written: return what is to be stored "
                "in the step's Change, or write when the transition is done"
            )
        deadline = time.monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._timed_out()
        self._holder = (thread, verb)
        with typed(NotWritten, f"could not lock {self._directory}"):
            self._take(deadline, verb)

    def let_go(self, verb: object) -> None:
        """Let go of what a verb took of it, if anything; to be repeated where an interrupt comes meanwhile."""
        holder = self._holder
        if holder is not None and holder[1] is not verb:
            return  # another's, perhaps of the very thread whose step asked
        if self._descriptors.get(self._descriptor) is verb:  # not in a child forked in here: it has closed its copy
            # Unlocked by name and not only by closing: another child may still hold a copy.
            with contextlib.suppress(OSError):
                self._files.flock(self._descriptor, fcntl.LOCK_UN)
            shut(self._files, self._descriptors, self._descriptor, verb)
        if holder is not None:
            self._holder = None
        with contextlib.suppress(RuntimeError):  # it is not, or no longer, this thread's
            while True:
                self._turn.release()

    def _take(self, deadline: float, verb: object) -> None:
        """Lock the file that lies there, with a descriptor that is known before it is locked."""
        while True:
            try:
                descriptor = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
                self._descriptors[descriptor], self._descriptor = verb, descriptor
            except FileNotFoundError:
                raise CorruptStoreError(
                    f"{self._directory} is gone; bring it back, or open the store again for a new one"
                ) from None
            self._wait(descriptor, deadline)
            if self._files.fstat(descriptor).st_nlink:
                return
            # Somebody deleted the file while we waited: lock the one that is there now.
            shut(self._files, self._descriptors, descriptor, verb)

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

    def _timed_out(self) -> LockTimeoutError:
        return LockTimeoutError(
            f"another writer held {self._path} for more than {self._timeout:g} s; nothing was written: try again, or "
            "give a longer lock_timeout"
        )
