"""`f1mon status`: how each model does, with what the numbers rest on, and how many alerts are open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import click

from f1mon_core.alerts.alerts import AlertStatistics
from f1mon_core.cli.compare import is_multiclass
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import (
    chosen,
    class_options,
    exact_option,
    named,
    options_of,
    say_left_out,
    subject,
    where_options,
)
from f1mon_core.cli.streams import talk, warn
from f1mon_core.cli.window import asked
from f1mon_core.errors import CorruptStoreError
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.metric import NO_POSITIVE_CLASS, Metric
from f1mon_core.metrics.performance import Performance
from f1mon_core.metrics.slices import Slices
from f1mon_core.monitor import Monitor
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import printable

_SHOWN = ("accuracy", "precision", "recall", "expected_calibration_error", "avg_confidence")
_MACRO = ("precision_macro", "recall_macro")
_HEADER = ("predictions", "labelled", "coverage", "accuracy", "95 % interval", "precision", "recall", "ECE",
           "confidence")  # fmt: skip


@click.command
@json_option
@click.option("--window", type=Window(), default="24h", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--model-version", metavar="V", help="Only this model.")
@click.option(
    "--by",
    metavar="NAME",
    multiple=True,
    help="In each value of this segment, or of two: country, features.grid, metadata.site.",
)
@click.option("--worst", type=click.IntRange(1), metavar="N", help="With --by, only the N that are surely worst.")
@where_options
@class_options
@exact_option
@pass_place
def status(
    place: Place,
    *,
    as_json: bool,
    window: timedelta | None,
    model_version: str | None,
    by: tuple[str, ...],
    worst: int | None,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    exact: bool,
) -> None:
    """Show how each model does in a window of prediction time, as a whole or for whom.

    A number that is not known is `-`; coverage says how many predictions have their outcome yet. Precision and recall
    are of the positive class; where there are more than two classes, they are the means over all of them.
    """
    if worst is not None and not by:
        raise click.UsageError("--worst is of the slices that --by makes")
    sliced: dict[str, Slices] = {}
    with place.open() as monitor:
        address = monitor.address
        only = chosen(where, without)
        over = asked(monitor, window, model_version=model_version, where=only, by=by)
        options = options_of(only, positive, labels)
        options |= {"since": over.since}
        options |= named(exact=exact) if as_json else {"metrics": (*_SHOWN, *_MACRO)}
        measured: dict[str, Performance] = {}
        for one in over.models:
            if by:
                sliced[one] = monitor.performance(one, by=by, worst=worst, **options)
                measured[one] = sliced[one].whole
            else:
                measured[one] = monitor.performance(one, **options)
        doubts = _doubts(monitor, model_version, over.since)
        statistics = monitor.alert_statistics()
        firing = sum(one.phase == "firing" for one in monitor.incidents())
        unheard, late = len(monitor.unheard()), monitor.overdue_rules()
        newest = monitor.predictions(model_version, descending=True, limit=1)
    if as_json:
        alerts: dict[str, object] = {"total": statistics.total, "unacknowledged": statistics.unacknowledged}
        alerts |= {"by_severity": dict(statistics.by_severity), "firing": firing, "dead_letters": unheard}
        alerts |= {"overdue_rules": [one.rule_id for one in late]}
        models = {name: one.to_dict() for name, one in (sliced or measured).items()}
        say_left_out(one.metrics for one in measured.values())
        document({"store": address, "models": models, "alerts": alerts, "doubts": [one.to_dict() for one in doubts]})
        return
    if by:
        _show_slices(sliced, positive)
    else:
        _show(measured, positive)
    _say_alerts(statistics, firing)
    if unheard:
        warn(f"warning: dead letters of open incidents: {unheard} (`f1mon deliveries list`)")
    for doubt in doubts:
        warn(printable(f"warning: {doubt}"))
    for late_rule in late:
        warn(printable(f"warning: overdue: {late_rule}"))
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


def _say_alerts(statistics: AlertStatistics, firing: int) -> None:
    click.echo(f"alerts: {statistics.total}, {statistics.unacknowledged} open")
    click.echo(f"incidents: {firing} firing")


def _show(measured: Mapping[str, Performance], positive: ClassLabel | None) -> None:
    rows = [(name, *_row(one, positive)) for name, one in measured.items()]
    table(("model", *_HEADER), rows, right=range(1, 10))
    for name, one in measured.items():
        _say(name, one)


def _show_slices(sliced: Mapping[str, Slices], positive: ClassLabel | None) -> None:
    rows: list[tuple[object, ...]] = []
    for name, found in sliced.items():
        worse = found.surely_worse()
        rows.append((name, *_row(found.whole, positive), None))
        rows += [
            (subject(name, found.named(group)), *_row(one, positive), "worse" if group in worse else None)
            for group, one in found.items()
        ]
    table(("model", *_HEADER, "than the whole"), rows, right=range(1, 10))
    for name, found in sliced.items():
        talk(printable(f"{name}: {found.looks} slices with a label; their intervals hold together in 95 %"))
        if found.left_out:
            talk(printable(f"{name}: {found.left_out} slices less bad are left out"))
        _say(name, found.whole)


def _say(name: str, measured: Performance) -> None:
    """What a reader of the numbers should know."""
    if measured.read is not None:
        talk(printable(f"{name}: read {measured.read} predictions, for what is no segment of them"))
    if measured["precision"].reason == NO_POSITIVE_CLASS and not is_multiclass(measured):
        classes = ", ".join(map(str, measured.confusion.labels))
        talk(printable(f"{name}: the labels are texts ({classes}): name the positive class by --positive"))


def _row(measured: Performance, positive: ClassLabel | None) -> tuple[object, ...]:
    accuracy = measured.accuracy
    interval = None if accuracy.low is None or accuracy.high is None else f"{accuracy.low:.3f} - {accuracy.high:.3f}"
    coverage = None if measured.coverage is None else f"{measured.coverage:.1%}"
    rest = [_number(measured[name]) for name in _SHOWN[3:]]
    of_class = [_of_class(measured, name, positive) for name in _SHOWN[1:3]]
    return (measured.total, measured.labelled, coverage, _number(accuracy), interval, *of_class, *rest)


def _of_class(measured: Performance, name: str, positive: ClassLabel | None) -> str | None:
    """Precision or recall, with the class it is of where that was asked for; the mean of more than two classes."""
    if positive is not None:
        value = _number(measured[name])
        return None if value is None else f"{value} of {positive}"
    if is_multiclass(measured):
        value = _number(measured[f"{name}_macro"])
        return None if value is None else f"{value} macro"
    return _number(measured[name])


def _number(metric: Metric) -> str | None:
    return None if metric.value is None else f"{metric.value:.3f}"
