"""What is listed, joined and doubted is the same on every backend."""

from datetime import timedelta

from .conftest import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_labelled_outcomes_and_doubts_are_those_of_any_store(monitor):
    monitor.record_predictions(
        {"prediction_id": f"p{number}", "model_version": model, "predicted_outcome": number % 2,
         "confidence": confidence, "features": {"x": float("nan"), "n": number},
         "at": NOW - 3 * DAY + number * HOUR}
        for model, confidence in (("a", 0.25), ("b", 0.75))
        for number in range(4)
    )  # fmt: skip
    monitor.record_outcomes(
        [
            ("p0", 1, NOW - 2 * DAY),
            ("p0", 0, NOW - DAY),
            ("p1", 1, NOW - 5 * DAY),
            ("p2", "0", NOW - DAY),
            ("P3", 1, NOW - 3 * DAY),
            ("p3", 1, NOW + 2 * DAY),
        ]
    )
    joined = [
        (one.prediction.prediction_id, one.prediction.model_version, one.actual_outcome) for one in monitor.labelled()
    ]
    current = {"p0": 0, "p1": 1, "p2": "0", "p3": 1}
    assert joined == [(item, model, actual) for item, actual in current.items() for model in "ab"]
    assert [one.correct for one in monitor.labelled("a")] == [True, True, False, True]
    assert [one.prediction_id for one in monitor.outcomes(descending=True, limit=2)] == ["p3", "p2"]
    assert monitor.prediction("p0").features == {"x": None, "n": 0}
    assert [(one.about, one.where, one.count, one.of) for one in monitor.data_doubts()] == [
        ("label_types", "model a", 4, 4),
        ("early_outcomes", "model a", 1, 4),
        ("prelabelled", "model a", 1, 4),
        ("label_types", "model b", 4, 4),
        ("early_outcomes", "model b", 1, 4),
        ("prelabelled", "model b", 1, 4),
        ("future", "outcomes", 1, 6),
        ("unmatched", "outcomes", 1, 6),
        ("late_recording", "outcomes", 3, 6),
    ]
