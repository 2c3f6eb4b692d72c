"""The facts f1mon keeps: frozen records, each idempotent under its natural key.

Every fact has an instant `at` and remembers in `at_given` whether the caller gave it; a store stamps the others with
its own clock, inside its critical section, and stamps `recorded_at` on every fact it keeps. A new kind of fact is a
class in this module and costs a backend nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.records.fields import (
    Array,
    Count,
    Flag,
    Id,
    Instant,
    Json,  # noqa: F401 - `Document` names itself by it, and types are resolved here
    Label,
    Number,
    Object,
    Ordinal,
    Probability,
    Segmented,
    Severity,
    Text,
    checks,
)
from f1mon_core.records.ids import time_id
from f1mon_core.records.json_text import canonical
from f1mon_core.records.times import host_clock, to_micros

_SHOWN = 80
"""How many characters of an id a message repeats."""

KINDS: dict[str, type[Fact]] = {}
"""Every kind of fact by its name."""


class Cursor(NamedTuple):
    """A place in a listing: after the fact of this instant and key."""

    at: datetime
    key: tuple[str, ...]


def _fresh_id() -> str:
    return time_id(host_clock())


@attrs.frozen(kw_only=True)
class Fact:
    """What every kind of fact has.

    Attributes:
        at: When it happened, aware UTC to the microsecond; None until a store stamps it.
        at_given: Whether the caller gave `at`. Two times are compared only when both were given.
        recorded_at: When the store recorded it; set by the store alone.
    """

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1
    key_fields: ClassVar[tuple[str, ...]] = ()
    attributes: ClassVar[tuple[str, ...]] = ()
    """What `Select.where` and `count(by=)` may name besides the key fields."""

    at: Instant | None = None
    at_given: Flag = attrs.field(default=attrs.Factory(lambda self: self.at is not None, takes_self=True))
    recorded_at: Instant | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.kind:
            KINDS[cls.kind] = cls  # attrs makes a slotted class twice; the second, the real one, stays

    def __attrs_post_init__(self) -> None:
        name, given = "", None
        try:
            for name, check, optional in checks(type(self)):
                given = getattr(self, name)
                if given is None and optional:
                    continue
                kept = check(given, name)
                if kept is not given:
                    object.__setattr__(self, name, kept)
        except InvalidRecordError as error:
            error.record = self._named(error.field)
            raise
        except Exception as error:
            reason = f"must be a value that can be read (its own code raised {type(error).__name__})"
            raise InvalidRecordError(name, given, reason, record=self._named(name)) from error

    def _named(self, refused: str) -> str | None:
        """This record by the first part of its key; None where that is what was refused, or is no text."""
        first = self.key_fields[0] if self.key_fields else ""
        known = getattr(self, first, None)
        return None if refused == first or not isinstance(known, str) else f"{self.kind} {known[:_SHOWN]!r}"

    @property
    def key(self) -> tuple[str, ...]:
        """The natural key as text parts that order like their values; needs `at` where the key holds it."""
        return tuple(key_text(getattr(self, name)) for name in self.key_fields)

    @property
    def instant(self) -> datetime:
        """`at` of a stored fact, which always has one."""
        if self.at is None:
            message = f"this {self.kind} has not been stored yet, so it has no time"
            raise ValueError(message)
        return self.at

    @property
    def cursor(self) -> Cursor:
        """The place of this fact in a listing, for `Select.after`."""
        return Cursor(self.instant, self.key)


def key_text(value: Any) -> str:
    """One part of a key as text: integers and instants zero-padded, so that text order is value order."""
    if isinstance(value, datetime):
        return f"{to_micros(value):020d}"
    if isinstance(value, int):
        return f"{value:020d}"
    return str(value)


@attrs.frozen
class Prediction(Fact):
    """One model's answer about one item. Key: `(prediction_id, model_version)`.

    Attributes:
        prediction_id: The item, as its outcome will name it; several models may answer about one.
        confidence: The probability in [0, 1] that the model gave its *predicted* class.
        predicted_outcome: The predicted class label, a 64-bit integer or a text.
        segments: What the prediction is told apart by: at most 16 names to a str, an int, or a bool kept as 0 or 1.
            A retry with other segments is a conflict.
    """

    kind: ClassVar[str] = "prediction"
    key_fields: ClassVar[tuple[str, ...]] = ("prediction_id", "model_version")
    attributes: ClassVar[tuple[str, ...]] = ("predicted_outcome",)

    prediction_id: Id
    model_version: Id
    predicted_outcome: Label
    confidence: Probability
    features: Object = attrs.field(factory=dict)
    metadata: Object = attrs.field(factory=dict)
    segments: Segmented = attrs.field(factory=dict)


@attrs.frozen
class Outcome(Fact):
    """One revision of what truly happened to an item. Key: `(prediction_id, known_at)`.

    It labels every model's prediction of the item, also those that come later.

    `known_at` is the instant the world knew it, under the name `at` that all facts share. Without one the store
    decides inside its critical section: equal to the current outcome, a no-op; else max(now, newest + 1 µs).
    """

    kind: ClassVar[str] = "outcome"
    key_fields: ClassVar[tuple[str, ...]] = ("prediction_id", "at")
    attributes: ClassVar[tuple[str, ...]] = ("actual_outcome",)

    prediction_id: Id
    actual_outcome: Label

    @property
    def known_at(self) -> datetime | None:
        """When the world knew this outcome."""
        return self.at


@attrs.frozen
class HealthSnapshot(Fact):
    """The computed health of a model over a window. Key: `snapshot_id`.

    Attributes:
        metrics: Metric name to its value or its `Metric` as a JSON object.
        trend: Change of the accuracy against the previous snapshot, in percent.
        trusted: False for snapshots imported from before the correction, whose accuracy was mean confidence.
    """

    kind: ClassVar[str] = "health_snapshot"
    key_fields: ClassVar[tuple[str, ...]] = ("snapshot_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version", "degradation_detected", "trusted")

    model_version: Id
    metrics: Object = attrs.field(factory=dict)
    window_start: Instant | None = None
    window_end: Instant | None = None
    trend: Number | None = None
    degradation_detected: Flag = False
    trusted: Flag = True
    metadata: Object = attrs.field(factory=dict)
    snapshot_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class MetricSnapshot(Fact):
    """One metric value at one instant. Key: `snapshot_id`."""

    kind: ClassVar[str] = "metric_snapshot"
    key_fields: ClassVar[tuple[str, ...]] = ("snapshot_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version", "metric_name")

    model_version: Id
    metric_name: Id
    value: Number | None = None
    metadata: Object = attrs.field(factory=dict)
    snapshot_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class DriftResult(Fact):
    """What a drift test said of one feature. Key: `drift_id`."""

    kind: ClassVar[str] = "drift_result"
    key_fields: ClassVar[tuple[str, ...]] = ("drift_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version", "feature", "method", "detected")

    model_version: Id
    feature: Id
    detected: Flag
    method: Id = "unspecified"
    statistic: Number | None = None
    p_value: Probability | None = None
    threshold: Number | None = None
    metadata: Object = attrs.field(factory=dict)
    drift_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class FeatureImportance(Fact):
    """How much one feature mattered to a model. Key: `importance_id`."""

    kind: ClassVar[str] = "feature_importance"
    key_fields: ClassVar[tuple[str, ...]] = ("importance_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version", "feature", "method")

    model_version: Id
    feature: Id
    importance: Number
    method: Id = "unspecified"
    rank: Ordinal | None = None
    metadata: Object = attrs.field(factory=dict)
    importance_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class DegradationAnalysis(Fact):
    """Whether a metric of a model got worse against a baseline, and why. Key: `analysis_id`."""

    kind: ClassVar[str] = "degradation_analysis"
    key_fields: ClassVar[tuple[str, ...]] = ("analysis_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version", "metric_name", "degraded")

    model_version: Id
    metric_name: Id
    degraded: Flag
    baseline_value: Number | None = None
    current_value: Number | None = None
    summary: Text = ""
    metadata: Object = attrs.field(factory=dict)
    analysis_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class AccuracyEstimate(Fact):
    """An expected accuracy computed without labels, kept to be scored once they mature. Key: `estimate_id`.

    Attributes:
        value: The estimate, a probability; never shown as a measured accuracy.
        calibration: The recalibration map it was made with, and the window `since` to `until` it was learned from;
            a `since` of None is all that was ever stored.
    """

    kind: ClassVar[str] = "accuracy_estimate"
    key_fields: ClassVar[tuple[str, ...]] = ("estimate_id",)
    attributes: ClassVar[tuple[str, ...]] = ("model_version",)

    model_version: Id
    value: Probability | None = None
    n: Count = 0
    window_start: Instant | None = None
    window_end: Instant | None = None
    calibration: Object = attrs.field(factory=dict)
    metadata: Object = attrs.field(factory=dict)
    estimate_id: Id = attrs.field(factory=_fresh_id)


@attrs.frozen
class Alert(Fact):
    """One breach that was announced. Key: `alert_id`.

    Attributes:
        rule: A snapshot of the rule that fired; None for an alert a person created.
        context: What the value rests on: n, coverage, interval, window, the reason of the transition.
        incident_id: The incident it belongs to; None for an alert a person created.
    """

    kind: ClassVar[str] = "alert"
    key_fields: ClassVar[tuple[str, ...]] = ("alert_id",)
    attributes: ClassVar[tuple[str, ...]] = (
        "severity",
        "component",
        "model_version",
        "metric_name",
        "rule_id",
        "incident_id",
    )

    alert_id: Id
    severity: Severity
    title: Text
    message: Text
    metric_name: Id
    component: Id
    model_version: Id
    metric_value: Number | None = None
    threshold: Number | None = None
    rule_id: Id | None = None
    incident_id: Id | None = None
    rule: Object | None = None
    context: Object = attrs.field(factory=dict)
    metadata: Object = attrs.field(factory=dict)


@attrs.frozen
class Acknowledgement(Fact):
    """Who took an alert on. Key: `alert_id`, so the first one wins for ever."""

    kind: ClassVar[str] = "acknowledgement"
    key_fields: ClassVar[tuple[str, ...]] = ("alert_id",)
    attributes: ClassVar[tuple[str, ...]] = ("by",)

    alert_id: Id
    by: Id | None = None
    note: Text | None = None


@attrs.frozen
class RuleRevision(Fact):
    """A rule as it stood from one edit to the next. Key: `(rule_id, revision)`.

    Attributes:
        revision: 1 for the first, rising by one.
        definition: The rule's fields; None when the rule was removed.
    """

    kind: ClassVar[str] = "rule_revision"
    key_fields: ClassVar[tuple[str, ...]] = ("rule_id", "revision")
    attributes: ClassVar[tuple[str, ...]] = ()

    rule_id: Id
    revision: Ordinal
    definition: Object | None = None


@attrs.frozen
class IncidentEvent(Fact):
    """One transition of an incident, with its reason. Key: `event_id`."""

    kind: ClassVar[str] = "incident_event"
    key_fields: ClassVar[tuple[str, ...]] = ("event_id",)
    attributes: ClassVar[tuple[str, ...]] = ("rule_id", "incident_id", "model_version", "event")

    event_id: Id
    event: Id
    rule_id: Id
    incident_id: Id
    model_version: Id | None = None
    reason: Text = ""
    details: Object = attrs.field(factory=dict)


@attrs.frozen
class Delivery(Fact):
    """An alert that reached a channel. Key: `(alert_id, channel)`.

    What is still on its way lies in the state document of the delivery; this fact is written when it arrived.
    """

    kind: ClassVar[str] = "delivery"
    key_fields: ClassVar[tuple[str, ...]] = ("alert_id", "channel")
    attributes: ClassVar[tuple[str, ...]] = ()

    alert_id: Id
    channel: Id
    attempts: Count = 1
    details: Object = attrs.field(factory=dict)


@attrs.frozen
class KeptTally(Fact):
    """The final cells of one hour of pruned predictions of one model. Key: `(model_version, at)`.

    Attributes:
        at: The start of the hour.
        cells: `[predicted, actual | null, bin, count, min, max, sum, squares]` for each cell.
        cut: Whether `KeptCells` of the same prune hold the same predictions in other cuts; those that contract 1
            pruned have none.
    """

    kind: ClassVar[str] = "kept_tally"
    key_fields: ClassVar[tuple[str, ...]] = ("model_version", "at")
    attributes: ClassVar[tuple[str, ...]] = ()

    model_version: Id
    cells: Array = attrs.field(factory=list)
    cut: Flag = False


@attrs.frozen
class KeptCells(Fact):
    """Final cells of pruned predictions, cut otherwise than in `KeptTally`. Key: `(model_version, series)`.

    Attributes:
        at: The start of the hour or day.
        series: What tells the facts of one model apart: all of the following, and the part where there are several.
        before: The instant before which the prune took predictions.
        order: "prediction" or "outcome": by which time the predictions stand, as in `TallyQuery.basis`.
        every: "hour" or "day".
        segment: The name of the segment the cells are split by; None where they are not split.
        whole: False where the segment had too many values to be kept: nothing behind the prune answers for it.
        cells: `[value | null, predicted, actual | null, bin, count, min, max, sum, squares]` for each cell.
    """

    kind: ClassVar[str] = "kept_cells"
    key_fields: ClassVar[tuple[str, ...]] = ("model_version", "series")
    attributes: ClassVar[tuple[str, ...]] = ("order", "every", "segment")

    model_version: Id
    series: Id
    before: Instant
    order: Id
    every: Id
    segment: Id | None = None
    whole: Flag = True
    cells: Array = attrs.field(factory=list)


def content(fact: Fact) -> Mapping[str, Any]:
    """The fields that make a fact the same fact: all but `at`, `at_given` and `recorded_at`."""
    return {
        field.name: getattr(fact, field.name)
        for field in attrs.fields(type(fact))
        if field.name not in {"at", "at_given", "recorded_at"}
    }


def same(stored: Fact, offered: Fact) -> bool:
    """Whether `offered` repeats `stored`: equal content, and equal times if the caller gave both.

    Values are compared as their canonical JSON, in which 1, 1.0 and true differ.
    """
    if type(stored) is not type(offered):
        return False
    if stored.at_given and offered.at_given and stored.at != offered.at:
        return False
    one, other = content(stored), content(offered)
    return one == other and _canonical(one) == _canonical(other)


def _canonical(fields: Mapping[str, Any]) -> str:
    return canonical(
        {name: key_text(value) if isinstance(value, datetime) else value for name, value in fields.items()}
    )
