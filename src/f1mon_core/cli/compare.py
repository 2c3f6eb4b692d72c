"""`f1mon compare`: two models side by side, or on the items both predicted."""

from __future__ import annotations

from datetime import timedelta

import click

from f1mon_core.cli.charts import around_zero, chart_option, is_charted
from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import Window, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import chosen, class_options, exact_option, named, options_of, say_left_out, where_options
from f1mon_core.cli.streams import talk
from f1mon_core.cli.window import asked
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.paired import MIN_COVERAGE, OF_LABELS, PairedComparison
from f1mon_core.metrics.performance import Performance, PerformanceOptions
from f1mon_core.metrics.slices import Group
from f1mon_core.metrics.trends import Comparison
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import printable, told_segments


@click.command
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--paired", is_flag=True, help="Only the items that both predicted; matured ones.")
@click.option("--window", type=Window(), default="all", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--horizon", type=Window(unbounded=False), help="Only predictions at least so old: 14d.")
@click.option("--by", metavar="NAME", multiple=True, help="In each value of this segment; at most two.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=MIN_COVERAGE,
    show_default=True,
    help="Of common items, the labelled share below which there is no verdict.",
)
@where_options
@class_options
@chart_option
@exact_option
@json_option
@pass_place
def compare(
    place: Place,
    *,
    first: str,
    second: str,
    paired: bool,
    window: timedelta | None,
    horizon: timedelta | None,
    by: tuple[str, ...],
    min_coverage: float,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    charted: bool | None,
    exact: bool,
    as_json: bool,
) -> None:
    """Compare model B with model A: differences are B minus A.

    Side by side, the intervals take the two as independent samples. With --paired only the items count that both
    predicted: McNemar's mid-p test, and Newcombe's interval for paired proportions. Two equal models can look unequal
    while labels are late, so there is no verdict before most common items are labelled.
    """
    if paired and by:
        raise click.UsageError("--paired is of all common items, or of some by --where; not --by")
    with place.open() as monitor:
        options = options_of(chosen(where, without), positive, labels)
        if paired:
            if window is not None:
                options["last"] = window
            if horizon is not None:
                options["horizon"] = horizon
            _show_paired(monitor.compare(first, second, paired=True, min_coverage=min_coverage, **options), as_json)
            return
        over = asked(monitor, window, horizon, where=options.get("where"), by=by)
        options |= _over(over.since, over.until, horizon)
        options |= named(exact=exact)
        if by:
            _show_by(by, monitor.compare(first, second, by=by, **options), as_json)
            return
        found = monitor.compare(first, second, **options)
    say_left_out((found.first.metrics, found.second.metrics))
    if as_json:
        document(found.to_dict())
        return
    _show(found, charted=is_charted(charted))


def _over(since: object, until: object, horizon: timedelta | None) -> PerformanceOptions:
    options: PerformanceOptions = {"since": since, "until": until}  # type: ignore[typeddict-item]
    if horizon is not None:
        options |= {"basis": "matured", "horizon": horizon}
    return options


def _show(found: Comparison, *, charted: bool) -> None:
    first, second = found.first, found.second
    axis = around_zero([end for one in found.differences.values() for end in (one.low, one.high)])
    rows = []
    for name in METRIC_NAMES:
        one = found.differences[name]
        interval = None if one.low is None or one.high is None else f"{one.low:+.4f} - {one.high:+.4f}"
        difference = None if one.value is None else f"{one.value:+.4f}"
        drawn = axis.drawn(None if interval is None else one.value, one.low, one.high)
        row = (marked(name, first), _number(first[name]), _number(second[name]), difference, interval)
        rows.append((*row, *((drawn,) * charted)))
    header = ("metric", _name(first), _name(second), "difference", "95 % interval")
    table((*header, *((axis.header,) * charted)), rows, right=(1, 2, 3))
    for one_side in (first, second):
        talk(f"{_name(one_side)}: {one_side.labelled} of {one_side.total} labelled")


def marked(name: str, measured: Performance) -> str:
    """A metric's name, with the class it is of where there are more than two."""
    of_one = name in ("precision", "recall", "f1_score")
    return f"{name} of {printable(str(measured.positive))}" if of_one and is_multiclass(measured) else name


def is_multiclass(measured: Performance) -> bool:
    """Whether more than two classes were predicted or came true."""
    return len(measured.confusion.labels) > 2  # noqa: PLR2004 - binary


def _show_by(by: tuple[str, ...], found: dict[Group, Comparison], as_json: bool) -> None:
    named = [
        (dict(zip(by, group if isinstance(group, tuple) else (group,), strict=True)), one)
        for group, one in found.items()
    ]
    if as_json:
        document([{"segments": segments, **one.to_dict()} for segments, one in named])
        return
    rows = []
    for segments, one in named:
        change = one["accuracy"]
        interval = None if change.low is None or change.high is None else f"{change.low:+.4f} - {change.high:+.4f}"
        counts = (f"{side.labelled} of {side.total}" for side in (one.first, one.second))
        values = (_number(side.accuracy) for side in (one.first, one.second))
        difference = None if change.value is None else f"{change.value:+.4f}"
        rows.append((told_segments(segments), *counts, *values, difference, interval))
    header = ("segment", "labelled A", "labelled B", "accuracy A", "accuracy B", "difference", "interval")
    table(header, rows, right=range(1, 6))
    talk("the intervals of all segments hold together in 95 %")


def _show_paired(found: PairedComparison, as_json: bool) -> None:
    if as_json:
        document(found.to_dict())
        return
    first, second = found.first, found.second
    names = [name for name in METRIC_NAMES if name in OF_LABELS and name not in ("num_predictions", "num_labelled")]
    rows = [(marked(name, first), _number(first[name]), _number(second[name])) for name in names]
    table(("metric", _name(first), _name(second)), rows, right=(1, 2))
    coverage = "-" if found.coverage is None else f"{found.coverage:.1%}"
    click.echo(f"common items: {found.items}, {found.labelled} labelled (coverage {coverage})")
    one, other = _name(first), _name(second)
    click.echo(
        f"both right {found.both_right}, only {one} {found.first_only}, only {other} {found.second_only}, "
        f"neither {found.both_wrong}"
    )
    change = found.difference
    if change.value is not None and change.low is not None and change.high is not None:
        click.echo(f"accuracy: {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] (Newcombe, paired)")
    if found.p_value is not None:
        click.echo(f"McNemar: mid-p {found.p_value:.4g}, exact {found.exact_p_value:.4g}")
    click.echo(printable(str(found)))
    if found.horizon is not None:
        talk(f"matured items, older than {found.horizon}")


def _name(side: Performance) -> str:
    return printable(side.model_version or "-")


def _number(metric: Metric) -> str | None:
    if metric.value is not None:
        return f"{metric.value:.4f}"
    return None if metric.at_least is None else f"{metric.at_least:.3f} to {metric.at_most:.3f}"
