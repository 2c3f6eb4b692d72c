"""The window a command was asked about, and the models that have predictions in it."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from f1mon_core.cli.output import stamp
from f1mon_core.cli.streams import talk
from f1mon_core.errors import PrunedError
from f1mon_core.metrics.windows import minus
from f1mon_core.monitor import Monitor
from f1mon_core.records.times import MICROSECOND, from_micros, to_micros
from f1mon_core.storage.tally import KEPT_BUCKET, bucket_of


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
    monitor: Monitor, window: timedelta | None, horizon: timedelta | None = None, model_version: str | None = None
) -> Asked:
    """The newest stretch of time up to now, or up to `horizon` ago; in full hours where predictions were pruned.

    What pruning keeps has a resolution of one hour, which nobody's "45 days ago" falls upon; so the window then begins
    at the full hour before, and stderr says so.
    """
    end = monitor.now()
    if horizon is not None:
        end = minus(end, horizon)
    since = None if window is None else minus(end, window)
    until = None if horizon is None else end + MICROSECOND
    try:
        measured = monitor.performance(model_version, since=since, until=until, metrics=())
    except PrunedError as error:
        since, until = _full_hour(since, error.since), _full_hour(until, error.since)
        measured = monitor.performance(model_version, since=since, until=until, metrics=())
        told = f"since {stamp(since)}" + ("" if until is None else f" until {stamp(until)}")
        talk(f"predictions that old are pruned to full hours: {told}")
    return Asked(since=since, until=until, models=sorted(measured.models))


def _full_hour(edge: datetime | None, kept_until: datetime | None) -> datetime | None:
    """An edge behind the prune horizon, floored to what is kept there."""
    if edge is None or kept_until is None or edge >= kept_until:
        return edge
    return from_micros(max(0, bucket_of(to_micros(edge), KEPT_BUCKET) or 0))
