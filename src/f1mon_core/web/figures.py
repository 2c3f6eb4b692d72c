"""From results to pictures: the plain numbers that `f1mon_core.pictures` draws, with the words beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from f1mon_core import pictures
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.metrics.intervals import proportion
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Performance
from f1mon_core.pictures import Svg
from f1mon_core.records.fields import SEVERITIES
from f1mon_core.records.kinds import Alert, DriftResult
from f1mon_core.web.pages import Link, stamp

WIDE, NARROW = 900.0, 360.0
"""Each picture of time is drawn twice, and the style sheet shows the one that fits."""


@attrs.frozen
class Sized:
    """A picture in two sizes."""

    wide: Svg
    narrow: Svg


@attrs.frozen
class Bucket:
    """One stretch of time: its performance, and how many of it will hardly get a label any more."""

    performance: Performance
    never: int

    @property
    def pending(self) -> int:
        """Predictions that may still get their label."""
        return self.performance.pending - self.never


def buckets(trend: Sequence[Performance], now: datetime, delay: timedelta | None) -> list[Bucket]:
    """The buckets of a trend; what has no label after the delay that 99 % of the labels take is counted apart."""
    found: list[Bucket] = []
    for one in trend:
        late = delay is not None and one.window.until is not None and now - one.window.until > delay
        found.append(Bucket(one, one.pending if late else 0))
    return found


def over_time(
    found: Sequence[Bucket],
    name: str,
    title: str,
    /,
    *,
    rules: Iterable[AlertRule] = (),
    alerts: Iterable[Alert] = (),
    taken: Collection[str] = (),
    link: Link | None = None,
    **address: Any,
) -> Sized:
    """A metric over time, with the thresholds of rules and the marks of alerts on it."""
    points = [_point(one, name, link, address) for one in found if one.performance.window.since is not None]
    thresholds = [_threshold(rule) for rule in rules]
    alarms = [
        pictures.Alarm(
            one.instant.timestamp(),
            one.severity,
            f"{stamp(one.instant)}: {one.severity}: {one.title}: {one.message}",
            taken=one.alert_id in taken,
            href=None if link is None else link("incident", id=one.alert_id),
        )
        for one in alerts
    ]
    said = f"{title}: {_course([one.performance for one in found], name)}"
    return Sized(*(
        pictures.series(points, said, thresholds=thresholds, alarms=alarms, width=width) for width in (WIDE, NARROW)
    ))  # fmt: skip


def _point(one: Bucket, name: str, link: Link | None, address: dict[str, Any]) -> pictures.Point:
    measured, metric = one.performance, one.performance[name]
    since, until = measured.window.since, measured.window.until
    if since is None or until is None:
        raise AssertionError  # a bucket has both
    edges = {"since": since.isoformat(), "until": until.isoformat()}
    return pictures.Point(
        start=since.timestamp(),
        end=until.timestamp(),
        value=metric.value,
        low=metric.low,
        high=metric.high,
        labelled=measured.labelled,
        pending=one.pending,
        never=one.never,
        said=f"{stamp(since)} to {stamp(until)}: {metric}",
        href=None if link is None else link("model", **{**address, **edges}),
    )


def _threshold(rule: AlertRule) -> pictures.Threshold:
    return pictures.Threshold(rule.threshold, f"{rule.rule_id}: {rule.comparison} {rule.threshold:g}", rule.severity)


def _course(trend: Sequence[Performance], name: str) -> str:
    values = [value for one in trend if (value := one[name].value) is not None]
    empty = len(trend) - len(values)
    if not values:
        return f"no value in any of {len(trend)} stretches of time"
    gaps = f", {empty} without a value" if empty else ""
    return (
        f"{len(trend)} stretches of time{gaps}; from {min(values):.4f} to {max(values):.4f}, the last {values[-1]:.4f}"
    )


def of_bins(measured: Performance, title: str) -> tuple[Svg, Svg, list[pictures.Bin]] | None:
    """The reliability diagram and the histogram of confidences, and their numbers; None where there are no bins."""
    if not measured.bins:
        return None
    found: list[pictures.Bin] = []
    for one in measured.bins:
        low = high = None
        if one.accuracy is not None:
            low, high = proportion(round(one.accuracy * one.labelled), one.labelled, measured.interval)
        said = f"confidence {one.low:.2f} to {one.high:.2f}: {one.labelled} of {one.total} labelled"
        if one.accuracy is not None and one.mean_confidence is not None:
            said += f", accuracy {one.accuracy:.4f} at mean confidence {one.mean_confidence:.4f}"
        found.append(
            pictures.Bin(
                begin=one.low,
                end=one.high,
                labelled=one.labelled,
                unlabelled=one.total - one.labelled,
                confidence=one.mean_confidence,
                accuracy=one.accuracy,
                low=low,
                high=high,
                said=said,
            )
        )
    return (
        pictures.reliability(found, f"Accuracy over confidence, {title}"),
        pictures.histogram(found, f"Predictions by confidence, {title}"),
        found,
    )


def spark(trend: Sequence[Performance], name: str = "accuracy") -> Svg:
    """The course of a metric, for a line of a table."""
    return pictures.spark([one[name].value for one in trend], f"{name} over time: {_course(trend, name)}")


def labelled_share(labelled: int, total: int) -> Svg:
    """How many of the predictions have a label."""
    return pictures.share(labelled, total, f"{labelled} of {total} labelled")


def interval(metric: Metric, reach: float = 1.0) -> Svg:
    """A metric's own interval as a glyph is drawn for differences; here around 0."""
    return pictures.difference(pictures.Difference(metric.value, metric.low, metric.high), str(metric), reach=reach)


@attrs.frozen
class Heat:
    """A heat map of drift, and what it shows in words."""

    features: list[str]
    columns: list[str]
    picture: Sized


def drift(results: Sequence[DriftResult], title: str) -> Heat | None:
    """Features times time: whether drift was found, by whatever method; None where nothing is kept."""
    if not results:
        return None
    days = sorted({one.instant.date() for one in results})
    width = max(1, -(-((days[-1] - days[0]).days + 1) // 60))
    first = days[0].toordinal()
    features = sorted({one.feature for one in results})
    fields: dict[tuple[int, int], list[DriftResult]] = {}
    for one in results:
        place = features.index(one.feature), (one.instant.date().toordinal() - first) // width
        fields.setdefault(place, []).append(one)
    count = max(column for _, column in fields) + 1
    columns = [f"{datetime.fromordinal(first + column * width):%Y-%m-%d}" for column in range(count)]
    cells = [
        pictures.Cell(row=row, column=column, hit=any(one.detected for one in held), said=_tests(held))
        for (row, column), held in sorted(fields.items())
    ]
    hits = sum(cell.hit for cell in cells)
    said = (
        f"{title}: {len(features)} features, {len(columns)} stretches of time; drift in {hits} of {len(cells)} fields"
    )
    return Heat(
        features, columns, Sized(*(pictures.heat(features, columns, cells, said, width=w) for w in (WIDE, NARROW)))
    )


def _tests(held: Sequence[DriftResult]) -> str:
    told = [
        f"{one.method} {'found drift' if one.detected else 'found none'} at {stamp(one.instant)}" for one in held[:6]
    ]
    more = [f"and {len(held) - 6} more"] if len(held) > 6 else []  # noqa: PLR2004 - as cut above
    return f"{held[0].feature}: {'; '.join([*told, *more])}"


def time_line(
    alerts: Sequence[Alert], taken: Collection[str], ends: Sequence[tuple[str, datetime, str]],
    silences: Sequence[tuple[str, datetime, datetime, str]], now: datetime, link: Link, title: str,
) -> Sized | None:  # fmt: skip
    """Alerts over time, a line for each rule; None without any.

    Args:
        alerts: What fired.
        taken: The ids of those that somebody took on.
        ends: Rule, instant and words of each incident that ended.
        silences: Rule, begin, end and words of each silence.
        now: The present.
        link: Makes addresses.
        title: What it is of.
    """
    if not alerts:
        return None
    rows = list(dict.fromkeys(one.rule_id or one.component for one in sorted(alerts, key=_severest)))[:20]
    since = min(one.instant for one in alerts)
    until = max([*(one.instant for one in alerts), *(at for _, at, _ in ends)])
    margin = max((until - since) * 0.02, timedelta(hours=1))
    marks = [
        pictures.Mark(
            row=rows.index(name),
            at=one.instant.timestamp(),
            sort=one.severity,
            said=f"{stamp(one.instant)}: {one.severity}: {one.title}: {one.message}",
            taken=one.alert_id in taken,
            href=link("incident", id=one.alert_id),
        )
        for one in alerts
        if (name := one.rule_id or one.component) in rows
    ]
    marks += [
        pictures.Mark(row=rows.index(rule), at=at.timestamp(), sort="resolved", said=said)
        for rule, at, said in ends
        if rule in rows and since <= at
    ]
    marks += [
        pictures.Mark(row=rows.index(rule), at=begin.timestamp(), until=end.timestamp(), sort="silence", said=said)
        for rule, begin, end, said in silences
        if rule in rows and end >= since and begin <= max(until, now)
    ]
    said = (
        f"{title}: {len(alerts)} alerts of {len(rows)} rules, {sum(one.alert_id in taken for one in alerts)} taken on"
    )
    edges = (since - margin).timestamp(), (until + margin).timestamp()
    return Sized(*(pictures.time_line(rows, marks, *edges, said, width=width) for width in (WIDE, NARROW)))


def _severest(alert: Alert) -> tuple[int, datetime]:
    return -SEVERITIES.index(alert.severity), alert.instant
