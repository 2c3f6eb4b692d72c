"""How long outcomes take: quantiles of the label delay, and the horizon they suggest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core import errors
from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics import rows, shown
from f1mon_core.metrics.metric import NO_LABELS, NO_PREDICTIONS
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Prediction
from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.stamping import PRELABELLED
from f1mon_core.storage.tally import CellKey, Tally, check_collection, check_width

QUANTILES = (0.5, 0.9, 0.95, 0.99)
HORIZON_SHARE = 0.95
UNIT = timedelta(hours=1)
LONG_WINDOW = timedelta(days=30)
LONG_UNIT = timedelta(days=1)
"""The resolution of windows longer than that, of which hours are many and kept by nobody."""

_TOO_YOUNG = "no label came to predictions old enough to be watched for a whole unit"


@attrs.frozen
class LabelDelay:
    """How long the outcomes of a window's predictions take to become known.

    Predictions whose item was labelled more than a day before they were made are left out: nobody waited for those.

    Quantiles are of the labels that come within the longest delay seen, corrected for the predictions that are still
    too young to have one (Kaplan-Meier); without that correction the newest predictions make labels look quick.

    Attributes:
        quantiles: Share to the delay by which so many labels have come, rounded up to `unit`.
        suggested_horizon: The delay by which 95 % have: a horizon for `basis="matured"`.
        expected_coverage: The share of predictions expected to be labelled by the longest delay seen.
        labelled: Predictions with an outcome.
        pending: Predictions without one.
        unit: The resolution of all of it.
        reason: Why there are no quantiles; None where there are.
    """

    quantiles: Mapping[float, timedelta]
    suggested_horizon: timedelta | None
    expected_coverage: float | None
    labelled: int
    pending: int
    unit: timedelta
    reason: str | None = None

    def to_dict(self) -> Document:
        """As a JSON object; durations in seconds."""
        horizon = self.suggested_horizon
        return {
            "quantiles": {str(share): delay.total_seconds() for share, delay in self.quantiles.items()},
            "suggested_horizon": None if horizon is None else horizon.total_seconds(),
            "expected_coverage": self.expected_coverage,
            "labelled": self.labelled,
            "pending": self.pending,
            "unit": self.unit.total_seconds(),
            "reason": self.reason,
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each quantile: `share`, and `delay` in seconds.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        seconds = [delay.total_seconds() for delay in self.quantiles.values()]
        return frame_of({"share": ("number", list(self.quantiles)), "delay": ("number", seconds)}, library)

    def __str__(self) -> str:
        return shown.delay_line(self)

    def _repr_html_(self) -> str:
        return shown.delay_html(self)


def label_delay(request: WindowRequest, quantiles: Sequence[float], unit: timedelta | None) -> Plan[LabelDelay]:
    """The label delay of the predictions made in a window."""
    if request.basis != "prediction":
        raise InvalidQueryError("label delays are of predictions made in the window: basis='prediction' only")
    wanted = [_checked_share(share) for share in check_collection("quantiles", quantiles, "shares")]
    if unit is not None:
        check_width("unit", unit)
    window = yield from request.resolve()
    present = yield from request.present()
    if unit is None:
        unit = LONG_UNIT if (yield from _is_long(window, present)) else UNIT
    tally = yield from rows.tally(window.query(1, bucket=unit, delay=unit))
    return delay_of(tally, present, wanted, unit)


def _is_long(window: Window, present: datetime) -> Plan[bool]:
    """Whether a window is longer than `LONG_WINDOW`, as far as there are predictions in it."""
    if window.since is not None and (window.until or present) - window.since <= LONG_WINDOW:
        return False
    ends: list[datetime] = []
    for descending in (False, True):
        select = Select.of(Prediction, window.since, window.until, window.model_version, descending=descending, limit=1)
        ends += [one.instant for one in (yield from plans.find(select))]
    return bool(ends) and max(ends) - min(ends) > LONG_WINDOW


def _checked_share(share: Any) -> float:
    if not isinstance(share, float | int) or isinstance(share, bool) or not 0 < share <= 1:
        raise InvalidQueryError(f"a quantile is a share in (0, 1], got {errors.shown(share)}")
    return float(share)


def delay_of(tally: Tally, present: datetime, quantiles: Sequence[float], unit: timedelta) -> LabelDelay:
    """The label delay that a tally split by bucket and delay, both of `unit`, comes to; without the prelabelled."""
    cells = {key: one for key, one in tally.cells.items() if key.delay is None or not is_prelabelled(key.delay, unit)}
    tally = attrs.evolve(tally, cells=cells)
    labelled = sum(moments.n for key, moments in tally.cells.items() if key.actual is not None)
    pending = tally.count - labelled
    arrived = arrived_shares(tally, present, unit)
    eventual = arrived[-1][1] if arrived else 0.0
    if not eventual:
        reason = NO_PREDICTIONS if not tally.count else _TOO_YOUNG if labelled else NO_LABELS
        return LabelDelay({}, None, None, labelled, pending, unit, reason)

    def by(share: float) -> timedelta:
        enough = share * eventual * (1 - 1e-12)
        return next(delay + 1 for delay, reached in arrived if reached >= enough) * unit

    return LabelDelay({share: by(share) for share in quantiles}, by(HORIZON_SHARE), eventual, labelled, pending, unit)


def is_prelabelled(delay: int, unit: timedelta) -> bool:
    """Whether labels so many whole units after their predictions came more than a day before them."""
    return (delay + 1) * unit <= -PRELABELLED


def arrived_shares(tally: Tally, present: datetime, unit: timedelta) -> list[tuple[int, float]]:
    """For each whole delay at which labels came, the estimated share of predictions labelled by its end.

    E. L. Kaplan and P. Meier, JASA 53 (1958) 457-481, in discrete time: a prediction is watched for as many whole
    units as have passed since the end of its time bucket, and a label counts only if it came within them. A label that
    came before its prediction counts as a delay of 0.
    """
    came: Counter[int] = Counter()
    left: Counter[int] = Counter()
    for key, moments in tally.cells.items():
        watched = _watched_units(key, present, unit)
        delay = math.inf if key.delay is None else max(0, key.delay)
        if delay < watched:
            came[int(delay)] += moments.n
        else:
            left[watched] += moments.n
    at_risk = came.total() + left.total()
    remaining = 1.0
    shares: list[tuple[int, float]] = []
    for delay in sorted({*came, *left}):
        at_risk -= left[delay]
        if came[delay]:
            remaining *= (at_risk - came[delay]) / at_risk
            shares.append((delay, 1 - remaining))
        at_risk -= came[delay]
    return shares


def _watched_units(key: CellKey, present: datetime, unit: timedelta) -> int:
    bucket = 0 if key.bucket is None else key.bucket
    width = duration_micros(unit)
    return max(0, (to_micros(present) - (bucket + width)) // width)
