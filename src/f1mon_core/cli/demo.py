"""`f1mon demo`: a simulated season, from the first prediction to an acknowledged alert."""

from __future__ import annotations

import random
import shlex
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import cast

import attrs
import click

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.cli.dashboard import PORT, check_installed, show
from f1mon_core.cli.errors import CannotError
from f1mon_core.cli.output import stamp
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Alert, Outcome, Prediction
from f1mon_core.storage.address import masked
from f1mon_core.text import printable

MODEL = "points-2025"
RACES = 14
DRIVERS = 20
NEW_RULES_FROM = 8
"""From this race on the cars are different, and the model, which does not know, is as sure of itself as before."""
LATE = 4
"""So many results of a race stay open until the stewards have decided, five days later."""

_FIRST = datetime(2025, 3, 15, 14, tzinfo=UTC)
_FORTNIGHT = timedelta(weeks=2)
_WINDOW = timedelta(weeks=8)

RULE = AlertRule(
    "points-accuracy",
    "accuracy",
    "threshold",
    threshold=0.7,
    comparison="<",
    severity="warning",
    component="performance",
    cooldown_minutes=60 * 24 * 7 * 5,
    channels=(),
    min_samples=30,
    overdue_minutes=60 * 24 * 366 * 100,  # the season is over
)


@attrs.define
class SeasonClock:
    """The present of the simulation."""

    now: datetime = _FIRST

    def __call__(self) -> datetime:
        """The present."""
        return self.now


@click.command
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--dashboard", "shown", is_flag=True, help="Then show it as pages in a browser, until interrupted.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Of --dashboard.")
@pass_place
def demo(place: Place, directory: Path | None, *, shown: bool, port: int) -> None:
    """Simulate a season in a fresh store: predictions, late outcomes, a degradation, an alert, its acknowledgement.

    The data goes to DIRECTORY (./f1mon-demo if not given), or where --backend, --url or --path say; never to a store
    that only the environment names. It takes seconds, and every run makes the same numbers.
    """
    if shown:
        check_installed()
    if not place.named:
        place = Place(backend="jsonl", path=str(_fresh(directory)))
    elif directory is not None:
        raise click.UsageError("give DIRECTORY, or a store by --backend, --url or --path, not both")
    clock = SeasonClock()
    with place.open(create=True, clock=clock) as monitor:
        if monitor.predictions(limit=1):
            raise CannotError(f"{monitor.address} holds predictions already; the demo wants a fresh place")
        monitor.add_rule(RULE)
        address = monitor.address
    click.echo(
        f"A season in {printable(masked(address))}: {RACES} races, {DRIVERS} predictions each by model {MODEL},\n"
        f"{LATE} of every {DRIVERS} results known only days later, and from race {NEW_RULES_FROM} on the cars have "
        f"changed.\nRule: {RULE.metric_name} {RULE.comparison} {RULE.threshold} over eight weeks is a {RULE.severity}; "
        "then five weeks' cooldown.\n"
        "The store is closed and opened again for every race, as by a process that starts anew.\n"
    )
    click.echo("race  labelled      accuracy (95 % interval)  mean confidence  alert")
    fired = [alert for race in range(1, RACES + 1) if (alert := _race(place, clock, race)) is not None]
    _acknowledge(place, clock, fired[0])
    _end(place)
    if shown:
        with place.open(clock=clock) as monitor:  # the season's own clock, by which it has just ended
            show(monitor, port=port, opened=True)


def _race(place: Place, clock: SeasonClock, number: int) -> Alert | None:
    """One weekend in a store of its own opening; the alert if one fired."""
    rng = random.Random(number)  # noqa: S311 - a simulation that is the same every time
    clock.now = _FIRST + _FORTNIGHT * (number - 1)
    with place.open(clock=clock) as monitor:
        made = [_prediction(rng, number, driver, clock.now) for driver in range(1, DRIVERS + 1)]
        monitor.record_predictions(made)
        results = [_outcome(rng, one, number) for one in made]
        clock.now += timedelta(days=1, hours=3)
        monitor.record_outcomes(Outcome(prediction_id=p, actual_outcome=a, at=clock.now) for p, a in results[LATE:])
        measured = monitor.performance(MODEL, last=_WINDOW)
        alert = monitor.evaluate_rule(RULE.rule_id, measured.accuracy, MODEL)
        accuracy, confidence = measured.accuracy, measured["avg_confidence"]
        click.echo(
            f"{number:>4}  {measured.labelled:>3} of {measured.total:<3}  "
            f"{accuracy.value:>12.3f} ({accuracy.low:.3f} - {accuracy.high:.3f})  {confidence.value:>15.3f}  "
            f"{_said(accuracy.value, alert)}"
        )
        clock.now += timedelta(days=5)
        monitor.record_outcomes(Outcome(prediction_id=p, actual_outcome=a, at=clock.now) for p, a in results[:LATE])
    return alert


def _prediction(rng: random.Random, race: int, driver: int, at: datetime) -> Prediction:
    confidence = round(rng.uniform(0.6, 0.98), 3)
    return Prediction(
        prediction_id=f"race-{race:02}/car-{driver:02}",
        model_version=MODEL,
        predicted_outcome=rng.randint(0, 1),
        confidence=confidence,
        features={"grid": driver},
        at=at,
    )


def _outcome(rng: random.Random, made: Prediction, race: int) -> tuple[str, ClassLabel]:
    """What happened: as likely what was predicted as the model is sure, until the cars changed."""
    likely = made.confidence - (0.25 if race >= NEW_RULES_FROM else 0.0)
    right = rng.random() < likely
    return made.prediction_id, made.predicted_outcome if right else 1 - cast("int", made.predicted_outcome)


def _said(accuracy: float | None, alert: Alert | None) -> str:
    if alert is not None:
        return f"FIRED {alert.alert_id}"
    breached = accuracy is not None and accuracy < RULE.threshold
    return "silent: cooldown" if breached else ""


def _acknowledge(place: Place, clock: SeasonClock, alert: Alert) -> None:
    clock.now += timedelta(hours=1)
    with place.open(clock=clock) as monitor:
        monitor.acknowledge(alert.alert_id, "race engineer", "retraining on the new cars")
    clock.now += timedelta(hours=1)
    with place.open(clock=clock) as monitor:
        done = monitor.acknowledge(alert.alert_id, "somebody else")
        statistics = monitor.alert_statistics()
        click.echo(
            f"\n{alert.alert_id}: {alert.message}\n"
            f"acknowledged by {done.first.by} at {stamp(done.first.at)};"
            " a second one, an hour later, changed nothing.\n"
            f"{statistics.total} alerts, {statistics.unacknowledged} open."
        )


def _end(place: Place) -> None:
    options = " ".join(
        f"--{name} {shlex.quote(masked(value))}"
        for name, value in attrs.asdict(place).items()
        if value and (name, value) != _IMPLIED
    )
    click.echo("\nLook around:")
    for command in ("status --window all", "alerts", "check"):
        click.echo(f"  f1mon {options} {command}")


_IMPLIED = ("backend", "jsonl")
"""What --path says already."""


def _fresh(wanted: Path | None) -> Path:
    """A directory that does not exist yet, or is empty."""
    if wanted is None:
        names = (Path(f"f1mon-demo-{number}" if number else "f1mon-demo") for number in count())
        return next(path for path in names if not path.exists())
    if ":/" in str(wanted):  # of a path there is one slash left
        raise click.UsageError(f"DIRECTORY is a path, and {masked(str(wanted))!r} an address: give it as --url")
    if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
        raise CannotError(f"{wanted} is not empty; the demo wants a fresh directory")
    return wanted
