"""`f1mon evaluate`: measure, evaluate the rules, and say by the exit code whether something fired."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.segmented import labels_of
from f1mon_core.alerts.standing import Standing
from f1mon_core.cli.errors import FIRED, MisusedError, said
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, exit_zero_option, json_option, quiet_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import subject
from f1mon_core.cli.standing import HEADER, NUMBERS, row, say_channels, say_doubts, told
from f1mon_core.cli.streams import talk, warn
from f1mon_core.delivery import heartbeat
from f1mon_core.errors import EvaluationError
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Alert
from f1mon_core.text import closest, printable


@click.command
@json_option
@click.option("--model-version", metavar="V", help="Only this model.")
@click.option("--window", type=Window(), default="1h", show_default=True, help="For rules that do not name theirs.")
@click.option("--rule", "rule_id", metavar="ID", help="Only this rule.")
@click.option("--component", metavar="NAME", help="Only rules of this component.")
@click.option("--explain", is_flag=True, help="Show where each rule and instance is now, and why.")
@click.option("--ping", metavar="URL", envvar="F1MON_PING", help="Called after each whole round; else F1MON_PING.")
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
    explain: bool,
    ping: str | None,
) -> None:
    """Evaluate the stored rules over what is stored; for cron.

    A round that was whole, so without a rule that failed and not of some rules only, ends in a call of --ping.

    Exit code 3 if an alert fired, 0 if none did; 1 if a rule could not be evaluated, whatever fired of the others.
    """
    if window is None:
        raise MisusedError("the rules are evaluated over a length of time, not over all of it")
    if ping is not None:
        heartbeat.checked(ping)
    failed: EvaluationError | None = None
    with place.open() as monitor:
        try:
            fired = monitor.evaluate(model_version, rule_id=rule_id, component=component, last=window)
        except EvaluationError as error:
            fired, failed = error.fired, error
        enabled = [rule for rule in monitor.rules() if rule.enabled and rule_id in (None, rule.rule_id)]
        rules = [rule for rule in enabled if rule.matches(rule.metric_name, component, model_version)]
        say_doubts(monitor.rule_doubts(rules))
        if not rules:
            warn(printable(f"warning: {_matched_nothing(enabled, component)}"))
        standings = _standings(monitor, rules, model_version) if explain else []
        if deliver:
            say_channels(monitor.channels.problems({name for rule in rules for name in rule.channels}))
            monitor.deliver()
    if ping and failed is None and (model_version, rule_id, component) == (None, None, None):
        _call(ping, f"{len(rules)} rules, {len(fired)} fired")
    _show(fired, standings if explain else None, as_json=as_json)
    if failed is not None:
        raise said(failed)
    if fired and not exit_zero:
        raise click.exceptions.Exit(FIRED)


def _show(fired: Sequence[Alert], standings: Sequence[Standing] | None, *, as_json: bool) -> None:
    if as_json:
        shown = ("alert_id", "at", "severity", "title", "message", "metric_name", "metric_value", "threshold")
        more = ("component", "model_version", "rule_id", "incident_id", "context")
        alerts = [{name: getattr(one, name) for name in (*shown, *more)} for one in fired]
        document(alerts if standings is None else {"fired": alerts, "standings": [told(one) for one in standings]})
        return
    rows = [
        (stamp(one.at), one.severity, one.alert_id, subject(one.model_version, labels_of(one.context)), one.message)
        for one in fired
    ]
    if rows:
        table(("time", "severity", "id", "model", "alert"), rows)
    if standings is not None:
        table(HEADER, [row(one) for one in standings], right=NUMBERS)
    talk(f"{len(fired)} fired")


def _call(address: str, said: str) -> None:
    if (reason := heartbeat.ping(address, said)) is not None:
        warn(f"warning: the address to call after a round could not be reached: {printable(reason)}")


def _standings(monitor: Monitor, rules: Sequence[AlertRule], model_version: str | None) -> list[Standing]:
    named = {rule.rule_id for rule in rules}
    return [
        one
        for one in monitor.standings()
        if one.rule.rule_id in named and (model_version is None or one.model_version in (None, model_version))
    ]


def _matched_nothing(enabled: Sequence[AlertRule], component: str | None) -> str:
    if not enabled:
        return "no rule is enabled: nothing is watched"
    if component is not None and component not in (known := {rule.component for rule in enabled}):
        return f"no rule is of component {component!r}{closest(component, known)}"
    return "no rule matches what is asked for"
