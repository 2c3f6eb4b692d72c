"""Performances side by side: over time, and of two models."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from f1mon_core.errors import InvalidQueryError
from f1mon_core.monitor import Monitor

from ..oracle import close

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@contextmanager
def two_models():
    """Two models that answer in turn, with a gap of three days."""
    with Monitor.open("memory", clock=lambda: MONDAY + 21 * DAY) as opened:
        for i in range(200):
            model = "ab"[i % 2]
            at = MONDAY + i * 1.7 * HOUR + (3 * DAY if i > 100 else 0 * DAY)
            opened.record_prediction(f"{i}", model, int(i % 3 == 0), 0.5 + i / 500, at=at)
            if i % 5:
                opened.record_outcome(f"{i}", int(i % 7 < 3), known_at=at + i * HOUR / 10)
        yield opened


@pytest.fixture
def monitor():
    with two_models() as opened:
        yield opened


@pytest.mark.parametrize("basis", [{}, {"basis": "outcome"}, {"basis": "matured", "horizon": 12 * DAY}])
@pytest.mark.parametrize(("every", "width"), [("hour", HOUR), ("day", DAY), ("week", 7 * DAY), (5 * HOUR, 5 * HOUR)])
def test_each_bucket_is_what_its_own_window_would_say(monitor, every, width, basis):
    since, until = MONDAY + 2.4 * HOUR, MONDAY + 16 * DAY + HOUR / 2
    buckets = monitor.trend("a", every=every, since=since, until=until, **basis)
    assert buckets[0].window.since == since
    for before, after in pairwise(buckets):
        assert before.window.until == after.window.since
    for one in buckets:
        assert one.window.until - one.window.since <= width
        alone = monitor.performance("a", since=one.window.since, until=one.window.until, **basis)
        assert alone.metrics == one.metrics
    whole = monitor.performance("a", since=since, until=until, **basis)
    assert sum(one.total for one in buckets) == whole.total
    assert any(one.total == 0 for one in buckets) or width > DAY
    assert buckets[-1].window.until == whole.window.until


def test_weeks_begin_on_monday_and_an_open_window_ends_with_its_predictions(monitor):
    weeks = monitor.trend(every="week")
    assert [one.window.since for one in weeks] == [MONDAY + n * 7 * DAY for n in range(len(weeks))]
    assert weeks[-1].total > 0
    assert monitor.trend("nobody", every="day") == []


@pytest.mark.parametrize("every", ["month", 5, timedelta(0), timedelta.max, None])
def test_a_width_that_is_none_is_refused(monitor, every):
    with pytest.raises(InvalidQueryError):
        monitor.trend(every=every)


def test_the_last_bucket_of_the_calendar_is_cut_by_its_end(monitor):
    until = datetime.max.replace(tzinfo=UTC)
    buckets = monitor.trend(every="week", until=until, last=10 * DAY)
    assert [buckets[0].window.since, buckets[-1].window.until] == [until - 10 * DAY, until]
    early, late = monitor.trend(every=timedelta(days=2_900_000), until=until)
    assert (early.total, late.total, late.window.until) == (monitor.performance().total, 0, until)


def test_too_many_buckets_are_refused(monitor):
    with pytest.raises(InvalidQueryError, match="at most"):
        monitor.trend(every=timedelta(microseconds=1))


def test_two_models_are_compared_with_the_interval_of_the_difference(monitor):
    compared = monitor.compare("a", "b")
    first, second = compared.first.accuracy, compared.second.accuracy
    difference = compared["accuracy"]
    assert difference.value == second.value - first.value
    expected = confint_proportions_2indep(
        round(second.value * second.n), second.n, round(first.value * first.n), first.n, method="newcomb"
    )
    assert (difference.low, difference.high) == close(expected)
    assert difference.significant is (not expected[0] <= 0 <= expected[1])
    assert compared["roc_auc"].significant is None
    assert compared["roc_auc"].value == compared.second["roc_auc"].value - compared.first["roc_auc"].value


def test_what_one_side_lacks_has_no_difference(monitor):
    compared = monitor.compare("a", "nobody")
    assert compared["accuracy"].value is None
    assert compared["accuracy"].reason == "second version: no predictions"
    assert compared.to_dict()["differences"]["accuracy"]["value"] is None
