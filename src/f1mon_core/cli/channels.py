"""`f1mon channels`: what the channels are, whether they could deliver, and a message to try one with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from f1mon_core.cli.errors import CannotError, said
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.delivery import rests
from f1mon_core.delivery.messages import rendered
from f1mon_core.errors import F1monError
from f1mon_core.monitor import Monitor
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import from_micros
from f1mon_core.storage import plans
from f1mon_core.storage.entries import whole_of
from f1mon_core.text import discreet, one_line, printable


@click.group
def channels() -> None:
    """Where alerts go, and whether they would arrive."""


@channels.command("list")
@json_option
@pass_place
def list_channels(place: Place, *, as_json: bool) -> None:
    """List every channel that is configured or that a rule names: its kind, its state, who uses it.

    No address and no secret is shown.
    """
    with place.open() as monitor:
        found = [_told(monitor, name, rest) for name, rest in _named(monitor).items()]
    if as_json:
        document(found)
        return
    rows = [
        (one["channel"], one["kind"], one["state"], ", ".join(one["rules"]) or None, one["problem"]) for one in found
    ]
    table(("channel", "kind", "state", "rules", "problem"), rows)


@channels.command
@click.argument("name")
@pass_place
def test(place: Place, name: str) -> None:
    """Send a test message through a channel, now and past the outbox.

    Exit code 0 if it was accepted, 1 if not, with the reason; 2 if the channel's configuration does not hold up.
    """
    alert = Alert(
        alert_id=f"test-{new_operation_id()}",
        severity="info",
        title=f"Test of the channel {name}",
        message="Somebody tries whether this channel works. Nothing is wrong, and nothing is to be done.",
        metric_name="test",
        component="f1mon",
        model_version="none",
        at=datetime.now(UTC),
    )
    with place.open() as monitor:
        channel = monitor.channels.get(name)
        try:
            channel.send(rendered(alert, "test", alert.alert_id))
        except F1monError as error:
            raise CannotError(f"channel {printable(name)}: {discreet(said(error).message)}") from error
        except Exception as error:
            reason = one_line(discreet(f"{type(error).__name__}: {error}"))
            raise CannotError(f"channel {printable(name)}: {reason}") from error
    click.echo(f"channel {printable(name)} accepted the test message", err=True)


def _named(monitor: Monitor) -> dict[str, Document | None]:
    """Every channel that is configured, that a rule names or that rests, with its rest."""
    held = plans.run(rests.all_rests(), monitor.storage)
    of_rules = {channel for rule in monitor.rules() for channel in rule.channels}
    return {name: held.get(name) for name in sorted({*monitor.channels.names(), *of_rules, *held})}


def _told(monitor: Monitor, name: str, rest: Document | None) -> dict[str, Any]:
    problem = monitor.channels.problems([name]).get(name)
    kind = None if problem is not None else _kind(monitor, name)
    state = "ready" if problem is None else "unusable"
    until = None
    if rest is not None:
        until = from_micros(whole_of(rest, "until"))
        state = f"rests until {stamp(until)}" if until > monitor.now() else "to be tried again"
        problem = problem or str(rest["error"])
    rules = [rule.rule_id for rule in monitor.rules() if name in rule.channels]
    return {"channel": name, "kind": kind, "state": state, "rests_until": until, "rules": rules, "problem": problem}


def _kind(monitor: Monitor, name: str) -> str:
    return type(monitor.channels.get(name)).__name__.removesuffix("Channel").lower()
