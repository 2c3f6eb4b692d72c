"""Opening a directory as a store, by path or address."""

from __future__ import annotations

import os
from urllib.parse import unquote

from f1mon_core.errors import ConfigurationError, shown
from f1mon_core.records.times import Clock
from f1mon_core.storage.address import masked
from f1mon_core.storage.environment import DEFAULT_DIRECTORY
from f1mon_jsonl.disk.directory import JOURNAL
from f1mon_jsonl.storage import LOCK_TIMEOUT, Durability, JSONLStorage


def open_jsonl(
    *,
    path: str | os.PathLike[str] | None = None,
    url: str | None = None,
    durability: Durability = "commit",
    lock_timeout: float = LOCK_TIMEOUT,
    strict: bool = False,
    clock: Clock | None = None,
) -> JSONLStorage:
    """Open a directory of files as a store.

    Args:
        path: The directory; `data/monitoring` if neither it nor `url` is given.
        url: The directory as an address: `jsonl:///absolute/path` or `jsonl://relative/path`.
        durability: See `JSONLStorage`.
        lock_timeout: Seconds to wait for another writer; infinity for as long as it takes.
        strict: Whether a damaged store is a `CorruptStoreError`, and not answered from with a `DamagedStoreWarning`.
        clock: Overrides the host's clock.

    Raises:
        ConfigurationError: If an option cannot be meant.
        StorageError: If the directory cannot be made or read.
    """
    return JSONLStorage(_given(path, url), durability=durability, lock_timeout=lock_timeout, strict=strict, clock=clock)


def jsonl_exists(*, path: str | os.PathLike[str] | None = None, url: str | None = None, **_options: object) -> bool:
    """Whether the directory that `open_jsonl` would open holds a journal."""
    return os.path.lexists(os.path.join(_given(path, url), JOURNAL))


def _given(path: str | os.PathLike[str] | None, url: str | None) -> str | os.PathLike[str]:
    """The directory of `path=` or `url=`."""
    if url is None:
        if isinstance(path, str) and "://" in path:
            raise ConfigurationError(f"path= is a directory, and {masked(path)!r} an address: give it as url=")
        return DEFAULT_DIRECTORY if path is None else path
    if path is not None:
        raise ConfigurationError("give the directory once: as path= or as url=")
    return directory_of(url)


def directory_of(url: str) -> str:
    """The directory that a `jsonl://` address names: `jsonl:///srv/f1mon` is absolute, `jsonl://data/f1mon` is not."""
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be an address, jsonl:///directory, got {shown(url)}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "jsonl" or "?" in rest or "#" in rest:
        raise ConfigurationError(f"url: the address of the file backend is jsonl:///directory, got {masked(url)!r}")
    if not (directory := unquote(rest)):
        raise ConfigurationError("jsonl:// names no directory: give jsonl:///absolute/path or jsonl://relative/path")
    if ":" in unquote(directory).partition("/")[0]:
        raise ConfigurationError(
            f"{masked(url)!r} is no address of a directory, which has no account and no port: give jsonl:///directory"
        )
    return directory
