"""Faults that were planted on purpose: each is a bug of a real file backend, and the harness must report it.

Most are layers between the store and the operating system, which need to know nothing of the store; the others patch
the one function in which the promise lives.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any
from unittest import mock

from f1mon_jsonl.disk.directory import JOURNAL
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.journal import doubts, loading, reader
from f1mon_jsonl.writer import Writer

from .layers import Layer


class NoSync(Layer):
    """Acknowledges without fdatasync or fsync."""

    def fdatasync(self, descriptor: int) -> None:
        pass

    def fsync(self, descriptor: int) -> None:
        pass


class NoNameSyncAfterCreation(Layer):
    """Syncs a directory only after a rename, never after what was made in it."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._renamed = False

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._renamed = True

    def fsync_directory(self, path: str) -> None:
        if self._renamed:
            self._renamed = False
            super().fsync_directory(path)


class NoNameSyncAfterRename(Layer):
    """Syncs a directory after what was made in it, but not after a rename."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._renamed = False

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._renamed = True

    def fsync_directory(self, path: str) -> None:
        if not self._renamed:
            super().fsync_directory(path)


class NoTemporarySync(Layer):
    """Renames a file into place that was never synced."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._temporary: set[int] = set()

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        descriptor = super().open(path, flags, mode)
        (self._temporary.add if path.endswith(".new") else self._temporary.discard)(descriptor)
        return descriptor

    def fsync(self, descriptor: int) -> None:
        if descriptor not in self._temporary:
            super().fsync(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        if descriptor not in self._temporary:
            super().fdatasync(descriptor)


class UnlinkBeforeRename(Layer):
    """Removes the old file before the new one has its name."""

    def rename(self, source: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            super().unlink(target)
        super().rename(source, target)


class CachedDescriptor(Layer):
    """Opens the journal once, and goes on with that descriptor when it was replaced."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._cached: int | None = None

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        if not path.endswith(JOURNAL):
            return super().open(path, flags, mode)
        if self._cached is None:
            self._cached = super().open(path, flags & ~os.O_ACCMODE | os.O_RDWR, mode)
        return self._cached

    def close(self, descriptor: int) -> None:
        if descriptor != self._cached:
            super().close(descriptor)


class LockOnTheJournal(Layer):
    """Locks the journal itself, which a compaction replaces, and never asks whether it still is the journal."""

    def __init__(self, below: Files | None = None) -> None:
        super().__init__(below)
        self._locks: set[int] = set()

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        if not path.endswith("LOCK"):
            descriptor = super().open(path, flags, mode)
            self._locks.discard(descriptor)
            return descriptor
        descriptor = super().open(path.removesuffix("LOCK") + JOURNAL, flags, mode)
        self._locks.add(descriptor)
        return descriptor

    def fstat(self, descriptor: int) -> os.stat_result:
        found = super().fstat(descriptor)
        if descriptor not in self._locks:
            return found
        return os.stat_result([*found[: stat.ST_NLINK], 1, *found[stat.ST_NLINK + 1 :]])


@contextlib.contextmanager
def no_repair() -> Iterator[None]:
    """Writes behind a torn tail as it lies there."""
    original = Writer._mend

    def mend(self: Writer, session: Any) -> None:
        size = os.fstat(session.descriptor).st_size
        if self._view.reader.end and size > self._view.reader.end:
            self._view.reader.end = size
            return
        original(self, session)

    with mock.patch.object(Writer, "_mend", mend):
        yield


@contextlib.contextmanager
def repair_by_newline() -> Iterator[None]:
    """Ends a torn tail with a newline, and so brings a line back that was never acknowledged."""
    original = Writer._mend

    def mend(self: Writer, session: Any) -> None:
        size = os.fstat(session.descriptor).st_size
        if self._view.reader.end and size > self._view.reader.end:
            os.pwrite(session.descriptor, b"\n", size)
            session.size = size + 1
            self._view.refresh(session.descriptor, session.size, locked=True)
            return
        original(self, session)

    with mock.patch.object(Writer, "_mend", mend):
        yield


@contextlib.contextmanager
def no_checksum() -> Iterator[None]:
    """Takes every line that is JSON."""
    with contextlib.ExitStack() as patches:
        for module in (reader, loading, doubts):
            patches.enter_context(mock.patch.object(module, "intact", return_value=True))
        yield


@contextlib.contextmanager
def no_taking_over() -> Iterator[None]:
    """Trusts a sync for bytes that another handle wrote, whose own sync failed."""
    with mock.patch.object(Writer, "_take_over"):
        yield
