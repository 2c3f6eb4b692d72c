"""Silence is not health: what can never fire is refused, what matches nothing is named, and all can be looked at."""

import json

import pytest

from f1mon_core import AlertRule, Monitor
from f1mon_core.alerts import possible

RULE = """rule_id = "r"
metric_name = "accuracy"
threshold = 0.8
comparison = "<"
severity = "info"
component = "c"
"""


@pytest.fixture
def store():
    with Monitor.open("jsonl", path="store") as monitor:
        for number in range(20):
            monitor.record_prediction(f"p{number}", "podium-1", 1, 0.9)
            monitor.record_outcome(f"p{number}", number % 2)
    return ("--path", "store")


def applied(run, store, tmp_path, *rules, code=0):
    (tmp_path / "r.toml").write_text("".join(f"[[rules]]\n{rule}" for rule in rules))
    return run(*store, "rules", "apply", "r.toml", code=code)


REFUSED = {
    "gate": RULE.replace("accuracy", "f1_score") + 'gate = "interval"\n',
    "min_samples": RULE.replace("accuracy", "drift_p_value:grid") + "min_samples = 5\n",
    "min_coverage": RULE.replace("accuracy", "degradation:accuracy") + "min_coverage = 0.5\n",
    "threshold": RULE.replace("< ", "> ").replace('"<"', '">"').replace("0.8", "80"),
    "conditions": RULE + "conditions = { min_value = 0.9 }\n",
}


@pytest.mark.parametrize(("field", "rule"), REFUSED.items(), ids=REFUSED)
def test_what_can_never_fire_is_not_applied(run, store, tmp_path, field, rule):
    result = applied(run, store, tmp_path, rule, code=2)
    assert result.stderr.startswith(f"Error: {field}: ")
    assert json.loads(run(*store, "rules", "list", "--json").stdout) == []


NAMED = {
    "a metric": (RULE.replace("accuracy", "acuracy"), "metric_name: 'acuracy' is neither computed nor recorded"),
    "its closest": (RULE.replace("accuracy", "acuracy"), "did you mean 'accuracy'?"),
    "a model": (f'{RULE}model_version = "podium-l"\n', "model_version: no prediction of 'podium-l' is stored"),
    "its closest model": (f'{RULE}model_version = "podium-l"\n', "did you mean 'podium-1'?"),
    "a gate": (RULE.replace("accuracy", "mine") + 'gate = "interval"\n', "gate: what `record_metric` keeps"),
    "samples": (RULE.replace("accuracy", "mine") + "min_samples = 3\n", "min_samples: what `record_metric` keeps"),
}


@pytest.mark.parametrize(("rule", "said"), NAMED.values(), ids=NAMED)
def test_what_matches_nothing_is_named_wherever_somebody_looks(run, store, tmp_path, rule, said):
    assert said in applied(run, store, tmp_path, rule).stderr
    assert said in run(*store, "evaluate").stderr
    assert said in run(*store, "evaluate", "-q").stderr
    checked = run(*store, "check", "--json", code=5)
    (first, *_) = json.loads(checked.stdout)["problems"]
    assert (first["about"], first["severity"], first["where"]) == ("alerting", "warning", "rule r")
    assert said in run(*store, "check", code=5).stderr
    run(*store, "check", "--exit-zero")


def test_a_rule_that_was_stored_before_is_named(run, store):
    with Monitor.open("jsonl", path="store") as monitor, possible.trusting():
        monitor.add_rule(AlertRule("old", "f1_score", "t", 0.5, "<", "info", "c", gate="interval"))
    assert "warning: rule old: gate: it can never fire: must be point" in run(*store, "evaluate").stderr
    run(*store, "check", code=5)
    run(*store, "rules", "disable", "old")
    run(*store, "check")


def test_a_channel_that_is_not_set_up_is_named_when_the_rule_is_applied(run, store, tmp_path):
    result = applied(run, store, tmp_path, RULE + 'channels = ["slakc"]\n')
    assert "warning: channel slakc: nothing is configured" in result.stderr
    run(*store, "check", code=2)


def test_a_question_that_no_rule_answers_says_so(run, store, tmp_path):
    assert "no rule is enabled: nothing is watched" in run(*store, "evaluate").stderr
    applied(run, store, tmp_path, RULE.replace('"c"', '"performance"'))
    told = run(*store, "evaluate", "--component", "perfromance").stderr
    assert "no rule is of component 'perfromance'; did you mean 'performance'?" in told


def test_each_rule_and_instance_is_explained(run, store, tmp_path):
    applied(run, store, tmp_path, RULE + 'scope = "instance"\n')
    run(*store, "evaluate", code=3)
    explained = run(*store, "evaluate", "--explain").stdout.splitlines()
    assert explained[0].split("  ")[0] == "rule"
    assert len(explained) == 2
    for shown in ("podium-1", "0.5", "20", "100.0%", "0.299 - 0.701", "firing", "within the cooldown", "60 min"):
        assert shown in explained[1]
    told = json.loads(run(*store, "evaluate", "--explain", "--json").stdout)
    assert told["fired"] == []
    (standing,) = told["standings"]
    assert (standing["value"], standing["n"], standing["phase"]) == (0.5, 20, "firing")
    assert 3_500 < standing["cooldown_left_seconds"] <= 3_600
    listed = run(*store, "rules", "list").stdout
    for shown in ("accuracy < 0.8", "podium-1", "0.299 - 0.701", "firing", "60 min"):
        assert shown in listed
    (rule,) = json.loads(run(*store, "rules", "list", "--json").stdout)
    assert rule["standings"][0]["incident_id"] == standing["incident_id"]
