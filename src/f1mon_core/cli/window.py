"""The window a command was asked about, and the models that have predictions in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core.cli.output import stamp
from f1mon_core.cli.streams import talk
from f1mon_core.errors import PrunedError
from f1mon_core.metrics.performance import PerformanceOptions
from f1mon_core.metrics.rows import undeclared
from f1mon_core.metrics.windows import minus
from f1mon_core.monitor import Monitor
from f1mon_core.records.times import MICROSECOND, from_micros, to_micros
from f1mon_core.storage.tally import KEPT_BUCKET, KEPT_SEGMENT_BUCKET, bucket_of


@attrs.frozen(kw_only=True)
class Asked:
    """A window of prediction time.

    Attributes:
        since, until: The half-open window `[since, until)`; None is unbounded.
        models: Those with predictions in it, pruned ones too, in order.
    """

    since: datetime | None
    until: datetime | None
    models: list[str]


def asked(
    monitor: Monitor,
    window: timedelta | None,
    horizon: timedelta | None = None,
    model_version: str | None = None,
    where: Mapping[str, Any] | None = None,
    by: Sequence[str] = (),
) -> Asked:
    """The newest stretch of time up to now, or up to `horizon` ago; in full hours where predictions were pruned.

    What pruning keeps has a resolution of one hour, and of segments of one day, which nobody's "45 days ago" falls
    upon; so the window then begins at the full hour or day before, and stderr says so.
    """
    end = monitor.now()
    if horizon is not None:
        end = minus(end, horizon)
    since = None if window is None else minus(end, window)
    until = None if horizon is None else end + MICROSECOND
    try:
        models = _models(monitor, model_version, since, until, where, by)
    except PrunedError as error:
        step, words = (KEPT_SEGMENT_BUCKET, "full days") if where or by else (KEPT_BUCKET, "full hours")
        since, until = (_floored(edge, error.since, step) for edge in (since, until))
        models = _models(monitor, model_version, since, until, where, by)
        told = f"since {stamp(since)}" + ("" if until is None else f" until {stamp(until)}")
        talk(f"predictions that old are pruned to {words}: {told}")
    return Asked(since=since, until=until, models=sorted(models))


def _models(
    monitor: Monitor,
    model_version: str | None,
    since: datetime | None,
    until: datetime | None,
    where: Mapping[str, Any] | None,
    by: Sequence[str],
) -> frozenset[str]:
    """The models with predictions in the window. Raises `PrunedError` where what is asked cannot be answered."""
    options: PerformanceOptions = {"since": since, "until": until, "where": where, "metrics": ()}
    if by and not undeclared(by):  # those are read, and that once
        return monitor.performance(model_version, by=by, **options).whole.models
    return monitor.performance(model_version, **options).models


def _floored(edge: datetime | None, kept_until: datetime | None, step: timedelta) -> datetime | None:
    """An edge behind the prune horizon, floored to what is kept there."""
    if edge is None or kept_until is None or edge >= kept_until:
        return edge
    return from_micros(max(0, bucket_of(to_micros(edge), step) or 0))
