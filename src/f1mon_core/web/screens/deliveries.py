"""Deliveries: what is on its way, what came to nothing, and why."""

from __future__ import annotations

from typing import Any

from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.times import from_micros
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link

_MOST = 200


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:  # noqa: ARG001 - the shape of a screen
    """Dead letters first: nobody was told."""
    waiting, dead = await monitor.deliveries(), await monitor.dead_letters()
    matter = {(one.alert_id, one.name) for one in await monitor.unheard()}
    return {
        "title": "Deliveries",
        "dead": [(one, from_micros(one.created), (one.alert_id, one.name) in matter) for one in dead[:_MOST]],
        "waiting": [
            (one, from_micros(one.created), None if one.due is None else from_micros(one.due))
            for one in waiting[:_MOST]
        ],
        "left_out": max(0, len(dead) - _MOST) + max(0, len(waiting) - _MOST),
    }
