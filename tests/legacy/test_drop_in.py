"""The drop-in classes: every method with the signature and return shape of the old system, and true numbers."""

import dataclasses
import gc
import inspect
import logging
import math
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from f1mon_core import ConflictError, InvalidRecordError, legacy
from f1mon_core.legacy import AlertingSystem, AlertRule, DatabaseManager, ModelHealthSnapshot, ModelPerformanceTracker
from f1mon_core.storage.select import Select

RULE = AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "performance")


@pytest.fixture
def tracker(deployment):
    with ModelPerformanceTracker(deployment.data_dir) as made:
        yield made


@pytest.fixture
def alerting(deployment):
    with AlertingSystem(deployment.data_dir) as made:
        yield made


SIGNATURES = {
    ModelPerformanceTracker: {
        "__init__": ("data_dir='data/monitoring'",),
        "record_prediction": (
            "prediction_id",
            "model_version",
            "predicted_outcome",
            "confidence",
            "features",
            "metadata=None",
        ),
        "record_actual_outcome": ("prediction_id", "actual_outcome"),
        "get_performance_metrics": ("model_version=None", "window_minutes=60"),
        "calculate_accuracy": ("model_version=None", "window_minutes=60"),
        "calculate_calibration_metrics": ("model_version=None", "n_bins=10"),
        "record_health_snapshot": ("snapshot",),
        "get_recent_health_snapshots": ("model_version=None", "limit=100"),
        "get_performance_trend": ("model_version=None", "hours=24"),
    },
    AlertingSystem: {
        "__init__": ("data_dir='data/monitoring'", "channel_config=None"),
        "create_alert": (
            "severity",
            "title",
            "message",
            "metric_name",
            "metric_value",
            "threshold",
            "component",
            "model_version",
        ),
        "evaluate_rule": ("rule", "metric_value", "model_version"),
        "add_rule": ("rule",),
        "get_alerts": ("limit=100", "severity=None"),
        "acknowledge_alert": ("alert_id", "acknowledged_by=None"),
        "get_alert_statistics": (),
        "register_callback": ("channel", "callback"),
    },
    DatabaseManager: {
        "initialize": ("config=None",),
        "create_all_tables": (),
        "is_enabled": (),
        "health_check": (),
    },
}

FIELDS = {
    "PredictionRecord": "timestamp model_version prediction_id predicted_outcome confidence features metadata=",
    "PerformanceMetric": "timestamp metric_name value window_size threshold=None status='normal'",
    "ModelHealthSnapshot": (
        "timestamp model_version accuracy precision recall f1_score roc_auc expected_calibration_error"
        " num_predictions prediction_accuracy_trend degradation_detected=False"
    ),
    "Alert": (
        "timestamp alert_id severity title message metric_name metric_value threshold component model_version"
        " acknowledged=False acknowledged_at=None acknowledged_by=None"
    ),
    "AlertRule": (
        "rule_id metric_name metric_type threshold comparison severity component enabled=True cooldown_minutes=60"
        " channels= conditions="
    ),
}


@pytest.mark.parametrize(("owner", "methods"), SIGNATURES.items())
def test_every_method_is_called_as_it_was(owner, methods):
    for name, expected in methods.items():
        parameters = [one for one in inspect.signature(getattr(owner, name)).parameters.values() if one.name != "self"]
        shown = tuple(one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in parameters)
        assert shown == expected, name


@pytest.mark.parametrize(("name", "expected"), FIELDS.items())
def test_every_dataclass_has_its_fields_in_their_order_with_their_defaults(name, expected):
    record = getattr(legacy, name)
    shown = [
        f"{one.name}="
        if one.default_factory is not dataclasses.MISSING
        else one.name
        if one.default is dataclasses.MISSING
        else f"{one.name}={one.default!r}"
        for one in dataclasses.fields(record)
    ]
    assert " ".join(shown) == expected
    assert not record.__dataclass_params__.frozen


def test_dataclasses_are_mutable_and_go_to_dicts():
    rule = AlertRule("r", "accuracy", "threshold", 0.8, "<", "warning", "performance")
    rule.threshold = 0.7
    assert rule.to_dict() == {
        "rule_id": "r",
        "metric_name": "accuracy",
        "metric_type": "threshold",
        "threshold": 0.7,
        "comparison": "<",
        "severity": "warning",
        "component": "performance",
        "enabled": True,
        "cooldown_minutes": 60,
        "channels": ["console"],
        "conditions": {},
    }


# Predictions --------------------------------------------------------------------------------------------------------


def test_accuracy_is_none_while_nothing_is_labelled_whatever_the_confidences(tracker):
    for number in range(20):
        tracker.record_prediction(f"p{number}", "m", 1, 0.99, {})
    assert tracker.calculate_accuracy() is None
    assert tracker.calculate_accuracy("m", window_minutes=10**9) is None
    assert tracker.calculate_calibration_metrics()["expected_calibration_error"] is None


def test_an_outcome_is_stored_answered_and_counted(tracker):
    before = time.time()
    tracker.record_prediction("p1", "m", 1, 0.9, {"x": 1}, {"y": 2})
    tracker.record_prediction("p2", "m", 0, 0.7, {})
    right, wrong = tracker.record_actual_outcome("p1", 1), tracker.record_actual_outcome("p2", 1)
    assert before - 1 < right.pop("timestamp") < time.time() + 1
    assert right == {
        "prediction_id": "p1",
        "model_version": "m",
        "predicted": 1,
        "actual": 1,
        "correct": True,
        "confidence": 0.9,
        "calibration_error": pytest.approx(0.1),
    }
    assert (wrong["correct"], wrong["calibration_error"]) == (False, 0.7)
    assert tracker.calculate_accuracy() == 0.5
    assert tracker.calculate_accuracy("other") is None
    tracker.record_actual_outcome("p2", 0)  # a correction
    assert tracker.calculate_accuracy() == 1.0


def test_an_outcome_of_an_unknown_id_is_none_and_stores_nothing(tracker):
    assert tracker.record_actual_outcome("nothing", 1) is None
    assert tracker.monitor.storage.check().facts.get("outcome", 0) == 0


def test_a_prediction_is_stored_once_and_a_different_one_under_its_id_is_refused(tracker):
    tracker.record_prediction("p", "m", 1, 0.9, {})
    tracker.record_prediction("p", "m", 1, 0.9, {})
    with pytest.raises(ConflictError):
        tracker.record_prediction("p", "m", 1, 0.8, {})
    assert tracker.get_performance_metrics()["num_predictions"] == 1


def test_what_the_old_system_took_is_taken(tracker):
    tracker.record_prediction(
        "p", "m", np.bool_(True), np.float64(0.5), {"a": math.nan, 3: np.int64(1)}, {"b": [math.inf]}
    )
    (made,) = tracker.monitor.predictions()
    assert (made.predicted_outcome, made.features) == (1, {"a": None, "3": 1})
    assert made.metadata == {"b": [None], "f1mon_adoption": {"nulled": ["features.a", "metadata.b[0]"]}}
    assert tracker.record_actual_outcome("p", True)["actual"] == 1
    with pytest.raises(InvalidRecordError, match="confidence"):
        tracker.record_prediction("q", "m", 1, 1.5, {})


@pytest.mark.parametrize("value", ["1", b"1", "\u0663", "abc", None, 0.5, float("nan"), [], 2**63])
def test_an_outcome_that_is_no_label_is_refused_and_nothing_is_stored(tracker, value):
    tracker.record_prediction("p", "m", 1, 0.5, {})
    with pytest.raises(InvalidRecordError, match="actual_outcome"):
        tracker.record_actual_outcome("p", value)
    assert tracker.monitor.storage.count(Select("outcome")) == {}


@pytest.mark.parametrize("value", [1, True, 1.0, np.int64(1), np.float64(1.0), np.bool_(1)])
def test_an_outcome_is_a_whole_number_of_any_library(tracker, value):
    tracker.record_prediction("p", "m", 1, 0.5, {})
    actual = tracker.record_actual_outcome("p", value)["actual"]
    assert (actual, type(actual)) == (1, int)


def test_confidences_are_described_and_an_empty_window_is_an_empty_dict(tracker):
    assert tracker.get_performance_metrics() == {}
    assert tracker.calculate_calibration_metrics() == {}
    tracker.record_prediction("p1", "m", 1, 0.9, {})
    assert tracker.get_performance_metrics("m", 5) == {
        "num_predictions": 1,
        "avg_confidence": 0.9,
        "min_confidence": 0.9,
        "max_confidence": 0.9,
        "confidence_std": 0.0,
    }
    tracker.record_prediction("p2", "m", 1, 0.7, {})
    assert tracker.get_performance_metrics()["confidence_std"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert tracker.get_performance_metrics(window_minutes=0) == {}


def test_calibration_has_its_bins(tracker):
    for number, (confidence, actual) in enumerate([(1.0, 1), (0.95, 0), (0.62, 1)]):
        tracker.record_prediction(f"p{number}", "m", 1, confidence, {})
        tracker.record_actual_outcome(f"p{number}", actual)
    measured = tracker.calculate_calibration_metrics(n_bins=5)
    assert (measured["num_bins"], measured["total_predictions"]) == (5, 3)
    assert measured["expected_calibration_error"] == pytest.approx((2 * abs(0.5 - 0.975) + abs(1 - 0.62)) / 3)
    assert measured["bin_metrics"] == [
        {"bin": 3, "bin_range": "[0.60, 0.80)", "count": 1, "mean_confidence": pytest.approx(0.62), "accuracy": 1.0},
        {"bin": 4, "bin_range": "[0.80, 1.00]", "count": 2, "mean_confidence": pytest.approx(0.975), "accuracy": 0.5},
    ]


def a_snapshot(**changed) -> ModelHealthSnapshot:
    values = {
        "timestamp": 1_700_000_000.25,
        "model_version": "m",
        "accuracy": 0.9,
        "precision": 0.8,
        "recall": 0.7,
        "f1_score": 0.6,
        "roc_auc": None,
        "expected_calibration_error": 0.05,
        "num_predictions": 12,
        "prediction_accuracy_trend": -1.5,
    }
    return ModelHealthSnapshot(**values | changed)


def test_snapshots_come_back_newest_first_and_as_a_frame_oldest_first(tracker):
    now = time.time()
    snapshots = [a_snapshot(), a_snapshot(timestamp=round(now - 60, 3)), a_snapshot(timestamp=round(now, 3))]
    for one in snapshots:
        tracker.record_health_snapshot(one)
    tracker.record_health_snapshot(a_snapshot(model_version="n", degradation_detected=True))
    assert tracker.get_recent_health_snapshots("m") == snapshots[::-1]
    assert tracker.get_recent_health_snapshots(limit=1) == snapshots[-1:]
    frame = tracker.get_performance_trend("m", hours=1)
    assert list(frame["timestamp"]) == [one.timestamp for one in snapshots[1:]]
    assert list(frame.columns) == [*snapshots[0].to_dict(), "datetime"]
    assert frame["datetime"].is_monotonic_increasing
    assert tracker.get_performance_trend("nothing").empty


def test_what_a_snapshot_does_not_know_is_null_in_the_frame_and_never_nan(tracker):
    tracker.record_prediction("a", "m", 1, 0.9, {})
    tracker.monitor.capture_health("m")
    tracker.record_actual_outcome("a", 1)
    tracker.monitor.capture_health("m")
    frame = tracker.get_performance_trend("m")
    for name in ("accuracy", "precision", "recall", "f1_score", "expected_calibration_error"):
        unknown, known = frame[name]
        assert unknown is pd.NA, name
        assert known is not pd.NA
    assert all(one is pd.NA for name in ("roc_auc", "prediction_accuracy_trend") for one in frame[name])
    assert list(frame["num_predictions"]) == [1, 1]


# Alerts -------------------------------------------------------------------------------------------------------------


def test_a_rule_fires_once_a_cooldown_also_for_another_object_and_a_restart(deployment, alerting):
    fired = alerting.evaluate_rule(RULE, 0.5, "m")
    assert (fired.severity, fired.title, fired.message) == (
        "warning",
        "PERFORMANCE: accuracy Alert",
        "accuracy is 0.5000 (< 0.8000)",
    )
    assert abs(fired.timestamp - time.time()) < 60
    assert alerting.evaluate_rule(RULE, 0.4, "m") is None
    with AlertingSystem(deployment.data_dir) as other:
        assert other.evaluate_rule(RULE, 0.3, "m") is None
        assert other.get_alerts() == [fired]


@pytest.mark.parametrize("value", [0.9, math.nan, math.inf, None])
def test_a_good_value_and_no_value_fire_nothing(alerting, value):
    assert alerting.evaluate_rule(RULE, value, "m") is None


def test_a_disabled_rule_and_conditions_that_do_not_hold_fire_nothing(alerting):
    assert alerting.evaluate_rule(dataclasses.replace(RULE, enabled=False), 0.5, "m") is None
    assert alerting.evaluate_rule(dataclasses.replace(RULE, conditions={"min_value": 0.6}), 0.5, "m") is None
    with pytest.raises(InvalidRecordError, match="comparison"):
        alerting.evaluate_rule(dataclasses.replace(RULE, comparison="~"), 0.5, "m")


def test_a_thousand_quick_alerts_are_a_thousand(alerting):
    made = [alerting.create_alert("info", "T", f"{n}", "x", 1.0, 2.0, "drift", "m") for n in range(1_000)]
    assert len({one.alert_id for one in made}) == 1_000
    assert alerting.get_alert_statistics() == {
        "total_alerts": 1_000,
        "unacknowledged": 1_000,
        "by_severity": {"critical": 0, "warning": 0, "info": 1_000},
        "by_component": {"drift": 1_000},
    }
    assert len(alerting.get_alerts()) == 100
    assert len(alerting.get_alerts(limit=None)) == 1_000


def test_alerts_come_newest_first_by_severity_and_the_first_acknowledgement_stands(alerting):
    one = alerting.create_alert("info", "A", "", "x", math.nan, 2.0, "drift", "m")
    two = alerting.create_alert("critical", "B", "", "x", 1.0, 2.0, "drift", "m")
    assert one.metric_value is None
    assert [alert.title for alert in alerting.get_alerts()] == ["B", "A"]
    assert [alert.title for alert in alerting.get_alerts(severity="info")] == ["A"]
    assert alerting.acknowledge_alert(two.alert_id, "me") is True
    assert alerting.acknowledge_alert(two.alert_id, "you") is True
    assert alerting.acknowledge_alert("nothing") is False
    (taken,) = alerting.get_alerts(severity="critical")
    assert (taken.acknowledged, taken.acknowledged_by) == (True, "me")
    assert abs(taken.acknowledged_at - time.time()) < 60
    assert alerting.acknowledge_alert(one.alert_id) is True
    assert alerting.get_alert_statistics()["unacknowledged"] == 0


def test_callbacks_see_the_stored_alert_and_one_that_raises_holds_up_nobody(alerting, caplog):
    seen = []

    def broken(_):
        message = "broken"
        raise RuntimeError(message)

    alerting.register_callback("pager", broken)
    alerting.register_callback("pager", seen.append)
    with caplog.at_level(logging.ERROR, "f1mon"):
        made = alerting.create_alert("info", "A", "", "x", 1.0, 2.0, "drift", "m")
    assert seen == [made]
    assert "a callback of channel 'pager' raised" in caplog.text


def test_an_added_rule_is_stored(alerting):
    alerting.add_rule(RULE)
    alerting.add_rule(dataclasses.replace(RULE, threshold=0.7))
    (stored,) = alerting.monitor.rules()
    assert stored.threshold == 0.7


# The store ----------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_there_for_code_that_never_closes(deployment):
    ModelPerformanceTracker(deployment.data_dir).record_prediction("p", "m", 1, 0.9, {})
    gc.collect()
    with ModelPerformanceTracker(deployment.data_dir) as again:
        assert again.get_performance_metrics()["num_predictions"] == 1


def test_start_up_calls_of_the_old_system_work(deployment):
    DatabaseManager.initialize()
    DatabaseManager.create_all_tables()
    DatabaseManager.create_all_tables()
    assert DatabaseManager.is_enabled() is (deployment.environment["MONITORING_DB_ENABLED"] == "true")


def test_the_health_check_says_whether_the_store_can_be_read(monkeypatch, tmp_path):
    monkeypatch.setenv("F1MON_URL", f"jsonl:///{tmp_path}/store")
    assert DatabaseManager.health_check() is True
    monkeypatch.setenv("F1MON_URL", "nowhere://")
    assert DatabaseManager.health_check() is False
    monkeypatch.delenv("F1MON_URL")
    monkeypatch.setenv("F1MON_BACKEND", "sql")  # and no address
    assert DatabaseManager.health_check() is False


def test_an_alert_reaches_the_channels_of_its_rule_at_once(deployment):
    told = []
    config = {"pager": told.append}
    with AlertingSystem(deployment.data_dir, channel_config=config) as alerting:
        fired = alerting.evaluate_rule(dataclasses.replace(RULE, channels=["file", "pager"]), 0.5, "m")
    assert [one.alert_id for one in told] == [fired.alert_id]
    (line,) = (deployment.data_dir / "alert_log.txt").read_text().splitlines()
    assert fired.alert_id in line


def test_the_old_systems_channel_configuration_is_understood(tmp_path):
    email = SimpleNamespace(
        enabled=True,
        smtp_server="localhost",
        smtp_port=2525,
        sender_email="from@example.com",
        sender_password="secret",
        recipients=["to@example.com"],
    )
    given = SimpleNamespace(email=email, slack=SimpleNamespace(enabled=False))
    with AlertingSystem(tmp_path, channel_config=given) as alerting:
        channels = alerting.monitor.channels
        assert channels.problems(["email"]) == {}
        assert "nothing is configured" in channels.problems(["slack"])["slack"]
        assert "secret" not in repr(channels)


def test_the_drop_in_starts_where_nothing_can_be_set_aside(deployment, monkeypatch):
    deployment.data_dir.mkdir(parents=True)
    (deployment.data_dir / "predictions.jsonl").write_bytes(b"{\n")
    monkeypatch.setattr("f1mon_core.legacy.adoption.secrets.token_hex", lambda _: "no/such/directory")
    with ModelPerformanceTracker(deployment.data_dir) as tracker:
        assert "could not be set aside" in tracker.adopted.not_kept
