"""Doubts: stored rules that match nothing so far, and would look like health for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from f1mon_core.alerts import possible, readings, stored_rules
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.watch import Watch
from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.metrics import rows
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.text import closest

_RECENT = 200
"""Among so many predictions the names of segments are looked for."""


@attrs.frozen
class Doubt:
    """Why a rule may never fire.

    Attributes:
        rule_id: Which rule.
        field: What of it.
        message: In words, with the closest name where one is close.
    """

    rule_id: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"rule {self.rule_id}: {self.field}: {self.message}"


def doubts(rules: Iterable[AlertRule] | None = None) -> Plan[list[Doubt]]:
    """What is doubtful about these rules, or all that are stored; of enabled ones."""
    wanted = (yield from stored_rules.stored_rules()) if rules is None else _checked(rules)
    found: list[Doubt] = []
    for rule in wanted:
        if not rule.enabled:
            continue
        if (reason := possible.never(rule)) is not None:
            found.append(Doubt(rule.rule_id, reason.field, f"it can never fire: {reason.reason}"))
            continue
        found += yield from _of_metric(rule)
        found += yield from _of_model(rule)
        found += yield from _of_inhibition(rule, wanted)
        found += yield from _of_segments(rule)
    return found


def _checked(rules: Any) -> list[AlertRule]:
    if isinstance(rules, str | bytes) or not isinstance(rules, Iterable):
        raise InvalidQueryError(f"rules must be a list of AlertRule, got {shown(rules)}")
    wanted = list(rules)
    for one in wanted:
        if not isinstance(one, AlertRule):
            raise InvalidQueryError(f"rules must hold AlertRule only, got {shown(one)} among them")
    return wanted


def _of_metric(rule: AlertRule) -> Plan[list[Doubt]]:
    if possible.nature_of(rule) is not None and ":" not in rule.metric_name:
        return []
    watched = yield from _watches(rule)
    samples = [watch.sample for watch in watched if watch.sample is not None]
    found: list[Doubt] = []
    if not any(sample.value is not None for sample in samples):
        known = yield from readings.names_like(rule.metric_name)
        if rule.metric_name not in known:
            told = f"{rule.metric_name!r} is neither computed nor recorded so far"
            close = closest(rule.metric_name, known | {*METRIC_NAMES, possible.DRIFTED_FEATURES})
            found.append(Doubt(rule.rule_id, "metric_name", told + close))
    if possible.nature_of(rule) is None:
        for field, asked, has in (
            ("gate", rule.gate == "interval", any(sample.low is not None for sample in samples)),
            ("min_samples", rule.min_samples is not None, any(sample.n is not None for sample in samples)),
            ("min_coverage", rule.min_coverage is not None, any(sample.coverage is not None for sample in samples)),
        ):
            if asked and not has:
                told = "what `record_metric` keeps is a number without one: only `evaluate_rule` with a `Metric` has it"
                found.append(Doubt(rule.rule_id, field, told))
    return found


def _of_model(rule: AlertRule) -> Plan[list[Doubt]]:
    if rule.model_version is None:
        return []
    if (yield from plans.find(Select.of(Prediction, model_version=rule.model_version, limit=1))):
        return []
    if any(watch.sample is not None and watch.sample.value is not None for watch in (yield from _watches(rule))):
        return []
    models = {str(model) for (model,) in (yield from plans.count(Select.of(Prediction), ("model_version",)))}
    told = f"no prediction of {rule.model_version!r} is stored" + closest(rule.model_version, models)
    return [Doubt(rule.rule_id, "model_version", told)]


def _of_inhibition(rule: AlertRule, wanted: Iterable[AlertRule]) -> Plan[list[Doubt]]:
    if not rule.inhibited_by:
        return []
    known = {one.rule_id: one for one in (*(yield from stored_rules.stored_rules()), *wanted)}
    found: list[Doubt] = []
    for source in rule.inhibited_by:
        if source not in known:
            told = f"no rule {source!r} is stored" + closest(source, known.keys() - {rule.rule_id})
            found.append(Doubt(rule.rule_id, "inhibited_by", told))
        elif not known[source].enabled:
            found.append(Doubt(rule.rule_id, "inhibited_by", f"rule {source!r} is disabled, and inhibits nothing"))
    behind: set[str] = set()
    left = [rule.rule_id]
    while left:
        one = known.get(left.pop())
        new = set() if one is None else {*one.inhibited_by} - behind
        behind |= new
        left += new
    if rule.rule_id in behind:
        told = f"it inhibits itself through {', '.join(rule.inhibited_by)}; rules of such a circle are all told"
        found.append(Doubt(rule.rule_id, "inhibited_by", told))
    return found


def _of_segments(rule: AlertRule) -> Plan[list[Doubt]]:
    """Names by which no recent prediction is told apart: they would all be in one group, without the name."""
    if not rule.by:
        return []
    select = Select.of(Prediction, model_version=rule.model_version, descending=True, limit=_RECENT)
    predictions = yield from plans.find(select)
    if not predictions:
        return []
    known = {name for one in predictions for name in one.segments}
    found: list[Doubt] = []
    for name in rule.by:
        if rows.undeclared([name]):
            missing = all(rows.at_path(one, name) is None for one in predictions)
        else:
            missing = name not in known
        if missing:
            told = f"none of the newest {len(predictions)} predictions has {name!r}" + closest(name, known)
            found.append(Doubt(rule.rule_id, "by", told))
    return found


def _watches(rule: AlertRule) -> Plan[list[Watch]]:
    own = watches.read((yield from plans.document(watches.rule_key(rule.rule_id))))
    return [own, *(yield from stored_rules.instances(rule.rule_id)).values()]
