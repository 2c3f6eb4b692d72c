"""Compare: two models, on the items both predicted where there are any, and as samples of their own."""

from __future__ import annotations

from typing import Any

from f1mon_core.errors import PrunedError
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.paired import PairedComparison
from f1mon_core.metrics.performance import PerformanceOptions
from f1mon_core.metrics.trends import Comparison, Difference
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.pictures import Difference as Drawn
from f1mon_core.pictures import Svg, difference
from f1mon_core.web import asked
from f1mon_core.web.asked import WINDOWS, Query
from f1mon_core.web.pages import Link
from f1mon_core.web.screens.model import COUNTS, delay_of, options_of


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """Two models beside each other in one window; without two of them the choice of them."""
    names = [one.name for one in await monitor.glance()]
    first = query.text("first") or (names[0] if names else None)
    second = query.text("second") or next((one for one in names if one != first), None)
    found: dict[str, Any] = {
        "title": "Compare",
        "names": names,
        "first": first,
        "second": second,
        "span": None,
        "windows": (*WINDOWS, "all"),
        "reason": None,
        "rows": [],
        "paired": None,
        "no_pairs": None,
    }
    if first is None or second is None or first == second:
        return {**found, "reason": "two models are needed, and they must not be the same one"}
    span = await asked.span(monitor, query, first, await asked.newest(monitor, first))
    options, basis = options_of(query, span, await delay_of(monitor, first, span))
    found |= {"span": span, "basis": basis, "where": query.where()}
    try:
        compared = await monitor.compare(first, second, **options)
    except PrunedError as error:
        return {**found, "reason": str(error)}
    paired, no_pairs = await _paired(monitor, first, second, options)
    picture = None
    if paired is not None:
        picture = _drawn(paired.difference)
    return {
        **found,
        "compared": compared,
        "rows": _rows(compared),
        "paired": paired,
        "paired_picture": picture,
        "no_pairs": no_pairs,
    }


def _rows(compared: Comparison) -> list[tuple[Metric, Metric, Difference, Svg]]:
    """Each metric of both, and their difference as a picture."""
    return [
        (one, compared.second[name], compared.differences[name], _drawn(compared.differences[name]))
        for name, one in compared.first.metrics.items()
        if name not in COUNTS
    ]


def _drawn(one: Difference) -> Svg:
    said = f"difference in {one.name}: " + (one.reason or f"{one.value:+.4f}")
    if one.low is not None and one.high is not None:
        said += f" [{one.low:+.4f}, {one.high:+.4f}], {'differs' if one.significant else 'no difference is shown'}"
    return difference(Drawn(one.value, one.low, one.high), said, reach=_reach(one))


def _reach(one: Difference) -> float:
    """How far the axis goes: small differences are drawn on one that ends at a quarter."""
    most = max(abs(edge) for edge in (one.value, one.low, one.high, 0.0) if edge is not None)
    return 0.25 if most <= 0.25 else max(1.0, most)  # noqa: PLR2004 - as said


async def _paired(
    monitor: AsyncMonitor, first: str, second: str, options: PerformanceOptions
) -> tuple[PairedComparison | None, str | None]:
    """The two on their common items; or why there is no such comparison."""
    if options.get("basis") == "outcome":
        return None, "pairs are compared by prediction time, not by outcome time"
    given: PerformanceOptions = {**options}
    if given.get("basis") == "prediction":
        given.pop("basis")  # pairs then count matured items, at a horizon of their own
    try:
        found = await monitor.compare(first, second, paired=True, **given)
    except PrunedError as error:
        return None, str(error)
    return (found, None) if found.items else (None, "no item was predicted by both")
