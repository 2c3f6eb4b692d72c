"""Settling: what one window's number was on each day that its labels came in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core import pictures
from f1mon_core.errors import PrunedError
from f1mon_core.metrics.metric import Metric
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.web import asked
from f1mon_core.web.asked import WINDOWS, Query
from f1mon_core.web.figures import NARROW, WIDE, Sized
from f1mon_core.web.pages import Link, duration, stamp
from f1mon_core.web.screens.model import DRAWN, delay_of, titled

STEPS = 12
_SHARES = (*(share / 10 for share in range(1, 10)), 0.95, 0.99)


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """One window's metric as it was knowable at each of some instants, and how fast labels come."""
    names = [one.name for one in await monitor.glance()]
    name = query.text("name") or (names[0] if names else None)
    metric = query.choice("metric", ("accuracy", *(one for one in DRAWN if one != "accuracy")))
    found: dict[str, Any] = {
        "title": "Settling", "name": name, "names": names, "windows": (*WINDOWS, "all"), "metric_name": metric,
        "metric_names": DRAWN, "span": None, "steps": [], "picture": None, "reason": None, "delay": None,
    }  # fmt: skip
    if name is None:
        return {**found, "reason": "no model has predicted anything yet"}
    span = await asked.span(monitor, query, name, await asked.newest(monitor, name))
    found |= {"span": span}
    try:
        delay = await monitor.label_delay(name, since=span.since, until=span.until, quantiles=_SHARES)
        longest = (await delay_of(monitor, name, span)).quantiles.get(0.99)
        steps = await _steps(monitor, name, metric, span, longest)
    except PrunedError as error:
        return {**found, "reason": str(error)}
    title = f"{titled(name, span, 'prediction', metric)}, as it was known at each instant"
    return {**found, "delay": delay, "steps": steps, "picture": _drawn(steps, title), "picture_title": title}


@attrs.frozen
class Step:
    """What was known at an instant."""

    as_of: datetime
    metric: Metric


async def _steps(
    monitor: AsyncMonitor, name: str, metric: str, span: asked.Span, longest: timedelta | None
) -> list[Step]:
    """From the first prediction of the window until 99 % of the labels of its last one should have come, or now."""
    now = await monitor.now()
    begin = span.begin or span.end
    until = min(now, span.end + (longest or timedelta(0)))
    if until <= begin:
        return []
    instants = [begin + (until - begin) * step / STEPS for step in range(1, STEPS + 1)]
    found: list[Step] = []
    for as_of in instants:
        measured = await monitor.performance(
            name, since=span.since, until=span.until, as_of=as_of, metrics=(metric, "coverage")
        )
        found.append(Step(as_of, measured[metric]))
    return found


def _drawn(steps: list[Step], title: str) -> Sized | None:
    if not steps:
        return None
    width = (steps[1].as_of - steps[0].as_of) if len(steps) > 1 else timedelta(hours=1)
    points = [
        pictures.Point(
            start=(one.as_of - width / 2).timestamp(),
            end=(one.as_of + width / 2).timestamp(),
            value=one.metric.value,
            low=one.metric.low,
            high=one.metric.high,
            labelled=one.metric.labelled,
            pending=one.metric.total - one.metric.labelled,
            said=f"as of {stamp(one.as_of)}: {one.metric}",
        )
        for one in steps
    ]
    last = steps[-1].metric
    said = f"{title}: at last {last}; {duration(steps[-1].as_of - steps[0].as_of)} are shown"
    return Sized(*(pictures.series(points, said, width=size) for size in (WIDE, NARROW)))
