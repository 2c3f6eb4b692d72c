"""Errors of the operating system, as errors of f1mon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from f1mon_core.errors import F1monError, StorageError


@contextlib.contextmanager
def typed(error: type[StorageError], message: str) -> Iterator[None]:
    """Turn an `OSError` into one of f1mon's, which some of those are themselves."""
    try:
        yield
    except F1monError:
        raise
    except OSError as cause:
        raise error(f"{message}: {cause}") from cause
