"""What pruning takes, and what it keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, cast

from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import KINDS, KeptTally
from f1mon_core.records.times import MICROSECOND, duration_micros, from_micros, to_micros
from f1mon_core.storage.answers import within
from f1mon_core.storage.select import kind_of
from f1mon_core.storage.tally import (
    KEPT_BINS,
    KEPT_BUCKET,
    CellKey,
    Moments,
    Tally,
    TallyQuery,
    bucket_of,
    check_instant,
    merge_cells,
)

LASTING_KINDS = frozenset({"rule_revision", "kept_tally"})
"""Kinds that are never pruned: they say what older facts meant."""


def held_by(documents: Iterable[Document]) -> frozenset[str]:
    """The keys that state documents hold against pruning: their lists under `holds`."""
    return frozenset(
        held
        for document in documents
        if isinstance(holds := document.get("holds"), list)
        for held in holds
        if isinstance(held, str)
    )


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
    """The kinds that a prune moves `pruned_before` of: all but the lasting, the kept, and outcomes, which go along."""
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
        if not within(fact.instant, query.since, query.until):
            continue
        bucket = bucket_of(to_micros(fact.instant), query.bucket)
        for row in cast("list[list[Any]]", fact.cells):
            predicted, actual, index, *moments = row
            cells.append((CellKey(fact.model_version, predicted, actual, index, bucket), Moments(*moments)))
    return Tally(query.bins, merge_cells(cells))
