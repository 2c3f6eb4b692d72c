"""The defaults: listings, counts, tallies and kept cells folded over facts, for a backend with no cleverer way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.records.kinds import KINDS, Fact, KeptTally, Outcome, Prediction
from f1mon_core.records.times import MICROSECOND, duration_micros, from_micros, to_micros
from f1mon_core.storage.contract import (
    LASTING_KINDS,
    Scalar,
    Select,
    alternatives,
    check_attributes,
    kind_of,
)
from f1mon_core.storage.tally import (
    KEPT_BINS,
    KEPT_BUCKET,
    CellKey,
    Moments,
    Tally,
    TallyQuery,
    bin_of,
    bucket_of,
    check_instant,
    merge_cells,
    midpoint,
    moments_of,
)


def check_count(select: Select, by: Sequence[str]) -> None:
    """Refuse what `Storage.count` refuses."""
    if select.limit is not None or select.after is not None:
        raise InvalidQueryError("count answers for all facts selected: give no limit and no after")
    check_attributes(kind_of(select.kind), by)


def fold_find(
    facts: Iterable[Fact], select: Select, keys_of: Callable[[str], Collection[tuple[str, ...]]]
) -> list[Fact]:
    """The facts selected out of all facts of the kind, in the order and to the number asked for.

    Args:
        facts: Every stored fact of `select.kind`, in any order.
        select: Which to find.
        keys_of: The keys stored of another kind, for `having` and `lacking`.
    """
    found = list(filter(matcher(select), facts))
    for other, wanted in ((select.having, True), (select.lacking, False)):
        if other is not None:
            parts = len(kind_of(select.kind).key_fields)
            present = {key[:parts] for key in keys_of(other)}
            found = [fact for fact in found if (fact.key in present) is wanted]
    found.sort(key=lambda fact: fact.cursor, reverse=select.descending)
    if (after := select.after) is not None:
        found = [fact for fact in found if (fact.cursor < after if select.descending else fact.cursor > after)]
    return found[: select.limit]


def fold_count(facts: Iterable[Fact], by: Sequence[str]) -> dict[tuple[Scalar, ...], int]:
    """Facts counted by the values of their attributes."""
    return dict(Counter(tuple(getattr(fact, name) for name in by) for fact in facts))


def matcher(select: Select) -> Callable[[Fact], bool]:
    """What says whether a fact is in the window of a select, of its model, and has the attributes asked for."""
    choices = {name: _choices(wanted) for name, wanted in select.where.items()}

    def matches(fact: Fact) -> bool:
        if select.since is not None and fact.instant < select.since:
            return False
        if select.until is not None and fact.instant >= select.until:
            return False
        if select.model_version is not None and cast("Any", fact).model_version != select.model_version:
            return False
        return all((type(value := getattr(fact, name)), value) in wanted for name, wanted in choices.items())

    return matches


def _choices(wanted: Scalar | Collection[Scalar]) -> frozenset[tuple[type, Scalar]]:
    """The values of a `where` entry with their types, because 1 is not True."""
    choices = alternatives(wanted)
    return frozenset((type(choice), choice) for choice in ([cast("Scalar", wanted)] if choices is None else choices))


def fold_tally(
    predictions: Iterable[Prediction], outcomes: Mapping[str, Sequence[Outcome]], query: TallyQuery
) -> Tally:
    """Predictions counted into cells.

    Args:
        predictions: All that the query may count; those outside its window or knowledge are passed over.
        outcomes: The outcomes of each prediction id, in any order.
        query: Which to count, into which cells.
    """
    unit = None if query.delay is None else duration_micros(query.delay)
    cells: list[tuple[CellKey, Moments]] = []
    for made in predictions:
        if query.model_version is not None and made.model_version != query.model_version:
            continue
        if not _known(made, query):
            continue
        known = sorted((one for one in outcomes.get(made.prediction_id, ()) if _known(one, query)), key=_instant)
        stands_at = made.instant if query.basis == "prediction" else known[0].instant if known else None
        if stands_at is None or not _within(stands_at, query.since, query.until):
            continue
        index = bin_of(made.confidence, query.bins)
        delay = None
        if unit is not None and known:
            delay = (to_micros(known[0].instant) - to_micros(made.instant)) // unit
        key = CellKey(
            made.model_version,
            made.predicted_outcome,
            known[-1].actual_outcome if known else None,
            index,
            bucket_of(to_micros(stands_at), query.bucket),
            delay,
        )
        cells.append((key, moments_of(made.confidence, midpoint(index, query.bins))))
    return Tally(query.bins, merge_cells(cells))


def _instant(fact: Fact) -> datetime:
    return fact.instant


def _within(instant: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or instant >= since) and (until is None or instant < until)


def _known(fact: Fact, query: TallyQuery) -> bool:
    """Whether a fact had happened by the query's `as_of` and was recorded by its `as_recorded`."""
    if query.as_of is not None and fact.instant > query.as_of:
        return False
    recorded = fact.recorded_at
    return query.as_recorded is None or (recorded is not None and recorded <= query.as_recorded)


# Kept cells ---------------------------------------------------------------------------------------------------------


def kept_query(before: datetime) -> TallyQuery:
    """The tally that pruning keeps of everything made before `before`."""
    return TallyQuery(until=before, bins=KEPT_BINS, bucket=KEPT_BUCKET)


def prune_horizon(before: datetime) -> datetime:
    """`before`, floored to the resolution of kept cells. Raises `InvalidQueryError` for what is no instant."""
    if before is None:
        raise InvalidQueryError("before must be the instant to prune before, got None")
    check_instant("before", before)
    floored = bucket_of(to_micros(before), KEPT_BUCKET)
    return from_micros(max(0, floored or 0))


def prunable_kinds(keep: Collection[str] = ()) -> list[str]:
    """The kinds whose horizon a prune moves: all but the lasting and the kept ones, and outcomes, which go along."""
    for kind in keep:
        kind_of(kind)
    return [kind for kind in KINDS if kind not in {"outcome", *LASTING_KINDS, *keep}]


def kept_facts(tally: Tally) -> list[KeptTally]:
    """The facts that keep the cells of a `kept_query`, one for each model and hour."""
    grouped: dict[tuple[str, int], list[Any]] = {}
    for key, moments in sorted(tally.cells.items(), key=repr):
        row = [key.predicted, key.actual, key.bin, *moments]
        grouped.setdefault((key.model_version, key.bucket or 0), []).append(row)
    return [
        KeptTally(model_version=model, cells=rows, at=from_micros(max(0, start)))
        for (model, start), rows in sorted(grouped.items())
    ]


def check_kept(query: TallyQuery, horizon: datetime | None, outcomes_until: datetime | None = None) -> bool:
    """Whether a tally reaches behind the prune horizon, and so adds the kept cells.

    Args:
        query: The tally asked for.
        horizon: Before which predictions were pruned; None if none were.
        outcomes_until: The newest first known_at of a pruned prediction.

    Raises:
        PrunedError: If it does, and kept cells cannot answer it.
    """
    if horizon is None:
        return False
    if query.basis == "outcome":
        if outcomes_until is not None and (query.since is None or query.since <= outcomes_until):
            raise PrunedError(
                f"outcomes up to {outcomes_until.isoformat()} belong to pruned predictions, of which only cells by "
                "prediction time are kept: ask for a later window or for basis='prediction'",
                since=outcomes_until + MICROSECOND,
            )
        return False
    if query.since is not None and query.since >= horizon:
        return False
    hour = duration_micros(KEPT_BUCKET)
    answerable = (
        query.bins == KEPT_BINS
        and query.as_of is None
        and query.as_recorded is None
        and query.delay is None
        and (query.bucket is None or duration_micros(query.bucket) % hour == 0)
        and all(edge is None or edge >= horizon or to_micros(edge) % hour == 0 for edge in (query.since, query.until))
    )
    if not answerable:
        raise PrunedError(
            f"predictions made before {horizon.isoformat()} are pruned; kept of them are final cells of {KEPT_BINS} "
            "bins per full hour: ask for a later window, or for those",
            since=horizon,
        )
    return True


def kept_tally(facts: Iterable[KeptTally], query: TallyQuery) -> Tally:
    """The kept cells that fall into a query that `check_kept` found answerable."""
    cells: list[tuple[CellKey, Moments]] = []
    for fact in facts:
        if query.model_version not in (None, fact.model_version):
            continue
        if not _within(fact.instant, query.since, query.until):
            continue
        bucket = bucket_of(to_micros(fact.instant), query.bucket)
        for row in cast("list[list[Any]]", fact.cells):
            predicted, actual, index, *moments = row
            cells.append((CellKey(fact.model_version, predicted, actual, index, bucket), Moments(*moments)))
    return Tally(query.bins, merge_cells(cells))
