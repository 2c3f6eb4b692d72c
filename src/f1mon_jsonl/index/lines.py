"""Where the lines of a journal lie, and where in them the facts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from f1mon_jsonl.format import Transaction
from f1mon_jsonl.index.codes import NONE

Spot: TypeAlias = tuple[int, int]
"""Where a fact lies: the number of its line in `Lines`, and which of the line's facts it is."""


class Spans(NamedTuple):
    """The facts of one line: where each begins in it, the last one's end, and the checksum of each."""

    bounds: array[int]
    checksums: array[int]


class Lines:
    """Where the lines lie, the header apart."""

    def __init__(self) -> None:
        self.offsets = array("q")
        self.sizes = array("I")
        self.recorded = array("q")
        """When the facts of a line were recorded: all at once, for a line is a transaction."""
        self.spans: dict[int, Spans] = {}
        """Where the facts lie in long lines that were asked for."""

    def extend(self, lines: Sequence[Transaction], texts: Sequence[bytes], offset: int) -> int:
        """Note consecutive lines that start at an offset; answers the number of the first."""
        first = len(self.offsets)
        sizes = list(map(len, texts))
        self.sizes.fromlist(sizes)
        self.recorded.fromlist([line.facts[0].recorded_at if line.facts else NONE for line in lines])
        self.offsets.fromlist(list(accumulate((size + 1 for size in sizes[:-1]), initial=offset)))
        return first

    def add(self, line: Transaction, text: bytes, offset: int) -> int:
        """Note one line that starts at an offset; answers its number."""
        number = len(self.offsets)
        self.sizes.append(len(text))
        self.recorded.append(line.facts[0].recorded_at if line.facts else NONE)
        self.offsets.append(offset)
        return number
