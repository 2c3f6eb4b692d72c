"""Estimates without labels against scikit-learn's isotonic regression, and scored against the truth."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from f1mon_core.errors import ConflictError, InvalidQueryError, PrunedError
from f1mon_core.metrics.estimate import metric_of, recalibrate
from f1mon_core.monitor import Monitor

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)

points = st.lists(st.tuples(st.integers(0, 1000).map(lambda n: n / 1000), st.booleans()), min_size=1, max_size=80)


@given(points, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_recalibration_is_scikit_learns(rows, asked):
    grouped = {}
    for confidence, correct in rows:
        before = grouped.get(confidence, (0, 0))
        grouped[confidence] = (before[0] + correct, before[1] + 1)
    recalibration = recalibrate((confidence, *counts) for confidence, counts in grouped.items())
    oracle = IsotonicRegression(out_of_bounds="clip").fit(*zip(*rows, strict=True))
    expected = oracle.predict(np.array([*asked, *grouped]))
    assert [recalibration(one) for one in [*asked, *grouped]] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    values = [block.accuracy for block in recalibration.blocks]
    assert values == sorted(set(values))
    assert recalibration.n == len(rows)


def test_no_points_no_recalibration():
    assert recalibrate([]) is None


@contextmanager
def overconfident():
    """Overconfident: right in 0.2 + 0.6 c of the cases. In the second half the confidences are lower."""
    generator = np.random.default_rng(5)
    present = [MONDAY + 20 * DAY]
    with Monitor.open("memory", clock=lambda: present[0]) as opened:
        opened.present = present
        predictions, outcomes = [], []
        for i in range(5_000):
            at = MONDAY + i * DAY / 250
            spread = generator.uniform(0.5, 1.0) if i < 2_500 else generator.uniform(0.5, 0.6)
            confidence = round(float(spread), 3)
            right = generator.uniform() < 0.2 + 0.6 * confidence
            predictions.append(
                {
                    "prediction_id": str(i),
                    "model_version": "m",
                    "predicted_outcome": 1,
                    "confidence": confidence,
                    "at": at,
                }
            )
            outcomes.append((str(i), int(right), at + 2 * DAY))
        opened.record_predictions(predictions)
        opened.outcomes = outcomes
        opened.record_outcomes(one for one in outcomes if one[2] <= present[0])
        yield opened


@pytest.fixture
def monitor():
    with overconfident() as opened:
        yield opened


def test_an_estimate_is_marked_kept_and_scored_once_labels_mature(monitor):
    made = monitor.estimate_accuracy("m", horizon=2 * DAY, last=3 * DAY)
    expected = metric_of(made)
    assert expected.estimate
    assert expected.name == "estimated_accuracy"
    assert "(estimate)" in str(expected)
    assert expected.to_dict()["estimate"] is True
    assert made.calibration["method"] == "isotonic"
    (early,) = monitor.accuracy_estimates("m")
    assert early.estimate == made
    assert (early.truth.value, early.error) == (None, None)
    assert early.truth.reason.startswith("the labels of this window are mature at 2026-05-19")
    assert not early.truth.estimate
    monitor.present[0] += 3 * DAY
    monitor.record_outcomes(monitor.outcomes)
    (late,) = monitor.accuracy_estimates("m")
    assert late.truth.coverage == 1.0
    assert abs(late.error) < 0.05


def test_an_estimate_sees_a_shift_that_the_last_matured_accuracy_cannot(monitor):
    made = monitor.estimate_accuracy("m", horizon=2 * DAY, since=MONDAY + 10 * DAY, until=MONDAY + 16 * DAY)
    stale = monitor.performance("m", since=MONDAY, until=MONDAY + 8 * DAY).accuracy.value
    truth = monitor.performance("m", since=MONDAY + 10 * DAY, until=MONDAY + 16 * DAY).accuracy.value
    assert abs(made.value - truth) < 0.05 < abs(stale - truth)


def test_an_estimate_learns_only_from_what_matured_before_its_window(monitor):
    made = monitor.estimate_accuracy("m", horizon=2 * DAY, since=MONDAY + 5 * DAY, until=MONDAY + 6 * DAY)
    assert made.calibration["n"] == 1_250
    known = monitor.estimate_accuracy("m", horizon=2 * DAY, last=DAY, as_of=MONDAY + 6 * DAY)
    assert known.calibration["n"] == 1_001  # the one made exactly a horizon ago is mature
    assert known.at == MONDAY + 6 * DAY


def test_a_repeat_under_an_id_answers_what_is_stored(monitor):
    asked = {"horizon": 2 * DAY, "last": 3 * DAY, "estimate_id": "monday"}
    first = monitor.estimate_accuracy("m", **asked)
    monitor.present[0] += DAY
    assert monitor.estimate_accuracy("m", **asked) == first
    assert [one.estimate for one in monitor.accuracy_estimates()] == [first]
    for other in ({"model_version": "n"}, {"model_version": "m", "horizon": DAY}):
        with pytest.raises(ConflictError):
            monitor.estimate_accuracy(**{**asked, **other})


def test_labels_that_came_during_the_window_count_if_they_are_known(monitor):
    window = {"since": MONDAY + 5 * DAY, "until": MONDAY + 6 * DAY}
    late = monitor.estimate_accuracy("m", horizon=2 * DAY, **window)
    then = monitor.estimate_accuracy("m", horizon=2 * DAY, as_of=MONDAY + 5 * DAY, **window)
    assert (late.calibration["n"], then.calibration["n"]) == (1_250, 751)


def test_no_estimate_without_ground_says_why(monitor):
    first = monitor.estimate_accuracy("m", horizon=2 * DAY, since=MONDAY, until=MONDAY + DAY)
    assert metric_of(first).reason == "no matured labelled predictions to recalibrate on"
    empty = monitor.estimate_accuracy("nobody", horizon=2 * DAY, last=DAY)
    assert metric_of(empty).reason == "no predictions"
    assert {one.error for one in monitor.accuracy_estimates()} == {None}
    with pytest.raises(InvalidQueryError, match="since or last"):
        monitor.estimate_accuracy("m", horizon=DAY)
    with pytest.raises(InvalidQueryError, match="one model"):
        monitor.estimate_accuracy(None, horizon=DAY, last=DAY)
    with pytest.raises(InvalidQueryError, match="horizon"):
        monitor.estimate_accuracy("m", horizon=timedelta(0), last=DAY)


def test_an_estimate_after_a_prune_learns_from_what_is_left_and_says_since_when(monitor):
    asked = {"horizon": 2 * DAY, "since": MONDAY + 12 * DAY, "until": MONDAY + 16 * DAY}
    whole = monitor.estimate_accuracy("m", **asked)
    assert (whole.calibration["since"], whole.calibration["n"]) == (None, 3_000)
    monitor.storage.prune(MONDAY + 5 * DAY)
    left = monitor.estimate_accuracy("m", **asked)
    assert left.calibration["n"] == 7 * 250
    assert datetime.fromisoformat(left.calibration["since"]) == MONDAY + 5 * DAY
    assert datetime.fromisoformat(left.calibration["until"]) == MONDAY + 12 * DAY
    assert left.value == pytest.approx(whole.value, abs=0.05)
    monitor.storage.prune(MONDAY + 12 * DAY)
    nothing = monitor.estimate_accuracy("m", **asked)
    assert (nothing.value, nothing.calibration["n"], nothing.n) == (None, 0, 1_000)
    assert metric_of(nothing).reason == "no matured labelled predictions to recalibrate on"
    monitor.storage.prune(MONDAY + 13 * DAY)
    with pytest.raises(PrunedError):
        monitor.estimate_accuracy("m", **asked)


def test_an_estimate_of_a_pruned_window_is_listed_without_its_truth(monitor):
    odd = MONDAY + 8 * DAY + timedelta(minutes=1)
    old = monitor.estimate_accuracy("m", horizon=2 * DAY, since=odd, until=odd + DAY)
    new = monitor.estimate_accuracy("m", horizon=2 * DAY, since=MONDAY + 15 * DAY, until=MONDAY + 16 * DAY)
    monitor.storage.prune(MONDAY + 10 * DAY)
    by_id = {one.estimate.estimate_id: one for one in monitor.accuracy_estimates("m")}
    assert by_id[new.estimate_id].truth.coverage == 1.0
    lost = by_id[old.estimate_id]
    assert (lost.expected.value, lost.truth.value, lost.error) == (old.value, None, None)
    assert lost.truth.reason.startswith("pruned: predictions made before 2026-05-07")
