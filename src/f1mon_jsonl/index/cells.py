"""Tallies from columns: small windows row by row, large ones from the kept cells of blocks of rows.

Rows in order of time are cut into blocks of 512 and of powers of eight times that. The cells of a block are worked out
when a window first covers it and kept until one of its rows changes, so a window costs its two edges and some twenty
blocks. Sums are kept as two floats, the rounded sum and what rounding left over, so that adding blocks loses nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage.tally import CellKey, Moments, Tally, TallyQuery, bucket_of, midpoint
from f1mon_jsonl.index.index import NONE, Index
from f1mon_jsonl.index.times import TimeOrder

SPANS = (512, 4_096, 32_768, 262_144)
"""Rows in a block of each level."""

CROWDED = 2
"""Fewer rows than this for each cell, and a block is no shorter way than its rows; it is not kept."""

Key = tuple[int, int, int, int | float]
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


Block = dict[Key, Sums]


def exact_sum(values: Sequence[float]) -> tuple[float, float]:
    """A sum as two floats that add up to it: the nearest one, and what it misses."""
    total = math.fsum(values)
    return total, math.fsum((*values, -total))


class Cells:
    """The kept cells of blocks, for one number of bins, over predictions in order of time."""

    def __init__(self, index: Index, bins: int) -> None:
        self._index = index
        self._bins = bins
        self._keys: dict[Key, Key] = {}
        self._edges = [number / bins for number in range(bins)]
        self._levels: tuple[OrderedDict[int, Block | None], ...] = tuple(OrderedDict() for _ in SPANS)

    def forget(self, position: int) -> None:
        """Drop the blocks that hold a position."""
        for level, span in zip(self._levels, SPANS, strict=True):
            level.pop(position // span, None)

    def forget_from(self, position: int) -> None:
        """Drop the blocks that reach a position or lie behind it."""
        for level, span in zip(self._levels, SPANS, strict=True):
            for number in [number for number in level if (number + 1) * span > position]:
                del level[number]

    def cover(self, low: int, high: int) -> tuple[list[Block], list[range]]:
        """Blocks, and runs of single positions, that together hold the positions `[low, high)`."""
        blocks: list[Block] = []
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

    def _block(self, level: int, number: int) -> Block | None:
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

    def _of_rows(self, low: int, high: int) -> Block:
        same = self._keys.setdefault
        grouped = self.confidences([range(low, high)])
        return {same(key, key): sums_of(values, midpoint(key[3], self._bins)) for key, values in grouped.items()}

    def confidences(self, runs: Iterable[range]) -> dict[Key, list[float]]:
        """The confidences of the rows at some positions, by cell."""
        table = self._index.predictions
        model, predicted, actual, confidence = table.model, table.predicted, table.actual, table.confidence
        edges, rows = self._edges, self._index.by_prediction.rows
        grouped: defaultdict[Key, list[float]] = defaultdict(list)
        for run in runs:
            for row in rows[run.start : run.stop]:
                value = confidence[row]
                grouped[model[row], predicted[row], actual[row], bisect_right(edges, value) - 1].append(value)
        return grouped

    def moments(self, low: int, high: int) -> Iterator[tuple[Key, Moments]]:
        """The moments of each cell of the positions `[low, high)`."""
        blocks, loose = self.cover(low, high)
        found = gathered(blocks)
        singles = self.confidences(loose)
        for key in found.keys() | singles.keys():
            values = singles.get(key, ())
            yield key, _moments_of(found.get(key, ()), values, midpoint(key[3], self._bins))


KEPT = 512
"""How many of the smallest blocks are kept; of the larger ones all are."""


def sums_of(values: Sequence[float], middle: float) -> Sums:
    """The sums of some confidences of one cell."""
    deviations = [value - middle for value in values]
    squares = [deviation * deviation for deviation in deviations]
    return Sums(len(values), min(values), max(values), *exact_sum(deviations), *exact_sum(squares))


def gathered(blocks: Iterable[Block]) -> dict[Key, list[Sums]]:
    """What blocks hold, by cell."""
    grouped: dict[Key, list[Sums]] = {}
    find = grouped.get
    for block in blocks:
        for key, sums in block.items():
            if (parts := find(key)) is None:
                grouped[key] = [sums]
            else:
                parts.append(sums)
    return grouped


def merged(blocks: Iterable[Block]) -> Block:
    """The cells of blocks, added."""
    return {key: parts[0] if len(parts) == 1 else _added(parts) for key, parts in gathered(blocks).items()}


def _added(parts: Sequence[Sums]) -> Sums:
    counts, minima, maxima, totals, rests, squares, squares_rests = zip(*parts, strict=True)
    return Sums(sum(counts), min(minima), max(maxima), *exact_sum(totals + rests), *exact_sum(squares + squares_rests))


def _moments_of(parts: Sequence[Sums], values: Sequence[float], middle: float) -> Moments:
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


class Tallies:
    """Answers tallies from an index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[int, Cells] = OrderedDict()

    def tally(self, query: TallyQuery) -> Tally:
        """The cells of the predictions in a window, without what pruning kept."""
        index = self._index
        settled = Window.of(query, index)
        order = index.by_prediction if query.basis == "prediction" else index.first_known_order()
        self._bring_up_to_date()
        low, high = order.window(settled.since, settled.until)
        if query.basis == "outcome" and settled.as_recorded is not None:
            low = 0  # the first outcome recorded by then may be a later one than the first of all
        if query.model_version is not None and index.models.find(query.model_version) is None:
            return Tally(query.bins, {})
        if (
            query.basis != "prediction"
            or not isinstance(query.bins, int)
            or settled.as_of is not None
            or settled.as_recorded is not None
            or query.delay is not None
        ):
            return Tally(query.bins, self._row_by_row(query, settled, order, low, high))
        return Tally(query.bins, self._block_by_block(query, low, high))

    def _bring_up_to_date(self) -> None:
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

    def _cells(self, bins: int) -> Cells:
        if (cells := self._kept.get(bins)) is None:
            cells = self._kept[bins] = Cells(self._index, bins)
            self._index.watched = True
            if len(self._kept) > _KEPT_BINS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(bins)
        return cells

    def _block_by_block(self, query: TallyQuery, low: int, high: int) -> dict[CellKey, Moments]:
        assert isinstance(query.bins, int)  # noqa: S101 - for the type checker
        cells = self._cells(query.bins)
        found: dict[CellKey, Moments] = {}
        models, labels = self._index.models.values, self._index.labels.values
        only = None if query.model_version is None else self._index.models.find(query.model_version)
        for bucket, start, end in self._buckets(query, low, high):
            for (model, predicted, actual, number), moments in cells.moments(start, end):
                if only is None or model == only:
                    label = None if actual == NONE else labels[actual]
                    found[CellKey(models[model], labels[predicted], label, number, bucket, None)] = moments
        return found

    def _buckets(self, query: TallyQuery, low: int, high: int) -> Iterator[tuple[int | None, int, int]]:
        """The non-empty time buckets between two positions, each with its own positions."""
        if query.bucket is None:
            yield None, low, high
            return
        rows, at = self._index.by_prediction.rows, self._index.predictions.at
        width = duration_micros(query.bucket)
        while low < high:
            bucket = bucket_of(at[rows[low]], query.bucket)
            end = bisect_left(rows, (bucket or 0) + width, low, high, key=at.__getitem__)
            yield bucket, low, end
            low = end

    def _row_by_row(
        self, query: TallyQuery, window: Window, order: TimeOrder, low: int, high: int
    ) -> dict[CellKey, Moments]:
        index = self._index
        table, models, labels = index.predictions, index.models.values, index.labels.values
        only = None if query.model_version is None else index.models.find(query.model_version)
        unit = None if query.delay is None else duration_micros(query.delay)
        by_outcome = query.basis == "outcome"
        edges = None if query.bins == "exact" else [number / query.bins for number in range(int(query.bins))]
        recorded = index.lines.recorded
        grouped: defaultdict[CellKey, list[float]] = defaultdict(list)
        for row in order.rows[low:high]:
            if (only is not None and table.model[row] != only) or not window.holds(
                table.at[row], recorded[table.line[row]]
            ):
                continue
            first, actual = self._known(row, window)
            stands_at = first if by_outcome else table.at[row]
            if stands_at == NONE or (by_outcome and not window.spans(stands_at)):
                continue
            confidence = table.confidence[row]
            key = CellKey(
                models[table.model[row]],
                labels[table.predicted[row]],
                None if actual == NONE else labels[actual],
                confidence if edges is None else bisect_right(edges, confidence) - 1,
                bucket_of(stands_at, query.bucket),
                None if unit is None or first == NONE else (first - table.at[row]) // unit,
            )
            grouped[key].append(confidence)
        return {key: _moments_of((), values, midpoint(key.bin, query.bins)) for key, values in grouped.items()}

    def _known(self, row: int, window: Window) -> tuple[int, int]:
        """The first known_at and the current label's code among the outcomes a query considers; NONE without any."""
        index = self._index
        if window.as_of is None and window.as_recorded is None:
            return index.predictions.first_known[row], index.predictions.actual[row]
        links = index.outcomes
        known = [
            (links.known[link], links.actual[link])
            for link in index.chain(row)
            if window.holds(links.known[link], index.lines.recorded[links.line[link]])
        ]
        return (min(known)[0], max(known)[1]) if known else (NONE, NONE)


_KEPT_BINS = 3
"""For how many numbers of bins cells are kept."""


class Window(NamedTuple):
    """The instants of a query in microseconds; a limit that no stored instant reaches is None.

    Attributes:
        since, until: Of the time that the query's basis means.
    """

    since: int | None
    until: int | None
    as_of: int | None
    as_recorded: int | None

    @classmethod
    def of(cls, query: TallyQuery, index: Index) -> Window:
        """The window of a query."""
        since, until, as_of, as_recorded = (
            None if instant is None else to_micros(instant)
            for instant in (query.since, query.until, query.as_of, query.as_recorded)
        )
        return cls(
            since,
            until,
            None if as_of is None or as_of >= index.newest else as_of,
            None if as_recorded is None or as_recorded >= index.newest else as_recorded,
        )

    def holds(self, at: int, recorded: int) -> bool:
        """Whether something had happened by `as_of` and was recorded by `as_recorded`."""
        return (self.as_of is None or at <= self.as_of) and (self.as_recorded is None or recorded <= self.as_recorded)

    def spans(self, at: int) -> bool:
        """Whether an instant lies in the window."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)
