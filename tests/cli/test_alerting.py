"""Rules from a file, an evaluation that fires, its delivery and its silence, all from the command line."""

import json
from pathlib import Path

import pytest

from f1mon_core import LockTimeoutError
from f1mon_core.alerts import evaluate_rule
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Alert

RULES = """
[[rules]]
rule_id = "accuracy-low"
metric_name = "accuracy"
threshold = 0.8
comparison = "<"
severity = "warning"
component = "performance"
channels = ["console", "file"]
scope = "rule"
"""


@pytest.fixture
def place(tmp_path):
    address = f"jsonl://{tmp_path}/store"
    with Monitor.open(address) as monitor:
        for number in range(20):
            monitor.record_prediction(f"p{number}", "podium-1", 1, 0.9)
            monitor.record_outcome(f"p{number}", number % 2)
    return ("--url", address)


@pytest.fixture
def rules():
    path = Path("rules.toml")
    path.write_text(RULES, encoding="utf-8")
    return path


def test_rules_are_applied_listed_changed_and_removed(run, place, rules):
    assert run(*place, "rules", "apply", "rules.toml", "--dry-run").stdout == "add accuracy-low\n"
    assert run(*place, "rules", "list", "--json").stdout == "[]\n"
    assert run(*place, "rules", "apply", "rules.toml").stdout == "add accuracy-low\n"
    assert run(*place, "rules", "apply", "rules.toml").stdout == ""
    rules.write_text(RULES.replace("0.8", "0.85"), encoding="utf-8")
    assert run(*place, "rules", "apply", "rules.toml").stdout == "change accuracy-low: threshold 0.8 -> 0.85\n"
    assert "accuracy < 0.85" in run(*place, "rules", "list").stdout
    run(*place, "rules", "disable", "accuracy-low")
    assert json.loads(run(*place, "rules", "list", "--json").stdout)[0]["enabled"] is False
    run(*place, "rules", "enable", "accuracy-low")
    shown = json.loads(run(*place, "rules", "show", "accuracy-low").stdout)
    assert [one["revision"] for one in shown["revisions"]] == [1, 2, 3, 4]
    rules.write_text("", encoding="utf-8")
    assert run(*place, "rules", "apply", "rules.toml").stdout == ""
    assert run(*place, "rules", "apply", "rules.toml", "--prune").stdout == "remove accuracy-low\n"
    for command in ("show", "enable", "disable", "remove"):
        assert "accuracy-low" in run(*place, "rules", command, "accuracy-low", code=1).stderr


def test_a_bad_rule_is_told_with_its_path_and_changes_nothing(run, place, rules):
    rules.write_text(RULES + RULES.replace("warning", "fatal"), encoding="utf-8")
    assert "severity: must be one of" in run(*place, "rules", "apply", "rules.toml", code=2).stderr
    assert run(*place, "rules", "list", "--json").stdout == "[]\n"


def test_an_evaluation_that_fires_says_so_by_its_exit_code(run, place, rules, monkeypatch):
    run(*place, "rules", "apply", str(rules))
    fired = json.loads(run(*place, "evaluate", "--json", code=3).stdout)
    assert [(one["rule_id"], one["metric_value"], one["context"]["n"]) for one in fired] == [("accuracy-low", 0.5, 20)]
    assert "0 fired" in run(*place, "evaluate").stderr
    assert "no rule 'nosuchrule' is stored" in run(*place, "evaluate", "--rule", "nosuchrule", code=1).stderr
    waiting = json.loads(run(*place, "deliveries", "list", "--json").stdout)
    assert sorted(one["channel"] for one in waiting) == ["console", "file"]
    monkeypatch.setenv("F1MON_CHANNEL_FILE", "smtp://nowhere/")
    delivered = run(*place, "deliver", code=5)
    assert "1 dead, 1 delivered" in delivered.stderr
    assert "[WARNING] accuracy-low: accuracy 0.5 (< 0.8)" in delivered.stderr
    assert "F1MON_CHANNEL_FILE" in run(*place, "deliveries", "list").stdout
    assert "channel file" in run(*place, "check", code=2).stderr
    monkeypatch.delenv("F1MON_CHANNEL_FILE")
    assert "1 on their way" in run(*place, "deliveries", "retry", "--channel", "file").stderr
    assert "1 delivered" in run(*place, "deliver").stderr
    assert "accuracy is 0.5000" in Path("store/alert_log.txt").read_text(encoding="utf-8")
    run(*place, "check")


def test_a_silence_holds_back_what_it_matches(run, place, rules):
    run(*place, "rules", "apply", str(rules))
    made = run(*place, "silence", "add", "--for", "2h", "--rule", "accuracy-low", "--by", "ada").stdout.strip()
    run(*place, "evaluate", "--deliver", code=3)
    assert not Path("store/alert_log.txt").exists()
    (listed,) = json.loads(run(*place, "silence", "list", "--json").stdout)
    assert (listed["silence_id"], listed["match"], listed["by"]) == (made, {"rule_id": "accuracy-low"}, "ada")
    run(*place, "silence", "lift", made)
    run(*place, "silence", "lift", made, code=1)


def test_a_rule_that_fails_is_told_beside_what_fired(run, place, rules, monkeypatch):
    run(*place, "rules", "apply", str(rules))
    rules.write_text(RULES.replace("accuracy-low", "broken").replace('"accuracy"', '"f1_score"'), encoding="utf-8")
    run(*place, "rules", "apply", str(rules))
    original = evaluate_rule.evaluate_rule

    def failing(rule_id, *arguments, **more):
        if rule_id == "broken":
            raise LockTimeoutError("the store is locked")
        return original(rule_id, *arguments, **more)

    monkeypatch.setattr(evaluate_rule, "evaluate_rule", failing)
    result = run(*place, "evaluate", "--json", code=1)
    assert [one["rule_id"] for one in json.loads(result.stdout)] == ["accuracy-low"]
    assert "broken: LockTimeoutError: the store is locked (1 fired of the others)" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"F1MON_CHANNEL_CONSOLE": "https://[::1/geheim"},
        {"F1MON_CHANNEL_CONSOLE": "smtp://u:geheim/@[::1/?from=a@b.c&to=a@b.c"},
        {"F1MON_CHANNEL_CONSOLE": "file://alerts.log"},
        {"F1MON_CHANNEL_CONSOLE": "email://"},
    ],
)
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_channel_that_cannot_be_made_is_one_line_of_the_check(run, place, rules, monkeypatch, environ):
    run(*place, "rules", "apply", str(rules))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = run(*place, "check", code=2)
    assert "error: channel console: F1MON_CHANNEL_CONSOLE: " in result.stderr
    assert "geheim" not in result.stderr + result.stdout
    assert len(result.stderr.splitlines()) == 2


def test_alerts_are_found_by_what_is_known_of_them_and_lead_to_their_incident(run, place, rules):
    run(*place, "rules", "apply", str(rules))
    (fired,) = json.loads(run(*place, "evaluate", "--json", code=3).stdout)
    for wanted, found in (
        (("--component", "performance"), 1),
        (("--component", "other"), 0),
        (("--rule", "accuracy-low", "--severity", "warning", "--open", "--window", "1h"), 1),
        (("--rule", "other"), 0),
        (("--model-version", "podium-1"), 0),
    ):
        assert len(json.loads(run(*place, "alerts", "--json", *wanted).stdout)) == found
    run(*place, "ack", fired["alert_id"], "--by", "ada")
    for name in ("alert_id", "incident_id"):
        history = json.loads(run(*place, "incident", fired[name], "--json").stdout)
        assert [one["event"] for one in history] == ["pending", "firing", "acknowledged"]
        assert all(one["reason"] is not None for one in history)
    shown = run(*place, "incident", fired["incident_id"])
    assert "0.5 < 0.8" in shown.stdout
    assert "of rule accuracy-low" in shown.stderr
    assert "no alert 'nothing' is stored" in run(*place, "incident", "nothing", code=1).stderr


def test_an_id_may_be_shortened_as_with_git(run, tmp_path, monkeypatch):
    monkeypatch.setenv("F1MON_URL", f"jsonl://{tmp_path}/store")
    with Monitor.open(f"jsonl://{tmp_path}/store") as monitor:
        for alert_id in ("aaaa-1", "aaaa-2", "bbbb-1", "bbbb-12"):
            told = {"title": "t", "message": "m", "metric_name": "accuracy", "component": "c", "model_version": "m"}
            monitor.storage.append([Alert(alert_id=alert_id, severity="info", **told)])
    assert "bbbb-12 acknowledged by ada" in run("ack", "bbbb-12", "--by", "ada").stdout
    assert "bbbb-1 acknowledged by ada" in run("ack", "bbbb-1", "--by", "ada").stdout
    assert "'aaaa' begins 2 ids: aaaa-1, aaaa-2" in run("ack", "aaaa", "--by", "ada", code=1).stderr
    assert "aaaa-2 acknowledged by ada" in run("ack", "aaaa-2", "--by", "ada").stdout
    run("ack", "aaa", "--by", "ada", code=1)
    run("incident", "bbbb", code=1)
    assert "0 on their way again" in run("deliveries", "retry", "--alert", "bbbb-12").stderr
