"""Who watches the evaluator, and who hears: overdue rules, the call after a round, dead letters, open incidents."""

import asyncio
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from f1mon_core import AlertRule, AsyncMonitor, Monitor, NotFoundError, open_storage
from f1mon_core.cli import delivery as cli_delivery
from f1mon_core.delivery import heartbeat
from f1mon_core.errors import ConfigurationError

LOW = AlertRule(
    "low", "accuracy", "threshold", 0.8, "<", "warning", "c", channels=("console",), cooldown_minutes=0, scope="rule"
)


@pytest.fixture
def store():
    with Monitor.open("jsonl", path="store") as monitor:
        for number in range(20):
            monitor.record_prediction(f"p{number}", "podium-1", 1, 0.9)
            monitor.record_outcome(f"p{number}", number % 2)
        monitor.add_rule(LOW)
    return ("--path", "store")


def ago(**length):
    """The store as it was written some time ago."""
    then = datetime.now(UTC) - timedelta(**length)
    return Monitor(open_storage("jsonl", path="old", clock=lambda: then))


OLD = ("--path", "old")


@pytest.mark.parametrize("evaluated", ["at all", "for no model", "by hand", "never"])
@pytest.mark.parametrize("hours", [24, 26])
def test_a_rule_that_nobody_evaluates_is_named(run, evaluated, hours):
    with ago(hours=hours) as monitor:
        scope = "instance" if evaluated == "for no model" else "rule"
        monitor.add_rule(AlertRule("low", "accuracy", "threshold", 0.8, "<", "info", "c", scope=scope))
        if evaluated in ("at all", "for no model"):
            monitor.evaluate()
        elif evaluated == "by hand":
            monitor.evaluate_rule("low", 0.9, "a")
    checked = run(*OLD, "check", code=5 if hours == 26 else 0).stderr
    last = "never evaluated since it was stored" if evaluated == "never" else "last evaluated"
    assert (f"warning: evaluation: rule low: {last} " in checked) is (hours == 26)
    assert ("overdue: rule low" in run(*OLD, "status").stderr) is (hours == 26)
    told = json.loads(run(*OLD, "status", "--json").stdout)["alerts"]
    assert told["overdue_rules"] == (["low"] if hours == 26 else [])
    run(*OLD, "evaluate")
    run(*OLD, "check")


def test_a_rule_says_how_long_it_may_wait(run):
    with ago(minutes=20) as monitor:
        monitor.add_rule(AlertRule("often", "accuracy", "threshold", 0.8, "<", "info", "c", overdue_minutes=10))
        monitor.add_rule(AlertRule("seldom", "accuracy", "threshold", 0.8, "<", "info", "c", overdue_minutes=30))
        monitor.add_rule(
            AlertRule("off", "accuracy", "threshold", 0.8, "<", "info", "c", overdue_minutes=10, enabled=False)
        )
    problems = json.loads(run(*OLD, "check", "--json", code=5).stdout)["problems"]
    assert [one["message"].partition(":")[0] for one in problems] == ["rule often"]


def test_a_worker_names_them_once(monkeypatch, caplog):
    with ago(hours=30) as monitor:
        monitor.add_rule(LOW)
    monkeypatch.setattr(cli_delivery, "OVERDUE_SECONDS", 0.01)
    with Monitor.open("jsonl", path="old") as monitor:
        stop = threading.Event()
        naming = threading.Thread(target=cli_delivery._name_overdue, args=(monitor, stop))
        naming.start()
        stop.wait(0.5)
        stop.set()
        naming.join()
    assert caplog.text.count("overdue: rule low: never evaluated") == 1


class Service(BaseHTTPRequestHandler):
    """What is called after a round."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.calls.append((self.command, self.path, body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = answer  # noqa: N815 - the names http.server asks for
    do_POST = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(heartbeat, "_PAUSE_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.calls, server.statuses = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/ping/secret-uuid"
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("statuses", "methods", "reached"),
    [
        ([], ["POST"], True),
        ([405], ["POST", "GET"], True),
        ([500, None], ["POST", "POST", "POST"], True),
        ([500, 500, 500], ["POST", "POST", "POST"], False),
        ([None, None, None], ["POST", "POST", "POST"], False),
    ],
)
def test_an_address_is_called_after_each_whole_round(run, store, service, statuses, methods, reached):
    service.statuses = list(statuses)
    result = run(*store, "evaluate", "--ping", service.url, code=3)
    assert [method for method, _, _ in service.calls] == methods
    assert {path for _, path, _ in service.calls} == {"/ping/secret-uuid"}
    assert service.calls[0][2] == "1 rules, 1 fired"
    assert ("could not be reached" in result.stderr) is not reached
    assert "secret-uuid" not in result.stderr


def test_a_round_that_was_not_whole_is_none(run, store, service, monkeypatch):
    monkeypatch.setenv("F1MON_PING", service.url)
    run(*store, "evaluate", "--rule", "low", code=3)
    run(*store, "evaluate", "--component", "c", code=3)
    run(*store, "evaluate", "--rule", "nothing", code=1)
    assert service.calls == []
    run(*store, "evaluate", code=3)
    assert len(service.calls) == 1


@pytest.mark.parametrize("address", ["ftp://x/secret", "secret", "http://", "http://a:b/secret", "http://x/secret\n"])
def test_an_address_that_cannot_be_called_is_wrong_usage_before_anything_is_evaluated(run, store, address):
    result = run(*store, "evaluate", "--ping", address, code=2)
    assert "secret" not in result.stderr
    with Monitor.open("jsonl", path="store") as monitor:
        assert monitor.alerts() == []


def test_nobody_there_is_a_warning(run, store, service):
    url = service.url
    service.shutdown()
    service.server_close()
    assert "could not be reached" in run(*store, "evaluate", "--ping", url, code=3).stderr


def until(done):
    deadline = time.monotonic() + 20
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()


def test_a_monitor_calls_it_too_after_each_whole_evaluation(run, store, service, monkeypatch):
    monkeypatch.setenv("F1MON_PING", service.url)
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.evaluate()
        assert service.calls == []  # where nobody asked
        monitor.ping_after_evaluation()
        monitor.evaluate(rule_id="low")
        assert service.calls == []
        monitor.evaluate()
        assert [(method, said) for method, _, said in service.calls] == [("POST", "1 fired")]
        monitor.ping_after_evaluation("")
        monitor.evaluate()
        assert len(service.calls) == 1
        with pytest.raises(ConfigurationError, match="address to call") as raised:
            monitor.ping_after_evaluation("ftp://x/secret")
        assert "secret" not in str(raised.value)


def test_the_monitor_of_an_event_loop_calls_it_too(store, service):
    async def main():
        async with await AsyncMonitor.open("jsonl", path="store") as monitor:
            await monitor.ping_after_evaluation(service.url)
            await monitor.evaluate()
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, stop.set)
            await monitor.deliver_until(stop, 0.05, ping=service.url)

    asyncio.run(main())
    until(lambda: len(service.calls) == 2)


def test_a_worker_calls_an_address_of_its_own_once_a_minute(run, store, service, monkeypatch):
    """An evaluator that stopped must not hide behind a worker that goes on."""
    monkeypatch.setenv("F1MON_PING", service.url)
    stop = threading.Event()
    with Monitor.open("jsonl", path="store") as monitor:
        threading.Timer(0.3, stop.set).start()
        monitor.deliver_until(stop, 0.02)
        assert service.calls == []
        monkeypatch.setenv("F1MON_DELIVER_PING", service.url)
        stop.clear()
        threading.Timer(0.3, stop.set).start()
        monitor.deliver_until(stop, 0.02)
        until(lambda: service.calls)
        assert len(service.calls) == 1
    run(*store, "deliver")
    assert len(service.calls) == 2
    assert "secret" not in run(*store, "deliver", "--ping", "ftp://secret", code=2).stderr


@pytest.fixture
def dead(run, store, monkeypatch):
    """An alert that fired, and whose message is a dead letter."""
    monkeypatch.setenv("F1MON_CHANNEL_CONSOLE", "smtp://nowhere/")
    run(*store, "evaluate", code=3)
    assert "1 dead" in run(*store, "deliver", code=5).stderr
    monkeypatch.delenv("F1MON_CHANNEL_CONSOLE")
    return store


def test_a_dead_letter_of_an_open_incident_shows_wherever_somebody_looks(run, dead):
    assert "dead letters of open incidents: 1" in run(*dead, "deliver", code=5).stderr
    run(*dead, "deliver", "--exit-zero")
    assert "dead letters of open incidents: 1" in run(*dead, "status").stderr
    assert json.loads(run(*dead, "status", "--json").stdout)["alerts"]["dead_letters"] == 1
    assert "open, dead letter" in run(*dead, "alerts").stdout
    assert [one["dead"] for one in json.loads(run(*dead, "alerts", "--json").stdout)] == [True]
    assert "a dead letter of an open incident, by channel console" in run(*dead, "check", code=5).stderr
    (one,) = json.loads(run(*dead, "incidents", "--json").stdout)
    run(*dead, "resolve", one["incident_id"], "--reason", "the sensor was broken")
    run(*dead, "deliver")
    run(*dead, "check")
    assert "their incident has ended" in run(*dead, "deliveries", "retry").stderr


def test_a_dead_letter_is_discarded_with_its_reason(run, dead):
    run(*dead, "deliveries", "discard", code=2)
    run(*dead, "deliveries", "discard", "--reason", " ", code=2)
    assert "0 discarded" in run(*dead, "deliveries", "discard", "--channel", "x", "--reason", "y").stderr
    assert "1 discarded" in run(*dead, "deliveries", "discard", "--reason", "told by phone", "--by", "ada").stderr
    run(*dead, "deliver")
    run(*dead, "check")
    (alert,) = json.loads(run(*dead, "alerts", "--json").stdout)
    last = json.loads(run(*dead, "incident", alert["alert_id"], "--json").stdout)[-1]
    assert (last["event"], last["reason"]) == ("discarded", "told by phone")
    assert (last["details"]["by"], last["details"]["channel"]) == ("ada", "console")


def test_a_dead_letter_of_an_alert_that_no_rule_made_matters_until_somebody_takes_it(run, monkeypatch):
    monkeypatch.setenv("F1MON_CHANNEL_CONSOLE", "smtp://nowhere/")
    with Monitor.open("jsonl", path="store") as monitor:
        made = monitor.create_alert("info", "t", "m", "x", 1.0, 2.0, "c", "a", ["console"])
    run("--path", "store", "deliver", code=5)
    run("--path", "store", "ack", made.alert_id, "--by", "ada")
    run("--path", "store", "deliver")
    assert "1 discarded" in run("--path", "store", "deliveries", "discard", "--reason", "seen").stderr


def test_what_fires_now_is_listed_with_who_has_it(run, store):
    assert run(*store, "incidents").stderr == "0 firing, 0 open\n"
    run(*store, "evaluate", code=3)
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(
            AlertRule("late", "accuracy", "t", 0.8, "<", "critical", "c", for_minutes=30, scope="instance")
        )
    run(*store, "evaluate", "--rule", "late")
    firing, pending = json.loads(run(*store, "incidents", "--json").stdout)
    assert (firing["rule_id"], firing["phase"], firing["taken_by"]) == ("low", "firing", None)
    assert (pending["rule_id"], pending["phase"], pending["model_version"]) == ("late", "pending", "podium-1")
    run(*store, "ack", firing["alert_ids"][0], "--by", "ada")
    shown = run(*store, "incidents")
    assert re.search(r"firing +warning +low +all +\S+Z +1 +ada", shown.stdout)
    assert shown.stderr == "1 firing, 2 open\n"
    assert "incidents: 1 firing" in run(*store, "status").stdout


def test_an_incident_is_resolved_by_hand_with_a_reason(run, store):
    (alert,) = json.loads(run(*store, "evaluate", "--json", code=3).stdout)
    run(*store, "resolve", alert["alert_id"], code=2)
    run(*store, "resolve", "nothing", "--reason", "x", code=1)
    run(*store, "resolve", alert["alert_id"], "--reason", "known: rain in Spa", "--by", "ada")
    assert json.loads(run(*store, "incidents", "--json").stdout) == []
    last = json.loads(run(*store, "incident", alert["incident_id"], "--json").stdout)[-1]
    assert (last["event"], last["reason"], last["details"]["by"]) == ("resolved", "known: rain in Spa", "ada")
    run(*store, "resolve", alert["alert_id"], "--reason", "again", code=1)
    (again,) = json.loads(run(*store, "evaluate", "--json", code=3).stdout)
    assert again["incident_id"] != alert["incident_id"]


@pytest.mark.parametrize("scope", ["rule", "instance"])
@pytest.mark.parametrize("notify", [True, False])
def test_who_was_told_is_told_the_end_that_came_by_hand(monitor, spy, clock, scope, notify):
    rule = AlertRule("r", "x", "t", 0.8, "<", "info", "c", channels=("spy",), scope=scope, notify_resolved=notify)
    monitor.add_rule(rule)
    alert = monitor.evaluate_rule("r", 0.5, "a")
    monitor.deliver()
    clock.forward(1)
    ended = monitor.resolve(alert.incident_id, "enough", "ada")
    assert (ended.rule_id, ended.phase, ended.alert_ids) == ("r", "firing", (alert.alert_id,))
    monitor.deliver()
    assert len(spy.messages) == 1 + notify
    assert monitor.incidents() == []
    clock.forward(1)
    assert monitor.evaluate_rule("r", 0.5, "a") is None  # the cooldown outlives the incident
    with pytest.raises(NotFoundError):
        monitor.resolve(alert.incident_id, "again")
