"""What a screen is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from f1mon_core.monitor import AsyncMonitor
from f1mon_core.web.asked import Query
from f1mon_core.web.pages import Link


@attrs.frozen
class Screen:
    """One page.

    Attributes:
        name: What it is called.
        path: Below the dashboard's own, without a slash.
        template: How it looks.
        find: What it shows: asks the monitor what the query wants, and hands the template its values.
    """

    name: str
    path: str
    template: str
    find: Callable[[AsyncMonitor, Query, Link], Awaitable[dict[str, Any]]]
