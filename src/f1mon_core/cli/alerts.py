"""`f1mon alerts`, `f1mon incident` and `f1mon ack`."""

from __future__ import annotations

from datetime import timedelta

import click

from f1mon_core.alerts.segmented import labels_of
from f1mon_core.cli.ids import alert_id_of, incident_id_of
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import subject
from f1mon_core.cli.streams import talk
from f1mon_core.metrics.windows import minus
from f1mon_core.records.fields import SEVERITIES
from f1mon_core.records.kinds import Acknowledgement, Alert
from f1mon_core.text import printable


@click.command
@json_option
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="At most so many, newest first.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--open", "only_open", is_flag=True, help="Only those that nobody has acknowledged.")
@click.option("--severity", type=click.Choice(SEVERITIES), multiple=True, help="Only of this severity; repeatable.")
@click.option("--component", metavar="NAME", help="Only of this component.")
@click.option("--model-version", metavar="V", help="Only about this model.")
@click.option("--rule", "rule_id", metavar="ID", help="Only of this rule.")
@click.option("--window", type=Window(), default="all", show_default=True, help="Only so recent: 90m, 24h, 7d.")
@pass_place
def alerts(
    place: Place,
    *,
    as_json: bool,
    limit: int,
    everything: bool,
    only_open: bool,
    severity: tuple[str, ...],
    component: str | None,
    model_version: str | None,
    rule_id: str | None,
    window: timedelta | None,
) -> None:
    """List alerts, newest first; `f1mon incident` says what came before and after one."""
    with place.open() as monitor:
        found = monitor.alerts(
            severity=severity or None,
            acknowledged=False if only_open else None,
            component=component,
            model_version=model_version,
            rule_id=rule_id,
            since=None if window is None else minus(monitor.now(), window),
            limit=None if everything else limit,
        )
        held = monitor.acknowledgements([one.alert_id for one in found])
        statistics = monitor.alert_statistics()
        dead = {one.alert_id for one in monitor.unheard()}
        kept = {one.alert_id: one.inhibited_by for one in monitor.deliveries() if one.inhibited_by is not None}
    if as_json:
        known = [(one, {"dead": one.alert_id in dead, "inhibited_by": kept.get(one.alert_id)}) for one in found]
        document([_as_document(one, held.get(one.alert_id)) | more for one, more in known])
        return
    rows = [
        (stamp(one.at), one.severity, one.alert_id, subject(one.model_version, labels_of(one.context)),
         f"{one.title}: {one.message}",
         _state(held.get(one.alert_id)) + (", dead letter" if one.alert_id in dead else "")
         + (f", inhibited by {kept[one.alert_id]}" if one.alert_id in kept else ""))
        for one in found
    ]  # fmt: skip
    table(("time", "severity", "id", "model", "alert", "state"), rows)
    talk(f"{len(found)} shown of {statistics.total}, {statistics.unacknowledged} open")


@click.command
@click.argument("incident_id", metavar="ID")
@json_option
@pass_place
def incident(place: Place, incident_id: str, *, as_json: bool) -> None:
    """Show the history of an incident, by its id or by that of one of its alerts, oldest first."""
    with place.open() as monitor:
        incident_id = incident_id_of(monitor, incident_id)
        history = monitor.incident_history(incident_id=incident_id)
        if not history and (its := monitor.alert(incident_id).incident_id) is not None:
            history = monitor.incident_history(incident_id=its)
    if as_json:
        shown = ("event_id", "at", "event", "rule_id", "incident_id", "model_version", "reason", "details")
        document([{name: getattr(one, name) for name in shown} for one in history])
        return
    rows = [
        (stamp(one.at), one.event, one.model_version, *map(one.details.get, ("severity", "alert_id")), one.reason)
        for one in history
    ]
    table(("time", "event", "model", "severity", "alert", "reason"), rows)
    if history:
        talk(f"incident {printable(history[0].incident_id)} of rule {printable(history[0].rule_id)}")
    else:
        talk("this alert was made by no rule, and has no history")


@click.command
@click.argument("alert_id")
@click.option("--by", required=True, metavar="WHO", help="Who takes it on.")
@click.option("--note", metavar="TEXT", help="A remark kept with the acknowledgement.")
@pass_place
def ack(place: Place, alert_id: str, *, by: str, note: str | None) -> None:
    """Acknowledge an alert. The first one who does stands, for ever; a later one is told who that was."""
    with place.open() as monitor:
        alert_id = alert_id_of(monitor, alert_id)
        done = monitor.acknowledge(alert_id, by, note)
    who, when = printable(done.first.by or "somebody"), stamp(done.first.at)
    click.echo(f"{printable(alert_id)} {'acknowledged' if done.new else 'was already acknowledged'} by {who} at {when}")


def _state(acknowledgement: Acknowledgement | None) -> str:
    return "open" if acknowledgement is None else f"taken by {acknowledgement.by or 'somebody'}"


def _as_document(alert: Alert, acknowledgement: Acknowledgement | None) -> dict[str, object]:
    taken = None
    if acknowledgement is not None:
        taken = {"by": acknowledgement.by, "at": acknowledgement.at, "note": acknowledgement.note}
    return {
        "alert_id": alert.alert_id,
        "at": alert.at,
        "severity": alert.severity,
        "title": alert.title,
        "message": alert.message,
        "metric_name": alert.metric_name,
        "metric_value": alert.metric_value,
        "threshold": alert.threshold,
        "component": alert.component,
        "model_version": alert.model_version,
        "rule_id": alert.rule_id,
        "incident_id": alert.incident_id,
        "context": alert.context,
        "metadata": alert.metadata,
        "acknowledgement": taken,
    }
