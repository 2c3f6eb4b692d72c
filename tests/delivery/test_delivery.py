"""The outbox: leases, repeats, dead letters, silences; each failure as designed, and no channel in another's way."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta

import attrs
import pytest

from f1mon_core import DeliveryError, LockTimeoutError
from f1mon_core.alerts import outbox
from f1mon_core.delivery import tasks
from f1mon_core.delivery import worker as delivery
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.worker import THOROUGH_EVERY
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.select import Select

from ..interrupted import Interrupted

LEASE = Policy().lease


def delivered(monitor):
    return [(fact.alert_id, fact.channel, fact.attempts) for fact in monitor.storage.find(Select("delivery"))]


def test_an_alert_reaches_each_of_its_channels_once(monitor, accuracy_low, spy, channels):
    channels.register("second", second := type(spy)())
    alert = monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("spy", "second")), 0.5, "m")
    assert monitor.deliver().outcomes == {"delivered": 2}
    assert monitor.deliver().outcomes == {}
    assert [message.key for message in (*spy.messages, *second.messages)] == [alert.alert_id] * 2
    assert sorted(delivered(monitor)) == [(alert.alert_id, "second", 1), (alert.alert_id, "spy", 1)]
    assert monitor.deliveries() == []


def test_a_lease_belongs_to_one_worker_and_ends(monitor, clock, accuracy_low):
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    (key,) = monitor.storage.state("delivery/")
    transition = monitor.storage.transition
    assert transition(key, outbox.lease("one", LEASE), operation_id="1")["token"] == "one"
    assert transition(key, outbox.lease("two", LEASE), operation_id="2") is None
    clock.forward(LEASE / timedelta(minutes=1))
    assert transition(key, outbox.lease("two", LEASE), operation_id="3")["attempts"] == 2
    assert transition(key, outbox.complete("one"), operation_id="4") is False
    assert delivered(monitor) == []
    assert transition(key, outbox.complete("two"), operation_id="5") is True
    assert len(delivered(monitor)) == 1


def test_a_clock_set_back_leaves_nothing_waiting(monitor, clock, accuracy_low, spy):
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    clock.forward(-60 * 24 * 365)
    assert monitor.deliver().delivered == 1
    assert len(spy.messages) == 1


def test_a_failure_is_repeated_later_and_counted(monitor, clock, accuracy_low, spy):
    spy.error = OSError("unreachable\r\nhost")
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    assert monitor.deliver().outcomes == {"failed": 1}
    (waiting,) = monitor.deliveries()
    assert (waiting.attempts, waiting.failures, waiting.error) == (1, 1, "OSError: unreachable host")
    clock.forward(1)
    spy.error = None
    assert monitor.deliver().outcomes == {"delivered": 1}
    first, second = spy.messages
    assert first == second


def test_a_delivery_that_cannot_succeed_is_dead_at_once_and_can_be_sent_again(monitor, accuracy_low, spy, caplog):
    spy.error = DeliveryError("HTTP 404", retry=False)
    alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
    with caplog.at_level(logging.ERROR):
        assert monitor.deliver().outcomes == {"dead": 1}
    assert "HTTP 404" in caplog.text
    (letter,) = monitor.dead_letters()
    assert (letter.alert_id, letter.channel, letter.error, letter.due) == (alert.alert_id, "spy", "HTTP 404", None)
    assert monitor.deliveries() == []
    assert monitor.retry_dead_letters(channel="other") == 0
    assert monitor.retry_dead_letters() == 1
    assert monitor.dead_letters() == []
    assert monitor.deliver().outcomes == {"dead": 1}
    spy.error = None
    assert monitor.retry_dead_letters(alert_id=alert.alert_id, channel="spy") == 1
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert delivered(monitor)[0][2] == 3


def test_after_a_day_of_failures_a_delivery_is_dead(monitor, clock, accuracy_low, spy):
    spy.error = OSError("down")
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    for _ in range(7):
        assert monitor.deliver().outcomes == {"failed": 1}
        clock.forward(60 * 24)
    assert monitor.deliver().outcomes == {"dead": 1}


def test_what_the_other_side_asks_to_wait_is_waited(monitor, clock, accuracy_low, spy):
    spy.error = DeliveryError("HTTP 429", after=3600)
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    monitor.deliver()
    clock.forward(59)
    assert monitor.deliver().outcomes == {}
    clock.forward(1)
    assert monitor.deliver().outcomes == {"failed": 1}


def test_the_wait_is_full_jitter_under_a_cap():
    policy = Policy()
    waits = [policy.wait(3).total_seconds() for _ in range(500)]
    assert min(waits) < 2
    assert 12 < max(waits) <= 16
    assert policy.wait(200) <= policy.cap


def test_a_name_nothing_is_configured_for_is_dead_after_a_moment(monitor, clock, accuracy_low):
    monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("pager",)), 0.5, "m")
    assert monitor.deliver().outcomes == {"waiting": 1}
    clock.forward(2)
    assert monitor.deliver().outcomes == {"dead": 1}
    assert "nothing is configured for channel 'pager'" in monitor.dead_letters()[0].error


def test_a_broken_configuration_is_dead_at_once(clock, accuracy_low):
    channels = Channels(environ={"F1MON_CHANNEL_SPY": "smtp://user:geheim@mail.example/"})
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        monitor.evaluate_rule(accuracy_low, 0.5, "m")
        assert monitor.deliver().outcomes == {"dead": 1}
        assert "geheim" not in monitor.dead_letters()[0].error


def test_a_hanging_channel_holds_up_neither_the_others_nor_the_evaluator(monitor, accuracy_low, spy, channels):
    free = threading.Event()

    class Hung:
        def send(self, _message):
            free.wait(30)

    channels.register("hung", Hung())
    monitor.deliver_after_commit(patience=0.2)
    rule = attrs.evolve(accuracy_low, channels=("hung", "spy"), cooldown_minutes=0)
    began = time.monotonic()
    for _ in range(5):
        assert monitor.evaluate_rule(rule, 0.5, "m") is not None
    held_up = time.monotonic() - began
    assert len(spy.messages) == 5
    free.set()
    assert held_up < 10
    monitor.deliver()
    assert len({alert_id for alert_id, channel, _ in delivered(monitor) if channel == "hung"}) == 5


def test_whoever_has_no_worker_is_told_everything_at_the_next_evaluation(monitor, clock, accuracy_low, spy):
    monitor.deliver_after_commit()
    rule = attrs.evolve(accuracy_low, notify_resolved=True, remind_minutes=10, cooldown_minutes=600)
    spy.error = OSError("down")
    monitor.evaluate_rule(rule, 0.5, "m")
    spy.error = None
    spy.messages.clear()
    clock.forward(1)
    assert monitor.evaluate_rule(rule, 0.5, "m") is None
    clock.forward(9)
    assert monitor.evaluate_rule(rule, 0.5, "m") is None
    assert monitor.evaluate_rule(rule, 0.9, "m") is None
    assert [message.purpose for message in spy.messages] == ["alert", "reminder", "resolved"]
    monitor.silence(clock.now + timedelta(hours=1))
    assert monitor.evaluate_rule(attrs.evolve(rule, rule_id="silenced"), 0.5, "m") is not None
    assert len(spy.messages) == 3
    clock.forward(61)
    monitor.evaluate_rule(attrs.evolve(rule, rule_id="other"), 0.9, "m")
    assert spy.messages[-1].alert.rule_id == "silenced"


def test_an_outbox_that_cannot_be_read_does_not_hide_the_alert(monitor, accuracy_low, spy, monkeypatch, caplog):
    monitor.deliver_after_commit()
    state = monitor.storage.state

    def busy(prefix, **more):
        if prefix == "delivery/":
            raise LockTimeoutError("busy")
        return state(prefix, **more)

    with monkeypatch.context() as patched:
        patched.setattr(monitor.storage, "state", busy)
        alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
        assert alert is not None
        assert monitor.evaluate_rule(accuracy_low, 0.5, "m") is None
    assert "could not be delivered" in caplog.text
    assert monitor.evaluate_rule(accuracy_low, 0.5, "m") is None
    assert [message.key for message in spy.messages] == [alert.alert_id]


def test_whoever_evaluates_does_not_scan_the_outbox_each_time(monitor, accuracy_low, monkeypatch):
    monitor.deliver_after_commit()
    scans = []
    state = monitor.storage.state

    def counted(prefix, **more):
        scans.append(prefix == "delivery/" and more["due_before"] is None)
        return state(prefix, **more)

    monkeypatch.setattr(monitor.storage, "state", counted)
    for _ in range(THOROUGH_EVERY):
        monitor.evaluate_rule(accuracy_low, 0.9, "m")
    assert scans.count(True) == 1


def test_a_channel_that_ends_its_thread_is_a_failed_attempt(monitor, accuracy_low, channels):
    channels.register("spy", lambda _: sys.exit(1))
    monitor.deliver_after_commit()
    assert monitor.evaluate_rule(accuracy_low, 0.5, "m") is not None
    assert monitor.deliveries()[0].error == "the channel raised SystemExit"


@pytest.fixture
def hung(channels):
    """A channel that hangs until its event is set."""
    free = threading.Event()
    channels.register("hung", lambda _: free.wait(60))
    yield free
    free.set()


def test_closing_waits_for_no_channel_that_hangs(monitor, accuracy_low, hung, monkeypatch, caplog):
    monkeypatch.setattr(delivery, "CLOSING_SECONDS", 0.2)
    monitor.deliver_after_commit(patience=0.1)
    monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("hung",)), 0.5, "m")
    assert not hung.is_set()
    began = time.monotonic()
    monitor.close()
    assert time.monotonic() - began < 10
    assert "channel hung is still busy" in caplog.text


def test_closing_waits_for_what_is_being_sent(monitor, accuracy_low, channels):
    sent = []
    channels.register("slow", lambda alert: time.sleep(0.3) or sent.append(alert))
    monitor.deliver_after_commit(patience=0)
    monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("slow",)), 0.5, "m")
    monitor.close()
    assert len(sent) == 1


def test_a_forked_child_delivers_too(monitor, accuracy_low, channels, hung, tmp_path):
    def log(_alert):
        with (tmp_path / "log").open("a") as lines:
            lines.write(f"{os.getpid()}\n")

    channels.register("spy", log)
    monitor.deliver_after_commit(patience=0.2)
    monitor.evaluate_rule(attrs.evolve(accuracy_low, rule_id="of-parent", channels=("hung", "spy")), 0.5, "m")
    if (pid := os.fork()) == 0:
        signal.alarm(30)
        hung.set()
        for number in range(3):
            monitor.evaluate_rule(attrs.evolve(accuracy_low, rule_id=f"of-child-{number}"), 0.5, "m")
        monitor.deliver()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "log").read_text().split() == [str(os.getpid()), *[str(pid)] * 3]


def test_a_callback_that_raises_disturbs_nobody(monitor, accuracy_low, spy, channels):
    channels.register("mine", lambda _: 1 / 0)
    monitor.deliver_after_commit()
    assert monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("mine", "spy")), 0.5, "m") is not None
    assert len(spy.messages) == 1
    (waiting,) = monitor.deliveries()
    assert (waiting.channel, waiting.failures, waiting.error) == ("mine", 1, "ZeroDivisionError: division by zero")


def test_a_callback_gets_the_stored_alert(monitor, accuracy_low, channels):
    got = []
    channels.register("spy", got.append)
    monitor.deliver_after_commit()
    alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
    assert [one.alert_id for one in got] == [alert.alert_id]
    assert got == monitor.alerts()


def test_a_silence_stores_and_does_not_tell(monitor, clock, accuracy_low, spy):
    start = clock.now + timedelta(minutes=1)
    monitor.silence(start + timedelta(hours=2), start=start, rule_id="accuracy-low", by="ada")
    rule = attrs.evolve(accuracy_low, cooldown_minutes=10)
    monitor.evaluate_rule(rule, 0.5, "m")  # before it begins
    assert monitor.deliver().outcomes == {"delivered": 1}
    monitor.evaluate_rule(rule, 0.9, "m")
    clock.forward(10)
    for _ in range(4):
        assert monitor.evaluate_rule(rule, 0.5, "m") is not None
        clock.forward(11)
    assert monitor.deliver().outcomes == {"silenced": 4}
    assert len(monitor.alerts()) == 5
    clock.forward(67)
    assert clock.now == start + timedelta(hours=2)  # half-open: told at its end, and the four of one incident once
    assert monitor.deliver().outcomes == {"delivered": 1, "dropped": 3}
    assert spy.messages[-1].alert == monitor.alerts()[0]


def test_what_resolved_during_a_silence_is_not_told(monitor, clock, accuracy_low, spy):
    monitor.silence(clock.now + timedelta(hours=1), component="performance", severity="warning")
    rule = attrs.evolve(accuracy_low, notify_resolved=True)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    monitor.evaluate_rule(rule, 0.9, "m")
    monitor.deliver()
    clock.forward(61)
    assert monitor.deliver().outcomes == {"dropped": 2}
    assert spy.messages == []


def test_what_was_told_before_the_silence_is_not_told_again_at_its_end(monitor, clock, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, cooldown_minutes=10)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    monitor.silence(clock.now + timedelta(hours=1))
    clock.forward(11)
    assert monitor.evaluate_rule(rule, 0.5, "m") is not None
    monitor.deliver()
    clock.forward(60)
    assert monitor.deliver().outcomes == {"dropped": 1}
    assert len(spy.messages) == 1


@pytest.mark.usefixtures("spy")
def test_a_silence_of_others_does_not_matter_and_one_can_be_lifted(monitor, clock, accuracy_low):
    monitor.silence(clock.now + timedelta(hours=1), rule_id="other")
    ours = monitor.silence(clock.now + timedelta(hours=1), rule_id="accuracy-low")
    monitor.lift_silence(ours.silence_id)
    assert [one.match for one in monitor.silences()] == [{"rule_id": "other"}]
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    assert monitor.deliver().delivered == 1
    with pytest.raises(LookupError):
        monitor.lift_silence(ours.silence_id)
    with pytest.raises(ValueError, match="ends"):
        monitor.silence(clock.now, start=clock.now)
    with pytest.raises(ValueError, match="would end before"):
        monitor.silence(clock.now - timedelta(hours=1))


def test_a_silence_that_is_lifted_holds_nothing_back_any_more(monitor, clock, accuracy_low, spy):
    silence = monitor.silence(clock.now + timedelta(days=7))
    alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
    assert monitor.deliver().outcomes == {"silenced": 1}
    clock.forward(5)
    monitor.lift_silence(silence.silence_id)
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert spy.messages[0].alert.alert_id == alert.alert_id


def test_a_silence_lifted_while_a_worker_looks_at_it_holds_nothing_back(monitor, clock, accuracy_low, spy):
    silence = monitor.silence(clock.now + timedelta(days=7))
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    lifting = Interrupted(monitor.storage, lambda: monitor.lift_silence(silence.silence_id), after_state="silence/")
    worker = delivery.Dispatcher(lifting, monitor.channels)
    assert worker.round().outcomes == {"silenced": 1}
    assert worker.round().outcomes == {"delivered": 1}
    assert len(spy.messages) == 1


def test_a_silence_lifted_while_a_delivery_fails_does_not_hasten_its_repeat(monitor, clock, accuracy_low, spy):
    spy.error = DeliveryError("HTTP 429", after=3600)
    silence = monitor.silence(clock.now + timedelta(days=7), rule_id="other")
    monitor.channels.register("spy", lambda _: monitor.lift_silence(silence.silence_id) or spy.send(None))
    monitor.evaluate_rule(accuracy_low, 0.5, "m")
    assert monitor.deliver().outcomes == {"failed": 1}
    clock.forward(59)
    assert monitor.deliver().outcomes == {}


def test_reminders_and_the_end_of_an_incident_are_told_where_that_was_asked_for(monitor, clock, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, remind_minutes=10, notify_resolved=True)
    alert = monitor.evaluate_rule(rule, 0.5, "m")
    clock.forward(10)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.evaluate_rule(rule, 0.9, "m")
    assert monitor.deliver().delivered == 3
    by_key = {message.key: message for message in spy.messages}
    assert by_key.keys() == {alert.alert_id, f"{alert.alert_id}#reminder1", f"{alert.alert_id}#resolved"}
    assert by_key[f"{alert.alert_id}#reminder1"].subject.startswith("Reminder: [WARNING]")
    assert "f1mon ack" not in by_key[f"{alert.alert_id}#resolved"].text


def test_that_it_resolved_is_told_after_the_alert_and_never_instead(monitor, clock, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, notify_resolved=True, remind_minutes=1)
    spy.error = DeliveryError("HTTP 500", after=600, channel=False)
    monitor.evaluate_rule(rule, 0.5, "m")
    assert monitor.deliver().outcomes == {"failed": 1}
    spy.error = None
    spy.messages.clear()
    clock.forward(1)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.evaluate_rule(rule, 0.9, "m")
    assert monitor.deliver().outcomes == {"waiting": 2}
    assert monitor.deliver().outcomes == {}
    clock.forward(9)
    assert monitor.deliver().outcomes == {"delivered": 3}
    assert [message.purpose for message in spy.messages] == ["alert", "reminder", "resolved"]


def test_that_it_resolved_waits_for_an_alert_that_another_worker_sends(monitor, clock, accuracy_low, spy):
    monitor.evaluate_rule(attrs.evolve(accuracy_low, notify_resolved=True), 0.5, "m")
    (key,) = monitor.storage.state("delivery/")
    monitor.storage.transition(key, outbox.lease("other", LEASE), operation_id="1")
    monitor.evaluate_rule(attrs.evolve(accuracy_low, notify_resolved=True), 0.9, "m")
    assert monitor.deliver().outcomes == {"waiting": 1}
    monitor.storage.transition(key, outbox.complete("other"), operation_id="2")
    clock.forward(0.1)
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert [message.purpose for message in spy.messages] == ["resolved"]


def test_that_it_resolved_is_a_dead_letter_beside_its_alert(monitor, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, notify_resolved=True)
    spy.error = DeliveryError("HTTP 404", retry=False)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    spy.error = None
    spy.messages.clear()
    monitor.evaluate_rule(rule, 0.9, "m")
    assert monitor.deliver().outcomes == {"dead": 1}
    assert [one.error for one in monitor.dead_letters()] == ["HTTP 404", "the alert that this resolves did not arrive"]
    assert spy.messages == []
    assert monitor.retry_dead_letters() == 2
    assert monitor.deliver().outcomes == {"delivered": 2}
    assert [message.purpose for message in spy.messages] == ["alert", "resolved"]


def test_a_reminder_that_waits_is_not_sent_once_somebody_took_it_on(monitor, clock, accuracy_low, spy):
    rule = attrs.evolve(accuracy_low, remind_minutes=10, cooldown_minutes=600)
    alert = monitor.evaluate_rule(rule, 0.5, "m")
    monitor.deliver()
    clock.forward(10)
    monitor.evaluate_rule(rule, 0.5, "m")
    monitor.acknowledge(alert.alert_id, "ada")
    assert monitor.deliver().outcomes == {"dropped": 1}
    assert [message.purpose for message in spy.messages] == ["alert"]


def test_what_was_not_delivered_holds_its_alert_against_pruning(monitor, clock, accuracy_low, spy):
    spy.error = DeliveryError("HTTP 404", retry=False)
    alert = monitor.evaluate_rule(accuracy_low, 0.5, "m")
    monitor.evaluate_rule(accuracy_low, 0.9, "m")
    clock.forward(60 * 24)
    monitor.storage.prune(clock.now)
    assert monitor.deliver().outcomes == {"dead": 1}
    monitor.storage.prune(clock.now)
    spy.error = None
    monitor.retry_dead_letters()
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert spy.messages[-1].alert.alert_id == alert.alert_id
    monitor.storage.prune(clock.now + timedelta(hours=1))
    assert monitor.alerts() == []


def test_the_async_monitor_delivers_too(clock, channels, accuracy_low, spy):
    async def story():
        async with AsyncMonitor(OffloadedStorage(MemoryStorage(clock=clock)), channels=channels) as monitor:
            await monitor.deliver_after_commit()
            alert = await monitor.evaluate_rule(accuracy_low, 0.5, "m")
            assert await monitor.deliveries() == []
            return alert

    alert = asyncio.run(story())
    assert [message.key for message in spy.messages] == [alert.alert_id]


def test_a_channel_that_hangs_holds_up_nobody_beside_an_event_loop(clock, channels, accuracy_low, spy, hung):
    rule = attrs.evolve(accuracy_low, channels=("hung", "spy"), cooldown_minutes=0)

    async def story():
        async with AsyncMonitor(OffloadedStorage(MemoryStorage(clock=clock)), channels=channels) as monitor:
            await monitor.deliver_after_commit(patience=0.5)
            began = time.monotonic()
            for number in range(40):
                await monitor.evaluate_rule(rule, 0.5, "m")
                assert len(spy.messages) == number + 1
            # The channel's patience is used up once, and not again by each evaluation.
            assert time.monotonic() - began < 10
            assert (await monitor.deliver(patience=0)).unfinished == ("hung",)
            hung.set()
            await monitor.deliver()
            assert await monitor.deliveries() == []

    asyncio.run(story())


def test_closing_waits_for_no_channel_that_hangs_beside_an_event_loop(
    clock, channels, accuracy_low, hung, monkeypatch, caplog
):
    for module in (delivery, tasks):
        monkeypatch.setattr(module, "CLOSING_SECONDS", 0.2)

    async def story():
        async with AsyncMonitor(OffloadedStorage(MemoryStorage(clock=clock)), channels=channels) as monitor:
            await monitor.deliver_after_commit(patience=0.1)
            await monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("hung",)), 0.5, "m")

    began = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - began < 10
    assert "channel hung is still busy" in caplog.text
    assert not hung.is_set()


@pytest.mark.usefixtures("hung")
def test_each_event_loop_serves_the_channels_anew(clock, channels, accuracy_low, spy):
    monitor = AsyncMonitor(OffloadedStorage(MemoryStorage(clock=clock)), channels=channels)

    async def evaluated(rule_id):
        await monitor.deliver_after_commit(patience=0.1)
        rule = attrs.evolve(accuracy_low, rule_id=rule_id, channels=("hung", "spy"))
        return await monitor.evaluate_rule(rule, 0.5, "m")

    alerts = [asyncio.run(evaluated("one")), asyncio.run(evaluated("two"))]
    assert [message.key for message in spy.messages] == [alert.alert_id for alert in alerts]
    asyncio.run(monitor.storage.close())
