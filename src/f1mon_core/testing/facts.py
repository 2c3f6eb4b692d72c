"""Plain facts for examples: every field has a value unless the law is about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from f1mon_core.records.kinds import Acknowledgement, Alert, Outcome, Prediction

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
"""What the clock of a fresh place shows."""

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def prediction(prediction_id: str = "p", **fields: Any) -> Prediction:
    """A prediction made at noon; `at=None` leaves its time to the store."""
    settled: dict[str, Any] = {
        "model_version": "podium-1",
        "predicted_outcome": 1,
        "confidence": 0.75,
        "at": NOON,
        **fields,
    }
    return Prediction(prediction_id=prediction_id, **settled)


def outcome(prediction_id: str = "p", actual: int | str = 1, known_at: datetime | None = None) -> Outcome:
    """An outcome; without `known_at` the store decides when it was known."""
    return Outcome(prediction_id=prediction_id, actual_outcome=actual, at=known_at)


def alert(alert_id: str = "a", **fields: Any) -> Alert:
    """An alert raised at noon."""
    settled: dict[str, Any] = {
        "severity": "warning",
        "title": "accuracy is low",
        "message": "0.61 < 0.70",
        "metric_name": "accuracy",
        "component": "model",
        "model_version": "podium-1",
        "at": NOON,
        **fields,
    }
    return Alert(alert_id=alert_id, **settled)


def acknowledgement(alert_id: str = "a", by: str = "ada", **fields: Any) -> Acknowledgement:
    """An acknowledgement whose time the store decides."""
    return Acknowledgement(alert_id=alert_id, by=by, **fields)
