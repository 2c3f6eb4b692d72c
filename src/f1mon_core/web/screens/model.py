"""Model: one model in one window, with all that its numbers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.errors import PrunedError
from f1mon_core.metrics.label_delay import LabelDelay
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Performance, PerformanceOptions
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.kinds import Prediction
from f1mon_core.web import asked, figures
from f1mon_core.web.asked import WINDOWS, Query, Span
from f1mon_core.web.pages import Link, minute

BASES = ("prediction", "matured", "outcome")
_MATURE = 0.95
_LATEST = 0.99
_ALERTS = 200
_KEPT = 20
COUNTS = frozenset({"num_predictions", "num_labelled", "coverage"})
DRAWN = tuple(name for name in METRIC_NAMES if name not in COUNTS)


async def find(monitor: AsyncMonitor, query: Query, link: Link) -> dict[str, Any]:
    """The numbers of one model's window, and its pictures."""
    name = query.needed("name")
    recent = await asked.newest(monitor, name)
    span = await asked.span(monitor, query, name, recent)
    metric = query.choice("metric", ("accuracy", *(one for one in DRAWN if one != "accuracy")))
    delay = await delay_of(monitor, name, span)
    options, basis = options_of(query, span, delay)
    found: dict[str, Any] = {
        "title": name,
        "name": name,
        "span": span,
        "windows": (*WINDOWS, "all"),
        "bases": BASES,
        "basis": basis,
        "metric_name": metric,
        "metric_names": DRAWN,
        "delay": delay,
        "segment_names": segment_names(recent),
        "where": query.where(),
        "known": bool(recent) or any(one.name == name for one in await monitor.glance()),
        "health": await monitor.health(name, _KEPT),
        "analyses": await monitor.degradation_analyses(name, limit=_KEPT),
        "estimates": await monitor.accuracy_estimates(name, limit=5),
        "measured": None,
        "reason": None,
    }
    try:
        measured = await monitor.performance(name, **options)
        drawn: PerformanceOptions = {**options, "metrics": (metric, "num_predictions")}
        trend = await monitor.trend(name, every=span.width, **drawn)
    except PrunedError as error:
        return {**found, "reason": str(error)}
    title = titled(name, span, basis, metric)
    rules = [one for one in await monitor.rules() if _is_on(one, metric, name, query)]
    alerts = await monitor.alerts(
        model_version=name, metric_name=metric, since=span.since, until=span.until, limit=_ALERTS
    )
    taken = await monitor.acknowledgements([one.alert_id for one in alerts])
    buckets = figures.buckets(trend, await monitor.now(), delay.quantiles.get(_LATEST))
    words = {one: value for one, value in query.words.items() if one not in {"window", "since", "until", "done"}}
    return {
        **found,
        "measured": measured,
        "classes": list(measured.confusion.labels),
        "metrics": _ordered(measured),
        "buckets": buckets,
        "course": figures.over_time(
            buckets, metric, title, rules=rules, alerts=alerts, taken=taken, link=link, **words
        ),
        "of_bins": figures.of_bins(measured, title),
        "picture_title": title,
        "rules": rules,
        "alerts": alerts,
        "taken": taken,
        "sure": bool(alerts) and len(alerts) == _ALERTS,
    }


def _is_on(rule: AlertRule, metric: str, name: str, query: Query) -> bool:
    """Whether a rule's threshold belongs on the picture: one by segments is of slices."""
    return rule.matches(metric, None, name) and bool(rule.by) == bool(query.where())


def _ordered(measured: Performance) -> list[Metric]:
    """Accuracy first; the counts stand elsewhere."""
    return [measured.metrics[name] for name in DRAWN if name in measured.metrics]


def titled(name: str, span: Span, basis: str, metric: str) -> str:
    """What a picture says of itself: model, metric, window and basis, in UTC."""
    begin = "the beginning" if span.since is None else minute(span.since)
    return f"{metric} of {name}, {begin} to {minute(span.end)} UTC, by {basis} time"


async def delay_of(monitor: AsyncMonitor, name: str, span: Span) -> LabelDelay:
    """How long labels take in a window; of nothing where it was pruned, with that reason."""
    try:
        return await monitor.label_delay(name, since=span.since, until=span.until, quantiles=(0.5, _MATURE, _LATEST))
    except PrunedError as error:
        return LabelDelay({}, None, None, 0, 0, span.width, str(error))


def options_of(query: Query, span: Span, delay: LabelDelay) -> tuple[PerformanceOptions, str]:
    """The window of a question, and its basis in words."""
    basis = query.choice("basis", BASES)
    options: PerformanceOptions = {
        "since": span.since,
        "until": span.until,
        "where": query.where() or None,
        "positive": query.label("positive"),
    }
    if basis == "matured":
        horizon = query.days("horizon") or delay.suggested_horizon
        options |= {"basis": "matured", "horizon": horizon} if horizon is not None else {"basis": "prediction"}
        return options, basis if horizon is not None else "prediction"
    options["basis"] = "outcome" if basis == "outcome" else "prediction"
    return options, basis


def segment_names(recent: Sequence[Prediction]) -> list[str]:
    """What the newest predictions may be told apart by."""
    seen: Mapping[str, None] = {name: None for one in recent for name in one.segments}
    return sorted(seen)
