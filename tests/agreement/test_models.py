"""`Monitor.models` is what a listing of all facts comes to, on every backend."""

from datetime import timedelta

from f1mon_core import ModelSummary

from .conftest import NOW

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
START = NOW - timedelta(days=400)
LATE = timedelta(days=90, microseconds=7)


def fill(monitor):
    """Model "b" is labelled late, "a" in part and with a correction, "c" never."""
    for number in range(30):
        made = START + number * timedelta(days=1, minutes=number, microseconds=number)
        monitor.record_prediction(str(number), "abc"[number % 3], 1, 0.5 + number / 100, at=made)
        if number % 3 == 1:
            monitor.record_outcome(str(number), 1, known_at=made + LATE)
        elif number % 6 == 0:
            monitor.record_outcome(str(number), 0, known_at=made + HOUR)
    monitor.record_outcome("0", 1, known_at=NOW)
    monitor.record_outcome("of no prediction", 1, known_at=NOW)


def at(number):
    return START + number * timedelta(days=1, minutes=number, microseconds=number)


def test_of_nothing_there_are_no_models(monitor):
    assert monitor.models() == []


def test_each_model_with_what_it_did(monitor):
    fill(monitor)
    assert monitor.models() == [
        ModelSummary("a", 10, 5, at(0), at(27), at(24) + HOUR),
        ModelSummary("b", 10, 10, at(1), at(28), at(28) + LATE),
        ModelSummary("c", 10, 0, at(2), at(29), None),
    ]


def test_what_was_pruned_still_counts_and_is_dated_to_the_hour(monitor):
    fill(monitor)
    monitor.record_prediction("old", "gone", 1, 0.5, at=START)
    monitor.record_outcome("old", 1, known_at=START + HOUR)
    monitor.prune(at(9))
    hour = at(0).replace(minute=0, second=0, microsecond=0)
    a, b, c, gone = monitor.models()
    # Pruned predictions of "b" got their outcomes after all of "a" did: when those came can no longer be asked.
    assert a == ModelSummary("a", 10, 5, hour, at(27), None)
    assert (b.predictions, b.labelled, b.last_label) == (10, 10, at(28) + LATE)
    assert (c.predictions, c.labelled, c.last_label) == (10, 0, None)
    assert gone == ModelSummary("gone", 1, 1, hour, hour, None)
    assert gone.to_dict() == {
        "name": "gone",
        "predictions": 1,
        "labelled": 1,
        "first_prediction": hour.isoformat(),
        "last_prediction": hour.isoformat(),
        "last_label": None,
    }
