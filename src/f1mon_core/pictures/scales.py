"""From values to pixels, and where a reader wants ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs


@attrs.frozen
class Scale:
    """A straight line from values to pixels; values beyond an end are drawn at it."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.high <= self.low:
            return self.begin
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def ceiling(values: Iterable[float | None]) -> float:
    """The end of an axis that begins at 0: 1 where it holds all values, else the next round number."""
    most = max((one for one in values if one is not None), default=1.0)
    if most <= 1:
        return 1.0
    step: float = 10 ** math.floor(math.log10(most))
    return next(step * factor for factor in (1, 2, 5, 10) if step * factor >= most)


def marks(high: float, parts: int = 4) -> list[float]:
    """Ticks from 0 to the end of an axis."""
    return [high * part / parts for part in range(parts + 1)]


_LAST_YEAR = 9_999
_DAY = 86_400
_STEPS = (60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY)


def times(since: float, until: float, most: int) -> list[tuple[float, str]]:
    """At most so many instants, in seconds since 1970, with what to write at each, in UTC."""
    span = max(until - since, 1.0)
    step = next((one for one in _STEPS if span / one <= most), None)
    if step is None:
        return _months(since, until, most)
    first = math.ceil(since / step) * step
    form = "%H:%M" if step < _DAY and span <= _DAY else "%d %b %H:%M" if step < _DAY else "%d %b"
    return [(float(at), f"{_utc(at):{form}}") for at in range(int(first), int(until) + 1, step)]


def _months(since: float, until: float, most: int) -> list[tuple[float, str]]:
    """The beginnings of months, quarters or years."""
    months = (until - since) / (30.44 * _DAY)
    every = next((one for one in (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200) if months / one <= most), 12_000)
    begin = _utc(since)
    number = -(-(begin.year * 12 + begin.month - 1) // every) * every
    found: list[tuple[float, str]] = []
    while number // 12 < _LAST_YEAR:
        at = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        if at.timestamp() > until:
            break
        if at.timestamp() >= since:
            found.append((at.timestamp(), f"{at:%Y}" if every >= 12 else f"{at:%b %Y}"))  # noqa: PLR2004 - a year
        number += every
    return found


def _utc(at: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
