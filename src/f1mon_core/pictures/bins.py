"""Pictures over bins of confidence: is a confidence what it says, and who has a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from f1mon_core.pictures.markup import Svg, label, picture, tag, title
from f1mon_core.pictures.scales import Scale, marks

_LEFT, _RIGHT, _TOP, _AXIS = 40.0, 12.0, 10.0, 22.0


@attrs.frozen(kw_only=True)
class Bin:
    """One bin of confidence.

    Attributes:
        begin, end: Its ends, in [0, 1].
        labelled, unlabelled: Predictions in it with a label, and without.
        confidence, accuracy: Means over those with a label; None where there are none.
        low, high: The interval of the accuracy.
        said: All of it in words.
    """

    begin: float
    end: float
    labelled: int
    unlabelled: int
    confidence: float | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    said: str = ""


def reliability(bins: Sequence[Bin], said: str, *, width: float = 360) -> Svg:
    """Accuracy over confidence, on two axes [0, 1], with an interval at each dot; the dashed line is honest."""
    height = width - _LEFT - _RIGHT + _TOP + _AXIS
    across = Scale(0, 1, _LEFT, width - _RIGHT)
    up = Scale(0, 1, height - _AXIS, _TOP)
    honest = tag("line", x1=across(0), y1=up(0), x2=across(1), y2=up(1), class_="honest")
    drawn: list[Svg] = [*_axes(across, up), honest]
    for one in bins:
        if one.accuracy is None or one.confidence is None:
            continue
        x = across(one.confidence)
        if one.low is not None and one.high is not None:
            drawn.append(tag("line", x1=x, x2=x, y1=up(one.low), y2=up(one.high), class_="whisker"))
        drawn.append(tag("circle", title(one.said), cx=x, cy=up(one.accuracy), r=4, class_="dot"))
    return picture(width, height, said, *drawn, class_="picture square")


def histogram(bins: Sequence[Bin], said: str, *, width: float = 360, height: float = 190) -> Svg:
    """How many predictions have which confidence: labelled filled, the others pale above them."""
    most = max((one.labelled + one.unlabelled for one in bins), default=0)
    across = Scale(0, 1, _LEFT, width - _RIGHT)
    up = Scale(0, most, height - _AXIS, _TOP)
    drawn: list[Svg] = [*_axes(across, up)]
    for one in bins:
        begin, end, bottom = across(one.begin) + 1.5, across(one.end) - 1.5, 0
        for number, class_ in ((one.labelled, "labelled"), (one.unlabelled, "pending")):
            if number:
                y = up(bottom + number)
                bar = {"x": begin, "y": y, "width": max(end - begin, 0.6), "height": max(up(bottom) - y, 0.6)}
                drawn.append(tag("rect", title(one.said), class_=class_, **bar))
                bottom += number
    return picture(width, height, said, *drawn, class_="picture square")


def _axes(across: Scale, up: Scale) -> Iterator[Svg]:
    whole = up.high != 1
    for value in marks(up.high, 2 if whole else 4):
        yield tag("line", x1=across.begin, x2=across.end, y1=up(value), y2=up(value), class_="grid")
        yield label(across.begin - 6, up(value) + 4, f"{value:.0f}" if whole else f"{value:.3g}", anchor="end")
    for value in marks(1):
        yield label(across(value), up.begin + 16, f"{value:.3g}", anchor="end" if value == 1 else "middle")
