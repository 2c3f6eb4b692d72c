"""Types of command-line parameters."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from f1mon_core.cli.streams import be_quiet
from f1mon_core.errors import InvalidRecordError
from f1mon_core.metrics.trends import NAMED_WIDTHS
from f1mon_core.records import fields
from f1mon_core.records.fields import ClassLabel

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Window(click.ParamType):  # type: ignore[type-arg]  # generic only in clicks newer than our oldest
    """A length of time up to now: `90m`, `24h`, `7d`, `2w`; `all` is None, without a beginning."""

    name = "window"

    def __init__(self, *, unbounded: bool = True) -> None:
        """Take a length of time, and `all` if it may be `unbounded`."""
        self._all = ("all",) if unbounded else ()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        """See `click.ParamType.convert`."""
        if value is None or isinstance(value, timedelta):
            return value
        if value in self._all:
            return None
        match = re.fullmatch(r"([0-9]{1,6})([mhdw])", value)
        if match is None or not (length := timedelta(**{_UNITS[match[2]]: int(match[1])})):
            examples = ", ".join(("90m", "24h", "7d", "2w", *self._all))
            self.fail(f"{value!r} is no length of time such as {examples}", param, ctx)
        return length


class Every(Window):
    """The width of a time bucket: `hour`, `day`, `week`, or a length of time."""

    name = "width"

    def __init__(self) -> None:
        """Take a name or a length of time."""
        super().__init__(unbounded=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        """See `click.ParamType.convert`."""
        if isinstance(value, str) and value in NAMED_WIDTHS:
            return NAMED_WIDTHS[value]
        return super().convert(value, param, ctx)


def instant_of(given: datetime) -> datetime:
    """An instant of the command line: in UTC where it does not say."""
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given


def value_of(given: str) -> ClassLabel:
    """An integer where a text reads as one, else the text; without its quotes where it has some."""
    if len(given) > 1 and given[0] == given[-1] == '"':
        return given[1:-1]
    if _INTEGER.fullmatch(given) and fields.INT64_MIN <= int(given) <= fields.INT64_MAX:
        return int(given)
    return given


class Label(click.ParamType):  # type: ignore[type-arg]  # as above
    """A class label: an integer where it reads as one, else a text; `text:1`, as `"1"` with its quotes, is the text."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ClassLabel:
        """See `click.ParamType.convert`."""
        if isinstance(value, int):
            return value
        text = value.removeprefix("text:")
        meant = value_of(value) if text == value else text
        if isinstance(meant, int):
            return meant
        try:
            return fields.identifier(meant, "label")
        except InvalidRecordError as error:
            self.fail(str(error), param, ctx)


LABEL = Label()

quiet_option = click.option(
    *("-q", "--quiet"),
    is_flag=True,
    expose_value=False,
    callback=lambda _ctx, _parameter, given: be_quiet() if given else None,
    help="Say only what is wrong on stderr.",
)
exit_zero_option = click.option(
    "--exit-zero", is_flag=True, help="End with 0 whatever is found; 1 and 2 are left for what could not be done."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
