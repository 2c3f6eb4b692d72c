"""`f1mon incidents` and `f1mon resolve`: what fires now, and its end by hand."""

from __future__ import annotations

import attrs
import click

from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import subject
from f1mon_core.cli.streams import talk
from f1mon_core.text import printable


@click.command
@json_option
@pass_place
def incidents(place: Place, *, as_json: bool) -> None:
    """List what is pending or fires now, since when, and who has it; oldest first."""
    with place.open() as monitor:
        found = monitor.incidents()
    if as_json:
        document([attrs.asdict(one) for one in found])
        return
    rows = [
        (
            one.phase,
            one.severity,
            one.rule_id,
            subject(one.model_version, one.labels),
            stamp(one.opened),
            len(one.alert_ids),
            one.taken_by,
            one.incident_id,
            one.reason if one.inhibited_by is None else f"{one.reason}; inhibited by {one.inhibited_by}",
        )
        for one in found
    ]
    table(("phase", "severity", "rule", "model", "since", "alerts", "taken by", "incident", "reason"), rows, right=(5,))
    talk(f"{sum(one.phase == 'firing' for one in found)} firing, {len(found)} open")


@click.command
@click.argument("incident_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the incident's history keeps it.")
@click.option("--by", metavar="WHO", help="Who ends it.")
@pass_place
def resolve(place: Place, incident_id: str, *, reason: str, by: str | None) -> None:
    """End an incident by hand, by its id or that of one of its alerts.

    Whoever was told is told the end where the rule has notify_resolved. The next breach begins an incident of its own.
    """
    with place.open() as monitor:
        ended = monitor.resolve(incident_id, reason, by)
    talk(printable(f"resolved {ended.incident_id} of rule {ended.rule_id}"))
