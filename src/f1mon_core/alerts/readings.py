"""Readings of what f1mon does not compute from predictions: from the newest facts stored in a window.

`drifted_features`; `drift_statistic:<feature>`, `drift_p_value:<feature>`, `feature_importance:<feature>` and
`degradation:<metric>`; any other name is that of a `MetricSnapshot`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

from f1mon_core.alerts.possible import DRIFTED_FEATURES
from f1mon_core.alerts.verdict import Reading
from f1mon_core.metrics.windows import Window
from f1mon_core.records.kinds import (
    DegradationAnalysis,
    DriftResult,
    Fact,
    FeatureImportance,
    MetricSnapshot,
)
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select

F = TypeVar("F", bound=Fact)

_PAGE = 500


@attrs.frozen
class _Source:
    """Where a metric's values lie.

    Attributes:
        kind: The facts that hold them.
        attribute: The attribute that the metric's name, or what stands behind its colon, selects by.
        value_of: A fact's value.
        skips: Whether a fact without a value is passed over, because it is another test's or about a segment.
    """

    kind: type[Fact]
    attribute: str
    value_of: Callable[[Any], float | None]
    skips: bool = False


def _degraded(one: DegradationAnalysis) -> float | None:
    """1 or 0 of an analysis of the whole model; None of one of some segment."""
    window = one.metadata.get("window")
    return None if isinstance(window, dict) and "where" in window else float(one.degraded)


_SNAPSHOTS = _Source(MetricSnapshot, "metric_name", lambda one: one.value)
_OF_A_SUBJECT: Mapping[str, _Source] = {
    "drift_statistic": _Source(DriftResult, "feature", lambda one: one.statistic, skips=True),
    "drift_p_value": _Source(DriftResult, "feature", lambda one: one.p_value, skips=True),
    "feature_importance": _Source(FeatureImportance, "feature", lambda one: one.importance),
    "degradation": _Source(DegradationAnalysis, "metric_name", _degraded, skips=True),
}


def _source_of(metric_name: str) -> tuple[_Source, str]:
    """Where a metric's values lie, and what they are selected by."""
    sort, _, subject = metric_name.partition(":")
    return (_OF_A_SUBJECT[sort], subject) if subject and sort in _OF_A_SUBJECT else (_SNAPSHOTS, metric_name)


def models(metric_name: str, window: Window) -> Plan[set[str]]:
    """The models of which the window holds facts that a metric is read from."""
    if metric_name == DRIFTED_FEATURES:
        select: Select = Select.of(DriftResult, window.since, window.until)
    else:
        source, subject = _source_of(metric_name)
        select = Select.of(source.kind, window.since, window.until, where={source.attribute: subject})
    counted = yield from plans.count(select, ("model_version",))
    return {str(model) for (model,) in counted}


def names_like(metric_name: str) -> Plan[set[str]]:
    """The names of the metrics of this one's sort of which there are facts, however old."""
    source, subject = _source_of(metric_name)
    counted = yield from plans.count(Select.of(source.kind), (source.attribute,))
    prefix = metric_name[: len(metric_name) - len(subject)]
    return {f"{prefix}{name}" for (name,) in counted}


def reading(metric_name: str, window: Window) -> Plan[Reading]:
    """The reading of a metric that `metrics.METRIC_NAMES` does not have, of one model or of all; else no data."""
    if metric_name == DRIFTED_FEATURES:
        return (yield from _drifted_features(window))
    source, subject = _source_of(metric_name)
    select = _newest_first(source.kind, window, {source.attribute: subject})
    if not source.skips:
        select = attrs.evolve(select, limit=1)
    while page := (yield from plans.find(select)):
        for fact in page:
            value = source.value_of(fact)
            if value is not None or not source.skips:
                return Reading.of(value)
        select = attrs.evolve(select, after=page[-1].cursor)
    return Reading(None, reason=f"no {metric_name} is stored in the window")


def _drifted_features(window: Window) -> Plan[Reading]:
    """Of each model and feature, whether a drift result of the newest instant at which there is one found drift."""
    select = _newest_first(DriftResult, window, {})
    by = ("model_version", "feature")
    wanted = (yield from plans.count(attrs.evolve(select, limit=None), by)).keys()
    newest: dict[tuple[str, ...], list[DriftResult]] = {}
    while page := (yield from plans.find(select)):
        for one in page:
            results = newest.setdefault((one.model_version, one.feature), [])
            if not results or results[0].at == one.at:  # of several tests at once each has its say
                results.append(one)
        if newest.keys() >= set(wanted) and page[-1].instant < min(_instants(newest)):
            break
        select = attrs.evolve(select, after=page[-1].cursor)
    if not newest:
        return Reading(None, n=0, reason="no drift result is stored in the window")
    drifted = sum(any(one.detected for one in results) for results in newest.values())
    return Reading(float(drifted), n=len(newest))


def _instants(newest: Mapping[tuple[str, ...], list[DriftResult]]) -> Iterator[Any]:
    return (results[0].instant for results in newest.values())


def _newest_first(kind: type[F], window: Window, where: Mapping[str, str]) -> Select[F]:
    return Select.of(kind, window.since, window.until, window.model_version, where, descending=True, limit=_PAGE)
