"""The scope a rule gets that says none: a broken model must not hide behind a good one."""

import attrs
import pytest

from f1mon_core import AlertRule
from f1mon_core.alerts.rule_files import to_document


def rule(**changes):
    fields = {"channels": ("spy",), "cooldown_minutes": 5, **changes}
    made = AlertRule("low", "accuracy", "threshold", 0.85, "<", "warning", "c")
    return attrs.evolve(made, **fields)


def scope_of(monitor):
    (stored,) = monitor.rules()
    return stored.scope


def test_a_broken_model_does_not_hide_behind_a_good_one(monitor, clock):
    monitor.add_rule(rule())
    for model, total, wrong in (("good", 1000, 10), ("broken", 100, 50)):
        for number in range(total):
            monitor.record_prediction(f"{model}-{number}", model, 1, 0.9, at=clock.now)
        monitor.record_outcomes((f"{model}-{number}", int(number >= wrong)) for number in range(total))
    (alert,) = monitor.evaluate()
    assert (alert.model_version, alert.metric_value) == ("broken", 0.5)


@pytest.mark.parametrize(
    ("changes", "scope"),
    [
        ({}, "instance"),
        ({"model_version": "a"}, "rule"),
        ({"scope": "rule"}, "rule"),
        ({"scope": "instance"}, "instance"),
    ],
)
def test_an_id_never_stored(monitor, changes, scope):
    monitor.add_rule(rule(**changes))
    assert scope_of(monitor) == scope


@pytest.mark.parametrize("stored", ["rule", "instance"])
@pytest.mark.parametrize("changes", [{}, {"threshold": 0.7}, {"model_version": "a"}, {"enabled": False}])
def test_a_definition_without_scope_keeps_the_stored_one(monitor, stored, changes):
    monitor.add_rule(rule(scope=stored))
    alert = monitor.evaluate_rule("low", 0.5, "a")
    monitor.add_rule(rule(**changes))
    assert scope_of(monitor) == stored
    closed = [one.event for one in monitor.incident_history(incident_id=alert.incident_id)][-1] == "closed"
    assert closed is ("enabled" in changes)
    monitor.remove_rule("low")
    monitor.add_rule(rule(**changes))
    assert scope_of(monitor) == stored


def test_the_same_definition_again_is_no_revision(monitor):
    assert [monitor.add_rule(rule()) for _ in range(3)] == [1, 1, 1]
    assert monitor.add_rule(monitor.rules()[0]) == 1
    assert monitor.add_rule(rule(scope="rule")) == 2
    assert monitor.add_rule(rule()) == 2
    assert to_document(monitor.rules()[0])["scope"] == "rule"


def test_an_edit_still_reaches_the_instances(monitor):
    monitor.add_rule(rule())
    assert monitor.evaluate_rule("low", 0.5, "a") is not None
    monitor.add_rule(rule(scope="rule"))
    assert monitor.incidents() == []
    assert monitor.incident_history(rule_id="low")[-1].reason == "the scope of the rule was changed"


def test_a_rule_that_is_not_stored_is_evaluated_as_it_was(monitor):
    made = rule()
    assert monitor.evaluate_rule(made, 0.5, "a") is not None
    assert monitor.evaluate_rule(made, 0.5, "b") is None
    assert attrs.evolve(made, severity="critical").scope is None
