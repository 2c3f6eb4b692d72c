"""What one handle sees of its directory: the journal that lies there now, read as far as somebody asked."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from f1mon_core.errors import CorruptStoreError, StorageError
from f1mon_jsonl.disk.directory import JOURNAL, Directory
from f1mon_jsonl.disk.files import Files, shut
from f1mon_jsonl.disk.typed import typed
from f1mon_jsonl.index.cells import Blocks
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.known import Known
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.reader import Reader

R = TypeVar("R")


class View:
    """The index of one handle and the descriptors it has open.

    Attributes:
        descriptors: All that are open, the lock's included, so that a forked child can close its copies; and whose each
            is, as its number is given out again once it is closed.
        mutex: Held by whoever reads on or asks the index.
        under_way: The verbs under way, so that a forked child knows whether it can trust what it inherited.
        doubt: Told what is damaged, before anything is answered from it.
    """

    def __init__(self, directory: Directory, files: Files, doubt: Callable[[Reader], None]) -> None:
        self.directory = directory
        self.doubt = doubt
        self._was: Known | None = None
        self.files = files
        self.descriptors: dict[int, object] = {}
        self.mutex = threading.RLock()
        self.under_way: set[object] = set()
        self.reader = Reader(files)
        self.blocks = Blocks(self.reader.index)

    @property
    def index(self) -> Index:
        """What the journal says, as far as it was read."""
        return self.reader.index

    # Reading --------------------------------------------------------------------------------------------------------

    def read(self, answer: Callable[[Loader], R]) -> R:
        """Bring the index up to date, and answer a question."""
        verb = object()
        try:
            self.under_way.add(verb)
            with self.reading(), self.mutex:
                descriptor, size = self._open_to_read(verb)
                self.refresh(descriptor, size, locked=False)
                self.doubt(self.reader)
                found = answer(self.loader(descriptor))
            self.end(verb)
        except BaseException:
            self.end(verb)
            raise
        return found

    def reading(self) -> AbstractContextManager[None]:
        """Turns errors of the file system into those of a verb that reads."""
        return typed(StorageError, f"could not read {self.directory.path}")

    def refresh(self, descriptor: int, size: int, *, locked: bool) -> None:
        """Bring the index up to date with the journal that lies there now, and holds so many bytes.

        Raises:
            CorruptStoreError: If it is not the one that this handle has read, or less of it.
        """
        known = Known.of(self.reader) or self._was
        if known is not None and not known.is_still(self.files, descriptor):
            self.forget()
        try:
            if size > self.reader.end:
                self.reader.read_on(descriptor, locked=locked)
            if self._was is not None:
                self._was.must_be_in(self.reader)
        except BaseException:
            self.forget()
            raise
        self._was = None
        if self.reader.file is None and self.reader.header:
            found = self.files.fstat(descriptor)
            self.reader.file = (found.st_dev, found.st_ino)

    def forget(self) -> None:
        """Begin with an empty index, which the next verb fills; what had been read must be there again."""
        known = Known.of(self.reader)
        if known is not None and (
            self._was is None or known.end >= self._was.end or known.generation > self._was.generation
        ):
            self._was = known
        reader = Reader(self.files)
        blocks = Blocks(reader.index)
        self.reader, self.blocks = reader, blocks

    def loader(self, descriptor: int, error: type[StorageError] = StorageError) -> Loader:
        """What reads whole facts; a file system that fails raises `error`."""
        return Loader(self.files, descriptor, self.reader.index, error)

    # Descriptors ----------------------------------------------------------------------------------------------------

    def open(self, flags: int, verb: object) -> tuple[int, int]:
        """A descriptor of the journal, for a verb, and the size it has now."""
        descriptor, size = self.directory.open_sized(JOURNAL, flags)
        self.descriptors[descriptor] = verb
        return descriptor, size

    def _open_to_read(self, verb: object) -> tuple[int, int]:
        try:
            return self.open(os.O_RDONLY, verb)
        except FileNotFoundError:
            raise self.gone() from None

    def doubtful(self) -> str | None:
        """Why the journal that lies there is not the one that this handle has read; None if it is."""
        verb = object()
        try:
            with self.mutex:
                descriptor, _ = self._open_to_read(verb)
                if (known := Known.of(self.reader) or self._was) is not None:
                    known.is_still(self.files, descriptor)
            self.end(verb)
        except BaseException as error:
            self.end(verb)
            if isinstance(error, CorruptStoreError):
                return str(error)
            raise
        return None

    def gone(self) -> CorruptStoreError:
        """The error where no journal lies any more."""
        return CorruptStoreError(
            f"{self.directory.of(JOURNAL)} is gone; bring it back, or open the store again for a new one"
        )

    def shut(self, descriptor: int, verb: object) -> None:
        """Close a descriptor of a verb, if it is still its own; also where that was interrupted before."""
        shut(self.files, self.descriptors, descriptor, verb)

    def end(self, verb: object) -> None:
        """Let go of whatever a verb still has; to be repeated where an interrupt comes meanwhile."""
        for descriptor in [one for one, whose in self.descriptors.copy().items() if whose is verb]:
            self.shut(descriptor, verb)
        self.under_way.discard(verb)

    def start_anew(self) -> None:
        """In a forked child: drop the parent's lock and descriptors; keep the index if nobody was at it."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        self.mutex = threading.RLock()
        if self.under_way:
            self.forget()
        self.under_way = set()
