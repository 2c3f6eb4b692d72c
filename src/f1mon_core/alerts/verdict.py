"""What a rule makes of a reading: a breach, a good sample, or no data."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import Any, cast

import attrs

from f1mon_core.alerts.rules import COMPARISONS, LOWER_IS_WORSE, AlertRule, VerdictKind, rank
from f1mon_core.errors import NotANumberError


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
    if recover is not None and (value < recover if rule.comparison in LOWER_IS_WORSE else value > recover):
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
