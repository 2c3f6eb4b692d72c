"""`f1mon evaluate`: measure, evaluate the rules, and say by the exit code whether something fired."""

from __future__ import annotations

from datetime import timedelta

import click

from f1mon_core.cli.errors import FIRED, MisusedError, said
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, exit_zero_option, json_option, quiet_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.errors import EvaluationError


@click.command
@json_option
@click.option("--model-version", metavar="V", help="Only this model.")
@click.option("--window", type=Window(), default="1h", show_default=True, help="For rules that do not name theirs.")
@click.option("--rule", "rule_id", metavar="ID", help="Only this rule.")
@click.option("--component", metavar="NAME", help="Only rules of this component.")
@exit_zero_option
@quiet_option
@click.option("--deliver", is_flag=True, help="Deliver what is due afterwards, where no worker runs.")
@pass_place
def evaluate(
    place: Place,
    *,
    as_json: bool,
    model_version: str | None,
    window: timedelta | None,
    rule_id: str | None,
    component: str | None,
    deliver: bool,
    exit_zero: bool,
) -> None:
    """Evaluate the stored rules over what is stored; for cron.

    Exit code 3 if an alert fired, 0 if none did; 1 if a rule could not be evaluated, whatever fired of the others.
    """
    if window is None:
        raise MisusedError("the rules are evaluated over a length of time, not over all of it")
    failed: EvaluationError | None = None
    with place.open() as monitor:
        try:
            fired = monitor.evaluate(model_version, rule_id=rule_id, component=component, last=window)
        except EvaluationError as error:
            fired, failed = error.fired, error
        if deliver:
            monitor.deliver()
    if as_json:
        shown = ("alert_id", "at", "severity", "title", "message", "metric_name", "metric_value", "threshold")
        more = ("component", "model_version", "rule_id", "incident_id", "context")
        document([{name: getattr(one, name) for name in (*shown, *more)} for one in fired])
    else:
        rows = [(stamp(one.at), one.severity, one.alert_id, one.model_version, one.message) for one in fired]
        if rows:
            table(("time", "severity", "id", "model", "alert"), rows)
        talk(f"{len(fired)} fired")
    if failed is not None:
        raise said(failed)
    if fired and not exit_zero:
        raise click.exceptions.Exit(FIRED)
