"""Health snapshots and degradation: computed from facts, judged by interval."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from f1mon_core.errors import ConflictError, InvalidQueryError, PrunedError
from f1mon_core.metrics.health import snapshot_metric
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import HealthSnapshot

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)


@contextmanager
def ten_days():
    """Ten days of 100 labelled predictions; 90 of a day are right, from the eighth day on only 60."""
    present = [MONDAY + 10 * DAY]
    with Monitor.open("memory", clock=lambda: present[0]) as opened:
        opened.present = present
        for day in range(10):
            for i in range(100):
                name = f"{day}-{i}"
                right = i < (90 if day < 7 else 60)
                opened.record_prediction(name, "m", 1, 0.9, at=MONDAY + day * DAY + i * timedelta(minutes=1))
                opened.record_outcome(name, int(right), known_at=MONDAY + day * DAY + timedelta(hours=2))
        yield opened


@pytest.fixture
def monitor():
    with ten_days() as opened:
        yield opened


def test_a_snapshot_is_what_was_measured(monitor):
    snapshot = monitor.capture_health("m", last=3 * DAY, metadata={"deployed": "blue"})
    measured = monitor.performance("m", last=3 * DAY)
    assert {name: snapshot_metric(snapshot, name) for name in measured.metrics} == measured.metrics
    assert (snapshot.window_start, snapshot.window_end) == (measured.window.since, measured.window.until)
    assert snapshot.metadata["deployed"] == "blue"
    assert snapshot.trusted
    assert monitor.health("m") == [snapshot]
    assert monitor.health("another") == []


def test_degradation_is_judged_against_the_window_before(monitor):
    fell = monitor.capture_health("m", last=3 * DAY)
    assert fell.degradation_detected
    assert fell.metadata["f1mon"]["degradation"]["summary"] == (
        "accuracy 0.6000 [0.5436, 0.6538] lies below the baseline's 0.9000 [0.8608, 0.9291]"
    )
    assert not monitor.capture_health("m", since=MONDAY + 5 * DAY, until=MONDAY + 7 * DAY).degradation_detected


def test_a_single_noisy_point_is_no_degradation(monitor):
    day = {"since": MONDAY + 7 * DAY, "until": MONDAY + 7 * DAY + timedelta(minutes=5)}
    assert not monitor.capture_health("m", baseline=(MONDAY, MONDAY + timedelta(minutes=9)), **day).degradation_detected


def test_the_trend_is_the_change_against_the_newest_trusted_snapshot(monitor):
    first = monitor.capture_health("m", until=MONDAY + 7 * DAY)
    assert first.trend is None
    monitor.present[0] += DAY
    imported = HealthSnapshot(model_version="m", metrics={"accuracy": 0.99}, trusted=False, at=monitor.present[0])
    monitor.storage.append([imported])
    monitor.present[0] += DAY
    second = monitor.capture_health("m", since=MONDAY + 7 * DAY)
    assert second.trend == pytest.approx(100 * (0.6 - 0.9) / 0.9)
    assert [one.trusted for one in monitor.health("m")] == [True, False, True]
    assert monitor.health("m", trusted=False)[0].metrics == {"accuracy": 0.99}


def test_an_imported_snapshot_is_never_a_baseline(monitor):
    imported = HealthSnapshot(model_version="m", metrics={"accuracy": 0.99}, trusted=False)
    with pytest.raises(InvalidQueryError, match="not trusted"):
        monitor.capture_health("m", last=DAY, baseline=imported)
    with pytest.raises(InvalidQueryError, match="holds no accuracy"):
        monitor.capture_health("m", last=DAY, baseline=attrs.evolve(imported, trusted=True))
    assert monitor.health() == []


def test_a_trusted_snapshot_is_a_baseline(monitor):
    good = monitor.capture_health("m", until=MONDAY + 7 * DAY)
    assert monitor.capture_health("m", since=MONDAY + 7 * DAY, baseline=good).degradation_detected


def test_a_snapshot_under_an_id_is_repeated_safely(monitor):
    asked = {"until": MONDAY + 7 * DAY, "as_of": MONDAY + 8 * DAY, "snapshot_id": "2026-05-05"}
    assert monitor.capture_health("m", **asked) == monitor.capture_health("m", **asked)
    with pytest.raises(ConflictError):
        monitor.capture_health("m", **{**asked, "until": MONDAY + 6 * DAY})
    assert [one.at for one in monitor.health()] == [MONDAY + 8 * DAY]


@pytest.mark.parametrize("window", [{"last": 3 * DAY}, {}, {"basis": "matured", "horizon": DAY, "last": DAY}])
def test_a_repeat_under_an_id_answers_what_is_stored_whatever_happened_since(monitor, window):
    first = monitor.capture_health("m", snapshot_id="mine", **window)
    monitor.present[0] += DAY
    monitor.record_prediction("late", "m", 1, 0.9)
    assert monitor.capture_health("m", snapshot_id="mine", **window) == first
    for other in ({"model_version": "n", **window}, {"model_version": "m", "until": monitor.present[0]}):
        with pytest.raises(ConflictError):
            monitor.capture_health(snapshot_id="mine", **other)
    monitor.storage.prune(monitor.present[0], keep=["health_snapshot"])
    assert monitor.capture_health("m", snapshot_id="mine", **window) == first


def test_of_two_who_capture_at_once_under_an_id_both_answer_the_first(monitor, monkeypatch):
    first = monitor.capture_health("m", snapshot_id="mine")
    unseen = [True]  # by the second, when it looks
    find = monitor.storage.find

    def found(select):
        return [] if select.where.get("snapshot_id") and unseen and unseen.pop() else find(select)

    monkeypatch.setattr(monitor.storage, "find", found)
    assert monitor.capture_health("m", snapshot_id="mine") == first
    assert unseen == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_version": None},
        {"metadata": {"f1mon": 1}},
        {"baseline": MONDAY},
        {"baseline": (MONDAY,)},
        {"baseline": (MONDAY + DAY, MONDAY)},
        {"baseline": ("yesterday", None)},
        {"horizon": DAY},
    ],
)
def test_what_cannot_be_captured_is_refused_and_nothing_kept(monitor, arguments):
    with pytest.raises(InvalidQueryError):
        monitor.capture_health(**{"model_version": "m", **arguments})
    assert monitor.health() == []


@pytest.mark.parametrize("name", ["accuracy", "precision"])
def test_an_analysis_keeps_its_verdict(monitor, name):
    analysis = monitor.analyze_degradation("m", name, last=3 * DAY)
    assert (analysis.degraded, analysis.baseline_value, analysis.current_value) == (True, 0.9, 0.6)
    assert monitor.degradation_analyses("m", degraded=True) == [analysis]
    assert monitor.degradation_analyses("m", "recall") == []
    assert monitor.degradation_analyses("m", degraded=False) == []


def test_an_analysis_without_a_verdict_says_why(monitor):
    assert monitor.analyze_degradation("m").summary == "no baseline"
    analysis = monitor.analyze_degradation("m", last=100 * DAY)
    assert not analysis.degraded
    assert analysis.summary == "no verdict: baseline accuracy is missing, no predictions"
    with pytest.raises(InvalidQueryError, match="by interval"):
        monitor.analyze_degradation("m", "brier_score")
    with pytest.raises(InvalidQueryError, match="one model"):
        monitor.analyze_degradation(None)


def test_metric_values_computed_elsewhere_are_kept(monitor):
    kept = [
        monitor.record_metric("m", name, value, at=MONDAY + day * DAY, snapshot_id=f"{name}-{day}")
        for day, (name, value) in enumerate([("latency", 3.5), ("latency", None), ("cost", 1)])
    ]
    assert monitor.metric_snapshots("m", "latency") == [kept[1], kept[0]]
    assert monitor.metric_snapshots(since=MONDAY + 2 * DAY) == [kept[2]]
    assert monitor.metric_snapshots(limit=1, after=kept[2].cursor) == [kept[1]]


def test_a_pruned_baseline_that_nobody_named_is_no_verdict(monitor):
    monitor.storage.prune(MONDAY + 7 * DAY)
    analysis = monitor.analyze_degradation("m", last=3 * DAY)
    assert (analysis.degraded, analysis.baseline_value, analysis.current_value) == (False, None, 0.6)
    assert analysis.summary.startswith("no verdict: baseline accuracy is missing, pruned: predictions made before")
    kept = monitor.capture_health("m", last=3 * DAY)
    assert kept.metadata["f1mon"]["degradation"]["judged"] is False
    assert kept.metadata["f1mon"]["degradation"]["summary"] == analysis.summary
    named = (MONDAY + timedelta(minutes=1), MONDAY + 7 * DAY)
    for judged in (monitor.analyze_degradation, monitor.capture_health):
        with pytest.raises(PrunedError):
            judged("m", last=3 * DAY, baseline=named)
    assert monitor.capture_health("m", last=3 * DAY, baseline=(MONDAY, None)).metadata["f1mon"]["degradation"]["judged"]


def test_a_bare_accuracy_of_a_trusted_snapshot_is_the_previous_one(monitor):
    typed = HealthSnapshot(model_version="m", metrics={"accuracy": 0.8}, at=MONDAY + 9 * DAY)
    monitor.storage.append([typed])
    assert monitor.capture_health("m", last=3 * DAY).trend == pytest.approx(-25)
    unknown = HealthSnapshot(model_version="n", metrics={"accuracy": None}, at=MONDAY + 9 * DAY)
    monitor.storage.append([unknown])
    assert monitor.capture_health("n").trend is None


def test_a_snapshot_keeps_the_reliability_bins_that_hold_something(monitor):
    kept = monitor.capture_health("m", n_bins=10_000).metadata["f1mon"]["reliability_bins"]
    assert [(one["index"], one["total"]) for one in kept] == [(9_000, 1_000)]
