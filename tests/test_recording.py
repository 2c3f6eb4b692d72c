"""What is taken for an outcome or a prediction, and what is refused."""

from datetime import UTC, datetime

import pytest

from f1mon_core.errors import InvalidRecordError
from f1mon_core.monitor import Monitor

from .factories import outcome

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def monitor():
    with Monitor.open("memory", clock=lambda: NOON) as opened:
        yield opened


@pytest.mark.parametrize(
    "given",
    [
        ("p", 1),
        ("p", 1, NOON),
        ["p", 1, None],
        {"prediction_id": "p", "actual_outcome": 1, "known_at": NOON},
        {"prediction_id": "p", "actual_outcome": 1, "at": NOON},
        outcome(prediction_id="p"),
    ],
)
def test_an_outcome_is_a_record_a_mapping_or_two_or_three_values(monitor, given):
    assert monitor.record_outcomes([given]).new == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (("p", 1, NOON, 5), "outcome"),
        (("p",), "outcome"),
        ((), "outcome"),
        ("p1", "outcome"),
        (5, "outcome"),
        (None, "outcome"),
        ({"prediction_id": "p", "actual_outcome": 1, "colour": "red"}, "colour"),
        ({"prediction_id": "p", "actual_outcome": 1, "at": NOON, "known_at": NOON}, "at"),
        ({"prediction_id": "p"}, "actual_outcome"),
    ],
)
def test_what_is_no_outcome_is_refused_and_nothing_kept(monitor, given, field):
    with pytest.raises(InvalidRecordError) as refused:
        monitor.record_outcomes([("fine", 1), given])
    assert refused.value.field == field
    assert monitor.storage.check().facts.get("outcome", 0) == 0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"prediction_id": "p", "model_version": "m", "predicted_outcome": 1}, "confidence"),
        (
            {"prediction_id": "p", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5, "colour": "red"},
            "colour",
        ),
        (5, "prediction"),
    ],
)
def test_what_is_no_prediction_is_refused(monitor, given, field):
    with pytest.raises(InvalidRecordError) as refused:
        monitor.record_predictions([given])
    assert refused.value.field == field
    assert monitor.predictions() == []
