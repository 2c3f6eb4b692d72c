"""Silences: what is not told, by whom and until when; and a form that says first how much it would silence."""

from __future__ import annotations

from typing import Any

import attrs

from f1mon_core.alerts.silences import MATCHED, Silence
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import LATEST
from f1mon_core.storage.tally import check_where
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link

_PAST = 100


@attrs.frozen
class Line:
    """A silence, and how many open alerts it matches now; or would, if it were its time."""

    silence: Silence
    matching: int


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """Silences by their time; and where the address has a filter, what a silence of it would match."""
    now = await monitor.now()
    alerts = await monitor.alerts(acknowledged=False, limit=1_000)
    lines = [Line(one, _matching(one, alerts)) for one in await monitor.silences()]
    past = sorted((one for one in lines if one.silence.end <= now), key=lambda one: one.silence.end, reverse=True)
    match = {name: found for name in MATCHED if (found := query.text(name)) is not None}
    where = query.where()
    planned = Silence(silence_id="", start=now, end=LATEST, match=match, where=check_where(where))
    rules = [one for one in await monitor.rules() if _may_match(planned, one)]
    return {
        "title": "Silences",
        "active": [one for one in lines if one.silence.start <= now < one.silence.end],
        "coming": [one for one in lines if one.silence.start > now],
        "past": past[:_PAST],
        "left_out": max(0, len(past) - _PAST),
        "match": match,
        "where": where,
        "matched": MATCHED,
        "matching": _matching(planned, alerts),
        "alerts": len(alerts),
        "rules_matched": len(rules),
        "asked": bool(match or where) or query.text("new") is not None,
    }


def _matching(silence: Silence, alerts: list[Alert]) -> int:
    return sum(silence.covers(one, silence.start) for one in alerts)


def _may_match(silence: Silence, rule: Any) -> bool:
    """Whether alerts of a rule can match."""
    match = silence.match
    return rule.enabled and all(
        getattr(rule, name) == wanted
        for name, wanted in match.items()
        if name != "severity" and not (name == "model_version" and rule.model_version is None)
    )
