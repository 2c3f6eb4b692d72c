"""Tallies from columns: block by block where only the window matters, row by row where each row must be asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import attrs

from f1mon_core.records.times import duration_micros, from_micros, to_micros
from f1mon_core.storage import retention
from f1mon_core.storage.tally import (
    BUCKET_ORIGIN,
    CellKey,
    Moments,
    SegmentChoice,
    Tally,
    TallyQuery,
    answered,
    bucket_of,
    midpoint,
)
from f1mon_jsonl.index.cells import Blocks, moments_of
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.segments import Segment
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.verbs.find import find

Cell: TypeAlias = tuple[CellKey, Moments]


def tally(loader: Loader, blocks: Blocks, query: TallyQuery) -> Tally:
    """See `Storage.tally`."""
    index = loader.index
    limits = (index.horizons.get("prediction"), index.outcomes_until, index.stands_until)
    behind = retention.check_kept(query, *(None if limit is None else from_micros(limit) for limit in limits))
    cells = [*_in_window(index, blocks, query)]
    for select in retention.kept_selects(query) if behind else ():
        cells += retention.kept_cells(find(loader, select), query)
    return answered(query, cells)


def _in_window(index: Index, blocks: Blocks, query: TallyQuery) -> Iterator[Cell]:
    """The cells of the predictions in a window, without what pruning kept."""
    bounds = Bounds.of(query, index)
    by_outcome = query.basis == "outcome"
    order = index.outcome_order() if by_outcome else index.by_prediction
    blocks.bring_up_to_date()
    low, high = order.window(bounds.since, bounds.until)
    if by_outcome and bounds.as_recorded is not None:
        low = 0  # the first outcome recorded by then may be a later one than the first of all
    if query.beside is not None:
        return _beside(index, query, order.rows[low:], bounds)
    if (
        by_outcome
        or not isinstance(query.bins, int)
        or bounds.as_of is not None
        or bounds.as_recorded is not None
        or query.delay is not None
        or query.by
        or query.where
    ):
        return of_rows(index, query, order.rows[low:high], bounds)
    return _block_by_block(index, blocks, query, low, high)


def _block_by_block(index: Index, blocks: Blocks, query: TallyQuery, low: int, high: int) -> Iterator[Cell]:
    assert isinstance(query.bins, int)  # noqa: S101 - for the type checker
    cells = blocks.of(query.bins)
    models, labels = index.models.values, index.labels.values
    only = None if query.model_version is None else index.models.find(query.model_version)
    if only is None and query.model_version is not None:
        return
    for bucket, start, end in _buckets(index, query, low, high):
        for (model, predicted, actual, number), moments in cells.moments(start, end):
            if only is None or model == only:
                label = None if actual == NONE else labels[actual]
                yield CellKey(models[model], labels[predicted], label, number, bucket), moments


def _buckets(index: Index, query: TallyQuery, low: int, high: int) -> Iterator[tuple[int | None, int, int]]:
    """The non-empty time buckets between two positions, each with its own positions."""
    if query.bucket is None:
        yield None, low, high
        return
    rows, at = index.by_prediction.rows, index.predictions.at
    width = duration_micros(query.bucket)
    while low < high:
        bucket = bucket_of(at[rows[low]], query.bucket)
        end = bisect_left(rows, (bucket or 0) + width, low, high, key=at.__getitem__)
        yield bucket, low, end
        low = end


# Row by row -----------------------------------------------------------------------------------------------------------


def of_rows(
    index: Index,
    query: TallyQuery,
    rows: Sequence[int],
    bounds: Bounds | None = None,
    earlier: Mapping[int, int] | None = None,
) -> Iterator[Cell]:
    """The cells of some predictions, those among them that a query counts.

    Args:
        index: Where they are.
        query: What to count into which cells; its window is looked at no more.
        rows: The predictions; by outcome time those without an outcome are passed over.
        bounds: Which of them are within the query's window and knowledge; None if all are.
        earlier: Of items that another model predicted before, when that was: they stand there.
    """
    table, split = index.predictions, [index.segments.of(name, len(index.predictions.ids)) for name in query.by]
    by_outcome = query.basis == "outcome"
    unit = None if query.delay is None else duration_micros(query.delay)
    width = None if query.bucket is None else duration_micros(query.bucket)
    edges = None if query.bins == "exact" else [number / query.bins for number in range(int(query.bins))]
    at, confidences, first_known, actual = table.at, table.confidence, table.first_known, table.actual
    model, predicted, columns = table.model, table.predicted, [segment.column for segment in split]
    limits = bounds if bounds is not None and bounds.limits_knowledge else None
    grouped: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in _selected(index, query, rows):
        made = at[row]
        if limits is None:
            first, current = first_known[row], actual[row]
        elif limits.holds(made, index.lines.recorded_at(table.line[row], table.item[row])):
            first, current = _known(index, row, limits)
        else:
            continue
        stands_at = made = earlier.get(row, made) if earlier else made
        if by_outcome:
            if first == NONE:
                continue
            stands_at = max(made, first)
            if bounds is not None and not bounds.spans(stands_at):
                continue
        confidence = confidences[row]
        grouped[
            model[row],
            predicted[row],
            current,
            confidence if edges is None else bisect_right(edges, confidence) - 1,
            None if width is None else (stands_at - _ORIGIN) // width * width + _ORIGIN,
            None if unit is None or first == NONE else (first - made) // unit,
            *[column[row] for column in columns],
        ].append(confidence)
    models, labels = index.models.values, index.labels.values
    for (of, answer, truth, place, bucket, delay, *group), values in grouped.items():
        key = CellKey(
            models[of],
            labels[answer],
            None if truth == NONE else labels[truth],
            place,
            bucket,
            delay,
            tuple(map(_value, split, group)) if group else (),
        )
        yield key, moments_of((), values, midpoint(place, query.bins))


def _beside(index: Index, query: TallyQuery, rows: Sequence[int], bounds: Bounds) -> Iterator[Cell]:
    """The cells of the items that another model predicted too, of predictions not made before the window."""
    table, models = index.predictions, index.models
    other_code = None if query.beside is None else models.find(query.beside)
    if other_code is None:
        return
    at, model, following, first_row, ids = table.at, table.model, table.following, table.rows, table.ids
    until, since = bounds.until, bounds.since
    answers: dict[int, list[int]] = {}
    earlier: dict[int, int] = {}
    for row in _selected(index, query, rows):
        other = first_row[ids[row]]
        while other != NONE and model[other] != other_code:
            other = following[other]
        if (
            other == NONE
            or (since is not None and at[other] < since)
            or (until is not None and at[row] >= until and at[other] >= until)
            or (bounds.limits_knowledge and not bounds.holds(at[other], _recorded(index, other)))
        ):
            continue
        answers.setdefault(table.predicted[other], []).append(row)
        if at[other] < at[row]:
            earlier[row] = at[other]
    plain, labels = attrs.evolve(query, beside=None), index.labels.values
    for code, together in answers.items():
        for key, moments in of_rows(index, plain, together, bounds, earlier):
            yield key._replace(segments=(*key.segments, labels[code])), moments


def _recorded(index: Index, row: int) -> int:
    return index.lines.recorded_at(index.predictions.line[row], index.predictions.item[row])


_ORIGIN = to_micros(BUCKET_ORIGIN)


def _value(segment: Segment, code: int) -> int | str | None:
    return None if code == NONE else segment.codes.values[code]


def _selected(index: Index, query: TallyQuery, rows: Sequence[int]) -> Sequence[int]:
    """Those of some rows that are of the query's model and have its segments."""
    table = index.predictions
    if query.model_version is not None:
        model, only = table.model, index.models.find(query.model_version)
        rows = [row for row in rows if model[row] == only]
    for name, wanted in query.where.items():
        segment = index.segments.of(name, len(table.ids))
        column, codes = segment.column, _codes(segment, wanted)
        rows = [row for row in rows if column[row] in codes]
    return rows


def _codes(segment: Segment, wanted: SegmentChoice) -> set[int | None]:
    """The codes of the values that a prediction may have."""
    choices = wanted if isinstance(wanted, tuple) else (wanted,)
    return {NONE if choice is None else segment.codes.find(choice) for choice in choices}


def _known(index: Index, row: int, bounds: Bounds) -> tuple[int, int]:
    """The first known_at and the current label's code among the outcomes a query considers; NONE without any."""
    links = index.outcomes
    known = [
        (links.known[link], links.actual[link])
        for link in index.links(index.predictions.ids[row])
        if bounds.holds(links.known[link], index.lines.recorded_at(links.line[link], links.item[link]))
    ]
    return (min(known)[0], max(known)[1]) if known else (NONE, NONE)


class Bounds(NamedTuple):
    """The instants of a query in microseconds; a limit that no stored instant reaches is None.

    Attributes:
        since, until: Of the time that the query's basis means.
    """

    since: int | None
    until: int | None
    as_of: int | None
    as_recorded: int | None

    @classmethod
    def of(cls, query: TallyQuery, index: Index) -> Bounds:
        """The bounds of a query."""
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

    @property
    def limits_knowledge(self) -> bool:
        """Whether it is about less than all that is known."""
        return self.as_of is not None or self.as_recorded is not None

    def holds(self, at: int, recorded: int) -> bool:
        """Whether something had happened by `as_of` and was recorded by `as_recorded`."""
        return (self.as_of is None or at <= self.as_of) and (self.as_recorded is None or recorded <= self.as_recorded)

    def spans(self, at: int) -> bool:
        """Whether an instant lies in the window."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)
