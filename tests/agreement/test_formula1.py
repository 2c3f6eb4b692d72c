"""The Formula 1 log: scikit-learn's numbers per model and season, and every backend's cells alike."""

from datetime import timedelta

import pytest

from f1mon_core.storage.tally import TallyQuery

from ..oracle import assert_equal, expected_metrics

pytestmark = pytest.mark.seasons

DAY = timedelta(days=1)


def rows_of(race_log, model, since=None, until=None):
    """`(predicted, confidence, actual)` of a window, from the files alone."""
    actual = {prediction_id: outcome for prediction_id, outcome, _ in race_log.outcomes}
    return [
        (one.predicted_outcome, one.confidence, actual.get(one.prediction_id))
        for one in race_log.predictions
        if one.model_version == model and (since is None or since <= one.at < until)
    ]


def test_every_metric_is_scikit_learns_per_model_and_season(race_log, log_monitor):
    measured = 0
    for model in race_log.models():
        assert_equal(log_monitor.performance(model), expected_metrics(rows_of(race_log, model)))
        for since, until in race_log.seasons():
            expected = expected_metrics(rows_of(race_log, model, since, until), n_bins=15)
            assert_equal(log_monitor.performance(model, since=since, until=until, n_bins=15), expected)
            measured += 1
    assert measured >= 20


def queries(race_log):
    """Questions of every shape about the log."""
    since, until = race_log.seasons()[3]
    model = race_log.models()[0]
    middle = since + 200 * DAY
    return {
        "everything": TallyQuery(),
        "one model": TallyQuery(model_version=model),
        "a season": TallyQuery(since=since, until=until),
        "seven bins": TallyQuery(bins=7, since=since),
        "a thousand bins": TallyQuery(bins=1000),
        "exact": TallyQuery(bins="exact", model_version=model),
        "by week": TallyQuery(bucket=7 * DAY, bins=1),
        "by outcome": TallyQuery(basis="outcome", since=since, until=middle),
        "by outcome and day": TallyQuery(basis="outcome", bucket=DAY, since=since, until=until),
        "as of": TallyQuery(as_of=middle),
        "as recorded": TallyQuery(as_recorded=middle),
        "delays": TallyQuery(delay=timedelta(minutes=30), bins=1, since=since),
        "nobody": TallyQuery(model_version="nobody"),
    }


def assert_same_cells(found, expected):
    """Counts, minima and maxima identical cell for cell; sums to 1e-12."""
    assert found.bins == expected.bins
    assert {key: moments[:3] for key, moments in found.cells.items()} == {
        key: moments[:3] for key, moments in expected.cells.items()
    }
    for key, moments in expected.cells.items():
        assert found.cells[key][3:] == pytest.approx(moments[3:], rel=1e-12, abs=1e-12), key


def test_the_cells_are_the_memory_stores_one_by_one(race_log, log_monitor, memory_monitor):
    for name, query in queries(race_log).items():
        expected = memory_monitor.storage.tally(query)
        assert bool(expected.cells) is (name not in ("nobody", "as recorded")), name
        assert_same_cells(log_monitor.storage.tally(query), expected)
