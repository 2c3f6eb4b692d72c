"""Errors of the operating system, as errors of f1mon."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from f1mon_core.errors import F1monError, NotWritten, ReadOnlyError, StorageError

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
"""What does not get better by repeating it."""


@contextlib.contextmanager
def typed(error: type[StorageError], message: str) -> Iterator[None]:
    """Turn an `OSError` into one of f1mon's, which some of those are themselves."""
    try:
        yield
    except F1monError:
        raise
    except OSError as cause:
        if error is NotWritten and cause.errno in _READ_ONLY:
            raise ReadOnlyError(
                f"{message}: {cause}; this process may only read there, and nothing was written: write as somebody who"
                " may, or let it write the directory and the files in it"
            ) from cause
        raise error(f"{message}: {cause}") from cause
