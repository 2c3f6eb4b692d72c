"""Overdue rules: those that nobody has evaluated for too long, which looks like health."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from f1mon_core.alerts import standing
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.records.kinds import RuleRevision
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select

USUAL = timedelta(hours=25)
"""How long a rule that does not say may go without an evaluation: a daily cron, an hour late."""


@attrs.frozen
class Overdue:
    """A rule that waits for its evaluation.

    Attributes:
        rule_id: Which.
        evaluated: When it last was; None for never.
        since: What it waits from: that, or when it was stored.
        allowed: How long it may.
    """

    rule_id: str
    evaluated: datetime | None
    since: datetime
    allowed: timedelta

    def __str__(self) -> str:
        last = "never evaluated since it was stored" if self.evaluated is None else "last evaluated"
        return f"rule {self.rule_id}: {last} {self.since:%Y-%m-%dT%H:%M:%SZ}, more than {self.allowed} ago"


def allowed(rule: AlertRule) -> timedelta:
    """How long a rule may go without an evaluation."""
    return USUAL if rule.overdue_minutes is None else timedelta(minutes=rule.overdue_minutes)


def overdue() -> Plan[list[Overdue]]:
    """The enabled rules that nobody has evaluated for too long, by their id."""
    now = yield from plans.now()
    newest: dict[str, tuple[AlertRule, datetime | None]] = {}
    for one in (yield from standing.standings()):
        if one.rule.enabled:
            known = newest.get(one.rule.rule_id, (one.rule, None))[1]
            both = [at for at in (known, one.evaluated) if at is not None]
            newest[one.rule.rule_id] = (one.rule, max(both, default=None))
    found: list[Overdue] = []
    for rule_id, (rule, evaluated) in newest.items():
        since = evaluated or (yield from _stored(rule_id))
        if since is not None and now - since > allowed(rule):
            found.append(Overdue(rule_id, evaluated, since, allowed(rule)))
    return found


def _stored(rule_id: str) -> Plan[datetime | None]:
    select = Select.of(RuleRevision, where={"rule_id": rule_id}, descending=True, limit=1)
    return next((one.at for one in (yield from plans.find(select))), None)
