"""Degradation: a metric's whole interval below the baseline's, so that no single noisy point calls it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidQueryError, PrunedError, shown
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Measures, Performance
from f1mon_core.metrics.trends import PROPORTIONS
from f1mon_core.metrics.windows import Window, WindowRequest, minus
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import DegradationAnalysis, HealthSnapshot
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import check_instant
from f1mon_core.text import is_one_of, told_segments

Baseline: TypeAlias = tuple[datetime | None, datetime | None] | HealthSnapshot | None
"""A window `(since, until)` of the same model, a trusted snapshot, or None for the window of the same length before."""


@attrs.frozen
class Degradation:
    """A metric beside its baseline.

    Attributes:
        degraded: Whether the interval of `current` lies wholly below that of `baseline`.
        baseline: None where there is nothing to compare with.
        summary: The verdict in words, with the reason where there is none.
    """

    degraded: bool
    current: Metric
    baseline: Metric | None
    summary: str

    @property
    def judged(self) -> bool:
        """Whether there is a verdict: both sides have an interval."""
        sides = (self.current, self.baseline)
        return all(one is not None and one.low is not None and one.high is not None for one in sides)

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "degraded": self.degraded,
            "judged": self.judged,
            "current": self.current.to_dict(),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "summary": self.summary,
        }


def judge(current: Metric, baseline: Metric | None) -> Degradation:
    """Whether a metric, the higher the better, has degraded."""
    if baseline is None:
        return Degradation(False, current, None, "no baseline")
    for which, one in (("current", current), ("baseline", baseline)):
        if one.value is None:
            return Degradation(False, current, baseline, f"no verdict: {which} {one.name} is missing, {one.reason}")
        if one.low is None or one.high is None:
            return Degradation(False, current, baseline, f"no verdict: {which} {one.name} has no interval")
    degraded = cast("float", current.high) < cast("float", baseline.low)
    where = "below" if degraded else "not below"
    return Degradation(
        degraded,
        current,
        baseline,
        f"{current.name} {_shown(current)} lies {where} the baseline's {_shown(baseline)}",
    )


def _shown(metric: Metric) -> str:
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def baseline_of(given: Baseline, name: str, window: Window, measures: Measures) -> Plan[Metric | None]:
    """The baseline of a metric; None if the window has no start and none was given.

    Raises:
        InvalidQueryError: If the baseline is an untrusted snapshot, one without that metric, or a window that ends
            before it begins.
        PrunedError: If the window given was pruned; the one taken by default is then a metric without a value.
    """
    if isinstance(given, HealthSnapshot):
        return _of_snapshot(given, name)
    if given is not None:
        since, until = _checked(given)
        baseline = attrs.evolve(window, since=since, until=until)
    elif window.since is None or window.until is None:
        return None
    else:
        length = window.until - window.since
        baseline = attrs.evolve(window, since=minus(window.since, length), until=window.since)
    only = attrs.evolve(measures, names={name})
    try:
        tally, unavailable = yield from only.tally(baseline)
    except PrunedError as error:
        if given is not None:
            raise
        return Metric(name, None, 0, 0, 0, reason=f"pruned: {error}")
    return only.of(tally, baseline, unavailable).metrics[name]


def _checked(given: Any) -> tuple[datetime | None, datetime | None]:
    if not isinstance(given, tuple) or len(given) != 2:  # noqa: PLR2004 - a pair
        raise InvalidQueryError(f"a baseline is (since, until) or a HealthSnapshot, got {shown(given)}")
    for one in given:
        check_instant("baseline", one)
    since, until = given
    if since is not None and until is not None and since > until:
        raise InvalidQueryError(f"the baseline's since {since.isoformat()} lies after its until {until.isoformat()}")
    return since, until


def _of_snapshot(snapshot: HealthSnapshot, name: str) -> Metric:
    if not snapshot.trusted:
        raise InvalidQueryError(
            f"snapshot {snapshot.snapshot_id!r} is not trusted: imported, its accuracy may be mean confidence; "
            "take a window as the baseline"
        )
    kept = snapshot.metrics.get(name)
    if not isinstance(kept, dict):
        raise InvalidQueryError(f"snapshot {snapshot.snapshot_id!r} holds no {name} with its interval")
    return Metric.from_dict(kept)


def degradation(performance: Performance, name: str, given: Baseline, measures: Measures) -> Plan[Degradation]:
    """A measured metric beside its baseline."""
    baseline = yield from baseline_of(given, name, performance.window, measures)
    return judge(performance.metrics[name], baseline)


def analyze(request: WindowRequest, measures: Measures, name: str, given: Baseline) -> Plan[DegradationAnalysis]:
    """Measure, judge and keep the verdict."""
    if not is_one_of(name, PROPORTIONS):
        raise InvalidQueryError(
            f"metric_name: degradation is judged by interval, which {', '.join(PROPORTIONS)} have, not {shown(name)}"
        )
    if request.model_version is None:
        raise InvalidQueryError("model_version must be given: a degradation analysis is of one model")
    only = attrs.evolve(measures, names={name})
    window = yield from request.resolve_closed()
    tally, unavailable = yield from only.tally(window)
    verdict = yield from degradation(only.of(tally, window, unavailable), name, given, only)
    analysis = DegradationAnalysis(
        model_version=request.model_version,
        metric_name=name,
        degraded=verdict.degraded,
        baseline_value=None if verdict.baseline is None else verdict.baseline.value,
        current_value=verdict.current.value,
        summary=verdict.summary if not window.where else f"{told_segments(window.where)}: {verdict.summary}",
        metadata={**verdict.to_dict(), "window": window.to_dict()},
        at=request.as_of,
    )
    return (yield from recording.kept(analysis))
