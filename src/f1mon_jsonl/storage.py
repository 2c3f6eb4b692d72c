"""JSONLStorage: the storage contract over one directory of files."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote, unquote

import attrs

from f1mon_core.errors import (
    ClosedError,
    ConfigurationError,
    CorruptStoreError,
    InvalidQueryError,
    NotWritten,
    OutcomeUnknown,
    StorageError,
)
from f1mon_core.records import fields
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact, KeptTally
from f1mon_core.records.times import (
    EPOCH,
    Clock,
    duration_micros,
    from_micros,
    host_clock,
    to_micros,
)
from f1mon_core.storage import answers, retention
from f1mon_core.storage.change import Step, check_state_key, checked_change, due_of
from f1mon_core.storage.contract import OPERATION_HOURS, Appended, CheckReport, Pruned
from f1mon_core.storage.environment import DEFAULT_DIRECTORY
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery, check_instant
from f1mon_jsonl.disk.directory import JOURNAL, LOCK, Directory, read_all, write_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.disk.lock import WriteLock
from f1mon_jsonl.disk.sync import Syncer
from f1mon_jsonl.disk.typed import QUIETLY, Typed
from f1mon_jsonl.format import header_line, might_be_header, transaction_line
from f1mon_jsonl.index.cells import Tallies
from f1mon_jsonl.index.index import decode_document
from f1mon_jsonl.journal import compaction
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.reader import Reader
from f1mon_jsonl.verbs import check as _checking
from f1mon_jsonl.verbs import find as _selection
from f1mon_jsonl.verbs.append import Staged, stage

Durability: TypeAlias = Literal["commit", "os"]
R = TypeVar("R")

LOCK_TIMEOUT = 30.0
_UNVOUCHED = 1 << 16
"""Bytes of other writers, vouched for by no line, that a handle leaves to its next one to vouch for."""
_OPERATION_MICROS = duration_micros(timedelta(hours=OPERATION_HOURS))

_log = logging.getLogger("f1mon.jsonl")
_log.addHandler(logging.NullHandler())
_stores: weakref.WeakSet[JSONLStorage] = weakref.WeakSet()


@attrs.define(eq=False)
class _Session:
    """A writer's turn: the lock is held, the index is up to date, the tail is whole.

    Attributes:
        descriptor: The journal, open for reading and writing.
        size: How many bytes it holds, what is torn included; nobody else changes that before the turn is over.
        now: The store's clock, read after the lock was taken.
        journal, end: The journal's identity, and up to where it was read or written.
        taken_over: Bytes of others, written again, that no line vouches for.
        members: What to commit, as JSON text by member; nothing is written without any.
    """

    descriptor: int = -1
    size: int = 0
    now: datetime = EPOCH
    journal: object = None
    end: int = 0
    taken_over: int = 0
    members: list[tuple[str, str]] = attrs.field(factory=list)


class JSONLStorage:
    """The storage contract over one directory: a journal, a lock file, and what was set aside.

    Any number of handles, threads and processes of one machine may use a directory at once. Readers take no lock.

    Args:
        path: The directory; made, with its parents, where it is missing.
        durability: "commit": what was acknowledged is on the disk. "os": it is in the operating system's hands, which
            survives a crash of the process but not of the machine.
        lock_timeout: Seconds to wait for another writer before `LockTimeoutError`; infinity for as long as it takes.
        clock: Overrides the host's clock.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = DEFAULT_DIRECTORY,
        *,
        durability: Durability = "commit",
        lock_timeout: float = LOCK_TIMEOUT,
        clock: Clock | None = None,
        _files: Files | None = None,
    ) -> None:
        if durability not in ("commit", "os"):
            raise ConfigurationError(f"durability must be 'commit' or 'os', got {durability!r}")
        if not _is_number(lock_timeout) or not lock_timeout >= 0:
            raise ConfigurationError(f"lock_timeout must be seconds of at least 0, got {lock_timeout!r}")
        self.clock: Clock = clock or host_clock
        self._files = _files or Files()
        self._directory = Directory(path, self._files)
        self._durability = durability
        self._lock_timeout = float(min(lock_timeout, threading.TIMEOUT_MAX))
        self._closed = False
        self._descriptors: set[int] = set()
        journal = self._directory.of(JOURNAL)
        self._reading = Typed(StorageError, f"could not read {self._directory.path}")
        self._reading_to_write = Typed(NotWritten, f"could not read {self._directory.path}")
        self._opening = Typed(NotWritten, f"could not open {journal}")
        self._writing = Typed(NotWritten, f"could not write to {journal}")
        self._seen = False
        self._reset()
        self._forget()
        with Typed(StorageError, f"could not open {self._directory.path}"):
            self._directory.make()
            missing = not self._directory.has_journal()
        with Typed(StorageError, f"could not look at {self._directory.path}"):
            kind = self._directory.network_file_system()
        if kind:
            _log.warning(
                "%s lies on %s, where locks and syncs promise less; keep the store on a local disk",
                self._directory.path,
                kind,
                extra={"path": self._directory.path, "file_system": kind},
            )
        if missing:
            self._commit(lambda _: None)
        else:
            self._read(lambda _: None)
            self._seen = bool(self._reader.header)
        _stores.add(self)

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
        batch = list(facts)

        def decide(session: _Session) -> Appended:
            staged = self._staged(session, batch)
            return Appended(len(staged.documents), staged.repeated)

        return self._commit(decide)

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return self._read(
            lambda descriptor: self._loader(descriptor).facts(_selection.selected(self._reader.index, select))
        )

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        answers.check_count(select, by)
        if "at" in by:
            raise InvalidQueryError("count does not group by time; tally does")
        return self._read(lambda _: _selection.counted(self._reader.index, select, by))

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""

        def answer(descriptor: int) -> Tally:
            index = self._reader.index
            horizon = index.horizons.get("prediction")
            behind = retention.check_kept(
                query,
                None if horizon is None else from_micros(horizon),
                None if index.outcomes_until is None else from_micros(index.outcomes_until),
            )
            tally = self._tallies.tally(query)
            if behind:
                places = _selection.selected(index, Select("kept_tally", until=query.until, since=query.since))
                kept = [fact for fact in self._loader(descriptor).facts(places) if isinstance(fact, KeptTally)]
                tally += retention.kept_tally(kept, query)
            return tally

        return self._read(answer)

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        check_state_key(key)

        def decide(session: _Session) -> Json:
            index = self._reader.index
            if (known := index.operations.get((key, operation_id))) is not None:
                return decode_document(known[1])  # type: ignore[no-any-return]
            stored = index.documents.get(key)
            change = checked_change(step(None if stored is None else decode_document(stored), session.now))
            self._staged(session, change.facts)
            documents: dict[str, Document | None] = {key: change.state}
            if change.state is None and stored is None:
                del documents[key]
            for other, document in change.also.items():
                if other == key:
                    if change.state is None:
                        documents[other] = document
                elif other not in index.documents:
                    documents[other] = document
            if documents:
                session.members.append(("state", encoded(documents)))  # type: ignore[arg-type]
            now = to_micros(session.now)
            session.members.append(("operations", encoded([[key, operation_id, now, change.result]])))
            return change.result

        return self._commit(decide)

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        check_state_key(prefix, prefix=True)
        check_instant("due_before", due_before)
        due = None if due_before is None else to_micros(due_before)
        return self._read(lambda _: self._documents(prefix, due, limit, after))

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`. The journal is rewritten without what was removed."""
        check_instant("before", before)
        horizon = retention.prune_horizon(before)
        retention.prunable_kinds(keep)

        def decide(session: _Session) -> Pruned:
            def planned() -> compaction.Plan:
                return compaction.pruning(self._reader.index, self._tallies, horizon, keep, session.now)

            plan = planned()
            if plan.removed:
                plan = self._compacted(session, plan, planned)
            else:
                session.members.append(("horizons", encoded(plan.horizons)))  # type: ignore[arg-type]
            return Pruned(horizon, plan.removed)

        return self._commit(decide)

    def compact(self) -> None:
        """Rewrite the journal without superseded state documents, old operations and damaged lines.

        Damaged lines are set aside in files of the directory and stay in the report of `check`. Other handles and
        processes may go on meanwhile: readers at once, writers when it is done.
        """

        def decide(session: _Session) -> None:
            self._compacted(session, compaction.Plan(), compaction.Plan)

        self._commit(decide)

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        self._check_open()
        with self._reading:
            return _checking.report(self._directory, self._files, durable=self._durability == "commit")

    def close(self) -> None:
        """See `Storage.close`. Under durability="os" what was written is synced first, and the names of new files."""
        if self._closed:
            return
        self._closed = True
        _stores.discard(self)
        if self._durability == "os" and self._wrote:
            with Typed(StorageError, "could not sync the journal"), self._opened(os.O_RDWR) as (descriptor, _):
                self._files.fdatasync(descriptor)
                self._directory.sync_names()
        with self._mutex:
            self._forget()

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self, answer: Callable[[int], R]) -> R:
        self._check_open()
        verb = object()
        self._under_way.add(verb)
        try:
            with self._reading, self._mutex, self._opened(os.O_RDONLY) as (descriptor, size):
                self._refresh(descriptor, size, locked=False)
                return answer(descriptor)
        finally:
            self._under_way.discard(verb)

    def _refresh(self, descriptor: int, size: int, *, locked: bool) -> None:
        """Bring the index up to date with the journal that lies there now, and holds so many bytes."""
        if not self._reader.continues(descriptor):
            self._forget()
        try:
            if size > self._reader.end:
                self._reader.read_on(descriptor, locked=locked)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._reader = Reader(self._files)
        self._tallies = Tallies(self._reader.index)

    def _loader(self, descriptor: int, error: type[StorageError] = StorageError) -> Loader:
        return Loader(self._files, descriptor, self._reader.index, error)

    def _documents(self, prefix: str, due: int | None, limit: int | None, after: str | None) -> dict[str, Document]:
        found: dict[str, Document] = {}
        for key, text in self._reader.index.documents_from(prefix, after):
            if limit is not None and len(found) >= limit:
                break
            document = decode_document(text)
            if due is None or ((own := due_of(document)) is not None and own < due):
                found[key] = document
        return found

    # Writing --------------------------------------------------------------------------------------------------------

    def _commit(self, decide: Callable[[_Session], R]) -> R:
        """Decide under the lock and write what was decided; sync outside it; answer."""
        self._check_open()
        self._syncer.check()
        session = _Session()
        self._under_way.add(session)
        try:
            with self._lock:
                self._open_to_write(session)
                with self._mutex:
                    answer = self._decided(session, decide)
                    self._syncer.learn(session.journal, session.end, self._reader.vouched)
            if self._durability == "commit":
                self._make_durable(session)
        finally:
            self._shut(session.descriptor)
            self._under_way.discard(session)
        return answer

    def _open_to_write(self, session: _Session) -> None:
        """Open the journal, now that nobody can replace it; make it in a new store."""
        with self._opening:
            try:
                session.descriptor, session.size = self._open(os.O_RDWR)
            except FileNotFoundError:
                if self._seen:
                    raise CorruptStoreError(
                        f"{self._directory.of(JOURNAL)} is gone; bring it back, or open the store again for a new one"
                    ) from None
                session.descriptor, session.size = self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _decided(self, session: _Session, decide: Callable[[_Session], R]) -> R:
        with self._reading_to_write:
            self._refresh(session.descriptor, session.size, locked=True)
            self._mend(session)
        session.now = fields.instant(self.clock(), "clock")
        session.journal, session.end = self._reader.identity, self._reader.end
        answer = decide(session)
        if session.members:
            self._write(session)
        return answer

    def _mend(self, session: _Session) -> None:
        """Set aside what lies behind the journal's end, and begin a new journal with its header."""
        reader, descriptor = self._reader, session.descriptor
        if session.size > reader.end:
            tail = read_all(self._files, descriptor, reader.end, session.size)
            if reader.end == 0 and not might_be_header(tail):
                raise self._not_a_journal()
            self._directory.set_aside("torn", reader.generation, reader.end, tail)
            self._files.ftruncate(descriptor, reader.end)
            session.size = reader.end
            # Or a power loss could mix the torn bytes with the next line, into one that looks damaged for ever.
            self._files.fdatasync(descriptor)
            _log.warning(
                "set aside %d torn bytes at the end of %s",
                len(tail),
                self._directory.of(JOURNAL),
                extra={"path": self._directory.path, "offset": reader.end, "size": len(tail)},
            )
        if self._durability == "commit":
            self._take_over(session)
        if reader.end == 0:
            line = header_line()
            self._write_at(descriptor, line, 0)
            self._files.fsync(descriptor)
            self._wrote = True
            reader.take(line)
            session.size = reader.end
        elif reader.store is None and reader.number == 0:
            raise self._not_a_journal()
        elif reader.number == 0:
            self._files.fsync(descriptor)  # whoever wrote the header may have died before syncing it
            self._syncer.learn(reader.identity, reader.end, reader.end)
        self._seen = True

    def _take_over(self, session: _Session) -> None:
        """Write again what others wrote and no line vouches for.

        A sync of theirs may have failed. The kernel calls such bytes clean although they are on no disk, so that a
        sync of ours would pass them over, and what we are about to acknowledge may rest on them.
        """
        reader = self._reader
        start = max(reader.vouched, self._syncer.known(reader.identity))
        if start < reader.end:
            left = read_all(self._files, session.descriptor, start, reader.end)
            write_all(self._files, session.descriptor, left, start)
            session.taken_over = len(left)

    def _not_a_journal(self) -> CorruptStoreError:
        path = self._directory.of(JOURNAL)
        return CorruptStoreError(f"{path} is not a journal of f1mon; nothing was written to it")

    def _write(self, session: _Session) -> None:
        """Append what was decided as one line."""
        if session.descriptor not in self._descriptors:
            raise NotWritten("this process was forked inside a step; the parent commits it")
        reader = self._reader
        with self._writing:
            synced = self._vouched_for(session)
            line = transaction_line(reader.number + reader.bad_since + 1, synced, session.members)
            self._write_at(session.descriptor, line, reader.end)
        self._wrote = True
        if self._durability == "commit":
            with QUIETLY:  # the disk is at work while the index is, and the sync waits the less
                self._files.write_out(session.descriptor, reader.end, len(line))
        session.end = reader.end + len(line)
        try:
            reader.take(line)
        except BaseException:
            self._forget()
            raise

    def _vouched_for(self, session: _Session) -> int:
        """Up to which byte the line to be written can say that the journal is on the disk.

        The first line of a handle vouches for all that it found: of handles that write one line each and close, no
        later line would, and a damaged line among theirs would pass for one that a power loss took. After it the
        handle's own syncs cover what others write in between, as long as that is little.
        """
        reader = self._reader
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
            try:
                self._files.ftruncate(descriptor, offset)
            except OSError as second:
                raise OutcomeUnknown(
                    f"writing to {self._directory.path} failed ({error}), and so did cutting it back ({second}); "
                    "the next writer repairs it: repeat the call"
                ) from error
            raise

    def _make_durable(self, session: _Session) -> None:
        """Return once the journal, up to where the session read or wrote it, and its name are on the disk."""
        if session.journal not in self._named:
            try:
                self._directory.sync_names()
            except OSError as error:
                raise self._syncer.poisoned(f"syncing the directory failed ({error})") from error
            self._named.add(session.journal)
        self._syncer.sync(session.descriptor, session.journal, session.end)

    def _staged(self, session: _Session, facts: Sequence[Fact]) -> Staged:
        """What appending facts comes to, as a member of the line."""
        staged = stage(self._reader.index, self._loader(session.descriptor, NotWritten), facts, session.now)
        if staged.documents:
            session.members.append(("facts", f"[{','.join(map(encoded, staged.documents))}]"))
        return staged

    def _compacted(
        self, session: _Session, plan: compaction.Plan, planned: Callable[[], compaction.Plan]
    ) -> compaction.Plan:
        """Replace the journal by a rewritten one; answers the plan that was carried out.

        Args:
            session: The writer's turn.
            plan: What to change.
            planned: Makes the plan anew, should lines have rotted since they were read.
        """
        oldest = to_micros(session.now) - _OPERATION_MICROS

        def rewritten() -> int:
            return compaction.rewrite(self._directory, self._files, session.descriptor, self._reader, plan, oldest)

        with Typed(NotWritten, f"could not rewrite {self._directory.of(JOURNAL)}"):
            try:
                fresh = rewritten()
            except compaction.RottenError:
                self._forget()
                self._refresh(session.descriptor, session.size, locked=True)
                self._mend(session)
                plan = planned()
                fresh = rewritten()
        # From here on the new journal is the store.
        self._wrote = True
        self._descriptors.add(fresh)
        self._shut(session.descriptor)
        session.descriptor = fresh
        self._forget()
        with Typed(OutcomeUnknown, f"could not read {self._directory.of(JOURNAL)}"):
            session.size = self._files.fstat(fresh).st_size
            self._refresh(fresh, session.size, locked=True)
        session.journal, session.end = self._reader.identity, self._reader.end
        return plan

    # Descriptors, forks, closing ------------------------------------------------------------------------------------

    def _open(self, flags: int) -> tuple[int, int]:
        """A descriptor of the journal, and the size it has now."""
        descriptor, size = self._directory.open_sized(JOURNAL, flags)
        self._descriptors.add(descriptor)
        return descriptor, size

    def _shut(self, descriptor: int) -> None:
        if descriptor not in self._descriptors:
            return  # it was never opened; or a forked child closed it, and the number is somebody else's by now
        self._descriptors.discard(descriptor)
        with QUIETLY:  # Linux gives the descriptor back whatever close answers
            self._files.close(descriptor)

    @contextlib.contextmanager
    def _opened(self, flags: int) -> Iterator[tuple[int, int]]:
        descriptor, size = self._open(flags)
        try:
            yield descriptor, size
        finally:
            self._shut(descriptor)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this store is closed; open it again")

    def _reset(self) -> None:
        """Everything that belongs to one process."""
        self._under_way: set[object] = set()
        """The verbs under way, so that a forked child knows whether it can trust what it inherited."""
        self._mutex = threading.RLock()
        self._syncer = Syncer(self._files)
        self._lock = WriteLock(self._directory.of(LOCK), self._files, self._descriptors, self._lock_timeout)
        self._named: set[object] = set()
        self._wrote = False

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's locks and descriptors; keep the index if nobody was at it."""
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._descriptors.clear()
        torn = bool(self._under_way)
        self._reset()
        if torn:
            self._forget()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._after_fork()  # noqa: SLF001 - of this very class


os.register_at_fork(after_in_child=_after_fork_in_child)


def open_jsonl(
    *,
    path: str | os.PathLike[str] | None = None,
    url: str | None = None,
    durability: Durability = "commit",
    lock_timeout: float = LOCK_TIMEOUT,
    clock: Clock | None = None,
) -> JSONLStorage:
    """Open a directory of files as a store.

    Args:
        path: The directory; `data/monitoring` if neither it nor `url` is given.
        url: The directory as an address: `jsonl:///absolute/path` or `jsonl://relative/path`.
        durability: See `JSONLStorage`.
        lock_timeout: Seconds to wait for another writer; infinity for as long as it takes.
        clock: Overrides the host's clock.

    Raises:
        ConfigurationError: If an option cannot be meant.
        StorageError: If the directory cannot be made or read.
    """
    return JSONLStorage(_given(path, url), durability=durability, lock_timeout=lock_timeout, clock=clock)


def jsonl_exists(*, path: str | os.PathLike[str] | None = None, url: str | None = None, **_options: object) -> bool:
    """Whether the directory that `open_jsonl` would open holds a journal."""
    return os.path.lexists(os.path.join(_given(path, url), JOURNAL))


def _given(path: str | os.PathLike[str] | None, url: str | None) -> str | os.PathLike[str]:
    """The directory of `path=` or `url=`."""
    if url is None:
        return DEFAULT_DIRECTORY if path is None else path
    if path is not None:
        raise ConfigurationError("give the directory once: as path= or as url=")
    return directory_of(url)


def directory_of(url: str) -> str:
    """The directory that a `jsonl://` address names: `jsonl:///srv/f1mon` is absolute, `jsonl://data/f1mon` is not."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "jsonl" or "?" in rest or "#" in rest:
        raise ConfigurationError(f"the address of the file backend is jsonl:///directory, got {url!r}")
    if not (directory := unquote(rest)):
        raise ConfigurationError("jsonl:// names no directory: give jsonl:///absolute/path or jsonl://relative/path")
    return directory
