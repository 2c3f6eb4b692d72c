"""Metrics that are too dear for a large window: left out, said so, bounded, and computed by name."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f1mon_core import Monitor
from f1mon_core.metrics import performance as performances
from f1mon_core.metrics.bounds import Scored, roc_auc_bounds, scored
from f1mon_core.metrics.health import snapshot_metric
from f1mon_core.metrics.measurement import METRIC_NAMES, Measurement
from f1mon_core.metrics.metric import Metric
from f1mon_core.storage.tally import CellKey, Tally, bin_of, levelled, merge_cells, midpoint, moments_of

from ..factories import rule

MONDAY = datetime(2026, 5, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEAR = ("log_loss", "roc_auc")


def fill(monitor, number, *, model="m"):
    chance = random.Random(number)
    made, outcomes = [], []
    for one in range(number):
        confidence = round(chance.uniform(0.5, 1.0), 6)
        predicted = chance.randrange(2)
        item = {"prediction_id": f"{model}-{one}", "model_version": model, "predicted_outcome": predicted}
        made.append({**item, "confidence": confidence, "at": MONDAY + one * HOUR / 10, "segments": {"half": one % 2}})
        outcomes.append((f"{model}-{one}", predicted if chance.random() < confidence else 1 - predicted))
    monitor.record_predictions(made)
    monitor.record_outcomes(outcomes)


@pytest.fixture
def monitor(monkeypatch):
    """Fifty predictions, of which forty are a small window."""
    monkeypatch.setattr(performances, "SMALL_WINDOW", 40)
    with Monitor.open("memory", clock=lambda: MONDAY + 1_000 * HOUR) as monitor:
        fill(monitor, 50)
        yield monitor


class Counting:
    """A monitor's store that says which bins were asked for."""

    def __init__(self, monitor, monkeypatch):
        self.bins = []
        inner = monitor.storage.tally

        def tally(query):
            self.bins.append(query.bins)
            return inner(query)

        monkeypatch.setattr(monitor.storage, "tally", tally, raising=False)


def test_the_limit_is_what_the_manual_says():
    assert performances.SMALL_WINDOW == 10_000


def test_a_large_window_leaves_them_out_and_says_how_to_ask(monitor):
    measured = monitor.performance("m")
    assert set(measured.left_out) == set(DEAR)
    assert list(measured.metrics) == list(METRIC_NAMES)
    for name in DEAR:
        assert measured[name].value is None
        assert f'metrics=["{name}"]' in measured[name].reason
        assert f'metrics=["{name}"]' in str(measured)
    assert measured.to_dict()["left_out"] == list(measured.left_out)
    assert measured.accuracy.value is not None


@pytest.mark.parametrize("name", DEAR)
def test_by_name_they_are_computed_in_a_window_of_any_size(monitor, name):
    asked = monitor.performance("m", metrics=[name])
    assert asked[name].value is not None
    assert asked.left_out == ()


def test_a_small_window_has_them_unasked_and_equal_to_those_asked_for(monitor):
    window = {"until": MONDAY + 4 * HOUR}
    small = monitor.performance("m", **window)
    assert (small.total, small.left_out) == (40, ())
    assert dict(small.metrics) == dict(monitor.performance("m", metrics=METRIC_NAMES, **window).metrics)


def test_a_large_window_is_asked_once_and_in_bins(monitor, monkeypatch):
    counting = Counting(monitor, monkeypatch)
    monitor.performance("m")
    monitor.trend("m", every="hour")
    monitor.capture_health("m", since=MONDAY, until=MONDAY + 5 * HOUR)
    assert set(counting.bins) == {10}


def test_trend_compare_slices_and_snapshots_leave_them_out_too(monitor):
    fill(monitor, 50, model="n")
    for one in monitor.trend("m", every="hour"):
        assert set(one.left_out) == set(DEAR)
    compared = monitor.compare("m", "n")
    assert "left out" in compared["roc_auc"].reason
    assert compared["accuracy"].value is not None
    slices = monitor.performance("m", by="half")
    assert set(slices.whole.left_out) == set(DEAR)
    assert all(set(one.left_out) == set(DEAR) for one in slices.values())
    kept = monitor.capture_health("m", since=MONDAY, until=MONDAY + 5 * HOUR)
    assert "left out" in snapshot_metric(kept, "roc_auc").reason


def test_the_worst_slices_by_one_of_them_are_found_by_it(monitor):
    worst = monitor.performance("m", by="half", worst=1, worst_by="roc_auc")
    assert all(one["roc_auc"].value is not None for one in worst.values())


def test_an_empty_bucket_says_that_it_is_empty(monitor):
    empty = monitor.trend("m", every="hour", since=MONDAY, until=MONDAY + 7 * HOUR)[-1]
    assert (empty.total, empty["roc_auc"].reason, empty.left_out) == (0, "no predictions", ())


def test_a_path_into_metadata_reads_once(monitor, monkeypatch):
    asked = []
    inner = monitor.storage.find
    monkeypatch.setattr(monitor.storage, "find", lambda select: asked.append(select) or inner(select), raising=False)
    measured = monitor.performance("m", where={"metadata.site": None})
    assert measured["roc_auc"].value is not None
    assert sum(one.kind == "prediction" for one in asked) == 1


def test_a_rule_on_one_of_them_has_its_value(monitor):
    monitor.add_rule(rule(metric_name="roc_auc", threshold=0.999, window_minutes=60_000))
    (alert,) = monitor.evaluate()
    assert alert.metric_value == monitor.performance("m", metrics=["roc_auc"])["roc_auc"].value


def test_label_delay_goes_by_the_day_where_predictions_are_spread_over_more_than_30(monitor):
    assert monitor.label_delay("m").unit == HOUR
    monitor.record_prediction("later", "m", 1, 0.9, at=MONDAY + 721 * HOUR)
    assert monitor.label_delay("m").unit == 24 * HOUR
    assert monitor.label_delay("m", last=700 * HOUR).unit == HOUR
    assert monitor.label_delay("m", unit=HOUR).unit == HOUR


# The bounds -----------------------------------------------------------------------------------------------------------


def tally_of(rows, bins):
    cells = [
        (CellKey("m", predicted, actual, bin_of(c, bins)), moments_of(c, midpoint(bin_of(c, bins), bins)))
        for predicted, c, actual in rows
    ]
    return Tally(bins, levelled(merge_cells(cells)))


rows = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=30).filter(
    lambda some: {actual for _, _, actual in some} == {0, 1}
)


@given(rows, st.sampled_from([1, 2, 10, 100]))
def test_the_truth_lies_between_the_bounds(some, bins):
    truth = Measurement(tally_of(some, "exact")).metric("roc_auc").value
    bounded = Measurement(tally_of(some, bins)).metric("roc_auc")
    assert bounded.at_least <= truth <= bounded.at_most


@given(rows)
def test_cells_of_one_score_leave_nothing_open(some):
    exact = tally_of(some, "exact")
    truth = Measurement(exact).metric("roc_auc").value
    assert roc_auc_bounds(scored(exact, 1)) == pytest.approx((truth, truth))


def test_pairs_of_overlapping_cells_count_nothing_to_one():
    apart = [Scored(0.1, 0.2, 3, 0), Scored(0.3, 0.4, 0, 2)]
    assert roc_auc_bounds(apart) == (1.0, 1.0)
    assert roc_auc_bounds([Scored(0.1, 0.35, 3, 0), Scored(0.3, 0.4, 0, 2)]) == (0.0, 1.0)
    assert roc_auc_bounds([Scored(0.1, 0.3, 1, 0), Scored(0.3, 0.4, 0, 1)]) == (0.5, 1.0)
    assert roc_auc_bounds([Scored(0.3, 0.3, 1, 1)]) == (0.5, 0.5)


def test_bounds_travel_with_the_metric():
    one = Metric("roc_auc", None, 5, 5, 5, reason="left out", at_least=0.25, at_most=0.75)
    assert Metric.from_dict(one.to_dict()) == one
    assert "between 0.2500 and 0.7500" in str(one)
    plain = Metric("roc_auc", 0.5, 5, 5, 5)
    assert "at_least" not in plain.to_dict()
    assert Metric.from_dict(plain.to_dict()) == plain
