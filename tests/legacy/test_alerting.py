"""The old AlertingSystem on this engine: its alerts reach their channels, and its callbacks are one of them."""

import os
import signal

import pytest

from f1mon_core.legacy import AlertingSystem, AlertRule
from f1mon_core.monitor import Monitor
from f1mon_core.storage.select import Select

RULE = AlertRule(
    "low", "accuracy", "threshold", 0.8, "<", "warning", "performance", channels=["console", "file", "pager"]
)


@pytest.fixture
def alerting(tmp_path, monkeypatch):
    for name, value in {"MONITORING_DB_ENABLED": "false", "F1MON_BACKEND": "", "F1MON_URL": ""}.items():
        monkeypatch.setenv(name, value)
    with AlertingSystem(tmp_path / "monitoring") as made:
        yield made


def test_an_alert_goes_to_the_rules_channels_right_after_it_is_stored(alerting, capsys):
    called = []
    alerting.register_callback("pager", called.append)
    alert = alerting.evaluate_rule(RULE, 0.5, "m")
    assert [one.alert_id for one in called] == [alert.alert_id]
    assert "accuracy is 0.5000 (< 0.8000)" in capsys.readouterr().err
    (line,) = (alerting.data_dir / "alert_log.txt").read_text().splitlines()
    assert alert.alert_id in line
    assert alerting.monitor.deliveries() == alerting.monitor.dead_letters() == []
    assert alerting.evaluate_rule(RULE, 0.5, "m") is None
    assert len(called) == 1


def test_the_cooldown_and_the_acknowledgement_survive_the_process(alerting, tmp_path):
    alert = alerting.evaluate_rule(RULE, 0.5, "m")
    assert alerting.acknowledge_alert(alert.alert_id, "ada")
    alerting.close()
    with AlertingSystem(tmp_path / "monitoring", {"console": {"enabled": False}}) as again:
        assert again.evaluate_rule(RULE, 0.1, "m") is None
        assert again.get_alerts()[0].acknowledged_by == "ada"
        assert again.acknowledge_alert(alert.alert_id, "bob")
        assert again.get_alerts()[0].acknowledged_by == "ada"


PAGED = AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "performance", channels=["pager"])


def delivered(alerting):
    return [fact.alert_id for fact in alerting.monitor.storage.find(Select("delivery"))]


def test_an_alert_of_a_process_killed_after_its_commit_is_paged_by_the_next(tmp_path, alerting):
    alerting.close()
    if (pid := os.fork()) == 0:
        with AlertingSystem(tmp_path / "monitoring") as dying:
            dying.register_callback("pager", lambda _: None)
            dying.monitor._dispatcher.round = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
            dying.evaluate_rule(PAGED, 0.5, "m")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    with AlertingSystem(tmp_path / "monitoring") as again:
        paged = []
        again.register_callback("pager", paged.append)
        again.monitor.deliver()
        (stored,) = again.get_alerts()
        assert [one.alert_id for one in paged] == [stored.alert_id] == delivered(again)


def test_a_callback_gets_what_another_process_made_and_could_not_deliver(alerting):
    with Monitor.open(alerting.monitor.storage.address) as evaluator:
        theirs = evaluator.create_alert("critical", "t", "m", "accuracy", 0.5, 0.8, "c", "m", ["pager"])
    paged = []
    alerting.register_callback("pager", paged.append)
    mine = alerting.evaluate_rule(PAGED, 0.5, "m")
    assert [one.alert_id for one in paged] == [theirs.alert_id, mine.alert_id] == delivered(alerting)


def test_a_callback_that_raises_is_called_again_and_keeps_nothing_from_the_others(alerting):
    paged = []

    def broken(alert):
        paged.append(f"broken {alert.alert_id}")
        raise ValueError(alert.alert_id)

    alerting.register_callback("pager", broken)
    alerting.register_callback("pager", lambda alert: paged.append(f"sound {alert.alert_id}"))
    alert = alerting.evaluate_rule(PAGED, 0.5, "m")
    assert paged == [f"broken {alert.alert_id}", f"sound {alert.alert_id}"]
    (waiting,) = alerting.monitor.deliveries()
    assert (waiting.channel, waiting.failures, delivered(alerting)) == ("pager", 1, [])


def test_a_callback_beside_a_configured_channel_is_called_too(alerting):
    called = []
    alerting.register_callback("file", called.append)
    alerting.register_callback("pager", called.append)
    alert = alerting.evaluate_rule(AlertRule(**{**vars(PAGED), "channels": ["file"]}), 0.5, "m")
    assert [one.alert_id for one in called] == [alert.alert_id] * 2
    assert alert.alert_id in (alerting.data_dir / "alert_log.txt").read_text()
