"""How the number of one window settles while its labels come: the same predictions, as of one instant after another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics import shown
from f1mon_core.metrics.label_delay import QUANTILES, UNIT, LabelDelay, label_delay
from f1mon_core.metrics.performance import Measures
from f1mon_core.metrics.tables import Trend
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import check_width
from f1mon_core.text import html_table, printable

POINTS = 12
"""In so many steps, where no length of one is given."""
MAX_POINTS = 1_000


@attrs.frozen
class Settling:
    """One window, as of one instant after another.

    Attributes:
        window: The window of predictions, closed.
        points: Its performance as of each instant, oldest first: `one.window.as_of` says which.
        delay: How long its labels took, as of the last of them.
    """

    window: Window
    points: Trend
    delay: LabelDelay

    def to_dict(self) -> Document:
        """As a JSON object; times in ISO 8601."""
        return {
            "window": self.window.to_dict(),
            "points": [one.to_dict() for one in self.points],
            "delay": self.delay.to_dict(),
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each instant: `as_of`, and the columns of a trend.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        instants = ("time", [one.window.as_of for one in self.points])
        return frame_of({"as_of": instants, **shown.performances_columns(self.points)}, library)

    def __str__(self) -> str:
        last = self.points[-1]
        metric = shown.headline(last)
        values = [one for point in self.points if (one := shown.headline(point)) is not None and one.value is not None]
        said = "no value yet"
        if metric is not None and len(values) > 1:
            said = f"{metric.name} {values[0].value:.4f} at first, {values[-1].value:.4f} now"
        elif values:
            said = f"{values[0].name} {values[0].value:.4f}"
        return printable(f"{shown.told_window(self.window)}: {said}, {last.labelled} of {last.total} labelled")

    def _repr_html_(self) -> str:
        rows = [(shown.instant(one.window.as_of), *shown.point(one)) for one in self.points]
        header = ("as of", "labelled", "of", "coverage", shown.name_of(self.points), "interval", "why none")
        return html_table(str(self), header, rows, [f"Times are UTC. {self.delay}."])


def settling(request: WindowRequest, measures: Measures, every: timedelta | None) -> Plan[Settling]:
    """The performance of a window as of instants from its end to the present."""
    if request.basis != "prediction":
        raise InvalidQueryError("a window settles by prediction time: basis='prediction' only")
    if every is not None:
        check_width("every", every)
    present = yield from request.present()  # first, so that an open window ends behind it
    window = yield from request.resolve_closed()
    points = Trend()
    for instant in _instants(window.until or present, present, every):
        part = attrs.evolve(window, as_of=instant)
        tally, unavailable = yield from measures.tally(part)
        points.append(measures.of(tally, part, unavailable))
    closed = WindowRequest(
        model_version=window.model_version,
        since=window.since,
        until=window.until,
        as_of=window.as_of,
        as_recorded=window.as_recorded,
        where=window.where,
    )
    delay = yield from label_delay(closed, QUANTILES, UNIT)
    return Settling(window, points, delay)


def _instants(first: datetime, present: datetime, every: timedelta | None) -> list[datetime]:
    """From the end of a window to the present, both included; the present alone where it has not ended."""
    if first >= present:
        return [present]
    if every is None:
        return [first + (present - first) * step / POINTS for step in range(POINTS + 1)]
    steps = (present - first) // every
    if steps > MAX_POINTS:
        raise InvalidQueryError(
            f"every={every} makes {steps} instants up to the present, at most {MAX_POINTS} are asked"
        )
    instants = [first + every * step for step in range(steps + 1)]
    return instants if instants[-1] == present else [*instants, present]
