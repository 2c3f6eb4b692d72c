"""Rules on what other libraries found and on kept analyses: drift, importances, degradation."""

from datetime import timedelta

import pytest

from f1mon_core.monitor import Monitor

from .. import factories

HOUR = timedelta(hours=1)
BACKENDS = {"memory": None, "jsonl": None, "sqlite": "sqlalchemy"}


@pytest.fixture(params=BACKENDS)
def monitor(request, tmp_path, clock):
    if (library := BACKENDS[request.param]) is not None:
        pytest.importorskip(library, reason="the backend's extra is not installed")
    address = {
        "memory": "memory://",
        "jsonl": f"jsonl://{tmp_path}/journal",
        "sqlite": f"sqlite:///{tmp_path}/f1mon.db",
    }
    with Monitor.open(address[request.param], clock=clock) as opened:
        yield opened


def rule(metric_name, **changes):
    fields = {"rule_id": metric_name, "metric_name": metric_name, "threshold": 0, "comparison": ">"}
    return factories.rule(**{**fields, "component": "drift", "cooldown_minutes": 0, **changes})


def values(monitor, **asked):
    return {(one.metric_name, one.model_version): one.metric_value for one in monitor.evaluate(**asked)}


def test_drifted_features_are_those_whose_newest_results_found_drift(monitor, clock):
    monitor.add_rule(rule("drifted_features"))
    assert monitor.evaluate("m") == []
    for feature, verdicts in {"grid": (False, True), "form": (True, True), "age": (True, False)}.items():
        for number, detected in enumerate(verdicts):
            at = clock.now + timedelta(minutes=number)
            monitor.record_drift({"feature": feature, "detected": detected}, "m", at=at)
    clock.forward(2)
    (alert,) = monitor.evaluate("m")
    assert (alert.metric_value, alert.context["n"]) == (2.0, 3)
    clock.forward(59)  # the older ones have left the window
    assert values(monitor, model_version="m", last=HOUR) == {("drifted_features", "m"): 2.0}
    clock.forward(10)
    assert monitor.evaluate("m") == []


def test_of_several_tests_at_once_one_that_found_drift_is_enough(monitor, clock):
    monitor.add_rule(rule("drifted_features"))
    for detected in (True, False, True, False):
        monitor.record_drift({"feature": "grid", "detected": detected, "method": str(detected)}, "m", at=clock.now)
        assert values(monitor, model_version="m") == {("drifted_features", "m"): 1.0}


def test_all_models_together_count_pairs_and_each_instance_its_own(monitor):
    monitor.add_rule(rule("drifted_features"))
    monitor.add_rule(rule("drifted_features", rule_id="each", scope="instance"))
    for model, features in {"a": ("grid", "form"), "b": ("grid",), "c": ()}.items():
        for feature in ("grid", "form"):
            monitor.record_drift({"feature": feature, "detected": feature in features}, model)
    assert [(one.rule_id, one.model_version, one.metric_value) for one in monitor.evaluate()] == [
        ("drifted_features", "all", 3.0),
        ("each", "a", 2.0),
        ("each", "b", 1.0),
    ]
    assert [one.context["n"] for one in monitor.alerts(rule_id="drifted_features")] == [6]


def test_many_results_are_read_in_pages(monitor, clock):
    monitor.add_rule(rule("drifted_features"))
    monitor.record_drift({"feature": "rare", "detected": True}, "m", at=clock.now - timedelta(minutes=50))
    report = {
        "metrics": [
            {"id": str(i), "metric_name": "ValueDrift()", "value": i, "config": {"column": str(i), "method": "psi"}}
            for i in range(1_200)
        ]
    }
    monitor.record_drift(report, "m", threshold=600)
    assert values(monitor, model_version="m") == {("drifted_features", "m"): 601.0}


def test_a_score_is_that_of_the_newest_result_that_has_one(monitor, clock):
    monitor.add_rule(rule("drift_statistic:grid", threshold=0.1))
    monitor.add_rule(rule("drift_p_value:grid", threshold=0.05, comparison="<"))
    monitor.record_drift(0.9, "m", "grid", threshold=0.1)
    monitor.record_drift(0.9, "m", "other", threshold=0.1)
    clock.forward(1)
    monitor.record_drift({"feature": "grid", "p_value": 0.01}, "m", threshold=0.05)
    assert values(monitor, model_version="m") == {("drift_statistic:grid", "m"): 0.9, ("drift_p_value:grid", "m"): 0.01}
    clock.forward(1)
    monitor.record_drift(0.05, "m", "grid", threshold=0.1)
    assert values(monitor, model_version="m") == {("drift_p_value:grid", "m"): 0.01}


def test_importances_and_degradations_are_those_of_the_newest(monitor, clock):
    monitor.add_rule(rule("feature_importance:grid:1", threshold=0.2, comparison="<"))
    monitor.add_rule(rule("degradation:accuracy", comparison=">="))
    for importance in (0.5, 0.1):
        monitor.record_importances("m", {"grid:1": importance, "form": 0.9})
        clock.forward(1)
    for model, right in {"m": 0, "n": 20}.items():
        for number in range(40):
            name, at = f"{model}-{number}", clock.now - timedelta(minutes=80 if number < 20 else 20)
            monitor.record_prediction(name, model, 1, 0.9, at=at)
            monitor.record_outcome(name, int(number < 20 + right), known_at=at)
        assert monitor.analyze_degradation(model, last=HOUR).degraded is (model == "m")
        clock.forward(1)
    assert values(monitor, model_version="m") == {
        ("feature_importance:grid:1", "m"): 0.1,
        ("degradation:accuracy", "m"): 1.0,
    }
    assert values(monitor, model_version="n") == {("degradation:accuracy", "n"): 0.0}
    assert values(monitor)["degradation:accuracy", "all"] == 0.0  # the newest one is that of n


@pytest.mark.parametrize(
    "name",
    ["drifted_features", "drift_statistic:a", "drift_p_value:a", "feature_importance:a", "degradation:recall", "cost"],
)
def test_nothing_stored_in_the_window_is_no_data_with_the_reason(monitor, clock, name):
    monitor.add_rule(rule(name, on_no_data="fire"))
    monitor.record_drift({"feature": "a", "detected": True, "statistic": 1, "p_value": 0.1}, "another")
    monitor.record_importances("another", {"a": 1.0})
    monitor.record_metric("another", "cost", 5)
    (alert,) = monitor.evaluate("m")
    assert alert.metric_value is None
    assert "is stored in the window" in alert.message


def test_each_model_with_a_kept_value_has_an_instance(monitor):
    monitor.add_rule(rule("cost", scope="instance"))
    for model in ("a", "b"):
        monitor.record_metric(model, "cost", 5)
    monitor.record_metric("c", "profit", 5)
    assert values(monitor) == {("cost", "a"): 5.0, ("cost", "b"): 5.0}
