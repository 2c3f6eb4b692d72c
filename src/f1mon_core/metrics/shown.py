"""Results as a person sees them: in a line where they are printed, as a plain table in a notebook.

What a number rests on stands beside it: interval, n, coverage, the window and whose time it goes by, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from f1mon_core.text import html_table, printable, told_segments

if TYPE_CHECKING:
    from f1mon_core.metrics.label_delay import LabelDelay
    from f1mon_core.metrics.metric import Metric
    from f1mon_core.metrics.paired import PairedComparison
    from f1mon_core.metrics.performance import Performance
    from f1mon_core.metrics.slices import Slices
    from f1mon_core.metrics.trends import Comparison
    from f1mon_core.metrics.windows import Window

ROWS = 200
"""A notebook's table has at most so many rows; the frame has them all."""

_BASES = {
    "prediction": "by prediction time",
    "outcome": "by outcome time",
    "matured": "matured predictions",
}
_EDGE = "%Y-%m-%d %H:%M"


def instant(given: datetime | None) -> str | None:
    """An instant in UTC, to the minute."""
    return None if given is None else f"{given.astimezone(UTC):{_EDGE}}"


def number(value: float | None, form: str = ".4f") -> str | None:
    """A number in four digits."""
    return None if value is None else format(value, form)


def bounds(low: float | None, high: float | None, form: str = ".4f") -> str | None:
    """An interval."""
    return None if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def share(value: float | None) -> str | None:
    """A share in percent."""
    return None if value is None else f"{value:.1%}"


def duration(length: timedelta | None) -> str | None:
    """A length of time as Python says it: `2 days, 3:00:00`."""
    return None if length is None else str(length)


def told_window(window: Window) -> str:
    """Which predictions: the model, the window, whose time it goes by, and as of when."""
    since = instant(window.since) or "the beginning"
    until = instant(window.until) or "the present"
    parts = [window.model_version or "all models", f"[{since}, {until}) UTC", _BASES[window.basis]]
    if window.horizon is not None and window.basis == "matured":
        parts[-1] += f" (at least {window.horizon} old)"
    if window.where:
        parts.append(told_segments(window.where))
    for name, given in (("as of", window.as_of), ("as recorded", window.as_recorded)):
        if given is not None:
            parts.append(f"{name} {instant(given)}")
    return ", ".join(parts)


def _counts(one: Performance) -> str:
    covered = share(one.coverage)
    return f"{one.labelled} of {one.total} labelled" + ("" if covered is None else f" ({covered})")


def _level(level: float) -> str:
    return f"{100 * level:.6g} % interval"


def headline(one: Performance) -> Metric | None:
    """The metric that speaks for a performance: accuracy, else the first there is."""
    return one.metrics.get("accuracy") or next(iter(one.metrics.values()), None)


def _valued(metric: Metric | None) -> str:
    if metric is None:
        return "no metric was asked for"
    if metric.value is None:
        return f"{metric.name} none ({metric.reason})"
    interval = bounds(metric.low, metric.high)
    return f"{metric.name} {metric.value:.4f}" + ("" if interval is None else f" {interval}")


# One window -----------------------------------------------------------------------------------------------------------


def performance_line(one: Performance) -> str:
    """`podium-1, [2026-04-01 00:00, 2026-05-01 00:00) UTC, by prediction time: accuracy 0.8 […], 8 of 10 labelled`."""
    return printable(f"{told_window(one.window)}: {_valued(headline(one))}, {_counts(one)}")


def left_out_lines(metrics: Mapping[str, Metric], names: Iterable[str]) -> list[str]:
    """A line for each metric that was not computed: between what it lies, if that is known, and how to ask for it."""
    lines = []
    for name in names:
        one = metrics[name]
        between = "" if one.at_least is None else f" (between {one.at_least:.4f} and {one.at_most:.4f})"
        lines.append(f"  {name}{between} {one.reason}")
    return lines


def performance_html(one: Performance) -> str:
    """A row for each metric."""
    rows = [
        (name, number(metric.value), bounds(metric.low, metric.high), metric.n, metric.reason)
        for name, metric in one.metrics.items()
    ]
    header = ("metric", "value", _level(one.level), "n", "why none")
    return html_table(told_window(one.window), header, rows, [f"{_counts(one)}."])


def performance_columns(one: Performance) -> dict[str, tuple[str, list[Any]]]:
    """The columns of a table with a row for each metric."""
    return _metric_columns(one.metrics)


def _metric_columns(metrics: Mapping[str, Metric]) -> dict[str, tuple[str, list[Any]]]:
    each = metrics.values()
    return {
        "metric": ("text", list(metrics)),
        "value": ("number", [one.value for one in each]),
        "low": ("number", [one.low for one in each]),
        "high": ("number", [one.high for one in each]),
        "n": ("integer", [one.n for one in each]),
        "labelled": ("integer", [one.labelled for one in each]),
        "total": ("integer", [one.total for one in each]),
        "reason": ("text", [one.reason for one in each]),
    }


# Over time ------------------------------------------------------------------------------------------------------------


def trend_line(trend: Sequence[Performance]) -> str:
    """How many buckets, how many of them say something, and the newest that does."""
    if not trend:
        return "a trend without buckets: no predictions in the window"
    window = trend[0].window
    until = instant(trend[-1].window.until) or "the present"
    model = window.model_version or "all models"
    whole = f"{model}, [{instant(window.since) or 'the beginning'}, {until}) UTC, {_BASES[window.basis]}"
    said = [one for one in trend if (metric := headline(one)) is not None and metric.value is not None]
    newest = "" if not said else f"; newest {_valued(headline(said[-1]))}, {_counts(said[-1])}"
    return printable(f"{whole}: {len(trend)} buckets, {len(said)} with a value{newest}")


def performances_columns(performances: Sequence[Performance]) -> dict[str, tuple[str, list[Any]]]:
    """The columns of a table with a row for each performance: what each metric is, from where to where, and why not."""
    names = dict.fromkeys(name for one in performances for name in one.metrics)
    columns: dict[str, tuple[str, list[Any]]] = {
        "since": ("time", [one.window.since for one in performances]),
        "until": ("time", [one.window.until for one in performances]),
        "model_version": ("text", [one.model_version for one in performances]),
        "total": ("integer", [one.total for one in performances]),
        "labelled": ("integer", [one.labelled for one in performances]),
    }
    for name in names:
        metrics = [one.metrics.get(name) for one in performances]
        columns[name] = ("number", [None if one is None else one.value for one in metrics])
        columns[f"{name}_low"] = ("number", [None if one is None else one.low for one in metrics])
        columns[f"{name}_high"] = ("number", [None if one is None else one.high for one in metrics])
        columns[f"{name}_reason"] = ("text", [None if one is None else one.reason for one in metrics])
    return columns


def trend_html(trend: Sequence[Performance]) -> str:
    """A row for each bucket; one without a value says why."""
    name = name_of(trend)
    rows = [(instant(one.window.since), instant(one.window.until), *point(one)) for one in trend[-ROWS:]]
    header = ("since", "until", "labelled", "of", "coverage", name, "interval", "why none")
    notes = [f"Times are UTC, buckets [since, until). Intervals: {_intervals(trend)}.", *_cut(len(trend))]
    return html_table(trend_line(trend), header, rows, notes)


def point(one: Performance) -> tuple[Any, ...]:
    """Labelled, total, coverage, the value of the metric that speaks for it, its interval, and why there is none."""
    metric = headline(one)
    if metric is None:
        return one.labelled, one.total, share(one.coverage), None, None, "no metric was asked for"
    interval = bounds(metric.low, metric.high)
    return one.labelled, one.total, share(one.coverage), number(metric.value), interval, metric.reason


def name_of(performances: Sequence[Performance]) -> str:
    """The name of the metric that speaks for them."""
    found = (headline(one) for one in performances)
    return next((metric.name for metric in found if metric is not None), "metric")


def _intervals(performances: Sequence[Performance]) -> str:
    if not performances:
        return "none"
    return f"{performances[0].interval}, {_level(performances[0].level)}"


def _cut(length: int) -> list[str]:
    return [f"The last {ROWS} of {length} rows: to_frame() has them all."] if length > ROWS else []


# Side by side ---------------------------------------------------------------------------------------------------------


def comparison_line(one: Comparison) -> str:
    """The difference of accuracy with its interval, and what both rest on."""
    name = name_of([one.first])
    first, second = (side.model_version or "all models" for side in (one.first, one.second))
    found = one.differences.get(name)
    said = "no metric was asked for"
    if found is not None:
        said = f"{name} differs by {found.value:+.4f}" if found.value is not None else f"{name} none ({found.reason})"
        if (interval := bounds(found.low, found.high, "+.4f")) is not None:
            said += f" {interval}" + ("" if found.significant else ", which holds 0")
    return printable(f"{second} minus {first}: {said}; {_counts(one.first)} and {_counts(one.second)}")


def comparison_rows(one: Comparison) -> list[tuple[Any, ...]]:
    """A row for each metric: both values, the difference, its interval, and why there is none."""
    return [
        (
            name,
            number(one.first[name].value),
            number(one.second[name].value),
            number(found.value, "+.4f"),
            bounds(found.low, found.high, "+.4f"),
            found.reason,
        )
        for name, found in one.differences.items()
    ]


def comparison_html(one: Comparison) -> str:
    """A row for each metric."""
    sides = [side.model_version or "all models" for side in (one.first, one.second)]
    header = ("metric", *sides, "difference", _level(one.first.level), "why none")
    notes = [f"{told_window(side.window)}: {_counts(side)}." for side in (one.first, one.second)]
    return html_table(comparison_line(one), header, comparison_rows(one), notes)


def comparison_columns(one: Comparison) -> dict[str, tuple[str, list[Any]]]:
    """The columns of a table with a row for each metric."""
    each = one.differences.items()
    return {
        "metric": ("text", [name for name, _ in each]),
        "first": ("number", [one.first[name].value for name, _ in each]),
        "second": ("number", [one.second[name].value for name, _ in each]),
        "difference": ("number", [found.value for _, found in each]),
        "low": ("number", [found.low for _, found in each]),
        "high": ("number", [found.high for _, found in each]),
        "reason": ("text", [found.reason for _, found in each]),
    }


def paired_columns(one: PairedComparison) -> dict[str, tuple[str, list[Any]]]:
    """The columns of a table of one row."""
    names = ("items", "labelled", "both_right", "first_only", "second_only", "both_wrong")
    return {
        "first": ("text", [one.first.model_version]),
        "second": ("text", [one.second.model_version]),
        **{name: ("integer", [getattr(one, name)]) for name in names},
        "difference": ("number", [one.difference.value]),
        "low": ("number", [one.difference.low]),
        "high": ("number", [one.difference.high]),
        "p_value": ("number", [one.p_value]),
        "verdict": ("text", [one.verdict]),
        "no_verdict": ("text", [one.no_verdict]),
    }


def paired_html(one: PairedComparison) -> str:
    """Who was right where, with the difference and its interval."""
    found = one.difference
    rows = [
        ("both right", one.both_right),
        (f"only {one.first.model_version}", one.first_only),
        (f"only {one.second.model_version}", one.second_only),
        ("both wrong", one.both_wrong),
        ("difference (second minus first)", number(found.value, "+.4f")),
        ("95 % interval", bounds(found.low, found.high, "+.4f")),
        ("McNemar's mid-p value", number(one.p_value, ".3g")),
        ("labelled share", share(one.coverage)),
    ]
    return html_table(str(one), ("items", "number"), rows, [f"{told_window(one.first.window)}."])


# For whom, how late, and who ------------------------------------------------------------------------------------------


def slices_line(one: Slices) -> str:
    """How many slices, and which are surely worse than the whole."""
    worse = one.surely_worse() if "accuracy" in one.whole.metrics else []
    named = ", ".join(told_segments(one.named(group)) for group in worse[:5]) + (", …" if len(worse) > 5 else "")  # noqa: PLR2004 - a line
    said = f"; surely worse than the whole: {named}" if worse else ""
    whole = f"{told_window(one.whole.window)}, by {' and '.join(one.by)}"
    return printable(f"{whole}: {len(one)} slices, {one.looks} with a label{said}")


def slices_html(one: Slices) -> str:
    """A row for each slice, and one for the whole."""
    name = name_of([one.whole])
    rows = [("all of it", *point(one.whole))]
    rows += [(told_segments(one.named(group)), *point(slice_)) for group, slice_ in list(one.items())[:ROWS]]
    notes = [f"The intervals of all {one.looks} slices with a label hold together in 95 %."]
    if one.left_out:
        notes.append(f"{one.left_out} slices less bad are left out.")
    if len(one) > ROWS:
        notes.append(f"{ROWS} of {len(one)} slices: to_frame() has them all.")
    return html_table(
        slices_line(one), ("segment", "labelled", "of", "coverage", name, "interval", "why none"), rows, notes
    )


def delay_line(one: LabelDelay) -> str:
    """By when labels come."""
    if one.reason is not None:
        return printable(f"label delay unknown ({one.reason}), {one.labelled} labelled, {one.pending} pending")
    said = ", ".join(f"{100 * level:g}% within {delay}" for level, delay in one.quantiles.items())
    return f"labels: {said}; {one.labelled} labelled, {one.pending} pending"


def delay_html(one: LabelDelay) -> str:
    """A row for each quantile."""
    rows = [(f"{100 * level:g}%", duration(delay)) for level, delay in one.quantiles.items()]
    notes = [f"Rounded up to {one.unit}; corrected for predictions too young to have a label (Kaplan-Meier)."]
    notes += [f"Suggested horizon: {one.suggested_horizon}."] if one.suggested_horizon is not None else []
    return html_table(delay_line(one), ("of the labels", "within"), rows, notes)
