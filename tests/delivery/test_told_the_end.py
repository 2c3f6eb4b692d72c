"""The end of an incident: said by what is told only after it, and told to each person who was told of it."""

import attrs
import pytest

from f1mon_core import DeliveryError
from f1mon_core.delivery import attempts
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels.protocol import Reached
from f1mon_core.storage import plans


@pytest.fixture
def rule(accuracy_low):
    return attrs.evolve(accuracy_low, notify_resolved=True, cooldown_minutes=0)


# What is told after the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [True, False])
def test_what_is_told_again_after_the_end_says_that_it_has_ended(monitor, rule, spy, clock, dead):
    rule = attrs.evolve(rule, notify_resolved=False)
    spy.error = DeliveryError("HTTP 400", retry=False) if dead else DeliveryError("HTTP 500")
    alert = monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    clock.forward(90)
    monitor.evaluate_rule(rule, 0.9, "m")
    spy.error = None
    clock.forward(30)
    assert monitor.retry_dead_letters() == dead
    assert monitor.deliver().outcomes == {"delivered": 1}
    first, last = spy.messages
    assert first.subject == "[WARNING] accuracy-low: accuracy 0.5 (< 0.8), m"
    assert last.subject == f"Resolved since: {first.subject}"
    assert (last.key, last.purpose) == (alert.alert_id, "alert")
    assert "\nEnded: 2026-05-01T13:30:00" in last.text
    assert "\nRecovered: accuracy = 0.9\n" in last.text
    assert "\nLasted: 1:30:00\n" in last.text
    assert "f1mon ack" in first.text
    assert "f1mon ack" not in last.text
    assert last.data()["end"]["event"] == "resolved"


@pytest.mark.parametrize("how", ["by hand", "removed"])
def test_however_it_ended(monitor, rule, spy, clock, how):
    monitor.add_rule(rule := attrs.evolve(rule, notify_resolved=False))
    spy.error = DeliveryError("HTTP 400", retry=False)
    alert = monitor.evaluate_rule(rule.rule_id, 0.5, "m")
    monitor.deliver()
    clock.forward(5)
    if how == "removed":
        monitor.remove_rule(rule.rule_id)
    else:
        monitor.resolve(alert.incident_id, "it was the sensor", "ada")
    spy.error = None
    monitor.retry_dead_letters()
    monitor.deliver()
    text = spy.messages[-1].text
    assert text.startswith("Ended since: [" if how == "removed" else "Resolved since: [")
    assert ("the rule was removed" if how == "removed" else "by ada: it was the sensor") in text


def test_what_has_not_ended_is_repeated_as_it_was(monitor, rule, spy, clock):
    spy.error = DeliveryError("HTTP 500")
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    spy.error = None
    clock.forward(10)
    monitor.deliver()
    assert spy.messages[0].text == spy.messages[1].text


def test_an_incident_of_its_own_does_not_make_the_one_before_go_on(monitor, rule, spy, clock):
    rule = attrs.evolve(rule, notify_resolved=False)
    spy.error = DeliveryError("HTTP 400", retry=False)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    spy.error = None
    for value in (0.9, 0.4):
        clock.forward(5)
        monitor.evaluate_rule(rule, value, "m")
    monitor.retry_dead_letters()
    monitor.deliver()
    begun = {one.subject.partition(":")[0] for one in spy.messages[1:]}
    assert begun == {"Resolved since", "[WARNING] accuracy-low"}


# Who is told the end ------------------------------------------------------------------------------------------------


class Several:
    """Ada is always reached, Bob once he answers."""

    def __init__(self):
        self.bob = {"bob": "451 later"}
        self.told = []

    def send(self, message):
        raise NotImplementedError

    def send_to_rest(self, message, settled):
        rest = [who for who in ("ada", "bob") if who not in settled]
        reached = [who for who in rest if who not in self.bob]
        self.told += [(message.purpose, who) for who in reached]
        return Reached(reached, {who: self.bob[who] for who in rest if who in self.bob})


@pytest.fixture
def several(channels):
    channels.register("spy", made := Several())
    return made


def test_who_was_told_is_told_the_end_while_another_is_put_off(monitor, rule, several, clock):
    monitor.evaluate_rule(rule, 0.5, "m")
    assert monitor.deliver().outcomes == {"failed": 1}
    clock.forward(1)
    monitor.evaluate_rule(rule, 0.9, "m")
    assert monitor.deliver()["waiting"] == 1
    assert several.told == [("alert", "ada"), ("resolved", "ada")]
    clock.forward(60)
    monitor.deliver()
    assert several.told == [("alert", "ada"), ("resolved", "ada")]
    several.bob = {}
    for _ in range(3):
        clock.forward(60)
        monitor.deliver()
    assert several.told == [("alert", "ada"), ("resolved", "ada"), ("alert", "bob"), ("resolved", "bob")]
    assert monitor.deliveries() == monitor.dead_letters() == []


def test_who_was_told_by_an_earlier_alert_is_told_the_end_while_a_later_one_fails(monitor, rule, spy, clock):
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    spy.error = DeliveryError("HTTP 500")
    clock.forward(5)
    monitor.evaluate_rule(rule, 0.4, "m")
    monitor.deliver()
    clock.forward(60)
    record = spy.send

    def only_the_end(message):
        spy.error = None if message.purpose == "resolved" else DeliveryError("HTTP 500")
        record(message)

    spy.send = only_the_end
    monitor.evaluate_rule(rule, 0.9, "m")
    assert monitor.deliver().outcomes == {"delivered": 1, "failed": 1}
    assert "resolved" in {one.purpose for one in spy.messages}


def test_an_alert_that_arrives_while_its_end_is_looked_at_is_seen(monitor, rule, spy, clock, channels, monkeypatch):
    """Another worker delivers the alert just after the first look at what was told, or is to be."""
    spy.error = DeliveryError("HTTP 500")
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    monitor.evaluate_rule(rule, 0.9, "m")
    (alert,) = [one for one in monitor.deliveries() if one.purpose == "alert"]
    spy.error, looked = None, []

    def looking(original):
        def look(*given):
            found = yield from original(*given)
            if not looked:
                looked.append(None)
                clock.forward(60)
                key = f"delivery/{alert.alert_id}/spy"
                assert plans.run(attempts.attempt(key, channels, Policy()), monitor.storage) == "delivered"
            return found

        return look

    with monkeypatch.context() as patched:
        for name in ("_ahead", "_told"):
            patched.setattr(attempts, name, looking(getattr(attempts, name)))
        monitor.deliver()
    assert looked
    clock.forward(60)
    monitor.deliver()
    assert [one.purpose for one in spy.messages] == ["alert", "alert", "resolved"]


def test_nobody_is_told_an_end_while_nobody_has_the_alert(monitor, rule, spy, clock):
    spy.error = DeliveryError("HTTP 500")
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    monitor.evaluate_rule(rule, 0.9, "m")
    spy.error = DeliveryError("HTTP 500")
    monitor.deliver()
    assert {one.purpose for one in spy.messages} == {"alert"}
    spy.error = None
    for _ in range(2):
        clock.forward(60)
        monitor.deliver()
    assert [one.purpose for one in spy.messages][-2:] == ["alert", "resolved"]
