"""`f1mon trend` and `f1mon segments`: how a model does over time, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from f1mon_core.cli.charts import Axis, chart_option, is_charted
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Every, Window, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import chosen, class_options, options_of, where_options
from f1mon_core.cli.streams import talk
from f1mon_core.cli.window import asked
from f1mon_core.metrics import shown
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.performance import Performance, PerformanceOptions
from f1mon_core.monitor import Monitor
from f1mon_core.records.fields import ClassLabel
from f1mon_core.storage.tally import MAX_GROUPS
from f1mon_core.text import told_segments

_HEADER = ("labelled", "of", "coverage")
metric_option = click.option(
    "--metric", type=click.Choice(METRIC_NAMES), default="accuracy", show_default=True, metavar="NAME", help="Which."
)
_window_option = click.option(
    "--window", type=Window(), default="28d", show_default=True, help="24h, 7d, 2w, … or all."
)
_horizon_option = click.option("--horizon", type=Window(unbounded=False), help="Only predictions at least so old: 14d.")


@click.command
@click.argument("model", metavar="MODEL")
@_window_option
@_horizon_option
@click.option("--every", type=Every(), default="day", show_default=True, help="hour, day, week, or 6h, 2w, …")
@metric_option
@click.option("--by", metavar="NAME", multiple=True, help="In each value of this segment; at most two.")
@where_options
@class_options
@chart_option
@json_option
@pass_place
def trend(
    place: Place,
    *,
    model: str,
    window: timedelta | None,
    horizon: timedelta | None,
    every: timedelta,
    metric: str,
    by: tuple[str, ...],
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    charted: bool | None,
    as_json: bool,
) -> None:
    """Show a metric of MODEL over time, with its interval and coverage. A bucket without a value says why."""
    with place.open() as monitor:
        options = _options(
            monitor, model, window, horizon, metric, by, options_of(chosen(where, without), positive, labels)
        )
        found: list[tuple[dict[str, Any], Sequence[Performance]]]
        if by:
            sliced = monitor.trend(model, every=every, by=by, **options)
            found = [(_named(by, group), one) for group, one in sliced.items()]
        else:
            found = [({}, monitor.trend(model, every=every, **options))]
    if as_json:
        answers = [{"segments": segments, "buckets": [one.to_dict() for one in buckets]} for segments, buckets in found]
        document(answers if by else answers[0]["buckets"])
        return
    rows = [
        (((told_segments(segments),) if by else ()) + (stamp(one.window.since),), one)
        for segments, buckets in found
        for one in buckets
    ]
    show_points([*(["segment"] if by else []), "since"], rows, metric, charted)
    if by:
        talk("the intervals of all buckets of all segments hold together in 95 %")
    if not rows:
        talk("no predictions in this window")


@click.command
@click.argument("model", metavar="MODEL")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_window_option
@_horizon_option
@metric_option
@click.option("--worst", type=click.IntRange(1, MAX_GROUPS), default=MAX_GROUPS, metavar="N", help="Only so many.")
@where_options
@class_options
@chart_option
@json_option
@pass_place
def segments(
    place: Place,
    *,
    model: str,
    names: tuple[str, ...],
    window: timedelta | None,
    horizon: timedelta | None,
    metric: str,
    worst: int,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    charted: bool | None,
    as_json: bool,
) -> None:
    """Show how MODEL does in each value of a segment, or pair of values of two: those first that are surely worst.

    NAME is a segment, or features.grid, metadata.site. The intervals of all of them hold together in 95 %.
    """
    with place.open() as monitor:
        given = options_of(chosen(where, without), positive, labels)
        options = _options(monitor, model, window, horizon, metric, names, given)
        found = monitor.performance(model, by=names, worst=worst, worst_by=metric, **options)
    if as_json:
        document(found.to_dict())
        return
    worse = found.surely_worse(metric)
    rows: list[tuple[tuple[Any, ...], Performance]] = [(("all of it", None), found.whole)]
    for group, one in found.items():
        rows.append(((told_segments(found.named(group)), "worse" if group in worse else None), one))
    show_points(["segment", "than the whole"], rows, metric, charted)
    talk(f"{found.looks} segments with a label; their intervals hold together in 95 %")
    if found.left_out:
        talk(f"{found.left_out} segments less bad are left out")
    if found.read is not None:
        talk(f"read {found.read} predictions, for what is no segment of them")


def _options(
    monitor: Monitor,
    model: str,
    window: timedelta | None,
    horizon: timedelta | None,
    metric: str,
    by: tuple[str, ...],
    options: PerformanceOptions,
) -> PerformanceOptions:
    over = asked(monitor, window, horizon, model, options.get("where"), by)
    options |= {"since": over.since, "until": over.until, "metrics": (metric,)}
    if horizon is not None:
        options |= {"basis": "matured", "horizon": horizon}
    return options


def _named(by: tuple[str, ...], group: Any) -> dict[str, Any]:
    return dict(zip(by, group if isinstance(group, tuple) else (group,), strict=True))


def show_points(
    header: Sequence[str], rows: Sequence[tuple[tuple[Any, ...], Performance]], metric: str, charted: bool | None
) -> None:
    """A table with a row for each performance: what it is of, its counts, and a metric."""
    metrics = [one.metrics[metric] for _, one in rows]
    ends = [end for one in metrics for end in (one.value, one.high) if end is not None]
    axis = Axis(0.0, max([1.0, *ends]))
    drawn = is_charted(charted)
    lines = [
        (*what, *shown.point(one)[:-1], found.reason, *((axis.drawn(found.value, found.low, found.high),) * drawn))
        for (what, one), found in zip(rows, metrics, strict=True)
    ]
    columns = (*header, *_HEADER, metric, "interval", "why none", *((axis.header,) * drawn))
    first = len(header)
    table(columns, lines, right=range(first, first + 4))
