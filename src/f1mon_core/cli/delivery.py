"""`f1mon deliver`, `f1mon deliveries` and `f1mon silence`: from the outbox to the channels, or not yet."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

import click

from f1mon_core.alerts.silences import Silence
from f1mon_core.cli.errors import UNHEARD
from f1mon_core.cli.ids import alert_id_of
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, exit_zero_option, json_option, quiet_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import chosen, where_options
from f1mon_core.cli.streams import talk, warn
from f1mon_core.delivery import heartbeat
from f1mon_core.delivery.report import Pending
from f1mon_core.monitor import Monitor
from f1mon_core.records.fields import SEVERITIES, ClassLabel
from f1mon_core.records.times import from_micros
from f1mon_core.text import printable, told_segments

OVERDUE_SECONDS = 60.0
"""How often a worker looks for rules that nobody evaluates."""

_log = logging.getLogger("f1mon.alerts")


@click.command
@exit_zero_option
@quiet_option
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option(
    "--ping", metavar="URL", envvar=heartbeat.AFTER_DELIVERING, help="Called while it works; else F1MON_DELIVER_PING."
)
@pass_place
def deliver(place: Place, *, watch: bool, interval: float, exit_zero: bool, ping: str | None) -> None:
    """Send what is due to its channels; any number of these may run at once.

    Exit code 5 while there is a dead letter of an open incident. With --watch, rules that nobody evaluates are named.
    After a round that could serve the outbox --ping is called, with --watch at most once a minute.
    """
    address = heartbeat.named(ping or "", heartbeat.AFTER_DELIVERING)
    with place.open(create=watch) as monitor:
        if watch:
            stop = threading.Event()

            def end(_number: int, _frame: FrameType | None) -> None:
                stop.set()

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, end)
            talk("delivering until interrupted")
            threading.Thread(target=_name_overdue, args=(monitor, stop), daemon=True).start()
            monitor.deliver_until(stop, interval, ping=address or "")
            return
        report = monitor.deliver()
        if address is not None:
            heartbeat.call(address, "delivered")
        unheard = len(monitor.unheard())
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(report.outcomes.items()))
    talk(told or "nothing is due")
    if unheard:
        warn(f"warning: dead letters of open incidents: {unheard} (`f1mon deliveries list`)")
        if not exit_zero:
            raise click.exceptions.Exit(UNHEARD)


def _name_overdue(monitor: Monitor, stop: threading.Event) -> None:
    """Say once of each rule that nobody evaluates it, and again after it was evaluated."""
    named: set[str] = set()
    while not stop.is_set():
        try:
            found = {one.rule_id: one for one in monitor.overdue_rules()}
        except Exception as error:  # noqa: BLE001 - the worker itself says that its store is away
            _log.info("whether rules are overdue is not known: %s", error)
        else:
            for rule_id in sorted(found.keys() - named):
                _log.warning("overdue: %s", found[rule_id])
            named = set(found)
        stop.wait(OVERDUE_SECONDS)


@click.group
def deliveries() -> None:
    """What is on its way to a channel, and the dead letters."""


@deliveries.command("list")
@json_option
@pass_place
def list_deliveries(place: Place, *, as_json: bool) -> None:
    """List what waits and what is dead, oldest first, each with its last error."""
    with place.open() as monitor:
        waiting, dead = monitor.deliveries(), monitor.dead_letters()
    found = [("waiting", one) for one in waiting] + [("dead", one) for one in dead]
    if as_json:
        document([_told(state, one) for state, one in found])
        return
    rows = [
        (state, one.alert_id, one.name, stamp(from_micros(one.created)), _due(one), one.failures, _why(one))
        for state, one in found
    ]
    table(("state", "alert", "channel", "since", "next try", "failures", "last error"), rows, right=(5,))


@deliveries.command
@click.option("--alert", "alert_id", metavar="ID", help="Only those of this alert.")
@click.option("--channel", metavar="NAME", help="Only those of this channel.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the incident's history keeps it.")
@click.option("--by", metavar="WHO", help="Who gives them up.")
@pass_place
def discard(place: Place, *, alert_id: str | None, channel: str | None, reason: str, by: str | None) -> None:
    """Give dead letters up; all of them if nothing is named."""
    with place.open() as monitor:
        discarded = monitor.discard_dead_letters(reason, by=by, alert_id=alert_id, channel=channel)
    talk(f"{discarded} discarded")


@deliveries.command
@click.option("--alert", "alert_id", metavar="ID", help="Only those of this alert.")
@click.option("--channel", metavar="NAME", help="Only those of this channel.")
@pass_place
def retry(place: Place, *, alert_id: str | None, channel: str | None) -> None:
    """Put dead letters back on their way; all of them if nothing is named."""
    with place.open() as monitor:
        alert_id = None if alert_id is None else alert_id_of(monitor, alert_id)
        dead, unheard = monitor.dead_letters(), {(one.alert_id, one.name) for one in monitor.unheard()}
        revived = monitor.retry_dead_letters(alert_id, channel)
    talk(f"{revived} on their way again")
    over = {
        one.alert_id
        for one in dead
        if alert_id in (None, one.alert_id)
        and channel in (None, one.channel)
        and (one.alert_id, one.name) not in unheard
    }
    if over and revived:
        warn(f"their incident has ended: {', '.join(map(printable, sorted(over)))}")


def _due(one: Pending) -> str:
    return "-" if one.due is None else stamp(from_micros(one.due))


def _why(one: Pending) -> str | None:
    """Why it is still there."""
    if one.inhibited_by is not None:
        return f"inhibited by {one.inhibited_by}"
    if one.error is not None:
        return one.error
    if one.silenced:
        return "silenced"
    return f"grouped by {', '.join(one.group)}" if one.group and one.due is not None else None


def _told(state: str, one: Pending) -> dict[str, object]:
    return {
        "state": state,
        "alert_id": one.alert_id,
        "channel": one.channel,
        "purpose": one.purpose,
        "since": from_micros(one.created),
        "next_try": None if one.due is None else from_micros(one.due),
        "attempts": one.attempts,
        "failures": one.failures,
        "error": one.error,
        "inhibited_by": one.inhibited_by,
        "silenced": one.silenced,
        "group": list(one.group),
    }


@click.group
def silence() -> None:
    """For a time, store alerts without telling anybody."""


@silence.command
@click.option("--for", "duration", type=Window(), required=True, help="How long: 90m, 24h, 7d.")
@click.option("--start", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="When, with a time zone; now if not given.")
@click.option("--rule", "rule_id", metavar="ID", help="Only alerts of this rule.")
@click.option("--component", metavar="NAME", help="Only alerts of this component.")
@click.option("--model-version", metavar="V", help="Only alerts about this model.")
@click.option("--metric", "metric_name", metavar="NAME", help="Only alerts on this metric.")
@click.option("--severity", type=click.Choice(SEVERITIES), help="Only alerts of this severity.")
@where_options
@click.option("--by", metavar="WHO", help="Who asks for it.")
@click.option("--comment", metavar="TEXT", help="Why.")
@pass_place
def add(
    place: Place,
    /,
    *,
    duration: timedelta | None,
    start: datetime | None,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    **named: Any,
) -> None:
    """Silence alerts that match all that is named; every alert if nothing is."""
    if duration is None:
        raise click.UsageError("a silence has an end: give a length of time")
    with place.open(create=True) as monitor:
        made = monitor.silence((start or monitor.now()) + duration, start=start, where=chosen(where, without), **named)
    click.echo(made.silence_id)
    talk(f"silent until {stamp(made.end)}")


@silence.command("list")
@json_option
@pass_place
def list_silences(place: Place, *, as_json: bool) -> None:
    """List the silences, oldest first."""
    with place.open() as monitor:
        found = monitor.silences()
    if as_json:
        shown = ("silence_id", "start", "end", "match", "where", "by", "comment")
        document([{name: getattr(one, name) for name in shown} for one in found])
        return
    rows = [(one.silence_id, stamp(one.start), stamp(one.end), _matched(one), one.by, one.comment) for one in found]
    table(("id", "from", "until", "matches", "by", "comment"), rows)


@silence.command
@click.argument("silence_id")
@pass_place
def lift(place: Place, silence_id: str) -> None:
    """Remove a silence."""
    with place.open() as monitor:
        monitor.lift_silence(silence_id)
    talk(f"lifted {printable(silence_id)}")


def _matched(one: Silence) -> str:
    return ", ".join(filter(None, (told_segments(one.match), told_segments(one.where)))) or "every alert"
