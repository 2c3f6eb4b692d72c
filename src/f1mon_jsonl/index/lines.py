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
        """When the facts of a line were recorded: all at once, for a line is a transaction …"""
        self.recorded_apart: dict[int, array[int]] = {}
        """… unless they were restored: then each."""
        self.newest = NONE
        """The latest instant at which any fact was recorded."""
        self.spans: dict[int, Spans] = {}
        """Where the facts lie in long lines that were asked for."""

    def extend(self, lines: Sequence[Transaction], texts: Sequence[bytes], offset: int) -> int:
        """Note consecutive lines that start at an offset; answers the number of the first."""
        first = len(self.offsets)
        sizes = list(map(len, texts))
        self.sizes.fromlist(sizes)
        recorded = [line.facts[0].recorded_at if line.facts else NONE for line in lines]
        self.recorded.fromlist(recorded)
        self.newest = max(self.newest, *recorded)
        self.offsets.fromlist(list(accumulate((size + 1 for size in sizes[:-1]), initial=offset)))
        for number, line in enumerate(lines, first):
            if len(line.facts) > 1 and len({fact.recorded_at for fact in line.facts}) > 1:
                apart = self.recorded_apart[number] = array("q", [fact.recorded_at for fact in line.facts])
                self.newest = max(self.newest, *apart)
        return first

    def add(self, line: Transaction, text: bytes, offset: int) -> int:
        """Note one line that starts at an offset; answers its number."""
        number = len(self.offsets)
        self.sizes.append(len(text))
        recorded = line.facts[0].recorded_at if line.facts else NONE
        self.recorded.append(recorded)
        self.newest = max(self.newest, recorded)
        self.offsets.append(offset)
        return number

    def recorded_at(self, line: int, item: int) -> int:
        """When a fact was recorded."""
        apart = self.recorded_apart.get(line)
        return self.recorded[line] if apart is None else apart[item]
