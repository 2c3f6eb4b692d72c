"""An edit while a rule fires, and what the messages of a beginning and of an end say."""

import shlex
from datetime import timedelta

import attrs
import pytest
from click.testing import CliRunner

from f1mon_core import DeliveryError
from f1mon_core.alerts import rule_edits
from f1mon_core.cli import f1mon
from f1mon_core.delivery.messages import Message, rendered
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Alert
from f1mon_core.storage import plans
from f1mon_core.text import apart

EDITS = {
    "the rule was removed": lambda monitor, rule: monitor.remove_rule(rule.rule_id),
    "the rule was disabled": lambda monitor, rule: monitor.add_rule(attrs.evolve(rule, enabled=False)),
    "the scope of the rule was changed": lambda monitor, rule: monitor.add_rule(
        attrs.evolve(rule, scope="instance" if rule.scope == "rule" else "rule")
    ),
}


@pytest.fixture(params=["rule", "instance"])
def rule(request, accuracy_low):
    return attrs.evolve(
        accuracy_low, scope=request.param, notify_resolved=True, remind_minutes=10, cooldown_minutes=600
    )


def fire(monitor, rule):
    monitor.add_rule(rule)
    return monitor.evaluate_rule(rule.rule_id, 0.5, "m")


# Edits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", EDITS)
def test_whoever_was_told_is_told_that_an_edit_ended_it(monitor, rule, spy, clock, why):
    fire(monitor, rule)
    monitor.deliver()
    clock.forward(125)
    EDITS[why](monitor, rule)
    assert monitor.deliver().outcomes == {"delivered": 1}
    message = spy.messages[-1]
    assert (message.purpose, message.subject) == ("resolved", "Ended: [WARNING] accuracy-low: accuracy 0.5 (< 0.8), m")
    assert f"Ended: 2026-05-01T14:05:00+00:00: {why}" in message.text
    assert "Lasted: 2:05:00" in message.text
    assert "Recovered" not in message.text


def test_who_was_not_told_is_not_told_the_end(monitor, rule, spy, clock):
    spy.error = DeliveryError("no", retry=False)
    fire(monitor, rule)
    monitor.deliver()
    monitor.remove_rule(rule.rule_id)
    assert monitor.deliver().outcomes == {"dead": 1}
    assert [one.purpose for one in spy.messages] == ["alert"]
    silenced = attrs.evolve(rule, rule_id="silenced")
    monitor.silence(clock.now + timedelta(hours=1))
    fire(monitor, silenced)
    monitor.deliver()
    monitor.remove_rule("silenced")
    clock.forward(61)
    assert monitor.deliver().outcomes == {"dropped": 2}


def test_a_rule_that_does_not_tell_its_end_does_not_tell_this_one(monitor, rule):
    fire(monitor, attrs.evolve(rule, notify_resolved=False, channels=("console",)))
    monitor.deliver()
    monitor.remove_rule(rule.rule_id)
    assert monitor.deliveries() == []


def test_the_reminders_of_a_removed_rule_stop(monitor, rule, spy, clock):
    fire(monitor, rule)
    monitor.deliver()
    spy.error = DeliveryError("HTTP 500")
    clock.forward(10)
    monitor.evaluate_rule(rule.rule_id, 0.5, "m")
    assert monitor.deliver().outcomes == {"failed": 1}
    monitor.remove_rule(rule.rule_id)
    spy.error = None
    clock.forward(60 * 5)
    assert monitor.deliver().outcomes == {"delivered": 1, "dropped": 1}
    assert [one.purpose for one in spy.messages] == ["alert", "reminder", "resolved"]  # the reminder is what failed


def test_whoever_was_told_is_told_the_end_where_the_rule_names_others_by_now(monitor, rule, spy, channels):
    channels.register("other", other := type(spy)())
    fire(monitor, rule)
    monitor.deliver()
    monitor.add_rule(attrs.evolve(rule, channels=("other",)))
    monitor.evaluate_rule(rule.rule_id, 0.9, "m")
    assert monitor.deliver().outcomes == {"delivered": 1, "dropped": 1}
    assert [one.purpose for one in spy.messages] == ["alert", "resolved"]
    assert other.messages == []


def test_an_edit_that_was_cut_short_tells_the_end_when_it_is_finished(monitor, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, scope="instance", notify_resolved=True)
    fire(monitor, rule)
    monitor.deliver()
    removed = rule_edits.definition(rule.rule_id, None, "cut short")
    plans.run(plans.settle("rule/accuracy-low", removed, operation_id="cut short"), monitor.storage)
    with pytest.raises(LookupError):
        monitor.remove_rule(rule.rule_id)
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert "the rule was removed" in spy.messages[-1].text


# What is said -------------------------------------------------------------------------------------------------------


def test_eight_alerts_have_eight_subjects(monitor, accuracy_low, spy):
    rules = [
        accuracy_low,
        attrs.evolve(accuracy_low, rule_id="accuracy-lower", threshold=0.7),
        attrs.evolve(accuracy_low, rule_id="recall-low", metric_name="recall"),
        attrs.evolve(accuracy_low, rule_id="by-model", scope="instance"),
    ]
    for rule in rules:
        monitor.evaluate_rule(rule, 0.5, "m-1")
    monitor.evaluate_rule(rules[3], 0.5, "m-2")
    monitor.evaluate_rule(rules[3], 0.5, "m-2", labels={"track": "spa"})
    monitor.evaluate_rule(rules[3], 0.5, "m-2", labels={"track": "monza"})
    monitor.create_alert("info", "By hand", "look", "accuracy", 0.5, 0.8, "c", "m-1", ["spy"])
    monitor.deliver()
    assert len({one.subject for one in spy.messages}) == 8
    assert all(one.text.startswith(one.subject) for one in spy.messages)
    assert "[WARNING] by-model: accuracy 0.5 (< 0.8), m-2, track=spa" in [one.subject for one in spy.messages]


@pytest.mark.parametrize(
    ("value", "threshold", "shown"),
    [
        (0.84999999, 0.85, ("0.84999999", "0.85")),
        (0.1 + 0.2, 0.3, ("0.30000000000000004", "0.29999999999999999")),
        (1e-30, 2e-30, ("1e-30", "2e-30")),
        (0.5, 0.5, ("0.5", "0.5")),
        (123456789.0, 123456788.0, ("123456789", "123456788")),
    ],
)
def test_in_as_many_digits_as_show_the_difference(monitor, accuracy_low, spy, value, threshold, shown):
    comparison = "!=" if value != threshold else "<="
    assert apart(value, threshold) == shown
    rule = attrs.evolve(accuracy_low, threshold=threshold, comparison=comparison)
    alert = monitor.evaluate_rule(rule, value, "m")
    monitor.deliver()
    assert f"accuracy {shown[0]} ({comparison} {shown[1]})" in spy.messages[0].subject
    first, _, second = alert.message.removeprefix("accuracy is ").removesuffix(")").partition(f" ({comparison} ")
    assert (first == second) is (value == threshold)


def test_the_end_says_what_it_recovered_to_and_how_long_it_lasted(monitor, rule, spy, clock):
    fire(monitor, rule)
    clock.forward(60 * 26)
    monitor.evaluate_rule(rule.rule_id, 0.9125, "m")
    monitor.deliver()
    message = spy.messages[-1]
    for line in (
        "Recovered: accuracy = 0.9125",
        "Ended: 2026-05-02T14:00:00+00:00: ",
        "Lasted: 1 day, 2:00:00",
        "Began: 2026-05-01T12:00:00+00:00",
    ):
        assert f"\n{line}" in message.text
        assert line.partition(": ")[2] in message.html
    end = message.data()["end"]
    assert (end["event"], end["value"], end["opened"]) == ("resolved", 0.9125, "2026-05-01T12:00:00+00:00")
    assert message.subject == "Resolved: [WARNING] accuracy-low: accuracy 0.5 (< 0.8), m"


def test_a_message_that_an_older_f1mon_kept_is_sent_as_it_was(monitor, accuracy_low, spy):
    alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
    monitor.deliver()
    kept = spy.messages[0].to_document()
    del kept["end"]
    assert Message.of_document(kept | {"text": "as it was"}, alert).text == "as it was"
    assert Message.of_document(kept | {"of tomorrow": 1}, alert) is None


def command_of(text):
    (line,) = [one for one in text.splitlines() if one.startswith("To take it on: ")]
    return shlex.split(line.removeprefix("To take it on: "))


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_the_command_works_as_it_is_printed(kind, tmp_path, accuracy_low, spy, channels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"path": "my store"} if kind == "jsonl" else {"url": "sqlite:///my store.db"}
    with Monitor.open(*(["jsonl"] if kind == "jsonl" else []), channels=channels, **options) as monitor:
        alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
        monitor.deliver()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    name, *arguments = command_of(spy.messages[0].text)
    assert name == "f1mon"
    done = CliRunner().invoke(f1mon, arguments)
    assert done.exit_code == 0, done.output
    assert f"{alert.alert_id} acknowledged by NAME" in done.stdout


def test_no_password_is_in_the_command():
    alert = Alert("a-1", "info", "t", "m", "accuracy", "c", "m")
    with_account = rendered(alert, "alert", "k", store="postgresql://ada:***@db/f1").text
    assert command_of(with_account)[:4] == ["f1mon", "--url", "postgresql://ada@db/f1", "ack"]
    in_query = rendered(alert, "alert", "k", store="postgresql://db/f1?password=***").text
    assert command_of(in_query)[:2] == ["f1mon", "ack"]
