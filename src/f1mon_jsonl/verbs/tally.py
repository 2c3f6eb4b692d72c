"""Tallies from columns: block by block where only the window matters, row by row where each row must be asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from f1mon_core.records.kinds import KeptTally
from f1mon_core.records.times import duration_micros, from_micros, to_micros
from f1mon_core.storage import retention
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import CellKey, Moments, Tally, TallyQuery, bucket_of, midpoint
from f1mon_jsonl.index.cells import KeptCells, moments_of
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.times import TimeOrder
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.verbs.find import find


def tally(loader: Loader, kept: KeptCells, query: TallyQuery) -> Tally:
    """See `Storage.tally`."""
    index = loader.index
    horizon = index.horizons.get("prediction")
    behind = retention.check_kept(
        query,
        None if horizon is None else from_micros(horizon),
        None if index.outcomes_until is None else from_micros(index.outcomes_until),
    )
    counted = of_rows(index, kept, query)
    if not behind:
        return counted
    facts = find(loader, Select("kept_tally", until=query.until, since=query.since))
    return counted + retention.kept_tally([fact for fact in facts if isinstance(fact, KeptTally)], query)


def of_rows(index: Index, kept: KeptCells, query: TallyQuery) -> Tally:
    """The cells of the predictions in a window, without what pruning kept."""
    bounds = Bounds.of(query, index)
    order = index.by_prediction if query.basis == "prediction" else index.first_known_order()
    kept.bring_up_to_date()
    low, high = order.window(bounds.since, bounds.until)
    if query.basis == "outcome" and bounds.as_recorded is not None:
        low = 0  # the first outcome recorded by then may be a later one than the first of all
    if query.model_version is not None and index.models.find(query.model_version) is None:
        return Tally(query.bins, {})
    if (
        query.basis != "prediction"
        or not isinstance(query.bins, int)
        or bounds.as_of is not None
        or bounds.as_recorded is not None
        or query.delay is not None
    ):
        return Tally(query.bins, _row_by_row(index, query, bounds, order, low, high))
    return Tally(query.bins, _block_by_block(index, kept, query, low, high))


def _block_by_block(index: Index, kept: KeptCells, query: TallyQuery, low: int, high: int) -> dict[CellKey, Moments]:
    assert isinstance(query.bins, int)  # noqa: S101 - for the type checker
    cells = kept.of(query.bins)
    found: dict[CellKey, Moments] = {}
    models, labels = index.models.values, index.labels.values
    only = None if query.model_version is None else index.models.find(query.model_version)
    for bucket, start, end in _buckets(index, query, low, high):
        for (model, predicted, actual, number), moments in cells.moments(start, end):
            if only is None or model == only:
                label = None if actual == NONE else labels[actual]
                found[CellKey(models[model], labels[predicted], label, number, bucket, None)] = moments
    return found


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


def _row_by_row(
    index: Index, query: TallyQuery, bounds: Bounds, order: TimeOrder, low: int, high: int
) -> dict[CellKey, Moments]:
    table, models, labels = index.predictions, index.models.values, index.labels.values
    only = None if query.model_version is None else index.models.find(query.model_version)
    unit = None if query.delay is None else duration_micros(query.delay)
    by_outcome = query.basis == "outcome"
    edges = None if query.bins == "exact" else [number / query.bins for number in range(int(query.bins))]
    recorded = index.lines.recorded
    grouped: defaultdict[CellKey, list[float]] = defaultdict(list)
    for row in order.rows[low:high]:
        if (only is not None and table.model[row] != only) or not bounds.holds(
            table.at[row], recorded[table.line[row]]
        ):
            continue
        first, actual = _known(index, row, bounds)
        stands_at = first if by_outcome else table.at[row]
        if stands_at == NONE or (by_outcome and not bounds.spans(stands_at)):
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
    return {key: moments_of((), values, midpoint(key.bin, query.bins)) for key, values in grouped.items()}


def _known(index: Index, row: int, bounds: Bounds) -> tuple[int, int]:
    """The first known_at and the current label's code among the outcomes a query considers; NONE without any."""
    if bounds.as_of is None and bounds.as_recorded is None:
        return index.predictions.first_known[row], index.predictions.actual[row]
    links = index.outcomes
    known = [
        (links.known[link], links.actual[link])
        for link in index.chain(row)
        if bounds.holds(links.known[link], index.lines.recorded[links.line[link]])
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

    def holds(self, at: int, recorded: int) -> bool:
        """Whether something had happened by `as_of` and was recorded by `as_recorded`."""
        return (self.as_of is None or at <= self.as_of) and (self.as_recorded is None or recorded <= self.as_recorded)

    def spans(self, at: int) -> bool:
        """Whether an instant lies in the window."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)
