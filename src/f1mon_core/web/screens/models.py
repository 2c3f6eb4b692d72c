"""Models: a line for each, so that whoever looks in knows in one look whether anything is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from f1mon_core.alerts.overdue import Overdue
from f1mon_core.errors import CorruptStoreError, PrunedError
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.models import ModelGlance
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.pictures import Svg
from f1mon_core.web import asked, figures
from f1mon_core.web.asked import Query, Span
from f1mon_core.web.pages import Link

SHOWN = ("accuracy", "expected_calibration_error")
MOST = 30
"""Of so many models the numbers are measured; the others have a link to theirs."""


@attrs.frozen(kw_only=True)
class Line:
    """One model.

    Attributes:
        summary: What is stored of it.
        span: The window of the numbers; None where they were not measured.
        share: How much of it has a label.
        accuracy, ece: Of that window.
        course: The accuracy over it.
        open: Its open incidents.
        retired: Whether no rule is evaluated for it any more.
        reason: Why there are no numbers.
    """

    summary: ModelGlance
    open: int
    retired: bool
    span: Span | None = None
    share: Svg | None = None
    accuracy: Metric | None = None
    ece: Metric | None = None
    course: Svg | None = None
    reason: str | None = None


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """Every model; what fires; and what keeps alerts from being made or heard."""
    incidents = await monitor.incidents()
    firing = Counter(one.model_version for one in incidents if one.phase == "firing")
    retired = await monitor.retired()
    lines: list[Line] = []
    for place, summary in enumerate(await monitor.glance()):
        line = Line(
            summary=summary,
            open=firing[summary.name],
            retired=summary.name in retired,
        )
        lines.append(await _measured(monitor, query, line) if place < MOST else attrs.evolve(line, reason=_TOO_MANY))
    late: list[Overdue] = await monitor.overdue_rules()
    return {
        "title": "Models",
        "lines": lines,
        "firing": sum(one.phase == "firing" for one in incidents),
        "pending": sum(one.phase == "pending" for one in incidents),
        "statistics": await monitor.alert_statistics(),
        "overdue": late,
        "unheard": await monitor.unheard(),
        "doubts": await _doubts(monitor, lines),
    }


_TOO_MANY = f"more than {MOST} models: see its own page"


async def _measured(monitor: AsyncMonitor, query: Query, line: Line) -> Line:
    """The line with its numbers: one tally, from whose buckets the window's numbers are not made again."""
    name = line.summary.name
    span = await asked.span(monitor, query, name, await asked.newest(monitor, name))
    try:
        measured = await monitor.performance(name, since=span.since, until=span.until, metrics=SHOWN)
        trend = await monitor.trend(name, every=span.width, since=span.since, until=span.until, metrics=("accuracy",))
    except PrunedError as error:
        return attrs.evolve(line, reason=str(error))
    return attrs.evolve(
        line,
        span=span,
        share=figures.labelled_share(measured.labelled, measured.total),
        accuracy=measured.accuracy,
        ece=measured.expected_calibration_error,
        course=figures.spark(trend),
    )


async def _doubts(monitor: AsyncMonitor, lines: list[Line]) -> list[DataDoubt | str]:
    """What was recorded of the models and can hardly be meant, in the windows shown; or why that is not known.

    Outcomes that nobody's prediction matches are looked for by `f1mon check`: that reads all there are.
    """
    found: list[DataDoubt | str] = []
    for line in lines:
        if line.span is not None:
            try:
                found += await monitor.data_doubts(line.summary.name, since=line.span.since)
            except CorruptStoreError as error:
                return [*found, f"what was recorded cannot be looked through: {error}"]
    return found
