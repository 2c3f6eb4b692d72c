"""JSONLStorage: the storage contract over one directory of files."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote

from f1mon_core import forks
from f1mon_core.errors import (
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
    DamagedStoreWarning,
    StorageError,
    shown,
)
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock, host_clock, to_micros
from f1mon_core.storage import answers, retention
from f1mon_core.storage.change import Step, check_operation_id, check_state, check_state_key
from f1mon_core.storage.condition import Damage, say_read_only
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.dumping import Dumped, restoring
from f1mon_core.storage.environment import DEFAULT_DIRECTORY
from f1mon_core.storage.grouping import Groups
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_core.text import is_one_of
from f1mon_jsonl.disk.directory import Directory
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.disk.typed import typed
from f1mon_jsonl.journal.compaction import Rewrite
from f1mon_jsonl.journal.doubts import Doubts
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.reader import Reader
from f1mon_jsonl.journal.view import View
from f1mon_jsonl.verbs import append, check, dump, find, prune, tally, transition
from f1mon_jsonl.writer import Session, Writer

Durability: TypeAlias = Literal["commit", "os"]
R = TypeVar("R")

LOCK_TIMEOUT = 30.0

_log = logging.getLogger("f1mon.jsonl")
_log.addHandler(logging.NullHandler())


class JSONLStorage:
    """The storage contract over one directory: a journal, a lock file, and what was set aside.

    Any number of handles, threads and processes of one machine may use a directory at once. Readers take no lock.

    Args:
        path: The directory; made, with its parents, where it is missing.
        durability: "commit": what was acknowledged is on the disk. "os": it is in the operating system's hands, which
            survives a crash of the process but not of the machine.
        lock_timeout: Seconds to wait for another writer before `LockTimeoutError`; infinity for as long as it takes.
        strict: Whether what is damaged is a `CorruptStoreError` at opening and in every verb but `check`, and not a
            `DamagedStoreWarning`.
        clock: Overrides the host's clock.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = DEFAULT_DIRECTORY,
        *,
        durability: Durability = "commit",
        lock_timeout: float = LOCK_TIMEOUT,
        strict: bool = False,
        clock: Clock | None = None,
        _files: Files | None = None,
    ) -> None:
        if not is_one_of(durability, ("commit", "os")):
            raise ConfigurationError(f"durability must be 'commit' or 'os', got {shown(durability)}")
        if not _is_number(lock_timeout) or not lock_timeout >= 0:
            raise ConfigurationError(f"lock_timeout must be seconds of at least 0, got {shown(lock_timeout)}")
        if type(strict) is not bool:
            raise ConfigurationError(f"strict must be True or False, got {shown(strict)}")
        self.clock: Clock = clock or host_clock
        self._files = _files or Files()
        self._durability = durability
        self._groups = Groups(
            lambda batch: self._commit(lambda session: append.append(session, batch)), self.append_each
        )
        self._closed = False
        self._read_only: str | None = None
        directory = self._directory = Directory(path, self._files)
        self._strict = strict
        self._doubts = Doubts(directory, self._files)
        self._view = View(directory, self._files, self._doubt)
        self._writer = Writer(
            self._view,
            self.clock,
            durable=durability == "commit",
            lock_timeout=float(min(lock_timeout, threading.TIMEOUT_MAX)),
        )
        with typed(StorageError, f"could not open {directory.path}"):
            directory.make()
            missing = not directory.has_journal()
        with typed(StorageError, f"could not look at {directory.path}"):
            kind = directory.network_file_system()
        if kind:
            _log.warning(
                "%s lies on %s, where locks and syncs promise less; keep the store on a local disk",
                directory.path,
                kind,
                extra={"path": directory.path, "file_system": kind},
            )
        if missing:
            self._writer.commit(lambda _: None)
        else:
            self._view.read(lambda _: None)
            self._writer.seen = bool(self._view.reader.header)
            with typed(StorageError, f"could not look at {directory.path}"):
                self._read_only = directory.why_only_read()
            say_read_only(self.address, self._read_only)
        forks.start_anew(self, JSONLStorage._after_fork)

    @property
    def address(self) -> str:
        """The directory as an address."""
        return f"jsonl://{quote(self._directory.path)}"

    @property
    def path(self) -> str:
        """The directory."""
        return self._directory.path

    def __repr__(self) -> str:
        return f"JSONLStorage({self._directory.path!r}, durability={self._durability!r})"

    # Verbs ----------------------------------------------------------------------------------------------------------

    def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        return self._groups.append(list(facts))

    def append_each(self, batches: Sequence[Sequence[Fact]]) -> Sequence[Appended]:
        """Append several batches as one line, or raise one of `grouping.APART` and store nothing."""
        whole = [fact for batch in batches for fact in batch]
        return self._commit(lambda session: append.append_each(session, whole, batches))

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return self._read(lambda loader: find.find(loader, select))

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        answers.check_count(select, by)
        return self._read(lambda loader: find.count(loader.index, select, by))

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return self._read(lambda loader: tally.tally(loader, self._view.blocks, query))

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        check_state_key(key)
        check_operation_id(operation_id)
        return self._commit(lambda session: transition.transition(session, key, step, operation_id))

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        check_state(prefix, due_before, limit, after)
        due = None if due_before is None else to_micros(due_before)
        return self._read(lambda loader: transition.state(loader.index.state, prefix, due, limit, after))

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`. The journal is rewritten without what was removed."""
        horizon = retention.prune_horizon(before)
        retention.prunable_kinds(keep)
        return self._commit(lambda session: prune.prune(self._writer, session, horizon, keep))

    def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return self._read(lambda loader: dump.dump(self._view.reader, loader, self.clock, after))

    def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        offered = restoring(records)
        return self._commit(lambda session: dump.restore(self._writer, session, offered))

    def compact(self) -> None:
        """Rewrite the journal without superseded state documents, old operations and damaged lines.

        Damaged lines are set aside in files of the directory and stay in the report of `check`. Other handles and
        processes may go on meanwhile: readers at once, writers when it is done.
        """
        self._commit(lambda session: self._writer.rewrite(session, Rewrite(), Rewrite))

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        self._check_open()
        with self._view.reading():
            report = check.check(self._directory, self._files, durable=self._durability == "commit")
            return check.with_doubt(report, self._view.doubtful)

    def close(self) -> None:
        """See `Storage.close`. Under durability="os" what was written is synced first, and the names of new files."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        with self._view.mutex:
            self._view.forget()

    # ----------------------------------------------------------------------------------------------------------------

    def _read(self, answer: Callable[[Loader], R]) -> R:
        self._check_open()
        return self._view.read(answer)

    def _commit(self, decide: Callable[[Session], R]) -> R:
        self._check_open()
        return self._writer.commit(decide)

    @property
    def damage(self) -> Damage | None:
        """See `storage.damage_of`: as known since the last verb."""
        return self._doubts.damage

    @property
    def read_only(self) -> str | None:
        """See `storage.why_only_read`: as it was when the store was opened."""
        return self._read_only

    def _doubt(self, reader: Reader) -> None:
        if (damage := self._doubts.of(reader)) is None:
            return
        told = f"{self._directory.path} is {damage}"
        if self._strict:
            raise CorruptStoreError(f"{told}; strict answers nothing from it and writes nothing: run `f1mon check`")
        told = f"{told}; what is left is answered: run `f1mon check`"
        if self._doubts.is_news():
            _log.warning(told, extra={"path": self._directory.path, "pieces": damage.pieces})
        warnings.warn(told, DamagedStoreWarning, stacklevel=2)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this store is closed; open it again")

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's locks and descriptors; keep the index if nobody was at it."""
        self._view.start_anew()
        self._writer.start_anew()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
