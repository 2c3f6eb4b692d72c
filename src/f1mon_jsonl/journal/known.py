"""What a handle has read of its journal, so that no other file, and none that became shorter, passes for it.

A journal grows at its end, and is replaced by a newer generation of itself. Everything else that happens to it under a
live handle was done by somebody else: `logrotate` cutting it, a file moved away, an older copy put in its place. To go
on would answer from less than was acknowledged, and acknowledge into what is no part of the store.
"""

from __future__ import annotations

import attrs

from f1mon_core.errors import CorruptStoreError
from f1mon_jsonl.disk.directory import read_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import intact
from f1mon_jsonl.journal.reader import Reader, parsed_header

_HEADER = 4_096
"""Bytes within which a header ends."""


@attrs.frozen
class Known:
    """A journal as far as it was read; the attributes are those of `Reader`."""

    header: bytes
    store: str | None
    generation: int
    format: int
    end: int
    last: int
    guard: bytes
    file: tuple[int, int] | None

    @classmethod
    def of(cls, reader: Reader) -> Known | None:
        """What a reader knows; None if it has read nothing."""
        if not reader.header:
            return None
        return cls(
            reader.header,
            reader.store,
            reader.generation,
            reader.format,
            reader.end,
            reader.last,
            reader.guard,
            reader.file,
        )

    def is_still(self, files: Files, descriptor: int) -> bool:
        """Whether a file is this journal as it was read, which may have grown; False where it must be read anew.

        Raises:
            CorruptStoreError: If it is another journal, an older copy, or shorter than what was read.
            SchemaError: If a newer f1mon rewrote it.
        """
        status = files.fstat(descriptor)
        if files.pread(descriptor, len(self.header), 0) == self.header:
            if status.st_size < self.end:
                raise self._refused(f"it has {status.st_size} bytes, and {self.end} were read of it")
            if not self._ends_as_read(files, descriptor):
                return False
            return self.file in (None, (status.st_dev, status.st_ino))
        beginning = files.pread(descriptor, _HEADER, 0).partition(b"\n")[0]
        found = parsed_header(beginning)
        if found is None:
            if status.st_size >= self.end and self._ends_as_read(files, descriptor):
                return False  # only its header was damaged
            raise self._refused(f"it has {status.st_size} bytes without a header, and {self.end} were read of it")
        if self.store is not None and found.store != self.store:
            raise self._refused(f"it is of store {found.store}, and this handle is of store {self.store}")
        if found.generation <= self.generation:
            raise self._refused(
                f"it is of generation {found.generation}, and {self.generation} was read: an older copy"
            )
        return False  # a compaction, or what rewrites as one does

    def must_be_in(self, reader: Reader) -> None:
        """Refuse what was read anew, if it ends before what had been read of this generation."""
        if reader.store is None or reader.generation == self.generation:
            if reader.end < self.end:
                raise self._refused(f"it is readable up to byte {reader.end} only, and {self.end} were read of it")
            if reader.store is None and reader.header and self.store is not None:  # its header was damaged meanwhile
                reader.store, reader.generation, reader.format = self.store, self.generation, self.format

    def _ends_as_read(self, files: Files, descriptor: int) -> bool:
        """Whether what was read ends as it did; False if its last line rotted. Else a `CorruptStoreError`."""
        start = max(0, min(self.last - 1, self.end - len(self.guard)))
        text = read_all(files, descriptor, start, self.end)
        if text.endswith(self.guard):
            return True
        before, line = text[: self.last - start], text[self.last - start :]
        begins_there = not before or before.endswith(b"\n")
        lost_its_newline = line[:-1].endswith(self.guard[:-1])
        if begins_there and (lost_its_newline or (line.endswith(b"\n") and not any(map(intact, line.split(b"\n"))))):
            return False
        raise self._refused("other lines lie where this handle had read some: a copy that went its own way")

    def _refused(self, what: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"the journal is not the one this handle has read: {what}. Nothing more is read or written through it:"
            " bring the journal back, or, where it was replaced on purpose, close this handle and open the store again"
        )
