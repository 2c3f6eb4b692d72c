"""`f1mon status`: how each model does, with what the numbers rest on, and how many alerts are open."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, json_option, positive_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk, warn
from f1mon_core.cli.window import asked
from f1mon_core.errors import CorruptStoreError
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Performance
from f1mon_core.monitor import Monitor
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import printable

_SHOWN = ("accuracy", "precision", "recall", "precision_macro", "recall_macro", "expected_calibration_error",
          "avg_confidence")  # fmt: skip


@click.command
@json_option
@click.option("--window", type=Window(), default="24h", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--model-version", metavar="V", help="Only this model.")
@positive_option
@pass_place
def status(
    place: Place, *, as_json: bool, window: timedelta | None, model_version: str | None, positive: ClassLabel | None
) -> None:
    """Show how each model does in a window of prediction time.

    A number that is not known is `-`; coverage says how many predictions have their outcome yet. Precision and recall
    are of the class named under "of": of more than two classes the unweighted mean, unless --positive names one.
    """
    with place.open() as monitor:
        address = monitor.address
        over = asked(monitor, window, model_version=model_version)
        names = METRIC_NAMES if as_json else _SHOWN
        measured = {
            one: monitor.performance(one, since=over.since, metrics=names, positive=positive) for one in over.models
        }
        doubts = _doubts(monitor, model_version, over.since)
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
        document({"store": address, "models": models, "alerts": alerts, "doubts": [one.to_dict() for one in doubts]})
        return
    rows = [_row(name, one, positive) for name, one in measured.items()]
    table(("model", "predictions", "labelled", "coverage", "accuracy", "95 % interval", "precision", "recall", "of",
           "ECE", "confidence"), rows, right=(*range(1, 8), 9, 10))  # fmt: skip
    click.echo(f"alerts: {total}, {opened} open")
    click.echo(f"incidents: {firing} firing")
    if unheard:
        warn(f"warning: dead letters of open incidents: {unheard} (`f1mon deliveries list`)")
    for doubt in doubts:
        warn(printable(f"warning: {doubt}"))
    for one in late:
        warn(printable(f"warning: overdue: {one}"))
    talk(f"{printable(address)}, {'all time' if over.since is None else f'since {stamp(over.since)}'}")
    if not measured:
        made = f"the newest was made {stamp(newest[0].at)}: try --window all" if newest else "none is stored"
        talk(f"no predictions in this window; {made}")


def _doubts(monitor: Monitor, model_version: str | None, since: datetime | None) -> list[DataDoubt]:
    """What was recorded and can hardly be meant; where a damaged fact keeps that from being known, it is said."""
    try:
        return monitor.data_doubts(model_version, since=since)
    except CorruptStoreError as error:
        warn(printable(f"warning: what was recorded cannot be looked through: {error} (`f1mon check`)"))
        return []


def _row(name: str, measured: Performance, positive: ClassLabel | None) -> tuple[object, ...]:
    accuracy = measured.accuracy
    interval = None if accuracy.low is None or accuracy.high is None else f"{accuracy.low:.3f} - {accuracy.high:.3f}"
    coverage = None if measured.coverage is None else f"{measured.coverage:.1%}"
    several = positive is None and len(measured.by_label) > 2  # noqa: PLR2004 - more than one against another
    of = f"{len(measured.by_label)} classes" if several else None if measured.positive is None else measured.positive
    precision, recall = (_number(measured[f"{one}_macro" if several else one]) for one in ("precision", "recall"))
    rest = [_number(measured[one]) for one in ("expected_calibration_error", "avg_confidence")]
    return (
        name,
        measured.total,
        measured.labelled,
        coverage,
        _number(accuracy),
        interval,
        precision,
        recall,
        of,
        *rest,
    )


def _number(metric: Metric) -> str | None:
    return None if metric.value is None else f"{metric.value:.3f}"
