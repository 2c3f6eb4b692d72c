"""Messages that a channel never takes, and channels that take nothing for a while: who waits for whom."""

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs
import pytest
from werkzeug import Response

from f1mon_core import DeliveryError
from f1mon_core.alerts import outbox
from f1mon_core.delivery import rests, turns, worker
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.delivery.worker import Dispatcher
from f1mon_core.monitor import Monitor
from f1mon_core.storage.change import Change
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select

FIVE_MINUTES = 5


def told(monitor, title, severity="warning", channels=("spy",)):
    return monitor.create_alert(severity, title, "m", "accuracy", 0.5, 0.8, "c", "m", list(channels)).alert_id


class Choosy:
    """A webhook's answers by the title of what it is sent; what it accepted, and when it was asked."""

    def __init__(self, httpserver, answers=()):
        self.answers, self.accepted, self.asked = dict(answers), [], []
        httpserver.expect_request("/hook").respond_with_handler(self)
        self.channel = WebhookChannel(httpserver.url_for("/hook"))

    def __call__(self, request):
        body = json.loads(request.data)
        self.asked.append(time.monotonic())
        status, headers = self.answers.get(body["title"], (200, {}))
        if status == 200:
            self.accepted.append(body["title"])
        return Response("", status, headers)


@pytest.fixture
def choosy(httpserver, channels):
    made = Choosy(httpserver, {"poison": (500, {})})
    channels.register("spy", made.channel)
    return made


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["delivery", "dead"])
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda _: {}, "alert_id"),
        (lambda one: {**one, "channel": None}, "channel"),
        (lambda one: {**one, "created": "yesterday"}, "created"),
        (lambda one: {**one, "failures": None}, "failures"),
    ],
)
def test_a_damaged_delivery_keeps_none_from_its_turn_and_check_names_it(choosy, monitor, kind, damage, named):
    one = told(monitor, "damaged")
    key, whole = next(iter(monitor.storage.state(outbox.WAITING).items()))
    hurt = f"{kind}/{key.split('/', 1)[1]}"
    if kind == "dead":
        monitor.storage.transition(key, lambda _old, _now: Change(None, also={hurt: damage(whole)}), operation_id="x")
    else:
        monitor.storage.transition(key, lambda old, _now: Change(damage(old)), operation_id="x")
    told(monitor, "sound")
    assert monitor.deliver().delivered == 1
    assert choosy.accepted == ["sound"]
    assert monitor.unheard() == monitor.dead_letters() == monitor.deliveries() == []
    assert monitor.retry_dead_letters() == monitor.discard_dead_letters("to see") == 0
    (problem,) = monitor.check().problems
    assert problem.severity == "error"
    assert one in problem.where
    assert repr(named) in problem.message


# Poison -------------------------------------------------------------------------------------------------------------


def test_three_poisoned_messages_of_cron_keep_no_other_from_being_sent(monitor, clock, choosy):
    for _ in range(3):
        told(monitor, "poison")
    for number in range(12):
        told(monitor, f"healthy {number}", "critical")
        monitor.deliver()
        assert choosy.accepted[-1] == f"healthy {number}"
        clock.forward(FIVE_MINUTES)
    assert len(choosy.accepted) == 12
    assert len(monitor.deliveries()) == 3


def test_more_poison_than_any_round_repeats_keeps_no_other_from_being_sent(monitor, clock, choosy, monkeypatch):
    for _ in range(100):
        told(monitor, "poison", "critical")
    assert monitor.deliver().outcomes == {"failed": 100}
    clock.forward(FIVE_MINUTES * 3)
    monkeypatch.setattr(worker, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(worker, "ROUND_SECONDS", 0.0)
    told(monitor, "healthy", "info")
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert choosy.accepted == ["healthy"]


def test_every_repeat_has_its_turn_however_short_a_round_is(monitor, clock, choosy, channels, monkeypatch):
    keys = {told(monitor, f"poison {number}") for number in range(6)}
    choosy.answers |= {f"poison {number}": (500, {}) for number in range(6)}
    monitor.deliver()
    tried = Counter()

    def one_a_round(error):
        def send(alert):
            tried[alert.alert_id] += 1
            monkeypatch.setattr(worker, "ROUND_SECONDS", 0.0)
            raise error

        return send

    channels.register("spy", one_a_round(DeliveryError("HTTP 500")))
    monkeypatch.setattr(worker, "LOOK_AGAIN_SECONDS", 0.0)
    for _ in range(6):
        clock.forward(FIVE_MINUTES * 3)
        monkeypatch.setattr(worker, "ROUND_SECONDS", 60.0)
        monitor.deliver()
    assert tried == dict.fromkeys(keys, 1)


def test_a_watching_worker_amid_poison_tries_a_fresh_alert_at_once(choosy, channels):
    channels.register("spy", choosy.channel)
    policy = Policy(base=timedelta(milliseconds=1), cap=timedelta(milliseconds=2))  # never done with the poison
    with Monitor(MemoryStorage(), channels=channels) as monitor:
        for _ in range(50):
            told(monitor, "poison", "critical")
        dispatcher, stop = Dispatcher(monitor.storage, channels, policy), threading.Event()
        watching = threading.Thread(target=dispatcher.watch, args=(stop, 0.05))
        watching.start()
        with contextlib.ExitStack() as leaving:
            leaving.callback(watching.join)
            leaving.callback(stop.set)
            for number in range(3):
                told(monitor, f"healthy {number}")
                assert soon(lambda wanted=number + 1: len(choosy.accepted) == wanted, 3)
        dispatcher.close()


def soon(happened, seconds):
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
    return happened()


def waiting(number, **more):
    return {"created": number, "due": number, "failures": 0, "attempts": 0, "purpose": "alert", **more}


def test_the_order_of_turns():
    found = {
        "repeat, due later": waiting(1, failures=2, due=9),
        "repeat, due first": waiting(2, failures=2, due=8, severity="critical"),
        "killed its workers": waiting(0, attempts=3, due=10),
        "resolved": waiting(3, purpose="resolved", severity="critical"),
        "of an older f1mon": waiting(4),
        "info": waiting(5, severity="info"),
        "critical": waiting(7, severity="critical"),
        "its channel failed": waiting(6, severity="critical", failures=2, of_channel=2, attempts=2),
    }
    assert turns.in_turn(found) == [
        "its channel failed", "critical", "of an older f1mon", "info",
        "repeat, due first", "repeat, due later", "killed its workers", "resolved",
    ]  # fmt: skip


def test_in_a_crowd_neither_the_newest_nor_the_oldest_waits_for_the_others():
    crowd = {f"{number:05}": waiting(number, severity="warning") for number in range(10_000)}
    crowd["fresh"] = waiting(10_000, severity="critical")
    crowd["old"] = waiting(-1, severity="info")
    order = turns.in_turn(crowd)
    assert order[:4] == ["fresh", "old", "09999", "00000"]
    assert sorted(order) == sorted(crowd)


# Rests --------------------------------------------------------------------------------------------------------------


def served(storage, channels, workers, seconds):
    """Several workers with handles of their own, for a while."""
    stop = threading.Event()
    dispatchers = [Dispatcher(storage, channels) for _ in range(workers)]
    threads = [threading.Thread(target=one.watch, args=(stop, 0.02)) for one in dispatchers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread, one in zip(threads, dispatchers, strict=True):
        thread.join()
        one.close()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("status", "after"),
    [
        (429, lambda: "20"),
        (503, lambda: "20"),
        (500, lambda: "20"),  # whoever asks to wait is waited for
        (429, lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)),
    ],
)
def test_forty_alerts_and_a_server_that_asks_to_wait(choosy, channels, workers, status, after):
    begun = time.time()
    choosy.answers["busy"] = status, {"Retry-After": after()}
    with Monitor(MemoryStorage(), channels=channels) as monitor:
        for _ in range(40):
            told(monitor, "busy")
        served(monitor.storage, channels, workers, 1.5)
        assert len(choosy.asked) <= workers  # what was on its way already
        rest = monitor.storage.state("channel/")["channel/spy"]
        assert (rest["channel"], rest["error"]) == ("spy", f"HTTP {status}")
        assert begun + 19 <= rest["until"] / 1e6 <= time.time() + 20  # a date has whole seconds


def test_after_its_rest_a_channel_is_tried_with_one_delivery(monitor, clock, choosy):
    choosy.answers["busy"] = 429, {"Retry-After": "600"}
    for _ in range(10):
        told(monitor, "busy")
    for number in range(1, 4):
        assert monitor.deliver().outcomes == {"failed": 1}
        assert len(choosy.asked) == number
        clock.forward(9.9)
        assert monitor.deliver().outcomes == {}
        clock.forward(0.2)
    choosy.answers["busy"] = 200, {}
    assert monitor.deliver().outcomes == {"delivered": 10}
    assert monitor.storage.state("channel/") == {}


def test_a_503_without_a_wish_lets_the_channel_rest_longer_each_time(monitor, clock, choosy, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    choosy.answers["busy"] = 503, {}
    for _ in range(5):
        told(monitor, "busy")
    pauses = []
    for _ in range(4):
        assert monitor.deliver().outcomes == {"failed": 1}
        (rest,) = monitor.storage.state("channel/").values()
        pauses.append((rest["until"] - rest["set_at"]) / 1e6)
        clock.forward(pauses[-1] / 60)
    assert pauses == [2, 4, 8, 16]


def test_a_failed_connection_is_the_channels_and_a_status_of_its_own_is_the_messages(monitor, channels, choosy):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    channels.register("nobody", WebhookChannel(f"http://127.0.0.1:{nobody}/"))
    for status in (500, 502, 408, 425):
        choosy.answers[f"poison {status}"] = status, {}
        told(monitor, f"poison {status}", channels=("spy", "nobody"))
    assert monitor.deliver().outcomes == {"failed": 4 + 1}
    assert list(monitor.storage.state("channel/")) == ["channel/nobody"]


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), TimeoutError("late")])
def test_a_channel_of_others_may_fail_as_such_too(monitor, spy, error):
    spy.error = error
    for _ in range(3):
        told(monitor, "t")
    assert monitor.deliver().outcomes == {"failed": 1}
    assert len(spy.messages) == 1


def test_whoever_tries_a_channel_out_and_dies_is_waited_for_no_longer_than_a_trial(monitor, clock, choosy):
    choosy.answers["busy"] = 429, {"Retry-After": "60"}
    told(monitor, "busy")
    monitor.deliver()
    choosy.answers["busy"] = 200, {}
    clock.forward(1)
    step = rests.trying_out("one that dies", Policy().trial)
    assert monitor.storage.transition("channel/spy", step, operation_id="1") == "one that dies"
    assert monitor.deliver().outcomes == {}
    clock.forward(Policy().trial / timedelta(minutes=1))
    assert monitor.deliver().outcomes == {"delivered": 1}


def test_whoever_has_nothing_to_send_does_not_try_a_channel_out(monitor, clock, choosy, accuracy_low):
    choosy.answers["busy"] = 429, {"Retry-After": "60"}
    told(monitor, "busy")
    monitor.deliver()
    choosy.answers["busy"] = 200, {}
    monitor.silence(clock.now + timedelta(hours=1), rule_id=accuracy_low.rule_id)
    monitor.evaluate_rule(attrs.evolve(accuracy_low, severity="critical"), 0.5, "m")
    clock.forward(1.1)
    assert monitor.deliver().outcomes == {"silenced": 1, "delivered": 1}


def test_a_clock_that_is_set_back_ends_a_rest(monitor, clock, choosy):
    choosy.answers["busy"] = 429, {"Retry-After": "600"}
    told(monitor, "busy")
    monitor.deliver()
    choosy.answers["busy"] = 200, {}
    clock.forward(-60 * 24)
    assert monitor.deliver().outcomes == {"delivered": 1}


def test_what_a_channel_did_not_take_for_a_day_is_a_dead_letter(monitor, clock, spy):
    spy.error = DeliveryError("network error", channel=True)
    for _ in range(30):
        told(monitor, "old")
    for _ in range(8):
        assert monitor.deliver().outcomes == {"failed": 1}
        clock.forward(60 * 3)
    young = told(monitor, "young")
    for _ in range(2):
        monitor.deliver()
        clock.forward(20)
    assert len(monitor.dead_letters()) == 30
    assert {one.error for one in monitor.dead_letters()} >= {"the channel has failed for too long: network error"}
    assert [one.alert_id for one in monitor.deliveries()] == [young]
    spy.error = None
    clock.forward(60)
    assert monitor.retry_dead_letters() == 30
    assert monitor.deliver().outcomes == {"delivered": 31}


def test_a_document_of_an_older_f1mon_is_served(monitor, choosy):
    alert_id = told(monitor, "healthy")
    (key,) = monitor.storage.state("delivery/")

    def aged(document, _now):
        return Change({name: value for name, value in document.items() if name != "severity"})

    monitor.storage.transition(key, aged, operation_id="1")
    assert monitor.deliver().outcomes == {"delivered": 1}
    assert [fact.alert_id for fact in monitor.storage.find(Select("delivery"))] == [alert_id]
    assert outbox.channel_failures({}) == 0


# In miniature -------------------------------------------------------------------------------------------------------


def test_a_fresh_critical_alert_among_thousands(choosy, channels):
    """Of 3,000 deliveries 1,000 are poison; what comes then is tried within seconds of a watching worker."""
    with Monitor(MemoryStorage(), channels=channels) as monitor:
        for number in range(3_000):
            told(monitor, "poison" if number % 3 == 0 else f"healthy {number}")
        stop = threading.Event()
        watching = threading.Thread(target=monitor.deliver_until, args=(stop, 0.2))
        watching.start()
        try:
            assert soon(lambda: len(choosy.asked) > 20, 10)
            begun = time.monotonic()
            told(monitor, "fresh", "critical")
            assert soon(lambda: "fresh" in choosy.accepted, 4)
            took = time.monotonic() - begun
            assert len(monitor.deliveries()) > 1_000  # the crowd is still there
        finally:
            stop.set()
            watching.join()
            for one in list(monitor.storage.state("delivery/")):
                monitor.storage.transition(one, lambda _document, _now: Change(None), operation_id=one)
        assert took < 4
