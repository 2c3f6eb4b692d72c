"""Forks of this process, which wait until its other threads are out of SQLite.

In a child, SQLite would take what those threads had locked for the child's own, mutexes included, and nobody would let
go of it: the child would wait for ever.
"""

from __future__ import annotations

import os
import threading
import time

_PATIENCE = 1.0
"""Seconds for which a fork waits; a thread may be waiting for what the forking one has."""
_PAUSE = 0.0001

guard = threading.RLock()
"""Held by this process as it forks, and by who must not be interrupted by that; so by nobody for long."""

_gate = threading.Lock()
"""Who begins to work goes through here, so that a fork meets only those that are at work already."""
_at_work: dict[AtWork, int] = {}
"""What is under way, and the thread it began in."""


class AtWork:
    """A context within which SQLite is at work."""

    def __enter__(self) -> None:
        own = threading.get_ident()
        if own in _at_work.values():  # inside a step, which has to end
            _at_work[self] = own
            return
        with _gate:
            _at_work[self] = own

    def __exit__(self, *_: object) -> None:
        _at_work.pop(self, None)


def _forking() -> None:
    deadline, own = time.monotonic() + _PATIENCE, threading.get_ident()
    _gate.acquire()
    while any(thread != own for thread in list(_at_work.values())) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    guard.acquire()


def _forked() -> None:
    guard.release()
    _gate.release()


def _forked_child() -> None:
    _at_work.clear()
    _forked()


os.register_at_fork(before=_forking, after_in_parent=_forked, after_in_child=_forked_child)
