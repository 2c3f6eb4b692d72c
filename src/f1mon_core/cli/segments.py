"""What commands are asked of segments and classes: `--where`, `--by`, `--positive`, `--label`; and `--exact`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from f1mon_core.cli.parameters import LABEL, value_of
from f1mon_core.cli.streams import talk
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric, names_left_out
from f1mon_core.metrics.performance import PerformanceOptions
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import told_segments

Command = TypeVar("Command", bound=Callable[..., Any])


class Segment(click.ParamType):  # type: ignore[type-arg]  # as `parameters.Window`
    """The name of a segment and its value, `country=DE`; as a label, an integer where it reads as one."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[ClassLabel, ...]]:
        """The name, and the values it may mean: a number is what reads as one, and the same text."""
        if isinstance(value, tuple):
            return value
        name, equals, given = str(value).partition("=")
        if not (name and equals):
            self.fail(f"{value!r} is no NAME=VALUE such as country=DE", param, ctx)
        meant = value_of(given)
        return name, (meant,) if isinstance(meant, str) else (meant, given)


def where_options(command: Command) -> Command:
    """`--where NAME=VALUE` and `--without NAME`, each as often as wanted."""
    command = click.option(
        "--without", "without", multiple=True, metavar="NAME", help="Only predictions without this segment; repeatable."
    )(command)
    return click.option(
        "--where",
        "where",
        type=Segment(),
        multiple=True,
        metavar="NAME=VALUE",
        help="Only predictions of this segment; of one name several values are alternatives. Also features.x=…",
    )(command)


def class_options(command: Command) -> Command:
    """`--positive LABEL` and `--label LABEL`."""
    command = click.option(
        "--label", "labels", type=LABEL, multiple=True, metavar="LABEL", help="A class of all there are; repeatable."
    )(command)
    return click.option(
        "--positive",
        type=LABEL,
        metavar="LABEL",
        help="The class that precision and recall are of; text:1 is a text.",
    )(command)


def exact_option(command: Command) -> Command:
    """`--exact`."""
    return click.option(
        "--exact", is_flag=True, help="ROC-AUC and log loss also of a large window, which takes seconds a million."
    )(command)


def named(*, exact: bool) -> PerformanceOptions:
    """Every metric by name, which computes the dear ones too; else those that come unasked."""
    return {"metrics": METRIC_NAMES} if exact else {}


def say_left_out(measured: Iterable[Mapping[str, Metric]]) -> None:
    """Which metrics were not computed, and how to have them."""
    if names := sorted({name for metrics in measured for name in names_left_out(metrics)}):
        talk(f"left out, dear in so large a window: {', '.join(names)} (--exact computes them)")


def chosen(
    where: Iterable[tuple[str, tuple[ClassLabel, ...]]], without: Iterable[str] = ()
) -> dict[str, tuple[ClassLabel | None, ...]]:
    """What `--where` and `--without` select."""
    found: dict[str, list[ClassLabel | None]] = {}
    for name, values in where:
        found.setdefault(name, []).extend(values)
    for name in without:
        found.setdefault(name, []).append(None)
    return {name: tuple(values) for name, values in found.items()}


def options_of(
    where: Mapping[str, Any], positive: ClassLabel | None = None, labels: Iterable[ClassLabel] = ()
) -> PerformanceOptions:
    """The options of `Monitor.performance` that they stand for."""
    options: PerformanceOptions = {"where": where, "positive": positive}
    if declared := tuple(labels):
        options["labels"] = declared
    return options


def subject(model_version: str | None, labels: Mapping[str, Any]) -> str:
    """A model and the segments of it that something is about."""
    return ", ".join([model_version or "-", *([told_segments(labels)] if labels else [])])
