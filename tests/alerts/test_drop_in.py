"""The old AlertingSystem on this engine: its alerts reach their channels, and its callbacks are one of them."""

import pytest

from f1mon_core.legacy import AlertingSystem, AlertRule

RULE = AlertRule(
    "low", "accuracy", "threshold", 0.8, "<", "warning", "performance", channels=["console", "file", "pager"]
)


@pytest.fixture
def alerting(tmp_path, monkeypatch):
    for name, value in {"MONITORING_DB_ENABLED": "false", "F1MON_BACKEND": "", "F1MON_URL": ""}.items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("msgspec", reason="the file backend's extra is not installed")
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
