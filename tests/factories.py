"""Records with a value in every field that must have one; a test names those that it is about."""

from f1mon_core import AlertRule, Outcome, Prediction


def prediction(**changes):
    """A prediction of class 1 by the model `m`, which leaves its time to the store."""
    fields = {"prediction_id": "a", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}
    return Prediction(**{**fields, **changes})


def outcome(**changes):
    """That class 1 came true, known when the store says."""
    return Outcome(**{"prediction_id": "a", "actual_outcome": 1, **changes})


def rule(**changes):
    """A rule that warns of an accuracy below 0.8."""
    fields = {
        "rule_id": "accuracy-low",
        "metric_name": "accuracy",
        "metric_type": "threshold",
        "threshold": 0.8,
        "comparison": "<",
        "severity": "warning",
        "component": "performance",
        "scope": "rule",
    }
    return AlertRule(**{**fields, **changes})


def raised(**changes):
    """What `create_alert` takes: an alert that nobody's rule raised."""
    fields = {
        "severity": "warning",
        "title": "t",
        "message": "m",
        "metric_name": "accuracy",
        "metric_value": 0.5,
        "threshold": 0.8,
        "component": "c",
        "model_version": "m",
    }
    return {**fields, **changes}
