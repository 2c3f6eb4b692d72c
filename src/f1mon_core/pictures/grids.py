"""Many things over time: what drifted when, and which alerts came."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from f1mon_core.pictures.markup import Svg, label, linked, picture, tag, title
from f1mon_core.pictures.scales import Scale, times
from f1mon_core.pictures.series import alarm

_CELL, _LINE = 16.0, 20.0


@attrs.frozen(kw_only=True)
class Cell:
    """One field of a heat map.

    Attributes:
        row, column: Its place, from 0.
        hit: Whether something was found: filled with a cross, else hollow.
        said: In words.
    """

    row: int
    column: int
    hit: bool
    said: str


def heat(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Cell], said: str, *, width: float = 900) -> Svg:
    """Rows times columns: found, not found, and nothing where nobody looked. Every other column is named, or fewer."""
    left = min(max((len(one) for one in rows), default=0), 28) * 7.0 + 12
    side = max(3.0, min(_LINE, (width - left - 8) / max(len(columns), 1)))
    height = len(rows) * _LINE + 24
    drawn = [label(left - 6, row * _LINE + 14, _cut(name, 28), anchor="end") for row, name in enumerate(rows)]
    every = max(1, round(90 / side))
    drawn += [
        label(left + column * side, height - 8, name) for column, name in enumerate(columns) if column % every == 0
    ]
    for one in cells:
        x, y = left + one.column * side, one.row * _LINE + 2
        class_ = "cell hit" if one.hit else "cell"
        drawn.append(tag("rect", title(one.said), x=x, y=y, width=side - 1.5, height=_CELL, class_=class_))
        if one.hit and side > 8:  # noqa: PLR2004 - smaller ones would be a blot
            inset = side / 4
            cross = f"M{x + inset:.1f} {y + 4:.1f}l{side / 2 - 1.5:.1f} 8m0 -8l-{side / 2 - 1.5:.1f} 8"
            drawn.append(tag("path", d=cross, class_="cross"))
    return picture(width, height, said, *drawn, class_="picture heat")


@attrs.frozen(kw_only=True)
class Mark:
    """Something on a line of time.

    Attributes:
        row: The line, from 0.
        at: In seconds since 1970.
        until: Where it is a stretch of time, such as a silence, its end.
        sort: "info", "warning", "critical", "resolved" or "silence".
        said: In words.
        taken: Whether somebody took the alert on.
        href: Where it leads.
    """

    row: int
    at: float
    sort: str
    said: str
    until: float | None = None
    taken: bool = False
    href: str | None = None


def time_line(
    rows: Sequence[str], marks: Sequence[Mark], since: float, until: float, said: str, *, width: float = 900
) -> Svg:
    """Alerts over time, a line for each rule: a silence is a bar, the end of an incident a ring."""
    left = min(min(max((len(one) for one in rows), default=0), 28) * 7.0 + 12, width * 0.4)
    across = Scale(since, until, left + 6, width - 12)
    height = len(rows) * _LINE + 24
    drawn: list[Svg] = []
    for row, name in enumerate(rows):
        y = row * _LINE + 11
        drawn.append(label(left - 6, y + 4, _cut(name, int((left - 12) // 7)), anchor="end"))
        drawn.append(tag("line", x1=across.begin, x2=across.end, y1=y, y2=y, class_="grid"))
    for at, written in times(since, until, max(int((width - left) // 95), 2)):
        drawn.append(label(across(at), height - 6, written, anchor="middle" if across(at) > left + 40 else "start"))
    order = sorted(marks, key=lambda one: one.sort != "silence")  # bars lie under marks
    drawn += [linked(one.href, _mark(one, across)) for one in order]
    return picture(width, height, said, *drawn, class_="picture line-of-time")


def _mark(one: Mark, across: Scale) -> Svg:
    x, y = across(one.at), one.row * _LINE + 11
    if one.sort == "silence":
        end = across(one.at if one.until is None else one.until)
        return tag("rect", title(one.said), x=x, y=y - 7, width=max(end - x, 2), height=14, class_="silence")
    if one.sort == "resolved":
        return tag("circle", title(one.said), cx=x, cy=y, r=4, class_="resolved")
    return alarm(x, y, one.sort, one.said, taken=one.taken)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
