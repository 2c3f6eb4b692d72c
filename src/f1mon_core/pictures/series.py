"""A metric over time, or over what became known: its band, its gaps, and beneath it what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from f1mon_core.pictures.markup import Svg, label, linked, picture, tag, title
from f1mon_core.pictures.scales import Scale, ceiling, marks, times

_LEFT, _RIGHT, _TOP, _AXIS, _BARS = 40.0, 10.0, 18.0, 22.0, 46.0

_TOUCHING = 1e-3
"""Seconds: a distance that is none."""


@attrs.frozen(kw_only=True)
class Point:
    """One stretch of time.

    Attributes:
        start, end: In seconds since 1970.
        value, low, high: The metric and its interval; None for what there is not.
        labelled, pending, never: Predictions with a label, without one yet, and without one though it should have come.
        said: All of it in words.
        href: Where it leads.
    """

    start: float
    end: float
    value: float | None
    low: float | None = None
    high: float | None = None
    labelled: int = 0
    pending: int = 0
    never: int = 0
    said: str = ""
    href: str | None = None

    @property
    def middle(self) -> float:
        """Where its dot stands."""
        return (self.start + self.end) / 2


@attrs.frozen
class Threshold:
    """A rule's threshold."""

    value: float
    said: str
    severity: str = "warning"


@attrs.frozen
class Alarm:
    """An alert on the metric; one that somebody took on is paler."""

    at: float
    severity: str
    said: str
    taken: bool = False
    href: str | None = None


def series(
    points: Sequence[Point],
    said: str,
    *,
    thresholds: Sequence[Threshold] = (),
    alarms: Sequence[Alarm] = (),
    counts: bool = True,
    width: float = 900,
    height: float = 250,
) -> Svg:
    """A metric over time with its interval as a band; nothing is drawn where nothing is known.

    A line joins stretches of time that touch. The axis is [0, 1], or from 0 to a round number where values are larger.

    Args:
        points: In order of time.
        said: The picture in words.
        thresholds: Drawn as dashed lines.
        alarms: Drawn above the plot: a diamond is critical, a triangle a warning, a ring information.
        counts: Whether bars beneath say how many predictions there are, labelled or not.
        width: In pixels.
        height: That of the plot with its axis, in pixels.
    """
    since, until = (points[0].start, points[-1].end) if points else (0.0, 1.0)
    across = Scale(since, until, _LEFT, width - _RIGHT)
    top = ceiling([*(one.value for one in points), *(one.high for one in points), *(one.value for one in thresholds)])
    up = Scale(0, top, height - _AXIS, _TOP)
    drawn = [
        *_grid(across, up, since, until, int(width // 95)),
        *(_threshold(one, across, up) for one in thresholds),
        *(_run(run, across, up) for run in _runs(points)),
        *(_dot(one, across, up) for one in points if one.value is not None),
        *(_alarm(one, across) for one in alarms if since <= one.at <= until),
    ]
    whole = height
    if counts:
        whole += _BARS + 14
        drawn += _counts(points, across, height + 8)
    return picture(width, whole, said, *drawn, class_="picture series")


def _grid(across: Scale, up: Scale, since: float, until: float, most: int) -> Iterator[Svg]:
    for value in marks(up.high):
        yield tag("line", x1=across.begin, x2=across.end, y1=up(value), y2=up(value), class_="grid")
        yield label(across.begin - 6, up(value) + 4, f"{value:.3g}", anchor="end")
    for at, written in times(since, until, max(most, 2)):
        x = across(at)
        yield tag("line", x1=x, x2=x, y1=up.begin, y2=up.begin + 4, class_="axis")
        yield label(x, up.begin + 16, written, anchor="start" if x < across.begin + 20 else "middle")


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Points whose stretches of time touch, and that all have a value."""
    run: list[Point] = []
    for one in points:
        if run and (one.value is None or one.start > run[-1].end + _TOUCHING):
            yield run
            run = []
        if one.value is not None:
            run.append(one)
    if run:
        yield run


def _run(run: Sequence[Point], across: Scale, up: Scale) -> Svg:
    """The band and the line of one run; of a single point its whisker."""
    banded = [one for one in run if one.low is not None and one.high is not None]
    drawn: list[Svg] = []
    if len(run) == 1:
        for one in banded:
            x = across(one.middle)
            drawn.append(tag("line", x1=x, x2=x, y1=up(one.low or 0), y2=up(one.high or 0), class_="whisker"))
        return Svg("".join(drawn))
    if len(banded) == len(run):
        there = [(across(one.middle), up(one.high or 0)) for one in run]
        back = [(across(one.middle), up(one.low or 0)) for one in reversed(run)]
        drawn.append(tag("path", d=_path([*there, *back]) + "Z", class_="band"))
    line = [(across(one.middle), up(one.value or 0)) for one in run]
    drawn.append(tag("path", d=_path(line), class_="line"))
    return Svg("".join(drawn))


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)


def _dot(one: Point, across: Scale, up: Scale) -> Svg:
    return linked(
        one.href, tag("circle", title(one.said), cx=across(one.middle), cy=up(one.value or 0), r=3, class_="dot")
    )


def _threshold(one: Threshold, across: Scale, up: Scale) -> Svg:
    y = up(one.value)
    line = tag("line", title(one.said), x1=across.begin, x2=across.end, y1=y, y2=y, class_=f"threshold {one.severity}")
    return Svg(line + label(across.end, y + 12, one.said, class_="note", anchor="end"))


def _alarm(one: Alarm, across: Scale) -> Svg:
    return linked(one.href, alarm(across(one.at), 8, one.severity, one.said, taken=one.taken))


def alarm(x: float, y: float, severity: str, said: str, *, taken: bool) -> Svg:
    """The mark of an alert: its severity by shape and colour, paler once somebody took it on."""
    class_ = f"alarm {severity}" + (" taken" if taken else "")
    if severity == "info":
        return tag("circle", title(said), cx=x, cy=y, r=4, class_=class_)
    corners = ((0, -5.5), (5, 4), (-5, 4)) if severity == "warning" else ((0, -6), (5, 0), (0, 6), (-5, 0))
    return tag("path", title(said), d=_path([(x + dx, y + dy) for dx, dy in corners]) + "Z", class_=class_)


def _counts(points: Sequence[Point], across: Scale, top: float) -> list[Svg]:
    """How many predictions: labelled filled, pending pale, never hollow."""
    most = max((one.labelled + one.pending + one.never for one in points), default=0)
    up = Scale(0, most, top + _BARS, top)
    drawn = [
        tag("line", x1=across.begin, x2=across.end, y1=up.begin, y2=up.begin, class_="axis"),
        label(across.begin - 6, up.begin + 2, "0", anchor="end"),
        label(across.begin - 6, top + 8, f"{most}", anchor="end"),
    ]
    for one in points:
        begin, end = across(one.start), across(one.end)
        side = min(1.5, (end - begin) / 6)
        bottom = 0
        for number, class_ in ((one.labelled, "labelled"), (one.pending, "pending"), (one.never, "never")):
            if number:
                y, high = up(bottom + number), up(bottom) - up(bottom + number)
                bar = {"x": begin + side, "y": y, "width": max(end - begin - 2 * side, 0.6), "height": max(high, 0.6)}
                drawn.append(tag("rect", title(one.said), class_=class_, **bar))
                bottom += number
    return drawn
