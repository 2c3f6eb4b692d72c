"""Power loss: a recorded run, and every state that the disk may be in when the machine dies after any operation.

What counts as durable is what POSIX promises, not what one file system happens to do:

- Bytes are on the disk once an fdatasync or fsync of their file that began after them has returned; until then each
  write may be there whole, up to any byte, from any byte, in any choice of 512-byte sectors, as zeros, or not at all,
  whatever became of the others.
- A name is on the disk once the directory that holds it was synced after it was made; until then each creation,
  renaming and removal may be there or not, whatever became of the others. A rename is all or nothing.
- A sync that failed proves nothing, and takes back the promise of the next one for the bytes it failed for: the kernel
  calls them clean from then on. They are safe once they are written again.
- What was durable stays as it is; a write beside it does not harm it.
"""

import itertools
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from f1mon_jsonl.disk.files import Files

from .layers import Layer
from .scenarios import Progress

SECTOR = 512
DIRECTORY = -1
"""Stands for a directory among the file numbers; directories are known by their paths."""


# What is recorded -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Named:
    """Names of one directory changed at once: to a file's number, to `DIRECTORY`, or to None for no longer there."""

    directory: str
    names: tuple[tuple[str, int | None], ...]


@attrs.frozen
class Written:
    """Bytes written to a file."""

    file: int
    offset: int
    data: bytes


@attrs.frozen
class Cut:
    """A file cut, or stretched with zeros, to a size."""

    file: int
    size: int


@attrs.frozen
class Synced:
    """A sync of a file returned that had begun when so many events were recorded."""

    file: int
    until: int
    failed: bool = False


@attrs.frozen
class NamesSynced:
    """A sync of a directory returned."""

    directory: str


@attrs.frozen
class Told:
    """A lane began an act, or was told that it is done."""

    lane: int
    done: bool


Event: TypeAlias = Named | Written | Cut | Synced | NamesSynced | Told


class Recorder(Layer):
    """Writes down what happens under a base directory, in the order in which it happens."""

    def __init__(self, base: Path, below: Files | None = None) -> None:
        super().__init__(below)
        self.start = Disk.of(base)
        self.events: list[Event] = []
        self._base = str(base)
        self._turn = threading.RLock()
        self._files: dict[str, int] = {
            _path(directory, name): number
            for directory, names in self.start.names.items()
            for name, number in names.items()
        }
        self._numbers = itertools.count(len(self.start.files))
        self._descriptors: dict[int, int] = {}

    def begin(self, lane: int) -> None:
        self._note(Told(lane, done=False))

    def acknowledge(self, lane: int) -> None:
        self._note(Told(lane, done=True))

    def _note(self, event: Event) -> None:
        with self._turn:
            self.events.append(event)

    def on(self, name: str, arguments: tuple[Any, ...]) -> Any:
        noted = getattr(self, f"_on_{name}", None)
        if noted is None:
            return super().on(name, arguments)
        if name in {"fdatasync", "fsync"}:  # others may go on meanwhile
            return noted(name, *arguments)
        with self._turn:
            return noted(*arguments)

    def _inside(self, path: str) -> str:
        return os.path.relpath(path, self._base)

    def _on_open(self, path: str, flags: int, *rest: int) -> int:
        descriptor = self.below.open(path, flags, *rest)
        inside = self._inside(path)
        if inside not in self._files:
            self._name(path, next(self._numbers))
        number = self._descriptors[descriptor] = self._files[inside]
        if flags & os.O_TRUNC:
            self._note(Cut(number, 0))
        return descriptor

    def _name(self, path: str, number: int | None, **others: int | None) -> None:
        inside = self._inside(path)
        directory, name = os.path.split(inside)
        self._note(Named(directory or ".", ((name, number), *others.items())))
        if number is None:
            self._files.pop(inside, None)
        else:
            self._files[inside] = number

    def _on_close(self, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)
        self.below.close(descriptor)

    def _on_pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        written = self.below.pwrite(descriptor, data, offset)
        self._note(Written(self._descriptors[descriptor], offset, bytes(data)[:written]))
        return written

    def _on_ftruncate(self, descriptor: int, size: int) -> None:
        self.below.ftruncate(descriptor, size)
        self._note(Cut(self._descriptors[descriptor], size))

    def _on_fdatasync(self, name: str, descriptor: int) -> None:
        number, until = self._descriptors[descriptor], len(self.events)
        try:
            getattr(self.below, name)(descriptor)
        except OSError:
            self._note(Synced(number, until, failed=True))
            raise
        self._note(Synced(number, until))

    _on_fsync = _on_fdatasync

    def _on_fsync_directory(self, path: str) -> None:
        self.below.fsync_directory(path)
        if path.startswith(self._base):
            self._note(NamesSynced(self._inside(path)))

    def _on_rename(self, source: str, target: str) -> None:
        self.below.rename(source, target)
        number = self._files.pop(self._inside(source))
        self._name(target, number, **{Path(source).name: None})

    def _on_unlink(self, path: str) -> None:
        self.below.unlink(path)
        self._name(path, None)

    def _on_mkdir(self, path: str) -> None:
        self.below.mkdir(path)
        self._name(path, DIRECTORY)


# What may be left -----------------------------------------------------------------------------------------------------


@attrs.define
class Pending:
    """A change of a file that no sync has made durable.

    Attributes:
        at: The event that it is.
        sure: Whether it is durable, and only waits for an older one that is not.
        doomed: Whether a sync of it failed, so that only writing it again can save it.
    """

    change: Written | Cut
    at: int
    sure: bool = False
    doomed: bool = False


State: TypeAlias = tuple[tuple[str, bytes | None], ...]
"""What a disk holds: paths, and their bytes or None for a directory."""


@attrs.define
class Disk:
    """What is durable, and what is pending."""

    files: dict[int, bytes] = attrs.field(factory=dict)
    names: dict[str, dict[str, int]] = attrs.field(factory=lambda: {".": {}})
    pending: dict[int, list[Pending]] = attrs.field(factory=dict)
    renamed: dict[str, list[Named]] = attrs.field(factory=dict)
    events: int = 0

    @classmethod
    def of(cls, base: Path) -> "Disk":
        """A disk on which everything under a base directory is durable."""
        disk = cls()
        for path in sorted(base.rglob("*")):
            inside = path.relative_to(base)
            names = disk.names.setdefault(inside.parent.as_posix(), {})
            if stat.S_ISDIR(path.lstat().st_mode):
                names[path.name] = DIRECTORY
                disk.names.setdefault(inside.as_posix(), {})
            else:
                number = names[path.name] = len(disk.files)
                disk.files[number] = path.read_bytes()
        return disk

    def take(self, event: Event) -> None:
        """Let the next recorded event happen."""
        match event:
            case Named(directory):
                self.renamed.setdefault(directory, []).append(event)
            case Written(file) | Cut(file):
                self.pending.setdefault(file, []).append(Pending(event, self.events))
            case Synced(file, until, failed):
                self._sync(file, until, failed=failed)
            case NamesSynced(directory):
                durable = self.names.setdefault(directory, {})
                for change in self.renamed.pop(directory, ()):
                    _rename(durable, change)
            case Told():
                pass
        self.events += 1

    def _sync(self, file: int, until: int, *, failed: bool) -> None:
        waiting = self.pending.get(file, [])
        for one in waiting:
            if one.at < until:
                one.doomed = one.doomed or (failed and not one.sure and isinstance(one.change, Written))
                one.sure = one.sure or not (failed or one.doomed)
        while waiting and (waiting[0].sure or _rewritten(waiting[0], waiting[1:])):
            one = waiting.pop(0)
            self.files[file] = _applied(self.files.get(file, b""), one.change, WHOLE)

    def states(self, rng: random.Random, most: int) -> Iterator[State]:
        """States that the disk may be in now: all of them if `most` suffices, else a sample."""
        named = [self._named(kept) for kept in self._choices_of_names(rng, most)]
        for names in named:
            reachable = sorted({number for entries in names.values() for number in entries.values() if number >= 0})
            share = max(1, most // len(named))
            for data in _products([self._contents(number, rng, share) for number in reachable], rng, share):
                held = dict(zip(reachable, data, strict=True))
                yield _state(names, held)

    def _choices_of_names(self, rng: random.Random, most: int) -> list[tuple[bool, ...]]:
        """Which of the pending changes of names are there."""
        count = sum(map(len, self.renamed.values()))
        if 2**count <= max(4, most // 4):
            return list(itertools.product((True, False), repeat=count))
        some = [tuple(rng.random() < 0.5 for _ in range(count)) for _ in range(max(4, most // 4))]
        return [(True,) * count, (False,) * count, *some]

    def _named(self, kept: Sequence[bool]) -> dict[str, dict[str, int]]:
        names = {directory: dict(entries) for directory, entries in self.names.items()}
        changes = [change for changes in self.renamed.values() for change in changes]
        for change, there in zip(changes, kept, strict=True):
            if there:
                _rename(names.setdefault(change.directory, {}), change)
        return names

    def _contents(self, file: int, rng: random.Random, most: int) -> list[bytes]:
        """What a file may hold."""
        durable, pending = self.files.get(file, b""), self.pending.get(file, [])
        choices = [[WHOLE] if one.sure else fates(one.change, rng, most) for one in pending]
        found = dict.fromkeys(_after(durable, pending, chosen) for chosen in _products(choices, rng, most))
        return list(found)


def _rename(names: dict[str, int], change: Named) -> None:
    for name, number in change.names:
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


def _rewritten(one: Pending, later: Sequence[Pending]) -> bool:
    """Whether every byte of a write is covered by one later write that is durable, or cut away durably."""
    change = one.change
    if isinstance(change, Cut):
        return False
    end = change.offset + len(change.data)
    for other in later:
        if other.sure and isinstance(other.change, Written):
            if other.change.offset <= change.offset and other.change.offset + len(other.change.data) >= end:
                return True
        elif other.sure and isinstance(other.change, Cut) and other.change.size <= change.offset:
            return True
    return False


def _path(directory: str, name: str) -> str:
    return name if directory == "." else f"{directory}/{name}"


def _state(names: dict[str, dict[str, int]], held: dict[int, bytes]) -> State:
    found: list[tuple[str, bytes | None]] = []
    below = ["."]
    while below:
        directory = below.pop()
        for name, number in names.get(directory, {}).items():
            path = _path(directory, name)
            if number == DIRECTORY:
                below.append(path)
                found.append((path, None))
            else:
                found.append((path, held[number]))
    return tuple(sorted(found, key=lambda one: one[0]))


Fate: TypeAlias = Callable[[bytes, Written | Cut], bytes]
"""What became of a change of a file's bytes."""


def WHOLE(data: bytes, change: Written | Cut) -> bytes:  # noqa: N802 - it stands among the fates
    """It is there."""
    if isinstance(change, Cut):
        return data[: change.size].ljust(change.size, b"\0")
    return _patched(data, change.offset, change.data)


def LOST(data: bytes, change: Written | Cut) -> bytes:  # noqa: N802
    """It is not there."""
    return data


def _patched(data: bytes, offset: int, piece: bytes) -> bytes:
    return data[:offset].ljust(offset, b"\0") + piece + data[offset + len(piece) :]


@attrs.frozen
class Up:
    """The first bytes are there; of the rest the size may be, `stretched`, with zeros where the file was shorter."""

    to: int
    stretched: bool = False

    def __call__(self, data: bytes, change: Written | Cut) -> bytes:
        assert isinstance(change, Written)
        patched = _patched(data, change.offset, change.data[: self.to]) if self.to else data
        return patched.ljust(change.offset + len(change.data), b"\0") if self.stretched else patched


@attrs.frozen
class From:
    """Only the bytes from a place on are there."""

    start: int

    def __call__(self, data: bytes, change: Written | Cut) -> bytes:
        assert isinstance(change, Written)
        return _patched(data, change.offset + self.start, change.data[self.start :])


@attrs.frozen
class Sectors:
    """Some sectors are there."""

    mask: int

    def __call__(self, data: bytes, change: Written | Cut) -> bytes:
        assert isinstance(change, Written)
        end = change.offset + len(change.data)
        patched = data.ljust(end, b"\0")
        for number, start in enumerate(range(change.offset // SECTOR * SECTOR, end, SECTOR)):
            if self.mask >> (number % 64) & 1:
                low, high = max(start, change.offset), min(start + SECTOR, end)
                patched = _patched(patched, low, change.data[low - change.offset : high - change.offset])
        return patched


def fates(change: Written | Cut, rng: random.Random, most: int) -> list[Fate]:
    """What may have become of an un-synced change: the extremes first, then as much as `most` allows."""
    if isinstance(change, Cut):
        return [WHOLE, LOST]
    size = len(change.data)
    torn: list[Fate] = [
        *(Up(to) for to in range(1, size)),
        *(Up(to, stretched=True) for to in range(1, size)),
        *(From(start) for start in range(1, size)),
    ]
    sectors = (change.offset + size - 1) // SECTOR - change.offset // SECTOR + 1
    if sectors > 1:
        torn += [Sectors(rng.getrandbits(sectors)) for _ in range(min(2**sectors, 32))]
    if len(torn) > most:
        torn = rng.sample(torn, most)
    return [WHOLE, LOST, Up(0, stretched=True), *torn]


def _after(data: bytes, pending: Sequence[Pending], chosen: Sequence[Fate]) -> bytes:
    for one, fate in zip(pending, chosen, strict=True):
        data = _applied(data, one.change, fate)
    return data


def _applied(data: bytes, change: Written | Cut, fate: Fate) -> bytes:
    return fate(data, change)


def _products(choices: Sequence[Sequence[Any]], rng: random.Random, most: int) -> Iterator[tuple[Any, ...]]:
    """All combinations if they are at most so many; else each alone with the first of the others, and a sample."""
    total = 1
    for choice in choices:
        total *= len(choice)
    if total <= most:
        yield from itertools.product(*choices)
        return
    alone = [
        (*(other[0] for other in choices[:number]), one, *(other[0] for other in choices[number + 1 :]))
        for number, choice in enumerate(choices)
        for one in choice
    ]
    yield from alone if len(alone) <= most // 2 else rng.sample(alone, max(1, most // 2))
    for _ in range(max(1, most - min(len(alone), most // 2))):
        yield tuple(rng.choice(choice) for choice in choices)


def materialised(state: State, at: Path) -> Path:
    """A disk's state as a directory."""
    for path, data in state:
        if data is None:
            (at / path).mkdir(parents=True, exist_ok=True)
        else:
            (at / path).write_bytes(data)
    return at


@attrs.frozen
class Crash:
    """One state of the disk, and what had been promised when the power went."""

    state: State
    acknowledged: Progress
    begun: Progress


def crashes(
    start: "Disk", events: Sequence[Event], since: "Since", *, seed: int, most: int, seen: set[int]
) -> Iterator[Crash]:
    """The distinct crashes of a recorded run, after each of its events.

    Args:
        since: What had been promised before it.
        most: How many states to take after each event, if there are more.
        seen: Crashes that are known, and get to know these.
    """
    disk = start
    done, begun = list(since.acknowledged), list(since.begun)
    for number, event in enumerate([None, *events]):
        if event is not None:
            disk.take(event)
        if isinstance(event, Told):
            done[event.lane] += event.done
            begun[event.lane] = max(begun[event.lane], done[event.lane] + (not event.done))
        acknowledged = tuple(map(max, done, since.shown))
        rng = random.Random(f"{seed}/{number}")
        for state in disk.states(rng, most):
            crash = Crash(state, acknowledged, tuple(begun))
            if (digest := hash(crash)) not in seen:
                seen.add(digest)
                yield crash


@attrs.frozen
class Since:
    """What a recorded run starts from.

    Attributes:
        shown: What a reader saw on the durable disk it starts from, and must see for ever.
    """

    acknowledged: Progress
    begun: Progress
    shown: Progress
