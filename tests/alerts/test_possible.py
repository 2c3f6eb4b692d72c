"""Rules that can never fire are refused where they are made; those that match nothing so far are named."""

import attrs
import pytest

from f1mon_core import AlertRule, ConfigurationError, InvalidRecordError
from f1mon_core.alerts import possible, readings
from f1mon_core.alerts.rule_files import from_document, from_toml, to_document
from f1mon_core.alerts.rules import COMPARISONS
from f1mon_core.metrics.measurement import METRIC_NAMES


def rule(metric_name="accuracy", comparison="<", threshold=0.8, **changes):
    fields = {"metric_type": "threshold", "severity": "warning", "component": "c", "channels": ("spy",)}
    return AlertRule("r", metric_name, threshold=threshold, comparison=comparison, **{**fields, **changes})


IMPOSSIBLE = {
    "gate of a metric without interval": ("gate", {"metric_name": "f1_score", "gate": "interval"}),
    "gate of a calibration": ("gate", {"metric_name": "expected_calibration_error", "gate": "interval"}),
    "gate of drift": ("gate", {"metric_name": "drift_p_value:grid", "gate": "interval"}),
    "gate of outcomes": ("gate", {"metric_name": "x", "metric_type": "no_outcomes", "gate": "interval"}),
    "samples of a statistic": ("min_samples", {"metric_name": "drift_statistic:grid", "min_samples": 5}),
    "coverage of features": ("min_coverage", {"metric_name": "drifted_features", "min_coverage": 0.5}),
    "below nothing": ("threshold", {"threshold": 0}),
    "above all": ("threshold", {"comparison": ">", "threshold": 1}),
    "a percentage": ("threshold", {"metric_name": "expected_calibration_error", "comparison": ">=", "threshold": 5}),
    "fewer than none": ("threshold", {"metric_name": "num_predictions", "comparison": "<=", "threshold": -1}),
    "equal to what it cannot be": ("threshold", {"comparison": "==", "threshold": 1.5}),
    "implausible where it breaches": ("conditions", {"conditions": {"min_value": 0.8}}),
    "of one's own, too": (
        "conditions",
        {"metric_name": "mine", "comparison": ">", "threshold": 9, "conditions": {"max_value": 9}},
    ),
}


@pytest.mark.parametrize(("field", "changes"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_never_fire_is_refused_by_the_name_of_the_field(field, changes):
    with pytest.raises(InvalidRecordError) as refused:
        rule(**changes)
    assert refused.value.field == field
    with possible.trusting():
        stored = rule(**changes)
    assert from_document(to_document(stored)) == stored  # one that is stored already is read
    assert attrs.evolve(stored, enabled=False).enabled is False
    with pytest.raises(InvalidRecordError):
        attrs.evolve(stored, severity="critical")


POSSIBLE = (
    {"gate": "interval", "min_coverage": 0.5, "min_samples": 3},
    {"metric_name": "recall", "gate": "interval"},
    {"metric_name": "mine", "gate": "interval", "min_coverage": 0.5, "min_samples": 3},
    {"metric_name": "drifted_features", "comparison": ">", "threshold": 7, "min_samples": 5},
    {"metric_name": "log_loss", "comparison": ">", "threshold": 5},
    {"threshold": 0, "on_no_data": "fire"},
    {"threshold": 0, "comparison": "<="},
    {"threshold": 1, "comparison": ">="},
    {"conditions": {"min_value": 0.79, "max_value": 0.79}},
    {"threshold": 0, "enabled": False},
)


@pytest.mark.parametrize("changes", POSSIBLE, ids=str)
def test_what_can_fire_is_not(changes):
    assert rule(**changes)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.6)])
def test_never_is_what_no_value_in_the_range_meets(comparison, low, high):
    for threshold in (0.1, 0.2, 0.4, 0.6, 0.7):
        with possible.trusting():
            made = rule("mine", comparison, threshold, conditions={"min_value": low, "max_value": high})
        values = {low, high, (low + high) / 2, min(max(threshold, low), high)}
        assert (possible.never(made) is None) is any(COMPARISONS[comparison](one, threshold) for one in values)


def test_what_is_known_of_a_metric_is_so(monitor):
    for number in range(40):
        monitor.record_prediction(f"p{number}", "a", number % 2, 0.5 + number / 100)
        monitor.record_outcome(f"p{number}", int(number % 3 == 0))
    measured = monitor.performance("a")
    for name in METRIC_NAMES:
        nature, metric = possible.nature_of(rule(name, "!=", 0.3)), measured[name]
        assert nature.low <= metric.value <= nature.high
        assert (metric.low is not None) is nature.interval, name
        assert metric.n is not None
        assert metric.coverage is not None
    assert set(readings._OF_A_SUBJECT) == set(possible._OF_A_SUBJECT)


def test_a_file_is_refused_with_the_path():
    text = '[[rules]]\nrule_id="a"\nmetric_name="f1_score"\nthreshold=0.5\ncomparison="<"\nseverity="info"\n'
    with pytest.raises(ConfigurationError, match=r"gate: must be point: f1_score has no interval.* @ rules.toml\[0\]"):
        from_toml(f'{text}component="c"\ngate="interval"\n')


def test_what_matches_nothing_so_far_is_named_with_what_was_meant(monitor):
    monitor.record_prediction("p", "podium-1", 1, 0.9)
    monitor.record_metric("podium-1", "latency", 0.2)
    monitor.record_drift({"feature": "grid", "p_value": 0.5}, "podium-1", threshold=0.05)
    for rule_id, changes in {
        "typo": {"metric_name": "acuracy"},
        "mine": {"metric_name": "latncy"},
        "feature": {"metric_name": "drift_p_value:gird"},
        "sort": {"metric_name": "drift_pvalue:grid"},
        "model": {"model_version": "podum-1"},
        "gate": {"metric_name": "latency", "gate": "interval"},
        "good": {},
        "also good": {"metric_name": "latency", "model_version": "podium-1"},
        "off": {"metric_name": "acuracy", "enabled": False},
    }.items():
        monitor.add_rule(attrs.evolve(rule(**changes), rule_id=rule_id))
    told = {one.rule_id: (one.field, one.message) for one in monitor.rule_doubts()}
    assert told["typo"] == (
        "metric_name",
        "'acuracy' is neither computed nor recorded so far; did you mean 'accuracy'?",
    )
    assert "did you mean 'latency'?" in told["mine"][1]
    assert "did you mean 'drift_p_value:grid'?" in told["feature"][1]
    assert told["sort"][0] == "metric_name"
    assert told["model"] == ("model_version", "no prediction of 'podum-1' is stored; did you mean 'podium-1'?")
    assert told["gate"][0] == "gate"
    assert set(told) == {"typo", "mine", "feature", "sort", "model", "gate"}


def test_a_value_of_ones_own_is_no_doubt(monitor):
    made = rule("my own", model_version="mine")
    monitor.add_rule(made)
    assert {one.field for one in monitor.rule_doubts()} == {"metric_name", "model_version"}
    monitor.evaluate_rule("r", None, "mine")
    assert len(monitor.rule_doubts()) == 2
    monitor.evaluate_rule("r", 0.9, "mine")
    assert monitor.rule_doubts() == []


def test_a_rule_stored_before_is_named(monitor):
    with possible.trusting():
        monitor.add_rule(rule("f1_score", gate="interval"))
    (doubt,) = monitor.rule_doubts()
    assert (doubt.rule_id, doubt.field) == ("r", "gate")
    assert "it can never fire" in doubt.message


def test_a_standing_says_what_was_seen_and_what_follows(monitor, clock):
    monitor.add_rule(rule(cooldown_minutes=60, scope="instance"))
    (fresh,) = monitor.standings()
    assert (fresh.evaluated, fresh.reason, fresh.model_version) == (None, "never evaluated", None)
    for number in range(20):
        monitor.record_prediction(f"p{number}", "a", 1, 0.9, at=clock.now)
        monitor.record_outcome(f"p{number}", number % 2)
    monitor.record_prediction("q", "b", 1, 0.9, at=clock.now)
    (alert,) = monitor.evaluate()
    clock.forward(10)
    a, b = monitor.standings("r")
    assert (a.model_version, a.value, a.n, a.coverage, a.phase) == ("a", 0.5, 20, 1.0, "firing")
    assert a.low < 0.5 < a.high
    assert (a.cooldown_left.total_seconds(), a.incident_id, a.taken_by) == (50 * 60, alert.incident_id, None)
    assert (b.model_version, b.value, b.phase, b.reason) == ("b", None, "inactive", "no data: no labelled predictions")
    monitor.acknowledge(alert.alert_id, "ada")
    assert monitor.standings("r")[0].taken_by == "ada"
    assert monitor.standings("other") == []
