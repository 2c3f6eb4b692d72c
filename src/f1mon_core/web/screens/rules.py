"""Rules: where each is now and why, whether anybody evaluates it, and how it came to be what it is."""

from __future__ import annotations

from typing import Any

import attrs

from f1mon_core.monitor import AsyncMonitor
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link

_MOST = 300
_PHASES = ("firing", "pending", "inactive")


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """Every rule and instance; of one rule its definition and revisions too."""
    rule_id = query.text("id")
    standings = sorted(await monitor.standings(rule_id), key=lambda one: (_PHASES.index(one.phase), one.rule.rule_id))
    revisions = [] if rule_id is None else await monitor.rule_revisions(rule_id)
    rule = next((one.rule for one in standings), None) if rule_id is not None else None
    usual = {} if rule is None else {field.name: field.default for field in attrs.fields(type(rule))}
    return {
        "title": "Rules" if rule_id is None else rule_id,
        "rule_id": rule_id,
        "standings": standings[:_MOST],
        "left_out": max(0, len(standings) - _MOST),
        "overdue": {one.rule_id: one for one in await monitor.overdue_rules()},
        "doubts": await monitor.rule_doubts(),
        "revisions": list(reversed(revisions)),
        "definition": {} if rule is None else _said(attrs.asdict(rule, recurse=False), usual),
    }


def _said(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """What a rule says, without what every rule says that is told nothing."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value not in (None, "", (), {}) and (name in _ALWAYS or usual.get(name) != value)
    }


_ALWAYS = frozenset({"metric_name", "threshold", "comparison", "severity", "component", "cooldown_minutes", "channels"})
