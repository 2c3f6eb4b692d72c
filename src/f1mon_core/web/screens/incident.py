"""Incident: one breach from its first sample to its end, who was told, and the metric around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from f1mon_core.alerts.segmented import labels_of
from f1mon_core.errors import F1monError, NotFoundError
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.windows import minus
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.kinds import Alert, IncidentEvent
from f1mon_core.web import asked, figures
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link
from f1mon_core.web.screens.model import COUNTS

_AROUND = 20
"""So many windows of the rule before the incident are drawn."""
_USUAL = timedelta(days=3)
"""The window of an alert that does not say its own."""


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """An incident by its id, or by that of one of its alerts."""
    wanted = query.needed("id")
    history = await monitor.incident_history(incident_id=wanted)
    incident_id: str | None = wanted if history else None
    alert: Alert | None = None
    if not history:
        alert = await monitor.alert(wanted)
        incident_id = alert.incident_id
        history = [] if incident_id is None else await monitor.incident_history(incident_id=incident_id)
    alerts = [alert] if alert is not None and incident_id is None else []
    if incident_id is not None:
        alerts = await monitor.alerts(incident_id=incident_id, descending=False, limit=200)
    if not alerts and not history:
        raise NotFoundError(f"no incident {wanted!r} is stored")
    alert = alert or (alerts[-1] if alerts else None)
    ids = [one.alert_id for one in alerts]
    waiting = [one for one in await monitor.deliveries() if one.alert_id in ids]
    dead = [one for one in await monitor.dead_letters() if one.alert_id in ids]
    still = next((one for one in await monitor.incidents() if one.incident_id == incident_id), None)
    return {
        "title": alert.title if alert is not None else f"Incident of {history[0].rule_id}",
        "id": wanted,
        "incident_id": incident_id,
        "alert": alert,
        "alerts": alerts,
        "labels": {} if alert is None else labels_of(alert.context),
        "taken": await monitor.acknowledgements(ids),
        "history": history,
        "delivered": await monitor.delivered(ids),
        "waiting": waiting,
        "dead": dead,
        "still": still,
        "course": None if alert is None else await _around(monitor, alert, alerts, history),
    }


async def _around(
    monitor: AsyncMonitor, alert: Alert, alerts: list[Alert], history: list[IncidentEvent]
) -> tuple[figures.Sized, list[figures.Bucket], str] | str:
    """The metric before, in and after the incident; or why it cannot be drawn."""
    if alert.metric_name not in METRIC_NAMES or alert.metric_name in COUNTS:
        return f"{alert.metric_name} is not computed from predictions, so there is no course of it"
    minutes = (alert.rule or {}).get("window_minutes")
    width = timedelta(minutes=minutes) if isinstance(minutes, int | float) and minutes else _USUAL
    first = min(one.instant for one in [*alerts, *history])
    last = max(one.instant for one in [*alerts, *history])
    now = await monitor.now()
    length = max(_AROUND * width, 2 * (last - first), timedelta(days=1))
    since, until = minus(first, length), min(max(now, last), last + length / 2)
    every = next(one for one in asked.WIDTHS if (until - since) / one <= asked.BUCKETS)
    try:
        trend = await monitor.trend(
            None if alert.model_version == "all" else alert.model_version,
            every=every,
            since=since,
            until=until,
            where=labels_of(alert.context) or None,
            metrics=(alert.metric_name, "num_predictions"),
        )
    except F1monError as error:  # a label that is no segment, a window that was pruned: said where the picture would be
        return str(error)
    rules = [one for one in await monitor.rules() if one.rule_id == alert.rule_id]
    taken = await monitor.acknowledgements([one.alert_id for one in alerts])
    buckets = figures.buckets(trend, now, None)
    title = f"{alert.metric_name} of {alert.model_version} around the incident, UTC"
    return figures.over_time(buckets, alert.metric_name, title, rules=rules, alerts=alerts, taken=taken), buckets, title
