"""Alert rules: what is wrong with a value, decided without a clock, a store or a process."""

from __future__ import annotations

import math
import operator
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any, Literal, TypeAlias, cast

import attrs
import cattrs

from f1mon_core.errors import ConfigurationError, InvalidRecordError, NotANumberError
from f1mon_core.records import fields as validation
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import (
    SEVERITIES,
    Count,
    Flag,
    Id,
    Number,
    Ordinal,
    Probability,
    Severity,
    Text,
    checks,
)

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
MAX_MINUTES = 100 * 366 * 24 * 60
"""A century: more is a typing error, and would not fit a timedelta for ever."""
MICROS_PER_MINUTE = 60_000_000

_LOWER_IS_WORSE = frozenset({"<", "<="})
_HIGHER_IS_WORSE = frozenset({">", ">="})


def _one_of(choices: Sequence[str]) -> Callable[[Any, str], str]:
    def check(value: Any, field: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise InvalidRecordError(field, value, f"must be one of {', '.join(choices)}")
        return str(value)

    return check


def _minutes(value: Any, field: str) -> float:
    converted = validation.number(value, field)
    if not 0.0 <= converted <= MAX_MINUTES:
        raise InvalidRecordError(field, value, f"must be from 0 to {MAX_MINUTES} minutes")
    return converted


def _width(value: Any, field: str) -> float:
    if not timedelta(minutes=(converted := _minutes(value, field))):
        raise InvalidRecordError(field, value, "must be at least a microsecond")
    return converted


def _channels(value: Any, field: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidRecordError(field, value, "must be a list of channel names")
    return tuple(dict.fromkeys(validation.identifier(name, field) for name in value))


def _conditions(value: Any, field: str) -> Document:
    checked = validation.json_object(value, field)
    for bound in ("min_value", "max_value"):
        if (given := checked.get(bound)) is not None:
            checked[bound] = validation.number(given, f"{field}.{bound}")
    return checked


def _escalation(value: Any, field: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise InvalidRecordError(field, value, "must map severities to thresholds")
    return {
        _one_of(SEVERITIES)(severity, field): validation.number(threshold, f"{field}.{severity}")
        for severity, threshold in value.items()
    }


Comparison: TypeAlias = Annotated[str, _one_of(tuple(COMPARISONS))]
Minutes: TypeAlias = Annotated[float, _minutes]
Width: TypeAlias = Annotated[float, _width]
Channels: TypeAlias = Annotated[tuple[str, ...], _channels]
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
        scope: "rule": one state, whichever model is evaluated; "instance": one for each model and set of labels.
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

    Raises:
        InvalidRecordError: If a field is refused; the message names it.
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
    scope: Scope = attrs.field(default="rule", kw_only=True)
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

    def __attrs_post_init__(self) -> None:
        for name, check, optional in checks(type(self)):
            given = getattr(self, name)
            if given is None and optional:
                continue
            if (kept := check(given, name)) is not given:
                object.__setattr__(self, name, kept)
        self._check_together()

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
        if (self.basis == "matured") is (self.horizon_minutes is None):
            raise InvalidRecordError("horizon_minutes", self.horizon_minutes, "goes with basis = 'matured' and only it")

    def _check_recovery(self) -> None:
        if (recover := self.recover_threshold) is None:
            return
        if not self._ordered:
            raise InvalidRecordError("recover_threshold", recover, f"has no meaning with {self.comparison!r}")
        if self._worse(recover, self.threshold):
            side = "least" if self.comparison in _LOWER_IS_WORSE else "most"
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
        return self.comparison in _LOWER_IS_WORSE | _HIGHER_IS_WORSE

    def _worse(self, one: float, other: float) -> bool:
        return one < other if self.comparison in _LOWER_IS_WORSE else one > other

    @property
    def cooldown(self) -> int:
        """The cooldown in microseconds."""
        return micros(self.cooldown_minutes)

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


# Readings -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Reading:
    """A metric's value as a rule sees it.

    Attributes:
        value: A finite number, or None for no data.
        n, coverage, low, high: What it rests on, where that is known.
        reason: Why there is no value.
    """

    value: float | None
    n: int | None = None
    coverage: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @classmethod
    def of(cls, given: Any) -> Reading:
        """A reading of a number, of None, or of anything with the attributes of a `Metric`.

        None, NaN and infinities are no data. numpy and Decimal scalars are converted.

        Raises:
            NotANumberError: For a bool, a str, or anything else that is no number; also a TypeError.
        """
        if hasattr(given, "value") and hasattr(given, "coverage"):
            value, reason = number_or_none(given.value)
            low, high = number_or_none(given.low)[0], number_or_none(given.high)[0]
            coverage = number_or_none(given.coverage)[0]
            return cls(value, given.n, coverage, low, high, given.reason or reason)
        value, reason = number_or_none(given)
        return cls(value, reason=reason)


def number_or_none(given: Any) -> tuple[float | None, str | None]:
    """A finite float, or None and why there is none. Raises `NotANumberError` for what is no number at all."""
    if given is None:
        return None, "no value"
    if isinstance(given, bool) or type(given).__name__ == "bool_" or not isinstance(given, Real | Decimal):
        raise NotANumberError("value", given, "must be a number, or None for no data")
    try:
        value = float(given)
    except OverflowError:
        return None, "the value is infinite"
    except ValueError:
        return None, "the value is NaN"
    if math.isnan(value):
        return None, "the value is NaN"
    if math.isinf(value):
        return None, "the value is infinite"
    return value + 0.0, None


# Verdicts -----------------------------------------------------------------------------------------------------------

VerdictKind: TypeAlias = Literal["breach", "good", "band", "undecided", "no data"]


@attrs.frozen
class Verdict:
    """What one reading means under a rule.

    Attributes:
        kind: "breach"; "good"; "band", no breach but not recovered either (good for a pending breach, not for a
            firing one); "undecided", which changes nothing; or "no data".
        severity: The highest severity that is breached.
        reason: In words.
    """

    kind: VerdictKind
    severity: str | None
    reason: str


def judged(rule: AlertRule, reading: Reading) -> Verdict:
    """What a reading means under a rule. NaN is never compared: a reading holds finite numbers or None."""
    value = reading.value
    lack = (reading.reason or "no value") if value is None else _lack(rule, reading)
    if value is None or lack is not None:
        return Verdict("no data", None, lack or "no value")
    low, high = rule.conditions.get("min_value"), rule.conditions.get("max_value")
    if (isinstance(low, float) and value < low) or (isinstance(high, float) and value > high):
        return Verdict("undecided", None, f"{value:g} is outside the rule's conditions")
    severity = _breached(rule, lambda threshold: COMPARISONS[rule.comparison](value, threshold))
    if severity is None:
        return _not_breached(rule, value)
    if rule.gate == "interval":
        severity = _breached(rule, lambda threshold: _whole_interval(rule.comparison, reading, threshold))
        if severity is None:
            return Verdict("undecided", None, f"{value:g} breaches, but its interval does not")
    return Verdict("breach", severity, f"{value:g} {rule.comparison} {threshold_of(rule, severity):g}")


def _not_breached(rule: AlertRule, value: float) -> Verdict:
    recover = rule.recover_threshold
    if recover is not None and (value < recover if rule.comparison in _LOWER_IS_WORSE else value > recover):
        return Verdict("band", None, f"{value:g} has not passed the recover_threshold {recover:g}")
    return Verdict("good", None, f"{value:g} is not {rule.comparison} {rule.threshold:g}")


def threshold_of(rule: AlertRule, severity: str) -> float:
    """The threshold of a rule at a severity."""
    return rule.escalation.get(severity, rule.threshold)


def _breached(rule: AlertRule, breaches: Callable[[float], bool]) -> str | None:
    """The highest severity whose threshold is breached."""
    for severity in sorted(rule.escalation, key=rank, reverse=True):
        if breaches(rule.escalation[severity]):
            return severity
    return rule.severity if breaches(rule.threshold) else None


def _whole_interval(comparison: str, reading: Reading, threshold: float) -> bool:
    low, high = cast("float", reading.low), cast("float", reading.high)
    if comparison == "!=":
        return not low <= threshold <= high
    return COMPARISONS[comparison](low, threshold) and COMPARISONS[comparison](high, threshold)


def _lack(rule: AlertRule, reading: Reading) -> str | None:
    """What the reading lacks of what the rule asks for."""
    if rule.min_samples is not None:
        if reading.n is None:
            return f"min_samples is {rule.min_samples}, but n is not known"
        if reading.n < rule.min_samples:
            return f"n {reading.n} is below min_samples {rule.min_samples}"
    if rule.min_coverage is not None:
        if reading.coverage is None:
            return f"min_coverage is {rule.min_coverage:g}, but the coverage is not known"
        if reading.coverage < rule.min_coverage:
            return f"coverage {reading.coverage:.3g} is below min_coverage {rule.min_coverage:g}"
    if rule.gate == "interval" and (reading.low is None or reading.high is None):
        return "the gate is the interval, but the interval is not known"
    return None


# Documents ----------------------------------------------------------------------------------------------------------

converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
"""The converter of rules; errors carry the path to what was refused."""


def _as_is(value: Any, _: Any) -> Any:
    return value  # the rule checks and normalises its own fields


def _register() -> None:
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415 - used once

    fields: dict[str, Any] = {name: override(struct_hook=_as_is) for name in attrs.fields_dict(AlertRule)}
    converter.register_structure_hook(AlertRule, make_dict_structure_fn(AlertRule, converter, **fields))


_register()


def to_document(rule: AlertRule) -> Document:
    """A rule as a JSON object of all its fields."""
    document: Document = {}
    for name in attrs.fields_dict(AlertRule):
        value = getattr(rule, name)
        document[name] = list(value) if isinstance(value, tuple) else value
    return document


def from_document(document: Mapping[str, Any]) -> AlertRule:
    """The rule of a JSON object. Raises `ConfigurationError` with the path of every field that is refused."""
    rule: AlertRule = _structured("rule", lambda: converter.structure(document, AlertRule))
    return rule


def from_toml(text: str, name: str = "rules.toml") -> list[AlertRule]:
    """The rules of a TOML document: an array of tables `[[rules]]` with the fields of `AlertRule`.

    `metric_type` may be left out and is then "threshold".

    Raises:
        ConfigurationError: With the path and reason of everything that is refused, all at once.
    """
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    if unknown := sorted(set(parsed) - {"rules"}):
        raise ConfigurationError(f"{name}: unknown key {unknown[0]!r}; rules stand in [[rules]] tables")
    tables = parsed.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{name}: rules must be an array of tables, [[rules]]")
    tables = [{"metric_type": "threshold", **table} for table in tables]
    found: list[AlertRule] = _structured(name, lambda: converter.structure(tables, list[AlertRule]))
    seen: set[str] = set()
    for rule in found:
        if rule.rule_id in seen:
            raise ConfigurationError(f"{name}: rule_id {rule.rule_id!r} is given twice")
        seen.add(rule.rule_id)
    return found


def _structured(name: str, structure: Callable[[], Any]) -> Any:
    try:
        return structure()
    except cattrs.BaseValidationError as error:
        told = cattrs.transform_error(error, name, _told)
        raise ConfigurationError("\n".join(told)) from error


def _told(error: BaseException, kind: type | None) -> str:
    if isinstance(error, InvalidRecordError):
        return str(error)
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return cattrs.v.format_exception(error, kind)


def difference(old: AlertRule | None, new: AlertRule | None) -> dict[str, tuple[Json, Json]]:
    """The fields that differ, each as (old, new); all of them where one of the two is None."""
    before, after = (None if rule is None else to_document(rule) for rule in (old, new))
    names = attrs.fields_dict(AlertRule)
    pairs = {name: ((before or {}).get(name), (after or {}).get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if before is None or after is None or pair[0] != pair[1]}
