"""The old system's dataclasses, field for field, and what they are as facts. Timestamps are float Unix seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from numbers import Integral, Real
from typing import Any

from f1mon_core.alerts import possible, rules
from f1mon_core.errors import InvalidRecordError
from f1mon_core.records import kinds
from f1mon_core.records.fields import Document
from f1mon_core.records.times import from_micros, to_micros

_HEALTH_METRICS = (
    "accuracy",
    "precision",
    "recall",
    "f1_score",
    "roc_auc",
    "expected_calibration_error",
    "num_predictions",
)
OPTIONAL_NUMBERS = (*_HEALTH_METRICS[:-1], "prediction_accuracy_trend")
"""The fields of a `ModelHealthSnapshot` that are a number or None."""


@dataclass
class PredictionRecord:
    """One prediction."""

    timestamp: float
    model_version: str
    prediction_id: str
    predicted_outcome: int
    confidence: float
    features: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)


@dataclass
class PerformanceMetric:
    """One metric value; `window_size` is the number of predictions it rests on, `status` normal, warning or alert."""

    timestamp: float
    metric_name: str
    value: float
    window_size: int
    threshold: float | None = None
    status: str = "normal"

    def to_dict(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)


@dataclass
class ModelHealthSnapshot:
    """The health of a model at one instant; `prediction_accuracy_trend` is in percent of the previous one.

    A metric that is not known is None: the old system wrote a number there, whatever it meant.
    """

    timestamp: float
    model_version: str
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1_score: float | None
    roc_auc: float | None
    expected_calibration_error: float | None
    num_predictions: int
    prediction_accuracy_trend: float | None
    degradation_detected: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)


@dataclass
class Alert:
    """One alert, and whether and by whom it was acknowledged."""

    timestamp: float
    alert_id: str
    severity: str
    title: str
    message: str
    metric_name: str
    metric_value: float | None
    threshold: float | None
    component: str
    model_version: str
    acknowledged: bool = False
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)


@dataclass
class AlertRule:
    """When a metric value is worth an alert; see `f1mon_core.rules.AlertRule` for what more a rule can say."""

    rule_id: str
    metric_name: str
    metric_type: str
    threshold: float
    comparison: str
    severity: str
    component: str
    enabled: bool = True
    cooldown_minutes: float = 60
    channels: list[str] = field(default_factory=lambda: ["console"])
    conditions: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)


# To facts -----------------------------------------------------------------------------------------------------------


def instant(seconds: Any, name: str = "timestamp") -> datetime:
    """Unix seconds as an instant, to the microsecond. Raises `InvalidRecordError`."""
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not math.isfinite(seconds):
        raise InvalidRecordError(name, seconds, "must be Unix seconds")
    try:
        return from_micros(round(float(seconds) * 1_000_000))
    except OverflowError:
        raise InvalidRecordError(name, seconds, "must be Unix seconds in the years 1970 to 9999") from None


def seconds(at: datetime) -> float:
    """An instant as Unix seconds."""
    return to_micros(at) / 1_000_000


def label(value: Any, name: str) -> Any:
    """A class label as the old system took it: a bool is 0 or 1, and 1.0 is 1. Anything else is left to the record."""
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral):
        if not float(value).is_integer():
            raise InvalidRecordError(name, value, "must be a whole number")
        return int(float(value))
    return value


def without_nan(value: Any, where: str, nulled: list[str]) -> Any:
    """A JSON-like value in which NaN and infinities are None and keys are str; the places changed go to `nulled`."""
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _key(key): without_nan(item, f"{where}.{key}", nulled)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_nan(item, f"{where}[{index}]", nulled) for index, item in enumerate(value)]
    if isinstance(value, Real) and not isinstance(value, Integral) and not math.isfinite(value):
        nulled.append(where)
        return None
    return value


def _key(key: Any) -> str:
    """A key as the old system's JSON wrote it."""
    return {True: "true", False: "false", None: "null"}[key] if key is None or isinstance(key, bool) else str(key)


def health_metrics(fields: Mapping[str, Any]) -> Document:
    """The metrics of an old snapshot, by name."""
    return {name: fields.get(name) for name in _HEALTH_METRICS}


def core_rule(rule: AlertRule) -> rules.AlertRule:
    """The rule in f1mon's own form. Raises `InvalidRecordError` naming the field that is refused."""
    with possible.trusting():  # the old system took rules that can never fire
        return rules.AlertRule(**rule.to_dict(), scope="rule")


# From facts ---------------------------------------------------------------------------------------------------------


def legacy_snapshot(fact: kinds.HealthSnapshot) -> ModelHealthSnapshot:
    """A stored snapshot as the old system returned it."""
    values = {name: _plain(fact.metrics.get(name)) for name in _HEALTH_METRICS}
    values["num_predictions"] = int(values["num_predictions"] or 0)
    return ModelHealthSnapshot(
        timestamp=seconds(fact.instant),
        model_version=fact.model_version,
        prediction_accuracy_trend=fact.trend,
        degradation_detected=fact.degradation_detected,
        **values,
    )


def _plain(metric: Any) -> Any:
    """A metric's number, also where the snapshot holds the whole `Metric`."""
    return metric.get("value") if isinstance(metric, Mapping) else metric


def legacy_alert(fact: kinds.Alert, acknowledgement: kinds.Acknowledgement | None) -> Alert:
    """A stored alert as the old system returned it."""
    return Alert(
        timestamp=seconds(fact.instant),
        alert_id=fact.alert_id,
        severity=fact.severity,
        title=fact.title,
        message=fact.message,
        metric_name=fact.metric_name,
        metric_value=fact.metric_value,
        threshold=fact.threshold,
        component=fact.component,
        model_version=fact.model_version,
        acknowledged=acknowledgement is not None,
        acknowledged_at=None if acknowledgement is None else seconds(acknowledgement.instant),
        acknowledged_by=None if acknowledgement is None else acknowledgement.by,
    )
