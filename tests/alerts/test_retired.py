"""A model whose traffic stopped is no data until it is retired; retiring ends its incidents."""

import json

import pytest

from f1mon_core import AlertRule, Monitor, NotFoundError


def record(monitor, clock, model, right, wrong):
    start = len(monitor.predictions())
    for number in range(right + wrong):
        name = f"{model}-{start + number}"
        monitor.record_prediction(name, model, 1, 0.9, at=clock.now)
        monitor.record_outcome(name, int(number < right))


def rule(**changes):
    fields = {"channels": ("spy",), "scope": "instance", "cooldown_minutes": 5, **changes}
    return AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "c", **fields)


@pytest.mark.parametrize("right", [0, 10])
@pytest.mark.parametrize("policy", ["keep", "ok", "fire"])
def test_a_model_whose_traffic_stopped_is_no_data_until_it_is_retired(monitor, clock, right, policy):
    monitor.add_rule(rule(on_no_data=policy))
    record(monitor, clock, "a", right, 10 - right)
    record(monitor, clock, "b", 10, 0)
    assert len(monitor.evaluate()) == (right == 0)
    clock.forward(24 * 60)
    record(monitor, clock, "b", 10, 0)
    assert [one.model_version for one in monitor.evaluate()] == (["a"] if policy == "fire" else [])
    a, _ = monitor.standings()
    assert (a.value, a.evaluated) == (None, clock.now)
    open_before = len(monitor.incidents())
    assert open_before == (right == 0 or policy == "fire")
    assert monitor.retire("a", by="ada", reason="replaced") == open_before
    assert monitor.incidents() == []
    clock.forward(24 * 60)
    record(monitor, clock, "b", 10, 0)
    assert monitor.evaluate() == []
    assert monitor.standings()[0].evaluated < clock.now
    assert monitor.evaluate("a") == []


def test_the_end_has_its_reason_and_others_stay(monitor, clock):
    monitor.add_rule(rule())
    for model in ("a", "a/b"):
        record(monitor, clock, model, 0, 10)
    assert len(monitor.evaluate()) == 2
    assert monitor.retire("a", reason="replaced") == 1
    assert [one.model_version for one in monitor.incidents()] == ["a/b"]
    (last,) = [one for one in monitor.incident_history(rule_id="low") if one.event == "closed"]
    assert (last.model_version, last.reason) == ("a", "the model was retired: replaced")
    assert monitor.retire("a") == 0
    assert monitor.retired()["a"].reason == "replaced"


def test_a_rule_that_names_the_model_rests(monitor, clock):
    monitor.add_rule(rule(scope="rule", model_version="a", on_no_data="fire"))
    record(monitor, clock, "a", 0, 10)
    assert len(monitor.evaluate()) == 1
    assert monitor.retire("a") == 1
    clock.forward(120)
    assert monitor.evaluate() == []
    monitor.unretire("a")
    assert len(monitor.evaluate()) == 1


def test_what_is_not_known_is_not_retired(monitor):
    with pytest.raises(NotFoundError, match="no model 'x' is stored"):
        monitor.retire("x")
    with pytest.raises(NotFoundError, match="'x' is not retired"):
        monitor.unretire("x")


def test_models_are_listed_and_retired_from_the_command_line(tmp_path, monkeypatch, capsys):
    from f1mon_core.cli import f1mon  # noqa: PLC0415 - click only for who tests the command line

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            f1mon.main(["--path", "store", *arguments], prog_name="f1mon")
        return ended.value.code or 0, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(rule())
        for number in range(10):
            monitor.record_prediction(f"p{number}", "old", 1, 0.9)
            monitor.record_outcome(f"p{number}", 0)
        monitor.evaluate()
    assert run("models", "retire", "olt")[0] == 1
    assert run("models", "retire", "old", "--by", "ada") == (0, "", "retired old; 1 incidents ended\n")
    (listed,) = json.loads(run("models", "list", "--json")[1])
    assert (listed["model_version"], listed["predictions"], listed["why"]) == ("old", 10, "by ada")
    assert "by ada" in run("models", "list")[1]
    assert run("models", "unretire", "old")[0] == 0
    assert run("models", "unretire", "old")[0] == 1
