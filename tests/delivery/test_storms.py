"""Storms: what is told in one message, and what is kept while another rule fires."""

import asyncio
import contextlib
import json
import threading
import time
from datetime import timedelta

import attrs
import pytest
from click.testing import CliRunner

from f1mon_core import AlertRule, AsyncMonitor, DeliveryError, InvalidRecordError
from f1mon_core.alerts import rule_files
from f1mon_core.cli import f1mon
from f1mon_core.delivery import groups
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.channels.protocol import Reached
from f1mon_core.delivery.channels.slack import SlackChannel
from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.delivery.worker import Dispatcher
from f1mon_core.errors import ConfigurationError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.change import Change
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.select import Select

from ..factories import raised
from ..servers import FRESH, families

INSTANCES = 200
HALF_A_MINUTE, FIVE_MINUTES = 0.5, 5


@pytest.fixture
def storm(accuracy_low):
    """A rule of which every instance fires, grouped by rule: half a minute's wait, one message in five."""
    return attrs.evolve(accuracy_low, scope="instance", group_by=("rule",), cooldown_minutes=0)


def fire(monitor, rule, models, value=0.5):
    return [monitor.evaluate_rule(rule, value, model) for model in models]


def ids(message):
    return {one.alert_id for one in message.alerts or [message.alert]}


# Groups -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", *families()])
def test_what_fires_at_once_is_one_message_of_a_watching_worker(kind, tmp_path, storm, httpserver):
    storm_at(kind, tmp_path, attrs.evolve(storm, group_wait_minutes=0), httpserver, 20, before=True)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["jsonl", *families()])
def test_two_hundred_instances_are_one_message_within_ten_seconds(kind, tmp_path, storm, httpserver):
    took = storm_at(kind, tmp_path, attrs.evolve(storm, group_wait_minutes=0.05), httpserver, INSTANCES)
    print(f"{kind}: {took:.1f} s")  # noqa: T201 - shown by pytest -s
    assert took < 10


def storm_at(kind, tmp_path, storm, httpserver, instances, *, before=False):
    """Instances of one rule fire beside a watching worker, or before it begins; how long until all are told."""
    bodies = []
    httpserver.expect_request("/hook").respond_with_handler(lambda request: bodies.append(json.loads(request.data)))
    channels = Channels(environ={})
    channels.register("hook", WebhookChannel(httpserver.url_for("/hook")))
    rule = attrs.evolve(storm, channels=("hook",))
    stop = threading.Event()
    with contextlib.ExitStack() as places:
        address = f"jsonl://{tmp_path}/store" if kind == "jsonl" else places.enter_context(FRESH[kind]())
        monitor = places.enter_context(Monitor.open(address, channels=channels))
        watching = threading.Thread(target=monitor.deliver_until, args=(stop, 0.1))
        models = [f"model-{number}" for number in range(instances)]
        fired = fire(monitor, rule, models) if before else []
        watching.start()
        with contextlib.ExitStack() as leaving:
            leaving.callback(watching.join)
            leaving.callback(stop.set)
            begun = time.monotonic()
            fired = fired or fire(monitor, rule, models)
            while monitor.deliveries() and time.monotonic() < begun + 120:
                time.sleep(0.2)
            took = time.monotonic() - begun
        assert len(monitor.alerts()) == len(monitor.storage.find(Select("delivery"))) == instances
        assert monitor.deliveries() == monitor.dead_letters() == []
    (body,) = bodies
    assert body["count"] == instances
    assert {one["alert_id"] for one in body["alerts"]} == {one.alert_id for one in fired}
    assert sum(line.startswith("- [WARNING] accuracy-low") for line in body["text"].splitlines()) == instances
    assert body["subject"] == f"[WARNING] {instances} alerts of rule accuracy-low"
    return took


def test_the_first_waits_for_others_and_the_next_message_for_its_interval(monitor, storm, spy, clock):
    fired = fire(monitor, storm, "ab")
    assert monitor.deliver().outcomes == {"grouped": 2}
    clock.forward(HALF_A_MINUTE)
    fired += fire(monitor, storm, "c")
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert [ids(one) for one in spy.messages] == [{one.alert_id for one in fired}]
    later = fire(monitor, storm, "d")
    clock.forward(FIVE_MINUTES - 0.1)
    later += fire(monitor, storm, "e")
    assert monitor.deliver().outcomes == {"grouped": 2}
    clock.forward(0.1)
    assert monitor.deliver().outcomes == {"delivered": 2}
    assert ids(spy.messages[1]) == {one.alert_id for one in later}
    assert len(monitor.storage.find(Select("delivery"))) == 5


def test_one_alone_is_told_as_ever(monitor, storm, spy, clock):
    (alert,) = fire(monitor, storm, "a")
    clock.forward(HALF_A_MINUTE)
    monitor.deliver()
    assert (spy.messages[0].key, spy.messages[0].alerts) == (alert.alert_id, ())
    assert spy.messages[0].subject == "[WARNING] accuracy-low: accuracy 0.5 (< 0.8), a"


@pytest.mark.parametrize(
    ("by", "subjects"),
    [
        (("model",), {"2 alerts of model a", "2 alerts of model b"}),
        (("component",), {"4 alerts of component performance"}),
        (("rule", "model"), {"accuracy-low: accuracy 0.5 (< 0.8), a", "accuracy-low: accuracy 0.5 (< 0.8), b",
                             "other: accuracy 0.5 (< 0.8), a", "other: accuracy 0.5 (< 0.8), b"}),
    ],
)  # fmt: skip
def test_what_has_in_common_what_is_asked_for_is_one_message(monitor, storm, spy, by, subjects):
    rule = attrs.evolve(storm, group_by=by, group_wait_minutes=0, component="performance")
    for one in (rule, attrs.evolve(rule, rule_id="other")):
        fire(monitor, one, "ab")
    assert monitor.deliver().outcomes == {"delivered": 4}
    assert {one.subject.removeprefix("[WARNING] ") for one in spy.messages} == subjects


def test_the_end_of_many_is_one_message_too_and_other_purposes_are_their_own(monitor, storm, spy, clock):
    rule = attrs.evolve(storm, group_wait_minutes=0, notify_resolved=True)
    fire(monitor, rule, "abc")
    monitor.deliver()
    clock.forward(7)
    fire(monitor, rule, "abc", 0.9)
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert [one.purpose for one in spy.messages] == ["alert", "resolved"]
    assert spy.messages[1].subject == "Resolved: [WARNING] 3 alerts of rule accuracy-low"
    assert "0.9 is not < 0.8" in spy.messages[1].lines[0]
    assert "f1mon ack" not in spy.messages[1].text


def test_a_repeat_says_the_same_and_who_comes_meanwhile_has_a_message_of_its_own(monitor, storm, spy, clock):
    rule = attrs.evolve(storm, group_wait_minutes=0)
    fire(monitor, rule, "abc")
    spy.error = DeliveryError("HTTP 500")
    assert monitor.deliver().outcomes == {"failed": 3}
    assert {one.error for one in monitor.deliveries()} == {"HTTP 500"}
    spy.error = None
    clock.forward(20)
    fire(monitor, rule, "d")
    assert monitor.deliver().outcomes == {"delivered": 4}
    first, repeat, other = spy.messages if spy.messages[1].alerts else [spy.messages[n] for n in (0, 2, 1)]
    assert (repeat.key, repeat.text) == (first.key, first.text)
    assert other.alerts == ()


def test_a_worker_that_dies_after_sending_repeats_one_message_under_one_key(monitor, storm, spy, clock, monkeypatch):
    """It has written down of one of three that it arrived; and another has come for the group."""
    rule = attrs.evolve(storm, group_wait_minutes=0, group_interval_minutes=0)
    fire(monitor, rule, "abc")

    def dies(helds, end, _original=groups._each):
        yield from _original(helds[:1], end)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(groups, "_each", dies)
        with pytest.raises(KeyboardInterrupt):
            monitor.deliver()
    clock.forward(3)
    fire(monitor, rule, "d")
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert len(monitor.storage.find(Select("delivery"))) == 4
    keys = [one.key for one in spy.messages]
    assert (len(keys), len(set(keys))) == (3, 2)
    assert {text.count("accuracy-low: ") for text in (one.text for one in spy.messages if one.alerts)} == {3}


def test_another_set_never_has_the_key_of_a_message_that_was_sent(monitor, storm, spy, clock):
    rule = attrs.evolve(storm, group_wait_minutes=0)
    fire(monitor, rule, "abc")
    spy.error = DeliveryError("no answer", channel=True)
    assert monitor.deliver().outcomes == {"failed": 3}
    monitor.silence(clock.now + timedelta(hours=1), model_version="b")
    spy.error = None
    clock.forward(30)
    assert monitor.deliver().outcomes == {"delivered": 2, "silenced": 1}
    assert spy.messages[0].key != spy.messages[1].key
    assert len(spy.messages[1].alerts) == 2
    clock.forward(60)
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert spy.messages[2].key == spy.messages[2].alert.alert_id


def test_two_workers_tell_of_a_group_once(monitor, storm, channels, spy):
    """The second looks while the first is about to take the group's deliveries."""
    rule = attrs.evolve(storm, group_wait_minutes=0)
    fire(monitor, rule, "abc")
    other = Dispatcher(monitor.storage, channels)
    seen = []
    members = groups._members

    def meanwhile(*given):
        if not seen:
            seen.append(None)
            seen.append(other.round().outcomes)
        return members(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(groups, "_members", meanwhile)
        assert monitor.deliver().outcomes == {"delivered": 3}
    assert seen[1] == {"grouped": 3}
    assert len(spy.messages) == 1


def test_of_dead_letters_each_is_told_again_anew(monitor, storm, spy, clock):
    rule = attrs.evolve(storm, group_wait_minutes=0)
    fire(monitor, rule, "abc")
    spy.error = DeliveryError("HTTP 400", retry=False)
    assert monitor.deliver().outcomes == {"dead": 3}
    spy.error = None
    clock.forward(FIVE_MINUTES)
    assert monitor.retry_dead_letters() == 3
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert len(spy.messages) == 2


def test_who_has_a_message_of_several_is_not_told_it_again(monitor, storm, channels, clock):
    class Several:
        def __init__(self):
            self.settled = []

        def send(self, message):
            raise NotImplementedError

        def send_to_rest(self, _message, settled):
            self.settled.append(sorted(settled))
            return Reached(["bob"]) if settled else Reached(["ada"], {"bob": "451"})

    channels.register("spy", several := Several())
    fire(monitor, attrs.evolve(storm, group_wait_minutes=0), "abc")
    assert monitor.deliver().outcomes == {"failed": 3}
    clock.forward(30)
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert several.settled == [[], ["ada"]]


def test_a_function_is_called_with_each_alert(monitor, storm, channels):
    called = []
    channels.register("spy", called.append)
    fired = fire(monitor, attrs.evolve(storm, group_wait_minutes=0), "abc")
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert {one.alert_id for one in called} == {one.alert_id for one in fired}


def test_a_channel_groups_what_its_rules_do_not(clock, accuracy_low, tmp_path, spy):
    environ = {"F1MON_CHANNEL_FILE_GROUP_BY": "component,model", "F1MON_CHANNEL_FILE_GROUP_WAIT_MINUTES": "0"}
    channels = Channels(directory=tmp_path, environ=environ)
    channels.register("spy", spy)
    assert channels.names() == ["console", "file", "spy"]
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        for number in range(3):
            fire(monitor, attrs.evolve(accuracy_low, rule_id=f"r-{number}", channels=("file", "spy")), "m")
        assert monitor.deliver().outcomes == {"delivered": 6}
        assert len(spy.messages) == 3
        lines = (tmp_path / "alert_log.txt").read_text().splitlines()
    assert [line.count("[WARNING]") for line in lines] == [1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"group_by": ["colour"]}, "group_by"),
        ({"group_by": "rule", "group_wait_minutes": "soon"}, "group_wait_minutes"),
        ({"group_by": "rule", "group_interval_minutes": -1}, "group_interval_minutes"),
        ({"group_wait_minutes": 1}, "group_wait_minutes goes with group_by"),
    ],
)
def test_settings_that_do_not_hold_up_are_named_and_keep_nothing_back(settings, refused, monitor, accuracy_low, clock):
    channels = Channels({"console": settings}, environ={})
    assert refused in channels.problems(["console"])["console"]
    with pytest.raises(ConfigurationError, match=refused):
        channels.grouping("console")
    fire(monitor, attrs.evolve(accuracy_low, channels=("console",)), "m")
    assert Dispatcher(monitor.storage, channels, Policy()).round().outcomes == {"delivered": 1}


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"group_by": "rule"}, "group_by"),
        ({"group_by": ["severity"]}, "group_by"),
        ({"group_wait_minutes": 1}, "group_wait_minutes"),
        ({"group_interval_minutes": 1}, "group_interval_minutes"),
        ({"group_by": ["rule"], "group_wait_minutes": -1}, "group_wait_minutes"),
        ({"inhibited_by": "feed-dead"}, "inhibited_by"),
        ({"inhibited_by": ["accuracy-low"]}, "inhibited_by"),
    ],
)
def test_rules_that_make_no_sense_are_refused(accuracy_low, fields, refused):
    with pytest.raises(InvalidRecordError, match=refused):
        attrs.evolve(accuracy_low, **fields)


def test_a_rule_file_says_it_all():
    (rule,) = rule_files.from_toml(
        '[[rules]]\nrule_id = "r"\nmetric_name = "accuracy"\nthreshold = 0.8\ncomparison = "<"\nseverity = "info"\n'
        'component = "c"\ngroup_by = ["model", "rule"]\ngroup_wait_minutes = 1\ngroup_interval_minutes = 10\n'
        'inhibited_by = ["feed-dead"]\n'
    )
    assert (rule.group_by, rule.inhibited_by) == (("rule", "model"), ("feed-dead",))
    assert rule_files.from_document(rule_files.to_document(rule)) == rule


def test_slack_is_told_as_much_as_it_takes_and_how_many_there_are(monitor, storm, spy):
    fire(monitor, attrs.evolve(storm, group_wait_minutes=0), [f"model-{number:03}" for number in range(INSTANCES)])
    monitor.deliver()
    header, section = SlackChannel("https://hooks.slack.com/x").payload(spy.messages[0])["blocks"]
    assert header["text"]["text"] == "[WARNING] 200 alerts of rule accuracy-low"
    lines = section["text"]["text"].splitlines()
    (left_out,) = [line for line in lines if "lines left out" in line]
    shown = sum(line.startswith("- ") for line in lines)
    assert len(section["text"]["text"]) <= 3000
    assert shown > 20
    assert int(left_out.split()[1]) + shown in (INSTANCES, INSTANCES + 1)
    assert lines[-1].startswith("To take the first on")


# Inhibition ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def feed_dead():
    return AlertRule(
        "feed-dead", "labels", "no_outcomes", 1, "<", "critical", "data", channels=("spy",), scope="instance"
    )


@pytest.fixture
def kept(accuracy_low):
    return attrs.evolve(accuracy_low, scope="instance", inhibited_by=("feed-dead",), notify_resolved=True)


def begin(monitor, feed_dead, kept, model="m"):
    for rule in (feed_dead, kept):
        monitor.add_rule(rule)
    monitor.evaluate_rule("feed-dead", 0, model)
    return monitor.evaluate_rule(kept.rule_id, 0.5, model)


def subjects(spy):
    return [one.subject.partition(":")[0] for one in spy.messages]


def test_what_is_inhibited_is_kept_and_told_once_it_is_released(monitor, feed_dead, kept, spy, clock):
    alert = begin(monitor, feed_dead, kept)
    other = monitor.evaluate_rule(kept.rule_id, 0.5, "another")
    assert monitor.deliver().outcomes == {"delivered": 2, "inhibited": 1}
    assert {one.alert.model_version for one in spy.messages} == {"m", other.model_version}
    clock.forward(60 * 48)
    assert monitor.deliver().outcomes == {"inhibited": 1}
    assert [one.inhibited_by for one in monitor.deliveries()] == ["feed-dead"]
    (kept_one,) = [one for one in monitor.incidents() if one.inhibited_by is not None]
    assert (kept_one.incident_id, kept_one.inhibited_by) == (alert.incident_id, "feed-dead")
    assert [one.inhibited_by for one in monitor.standings() if one.incident_id == alert.incident_id] == ["feed-dead"]
    monitor.evaluate_rule("feed-dead", 5, "m")
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert spy.messages[-1].alert.alert_id == alert.alert_id
    events = [one.event for one in monitor.incident_history(incident_id=alert.incident_id)]
    assert events == ["pending", "firing", "inhibited"]


def test_what_ended_meanwhile_is_dropped_with_a_reason(monitor, feed_dead, kept, spy, clock):
    alert = begin(monitor, feed_dead, kept)
    monitor.deliver()
    monitor.evaluate_rule(kept.rule_id, 0.9, "m")
    clock.forward(1)
    monitor.evaluate_rule("feed-dead", 5, "m")
    assert sum(monitor.deliver().outcomes.values()) == 2
    monitor.deliver()
    assert subjects(spy) == ["[CRITICAL] feed-dead"]
    last = monitor.incident_history(incident_id=alert.incident_id)[-1]
    assert last.event == "dropped"
    assert last.reason.startswith("inhibited by feed-dead until now")


def test_whoever_was_told_is_told_the_end_and_what_got_worse(monitor, feed_dead, kept, spy, clock):
    """The inhibitor begins after somebody was told of a warning; the critical is kept, and told when it is over."""
    kept = attrs.evolve(kept, escalation={"critical": 0.4}, remind_minutes=10)
    monitor.add_rule(kept)
    monitor.evaluate_rule(kept.rule_id, 0.5, "m")
    monitor.deliver()
    begin(monitor, feed_dead, kept)
    monitor.deliver()
    clock.forward(20)
    monitor.evaluate_rule(kept.rule_id, 0.5, "m")  # a reminder
    monitor.evaluate_rule(kept.rule_id, 0.3, "m")
    assert monitor.deliver().outcomes == {"dropped": 1, "inhibited": 1}
    monitor.evaluate_rule("feed-dead", 5, "m")
    monitor.deliver()
    assert subjects(spy) == ["[WARNING] accuracy-low", "[CRITICAL] feed-dead", "[CRITICAL] accuracy-low"]
    begin(monitor, attrs.evolve(feed_dead, cooldown_minutes=0), kept)
    monitor.evaluate_rule(kept.rule_id, 0.9, "m")
    clock.forward(1)
    monitor.deliver()
    assert spy.messages[-1].purpose == "resolved"


def test_rules_that_inhibit_each_other_are_both_told_and_named(monitor, feed_dead, kept, spy):
    begin(monitor, attrs.evolve(feed_dead, inhibited_by=("accuracy-low",)), kept)
    assert monitor.deliver().outcomes == {"delivered": 2}
    named = [str(one) for one in monitor.rule_doubts() if one.field == "inhibited_by"]
    assert len(named) == 2
    assert all("inhibits itself through" in one for one in named)


@pytest.mark.parametrize("edit", ["removed", "disabled", "no longer named"])
def test_an_edit_releases_what_was_inhibited(monitor, feed_dead, kept, spy, edit):
    begin(monitor, feed_dead, kept)
    assert monitor.deliver()["inhibited"] == 1
    if edit == "removed":
        monitor.remove_rule("feed-dead")
    elif edit == "disabled":
        monitor.add_rule(attrs.evolve(feed_dead, enabled=False))
    else:
        monitor.add_rule(attrs.evolve(kept, inhibited_by=()))
    assert monitor.deliver()["delivered"] == 1
    assert subjects(spy)[-1] == "[WARNING] accuracy-low"


def test_what_inhibits_nothing_is_named(monitor, feed_dead, kept):
    monitor.add_rule(attrs.evolve(feed_dead, rule_id="feed-deaf", enabled=False))
    monitor.add_rule(attrs.evolve(kept, inhibited_by=("feed-dead", "feed-deaf")))
    named = [str(one) for one in monitor.rule_doubts() if one.field == "inhibited_by"]
    assert named == [
        "rule accuracy-low: inhibited_by: no rule 'feed-dead' is stored; did you mean 'feed-deaf'?",
        "rule accuracy-low: inhibited_by: rule 'feed-deaf' is disabled, and inhibits nothing",
    ]


@pytest.mark.usefixtures("spy")
def test_a_rule_over_all_models_inhibits_that_of_each(monitor, feed_dead, kept):
    monitor.add_rule(attrs.evolve(feed_dead, scope="rule"))
    monitor.add_rule(kept)
    monitor.evaluate_rule("feed-dead", 0, "all")
    monitor.evaluate_rule(kept.rule_id, 0.5, "m")
    assert monitor.deliver().outcomes == {"delivered": 1, "inhibited": 1}


def test_the_commands_show_what_is_inhibited(tmp_path, feed_dead, kept):
    url = f"sqlite:///{tmp_path}/f1mon.db"
    with Monitor.open(url, channels=Channels({"spy": lambda _: None}, environ={})) as monitor:
        begin(monitor, feed_dead, kept)
        monitor.deliver()

    def told(*arguments):
        return CliRunner().invoke(f1mon, ["--url", url, *arguments]).stdout

    for command in (("alerts",), ("incidents",), ("deliveries", "list"), ("evaluate", "--explain", "--exit-zero")):
        assert "inhibited by feed-dead" in told(*command), command
    assert [one["inhibited_by"] for one in json.loads(told("incidents", "--json"))] == [None, "feed-dead"]
    assert [one["inhibited_by"] for one in json.loads(told("deliveries", "list", "--json"))] == ["feed-dead"]


def test_an_alert_of_an_older_f1mon_is_told_as_ever(monitor, spy):
    alert = monitor.create_alert(**raised(channels=["spy"]))
    storage = monitor.storage
    key = f"delivery/{alert.alert_id}/spy"
    plain = {name: value for name, value in storage.state(key)[key].items() if name != "of"}
    storage.transition(key, lambda _document, _now: Change(plain), operation_id="older")
    assert monitor.deliver().outcomes == {"delivered": 1}


def test_an_event_loop_tells_of_a_group_too(clock, channels, spy, storm, feed_dead, kept):
    async def main():
        async with AsyncMonitor(OffloadedStorage(MemoryStorage(clock=clock)), channels=channels) as monitor:
            for model in "abc":
                await monitor.evaluate_rule(attrs.evolve(storm, group_wait_minutes=0), 0.5, model)
            assert (await monitor.deliver()).outcomes == {"delivered": 3}
            for rule in (feed_dead, attrs.evolve(kept, rule_id="kept")):
                await monitor.add_rule(rule)
            await monitor.evaluate_rule("feed-dead", 0, "m")
            await monitor.evaluate_rule("kept", 0.5, "m")
            assert (await monitor.deliver()).outcomes == {"delivered": 1, "inhibited": 1}

    asyncio.run(main())
    assert [len(one.alerts) for one in spy.messages] == [3, 0]
