"""One breach, one incident: states, cooldown, escalation, edits and acknowledgement, through the monitor."""

import contextlib
import math
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from f1mon_core import NotFoundError
from f1mon_core.alerts import evaluate_rule
from f1mon_core.monitor import Monitor
from f1mon_core.storage import plans
from f1mon_core.storage.memory import MemoryStorage

from ..factories import raised, rule
from ..interrupted import Interrupted

RULE = rule(channels=("console", "log"))


def samples(monitor, clock, rule, *values, every=1):
    """Evaluate values a minute apart; the severity that fired, or None, for each."""
    fired = []
    for value in values:
        alert = monitor.evaluate_rule(rule, value, "podium-1")
        fired.append(alert and alert.severity)
        clock.forward(every)
    return fired


def events(monitor):
    return [event.event for event in monitor.incident_history()]


def rule(**changes):
    return attrs.evolve(RULE, **changes)


def test_a_breach_is_one_alert_until_its_cooldown_ends(monitor, clock):
    assert samples(monitor, clock, RULE, *[0.5] * 122) == ["warning", *[None] * 59] * 2 + ["warning", None]
    assert events(monitor) == ["pending", "firing", "repeated", "repeated"]
    assert {alert.incident_id for alert in monitor.alerts()} == {monitor.alerts()[0].incident_id}


def test_the_cooldown_outlives_the_incident(monitor, clock):
    assert samples(monitor, clock, RULE, 0.5, 0.9, 0.5, 0.9) == ["warning", None, None, None]
    assert events(monitor) == ["pending", "firing", "resolved", "pending", "cleared"]


def test_a_higher_severity_breaks_through_once_and_a_lower_one_never(monitor, clock):
    two = rule(escalation={"critical": 0.6})
    fired = samples(monitor, clock, two, 0.7, 0.5, 0.7, 0.5, 0.7)
    assert fired == ["warning", "critical", None, None, None]
    assert events(monitor) == ["pending", "firing", "escalated", "de-escalated", "escalated", "de-escalated"]


def test_a_severity_that_has_fired_in_the_incident_does_not_break_through_again(monitor, clock):
    two = rule(escalation={"critical": 0.6})
    assert samples(monitor, clock, two, 0.5, every=61) == ["critical"]
    assert samples(monitor, clock, two, 0.7, 0.5) == ["warning", None]


def test_no_cooldown_means_none(monitor, clock):
    assert samples(monitor, clock, rule(cooldown_minutes=0), 0.5, 0.5, 0.9, 0.5) == [
        "warning",
        "warning",
        None,
        "warning",
    ]


def test_for_minutes_starts_anew_after_one_good_sample(monitor, clock):
    lasting = rule(for_minutes=3)
    assert samples(monitor, clock, lasting, 0.5, 0.5, 0.9, 0.5, None, 0.5) == [None] * 6
    assert samples(monitor, clock, lasting, 0.5) == ["warning"]
    assert events(monitor) == ["pending", "cleared", "pending", "firing"]


def test_keep_firing_waits_before_it_resolves(monitor, clock):
    keeping = rule(keep_firing_minutes=2)
    samples(monitor, clock, keeping, 0.5, 0.9, 0.9, 0.5, 0.9, 0.9)
    assert events(monitor) == ["pending", "firing"]
    samples(monitor, clock, keeping, 0.9)
    assert events(monitor) == ["pending", "firing", "resolved"]


def test_a_value_in_the_band_neither_fires_nor_resolves(monitor, clock):
    banded = rule(recover_threshold=0.85, cooldown_minutes=0)
    assert samples(monitor, clock, banded, 0.82, 0.5, 0.82, 0.82) == [None, "warning", None, None]
    assert events(monitor) == ["pending", "firing"]
    samples(monitor, clock, banded, 0.85)
    assert events(monitor)[-1] == "resolved"


def test_so_many_of_the_last_must_breach(monitor, clock):
    three_of_five = rule(breaches=3, of_evaluations=5, cooldown_minutes=0)
    assert samples(monitor, clock, three_of_five, 0.5, 0.9, 0.5, 0.9, 0.5) == [None] * 4 + ["warning"]
    assert samples(monitor, clock, three_of_five, 0.9) == [None]
    assert events(monitor) == ["pending", "firing", "resolved"]
    assert samples(monitor, clock, three_of_five, 0.9, None, 0.5, 0.5) == [None, None, None, "warning"]


@pytest.mark.parametrize(("policy", "after_pending"), [("keep", None), ("ok", "cleared")])
def test_missing_data_never_fires_and_never_resolves(monitor, clock, policy, after_pending):
    patient = rule(on_no_data=policy, for_minutes=5)
    assert samples(monitor, clock, patient, 0.5, None, float("nan"), float("inf")) == [None] * 4
    assert events(monitor) == ["pending", *([after_pending] if after_pending else [])]
    sudden = rule(rule_id="sudden", on_no_data=policy)
    assert samples(monitor, clock, sudden, 0.5, None, float("nan")) == ["warning", None, None]
    assert [event.event for event in monitor.incident_history(rule_id="sudden")] == ["pending", "firing"]


def test_missing_data_fires_where_that_was_asked_for(monitor, clock):
    assert samples(monitor, clock, rule(on_no_data="fire"), None, None) == ["warning", None]
    (alert,) = monitor.alerts()
    assert alert.metric_value is None
    assert alert.message == "accuracy has no data: no value"


def test_an_edit_keeps_the_cooldown_and_alerts_keep_the_rule_they_fired_under(monitor, clock):
    monitor.add_rule(RULE)
    samples(monitor, clock, RULE.rule_id, 0.7, every=30)
    assert monitor.add_rule(rule(threshold=0.75)) == 2
    assert samples(monitor, clock, RULE.rule_id, 0.7) == [None]
    assert monitor.add_rule(rule(threshold=0.75, cooldown_minutes=20)) == 3
    assert samples(monitor, clock, RULE.rule_id, 0.76, 0.7) == [None, "warning"]
    assert [alert.rule["threshold"] for alert in monitor.alerts()] == [0.75, 0.8]
    assert [one.definition["cooldown_minutes"] for one in monitor.rule_revisions(RULE.rule_id)] == [60.0, 60.0, 20.0]


def test_a_rule_raised_in_severity_breaks_through_its_own_cooldown(monitor, clock):
    monitor.add_rule(RULE)
    assert samples(monitor, clock, RULE.rule_id, 0.5) == ["warning"]
    monitor.add_rule(rule(severity="critical"))
    assert samples(monitor, clock, RULE.rule_id, 0.5, 0.5) == ["critical", None]


@pytest.mark.parametrize("scope", ["rule", "instance"])
def test_a_rule_removed_or_disabled_closes_its_incident_and_fires_no_more(monitor, clock, scope):
    monitor.add_rule(rule(scope=scope))
    samples(monitor, clock, RULE.rule_id, 0.5)
    monitor.add_rule(rule(scope=scope, enabled=False))
    assert events(monitor)[-1] == "closed"
    assert samples(monitor, clock, RULE.rule_id, 0.1, every=61) == [None]
    monitor.add_rule(rule(scope=scope))
    assert samples(monitor, clock, RULE.rule_id, 0.5) == ["warning"]
    monitor.remove_rule(RULE.rule_id)
    assert events(monitor)[-1] == "closed"
    assert monitor.rules() == []
    with pytest.raises(NotFoundError):
        monitor.evaluate_rule(RULE.rule_id, 0.5, "podium-1")
    with pytest.raises(NotFoundError):
        monitor.remove_rule(RULE.rule_id)
    assert monitor.add_rule(rule(scope=scope)) == 5
    assert samples(monitor, clock, RULE.rule_id, 0.5) == [None]  # the cooldown outlived the rule


def test_each_instance_has_its_own_state(monitor):
    monitor.add_rule(rule(scope="instance"))
    for model, labels in (("a", None), ("b", None), ("a", {"track": "spa"}), ("a", {"track": "monza"})):
        assert monitor.evaluate_rule(RULE.rule_id, 0.5, model, labels=labels) is not None
        assert monitor.evaluate_rule(RULE.rule_id, 0.5, model, labels=labels) is None
    assert len({alert.incident_id for alert in monitor.alerts()}) == 4


def test_only_matching_enabled_rules_are_checked(monitor):
    for changes in ({}, {"component": "other"}, {"metric_name": "f1"}, {"enabled": False}, {"model_version": "b"}):
        monitor.add_rule(rule(rule_id=str(changes) or "x", **changes))
    fired = monitor.check_alert_rules("accuracy", 0.1, "performance", "a")
    assert [alert.rule_id for alert in fired] == ["{}"]
    fired = monitor.check_alert_rules("accuracy", 0.1, None, "b")
    assert sorted(alert.rule_id for alert in fired) == ["{'component': 'other'}", "{'model_version': 'b'}"]


def test_the_first_acknowledgement_stands(monitor, clock):
    alert = monitor.evaluate_rule(RULE, 0.5, "podium-1")
    assert monitor.acknowledge(alert.alert_id, "ada", "looking").new
    clock.forward(1)
    for by in ("ada", "bob", None):
        later = monitor.acknowledge(alert.alert_id, by)
        assert (later.new, later.first.by, later.first.note) == (False, "ada", "looking")
    assert monitor.acknowledgements([alert.alert_id, "other"]).keys() == {alert.alert_id}
    assert monitor.alerts(acknowledged=False) == []
    assert events(monitor) == ["pending", "firing", "acknowledged"]
    with pytest.raises(NotFoundError):
        monitor.acknowledge("never", "ada")


def reminders(monitor):
    return sum(event.event == "reminded" for event in monitor.incident_history())


def test_reminders_stop_with_the_acknowledgement_and_start_again_with_an_escalation(monitor, clock):
    nagging = rule(remind_minutes=10, cooldown_minutes=600, escalation={"critical": 0.6})
    first = monitor.evaluate_rule(nagging, 0.7, "m")
    samples(monitor, clock, nagging, *[0.7] * 21)
    assert reminders(monitor) == 2
    monitor.acknowledge(first.alert_id, "ada")
    samples(monitor, clock, nagging, *[0.7] * 30)
    assert reminders(monitor) == 2
    samples(monitor, clock, nagging, *[0.5] * 11)
    assert reminders(monitor) == 3
    names = {document["name"] for document in monitor.storage.state("delivery/").values()}
    assert {"console", "log", "console#reminder1", "log#reminder3"} <= names


def test_statistics_count_everything(monitor):
    for number in range(30):
        changes = {"severity": ["info", "critical"][number % 2], "component": f"part-{number % 3}"}
        monitor.create_alert(**raised(**changes, channels=["console"]))
    taken = monitor.alerts(severity="info")[0]
    monitor.acknowledge(taken.alert_id, None)
    statistics = monitor.alert_statistics()
    assert (statistics.total, statistics.unacknowledged) == (30, 29)
    assert statistics.by_severity == {"critical": 15, "warning": 0, "info": 15}
    assert statistics.by_component == {"part-0": 10, "part-1": 10, "part-2": 10}
    assert len({alert.alert_id for alert in monitor.alerts()}) == 30
    assert len(monitor.alerts(severity=["info", "critical"], component="part-1", limit=7)) == 7
    assert monitor.alerts(severity=[]) == []


def test_a_repeated_operation_returns_the_first_alert(monitor):
    first = monitor.evaluate_rule(RULE, 0.5, "m", operation_id="one")
    assert monitor.evaluate_rule(RULE, 0.5, "m", operation_id="one") == first
    assert len(monitor.alerts()) == 1


def test_an_open_incident_holds_its_alerts_against_pruning(monitor, clock):
    untold = rule(channels=())  # what waits for a channel is held by that
    monitor.evaluate_rule(untold, 0.5, "m")
    clock.forward(60 * 24)
    monitor.storage.prune(clock.now)
    assert len(monitor.alerts()) == 1
    monitor.evaluate_rule(untold, 0.9, "m")
    clock.forward(60 * 24)
    monitor.storage.prune(clock.now)
    assert monitor.alerts() == []


def test_an_edit_of_the_scope_closes_the_incident_and_later_evaluations_follow_it(monitor, clock):
    monitor.add_rule(RULE)
    assert samples(monitor, clock, RULE.rule_id, 0.5) == ["warning"]
    monitor.add_rule(rule(scope="instance"))
    assert events(monitor) == ["pending", "firing", "closed"]
    assert samples(monitor, clock, RULE.rule_id, 0.5, 0.5) == ["warning", None]
    monitor.add_rule(RULE)
    assert events(monitor)[-1] == "closed"


@pytest.mark.parametrize("scopes", [("instance", "instance"), ("rule", "rule"), ("rule", "instance")])
def test_an_evaluator_that_read_the_rule_before_an_edit_goes_by_the_edit(monitor, scopes):
    before, after = scopes

    def edit():
        monitor.add_rule(rule(scope=after, threshold=0.75))
        monitor.evaluate_rule(RULE.rule_id, 0.9, "m")

    monitor.add_rule(rule(scope=before))
    plan = evaluate_rule.evaluate_rule(RULE.rule_id, 0.78, "m")
    assert plans.run(plan, Interrupted(monitor.storage, edit, before_transition="")) is None
    assert monitor.alerts() == []


EDITS = {
    "remove": lambda monitor: monitor.remove_rule(RULE.rule_id),
    "disable": lambda monitor: monitor.add_rule(rule(scope="instance", enabled=False)),
    "rescope": lambda monitor: monitor.add_rule(RULE),
    "ease": lambda monitor: monitor.add_rule(rule(scope="instance", threshold=0.3)),
}


@pytest.mark.parametrize(("known", "number"), [(True, 1), (False, 1), (False, 2)])
@pytest.mark.parametrize("edit", EDITS)
def test_no_instance_is_evaluated_under_a_rule_after_its_edit(monitor, edit, known, number):
    monitor.add_rule(rule(scope="instance"))
    if known:
        monitor.evaluate_rule(RULE.rule_id, 0.9, "m")
    storage = Interrupted(monitor.storage, lambda: EDITS[edit](monitor), before_transition="instance/", number=number)
    with contextlib.suppress(NotFoundError):
        alert = plans.run(evaluate_rule.evaluate_rule(RULE.rule_id, 0.5, "m"), storage)
        assert alert is None or edit == "rescope"
        assert alert is None or alert.rule["scope"] == "rule"
    assert all(one.rule["scope"] == "rule" for one in monitor.alerts())
    assert all(document["phase"] == "inactive" for document in monitor.storage.state("instance/").values())


@pytest.mark.parametrize("edit", EDITS)
def test_an_instance_that_fires_while_its_rule_is_edited_is_closed_by_the_edit(monitor, edit):
    monitor.add_rule(rule(scope="instance"))
    fires = Interrupted(
        monitor.storage,
        lambda: monitor.evaluate_rule(RULE.rule_id, 0.5, "m"),
        before_transition=f"rule/{RULE.rule_id}",
    )
    EDITS[edit](Monitor(fires))
    assert events(monitor)[-1] == ("firing" if edit == "ease" else "closed")


@pytest.mark.parametrize("edit", ["remove", "disable", "rescope"])
def test_an_edit_that_was_cut_short_is_finished_when_it_is_repeated(monitor, edit):
    monitor.add_rule(rule(scope="instance"))
    monitor.evaluate_rule(RULE.rule_id, 0.5, "m")
    dying = Interrupted(monitor.storage, lambda: 1 / 0, before_transition="instance/")
    with pytest.raises(ZeroDivisionError):
        EDITS[edit](Monitor(dying))
    assert events(monitor) == ["pending", "firing"]
    with contextlib.suppress(NotFoundError):
        EDITS[edit](monitor)
    assert events(monitor) == ["pending", "firing", "closed"]


@given(
    values=st.lists(st.sampled_from([0.5, 0.7, 0.9, None, math.nan]), min_size=1, max_size=60),
    minutes=st.lists(st.integers(1, 70), min_size=60, max_size=60),
)
def test_only_a_higher_severity_comes_before_the_cooldown_ends_and_nothing_else_stays_silent(values, minutes):
    now, two = [datetime(2026, 5, 1, tzinfo=UTC)], rule(escalation={"critical": 0.6})
    rank = {"warning": 1, "critical": 2}
    last = None
    with Monitor(MemoryStorage(clock=lambda: now[0])) as monitor:
        for value, gap in zip(values, minutes, strict=False):
            alert = monitor.evaluate_rule(two, value, "m")
            breach = {0.5: "critical", 0.7: "warning"}.get(value)
            over = last is None or now[0] - last.at >= timedelta(minutes=60)
            if alert is None:
                assert breach is None or not over
            else:
                assert alert.severity == breach
                assert over or rank[alert.severity] > rank[last.severity]
                last = alert
            now[0] += timedelta(minutes=gap)
        for incident in {alert.incident_id for alert in monitor.alerts()}:
            through = [one.details["severity"] for one in monitor.incident_history(incident_id=incident)
                       if one.event == "escalated" and "alert_id" in one.details]  # fmt: skip
            assert len(through) <= 1
