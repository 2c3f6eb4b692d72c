"""What is said beside an alert, from stored facts: the worst slices, recent drift, importances, degradations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from f1mon_core.alerts.evaluate import ALL_MODELS, context_window
from f1mon_core.delivery.messages import Section
from f1mon_core.metrics.rows import at_path, undeclared
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import (
    Alert,
    DegradationAnalysis,
    DriftResult,
    Fact,
    FeatureImportance,
    Outcome,
    Prediction,
)
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import chosen

F = TypeVar("F", bound=Fact)

NEWEST_PREDICTIONS = 2_000
"""Slices are looked for among so many predictions at most, so that an alert never waits for a whole history."""
LEAST_IN_SLICE = 10
SHOWN = 3
RECENT = timedelta(days=30)

_IDS_PER_QUESTION = 500


def from_facts(alert: Alert) -> Plan[Sequence[Section]]:
    """The sections that stored facts have to say about an alert's model; none where nothing is stored."""
    model = None if alert.model_version == ALL_MODELS else alert.model_version
    until = alert.instant
    sections = [
        Section("Worst slices", (yield from _worst_slices(alert, model))),
        Section("Recent drift", (yield from _drift(model, until))),
        Section("Most important features", (yield from _importances(model, until))),
        Section("Degradation", (yield from _degradation(model, until))),
    ]
    return [section for section in sections if section.lines]


def _worst_slices(alert: Alert, model: str | None) -> Plan[list[str]]:
    """Where the labelled predictions of the alert's window are wrong most often, by one value of their metadata."""
    window = context_window(alert.context)
    since, until = (_instant(window.get(edge)) for edge in ("since", "until"))
    if since is None and until is None:
        return []
    select = Select.of(Prediction, since, until, model, descending=True, limit=NEWEST_PREDICTIONS)
    predictions = [one for one in (yield from plans.find(select)) if _is_in(one, window.get("where"))]
    actual = yield from _outcomes([one.prediction_id for one in predictions])
    labelled = [one for one in predictions if one.prediction_id in actual]
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for made in labelled:
        for name, value in _slices(made.metadata):
            total[name, value] += 1
            right[name, value] += made.predicted_outcome == actual[made.prediction_id]
    worst = sorted(
        (right[one] / n, -n, one) for one, n in total.items() if LEAST_IN_SLICE <= n < len(labelled) and right[one] < n
    )
    return [f"{name} = {value}: accuracy {share:.3f} of {-n}" for share, n, (name, value) in worst[:SHOWN]]


def _is_in(made: Prediction, where: Any) -> bool:
    """Whether a prediction is of the segments that the alert is about."""
    if not isinstance(where, dict):
        return True
    paths = {path: at_path(made, path) for path in undeclared(where)}
    return chosen(where, {**made.segments, **paths})


def _slices(metadata: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ((name, str(value)) for name, value in metadata.items() if isinstance(value, str | bool))


def _outcomes(prediction_ids: Sequence[str]) -> Plan[dict[str, ClassLabel]]:
    """The newest outcome of each prediction; `find` answers in the order of time, so the last one counts."""
    actual: dict[str, ClassLabel] = {}
    for begin in range(0, len(prediction_ids), _IDS_PER_QUESTION):
        select = Select.of(Outcome, where={"prediction_id": prediction_ids[begin : begin + _IDS_PER_QUESTION]})
        for outcome in (yield from plans.find(select)):
            actual[outcome.prediction_id] = outcome.actual_outcome
    return actual


def _recent(kind: type[F], model: str | None, until: datetime, limit: int, **where: bool) -> Plan[Sequence[F]]:
    since = max(until - RECENT, datetime(1970, 1, 1, tzinfo=until.tzinfo)) if until.year > 1970 else None  # noqa: PLR2004
    return (yield from plans.find(Select.of(kind, since, None, model, where, descending=True, limit=limit)))


def _drift(model: str | None, until: datetime) -> Plan[list[str]]:
    found = yield from _recent(DriftResult, model, until, SHOWN, detected=True)
    return [
        f"{one.feature} by {one.method}"
        + ("" if one.statistic is None else f": {one.statistic:.4g}")
        + ("" if one.p_value is None else f", p = {one.p_value:.3g}")
        + f", {one.instant.date().isoformat()}"
        for one in found
    ]


def _importances(model: str | None, until: datetime) -> Plan[list[str]]:
    """The features that mattered most when importances were last stored."""
    found = yield from _recent(FeatureImportance, model, until, 200)
    newest: dict[str, FeatureImportance] = {}
    for one in found:
        newest.setdefault(one.feature, one)
    ordered = sorted(newest.values(), key=lambda one: -abs(one.importance))
    return [f"{one.feature}: {one.importance:.4g}" for one in ordered[:SHOWN]]


def _degradation(model: str | None, until: datetime) -> Plan[list[str]]:
    found = yield from _recent(DegradationAnalysis, model, until, 1, degraded=True)
    return [f"{one.metric_name}: {one.summary or 'degraded'}, {one.instant.date().isoformat()}" for one in found]


def _instant(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
