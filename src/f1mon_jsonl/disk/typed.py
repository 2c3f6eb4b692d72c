"""Errors of the operating system, as errors of f1mon."""

from __future__ import annotations

import contextlib
from types import TracebackType

from f1mon_core.errors import F1monError, StorageError

QUIETLY = contextlib.suppress(OSError)
"""For what may fail without harm; made once, for a commit enters it three times."""


class Typed:
    """A context that turns an `OSError` into one of f1mon's; it holds no state, so one serves any number of threads.

    A class and not a generator: a commit enters several of these, and a generator costs five times as much.
    """

    __slots__ = ("_error", "_message")

    def __init__(self, error: type[StorageError], message: str) -> None:
        self._error = error
        self._message = message

    def __enter__(self) -> None:
        """Nothing is to be done before an error."""

    def __exit__(self, _: type[BaseException] | None, cause: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(cause, OSError) and not isinstance(cause, F1monError):
            raise self._error(f"{self._message}: {cause}") from cause
