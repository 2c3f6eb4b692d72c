"""`f1mon alerts` and `f1mon ack`."""

from __future__ import annotations

import click

from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.printing import printable
from f1mon_core.records import SEVERITIES, Acknowledgement, Alert


@click.command
@json_option
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="At most so many, newest first.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--open", "only_open", is_flag=True, help="Only those that nobody has acknowledged.")
@click.option("--severity", type=click.Choice(SEVERITIES), multiple=True, help="Only of this severity; repeatable.")
@click.option("--model-version", metavar="V", help="Only about this model.")
@pass_place
def alerts(
    place: Place,
    *,
    as_json: bool,
    limit: int,
    everything: bool,
    only_open: bool,
    severity: tuple[str, ...],
    model_version: str | None,
) -> None:
    """List alerts, newest first."""
    with place.open() as monitor:
        found = monitor.alerts(
            severity=severity or None,
            acknowledged=False if only_open else None,
            model_version=model_version,
            limit=None if everything else limit,
        )
        held = monitor.acknowledgements([one.alert_id for one in found])
        statistics = monitor.alert_statistics()
    if as_json:
        document([_as_document(one, held.get(one.alert_id)) for one in found])
        return
    rows = [
        (stamp(one.at), one.severity, one.alert_id, one.model_version, f"{one.title}: {one.message}",
         _state(held.get(one.alert_id)))
        for one in found
    ]  # fmt: skip
    table(("time", "severity", "id", "model", "alert", "state"), rows)
    click.echo(f"{len(found)} shown of {statistics.total}, {statistics.unacknowledged} open", err=True)


@click.command
@click.argument("alert_id")
@click.option("--by", required=True, metavar="WHO", help="Who takes it on.")
@click.option("--note", metavar="TEXT", help="A remark kept with the acknowledgement.")
@pass_place
def ack(place: Place, alert_id: str, *, by: str, note: str | None) -> None:
    """Acknowledge an alert. The first one who does stands, for ever; a later one is told who that was."""
    with place.open() as monitor:
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
