"""What commits: lock, mend what others left, take over, write one line a transaction, make it durable."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import attrs

from f1mon_core.errors import CorruptStoreError, NotWritten, OutcomeUnknown, StorageError
from f1mon_core.records import fields
from f1mon_core.records.times import EPOCH, Clock, to_micros
from f1mon_jsonl.disk.directory import JOURNAL, LOCK, read_all, write_all
from f1mon_jsonl.disk.lock import WriteLock
from f1mon_jsonl.disk.sync import Syncer
from f1mon_jsonl.disk.typed import typed
from f1mon_jsonl.format import FORMAT, decode_any_line, header_line, might_be_header, transaction_line
from f1mon_jsonl.index.state import oldest_result
from f1mon_jsonl.journal import compaction
from f1mon_jsonl.journal.compaction import Rewrite
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.view import View

R = TypeVar("R")

_UNVOUCHED = 1 << 16
"""Bytes of other writers, vouched for by no line, that a handle leaves to its next one to vouch for."""
_REWRITTEN_PER_SECOND = 20 << 20
"""Bytes of a journal of an old format that a rewrite takes a second for, on a slow disk."""

_log = logging.getLogger("f1mon.jsonl")


@attrs.define(eq=False)
class Session:
    """A writer's turn: the lock is held, the index is up to date, the tail is whole.

    Attributes:
        view: What was read of the journal.
        descriptor: The journal, open for reading and writing.
        size: How many bytes it holds, what is torn included; nobody else changes that before the turn is over.
        now: The store's clock, read after the lock was taken.
        journal, end: The journal's identity, and up to where it was read or written.
        taken_over: Bytes of others, written again, that no line vouches for.
        made: Whether it made the journal, which was not there.
        was_torn: Whether bytes that nobody finished were set aside.
        members: What to commit, as JSON text by member; nothing is written without any.
    """

    view: View
    descriptor: int = -1
    size: int = 0
    now: datetime = EPOCH
    journal: object = None
    end: int = 0
    taken_over: int = 0
    made: bool = False
    was_torn: bool = False
    members: list[tuple[str, str]] = attrs.field(factory=list)

    def loader(self) -> Loader:
        """What reads whole facts, before anything is written."""
        return self.view.loader(self.descriptor, NotWritten)


class Writer:
    """Commits for one handle.

    Attributes:
        seen: Whether a journal was there, so that one that is gone is an error and not a new store.
    """

    def __init__(self, view: View, clock: Clock, *, durable: bool, lock_timeout: float) -> None:
        """Make the writer of a handle.

        Args:
            view: What the handle reads.
            clock: The store's clock.
            durable: Whether a commit returns only when it is on the disk.
            lock_timeout: Seconds to wait for another writer.
        """
        self._view = view
        self._files = view.files
        self._directory = view.directory
        self._clock = clock
        self._durable = durable
        self._lock_timeout = lock_timeout
        self._journal = view.directory.of(JOURNAL)
        self.seen = False
        self.start_anew()

    def start_anew(self) -> None:
        """What belongs to one process: a forked child begins without the parent's locks, and has written nothing."""
        self._syncer = Syncer(self._files)
        self._lock = WriteLock(self._directory.of(LOCK), self._files, self._view.descriptors, self._lock_timeout)
        self._named: set[object] = set()
        self._wrote = False

    def commit(self, decide: Callable[[Session], R]) -> R:
        """Decide under the lock and write what was decided; sync outside it; answer."""
        self._syncer.check()
        session, lock = Session(self._view), self._lock
        try:
            self._view.under_way.add(session)
            lock.take(session)
            self._open_to_write(session)
            with self._view.mutex:
                answer = self._decided(session, decide)
                self._syncer.learn(session.journal, session.end, self._view.reader.vouched)
            lock.let_go(session)
            if self._durable:
                self._make_durable(session)
            self._view.end(session)
        except BaseException:
            self._end(session, lock)
            raise
        return answer

    def _end(self, session: Session, lock: WriteLock) -> None:
        """Let go of what a session that failed still has; twice, where an interrupt comes meanwhile."""
        try:
            lock.let_go(session)
            self._view.end(session)
        except BaseException:
            lock.let_go(session)
            self._view.end(session)
            raise

    def _open_to_write(self, session: Session) -> None:
        """Open the journal, now that nobody can replace it; make it in a new store."""
        with typed(NotWritten, f"could not open {self._journal}"):
            try:
                session.descriptor, session.size = self._view.open(os.O_RDWR, session)
            except FileNotFoundError:
                if self.seen:
                    raise self._view.gone() from None
                session.descriptor, session.size = self._view.open(os.O_RDWR | os.O_CREAT | os.O_EXCL, session)
                session.made = True

    def _decided(self, session: Session, decide: Callable[[Session], R]) -> R:
        with typed(NotWritten, f"could not read {self._directory.path}"):
            self._view.refresh(session.descriptor, session.size, locked=True)
            self._mend(session)
            self._view.doubt(self._view.reader)
        if self._view.reader.format < FORMAT:
            self._upgrade(session)
        session.now = fields.instant(self._clock(), "clock")
        session.journal, session.end = self._view.reader.identity, self._view.reader.end
        answer = decide(session)
        if session.members:
            self._write(session)
        return answer

    def _mend(self, session: Session) -> None:
        """Set aside what lies behind the journal's end, and begin a new journal with its header."""
        reader, descriptor = self._view.reader, session.descriptor
        if session.size > reader.end:
            tail = read_all(self._files, descriptor, reader.end, session.size)
            if reader.end == 0 and not might_be_header(tail):
                raise self._not_a_journal()
            self._directory.set_aside("torn", reader.generation, reader.end, tail)
            self._files.ftruncate(descriptor, reader.end)
            session.size, session.was_torn = reader.end, True
            # Or a power loss could mix the torn bytes with the next line, into one that looks damaged for ever.
            self._files.fdatasync(descriptor)
            _log.warning(
                "set aside %d torn bytes at the end of %s",
                len(tail),
                self._journal,
                extra={"path": self._directory.path, "offset": reader.end, "size": len(tail)},
            )
        if self._durable:
            self._take_over(session)
        if reader.end == 0:
            if not (session.made or session.was_torn):
                _log.warning(
                    "%s was empty: a new store begins in it; if there was one, bring its journal back",
                    self._journal,
                    extra={"path": self._directory.path},
                )
            line = header_line()
            self._write_at(descriptor, line, 0)
            self._files.fsync(descriptor)
            self._wrote = True
            self._taken(lambda: reader.take(line))
            session.size = reader.end
        elif reader.store is None and reader.number == 0:
            raise self._not_a_journal()
        elif reader.number == 0:
            self._files.fsync(descriptor)  # whoever wrote the header may have died before syncing it
            self._syncer.learn(reader.identity, reader.end, reader.end)
        self.seen = True

    def _upgrade(self, session: Session) -> None:
        """Rewrite a journal of an old format, so that an f1mon that knows no other refuses it from here on."""
        _log.info(
            "rewriting %s from format %d to %d, before the first write to it: it takes about %d s and, until then,"
            " %d MiB more on disk; interrupted, it begins anew",
            self._journal,
            self._view.reader.format,
            FORMAT,
            max(1, session.size // _REWRITTEN_PER_SECOND),
            max(1, session.size >> 20),
            extra={"path": self._directory.path, "size": session.size},
        )
        self.rewrite(session, Rewrite(), Rewrite)

    def _take_over(self, session: Session) -> None:
        """Write again what others wrote and no line vouches for.

        A sync of theirs may have failed. The kernel calls such bytes clean although they are on no disk, so that a
        sync of ours would pass them over, and what we are about to acknowledge may rest on them.
        """
        reader = self._view.reader
        start = max(reader.vouched, self._syncer.known(reader.identity))
        if start < reader.end:
            left = read_all(self._files, session.descriptor, start, reader.end)
            write_all(self._files, session.descriptor, left, start)
            session.taken_over = len(left)

    def _not_a_journal(self) -> CorruptStoreError:
        path = self._journal
        return CorruptStoreError(f"{path} is not a journal of f1mon; nothing was written to it")

    def _write(self, session: Session) -> None:
        """Append what was decided as one line."""
        if self._view.descriptors.get(session.descriptor) is not session:
            raise NotWritten("this process was forked inside a step; the parent commits it")
        reader = self._view.reader
        with typed(NotWritten, f"could not write to {self._journal}"):
            synced = self._vouched_for(session)
            line = transaction_line(reader.number + reader.bad_since + 1, synced, session.members)
            decoded = decode_any_line(line[:-1])  # what cannot be read back is never written
            self._in_place(session.descriptor, reader.end)
            self._write_at(session.descriptor, line, reader.end)
        with typed(OutcomeUnknown, f"could not look at {self._journal}"):
            self._in_place(session.descriptor, reader.end + len(line))
        self._wrote = True
        if self._durable:
            # The disk is at work while the index is: a durable append takes 8 to 15 % longer without.
            with contextlib.suppress(OSError):
                self._files.write_out(session.descriptor, reader.end, len(line))
        session.end = reader.end + len(line)
        self._taken(lambda: reader.take_decoded(decoded, line))

    def _taken(self, take: Callable[[], None]) -> None:
        try:
            take()
        except BaseException:
            self._view.forget()
            raise

    def _in_place(self, descriptor: int, size: int) -> None:
        """Refuse where somebody who takes no lock harmed the journal since it was opened.

        Asked before a line is written, and again before it is acknowledged.
        """
        compaction.refuse_replaced(self._directory, self._files, descriptor, size)
        reader, pread = self._view.reader, self._files.pread
        header = pread(descriptor, len(reader.header), 0)
        if (
            header != reader.header
            or pread(descriptor, len(reader.guard), reader.end - len(reader.guard)) != reader.guard
        ):
            raise CorruptStoreError(
                f"{self._journal} was overwritten while it was written to; what was being written is not acknowledged"
            )

    def _vouched_for(self, session: Session) -> int:
        """Up to which byte the line to be written can say that the journal is on the disk.

        The first line of a handle vouches for all that it found: of handles that write one line each and close, no
        later line would, and a damaged line among theirs would pass for one that a power loss took. After it the
        handle's own syncs cover what others write in between, as long as that is little.
        """
        reader = self._view.reader
        synced = self._syncer.synced(reader.identity)
        if session.taken_over and (not synced or session.taken_over > _UNVOUCHED):
            self._syncer.learn(reader.identity, reader.end)
            self._syncer.sync(session.descriptor, reader.identity, reader.end)
            synced = reader.end
        return max(reader.vouched, synced)

    def _write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of it or, cutting the file back, nothing."""
        try:
            write_all(self._files, descriptor, data, offset)
        except BaseException as error:
            whole = False
            if not isinstance(error, Exception):
                with contextlib.suppress(OSError):
                    whole = self._files.fstat(descriptor).st_size == offset + len(data)
                if whole:
                    raise  # interrupted behind the whole line, which readers may have read: it stays
            try:
                self._files.ftruncate(descriptor, offset)
            except OSError as second:
                raise OutcomeUnknown(
                    f"writing to {self._directory.path} failed ({error}), and so did cutting it back ({second}); "
                    "the next writer repairs it: repeat the call"
                ) from error
            raise

    def _make_durable(self, session: Session) -> None:
        """Return once the journal, up to where the session read or wrote it, and its name are on the disk."""
        if session.journal not in self._named:
            try:
                self._directory.sync_names()
            except OSError as error:
                raise self._syncer.poisoned(f"syncing the directory failed ({error})") from error
            self._named.add(session.journal)
        self._syncer.sync(session.descriptor, session.journal, session.end)

    def rewrite(self, session: Session, change: Rewrite, planned: Callable[[], Rewrite]) -> Rewrite:
        """Replace the journal by a rewritten one; answers the changes that were carried out.

        Args:
            session: The writer's turn.
            change: What to change.
            planned: Plans them anew, should lines have rotted since they were read.
        """
        oldest = oldest_result(to_micros(session.now))

        def rewritten() -> int:
            made = compaction.rewrite(
                self._directory, self._files, session.descriptor, self._view.reader, change, oldest
            )
            self._view.descriptors[made] = session
            return made

        with typed(NotWritten, f"could not rewrite {self._journal}"):
            try:
                fresh = rewritten()
            except compaction.RottenError:
                self._view.forget()
                self._view.refresh(session.descriptor, session.size, locked=True)
                self._mend(session)
                change = planned()
                fresh = rewritten()
        # From here on the new journal is the store.
        self._wrote = True
        session.descriptor, old = fresh, session.descriptor
        self._view.shut(old, session)
        self._view.forget()
        with typed(OutcomeUnknown, f"could not read {self._journal}"):
            session.size = self._files.fstat(fresh).st_size
            self._view.refresh(fresh, session.size, locked=True)
        session.journal, session.end = self._view.reader.identity, self._view.reader.end
        return change

    def close(self) -> None:
        """Under durability="os", sync what was written, and the names of new files."""
        if self._durable or not self._wrote:
            return
        with typed(StorageError, "could not sync the journal"):
            verb = object()
            try:
                descriptor, _ = self._view.open(os.O_RDWR, verb)
                self._files.fdatasync(descriptor)
                self._directory.sync_names()
            finally:
                self._view.end(verb)
