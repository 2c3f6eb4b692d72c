"""`f1mon snapshot`: compute and keep the health of each model, for a timer to call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

import click

from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import Window, instant_of, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import chosen, class_options, exact_option, named, options_of, say_left_out, where_options
from f1mon_core.cli.streams import talk
from f1mon_core.cli.window import asked
from f1mon_core.metrics.health import RESERVED, metrics_of, snapshot_metric
from f1mon_core.metrics.metric import Metric
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.records.kinds import HealthSnapshot
from f1mon_core.text import printable


@click.command
@json_option
@click.option("--window", type=Window(), default="24h", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option(
    "--horizon", type=Window(unbounded=False), help="Only predictions at least so old, the window ending there: 14d."
)
@click.option("--model-version", metavar="V", help="Only this model, not each that has predictions then.")
@click.option("--baseline", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]), nargs=2, metavar="SINCE UNTIL",
              help="Judge against this window (2026-05-01 is midnight UTC), not the one of the same length before.",
              )  # fmt: skip
@where_options
@class_options
@exact_option
@pass_place
def snapshot(
    place: Place,
    *,
    as_json: bool,
    window: timedelta | None,
    horizon: timedelta | None,
    model_version: str | None,
    baseline: tuple[datetime, datetime] | None,
    where: tuple[tuple[str, tuple[ClassLabel, ...]], ...],
    without: tuple[str, ...],
    positive: ClassLabel | None,
    labels: tuple[ClassLabel, ...],
    exact: bool,
) -> None:
    """Compute the health of each model in a window of prediction time, and keep it.

    Degraded means that the whole interval of the accuracy lies below that of the baseline; it is `-` where there is no
    verdict.
    """
    against = None if baseline is None else (instant_of(baseline[0]), instant_of(baseline[1]))
    with place.open() as monitor:
        options = options_of(chosen(where, without), positive, labels)
        over = asked(monitor, window, horizon, model_version, options.get("where"))
        options |= {"since": over.since, "until": over.until}
        options |= named(exact=exact)
        if horizon is not None:
            options |= {"basis": "matured", "horizon": horizon}
        names = [model_version] if model_version else over.models
        kept = [monitor.capture_health(name, baseline=against, **options) for name in names]
    say_left_out(metrics_of(one) for one in kept)
    if as_json:
        document([_as_document(one) for one in kept])
        return
    table(("model", "labelled", "coverage", "accuracy", "95 % interval", "trend", "degraded"),
          [_row(one) for one in kept], right=range(1, 6))  # fmt: skip
    for one in kept:
        talk(f"{printable(one.model_version)}: kept {one.snapshot_id} at {stamp(one.at)}")
    if not kept:
        talk("no predictions in this window: nothing kept")


def _row(one: HealthSnapshot) -> tuple[object, ...]:
    accuracy = cast("Metric", snapshot_metric(one, "accuracy"))
    bounds = None if accuracy.low is None or accuracy.high is None else f"{accuracy.low:.3f} - {accuracy.high:.3f}"
    return (
        one.model_version,
        f"{accuracy.labelled} of {accuracy.total}",
        None if accuracy.coverage is None else f"{accuracy.coverage:.1%}",
        None if accuracy.value is None else f"{accuracy.value:.3f}",
        bounds,
        None if one.trend is None else f"{one.trend:+.1f} %",
        _verdict(one),
    )


def _verdict(one: HealthSnapshot) -> str | None:
    """Whether it is degraded; None where there is no verdict."""
    degradation = cast("Document", cast("Document", one.metadata[RESERVED])["degradation"])
    if not degradation["judged"]:
        return None
    return "yes" if one.degradation_detected else "no"


def _as_document(one: HealthSnapshot) -> dict[str, object]:
    return {
        "snapshot_id": one.snapshot_id,
        "at": one.at,
        "model_version": one.model_version,
        "window_start": one.window_start,
        "window_end": one.window_end,
        "metrics": one.metrics,
        "trend": one.trend,
        "degradation_detected": one.degradation_detected,
        "trusted": one.trusted,
        "metadata": one.metadata,
    }
