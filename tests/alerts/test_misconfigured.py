"""Rules that are misconfigured: each is refused, or named, in words that say rule, field, value and what to do."""

import json

import pytest
from click.testing import CliRunner

from f1mon_core import Monitor
from f1mon_core.cli import f1mon

GOOD = {
    "rule_id": "podium",
    "metric_name": "accuracy",
    "threshold": 0.8,
    "comparison": "<",
    "severity": "warning",
    "component": "performance",
    "channels": ["console"],
}

REFUSED = {
    # what is wrong: the fields, then what the message has to hold: field, value, what would be right
    "an unknown comparison": ({"comparison": "=<"}, ("comparison", "'=<'", "one of <, <=, >, >=, ==, !=")),
    "an unknown severity": ({"severity": "fatal"}, ("severity", "'fatal'", "one of info, warning, critical")),
    "a threshold in words": ({"threshold": "0.8"}, ("threshold", "'0.8'", "must be")),
    "a threshold that no value meets": ({"threshold": 0}, ("threshold", "0", "from 0 to 1")),
    "a percentage": ({"threshold": 85, "comparison": ">"}, ("threshold", "85", "from 0 to 1")),
    "a gate without an interval": (
        {"metric_name": "f1_score", "gate": "interval"},
        ("gate", "'interval'", "accuracy"),
    ),
    "a negative cooldown": ({"cooldown_minutes": -1}, ("cooldown_minutes", "-1", "from 0 to")),
    "a cooldown of centuries": ({"cooldown_minutes": 1e12}, ("cooldown_minutes", "1000000000000", "from 0 to")),
    "a recovery on the wrong side": (
        {"recover_threshold": 0.7},
        ("recover_threshold", "0.7", "at least the threshold"),
    ),
    "an escalation that is milder": (
        {"escalation": {"critical": 0.9}},
        ("escalation.critical", "0.9", "no milder"),
    ),
    "an escalation to less": (
        {"severity": "critical", "escalation": {"warning": 0.5}},
        ("escalation", "warning", "m"),
    ),
    "more breaches than evaluations": (
        {"breaches": 5, "of_evaluations": 3},
        ("breaches", "5", "at most of_ev"),
    ),
    "a horizon without its basis": ({"horizon_minutes": 60}, ("horizon_minutes", "60", "basis = 'matured'")),
    "conditions the wrong way round": (
        {"conditions": {"min_value": 0.9, "max_value": 0.1}},
        ("conditions.min_value", "0.9", "at most max_value"),
    ),
    "conditions without a breach": ({"conditions": {"min_value": 0.8}}, ("conditions", "0.8", "")),
    "a channel that is no list": ({"channels": "slack"}, ("channels", "'slack'", "must be a list")),
    "an unknown scope": ({"scope": "model"}, ("scope", "'model'", "one of rule, instance")),
    "an unknown policy": ({"on_no_data": "ignore"}, ("on_no_data", "'ignore'", "one of keep, ok, fire")),
    "samples nobody counts": (
        {"metric_name": "drift_statistic:grid", "min_samples": 5},
        ("min_samples", "5", ""),
    ),
    "a group by what no alert has": (
        {"group_by": ["severity"]},
        ("group_by", "'severity'", "one of rule, model, c"),
    ),
    "a wait without a group": ({"group_wait_minutes": 1}, ("group_wait_minutes", "1", "goes with group_by")),
    "a rule that inhibits itself": (
        {"inhibited_by": ["podium"]},
        ("inhibited_by", "'podium'", "not be the rule"),
    ),
    "a field that is none": ({"treshold": 0.8}, ("treshold", "extra fields found", "did you mean 'threshold'?")),
}

NAMED = {
    # what is wrong: the fields, then what is said by `rules apply`, `evaluate` and `check`
    "a misspelt metric": (
        {"metric_name": "acuracy"},
        ("podium", "metric_name", "'acuracy'", "mean 'accuracy'?"),
    ),
    "a misspelt model": (
        {"model_version": "podium-l"},
        ("podium", "model_version", "'podium-l'", "mean 'podium-1'"),
    ),
    "a rule it waits for that is not there": (
        {"inhibited_by": ["feed-dead"]},
        ("podium", "inhibited_by", "'feed-dead'", "no rule"),
    ),
    "a gate on what is recorded without an interval": (
        {"metric_name": "mine", "gate": "interval"},
        ("podium", "gate", "evaluate_rule"),
    ),
}


def toml(fields):
    return "[[rules]]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in fields.items())


def _value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {one}" for name, one in value.items()) + "}"
    return repr(value) if isinstance(value, float) else json.dumps(value)


@pytest.fixture
def store(tmp_path):
    with Monitor.open("jsonl", path=str(tmp_path / "store")) as monitor:
        monitor.record_prediction("p", "podium-1", 1, 0.9)
        monitor.record_outcome("p", 1)
    return ("--path", str(tmp_path / "store"))


def run(*arguments):
    done = CliRunner().invoke(f1mon, list(map(str, arguments)))
    return done.exit_code, done.stdout + done.stderr


def test_the_rule_that_all_others_are_made_of_is_right(store, tmp_path):
    (file := tmp_path / "rules.toml").write_text(toml(GOOD))
    code, told = run(*store, "rules", "apply", file)
    assert code == 0, told
    assert "warning" not in told


@pytest.mark.parametrize(("fields", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named_with_its_field_its_value_and_what_would_be_right(store, tmp_path, fields, said):
    (file := tmp_path / "rules.toml").write_text(toml({**GOOD, **fields}))
    code, told = run(*store, "rules", "apply", file)
    assert code == 2, told
    assert "rules.toml" in told
    assert "podium" in told
    for one in said:
        assert one in told
    assert "Traceback" not in told


@pytest.mark.parametrize(("fields", "said"), NAMED.values(), ids=NAMED)
def test_what_may_yet_match_is_stored_and_named_wherever_somebody_looks(store, tmp_path, fields, said):
    (file := tmp_path / "rules.toml").write_text(toml({**GOOD, **fields}))
    for arguments, expected in ((("rules", "apply", file), 0), (("evaluate",), 0), (("check",), 5)):
        code, told = run(*store, *arguments)
        assert code == expected, told
        for one in said:
            assert one in told, (arguments, told)


def test_all_that_is_wrong_in_a_file_is_told_at_once_and_nothing_of_it_is_stored(store, tmp_path):
    rules = [{**GOOD, **fields, "rule_id": f"rule-{number}"} for number, (fields, _) in enumerate(REFUSED.values())]
    rules = [{**one, "inhibited_by": [one["rule_id"]]} if "inhibited_by" in one else one for one in rules]
    (file := tmp_path / "rules.toml").write_text("\n".join(map(toml, [*rules, {**GOOD, "rule_id": "good"}])))
    code, told = run(*store, "rules", "apply", file)
    assert code == 2
    assert [f"rule-{number}" in told for number in range(len(rules))] == [True] * len(rules)
    assert run(*store, "rules", "list", "--json")[1].strip() == "[]"
