"""Alert rules: what is wrong with a value, decided without a clock, a store or a process."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias

import attrs

from f1mon_core.alerts import possible
from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.records import fields
from f1mon_core.records.fields import (
    SEVERITIES,
    Count,
    Document,
    Flag,
    Id,
    Json,  # noqa: F401 - `Document` names itself by it, and types are resolved here
    Label,
    Number,
    Ordinal,
    Probability,
    Severity,
    Text,
    checks,
)
from f1mon_core.storage.tally import check_by

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
SCOPES = ("rule", "instance")
GATES = ("point", "interval")
NO_DATA_POLICIES = ("keep", "ok", "fire")
BASES = ("prediction", "outcome", "matured")
GROUPED_BY = ("rule", "model", "component")
GROUP_WAIT_MINUTES, GROUP_INTERVAL_MINUTES = 0.5, 5.0
"""Where a rule or a channel groups and does not say otherwise."""
MAX_MINUTES = 100 * 366 * 24 * 60
"""A century: more is a typing error, and would not fit a timedelta for ever."""
MICROS_PER_MINUTE = 60_000_000

LOWER_IS_WORSE = frozenset({"<", "<="})
_HIGHER_IS_WORSE = frozenset({">", ">="})


MAX_INSTANCES = 100


def _by(value: Any, field: str) -> tuple[str, ...]:
    try:
        return check_by(value)
    except InvalidQueryError as error:
        raise InvalidRecordError(field, value, str(error)) from error


def _one_of(choices: Sequence[str]) -> Callable[[Any, str], str]:
    def check(value: Any, field: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise InvalidRecordError(field, value, f"must be one of {', '.join(choices)}")
        return str(value)

    return check


def _minutes(value: Any, field: str) -> float:
    converted = fields.number(value, field)
    if not 0.0 <= converted <= MAX_MINUTES:
        raise InvalidRecordError(field, value, f"must be from 0 to {MAX_MINUTES} minutes")
    return converted


def _width(value: Any, field: str) -> float:
    if not timedelta(minutes=(converted := _minutes(value, field))):
        raise InvalidRecordError(field, value, "must be at least a microsecond")
    return converted


def channel_names(value: Any, field: str) -> tuple[str, ...]:
    """Names of channels, each once. Raises `InvalidRecordError`."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidRecordError(field, value, "must be a list of channel names")
    return tuple(dict.fromkeys(fields.identifier(name, field) for name in value))


def _rule_ids(value: Any, field: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidRecordError(field, value, "must be a list of rule ids")
    return tuple(dict.fromkeys(fields.identifier(name, field) for name in value))


def _group_by(value: Any, field: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidRecordError(field, value, f"must be a list of {', '.join(GROUPED_BY)}")
    named = {_one_of(GROUPED_BY)(name, field) for name in value}
    return tuple(name for name in GROUPED_BY if name in named)


def _conditions(value: Any, field: str) -> Document:
    checked = fields.json_object(value, field)
    for bound in ("min_value", "max_value"):
        if (given := checked.get(bound)) is not None:
            checked[bound] = fields.number(given, f"{field}.{bound}")
    return checked


def _escalation(value: Any, field: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise InvalidRecordError(field, value, "must map severities to thresholds")
    return {
        _one_of(SEVERITIES)(severity, field): fields.number(threshold, f"{field}.{severity}")
        for severity, threshold in value.items()
    }


By: TypeAlias = Annotated[tuple[str, ...], _by]
Comparison: TypeAlias = Annotated[str, _one_of(tuple(COMPARISONS))]
Minutes: TypeAlias = Annotated[float, _minutes]
Width: TypeAlias = Annotated[float, _width]
Channels: TypeAlias = Annotated[tuple[str, ...], channel_names]
RuleIds: TypeAlias = Annotated[tuple[str, ...], _rule_ids]
GroupBy: TypeAlias = Annotated[tuple[str, ...], _group_by]
Conditions: TypeAlias = Annotated[Document, _conditions]
Escalation: TypeAlias = Annotated[dict[str, float], _escalation]
Scope: TypeAlias = Annotated[str, _one_of(SCOPES)]
Gate: TypeAlias = Annotated[str, _one_of(GATES)]
NoDataPolicy: TypeAlias = Annotated[str, _one_of(NO_DATA_POLICIES)]
BasisName: TypeAlias = Annotated[str, _one_of(BASES)]


@attrs.frozen
class AlertRule:
    """When a metric is worth an alert, and whom to tell.

    Attributes:
        rule_id: Names the rule; its cooldown and its incident live under this name in the store.
        metric_name: The metric it watches, e.g. "accuracy".
        metric_type: A word of the team's own ("threshold", "calibration", …); kept, not interpreted.
        threshold: What the value is compared with.
        comparison: `< <= > >= == !=`; the rule is breached where `value comparison threshold` holds.
        severity: info, warning or critical.
        component: The part of the system it belongs to.
        enabled: Whether it is evaluated at all.
        cooldown_minutes: No two alerts of one severity nearer than this; 0 means none.
        channels: The names of the channels its alerts are delivered to.
        conditions: `min_value` and `max_value`: values outside are implausible and neither fire nor resolve.
        model_version: The one model it watches; None for every model.
        scope: "rule": one state, whichever model is evaluated; "instance": one for each model and set of labels. None
            is settled where the rule is stored: that of the rule of this id, removed ones too; for an id never stored
            "instance", or "rule" if the rule names a model. Unstored it is "rule".
        for_minutes: The breach must last this long before it fires; one good sample starts it anew.
        keep_firing_minutes: The value must be good for this long before the incident resolves.
        recover_threshold: The value resolves only on the good side of this one (hysteresis).
        escalation: Thresholds of higher severities, e.g. `{"critical": 0.7}`.
        breaches, of_evaluations: At least `breaches` of the last `of_evaluations` values must breach (N of M).
        min_samples, min_coverage: A value that rests on less is no data.
        gate: "point" compares the value; "interval" fires only if the whole confidence interval breaches.
        on_no_data: "keep" changes nothing; "ok" ends a pending breach, and resolves nothing; "fire" is a breach.
        remind_minutes: While it fires and nobody has acknowledged, tell the channels again this often.
        notify_resolved: Tell the channels when it resolves.
        window_minutes, basis, horizon_minutes: The window `Monitor.evaluate` computes the metric over; None takes
            what `evaluate` was asked for.
        description: For whoever reads the alert.
        overdue_minutes: How long it may go without an evaluation before it is named overdue; None is 25 hours.
        sample_minutes: How old the breach before may be for `for_minutes` to count on from it: over a gap, or over
            values that are no data, nobody knows that it lasted. None is twice `for_minutes`.
        group_by: Its alerts are told in one message with others of the same channel that have these in common: of
            "rule", "model" and "component" one or more. Empty leaves it to the channel's own settings.
        group_wait_minutes: How long the first alert of a message waits for others; None is half a minute.
        group_interval_minutes: How long after a message of the group the next one comes at the earliest; None is 5.
        inhibited_by: While one of these rules fires for the same model, its alerts are kept and not told.
        by: The name of a segment, or two: a state for each of its values, of each model. As in `Monitor.performance`
            it may be a path, `features.<path>` or `metadata.<path>`, and then predictions are read.
        max_instances: So many values of one model are evaluated at most: those with an open incident, then those with
            most predictions. What is left out is said.
        positive: The positive class of precision, recall, F1, ROC-AUC, Brier score and log loss; None for 1 where the
            labels are integers.

    Raises:
        InvalidRecordError: If a field is refused, or the rule could never fire; the message names what.
    """

    rule_id: Id
    metric_name: Id
    metric_type: Id
    threshold: Number
    comparison: Comparison
    severity: Severity
    component: Id
    enabled: Flag = True
    cooldown_minutes: Minutes = 60.0
    channels: Channels = ("console",)
    conditions: Conditions = attrs.field(factory=dict)
    model_version: Id | None = attrs.field(default=None, kw_only=True)
    scope: Scope | None = attrs.field(default=None, kw_only=True)
    for_minutes: Minutes = attrs.field(default=0.0, kw_only=True)
    keep_firing_minutes: Minutes = attrs.field(default=0.0, kw_only=True)
    recover_threshold: Number | None = attrs.field(default=None, kw_only=True)
    escalation: Escalation = attrs.field(factory=dict, kw_only=True)
    breaches: Ordinal = attrs.field(default=1, kw_only=True)
    of_evaluations: Ordinal = attrs.field(default=1, kw_only=True)
    min_samples: Count | None = attrs.field(default=None, kw_only=True)
    min_coverage: Probability | None = attrs.field(default=None, kw_only=True)
    gate: Gate = attrs.field(default="point", kw_only=True)
    on_no_data: NoDataPolicy = attrs.field(default="keep", kw_only=True)
    remind_minutes: Width | None = attrs.field(default=None, kw_only=True)
    notify_resolved: Flag = attrs.field(default=False, kw_only=True)
    window_minutes: Width | None = attrs.field(default=None, kw_only=True)
    basis: BasisName | None = attrs.field(default=None, kw_only=True)
    horizon_minutes: Width | None = attrs.field(default=None, kw_only=True)
    description: Text = attrs.field(default="", kw_only=True)
    overdue_minutes: Width | None = attrs.field(default=None, kw_only=True)
    sample_minutes: Width | None = attrs.field(default=None, kw_only=True)
    group_by: GroupBy = attrs.field(default=(), kw_only=True)
    group_wait_minutes: Minutes | None = attrs.field(default=None, kw_only=True)
    group_interval_minutes: Minutes | None = attrs.field(default=None, kw_only=True)
    inhibited_by: RuleIds = attrs.field(default=(), kw_only=True)
    by: By = attrs.field(default=(), kw_only=True)
    max_instances: Ordinal = attrs.field(default=MAX_INSTANCES, kw_only=True)
    positive: Label | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name, check, optional in checks(type(self)):
            given = getattr(self, name)
            if given is None and optional:
                continue
            if (kept := check(given, name)) is not given:
                object.__setattr__(self, name, kept)
        self._check_together()
        possible.refuse(self)

    def _check_together(self) -> None:
        self._check_recovery()
        self._check_escalation()
        if self.breaches > self.of_evaluations:
            raise InvalidRecordError("breaches", self.breaches, f"must be at most of_evaluations {self.of_evaluations}")
        if self.of_evaluations > MAX_EVALUATIONS:
            raise InvalidRecordError("of_evaluations", self.of_evaluations, f"must be at most {MAX_EVALUATIONS}")
        low, high = self.conditions.get("min_value"), self.conditions.get("max_value")
        if isinstance(low, float) and isinstance(high, float) and low > high:
            raise InvalidRecordError("conditions.min_value", low, f"must be at most max_value {high!r}")
        if self.by and self.scope == "rule":
            raise InvalidRecordError(
                "scope", self.scope, f"must be instance: by {' and '.join(self.by)} has a state each"
            )
        if self.by and not possible.is_counted(self):
            reason = f"must be left out: {self.metric_name} is not computed from predictions, and has no segments"
            raise InvalidRecordError("by", self.by, reason)
        if (self.basis == "matured") is (self.horizon_minutes is None):
            raise InvalidRecordError("horizon_minutes", self.horizon_minutes, "goes with basis = 'matured' and only it")

        for name in ("group_wait_minutes", "group_interval_minutes"):
            if (given := getattr(self, name)) is not None and not self.group_by:
                raise InvalidRecordError(name, given, "goes with group_by and only it")
        if self.rule_id in self.inhibited_by:
            raise InvalidRecordError("inhibited_by", self.rule_id, "must not be the rule itself")

    def _check_recovery(self) -> None:
        if (recover := self.recover_threshold) is None:
            return
        if not self._ordered:
            raise InvalidRecordError("recover_threshold", recover, f"has no meaning with {self.comparison!r}")
        if self._worse(recover, self.threshold):
            side = "least" if self.comparison in LOWER_IS_WORSE else "most"
            raise InvalidRecordError("recover_threshold", recover, f"must be at {side} the threshold {self.threshold}")

    def _check_escalation(self) -> None:
        if self.escalation and not self._ordered:
            raise InvalidRecordError("escalation", self.escalation, f"has no meaning with {self.comparison!r}")
        severity, threshold = self.severity, self.threshold
        for higher in sorted(self.escalation, key=rank):
            if rank(higher) <= rank(severity):
                raise InvalidRecordError(f"escalation.{higher}", higher, f"must be more severe than {severity}")
            if self._worse(threshold, self.escalation[higher]):
                reason = f"must be no milder than the {threshold} of {severity}"
                raise InvalidRecordError(f"escalation.{higher}", self.escalation[higher], reason)
            severity, threshold = higher, self.escalation[higher]

    @property
    def _ordered(self) -> bool:
        return self.comparison in LOWER_IS_WORSE | _HIGHER_IS_WORSE

    def _worse(self, one: float, other: float) -> bool:
        return one < other if self.comparison in LOWER_IS_WORSE else one > other

    @property
    def cooldown(self) -> int:
        """The cooldown in microseconds."""
        return micros(self.cooldown_minutes)

    def settled(self, stored: str | None) -> AlertRule:
        """The rule with a scope: its own, else the stored one, else what a new rule gets."""
        if self.scope is not None:
            return self
        with possible.trusting():  # it was judged when it was made
            usual = "rule" if self.model_version is not None else "instance"
            return attrs.evolve(self, scope="instance" if self.by else stored or usual)

    def matches(self, metric_name: str, component: str | None = None, model_version: str | None = None) -> bool:
        """Whether the rule is enabled and watches this metric, component and model; None matches any."""
        return (
            self.enabled
            and self.metric_name == metric_name
            and component in (None, self.component)
            and (model_version is None or self.model_version in (None, model_version))
        )


MAX_EVALUATIONS = 1_000


def rank(severity: str) -> int:
    """The place of a severity in `SEVERITIES`, lowest 0."""
    return SEVERITIES.index(severity)


def micros(minutes: float) -> int:
    """Minutes in whole microseconds."""
    return round(minutes * MICROS_PER_MINUTE)


VerdictKind: TypeAlias = Literal["breach", "good", "band", "undecided", "no data"]
