"""`f1mon check`: the whole store read once, what is damaged or at risk, and what is not set up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import click

from f1mon_core.cli.errors import DAMAGED, MISUSED, UNHEARD
from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import exit_zero_option, json_option, quiet_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk, warn
from f1mon_core.errors import CorruptStoreError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.contract import Problem
from f1mon_core.text import printable


@attrs.frozen
class Finding:
    """Something `check` found.

    Attributes:
        about: "store" for what the store holds, "data" for what was recorded and can hardly be meant, "setup" for what
            this machine lacks to serve it, "alerting" for what keeps an alert from being made or heard.
        problem: What it is.
    """

    about: Literal["store", "data", "setup", "alerting"]
    problem: Problem


def of_rules(monitor: Monitor) -> Iterator[Finding]:
    """What is wrong with the enabled rules, and with the channels they name."""
    try:
        rules = monitor.rules()
    except CorruptStoreError as error:
        yield Finding("store", Problem("error", "rules", f"cannot be read: {error.__cause__ or error}"))
        return
    named = {channel for rule in rules if rule.enabled for channel in rule.channels}
    for channel, message in monitor.channels.problems(named).items():
        yield Finding("setup", Problem("error", f"channel {channel}", message))
    for doubt in monitor.rule_doubts(rules):
        yield Finding("alerting", Problem("warning", f"rule {doubt.rule_id}", f"{doubt.field}: {doubt.message}"))
    for late in monitor.overdue_rules():
        yield Finding("alerting", Problem("warning", "evaluation", str(late)))
    for dead in monitor.unheard():
        message = f"a dead letter of an open incident, by channel {dead.channel}: {dead.error}"
        yield Finding("alerting", Problem("warning", f"alert {dead.alert_id}", message))


def of_data(monitor: Monitor) -> Iterator[Finding]:
    """What was recorded and can hardly be meant."""
    try:
        doubts = monitor.data_doubts()
    except CorruptStoreError as error:
        yield Finding("store", Problem("error", "data", f"cannot be read: {error.__cause__ or error}"))
        return
    for doubt in doubts:
        yield Finding("data", Problem("warning", doubt.where, doubt.message))


@click.command
@json_option
@exit_zero_option
@quiet_option
@pass_place
def check(place: Place, *, as_json: bool, exit_zero: bool) -> None:
    """Read the whole store and report what is lost, wrong, or at risk, and what is not set up.

    Also what was recorded and can hardly be meant: confidences that look like P(positive), labels of two types, facts
    of the future, outcomes known before their prediction or without one, and event times given as known times.

    A channel that an enabled rule names and that nothing is configured for is no damage, but nobody is told by it.

    Exit code 4 if something in the store is lost or wrong, else 2 if something is not set up, else 5 if an alert may
    not be made or heard: a rule that nobody evaluates, or on a metric that nobody records; a dead letter of an open
    incident. Other warnings leave it at 0.
    """
    with attrs.evolve(place, strict=False).open() as monitor:  # which is how one learns what is damaged
        address, report = monitor.address, monitor.check()
        findings = [Finding("store", problem) for problem in report.problems]
        findings += of_data(monitor)
        findings += of_rules(monitor)
    wrong = {one.about for one in findings if one.problem.severity == "error"}
    deaf = any(one.about == "alerting" for one in findings)
    if as_json:
        problems = [{**attrs.asdict(one.problem), "about": one.about} for one in findings]
        document({"store": address, "ok": not wrong, "facts": dict(report.facts), "problems": problems})
    else:
        table(("kind", "facts"), sorted(report.facts.items()), right=(1,))
        for problem in (one.problem for one in findings):
            warn(printable(f"{problem.severity}: {problem.where}: {problem.message}"))
        state = "damaged" if "store" in wrong else "sound, but not set up" if wrong else "sound"
        if deaf and state == "sound":
            state = "sound, but an alert may not be heard"
        talk(f"{printable(address)}: {state}")
    code = DAMAGED if "store" in wrong else MISUSED if wrong else UNHEARD if deaf else 0
    if code and not exit_zero:
        raise click.exceptions.Exit(code)
