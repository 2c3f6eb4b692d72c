"""`f1mon settling`: how the number of one window settles while its labels come."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from f1mon_core.cli.charts import chart_option
from f1mon_core.cli.output import document, stamp
from f1mon_core.cli.parameters import Window, instant_of, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import chosen, class_options, options_of, where_options
from f1mon_core.cli.streams import talk
from f1mon_core.cli.trend import metric_option, show_points
from f1mon_core.metrics.windows import minus
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import printable

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])


@click.command
@click.argument("model", metavar="MODEL")
@click.option(
    "--window",
    type=Window(unbounded=False),
    default="28d",
    show_default=True,
    help="Predictions of so long a time, that ended as long ago; where no --between is given.",
)
@click.option("--between", type=_DAY, nargs=2, metavar="SINCE UNTIL", help="Predictions of this window (UTC).")
@click.option("--every", type=Window(unbounded=False), help="From one instant to the next; else twelve steps.")
@metric_option
@where_options
@class_options
@chart_option
@json_option
@pass_place
def settling(
    place: Place,
    *,
    model: str,
    window: timedelta,
    between: tuple[datetime, datetime] | None,
    every: timedelta | None,
    metric: str,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    charted: bool | None,
    as_json: bool,
) -> None:
    """Show one window of MODEL as it was known from its end to the present: what early labels made of it."""
    with place.open() as monitor:
        options = options_of(chosen(where, without), positive, labels)
        if between is None:
            end = minus(monitor.now(), window)
            since, until = minus(end, window), end
        else:
            since, until = (instant_of(one) for one in between)
        options |= {"since": since, "until": until, "metrics": (metric,)}
        found = monitor.settling(model, every=every, **options)
    if as_json:
        document(found.to_dict())
        return
    show_points(["as of"], [((stamp(one.window.as_of),), one) for one in found.points], metric, charted)
    talk(printable(str(found)))
    talk(printable(str(found.delay)))
