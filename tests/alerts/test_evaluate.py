"""`Monitor.evaluate`: the metrics of a window, the rules that match, and what is said beside an alert."""

import asyncio
from datetime import datetime, timedelta

import pytest

from f1mon_core import EvaluationError, InvalidQueryError
from f1mon_core.delivery.channels import Section
from f1mon_core.delivery.enrichment import from_facts
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.records.kinds import (
    DegradationAnalysis,
    DriftResult,
    FeatureImportance,
    MetricSnapshot,
)
from f1mon_core.storage.plans import run

from .. import factories
from ..factories import raised

HOUR = timedelta(hours=1)


def record(monitor, clock, model, right, wrong, *, unlabelled=0, track="spa"):
    """Predictions of the present, some right and some wrong."""
    start = len(monitor.predictions())
    for number in range(right + wrong + unlabelled):
        name = f"{model}-{start + number}"
        monitor.record_prediction(name, model, 1, 0.9, metadata={"track": track}, at=clock.now)
        if number < right + wrong:
            monitor.record_outcome(name, int(number < right))


def rule(**changes):
    return factories.rule(**{"rule_id": "low", "channels": ("spy",), **changes})


def test_a_rule_is_evaluated_over_its_window(monitor, clock):
    monitor.add_rule(rule())
    monitor.add_rule(rule(rule_id="long", window_minutes=60 * 24))
    record(monitor, clock, "a", 0, 10)
    clock.forward(120)
    record(monitor, clock, "a", 10, 0)
    (alert,) = monitor.evaluate()
    assert (alert.rule_id, alert.model_version, alert.metric_value) == ("long", "all", 0.5)
    assert (alert.context["n"], alert.context["coverage"], alert.context["total"]) == (20, 1.0, 20)
    assert alert.context["low"] < 0.5 < alert.context["high"]
    assert alert.context["window"]["basis"] == "prediction"


def test_an_alert_can_be_derived_again_as_it_was_recorded(monitor, clock):
    monitor.add_rule(rule())
    record(monitor, clock, "a", 5, 5, unlabelled=5)
    (alert,) = monitor.evaluate()
    clock.forward(10)
    for number in range(15):
        monitor.record_outcome(f"a-{number}", 1)
    window = {name: datetime.fromisoformat(alert.context["window"][name]) for name in ("since", "until")}
    again = monitor.performance(**window, as_recorded=datetime.fromisoformat(alert.context["as_recorded"]))
    assert again.accuracy.value == alert.metric_value == 0.5
    assert monitor.performance(**window).accuracy.value == 1.0


def test_each_model_of_an_instance_rule_is_evaluated_by_itself(monitor, clock):
    monitor.add_rule(rule(scope="instance"))
    record(monitor, clock, "good", 10, 0)
    record(monitor, clock, "bad/1", 1, 9)
    record(monitor, clock, "worse", 0, 10)
    assert [alert.model_version for alert in monitor.evaluate()] == ["bad/1", "worse"]
    assert monitor.evaluate() == []
    assert monitor.evaluate("good") == []


def test_the_models_of_an_instance_rule_are_those_of_its_own_basis(monitor, clock):
    day = 60 * 24
    monitor.add_rule(rule(rule_id="known", scope="instance", window_minutes=day, basis="outcome"))
    matured = {"basis": "matured", "horizon_minutes": 7 * day}
    monitor.add_rule(rule(rule_id="matured", scope="instance", window_minutes=day, **matured))
    record(monitor, clock, "a", 0, 0, unlabelled=10)
    clock.forward(7 * day)
    record(monitor, clock, "b", 0, 0, unlabelled=10)  # neither labelled nor matured
    for number in range(10):
        monitor.record_outcome(f"a-{number}", 0)
    clock.forward(60)
    assert [(alert.rule_id, alert.model_version) for alert in monitor.evaluate()] == [("known", "a"), ("matured", "a")]


def test_a_window_that_the_kept_cells_cannot_answer_is_no_data_for_whom_is_there(monitor, clock):
    monitor.add_rule(rule(scope="instance", window_minutes=590, basis="outcome", on_no_data="fire"))
    record(monitor, clock, "a", 0, 10)
    clock.forward(300)
    record(monitor, clock, "b", 0, 10)
    monitor.storage.prune(clock.now - HOUR)  # and no full hour begins where the window does
    (alert,) = monitor.evaluate()
    assert (alert.model_version, alert.metric_value) == ("b", None)
    assert "pruned" in alert.message


def test_outcomes_that_stop_arriving_are_noticed_for_each_model(monitor, clock):
    outcomes = {"metric_name": "outcomes_arrived", "metric_type": "no_outcomes", "threshold": 1}
    monitor.add_rule(rule(scope="instance", window_minutes=60, **outcomes))
    record(monitor, clock, "a", 0, 0, unlabelled=10)
    record(monitor, clock, "b", 0, 10)
    clock.forward(70)
    (alert,) = monitor.evaluate()
    assert (alert.model_version, alert.metric_value, alert.context["n"]) == ("a", 0.0, 10)


def test_a_model_that_fell_silent_is_still_evaluated(monitor, clock):
    monitor.add_rule(rule(scope="instance", on_no_data="fire", cooldown_minutes=5))
    record(monitor, clock, "a", 0, 10)
    assert len(monitor.evaluate()) == 1
    clock.forward(120)
    (alert,) = monitor.evaluate()
    assert (alert.model_version, alert.metric_value) == ("a", None)
    assert alert.message == "accuracy has no data: no predictions"


def test_only_what_is_asked_for_is_evaluated(monitor, clock):
    record(monitor, clock, "a", 0, 10)
    for rule_id, changes in {
        "low": {},
        "other": {"component": "other"},
        "f1": {"metric_name": "f1_score", "on_no_data": "fire"},
        "off": {"enabled": False},
        "of-b": {"model_version": "b", "on_no_data": "fire"},
    }.items():
        monitor.add_rule(rule(rule_id=rule_id, cooldown_minutes=0, **changes))
    assert [alert.rule_id for alert in monitor.evaluate("a")] == ["f1", "low", "other"]
    assert [alert.rule_id for alert in monitor.evaluate("a", component="performance")] == ["f1", "low"]
    assert [alert.rule_id for alert in monitor.evaluate("a", metric_name="accuracy")] == ["low", "other"]
    assert [alert.rule_id for alert in monitor.evaluate(rule_id="low")] == ["low"]
    assert [(alert.rule_id, alert.model_version) for alert in monitor.evaluate(rule_id="of-b")] == [("of-b", "b")]


def test_outcomes_that_stop_arriving_are_noticed(monitor, clock):
    monitor.add_rule(rule(metric_name="outcomes_arrived", metric_type="no_outcomes", comparison="<", threshold=1))
    monitor.add_rule(rule(rule_id="accuracy"))
    assert monitor.evaluate() == []  # nothing waits
    record(monitor, clock, "a", 1, 0, unlabelled=3)
    assert monitor.evaluate() == []  # one arrived
    clock.forward(30)
    record(monitor, clock, "a", 0, 0, unlabelled=3)
    clock.forward(40)
    (alert,) = monitor.evaluate()
    assert (alert.rule_id, alert.metric_value, alert.context["n"]) == ("low", 0.0, 6)
    monitor.record_outcome("a-5", 1)
    assert monitor.evaluate() == []
    assert monitor.incident_history(rule_id="low")[-1].event == "resolved"


def test_a_metric_f1mon_does_not_compute_is_taken_from_its_snapshots(monitor, clock):
    monitor.add_rule(rule(metric_name="drift_share", comparison=">", threshold=0.3))
    assert monitor.evaluate("a") == []
    for value in (0.9, 0.4):
        monitor.storage.append([MetricSnapshot(model_version="a", metric_name="drift_share", value=value)])
        clock.forward(1)
    (alert,) = monitor.evaluate("a")
    assert alert.metric_value == 0.4


def test_check_alert_rules_takes_a_metric_with_what_it_rests_on(monitor, clock):
    monitor.add_rule(rule(min_samples=11, cooldown_minutes=0))
    record(monitor, clock, "a", 0, 10)
    assert monitor.check_alert_rules("accuracy", monitor.performance("a").accuracy, "performance", "a") == []
    record(monitor, clock, "a", 0, 1)
    (alert,) = monitor.check_alert_rules("accuracy", monitor.performance("a").accuracy, "performance", "a")
    assert alert.context["n"] == 11


def fail_for(monitor, monkeypatch, *keys):
    """Let the transitions of these documents fail."""
    transition = monitor.storage.transition

    def failing(key, step, *, operation_id):
        if key in keys:
            raise ZeroDivisionError(key)
        return transition(key, step, operation_id=operation_id)

    monkeypatch.setattr(monitor.storage, "transition", failing)


def test_a_rule_that_fails_holds_up_no_other_and_what_fired_is_told(monitor, clock, spy, monkeypatch):
    monitor.deliver_after_commit()
    for rule_id in ("a", "b", "c"):
        monitor.add_rule(rule(rule_id=rule_id))
    record(monitor, clock, "m", 0, 10)
    fail_for(monitor, monkeypatch, "rule/b")
    with pytest.raises(EvaluationError, match="b: ZeroDivisionError: rule/b") as failed:
        monitor.evaluate()
    assert [alert.rule_id for alert in failed.value.fired] == ["a", "c"]
    assert failed.value.failures.keys() == {"b"}
    assert failed.value.__cause__ is failed.value.failures["b"]
    assert {message.alert.rule_id for message in spy.messages} == {"a", "c"}
    clock.forward(61)
    with pytest.raises(EvaluationError) as failed:
        monitor.check_alert_rules("accuracy", 0.5, "performance", "m")
    assert [alert.rule_id for alert in failed.value.fired] == ["a", "c"]


def test_one_model_that_fails_holds_up_no_other(monitor, clock, monkeypatch):
    monitor.add_rule(rule(scope="instance"))
    for model in ("a", "b", "c"):
        record(monitor, clock, model, 0, 10)
    fail_for(monitor, monkeypatch, "instance/low/b/{}")
    with pytest.raises(EvaluationError) as failed:
        monitor.evaluate()
    assert [alert.model_version for alert in failed.value.fired] == ["a", "c"]


def test_what_is_asked_wrongly_is_no_failure_of_a_rule(monitor):
    monitor.add_rule(rule())
    for asked in ({"last": timedelta(0)}, {"basis": "matured"}, {"basis": "time"}, {"until": datetime(2026, 5, 1)}):  # noqa: DTZ001
        with pytest.raises(InvalidQueryError):
            monitor.evaluate(**asked)


@pytest.fixture
def enriched(monitor, clock):
    """An alert about a model of which much is stored."""
    monitor.add_rule(rule(window_minutes=60 * 24))
    record(monitor, clock, "a", 18, 2, track="monza")
    record(monitor, clock, "a", 3, 17, track="spa <b>")
    monitor.storage.append(
        [
            DriftResult(model_version="a", feature="grid", detected=True, method="ks", statistic=0.4, p_value=0.001),
            DriftResult(model_version="a", feature="field", detected=False),
            DriftResult(model_version="b", feature="other", detected=True),
            FeatureImportance(model_version="a", feature="form", importance=-0.5),
            FeatureImportance(model_version="a", feature="grid", importance=0.2),
            DegradationAnalysis(model_version="a", metric_name="accuracy", degraded=True, summary="since monza"),
        ]
    )
    (alert,) = monitor.evaluate("a")
    return alert


def test_stored_facts_are_said_beside_the_alert(monitor, enriched, spy):
    monitor.deliver()
    (message,) = spy.messages
    said = {section.heading: list(section.lines) for section in run(from_facts(enriched), monitor.storage)}
    assert said["Worst slices"] == [
        "track = spa <b>: accuracy 0.150 of 20",
        "track = monza: accuracy 0.900 of 20",
    ]
    assert said["Recent drift"] == ["grid by ks: 0.4, p = 0.001, 2026-05-01"]
    assert said["Most important features"] == ["form: -0.5", "grid: 0.2"]
    assert said["Degradation"] == ["accuracy: since monza, 2026-05-01"]
    assert "- track = spa <b>: accuracy 0.150 of 20" in message.text
    assert "spa &lt;b&gt;" in message.html


@pytest.mark.usefixtures("enriched")
def test_an_enrichment_that_fails_does_not_hold_up_the_alert(monitor, spy, monkeypatch, caplog):
    monkeypatch.setattr(monitor._dispatcher, "_enrich", lambda _: 1 / 0)
    assert monitor.deliver().delivered == 1
    assert len(spy.messages) == 1
    assert "enrichment" in caplog.text


def test_a_window_longer_than_time_itself_is_evaluated(monitor, clock):
    monitor.add_rule(rule(metric_name="outcomes_arrived", metric_type="no_outcomes", comparison="<", threshold=1))
    record(monitor, clock, "a", 0, 0, unlabelled=3)
    (alert,) = monitor.evaluate(last=timedelta(weeks=9_999))
    assert alert.metric_value == 0.0


@pytest.mark.usefixtures("enriched")
def test_what_is_said_beside_an_alert_can_be_ones_own(monitor, spy, channels):
    def mine(alert):
        return [Section(f"Runbook of {alert.rule_id}", ["read\x1b[2J this"])]

    with Monitor(monitor.storage, channels=channels, enrich=mine) as other:
        assert other.deliver().delivered == 1
    (message,) = spy.messages
    assert "Runbook of low:\n- read\\x1b[2J this" in message.text
    assert "Worst slices" not in message.text


@pytest.mark.usefixtures("enriched")
@pytest.mark.parametrize(
    "wrong", [lambda _: 1 / 0, lambda _: ["no section"], lambda _: None, lambda _: [Section(3, 4)]]
)
def test_ones_own_enrichment_may_fail_in_any_way(monitor, spy, channels, caplog, wrong):
    with Monitor(monitor.storage, channels=channels, enrich=wrong) as other:
        assert other.deliver().delivered == 1
    assert spy.messages[0].text.startswith("[WARNING]")
    assert "enrichment" in caplog.text


def test_both_colours_open_with_channels_and_an_enrichment(channels, spy):
    def mine(_alert):
        return [Section("Runbook", ["here"])]

    made = raised(channels=["spy"])
    with Monitor.open("memory", channels=channels, enrich=mine) as opened:
        opened.create_alert(**made)
        opened.deliver()

    async def story():
        async with await AsyncMonitor.open("memory", channels=channels, enrich=mine) as opened:
            await opened.create_alert(**made)
            await opened.deliver()

    asyncio.run(story())
    assert ["Runbook:\n- here" in message.text for message in spy.messages] == [True, True]
