"""Pictures of a line's height, for tables: a course, a share, a difference."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from f1mon_core.pictures.markup import Svg, picture, tag
from f1mon_core.pictures.scales import Scale


def spark(values: Sequence[float | None], said: str, *, width: float = 120, height: float = 24) -> Svg:
    """A course on the axis [0, 1]; a gap where there is no value, and a dot where one stands alone."""
    across = Scale(0, max(len(values) - 1, 1), 2, width - 2)
    up = Scale(0, 1, height - 2, 2)
    drawn: list[Svg] = [tag("line", x1=2, x2=width - 2, y1=up(0), y2=up(0), class_="grid")]
    run: list[tuple[float, float]] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            run.append((across(place), up(value)))
        elif run:
            if len(run) == 1:
                drawn.append(tag("circle", cx=run[0][0], cy=run[0][1], r=1.5, class_="dot"))
            else:
                drawn.append(tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run), class_="line"))
            run = []
    return picture(width, height, said, *drawn, class_="picture glyph")


def share(part: int, whole: int, said: str, *, width: float = 120, height: float = 12) -> Svg:
    """How much of a whole: the part filled, the rest hollow."""
    across = Scale(0, whole, 0.5, width - 0.5)
    rest = tag("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, class_="never")
    filled = tag("rect", x=0.5, y=0.5, width=across(part) - 0.5, height=height - 1, class_="labelled")
    return picture(width, height, said, rest, *([filled] if part else []), class_="picture glyph")


@attrs.frozen
class Difference:
    """A difference with its interval; None for what there is not."""

    value: float | None
    low: float | None = None
    high: float | None = None


def difference(one: Difference, said: str, *, reach: float = 1.0, width: float = 240, height: float = 24) -> Svg:
    """A difference beside 0, with its interval; hollow where the interval holds 0, or where there is none.

    Args:
        one: What to draw.
        said: In words.
        reach: How far the axis goes to either side of 0.
        width: In pixels.
        height: In pixels.
    """
    across = Scale(-reach, reach, 6, width - 6)
    y = height / 2
    drawn = [
        tag("line", x1=across.begin, x2=across.end, y1=y, y2=y, class_="grid"),
        tag("line", x1=across(0), x2=across(0), y1=2, y2=height - 2, class_="axis"),
    ]
    apart = False
    if one.low is not None and one.high is not None:
        apart = not one.low <= 0 <= one.high
        drawn.append(tag("line", x1=across(one.low), x2=across(one.high), y1=y, y2=y, class_="whisker"))
    if one.value is not None:
        drawn.append(tag("circle", cx=across(one.value), cy=y, r=4, class_="dot" if apart else "dot hollow"))
    return picture(width, height, said, *drawn, class_="picture glyph")
