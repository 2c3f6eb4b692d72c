"""Turns of writers on one SQLite file, so that none of them starves.

SQLite's own busy handler sleeps longer the longer it waits, so a latecomer overtakes. Here writers of every process
stand at two locked files beside the database: whoever holds the first is next, whoever holds the second writes. The
kernel takes the locks from the dead.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from weakref import WeakSet

from f1mon_core.errors import LockTimeoutError, NotWritten

_NEXT = "-f1mon-next"
_TURN = "-f1mon-turn"
_POLL_NEXT = 0.0005
_POLL_TURN = 0.0001
_OLD = 0.05
"""Seconds after which a waiter looks as often as the next one does."""


class Turns:
    """The queue of one database file. A turn is one descriptor, so threads and tasks of a process queue up too.

    Descriptors are kept open for the next turn: to open and close them took longer than to lock them.
    """

    def __init__(self, database: Path) -> None:
        self._next = Path(f"{database}{_NEXT}")
        self._turn = Path(f"{database}{_TURN}")
        self._held: set[int] = set()
        self._idle: dict[Path, list[int]] = {self._next: [], self._turn: []}
        self._guard = threading.Lock()
        self._closed = weakref.finalize(self, _close_all, self._idle)
        _all.add(self)

    def turn(self, timeout: float, pause: Callable[[float], None]) -> Turn:
        """A context that holds the turn. Raises `LockTimeoutError` after `timeout` seconds."""
        return Turn(self, timeout, pause)

    def take(self, timeout: float, pause: Callable[[float], None]) -> int:
        """Wait for the turn, for so many seconds; answers what `end` is to be told."""
        deadline = time.monotonic() + timeout
        following = self._taken(self._next)
        try:
            self._lock(following, _POLL_NEXT, timeout, deadline, pause)
            turn = self._taken(self._turn)
            try:
                self._lock(turn, _POLL_TURN, timeout, deadline, pause)
            except BaseException:
                self._let_go(self._turn, turn)
                raise
        finally:
            self._let_go(self._next, following)
        return turn

    def end(self, turn: int) -> None:
        """Let the next one have it."""
        self._let_go(self._turn, turn)

    def close(self) -> None:
        """Close the descriptors that nobody holds; a turn that is taken ends as ever."""
        with self._guard:
            self._closed()

    def _lock(self, fd: int, poll: float, timeout: float, deadline: float, pause: Callable[[float], None]) -> None:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if now >= deadline:
                    raise LockTimeoutError(
                        f"another writer held {self._turn.name} for longer than {timeout:g} s; nothing was written"
                    ) from None
                pause(_POLL_TURN if now - began > _OLD else poll * random.uniform(0.5, 1.0))  # noqa: S311 - only to spread them
            else:
                return

    def _taken(self, path: Path) -> int:
        with self._guard:
            while idle := self._idle[path]:
                fd = idle.pop()
                if path is not self._turn or os.fstat(fd).st_nlink:
                    self._held.add(fd)
                    return fd
                os.close(fd)  # the file is gone, and others lock new ones
                _close_all(self._idle)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise NotWritten(f"cannot take a turn at {path}: {error.strerror}; nothing was written") from error
        with self._guard:
            self._held.add(fd)
        return fd

    def _let_go(self, path: Path, fd: int) -> None:
        # Unlocked by name: a child forked meanwhile shares the descriptor, and closing one copy would not do it.
        fcntl.flock(fd, fcntl.LOCK_UN)
        with self._guard:
            self._held.discard(fd)
            if self._closed.alive:
                self._idle[path].append(fd)
            else:
                os.close(fd)

    def forked(self) -> None:
        """In a child, let go of the parent's turn without ending it."""
        self._guard = threading.Lock()
        held, self._held = self._held, set()
        for fd in held:
            os.close(fd)
        _close_all(self._idle)


class Turn:
    """One turn of a queue, as a context; a generator would take as long as one of its locks."""

    __slots__ = ("_pause", "_timeout", "_turn", "_turns")

    def __init__(self, turns: Turns, timeout: float, pause: Callable[[float], None]) -> None:
        self._turns = turns
        self._timeout = timeout
        self._pause = pause

    def __enter__(self) -> None:
        self._turn = self._turns.take(self._timeout, self._pause)

    def __exit__(self, *_: object) -> None:
        self._turns.end(self._turn)


def _close_all(idle: dict[Path, list[int]]) -> None:
    for fds in idle.values():
        while fds:
            os.close(fds.pop())


_all: WeakSet[Turns] = WeakSet()


def _forked() -> None:
    for turns in list(_all):
        turns.forked()


os.register_at_fork(after_in_child=_forked)
