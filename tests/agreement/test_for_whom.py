"""For whom? The Formula 1 log by constructor and grand prix, in every store; and slices that are alike."""

import asyncio
import csv
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from f1mon_core import AlertRule, Monitor, PrunedError
from f1mon_core.metrics.intervals import clopper_pearson, sidak
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.storage.offload import OffloadedStorage

from ..oracle import assert_equal, expected_metrics
from .conftest import BACKENDS, clock, opened

DAY = timedelta(days=1)
SEGMENTS = ("constructor", "grand_prix")
PRUNED = datetime(2021, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def log(race_log, shared_data):
    """Each prediction of the log with what the race results say of its driver, and its outcome."""
    with (shared_data / "f1_race_results.csv").open(newline="") as lines:
        results = {(row["season"], row["round"], row["driver"]): row for row in csv.DictReader(lines)}
    actual = {prediction_id: outcome for prediction_id, outcome, _ in race_log.outcomes}
    found = []
    for made in race_log.predictions:
        _, race, driver = made.prediction_id.split("/")
        season, _, number = race.partition("-")
        result = results[season, str(int(number)), driver]
        segments = {name: result[name] for name in SEGMENTS}
        found.append((attrs.evolve(made, segments=segments, metadata=segments), actual.get(made.prediction_id)))
    return found


def rows(log, **wanted):
    return [
        (made.predicted_outcome, made.confidence, actual)
        for made, actual in log
        if all(made.segments[name] == value for name, value in wanted.items())
    ]


@pytest.fixture(scope="module", params=BACKENDS)
def monitor(request, tmp_path_factory, race_log, log):
    with opened(request.param, tmp_path_factory.mktemp("whom")) as monitor:
        monitor.record_predictions(made for made, _ in log)
        monitor.record_outcomes(race_log.outcomes)
        yield monitor


def accuracies(log, name):
    """Accuracy of each value of a segment, by pandas."""
    frame = pd.DataFrame(
        [(made.segments[name], made.predicted_outcome == actual) for made, actual in log if actual is not None],
        columns=["value", "right"],
    )
    return frame.groupby("value")["right"].agg(["mean", "count"])


@pytest.mark.parametrize("name", SEGMENTS)
def test_accuracy_by_segment_is_pandas_on_every_store(monitor, log, name):
    expected = accuracies(log, name)
    found = monitor.performance(by=name, metrics=["accuracy"])
    assert {value: one.accuracy.n for value, one in found.items() if one.accuracy.n} == expected["count"].to_dict()
    for value, one in found.items():
        if one.accuracy.n:
            assert one.accuracy.value == pytest.approx(expected["mean"][value], rel=1e-12)
            bounds = clopper_pearson(round(one.accuracy.value * one.accuracy.n), one.accuracy.n, sidak(len(expected)))
            assert (one.accuracy.low, one.accuracy.high) == bounds
    assert found.looks == len(expected)
    assert found.whole.accuracy == monitor.performance(metrics=["accuracy"]).accuracy


def test_every_metric_of_a_segment_is_scikit_learns(monitor, log):
    assert_equal(
        monitor.performance(where={"constructor": "ferrari"}), expected_metrics(rows(log, constructor="ferrari"))
    )


def test_what_nobody_declared_answers_as_a_declared_segment_does(monitor):
    since = datetime(2022, 1, 1, tzinfo=UTC)
    for basis in ("prediction", "outcome"):
        options = {"metrics": ["accuracy", "coverage"], "since": since, "basis": basis}
        declared = monitor.performance(by="constructor", **options)
        read = monitor.performance(by="metadata.constructor", **options)
        assert {value: one.accuracy for value, one in read.items()} == {
            value: one.accuracy for value, one in declared.items()
        }
        assert read.read == declared.whole.total
        assert declared.read is None


def test_the_trend_and_the_comparison_of_a_segment(monitor, log, race_log):
    first, second = race_log.models()[:2]
    whole = monitor.trend(first, every=365 * DAY, metrics=["accuracy"])
    apart = monitor.trend(first, every=365 * DAY, by="constructor", metrics=["accuracy"])
    for number, year in enumerate(whole):
        assert sum(one[number].labelled for one in apart.values()) == year.labelled
    compared = monitor.compare(first, second, by="constructor", metrics=["accuracy"])
    for value in ("ferrari", "williams"):
        plain = monitor.compare(first, second, where={"constructor": value}, metrics=["accuracy"])["accuracy"]
        assert compared[value]["accuracy"].value == plain.value
        assert compared[value]["accuracy"].low < plain.low


def test_an_async_monitor_answers_the_same(monitor):
    async def story():
        other = AsyncMonitor(OffloadedStorage(monitor.storage))
        return await other.performance(by="constructor", metrics=["accuracy"], worst=3)

    assert asyncio.run(story()) == monitor.performance(by="constructor", metrics=["accuracy"], worst=3)


def test_a_rule_by_segment_fires_exactly_where_a_straight_recomputation_says(race_log, log):
    """Every race weekend of two seasons, evaluated over the year before it."""
    now = [datetime(2022, 1, 1, tzinfo=UTC)]
    model = race_log.models()[0]
    rule = AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "c", cooldown_minutes=0, by="constructor",
                     model_version=model, min_samples=20, window_minutes=365 * 24 * 60, channels=())  # fmt: skip
    known = {prediction_id: known_at for prediction_id, _, known_at in race_log.outcomes}
    with Monitor.open("memory", clock=lambda: now[0]) as monitor:
        monitor.add_rule(rule)
        left = sorted((made for made, _ in log if made.model_version == model), key=lambda one: one.at)
        outcomes = sorted(race_log.outcomes, key=lambda one: one[2])
        fired = 0
        for week in range(0, 104, 8):
            now[0] = datetime(2022, 1, 1, tzinfo=UTC) + week * 7 * DAY
            monitor.record_predictions(one for one in left if one.at <= now[0])
            left = [one for one in left if one.at > now[0]]
            monitor.record_outcomes(one for one in outcomes if one[2] <= now[0])
            outcomes = [one for one in outcomes if one[2] > now[0]]
            expected = {}
            for made, actual in log:
                labelled = actual is not None and known[made.prediction_id] <= now[0]
                if labelled and made.model_version == model and now[0] - 365 * DAY <= made.at <= now[0]:
                    expected.setdefault(made.segments["constructor"], []).append(made.predicted_outcome == actual)
            low = {value for value, right in expected.items() if len(right) >= 20 and np.mean(right) < 0.8}
            assert {one.context["labels"]["constructor"] for one in monitor.evaluate()} == low, now[0]
            fired += len(low)
        assert fired > 5


@pytest.mark.parametrize("truth", [0.9, 0.995])
def test_two_hundred_slices_that_are_alike_are_called_alike(truth):
    """A thousand worlds of 200 slices of 10 to 300 labels: in 95 % none is surely worse than the whole."""
    chance = np.random.default_rng(16)
    n = chance.integers(10, 301, size=(1_000, 200))
    right = chance.binomial(n, truth)
    tail = (1 - sidak(200)) / 2
    upper = np.where(right == n, 1.0, stats.beta.ppf(1 - tail, right + 1, np.maximum(n - right, 1)))
    whole = right.sum(axis=1) / n.sum(axis=1)
    none_worse = ~(upper < whole[:, None]).any(axis=1)
    assert none_worse.mean() >= 0.95


def test_the_worst_slices_are_those_of_the_lowest_upper_bound():
    """What the simulation computes is what f1mon answers, to 1e-12."""
    sizes = np.random.default_rng(4).integers(3, 12, size=40)
    with Monitor.open("memory", clock=clock) as monitor:
        monitor.record_predictions(
            {"prediction_id": f"{part}-{number}", "model_version": "m", "predicted_outcome": 1, "confidence": 0.9,
             "segments": {"part": part}}
            for part, size in enumerate(sizes) for number in range(size)
        )  # fmt: skip
        monitor.record_outcomes(
            (f"{part}-{number}", int(number % 3 > 0)) for part, size in enumerate(sizes) for number in range(size)
        )
        found = monitor.performance(by="part", metrics=["accuracy"])
        tail = (1 - sidak(40)) / 2
        for one in found.values():
            total, hits = one.accuracy.n, round(one.accuracy.value * one.accuracy.n)
            upper = 1.0 if hits == total else stats.beta.ppf(1 - tail, hits + 1, total - hits)
            lower = 0.0 if hits == 0 else stats.beta.ppf(tail, hits, total - hits + 1)
            assert (one.accuracy.low, one.accuracy.high) == pytest.approx((lower, upper), rel=1e-12, abs=1e-12)
        worst = monitor.performance(by="part", metrics=["accuracy"], worst=5)
        assert [one.accuracy.high for one in worst.values()] == sorted(one.accuracy.high for one in found.values())[:5]
        assert (worst.left_out, worst.looks, worst.surely_worse()) == (35, 40, [])


def test_behind_a_prune_what_is_kept_answers_and_the_rest_names_the_segment(monitor, log):
    expected = accuracies(log, "constructor")
    monitor.prune(PRUNED)
    found = monitor.performance(by="constructor", metrics=["accuracy"])
    assert {value: one.accuracy.value for value, one in found.items() if one.accuracy.n} == {
        value: pytest.approx(mean, rel=1e-12) for value, mean in expected["mean"].items()
    }
    for by, said in ((SEGMENTS, "constructor with grand_prix"), ("metadata.constructor", r"metadata\.constructor")):
        with pytest.raises(PrunedError, match=said) as pruned:
            monitor.performance(by=by, metrics=["accuracy"])
        assert monitor.performance(by=by, metrics=["accuracy"], since=pruned.value.since).whole.total
    with pytest.raises(PrunedError, match="by constructor"):
        monitor.performance(where={"constructor": "ferrari"}, as_of=PRUNED, metrics=["accuracy"])
    first, second = pd.unique(pd.Series([made.model_version for made, _ in log]))[:2]
    with pytest.raises(PrunedError, match="which items two models predicted"):
        monitor.compare(first, second, paired=True, basis="prediction")
