"""Alerts: those that nobody has taken on first; each list is paged by a cursor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from f1mon_core.alerts.segmented import labels_of
from f1mon_core.alerts.silences import MATCHED
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.fields import SEVERITIES
from f1mon_core.records.kinds import Alert, IncidentEvent
from f1mon_core.web import figures
from f1mon_core.web.asked import Query, cursor_text
from f1mon_core.web.pages import Link

PAGE = 50
_DRAWN = 400
STATES = ("all", "open", "taken")
_FILTERS = ("severity", "component", "model_version", "metric_name", "rule_id")


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:
    """Open alerts, then those somebody took on; how many there are by severity and component; all over time."""
    state = query.choice("state", STATES)
    chosen: dict[str, Any] = {name: query.text(name) for name in _FILTERS}
    edges: dict[str, Any] = {"since": query.instant("since"), "until": query.instant("until")}
    lists = []
    for name, acknowledged in (("open", False), ("taken", True)):
        if state in ("all", name):
            after = query.cursor(f"{name}_after")
            page = await monitor.alerts(acknowledged=acknowledged, limit=PAGE + 1, after=after, **chosen, **edges)
            lists.append((name, page[:PAGE], cursor_text(page[PAGE - 1].cursor) if len(page) > PAGE else None, after))
    drawn = await monitor.alerts(limit=_DRAWN, **chosen, **edges)
    shown = {one.alert_id for _, page, _, _ in lists for one in page} | {one.alert_id for one in drawn}
    taken = await monitor.acknowledgements(shown)
    unheard = {one.alert_id for one in await monitor.unheard()}
    kept = {one.alert_id: one.inhibited_by for one in await monitor.deliveries() if one.inhibited_by is not None}
    statistics = await monitor.alert_statistics()
    rules = sorted({one.rule_id for one in await monitor.rules()})
    history = await _ends(monitor, drawn)
    silences = [
        (one.match["rule_id"], one.start, one.end, f"silenced: {one.comment or 'no comment'}")
        for one in await monitor.silences()
        if "rule_id" in one.match
    ]
    now = await monitor.now()
    return {
        "title": "Alerts",
        "state": state,
        "states": STATES,
        "lists": lists,
        "taken": taken,
        "unheard": unheard,
        "inhibited": kept,
        "labels": {one.alert_id: labels_of(one.context) for _, page, _, _ in lists for one in page},
        "statistics": statistics,
        "severities": tuple(reversed(SEVERITIES)),
        "rules": rules,
        "models": sorted(one.name for one in await monitor.glance()),
        "chosen": chosen,
        "matched": {name: value for name, value in chosen.items() if name in MATCHED and value is not None},
        "line": figures.time_line(drawn, taken, history, silences, now, link, "Alerts over time"),
        "drawn": drawn,
        "cut": len(drawn) == _DRAWN,
    }


async def _ends(monitor: AsyncMonitor, drawn: Sequence[Alert]) -> list[tuple[str, Any, str]]:
    """When the incidents of these alerts ended."""
    incidents = {one.incident_id for one in drawn if one.incident_id is not None}
    if not incidents:
        return []
    events: list[IncidentEvent] = await monitor.incident_history(since=min(one.instant for one in drawn))
    return [
        (one.rule_id, one.instant, f"{one.event}: {one.reason}")
        for one in events
        if one.event == "resolved" and one.incident_id in incidents
    ]
