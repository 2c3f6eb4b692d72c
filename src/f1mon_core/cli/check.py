"""`f1mon check`: the whole store read once, and what is damaged or at risk."""

from __future__ import annotations

import attrs
import click

from f1mon_core.cli.errors import DAMAGED
from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.errors import CorruptStoreError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.contract import CheckReport, Problem
from f1mon_core.text import printable


def with_channels(monitor: Monitor, report: CheckReport) -> CheckReport:
    """The report of a store with what is wrong with the channels that its enabled rules name."""
    try:
        rules = monitor.rules()
    except CorruptStoreError as error:
        problem = Problem("error", "rules", f"cannot be read: {error.__cause__ or error}")
        return attrs.evolve(report, problems=[*report.problems, problem])
    named = {channel for rule in rules if rule.enabled for channel in rule.channels}
    problems = [
        Problem("error", f"channel {channel}", message) for channel, message in monitor.channels.problems(named).items()
    ]
    return attrs.evolve(report, problems=[*report.problems, *problems])


@click.command
@json_option
@pass_place
def check(place: Place, *, as_json: bool) -> None:
    """Read the whole store and report what is lost, wrong, or at risk.

    A channel that an enabled rule names and that nothing is configured for is wrong too.

    Exit code 4 if something is lost or wrong; warnings alone leave it at 0.
    """
    with place.open() as monitor:
        address, report = monitor.address, with_channels(monitor, monitor.check())
    if as_json:
        problems = [{"severity": p.severity, "where": p.where, "message": p.message} for p in report.problems]
        document({"store": address, "ok": report.ok, "facts": dict(report.facts), "problems": problems})
    else:
        table(("kind", "facts"), sorted(report.facts.items()), right=(1,))
        for problem in report.problems:
            click.echo(printable(f"{problem.severity}: {problem.where}: {problem.message}"), err=True)
        click.echo(f"{printable(address)}: {'sound' if report.ok else 'damaged'}", err=True)
    if not report.ok:
        raise click.exceptions.Exit(DAMAGED)
