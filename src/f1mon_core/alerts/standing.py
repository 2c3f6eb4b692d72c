"""Standings: where each rule and instance is, and what it was last told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core.alerts import cooldown, stored_rules
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.inhibition import Inhibitors
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.watch import Phase, Watch
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import check_text


@attrs.frozen(kw_only=True)
class Standing:
    """Where a rule, or one instance of it, is.

    Attributes:
        model_version: Of the newest sample ("all" for all models together); None before the first.
        labels: What else makes an instance.
        evaluated: When it was last evaluated; None for never.
        value, n, coverage, low, high: What the newest evaluation saw; None for what it did not know.
        phase, since, reason: "inactive", "pending" or "firing", since when, and why.
        cooldown_left: How long no alert of the same severity comes yet.
        incident_id: The open incident.
        taken_by: Who has acknowledged it.
        inhibited_by: The rule that fires for the same model now and keeps this one from being told.
    """

    rule: AlertRule
    model_version: str | None
    labels: Mapping[str, Any]
    evaluated: datetime | None
    value: float | None
    n: int | None
    coverage: float | None
    low: float | None
    high: float | None
    phase: Phase
    since: datetime | None
    reason: str
    cooldown_left: timedelta
    incident_id: str | None
    taken_by: str | None
    inhibited_by: str | None = None

    @classmethod
    def of(cls, rule: AlertRule, watch: Watch, now: datetime) -> Standing:
        """What a watch says at an instant."""
        sample, incident, instance = watch.sample, watch.incident, watch.instance
        seen = {name: getattr(sample, name, None) for name in ("value", "n", "coverage", "low", "high")}
        taken = None if incident is None or incident.acknowledged is None else incident.acknowledged.get("by")
        model = (instance and instance.model_version) or (sample and sample.model_version) or rule.model_version
        reason = watch.phase_reason or "never evaluated"
        return cls(
            rule=rule,
            model_version=model,
            labels={} if instance is None else instance.labels,
            evaluated=None if sample is None else from_micros(sample.at),
            phase=watch.phase,
            since=None if watch.phase_since is None else from_micros(watch.phase_since),
            reason=reason if rule.enabled else "the rule is disabled",
            cooldown_left=_left(rule, watch, to_micros(now)),
            incident_id=None if incident is None else incident.incident_id,
            taken_by=taken if incident is None or incident.acknowledged is None else taken or "somebody",
            **seen,
        )


def _left(rule: AlertRule, watch: Watch, now: int) -> timedelta:
    if watch.last_fired is None:
        return timedelta(0)
    return timedelta(microseconds=max(0, rule.cooldown - cooldown.elapsed(watch.last_fired, now)))


def standings(rule_id: str | None = None) -> Plan[list[Standing]]:
    """Every stored rule, or the one named, with its instances; a rule that has none yet stands for itself."""
    if rule_id is not None:
        check_text("rule_id", rule_id)
    now = yield from plans.now()
    found: list[Standing] = []
    inhibitors = Inhibitors()
    for rule in (yield from stored_rules.stored_rules()):
        if rule_id not in (None, rule.rule_id):
            continue
        own = watches.read((yield from plans.document(watches.rule_key(rule.rule_id))))
        held = [own]
        if rule.scope == "instance":
            held = list((yield from stored_rules.instances(rule.rule_id)).values())
            held += [own] if own.sample is not None or not held else []
        for watch in held:
            one = Standing.of(rule, watch, now)
            if one.phase == "firing":
                by = yield from inhibitors.of_rule(rule.rule_id, (), one.model_version)
                one = attrs.evolve(one, inhibited_by=by)
            found.append(one)
    return found
