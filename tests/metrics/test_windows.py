"""Windows: which predictions a question is about."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import PrunedError
from f1mon_core.monitor import Monitor

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@contextmanager
def six_hours():
    """A prediction an hour, the older ones labelled after two."""
    with Monitor.open("memory", clock=lambda: NOON) as opened:
        for age in range(6):  # one prediction for each of the last six hours, the newest right now
            opened.record_prediction(f"{age}h", "m", 1, 0.5 + age / 100, at=NOON - age * HOUR)
        for age in (5, 4, 3):  # each outcome two hours later
            opened.record_outcome(f"{age}h", age % 2, known_at=NOON - (age - 2) * HOUR)
        yield opened


@pytest.fixture
def monitor():
    with six_hours() as opened:
        yield opened


def counted(monitor, **arguments):
    performance = monitor.performance("m", **arguments)
    return performance.total, performance.labelled


@pytest.mark.parametrize(
    ("arguments", "total", "labelled"),
    [
        ({}, 6, 3),
        ({"since": NOON - 4 * HOUR}, 5, 2),
        ({"until": NOON - 4 * HOUR}, 1, 1),
        ({"since": NOON, "until": NOON}, 0, 0),
        ({"last": HOUR}, 2, 0),
        ({"last": HOUR - timedelta(microseconds=1)}, 1, 0),
        ({"last": HOUR, "until": NOON}, 1, 0),
        ({"last": timedelta(days=100_000)}, 6, 3),
        ({"last": 3 * HOUR, "as_of": NOON - 2 * HOUR}, 4, 2),
        ({"as_of": NOON - 2 * HOUR}, 4, 2),
        ({"basis": "outcome"}, 3, 3),
        ({"basis": "outcome", "since": NOON - 2 * HOUR}, 2, 2),
        ({"basis": "outcome", "until": NOON - 2 * HOUR}, 1, 1),
        ({"basis": "outcome", "last": HOUR}, 1, 1),
        ({"basis": "matured", "horizon": 2 * HOUR}, 4, 3),
        ({"basis": "matured", "horizon": 3 * HOUR, "last": HOUR}, 2, 2),
        ({"basis": "matured", "horizon": 2 * HOUR, "last": HOUR, "until": NOON - 3 * HOUR}, 1, 1),
        ({"basis": "matured", "horizon": 2 * HOUR, "until": NOON - 4 * HOUR}, 1, 1),
        ({"basis": "matured", "horizon": 2 * HOUR, "since": NOON - HOUR}, 0, 0),
        ({"basis": "matured", "horizon": 2 * HOUR, "as_of": NOON - 3 * HOUR}, 1, 1),
        ({"basis": "matured", "horizon": timedelta(days=100_000)}, 0, 0),
    ],
)
def test_a_window_counts(monitor, arguments, total, labelled):
    assert counted(monitor, **arguments) == (total, labelled)


def test_the_window_that_was_measured_is_named(monitor):
    window = monitor.performance("m", basis="matured", horizon=2 * HOUR, last=HOUR).window
    assert (window.since, window.until) == (NOON - 3 * HOUR, NOON - 2 * HOUR + timedelta(microseconds=1))
    assert window.to_dict()["horizon"] == 7200.0


def test_what_was_recorded_later_is_not_known_as_recorded():
    present = [NOON]
    with Monitor.open("memory", clock=lambda: present[0]) as monitor:
        monitor.record_prediction("a", "m", 1, 0.5, at=NOON - HOUR)
        present[0] += HOUR
        monitor.record_outcome("a", 1, known_at=NOON - HOUR)
        assert monitor.performance().labelled == 1
        assert monitor.performance(as_of=NOON).labelled == 1
        assert monitor.performance(as_recorded=NOON).labelled == 0


def test_a_pruned_window_answers_what_its_cells_can(monitor):
    before = monitor.performance("m", n_bins=5)
    monitor.storage.prune(NOON - HOUR)
    after = monitor.performance("m", n_bins=5)
    for name, metric in before.metrics.items():
        if name in ("roc_auc", "log_loss"):
            assert after[name].value is None
            assert after[name].reason.startswith("pruned")
        elif metric.value is not None:
            assert after[name].value == pytest.approx(metric.value, rel=1e-9)
    odd = monitor.performance("m", n_bins=7)
    assert odd.accuracy == before.accuracy
    assert odd["expected_calibration_error"].reason.startswith("pruned")
    assert odd.bins == ()
    with pytest.raises(PrunedError):
        monitor.performance("m", as_of=NOON)
