"""Facts as they lie in the file, read when somebody asks for the whole of them."""

from __future__ import annotations

import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from f1mon_core.errors import CorruptStoreError, StorageError
from f1mon_core.records import documents
from f1mon_core.records.kinds import Fact
from f1mon_jsonl.disk.directory import read_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import decode_document, decode_raw_line, intact
from f1mon_jsonl.index.lines import Spans, Spot
from f1mon_jsonl.index.whole import Index

_LINES_KEPT = 64
_LONG = 16_384
"""Bytes from which on a line is not read whole for one of its facts: to find one by its id in batches of 5,000 takes
45 times as long otherwise."""
_MANY = 16
"""Facts wanted of one line from which on it is."""


class Loader:
    """Reads facts through one descriptor; keeps the lines it met last, for batches lie in one line."""

    def __init__(
        self,
        files: Files,
        descriptor: int,
        index: Index,
        error: type[StorageError],
        facts_from: Callable[[Iterable[Mapping[str, Any]]], list[Fact]] = documents.from_stored,
    ) -> None:
        self._files = files
        self._descriptor = descriptor
        self.index = index
        self._lines = index.lines
        self._error = error
        self._facts_from = facts_from
        self._met: dict[int, tuple[msgspec.Raw, ...]] = {}
        self._wanted: defaultdict[int, int] = defaultdict(int)

    def fact(self, spot: Spot) -> Fact:
        """The fact at a spot."""
        (fact,) = self._facts_from([self._document(spot)])
        return fact

    def facts(self, spots: Sequence[Spot]) -> list[Fact]:
        """The facts at some spots, in their order."""
        for line, _ in spots:
            self._wanted[line] += 1
        return self._facts_from(map(self._document, spots))

    def _document(self, spot: Spot) -> Any:
        line, item = spot
        if line not in self._met and line in self._lines.spans and self._wanted[line] < _MANY:
            self._wanted[line] += 1
            return decode_document(self._single(line, item))
        return decode_document(self._facts_of(line)[item])

    def _facts_of(self, line: int) -> tuple[msgspec.Raw, ...]:
        if (facts := self._met.get(line)) is not None:
            return facts
        offset, size = self._lines.offsets[line], self._lines.sizes[line]
        text = self._read(offset, size)
        if not intact(text):
            raise CorruptStoreError(damage_since(offset))
        if len(self._met) >= _LINES_KEPT:
            del self._met[next(iter(self._met))]
        facts = self._met[line] = decode_raw_line(text).facts
        if size >= _LONG and line not in self._lines.spans and (spans := _spans(text, facts)) is not None:
            self._lines.spans[line] = spans
        return facts

    def _single(self, line: int, item: int) -> bytes:
        """One fact of a long line, without the rest of it."""
        bounds, checksums = self._lines.spans[line]
        offset = self._lines.offsets[line] + bounds[item]
        text = self._read(offset, bounds[item + 1] - bounds[item] - 1)
        if zlib.crc32(text) != checksums[item]:
            raise CorruptStoreError(damage_since(offset))
        return text

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return read_all(self._files, self._descriptor, offset, offset + size)
        except OSError as error:
            raise self._error(f"could not read the journal at byte {offset}: {error}") from error


def damage_since(offset: int) -> str:
    """The message of an error about bytes that no longer are what was read."""
    return f"the journal at byte {offset} was damaged after it was read; run check"


def _spans(text: bytes, facts: Sequence[msgspec.Raw]) -> Spans | None:
    """Where the facts lie in a line; None if anything but a comma lies between them."""
    texts = [bytes(fact) for fact in facts]
    start = text.find(_FACTS) + len(_FACTS)
    if text[start:].startswith(b",".join(texts) + b"]"):
        bounds = accumulate((len(fact) + 1 for fact in texts), initial=start)
        return Spans(array("I", bounds), array("I", map(zlib.crc32, texts)))
    return None


_FACTS = b',"facts":['
