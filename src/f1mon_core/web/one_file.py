"""The report: the same pages as one file, which needs no network, no server and no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from markupsafe import Markup

from f1mon_core.errors import ConfigurationError, InvalidQueryError, NotFoundError, shown
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.web import pages
from f1mon_core.web.asked import WINDOWS, Query
from f1mon_core.web.immediate import done, immediate
from f1mon_core.web.screens import alerts, compare, drift, model, models, rules, segments

MOST = 20
"""Of so many models a report shows the pages, unless they are named."""


def report(
    monitor: Monitor,
    path: str | Path | None = None,
    *,
    window: str | None = None,
    model_versions: Collection[str] | None = None,
    title: str = "Model report",
) -> str:
    """What the dashboard shows, as the text of one HTML file; it is the same for the same store and clock.

    Needs the extra `dashboard`. It may be opened without a network, and its own policy lets it load nothing.

    Args:
        monitor: Over the store to be shown.
        path: Where to write it; nowhere if None.
        window: "24h", "7d", "30d", … or "all"; of each model the newest that holds data if None.
        model_versions: Only these models, each with its page; if None all, and the pages of the first 20.
        title: What it is called.

    Raises:
        InvalidQueryError: If there is no such window.
        NotFoundError: If a model that is named never predicted.
    """
    if not isinstance(monitor, Monitor):
        raise ConfigurationError(f"a report needs a Monitor, got {shown(monitor)}")
    if window not in (None, "all", *WINDOWS):
        raise InvalidQueryError(f"window: there is no {shown(window)}; there are {', '.join(WINDOWS)} and all")
    if isinstance(model_versions, str):
        raise InvalidQueryError("model_versions must be a collection of names, not a text")
    text = done(_rendered(immediate(monitor), window, model_versions, title))
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


async def _rendered(monitor: AsyncMonitor, window: str | None, wanted: Collection[str] | None, title: str) -> str:
    def words(**given: str) -> Query:
        return Query({**given, "window": window or ""})

    now = await monitor.now()
    overview = await models.find(monitor, words(), _no_link)
    names = [line.summary.name for line in overview["lines"]]
    if missing := sorted(set(wanted or ()) - set(names)):
        raise NotFoundError(f"no model {missing[0]!r} has predicted anything")
    chosen = names[:MOST] if wanted is None else [name for name in names if name in set(wanted)]
    if wanted is not None:
        overview["lines"] = [line for line in overview["lines"] if line.summary.name in chosen]
    sections: list[dict[str, Any]] = []
    for name in chosen:
        found: dict[str, Any] = {"model": await model.find(monitor, words(name=name), _no_link)}
        found["segments"] = await segments.find(monitor, words(name=name), _no_link)
        found["drift"] = await drift.find(monitor, words(name=name), _no_link)
        sections.append(found)
    pair = None
    if len(chosen) == 2:  # noqa: PLR2004 - the two that there are
        pair = await compare.find(monitor, words(first=chosen[0], second=chosen[1]), _no_link)
    style = Markup(pages.asset("f1mon.css").decode())  # noqa: S704 - our own file
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    damage = monitor.damage
    context = {
        "report": True, "style": style, "title": title, "link": _no_link, "writable": True, "actor": None,
        "policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        "now": now, "address": monitor.address, "damage": None if damage is None else str(damage),
        "overview": overview, "sections": sections, "pair": pair, "left_out": len(names) - len(chosen),
        "alerts": await alerts.find(monitor, Query({}), _no_link),
        "rules": await rules.find(monitor, Query({}), _no_link),
    }  # fmt: skip
    return pages.render("report.html", context)


def _no_link(_page: str, /, **_words: Any) -> str:
    return ""
