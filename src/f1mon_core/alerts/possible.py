"""Which rules can never fire, told from the rule alone: what its metric can be, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.metrics.measurement import METRIC_NAMES

if TYPE_CHECKING:
    from f1mon_core.alerts.rules import AlertRule

NO_OUTCOMES = "no_outcomes"
"""The `metric_type` of rules on how many outcomes arrived; missing labels make every other metric no data."""
DRIFTED_FEATURES = "drifted_features"
"""How many features drifted, by the newest drift results of each; `n` is of how many features there are any."""


@attrs.frozen
class Nature:
    """What f1mon knows of a metric before it has a value.

    Attributes:
        low, high: No value lies outside.
        interval, n, coverage: Whether a value comes with it.
    """

    low: float = -math.inf
    high: float = math.inf
    interval: bool = False
    n: bool = False
    coverage: bool = False


_COUNT = Nature(0.0, n=True)
_COMPUTED = Nature(0.0, 1.0, n=True, coverage=True)
_OF_A_SUBJECT = {
    "drift_statistic": Nature(),
    "drift_p_value": Nature(0.0, 1.0),
    "feature_importance": Nature(),
    "degradation": Nature(0.0, 1.0),
}


def nature_of(rule: AlertRule) -> Nature | None:
    """That of a rule's metric; None for one that users record, of which anything may come."""
    name = rule.metric_name
    if rule.metric_type == NO_OUTCOMES or name == DRIFTED_FEATURES:
        return _COUNT
    if name in METRIC_NAMES:
        unbounded = name in ("num_predictions", "num_labelled", "log_loss")
        interval = name in ("accuracy", "precision", "recall")
        return attrs.evolve(_COMPUTED, high=math.inf if unbounded else 1.0, interval=interval)
    sort, _, subject = name.partition(":")
    return _OF_A_SUBJECT.get(sort) if subject else None


def is_counted(rule: AlertRule) -> bool:
    """Whether a rule's metric is computed from predictions and their outcomes, and so of each segment of them too."""
    return rule.metric_type == NO_OUTCOMES or rule.metric_name in METRIC_NAMES


def never(rule: AlertRule) -> InvalidRecordError | None:
    """Why an enabled rule can never fire; None if it can."""
    if not rule.enabled:
        return None
    nature = nature_of(rule)
    if nature is not None and (lacking := _lacking(rule, nature)) is not None:
        return lacking
    if rule.on_no_data == "fire":
        return None
    low, high = (None, None) if nature is None else (nature.low, nature.high)
    if not _meets(rule, -math.inf if low is None else low, math.inf if high is None else high):
        can_be = f"{rule.metric_name} is from {low:g} to {high:g}"
        return InvalidRecordError("threshold", rule.threshold, f"nothing is {rule.comparison} it: {can_be}")
    least, most = (rule.conditions.get(bound) for bound in ("min_value", "max_value"))
    low, high = (least if isinstance(least, float) else -math.inf), (most if isinstance(most, float) else math.inf)
    if not _meets(rule, low, high):
        reason = f"no value within them is {rule.comparison} {rule.threshold:g}"
        return InvalidRecordError("conditions", rule.conditions, reason)
    return None


def _lacking(rule: AlertRule, nature: Nature) -> InvalidRecordError | None:
    if rule.gate == "interval" and not nature.interval:
        reason = f"must be point: {rule.metric_name} has no interval (accuracy, precision and recall do)"
        return InvalidRecordError("gate", rule.gate, reason)
    for name, known, what in (("min_samples", nature.n, "n"), ("min_coverage", nature.coverage, "coverage")):
        asked = getattr(rule, name)
        if asked is not None and not known:
            return InvalidRecordError(name, asked, f"must be left out: {rule.metric_name} has no {what}")
    return None


def _meets(rule: AlertRule, low: float, high: float) -> bool:
    """Whether any value of a closed range breaches."""
    threshold = rule.threshold
    return {
        "<": low < threshold,
        "<=": low <= threshold,
        ">": high > threshold,
        ">=": high >= threshold,
        "==": low <= threshold <= high,
        "!=": not low == high == threshold,
    }[rule.comparison]


_trusting: ContextVar[bool] = ContextVar("f1mon_trusting", default=False)


@contextmanager
def trusting() -> Iterator[None]:
    """Make rules that can never fire, too: those that are stored already, or come from the old system."""
    token = _trusting.set(True)
    try:
        yield
    finally:
        _trusting.reset(token)


def refuse(rule: AlertRule) -> None:
    """Raise `InvalidRecordError` for a rule that can never fire."""
    if not _trusting.get() and (reason := never(rule)) is not None:
        raise reason
