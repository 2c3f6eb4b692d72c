"""The writers' lock: `flock` on a file of its own that is never deleted.

The kernel lets go of it when its holder dies, however it dies, so there is nothing to steal and nothing stale. A lock
on the journal itself would be lost with the inode when a compaction replaces it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator

from f1mon_core.errors import LockTimeoutError
from f1mon_jsonl._files import Files

_SHORTEST, _LONGEST = 0.000_1, 0.005
"""Seconds between two tries for the lock; flock has no timeout of its own."""


class WriteLock:
    """The lock between all writers of one directory, in this process and others."""

    def __init__(self, path: str, files: Files, descriptors: set[int]) -> None:
        """Name the lock.

        Args:
            path: The lock file; made where it is missing.
            files: The file layer.
            descriptors: Holds the descriptor while it is open, so that a forked child can close its copy.
        """
        self._path = path
        self._files = files
        self._descriptors = descriptors

    @contextlib.contextmanager
    def held(self, deadline: float, timeout: float) -> Iterator[None]:
        """Hold the lock.

        Args:
            deadline: Until when to wait for it, on the monotonic clock.
            timeout: How many seconds that is, for the message.

        Raises:
            LockTimeoutError: If another writer still holds it then.
            OSError: If the file cannot be opened or locked.
        """
        descriptor = self._taken(deadline, timeout)
        try:
            yield
        finally:
            if descriptor in self._descriptors:  # not in a child that was forked in here: it has closed its copy
                # Unlocked by name and not only by closing: another child may still hold a copy.
                with contextlib.suppress(OSError):
                    self._files.flock(descriptor, fcntl.LOCK_UN)
                self._closed(descriptor)

    def _taken(self, deadline: float, timeout: float) -> int:
        while True:
            descriptor = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
            self._descriptors.add(descriptor)
            try:
                self._wait(descriptor, deadline, timeout)
                if self._files.fstat(descriptor).st_nlink:
                    return descriptor
            except BaseException:
                self._closed(descriptor)
                raise
            self._closed(descriptor)  # somebody deleted the file while we waited: lock the one that is there now

    def _wait(self, descriptor: int, deadline: float, timeout: float) -> None:
        pause = _SHORTEST
        while True:
            try:
                self._files.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if (left := deadline - time.monotonic()) <= 0:
                    raise timed_out(self._path, timeout) from None
                time.sleep(min(left, pause * (0.5 + random.random())))  # noqa: S311 - spreads the waiters
                pause = min(_LONGEST, pause * 2)
            else:
                return

    def _closed(self, descriptor: int) -> None:
        self._descriptors.discard(descriptor)
        with contextlib.suppress(OSError):  # Linux gives the descriptor back whatever close answers
            self._files.close(descriptor)


def timed_out(path: str, timeout: float) -> LockTimeoutError:
    """The error of a writer that waited too long."""
    return LockTimeoutError(
        f"another writer held {path} for more than {timeout:g} s; nothing was written: try again, or give a longer "
        "lock_timeout"
    )
