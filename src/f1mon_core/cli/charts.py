"""Small charts of characters, beside the numbers, where stdout is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

Command = TypeVar("Command", bound=Callable[..., Any])

WIDTH = 31
"""How many characters an axis has; odd, so that its middle is one of them."""

_LINES = {True: ("├", "─", "┤", "●"), False: ("|", "-", "|", "o")}


def chart_option(command: Command) -> Command:
    """`--chart` and `--no-chart`; without either a chart is where a terminal is."""
    return click.option(
        "--chart/--no-chart", "charted", default=None, help="A small chart beside the numbers; else on a terminal only."
    )(command)


def is_charted(asked: bool | None) -> bool:
    """Whether to draw: as asked, else where stdout is a terminal."""
    return sys.stdout.isatty() if asked is None else asked


@attrs.frozen
class Axis:
    """A fixed axis, on which every row of a table is drawn alike.

    Attributes:
        low, high: Its ends.
        zero: Whether 0 is marked, where nothing else is.
    """

    low: float = 0.0
    high: float = 1.0
    zero: bool = False

    @property
    def header(self) -> str:
        """The ends, above the charts."""
        low, high = f"{self.low:g}", f"{self.high:g}"
        return f"{low}{' ' * (WIDTH - len(low) - len(high))}{high}"

    def drawn(self, value: float | None, low: float | None = None, high: float | None = None) -> str:
        """A value with its interval, cut to the axis; nothing where there is no value."""
        if value is None:
            return ""
        begin, line, end, dot = _LINES[_is_unicode()]
        cells = [" "] * WIDTH
        if self.zero:
            cells[self._place(0.0)] = ":"
        if low is not None and high is not None:
            first, last = self._place(low), self._place(high)
            cells[first : last + 1] = [line] * (last - first + 1)
            cells[first], cells[last] = begin, end
        cells[self._place(value)] = dot
        return "".join(cells).rstrip()

    def _place(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return round(min(1.0, max(0.0, share)) * (WIDTH - 1))


def around_zero(values: list[float | None]) -> Axis:
    """An axis with 0 in its middle that holds all of some values."""
    widest = max((abs(one) for one in values if one is not None), default=0.0) or 1.0
    return Axis(-widest, widest, zero=True)


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")
