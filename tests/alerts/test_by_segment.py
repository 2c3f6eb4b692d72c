"""Rules by segment: a state, cooldown and incident for each value, and whoever shows them knows which."""

import logging
from datetime import timedelta

import attrs
import pytest

from f1mon_core import AlertRule, EvaluationError, InvalidQueryError, InvalidRecordError
from f1mon_core.alerts import rule_files

HOUR = timedelta(hours=1)


def rule(**changes):
    fields = {"channels": ("spy",), "cooldown_minutes": 0, "by": "country", "window_minutes": 60, **changes}
    return attrs.evolve(AlertRule("low", "accuracy", "threshold", 0.85, "<", "warning", "c"), **fields)


@pytest.fixture
def record(monitor, clock):
    """Record predictions of a model in segments, so many of them wrong."""
    numbers = iter(range(10**6))

    def record(segments, wrong=0, total=10, model="m", **more):
        ids = [f"p-{next(numbers)}" for _ in range(total)]
        for one in ids:
            monitor.record_prediction(one, model, 1, 0.9, segments=segments, at=clock.now, **more)
        monitor.record_outcomes((one, int(number >= wrong)) for number, one in enumerate(ids))

    return record


def states(monitor):
    """The phase of each instance by its labels."""
    return {tuple(one.labels.values()): one.phase for one in monitor.standings("low") if one.labels}


def test_each_value_has_a_state_and_an_incident_of_its_own(monitor, record, clock):
    monitor.add_rule(rule())
    for value, wrong in (("DE", 5), ("FR", 0), (1, 5), ("1", 0)):
        record({"country": value}, wrong)
    record({}, 5)
    fired = monitor.evaluate()
    assert [one.context["labels"] for one in fired] == [{"country": "DE"}, {"country": 1}, {"country": None}]
    assert len({one.incident_id for one in fired}) == 3
    assert states(monitor) == {
        ("DE",): "firing", ("FR",): "inactive", (1,): "firing", ("1",): "inactive", (None,): "firing",
    }  # fmt: skip
    for one in fired:
        context = one.context
        assert context["window"]["where"] == context["labels"]
        value = monitor.performance("m", where=context["window"]["where"], metrics=["accuracy"]).accuracy.value
        assert (value, context["n"], context["looks"]) == (one.metric_value, 10, 5)
    clock.forward(120)
    record({"country": "DE"}, 0)
    assert monitor.evaluate() == []
    assert states(monitor)["DE",] == "inactive"
    assert states(monitor)[1,] == "firing"  # no data resolves nothing


def test_two_names_make_an_instance_of_each_pair(monitor, record):
    monitor.add_rule(rule(by=("country", "tier")))
    record({"country": "DE", "tier": 1}, 5)
    record({"country": "DE", "tier": 2}, 0)
    (alert,) = monitor.evaluate()
    assert alert.context["labels"] == {"country": "DE", "tier": 1}


@pytest.mark.parametrize("by", ["features.team.name", "metadata.site"])
def test_what_nobody_declared_tells_instances_apart_too(monitor, record, by):
    monitor.add_rule(rule(by=by))
    for site, wrong in (("x", 5), ("y", 0)):
        record({}, wrong, features={"team": {"name": site}}, metadata={"site": site})
    (alert,) = monitor.evaluate()
    assert alert.context["labels"] == {by: "x"}


def test_outcomes_that_do_not_come_are_counted_by_segment(monitor, clock):
    monitor.add_rule(rule(metric_name="outcomes", metric_type="no_outcomes", threshold=1))
    for country in ("DE", "FR"):
        monitor.record_prediction(f"p-{country}", "m", 1, 0.9, segments={"country": country}, at=clock.now)
    monitor.record_outcome("p-FR", 1)
    (alert,) = monitor.evaluate()
    assert alert.context["labels"] == {"country": "DE"}


def test_more_instances_than_allowed_are_said_and_open_incidents_come_first(monitor, record, caplog):
    monitor.add_rule(rule(max_instances=3))
    record({"country": "small and bad"}, 2, total=2)
    monitor.evaluate()
    for number in range(5):
        record({"country": number}, 0, total=10 + number)
    with caplog.at_level(logging.WARNING, "f1mon"):
        monitor.evaluate()
    assert "rule low: instances left out: 3 of m; max_instances is 3" in caplog.text
    (own,) = [one for one in monitor.standings("low") if not one.labels]
    assert own.reason == "instances left out: 3 of m; max_instances is 3"
    assert set(states(monitor)) == {("small and bad",), (4,), (3,)}
    monitor.add_rule(rule(max_instances=10))
    monitor.evaluate()
    assert len(states(monitor)) == len(monitor.standings("low")) == 6


def test_too_many_values_are_a_typed_error_and_hold_up_no_other_rule(monitor, record, monkeypatch):
    monkeypatch.setattr("f1mon_core.storage.tally.MAX_GROUPS", 3)
    monitor.add_rule(rule())
    monitor.add_rule(attrs.evolve(rule(), rule_id="whole", by=()))
    for number in range(4):
        record({"country": number}, 9)
    with pytest.raises(EvaluationError, match="country makes 4 groups") as failed:
        monitor.evaluate()
    assert [one.rule_id for one in failed.value.fired] == ["whole"]


def test_behind_a_prune_the_day_is_answered_and_the_rest_is_no_data(monitor, record, clock):
    monitor.add_rule(rule(window_minutes=60 * 24 * 30, metric_name="accuracy"))
    record({"country": "DE"}, 5)
    monitor.evaluate()
    clock.forward(3 * 24 * 60)
    monitor.prune(clock.now)
    monitor.evaluate()
    (standing,) = [one for one in monitor.standings("low") if one.labels]
    assert standing.phase == "firing"
    assert "country" in standing.reason


def test_a_retired_segment_is_evaluated_no_more_and_its_incident_ends(monitor, record):
    monitor.add_rule(rule())
    record({"country": "DE"}, 5)
    record({"country": "FR"}, 5)
    monitor.evaluate()
    assert monitor.retire("m", segments={"country": "DE"}, by="ann", reason="closed the office") == 1
    assert {one.labels["country"]: one.phase for one in monitor.incidents()} == {"FR": "firing"}
    assert [one.context["labels"]["country"] for one in monitor.evaluate()] == ["FR"]
    (gone,) = monitor.retired_segments()
    assert (gone.model_version, dict(gone.segments), gone.by) == ("m", {"country": "DE"}, "ann")
    assert monitor.retired() == {}
    monitor.unretire("m", segments={"country": "DE"})
    assert {one.context["labels"]["country"] for one in monitor.evaluate()} == {"DE", "FR"}
    assert monitor.retire("m") == 2
    with pytest.raises(InvalidQueryError, match="one value"):
        monitor.retire("m", segments={"country": ["DE", "FR"]})


def test_a_silence_of_a_segment_is_of_no_other(monitor, record, clock):
    monitor.add_rule(rule())
    record({"country": "DE"}, 5)
    record({"country": "FR"}, 5)
    silence = monitor.silence(clock.now + HOUR, where={"country": ["DE", "AT"]})
    covered = {one.context["labels"]["country"]: silence.covers(one, clock.now) for one in monitor.evaluate()}
    assert covered == {"DE": True, "FR": False}
    whole = monitor.create_alert("info", "t", "m", "accuracy", 0.5, 0.8, "c", "m")
    assert not silence.covers(whole, clock.now)
    assert monitor.silences()[0].where == {"country": ("DE", "AT")}


def test_an_edit_of_the_segments_ends_what_nobody_evaluates_any_more(monitor, record):
    monitor.add_rule(rule())
    record({"country": "DE", "tier": 1}, 5)
    (alert,) = monitor.evaluate()
    monitor.add_rule(rule(threshold=0.8))
    assert len(monitor.incidents()) == 1
    monitor.add_rule(rule(by="tier"))
    assert monitor.incidents() == []
    last = monitor.incident_history(incident_id=alert.incident_id)[-1]
    assert (last.event, last.reason) == ("closed", "the rule is by tier now")
    assert [one.context["labels"] for one in monitor.evaluate()] == [{"tier": 1}]
    monitor.add_rule(rule(by=()))
    assert monitor.incidents() == []
    assert [one.context.get("labels") for one in monitor.evaluate()] == [None]
    monitor.add_rule(rule())
    assert monitor.incidents() == []


def test_a_value_of_a_whole_model_is_none_of_a_segment(monitor):
    monitor.add_rule(rule())
    with pytest.raises(InvalidQueryError, match=r"say of which by labels=\{'country': …\}"):
        monitor.evaluate_rule("low", 0.5, "m")
    assert monitor.check_alert_rules("accuracy", 0.5, None, "m") == []
    (alert,) = monitor.check_alert_rules("accuracy", 0.5, None, "m", labels={"country": "DE"})
    assert alert.context["labels"] == {"country": "DE"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scope": "rule"}, "scope"),
        ({"metric_name": "drifted_features"}, "by"),
        ({"by": ("a", "b", "c")}, "by"),
        ({"by": 5}, "by"),
        ({"by": ""}, "by"),
        ({"max_instances": 0}, "max_instances"),
        ({"positive": 1.5}, "positive"),
    ],
)
def test_what_no_rule_by_segment_can_be_is_refused(changes, field):
    with pytest.raises(InvalidRecordError) as refused:
        rule(**changes)
    assert refused.value.field == field


def test_a_rule_of_a_file_has_a_state_for_each_segment_although_it_names_a_model(monitor):
    (made,) = rule_files.from_toml(
        '[[rules]]\nrule_id = "low"\nmetric_name = "precision"\nthreshold = 0.8\ncomparison = "<"\nseverity = "info"\n'
        'component = "c"\nmodel_version = "m"\nby = "country"\npositive = "malignant"\n'
    )
    monitor.add_rule(made)
    (stored,) = monitor.rules()
    assert (stored.scope, stored.by, stored.max_instances, stored.positive) == (
        "instance",
        ("country",),
        100,
        "malignant",
    )
    assert rule_files.from_document(rule_files.to_document(stored)) == stored


def test_a_name_that_no_prediction_has_is_doubtful(monitor, record):
    record({"country": "DE"})
    (doubt,) = monitor.rule_doubts([rule(by="contry")])
    assert doubt.field == "by"
    assert "did you mean 'country'?" in doubt.message
    assert monitor.rule_doubts([rule()]) == []
    assert [one.field for one in monitor.rule_doubts([rule(by="features.nothing")])] == ["by"]


def test_an_alert_says_which_class_its_precision_is_of(monitor, clock):
    monitor.add_rule(rule(by=(), metric_name="precision"))
    monitor.add_rule(attrs.evolve(rule(by=(), metric_name="precision"), rule_id="of two", positive=2))
    for number in range(9):
        monitor.record_prediction(f"p-{number}", "m", number % 3, 0.9, at=clock.now)
        monitor.record_outcome(f"p-{number}", 0)
    assert {one.rule_id: one.context["positive"] for one in monitor.evaluate()} == {"low": 1, "of two": 2}
