"""`f1mon rules`: the alert rules of a store, from TOML."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from f1mon_core.alerts import rule_files
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.cli.errors import CannotError, MisusedError
from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.standing import HEADER, NUMBERS, of_rules, row, say_channels, say_doubts, told
from f1mon_core.cli.streams import talk
from f1mon_core.monitor import Monitor
from f1mon_core.text import printable


@click.group
def rules() -> None:
    """Apply, list and change the alert rules."""


@rules.command
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Remove stored rules that the file does not name.")
@pass_place
def apply(place: Place, file: Path, *, dry_run: bool, prune: bool) -> None:
    """Store the rules of a TOML file; what has not changed stays as it is.

    A rule that can never fire is refused; one that matches nothing so far is named, and so is a channel that is not set
    up on this machine.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CannotError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise MisusedError(f"{file}: not UTF-8, by the byte 0x{byte:02x} at position {error.start}") from error
    wanted = {rule.rule_id: rule for rule in rule_files.from_toml(text, file.name)}
    with place.open(create=not dry_run) as monitor:
        stored = {rule.rule_id: rule for rule in monitor.rules()}
        changes = 0
        for rule_id in sorted({*wanted, *(stored if prune else ())}):
            old, new = stored.get(rule_id), wanted.get(rule_id)
            changes += _apply(monitor, rule_id, old, new, dry_run=dry_run)
        say_doubts(monitor.rule_doubts(wanted.values()))
        say_channels(monitor.channels.problems({name for rule in wanted.values() for name in rule.channels}))
    talk(f"{changes} rules {'would change' if dry_run else 'changed'}, {len(wanted)} in {file.name}")


def _apply(monitor: Monitor, rule_id: str, old: AlertRule | None, new: AlertRule | None, *, dry_run: bool) -> bool:
    if old is not None and new is not None:
        new = new.settled(old.scope)
    if old == new:
        return False
    word = "add" if old is None else "remove" if new is None else "change"
    details = ""
    if word == "change":
        pairs = rule_files.difference(old, new).items()
        details = ": " + ", ".join(f"{name} {before!r} -> {after!r}" for name, (before, after) in pairs)
    click.echo(printable(f"{word} {rule_id}{details}"))
    if not dry_run:
        if new is None:
            monitor.remove_rule(rule_id)
        else:
            monitor.add_rule(new)
    return True


@rules.command("list")
@json_option
@pass_place
def list_rules(place: Place, *, as_json: bool) -> None:
    """List the stored rules, a line for each instance: what it last saw, its phase and why, its cooldown."""
    with place.open() as monitor:
        stored, found = monitor.rules(), monitor.standings()
    if as_json:
        document(
            [
                rule_files.to_document(rule) | {"standings": [told(one) for one in of_rules(found, rule.rule_id)]}
                for rule in stored
            ]
        )
        return
    rows = [
        (
            one.rule.rule_id,
            "yes" if one.rule.enabled else "no",
            one.rule.severity,
            _breached_if(one.rule),
            one.rule.component,
            f"{one.rule.cooldown_minutes:g} min",
            ", ".join(one.rule.channels),
            *row(one)[1:],
        )
        for one in found
    ]
    said = ("rule", "enabled", "severity", "breached if", "component", "cooldown", "channels")
    table((*said, *HEADER[1:]), rows, right=tuple(len(said) - 1 + column for column in NUMBERS))


def _breached_if(rule: AlertRule) -> str:
    """What a rule fires on, in a few words."""
    of = "" if rule.positive is None else f" of {rule.positive}"
    by = f" by {', '.join(rule.by)}" if rule.by else ""
    return f"{rule.metric_name}{of} {rule.comparison} {rule.threshold:g}{by}"


@rules.command
@click.argument("rule_id")
@pass_place
def show(place: Place, rule_id: str) -> None:
    """Print one rule and its revisions as JSON."""
    with place.open() as monitor:
        rule = _stored(monitor, rule_id)
        revisions = monitor.rule_revisions(rule_id)
    document(
        {
            "rule": rule_files.to_document(rule),
            "revisions": [{"revision": one.revision, "at": one.at, "definition": one.definition} for one in revisions],
        }
    )


@rules.command
@click.argument("rule_id")
@pass_place
def enable(place: Place, rule_id: str) -> None:
    """Evaluate a rule again."""
    _switch(place, rule_id, enabled=True)


@rules.command
@click.argument("rule_id")
@pass_place
def disable(place: Place, rule_id: str) -> None:
    """Do not evaluate a rule any more; its open incidents are closed, its cooldown stays."""
    _switch(place, rule_id, enabled=False)


@rules.command
@click.argument("rule_id")
@pass_place
def remove(place: Place, rule_id: str) -> None:
    """Remove a rule; its alerts and revisions stay."""
    with place.open() as monitor:
        monitor.remove_rule(rule_id)
    talk(f"removed {printable(rule_id)}")


def _switch(place: Place, rule_id: str, *, enabled: bool) -> None:
    with place.open() as monitor:
        monitor.add_rule(attrs.evolve(_stored(monitor, rule_id), enabled=enabled))
    talk(f"{'enabled' if enabled else 'disabled'} {printable(rule_id)}")


def _stored(monitor: Monitor, rule_id: str) -> AlertRule:
    for rule in monitor.rules():
        if rule.rule_id == rule_id:
            return rule
    raise CannotError(f"no rule {rule_id!r} is stored; `f1mon rules list` names them")
