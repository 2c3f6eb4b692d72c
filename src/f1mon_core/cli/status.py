"""`f1mon status`: how each model does, with what the numbers rest on, and how many alerts are open."""

from __future__ import annotations

from datetime import timedelta

import click

from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk, warn
from f1mon_core.cli.window import asked
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Performance
from f1mon_core.text import printable

_SHOWN = ("accuracy", "precision", "recall", "expected_calibration_error", "avg_confidence")


@click.command
@json_option
@click.option("--window", type=Window(), default="24h", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--model-version", metavar="V", help="Only this model.")
@pass_place
def status(place: Place, *, as_json: bool, window: timedelta | None, model_version: str | None) -> None:
    """Show how each model does in a window of prediction time.

    A number that is not known is `-`; coverage says how many predictions have their outcome yet.
    """
    with place.open() as monitor:
        address = monitor.address
        over = asked(monitor, window, model_version=model_version)
        names = METRIC_NAMES if as_json else _SHOWN
        measured = {one: monitor.performance(one, since=over.since, metrics=names) for one in over.models}
        statistics = monitor.alert_statistics()
        firing = sum(one.phase == "firing" for one in monitor.incidents())
        unheard, late = len(monitor.unheard()), monitor.overdue_rules()
        newest = monitor.predictions(model_version, descending=True, limit=1)
    opened, total = statistics.unacknowledged, statistics.total
    if as_json:
        alerts: dict[str, object] = {"total": total, "unacknowledged": opened}
        alerts |= {"by_severity": dict(statistics.by_severity), "firing": firing, "dead_letters": unheard}
        alerts |= {"overdue_rules": [one.rule_id for one in late]}
        models = {name: one.to_dict() for name, one in measured.items()}
        document({"store": address, "models": models, "alerts": alerts})
        return
    rows = [_row(name, one) for name, one in measured.items()]
    table(("model", "predictions", "labelled", "coverage", "accuracy", "95 % interval", "precision", "recall", "ECE",
           "confidence"), rows, right=range(1, 10))  # fmt: skip
    click.echo(f"alerts: {total}, {opened} open")
    click.echo(f"incidents: {firing} firing")
    if unheard:
        warn(f"warning: dead letters of open incidents: {unheard} (`f1mon deliveries list`)")
    for one in late:
        warn(printable(f"warning: overdue: {one}"))
    talk(f"{printable(address)}, {'all time' if over.since is None else f'since {stamp(over.since)}'}")
    if not measured:
        made = f"the newest was made {stamp(newest[0].at)}: try --window all" if newest else "none is stored"
        talk(f"no predictions in this window; {made}")


def _row(name: str, measured: Performance) -> tuple[object, ...]:
    accuracy = measured.accuracy
    interval = None if accuracy.low is None or accuracy.high is None else f"{accuracy.low:.3f} - {accuracy.high:.3f}"
    coverage = None if measured.coverage is None else f"{measured.coverage:.1%}"
    shown = [_number(measured[metric]) for metric in _SHOWN]
    return (name, measured.total, measured.labelled, coverage, shown[0], interval, *shown[1:])


def _number(metric: Metric) -> str | None:
    return None if metric.value is None else f"{metric.value:.3f}"
