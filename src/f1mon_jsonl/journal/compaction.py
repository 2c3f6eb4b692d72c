"""Rewriting the journal: a new generation without what is superseded, damaged or pruned.

The new file is written beside the old one, synced, and takes its name in one step, all under the writers' lock. Whoever
reads the old one goes on reading it, and finds the new one at the next question.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records import documents
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact
from f1mon_jsonl.disk.directory import JOURNAL, REWRITTEN, Directory, read_all, write_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import decode_raw_line, header_line, intact, transaction_line
from f1mon_jsonl.index.lines import Spot
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import damage_since
from f1mon_jsonl.journal.reader import CHUNK, Reader

Members: TypeAlias = list[tuple[str, str]]
"""The members of a line, as JSON texts by their names."""

_TOGETHER = 1_000
"""State documents, operations or pruned ids in a line."""
_FACTS_TOGETHER = 100
"""Facts in a line: some of those that a prune leaves take 100 KB."""


class RottenError(CorruptStoreError):
    """A line is no longer what was read of it."""


@attrs.define
class Rewrite:
    """What a new generation holds otherwise than the present one.

    Attributes:
        gone: The spots of the facts to leave out.
        removed: How many those are, by kind.
        lines: The members of lines to add behind all that stays.
        added: How many facts those lines append.
    """

    gone: defaultdict[int, set[int]] = attrs.field(factory=lambda: defaultdict(set))
    removed: dict[str, int] = attrs.field(factory=dict)
    lines: list[Members] = attrs.field(factory=list)
    added: int = 0

    def drop(self, kind: str, spot: Spot) -> None:
        """Leave out a fact."""
        self.gone[spot[0]].add(spot[1])
        self.removed[kind] = self.removed.get(kind, 0) + 1


def rewrite(
    directory: Directory, files: Files, descriptor: int, reader: Reader, change: Rewrite, results_since: int
) -> int:
    """Replace the journal by a new generation; answers the descriptor of the new file.

    Args:
        directory: Where it lies; the writers' lock is held.
        files: The file layer.
        descriptor: The present journal.
        reader: What was read of it, to its end.
        change: What to leave out and to add.
        results_since: The instant before which the results of operations may be forgotten.

    Raises:
        OSError: If anything fails; the journal is what it was.
        RottenError: If a line was damaged since it was read: plan anew on what can be read now.
    """
    for damage in reader.damages:
        bad = read_all(files, descriptor, damage.offset, damage.offset + damage.size)
        # Of lines that are missing only the word is left, or the new generation would seem to have lost nothing.
        directory.set_aside("damaged", reader.generation, damage.offset, bad or f"{damage.reason}\n".encode())
    target = directory.open(REWRITTEN, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        written = _NewFile(files, target)
        written.write(header_line(reader.store, reader.generation + 1))
        for facts in _kept_facts(files, descriptor, reader.index, change.gone):
            written.line([("facts", facts)])
        for members in (*_remains(reader.index, results_since), *change.lines):
            written.line(members)
        written.finish()
        files.fsync(target)
        refuse_replaced(directory, files, descriptor, reader.end)
        files.rename(directory.of(REWRITTEN), directory.of(JOURNAL))
    except BaseException:
        with contextlib.suppress(OSError):
            files.close(target)
        with contextlib.suppress(OSError):
            files.unlink(directory.of(REWRITTEN))
        raise
    return target


def refuse_replaced(directory: Directory, files: Files, descriptor: int, size: int) -> None:
    """Refuse where somebody who takes no lock cut the journal, or put another in its place, since it was opened.

    Raises:
        CorruptStoreError: If it has not so many bytes, or the name is no longer its own.
    """
    path, found = directory.of(JOURNAL), files.fstat(descriptor)
    try:
        named = files.lstat(path)
    except FileNotFoundError:
        named = None
    if named is None or (named.st_dev, named.st_ino) != (found.st_dev, found.st_ino) or found.st_size != size:
        raise CorruptStoreError(
            f"{path} was cut or replaced while it was written to; what was being written is not acknowledged: bring"
            " the journal back, open the store again and repeat it"
        )


class _NewFile:
    """Lines on their way into the new file, a few megabytes at a time."""

    def __init__(self, files: Files, descriptor: int) -> None:
        self._files = files
        self._descriptor = descriptor
        self._offset = 0
        self._pending: list[bytes] = []
        self._size = 0
        self._number = 0

    def write(self, line: bytes) -> None:
        self._pending.append(line)
        self._size += len(line)
        if self._size >= CHUNK:
            self._flush()

    def line(self, members: Members, synced: int = 0) -> None:
        self._number += 1
        self.write(transaction_line(self._number, synced, members))

    def finish(self) -> None:
        """End with a line that vouches for all before it: they are synced before the file gets its name."""
        self.line([], synced=self._offset + self._size)
        self._flush()

    def _flush(self) -> None:
        write_all(self._files, self._descriptor, b"".join(self._pending), self._offset)
        self._offset += self._size
        self._pending, self._size = [], 0


def _kept_facts(files: Files, descriptor: int, index: Index, gone: Mapping[int, Collection[int]]) -> Iterator[str]:
    """The facts of each line, as JSON text, without those that go."""
    buffer, start = b"", 0
    for number, (offset, size) in enumerate(zip(index.lines.offsets, index.lines.sizes, strict=True)):
        if offset + size > start + len(buffer):
            buffer, start = read_all(files, descriptor, offset, offset + max(size, CHUNK)), offset
        line = buffer[offset - start : offset - start + size]
        if not intact(line):
            raise RottenError(damage_since(offset))
        facts = decode_raw_line(line).facts
        left_out = gone.get(number, ())
        kept = [bytes(fact) for item, fact in enumerate(facts) if item not in left_out]
        if kept:
            yield f"[{b','.join(kept).decode('ascii')}]"


def _remains(index: Index, results_since: int) -> Iterator[Members]:
    """The members of the lines that hold everything but the facts that stay."""
    for model, items in index.pruned.by_model().items():
        yield from pruned_lines(model, items)
    if limits := limit_members(index.horizons, index.outcomes_until, index.stands_until, index.restored_from):
        yield limits
    for keys in _some(index.state.sorted_keys):
        yield [("state", _object((key, index.state.documents[key]) for key in keys))]
    operations = [(*name, *kept) for name, kept in index.state.results.items() if kept[0] >= results_since]
    for chosen in _some(operations):
        texts = (f"[{encoded(key)},{encoded(one)},{at},{result.decode('ascii')}]" for key, one, at, result in chosen)
        yield [("operations", f"[{','.join(texts)}]")]
    restored = [(digest, kept) for digest, kept in index.state.restored.items() if kept[0] >= results_since]
    for chosen in _some(restored):
        yield [("results", _object((digest, b"[%d,%b]" % kept) for digest, kept in chosen))]


def pruned_lines(model: str | None, items: Sequence[str]) -> Iterator[Members]:
    """Lines that say which items were pruned under a model; None is every model."""
    for some in _some(items):
        ids = encoded(list(some))
        yield [("pruned", ids) if model is None else ("pruned_keys", f"{{{encoded(model)}:{ids}}}")]


def limit_members(
    horizons: Mapping[str, int], outcomes_until: int | None, stands_until: int | None, restored_from: str | None = None
) -> Members:
    """What a line says of prunes, besides the keys; instants in microseconds since 1970."""
    members: Members = []
    if restored_from is not None:
        members.append(("restored_from", encoded(restored_from)))
    if horizons:
        members.append(("horizons", encoded({**horizons})))
    for name, instant in (("outcomes_until", outcomes_until), ("stands_until", stands_until)):
        if instant is not None:
            members.append((name, str(instant)))
    return members


def fact_lines(facts: Sequence[Fact]) -> Iterator[Members]:
    """Lines that append facts, which have all their times."""
    for some in _some(facts, _FACTS_TOGETHER):
        yield [("facts", f"[{','.join(map(encoded, map(documents.to_document, some)))}]")]


def _object(items: Iterable[tuple[str, bytes]]) -> str:
    return "{" + ",".join(f"{encoded(key)}:{text.decode('ascii')}" for key, text in items) + "}"


def _some(items: Sequence[Any], together: int = _TOGETHER) -> Iterator[Any]:
    for start in range(0, len(items), together):
        yield items[start : start + together]
