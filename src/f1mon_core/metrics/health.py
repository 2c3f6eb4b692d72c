"""Health snapshots: computed from the stored facts, never typed in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.metrics.degradation import Baseline, degradation
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Measures
from f1mon_core.metrics.windows import WindowRequest, told_where
from f1mon_core.recording.lists import Listed
from f1mon_core.records.fields import Json
from f1mon_core.records.kinds import Cursor, HealthSnapshot, MetricSnapshot
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select, check_limit
from f1mon_core.storage.tally import SegmentChoice, check_where

_PAGE = 200

RESERVED = "f1mon"
"""The key of a snapshot's metadata that says how it was computed."""


def capture(
    request: WindowRequest,
    measures: Measures,
    baseline: Baseline,
    snapshot_id: str | None,
    metadata: Mapping[str, Any] | None,
) -> Plan[HealthSnapshot]:
    """Measure a window, judge its accuracy against the baseline and the previous snapshot, and keep all of it."""
    if request.model_version is None:
        raise InvalidQueryError("model_version must be given: a health snapshot is of one model")
    given: object = metadata
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRecordError("metadata", given, "must be a mapping with str keys")
    if metadata and RESERVED in metadata:
        raise InvalidQueryError(f"the metadata key {RESERVED!r} is where a snapshot says how it was computed")
    asked = request.to_dict()

    def repeats(stored: HealthSnapshot) -> bool:
        computed = stored.metadata.get(RESERVED)
        return isinstance(computed, dict) and computed.get("asked") == asked

    if snapshot_id is not None:
        first = yield from recording.stored(HealthSnapshot, snapshot_id)
        if first is not None and repeats(first):
            return first
    wanted = measures.with_names({"accuracy"})
    window = yield from request.resolve_closed()
    tally, unavailable = yield from wanted.tally(window)
    measured = wanted.of(tally, window, unavailable)
    verdict = yield from degradation(measured, "accuracy", baseline, wanted)
    previous = yield from previous_accuracy(request.model_version, request.as_of, request.where)
    snapshot = HealthSnapshot(
        model_version=request.model_version,
        metrics={name: one.to_dict() for name, one in measured.metrics.items()},
        window_start=window.since,
        window_end=window.until,
        trend=change_percent(previous, measured.accuracy.value),
        degradation_detected=verdict.degraded,
        metadata={
            **(metadata or {}),
            RESERVED: {
                "asked": asked,
                "window": window.to_dict(),
                "degradation": verdict.to_dict(),
                "reliability_bins": [one.to_dict() for one in measured.bins if one.total],
                "confusion": measured.confusion.to_dict(),
                "positive": measured.positive,
                "interval": measured.interval,
            },
        },
        at=request.as_of,
    )
    if snapshot_id is not None:
        snapshot = attrs.evolve(snapshot, snapshot_id=snapshot_id)
    return (yield from recording.kept_first(snapshot, repeats))


def previous_accuracy(
    model_version: str, until: datetime | None, where: Mapping[str, SegmentChoice] | None = None
) -> Plan[float | None]:
    """The accuracy of the newest trusted snapshot of the model, or of the same segments of it; None without one."""
    found = yield from snapshots(model_version, None, until, trusted=True, where=where or {}, limit=1)
    kept = found[0].metrics.get("accuracy") if found else None
    if isinstance(kept, dict):
        return Metric.from_dict(kept).value
    return float(kept) if isinstance(kept, int | float) and not isinstance(kept, bool) else None


def snapshots(
    model_version: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    trusted: bool | None,
    where: Mapping[str, Any] | None,
    limit: int | None,
    after: Cursor | None = None,
) -> Plan[Listed[HealthSnapshot]]:
    """Health snapshots, newest first: those of the whole model, of the segments asked for, or with None all."""
    check_limit(limit)
    wanted = None if where is None else told_where(check_where(where)).get("where")
    attributes: dict[str, Any] = {} if trusted is None else {"trusted": trusted}
    select = Select.of(
        HealthSnapshot, since, until, model_version, attributes, descending=True, limit=limit, after=after
    )
    if where is None or limit == 0:
        return Listed((yield from plans.find(select)))
    found: Listed[HealthSnapshot] = Listed()
    select = attrs.evolve(select, limit=_PAGE if limit is None else max(limit, _PAGE))
    while page := (yield from plans.find(select)):
        found += [one for one in page if segments_of(one) == wanted]
        if limit is not None and len(found) >= limit:
            return Listed(found[:limit])
        select = attrs.evolve(select, after=page[-1].cursor)
    return found


def segments_of(snapshot: HealthSnapshot) -> Json:
    """The `where` a snapshot was captured with, as JSON; None for one of the whole model."""
    computed = snapshot.metadata.get(RESERVED)
    window = computed.get("window") if isinstance(computed, dict) else None
    return window.get("where") if isinstance(window, dict) else None


def snapshot_metric(snapshot: HealthSnapshot, name: str) -> Metric | None:
    """A metric of a snapshot with what it rests on; None if the snapshot holds none, or only a bare number."""
    kept = snapshot.metrics.get(name)
    return Metric.from_dict(kept) if isinstance(kept, dict) else None


def metrics_of(snapshot: HealthSnapshot) -> dict[str, Metric]:
    """The metrics of a snapshot that are no bare numbers, by name."""
    found = {name: snapshot_metric(snapshot, name) for name in snapshot.metrics}
    return {name: one for name, one in found.items() if one is not None}


def change_percent(before: float | None, after: float | None) -> float | None:
    """The change from one value to the next in percent of the first; None where either is missing or the first is 0."""
    if before is None or after is None or not before:
        return None
    return 100 * (after - before) / before


def record_metric(
    model_version: str,
    metric_name: str,
    value: float | None,
    at: datetime | None,
    snapshot_id: str | None,
    metadata: Mapping[str, Any] | None,
) -> Plan[MetricSnapshot]:
    """Keep one metric value that was computed elsewhere."""
    snapshot = MetricSnapshot(
        model_version=model_version,
        metric_name=metric_name,
        value=value,
        metadata=recording.given(metadata),
        at=at,
    )
    if snapshot_id is not None:
        snapshot = attrs.evolve(snapshot, snapshot_id=snapshot_id)
    return (yield from recording.kept(snapshot))
