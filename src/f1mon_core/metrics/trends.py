"""Plans that set performances side by side: over time, and of two model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import attrs

from f1mon_core import errors
from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics import intervals, shown, slices
from f1mon_core.metrics.intervals import LEVEL, Method
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Measures, Performance
from f1mon_core.metrics.slices import By, Group
from f1mon_core.metrics.tables import Grouped, Trend
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.records.times import (
    LATEST,
    MICROSECOND,
    duration_micros,
    from_micros,
    to_micros,
)
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import CellKey, Moments, Tally, bucket_of, check_id, check_width

Every: TypeAlias = Literal["hour", "day", "week"] | timedelta

NAMED_WIDTHS: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
MAX_BUCKETS = 100_000

PROPORTIONS = ("accuracy", "precision", "recall")
"""The metrics that are proportions of their own denominator, and so have an interval."""


def width_of(every: Every) -> timedelta:
    """The width of the time buckets. Raises `InvalidQueryError`."""
    width = NAMED_WIDTHS.get(every) if isinstance(every, str) else every
    if not isinstance(width, timedelta):
        given = errors.shown(every)
        raise InvalidQueryError(f"every must be 'hour', 'day', 'week' or a positive timedelta, got {given}")
    check_width("every", width)
    return width


def trend(request: WindowRequest, measures: Measures, every: Every) -> Plan[Trend]:
    """The performance of each time bucket of a window, from one tally."""
    width = width_of(every)
    window = yield from request.resolve()
    tally, unavailable = yield from measures.tally(window, bucket=width)
    split = _by_bucket(tally)
    return _trend(measures, tally, window, _starts(window, width, split), width, unavailable)


def trend_by(request: WindowRequest, measures: Measures, every: Every, by: By) -> Plan[Grouped[Trend]]:
    """The trend of each slice of a window, from one tally; every bucket of every slice with a label is a look."""
    width, names = width_of(every), slices.by_of(by)
    window = yield from request.resolve()
    tally, unavailable = yield from measures.tally(window, bucket=width, by=names)
    starts = _starts(window, width, _by_bucket(tally))
    parts = slices.apart(tally)
    if (points := len(parts) * len(starts)) > MAX_BUCKETS:
        raise InvalidQueryError(
            f"that makes {points} time buckets of {len(parts)} slices, at most {MAX_BUCKETS} are answered at once"
        )
    looks = len({(key.segments, key.bucket) for key in tally.cells if key.actual is not None})
    adjusted = measures.adjusted(looks)
    found = {
        slices.key_of(group): _trend(adjusted, part, slices.narrowed(window, names, group), starts, width, unavailable)
        for group, part in parts.items()
    }
    return Grouped(names, found)


def _by_bucket(tally: Tally) -> dict[int, dict[CellKey, Moments]]:
    split: dict[int, dict[CellKey, Moments]] = {}
    for key, moments in tally.cells.items():
        split.setdefault(key.bucket or 0, {})[key] = moments
    return split


def _trend(
    measures: Measures, tally: Tally, window: Window, starts: range, width: timedelta, unavailable: Mapping[str, str]
) -> Trend:
    split = _by_bucket(tally)
    return Trend(
        measures.of(attrs.evolve(tally, cells=split.get(start, {})), _part(window, start, width), unavailable)
        for start in starts
    )


def _starts(window: Window, width: timedelta, split: Mapping[int, Any]) -> range:
    """The start of every bucket of the window, those without predictions too, in microseconds since 1970."""
    first = bucket_of(to_micros(window.since), width) if window.since else min(split, default=None)
    last = bucket_of(to_micros(window.until - MICROSECOND), width) if window.until else max(split, default=None)
    if first is None or last is None or (window.since is not None and window.since == window.until):
        return range(0)
    starts = range(first, last + 1, duration_micros(width))
    if len(starts) > MAX_BUCKETS:
        raise InvalidQueryError(
            f"every={width} makes {len(starts)} time buckets from since to until, at most {MAX_BUCKETS} are answered"
            " at once: ask for wider ones, or for less time"
        )
    return starts


def _part(window: Window, start: int, width: timedelta) -> Window:
    end = min(start + duration_micros(width), to_micros(LATEST))  # the calendar's last bucket is cut by its end
    since, until = from_micros(max(0, start)), from_micros(end)
    return attrs.evolve(
        window,
        since=since if window.since is None else max(since, window.since),
        until=until if window.until is None else min(until, window.until),
    )


@attrs.frozen
class Difference:
    """How much a metric of the second version is above that of the first.

    Attributes:
        name: The metric's name.
        value: Second minus first; None where either is undefined.
        low, high: The interval, for accuracy, precision and recall; None for the others. At 95 %, or where several
            slices are compared at the level at which all of them hold together in 95 %.
        reason: Why the value is None.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def significant(self) -> bool | None:
        """Whether the interval leaves out 0; None without one."""
        if self.low is None or self.high is None:
            return None
        return not self.low <= 0 <= self.high

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {**attrs.asdict(self), "significant": self.significant}


@attrs.frozen
class Comparison:
    """Two model versions over the same window.

    Attributes:
        first, second: Their performances.
        differences: Metric name to `second` minus `first`.
    """

    first: Performance
    second: Performance
    differences: Mapping[str, Difference]

    def __getitem__(self, name: str) -> Difference:
        return self.differences[name]

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "differences": {name: one.to_dict() for name, one in self.differences.items()},
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each metric; what is missing is null.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return frame_of(self.columns(), library)

    def columns(self) -> dict[str, tuple[str, list[Any]]]:
        """The columns of its table: the name of each to its kind and its cells."""
        return shown.comparison_columns(self)

    def __str__(self) -> str:
        return shown.comparison_line(self)

    def _repr_html_(self) -> str:
        return shown.comparison_html(self)


def compare(request: WindowRequest, other_version: str, measures: Measures) -> Plan[Comparison]:
    """The request's model version and another one over the window as it is resolved once."""
    check_versions(request.model_version, other_version)
    window = yield from request.resolve()
    measured = []
    for one in (window, attrs.evolve(window, model_version=other_version)):
        tally, unavailable = yield from measures.tally(one)
        measured.append(measures.of(tally, one, unavailable))
    return _comparison(measures, *measured)


def compare_by(request: WindowRequest, other_version: str, measures: Measures, by: By) -> Plan[Grouped[Comparison]]:
    """Two model versions in each slice; slices in which both have a label are looks."""
    check_versions(request.model_version, other_version)
    names = slices.by_of(by)
    window = yield from request.resolve()
    windows = (window, attrs.evolve(window, model_version=other_version))
    told: list[tuple[dict[tuple[Any, ...], Tally], Tally, Mapping[str, str]]] = []
    for one in windows:
        tally, unavailable = yield from measures.tally(one, by=names)
        told.append((slices.apart(tally), attrs.evolve(tally, cells={}), unavailable))
    groups = slices.in_order({group for parts, _, _ in told for group in parts})
    looks = sum(all(slices.is_labelled(parts[group]) for parts, _, _ in told if group in parts) for group in groups)
    adjusted = measures.adjusted(looks)
    found: dict[Group, Comparison] = {}
    for group in groups:
        sides = [
            adjusted.of(parts.get(group, empty), slices.narrowed(one, names, group), unavailable)
            for one, (parts, empty, unavailable) in zip(windows, told, strict=True)
        ]
        found[slices.key_of(group)] = _comparison(adjusted, *sides)
    return Grouped(names, found)


def check_versions(first: str | None, second: str | None) -> None:
    """Refuse a comparison of anything but two models."""
    for name, version in (("version_a", first), ("version_b", second)):
        if version is None:
            raise InvalidQueryError(f"{name} must be a model version: compare takes two model versions")
        check_id(name, version)


def _comparison(measures: Measures, first: Performance, second: Performance) -> Comparison:
    method, level = measures.interval, measures.level
    sides = ((name, one, second[name]) for name, one in first.metrics.items())
    return Comparison(first, second, {name: difference(one, other, method, level) for name, one, other in sides})


def difference(first: Metric, second: Metric, method: Method = "wilson", level: float = LEVEL) -> Difference:
    """The second metric minus the first; for proportions with Newcombe's hybrid score interval."""
    if first.value is None:
        return Difference(first.name, None, reason=f"first version: {first.reason}")
    if second.value is None:
        return Difference(first.name, None, reason=f"second version: {second.reason}")
    low = high = None
    if first.name in PROPORTIONS:
        counts = (round(first.value * first.n), first.n), (round(second.value * second.n), second.n)
        low, high = intervals.difference(*counts, method=method, level=level)
    return Difference(first.name, second.value - first.value, low, high)
