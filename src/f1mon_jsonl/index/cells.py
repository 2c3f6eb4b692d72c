"""The cells of tallies, kept by blocks of rows, so that a window need not be counted row by row.

Rows in order of time are cut into blocks of 512 and of powers of eight times that. The cells of a block are worked out
when a window first covers it and kept until one of its rows changes, so a window costs its two edges and some twenty
blocks. Sums are kept as two floats, the rounded sum and what rounding left over, so that adding blocks loses nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from f1mon_core.storage.tally import Moments, midpoint
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.whole import Index

SPANS = (512, 4_096, 32_768, 262_144)
"""Rows in a block of each level."""

CROWDED = 2
"""Fewer rows than this for each cell, and a block is no shorter way than its rows; it is not kept."""

CellCodes: TypeAlias = tuple[int, int, int, int | float]
"""Codes of model, predicted and actual label, and the bin."""


class Sums(NamedTuple):
    """The confidences of one cell of a block: as `Moments`, with what rounding took from each sum."""

    n: int
    minimum: float
    maximum: float
    total: float
    total_rest: float
    squares: float
    squares_rest: float


BlockSums: TypeAlias = dict[CellCodes, Sums]


def exact_sum(values: Sequence[float]) -> tuple[float, float]:
    """A sum as two floats that add up to it: the nearest one, and what it misses."""
    total = math.fsum(values)
    return total, math.fsum((*values, -total))


class Cells:
    """The kept cells of blocks, for one number of bins, over predictions in order of time."""

    def __init__(self, index: Index, bins: int) -> None:
        self._index = index
        self._bins = bins
        self._keys: dict[CellCodes, CellCodes] = {}
        self._edges = [number / bins for number in range(bins)]
        self._levels: tuple[OrderedDict[int, BlockSums | None], ...] = tuple(OrderedDict() for _ in SPANS)

    def forget(self, position: int) -> None:
        """Drop the blocks that hold a position."""
        for level, span in zip(self._levels, SPANS, strict=True):
            level.pop(position // span, None)

    def forget_from(self, position: int) -> None:
        """Drop the blocks that reach a position or lie behind it."""
        for level, span in zip(self._levels, SPANS, strict=True):
            for number in [number for number in level if (number + 1) * span > position]:
                del level[number]

    def cover(self, low: int, high: int) -> tuple[list[BlockSums], list[range]]:
        """Blocks, and runs of single positions, that together hold the positions `[low, high)`."""
        blocks: list[BlockSums] = []
        loose: list[range] = []
        while low < high:
            end = min(high, (low // SPANS[0] + 1) * SPANS[0])
            level = max(
                (level for level, span in enumerate(SPANS) if low % span == 0 and low + span <= high), default=-1
            )
            block = None if level < 0 else self._block(level, low // SPANS[level])
            if block is None:
                loose.append(range(low, end))
                low = end
            else:
                blocks.append(block)
                low += SPANS[level]
        return blocks, loose

    def _block(self, level: int, number: int) -> BlockSums | None:
        """The cells of a block; None if they are nearly as many as its rows, so that those are the shorter way."""
        kept = self._levels[level]
        if number in kept:
            if level == 0:
                kept.move_to_end(number)
            return kept[number]
        span = SPANS[level]
        start = number * span
        inner = SPANS[level - 1]
        # The smallest blocks are made for the edges of windows alone: all of them would fill the memory.
        places = range(start, start + span, inner) if level > 1 else ()
        parts = [part for place in places if (part := self._block(level - 1, place // inner)) is not None]
        whole = len(parts) == len(places) > 0
        block = merged(parts) if whole else self._of_rows(start, start + span)
        kept[number] = block if len(block) * CROWDED <= span else None
        if level == 0 and len(kept) > KEPT:
            kept.popitem(last=False)
        return kept[number]

    def _of_rows(self, low: int, high: int) -> BlockSums:
        same = self._keys.setdefault
        grouped = self.confidences([range(low, high)])
        return {same(key, key): sums_of(values, midpoint(key[3], self._bins)) for key, values in grouped.items()}

    def confidences(self, runs: Iterable[range]) -> dict[CellCodes, list[float]]:
        """The confidences of the rows at some positions, by cell."""
        table = self._index.predictions
        model, predicted, actual, confidence = table.model, table.predicted, table.actual, table.confidence
        edges, rows = self._edges, self._index.by_prediction.rows
        grouped: defaultdict[CellCodes, list[float]] = defaultdict(list)
        for run in runs:
            for row in rows[run.start : run.stop]:
                value = confidence[row]
                grouped[model[row], predicted[row], actual[row], bisect_right(edges, value) - 1].append(value)
        return grouped

    def moments(self, low: int, high: int) -> Iterator[tuple[CellCodes, Moments]]:
        """The moments of each cell of the positions `[low, high)`."""
        blocks, loose = self.cover(low, high)
        found = gathered(blocks)
        singles = self.confidences(loose)
        for key in found.keys() | singles.keys():
            values = singles.get(key, ())
            yield key, moments_of(found.get(key, ()), values, midpoint(key[3], self._bins))


KEPT = 512
"""How many of the smallest blocks are kept; of the larger ones all are."""


def sums_of(values: Sequence[float], middle: float) -> Sums:
    """The sums of some confidences of one cell."""
    deviations = [value - middle for value in values]
    squares = [deviation * deviation for deviation in deviations]
    return Sums(len(values), min(values), max(values), *exact_sum(deviations), *exact_sum(squares))


def gathered(blocks: Iterable[BlockSums]) -> dict[CellCodes, list[Sums]]:
    """What blocks hold, by cell."""
    grouped: dict[CellCodes, list[Sums]] = {}
    find = grouped.get
    for block in blocks:
        for key, sums in block.items():
            if (parts := find(key)) is None:
                grouped[key] = [sums]
            else:
                parts.append(sums)
    return grouped


def merged(blocks: Iterable[BlockSums]) -> BlockSums:
    """The cells of blocks, added."""
    return {key: parts[0] if len(parts) == 1 else _added(parts) for key, parts in gathered(blocks).items()}


def _added(parts: Sequence[Sums]) -> Sums:
    counts, minima, maxima, totals, rests, squares, squares_rests = zip(*parts, strict=True)
    return Sums(sum(counts), min(minima), max(maxima), *exact_sum(totals + rests), *exact_sum(squares + squares_rests))


def moments_of(parts: Sequence[Sums], values: Sequence[float], middle: float) -> Moments:
    """The moments of a cell that lies in several blocks and in single rows."""
    deviations = [value - middle for value in values]
    squared = [deviation * deviation for deviation in deviations]
    if not parts:
        return Moments(len(values), min(values), max(values), math.fsum(deviations), math.fsum(squared))
    counts, minima, maxima, totals, rests, squares, squares_rests = zip(*parts, strict=True)
    return Moments(
        sum(counts) + len(values),
        min(*minima, *values) if values or len(minima) > 1 else minima[0],
        max(*maxima, *values) if values or len(maxima) > 1 else maxima[0],
        math.fsum((*totals, *rests, *deviations)),
        math.fsum((*squares, *squares_rests, *squared)),
    )


class Blocks:
    """The kept cells of one index, for the numbers of bins that were asked for last."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[int, Cells] = OrderedDict()

    def of(self, bins: int) -> Cells:
        """The cells for a number of bins."""
        if (cells := self._kept.get(bins)) is None:
            cells = self._kept[bins] = Cells(self._index, bins)
            self._index.watched = True
            if len(self._kept) > _KEPT_BINS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(bins)
        return cells

    def bring_up_to_date(self) -> None:
        """Drop kept cells whose rows moved or were labelled since."""
        index = self._index
        late = index.by_prediction.moved()
        positions = [position for row in index.changed for position in self._positions(row)] if self._kept else []
        index.changed.clear()
        for cells in self._kept.values():
            if late is not None:
                cells.forget_from(late)
            for position in positions:
                cells.forget(position)

    def _positions(self, row: int) -> Iterator[int]:
        """The first position of each smallest block that may hold a row."""
        table = self._index.predictions
        if table.model[row] == NONE:
            return
        order, at = self._index.by_prediction, table.at
        low, high = order.window(at[row], at[row] + 1)
        yield from range(low // SPANS[0] * SPANS[0], high, SPANS[0])


_KEPT_BINS = 3
"""For how many numbers of bins cells are kept."""
