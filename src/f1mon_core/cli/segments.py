"""What commands are asked of segments and classes: `--where`, `--by`, `--positive`, `--label`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from f1mon_core.metrics.performance import PerformanceOptions
from f1mon_core.records.fields import INT64_MAX, INT64_MIN, ClassLabel
from f1mon_core.text import told_segments

Command = TypeVar("Command", bound=Callable[..., Any])

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


class Label(click.ParamType):  # type: ignore[type-arg]  # as `parameters.Window`
    """A class label or the value of a segment: an integer where it reads as one, else a text; `"1"` is the text."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ClassLabel:
        """See `click.ParamType.convert`."""
        if isinstance(value, int):
            return value
        if not value:
            self.fail("a label has at least one character", param, ctx)
        return value_of(value)


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


def value_of(given: str) -> ClassLabel:
    """An integer where a text reads as one, else the text; without its quotes where it has some."""
    if len(given) > 1 and given[0] == given[-1] == '"':
        return given[1:-1]
    if _INTEGER.fullmatch(given) and INT64_MIN <= int(given) <= INT64_MAX:
        return int(given)
    return given


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
        "--label", "labels", type=Label(), multiple=True, metavar="LABEL", help="A class of all there are; repeatable."
    )(command)
    return click.option(
        "--positive", type=Label(), metavar="LABEL", help='The class that precision and recall are of; "1" is the text.'
    )(command)


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
