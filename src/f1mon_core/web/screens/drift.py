"""Drift: what was found of each feature and when, what mattered to the model, and where a metric got worse."""

from __future__ import annotations

from typing import Any

from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.kinds import DriftResult
from f1mon_core.web import figures
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link

MOST = 2_000


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """The kept facts of one model."""
    names = [one.name for one in await monitor.glance()]
    name = query.text("name") or (names[0] if names else None)
    found: dict[str, Any] = {"title": "Drift", "name": name, "names": names, "heat": None, "newest": []}
    if name is None:
        return {**found, "importances": [], "analyses": [], "results": [], "cut": False}
    feature = query.text("feature")
    results = list(await monitor.drift_results(name, feature, limit=MOST))
    return {
        **found,
        "feature": feature,
        "results": results[:100] if feature else [],
        "cut": len(results) == MOST,
        "heat": figures.drift(results, f"Drift of the features of {name}"),
        "newest": _newest(results),
        "importances": list((await monitor.latest_importances(name)).values()),
        "analyses": await monitor.degradation_analyses(name, limit=50),
    }


def _newest(results: list[DriftResult]) -> list[DriftResult]:
    """The newest result of each feature and method, those that found drift first."""
    newest: dict[tuple[str, str], DriftResult] = {}
    for one in results:  # newest first
        newest.setdefault((one.feature, one.method), one)
    return sorted(newest.values(), key=lambda one: (not one.detected, one.feature, one.method))
