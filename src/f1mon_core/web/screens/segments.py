"""Segments: for whom a model does badly, those first that surely do."""

from __future__ import annotations

from typing import Any

from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.metrics.rows import undeclared
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.web import asked
from f1mon_core.web.asked import WINDOWS, Query
from f1mon_core.web.pages import Link
from f1mon_core.web.screens.model import delay_of, options_of, segment_names

WORST = 50
MOST_READ = 20_000
"""So many predictions a page reads one by one; for more there is the command line."""
RANKED = ("accuracy", "precision", "recall", "f1_score", "expected_calibration_error", "brier_score", "coverage")


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """The slices of one model in one window, by one segment or two."""
    names = [one.name for one in await monitor.glance()]
    name = query.text("name") or (names[0] if names else None)
    found: dict[str, Any] = {
        "title": "Segments", "name": name, "names": names, "windows": (*WINDOWS, "all"), "ranked": RANKED,
        "span": None, "slices": None, "reason": None, "segment_names": [], "by": None, "by2": None, "paths": [],
    }  # fmt: skip
    if name is None:
        return {**found, "reason": "no model has predicted anything yet"}
    recent = await asked.newest(monitor, name)
    span = await asked.span(monitor, query, name, recent)
    known = segment_names(recent)
    paths = sorted(
        {f"{room}.{key}" for one in recent[:50] for room in ("features", "metadata") for key in getattr(one, room)}
    )
    by = [one for one in (query.text("by") or (known[0] if known else None), query.text("by2")) if one is not None]
    metric = query.choice("worst_by", RANKED)
    found |= {
        "span": span, "segment_names": known, "paths": paths[:100], "by": by[0] if by else None,
        "by2": by[1] if len(by) > 1 else None, "worst_by": metric, "where": query.where(),
    }  # fmt: skip
    if not by:
        return {**found, "reason": "the newest predictions have no segments; a path such as features.grid does as well"}
    options, basis = options_of(query, span, await delay_of(monitor, name, span))
    try:
        if undeclared((*by, *query.where())):
            await _check_few(monitor, name, span)
        slices = await monitor.performance(name, by=by, worst=WORST, worst_by=metric, **options)
    except (PrunedError, InvalidQueryError) as error:
        return {**found, "reason": str(error)}
    worse = slices.surely_worse(metric)
    return {
        **found,
        "basis": basis,
        "slices": slices,
        "rows": [(slices.named(group), one, group in worse) for group, one in slices.items()],
        "worse": len(worse),
    }


async def _check_few(monitor: AsyncMonitor, name: str, span: asked.Span) -> None:
    measured = await monitor.performance(name, since=span.since, until=span.until, metrics=("num_predictions",))
    if measured.total > MOST_READ:
        raise InvalidQueryError(
            f"what is no declared segment is read prediction by prediction, and here are {measured.total}, more than "
            f"{MOST_READ}: choose a shorter window, or ask `f1mon status --by`"
        )
