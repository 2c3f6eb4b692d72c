"""Turns of writers on one SQLite file, so that none of them starves.

SQLite's own busy handler sleeps longer the longer it waits, so a latecomer overtakes. Here writers of every process
stand at two locked files beside the database: whoever holds the first is next, whoever holds the second writes. The
kernel takes the locks from the dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from weakref import WeakSet

from f1mon_core.errors import AccessDeniedError, LockTimeoutError, NoSpaceError, NotWritten, StorageError

_NEXT = "-f1mon-next"
_TURN = "-f1mon-turn"
_POLL_NEXT = 0.0005
_POLL_TURN = 0.0001
_OLD = 0.05
"""Seconds after which a waiter looks as often as the next one does."""
_guard = threading.RLock()
"""Held where descriptors change hands and while this process forks; twice, where a turn is forgotten meanwhile."""


class Turns:
    """The queue of one database file. A turn is one descriptor, so threads and tasks of a process queue up too.

    Descriptors are kept open for the next turn: to open and close them took longer than to lock them.
    """

    def __init__(self, database: Path) -> None:
        self.next, self.current = lock_files(database)
        self._held: dict[int, int] = {}
        """Which turn has a descriptor, by its `id`: it ends where it is forgotten."""
        self._idle: dict[Path, dict[int, None]] = {self.next: {}, self.current: {}}
        self._closed = weakref.finalize(self, _close_all, self._idle)
        _all.add(self)

    def turn(self, timeout: float, pause: Callable[[float], None]) -> Turn:
        """A context that holds the turn. It raises `LockTimeoutError` after `timeout` seconds."""
        return Turn(self, timeout, pause)

    def close(self) -> None:
        """Close the descriptors that nobody holds; a turn that is taken ends as ever."""
        with _guard:
            self._closed()

    def taken(self, path: Path, turn: Turn) -> int:
        """A descriptor of a lock file, for one turn. Raises `NotWritten` if there is none to be had."""
        # An interrupt may come after every call, so a descriptor is always noted somewhere, and never between.
        with _guard:
            idle, key = self._idle[path], id(turn)
            while True:
                if not idle:
                    try:
                        idle.update(zip(map(_open, [path]), [None], strict=True))
                    except OSError as error:
                        raise _refusal(path, error) from error
                fd = [*idle][-1]
                if _is_linked(fd):
                    self._held[fd] = key
                    turn.held = [*turn.held, (path, fd)]
                    del idle[fd]
                    return fd
                del idle[fd]
                with suppress(OSError):  # somebody closed all descriptors of the process
                    os.close(fd)

    def put_back(self, path: Path, fd: int) -> None:
        """Keep a descriptor whose lock was let go for the next turn, or close it if the queue is closed."""
        with _guard:
            if self._closed.alive:
                self._idle[path][fd] = None
                del self._held[fd]
            else:
                del self._held[fd]
                os.close(fd)

    def has(self, turn: Turn, fd: int) -> bool:
        """Whether a descriptor is a turn's; in a forked child none is one of its parent's."""
        return self._held.get(fd) == id(turn)

    def forked(self) -> None:
        """In a child, let go of the parent's turns without ending them."""
        held, self._held = self._held, {}
        for fd in held:
            os.close(fd)
        _close_all(self._idle)


class Turn:
    """One turn of a queue, as a context.

    What it holds it lets go of also where it is only forgotten, as when an interrupt comes between two steps.
    """

    __slots__ = ("_pause", "_timeout", "_turns", "held")

    def __init__(self, turns: Turns, timeout: float, pause: Callable[[float], None]) -> None:
        self._turns = turns
        self._timeout = timeout
        self._pause = pause
        self.held: list[tuple[Path, int]] = []

    def __enter__(self) -> None:
        deadline = time.monotonic() + self._timeout
        try:
            self._lock(self._turns.next, _POLL_NEXT, deadline)
            self._lock(self._turns.current, _POLL_TURN, deadline)
            self._let_go(0)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        while self.held:
            self._let_go(-1)

    __del__ = __exit__

    def _lock(self, path: Path, poll: float, deadline: float) -> None:
        fd = self._turns.taken(path, self)
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if now >= deadline:
                    raise LockTimeoutError(
                        f"another writer held {self._turns.current.name} for longer than {self._timeout:g} s; nothing"
                        " was written"
                    ) from None
                self._pause(_POLL_TURN if now - began > _OLD else poll * random.uniform(0.5, 1.0))  # noqa: S311 - only to spread them
            else:
                return

    def _let_go(self, number: int) -> None:
        path, fd = self.held[number]
        if self._turns.has(self, fd):
            # Unlocked by name: a child forked meanwhile shares the descriptor, and closing one copy would not do it.
            with suppress(OSError):  # somebody closed it, which let go of it too
                fcntl.flock(fd, fcntl.LOCK_UN)
            self._turns.put_back(path, fd)
        del self.held[number]


_open = partial(os.open, flags=os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode=0o666)


def _refusal(path: Path, error: OSError) -> StorageError:
    if error.errno == errno.ELOOP:
        return AccessDeniedError(
            f"{path} is a symbolic link, and may be somebody's trap; nothing was written: remove it"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDeniedError(
            f"cannot take a turn at {path}: {error.strerror}; nothing was written: give the process the right to write"
            " it and its directory"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(f"cannot take a turn at {path}: {error.strerror}; nothing was written: make room")
    return NotWritten(f"cannot take a turn at {path}: {error.strerror}; nothing was written")


def lock_files(database: Path) -> tuple[Path, Path]:
    """The two files beside a database at which its writers queue up."""
    return Path(f"{database}{_NEXT}"), Path(f"{database}{_TURN}")


def _is_linked(fd: int) -> bool:
    """Whether the file of a descriptor is still there for others to lock."""
    try:
        return bool(os.fstat(fd).st_nlink)
    except OSError:  # somebody closed all descriptors of the process
        return False


def _close_all(idle: dict[Path, dict[int, None]]) -> None:
    for fds in idle.values():
        while fds:
            os.close(fds.popitem()[0])


_all: WeakSet[Turns] = WeakSet()


def _forked() -> None:
    for turns in list(_all):
        turns.forked()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_forked)
