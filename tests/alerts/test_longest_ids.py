"""Names as long and as awkward as they may be go the whole way of an alert, on every backend.

A state key escapes `/` and `%` and has 700 characters at most, so these do not fit into one.
"""

import random
from contextlib import closing, contextmanager
from datetime import timedelta

import attrs
import pytest

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.registry import open_storage

from ..servers import families, ready

HOUR = timedelta(hours=1)
NAMES = {
    "255 slashes": "/" * 255,
    "240 percent signs": "%" * 240,
    # No two alike in a row, so that no server can make them shorter.
    "255 characters of four bytes": "".join(map(chr, random.Random(7).choices(range(0x10000, 0x110000), k=255))),
    # Their keys have 635 characters in common with those of the next one, which is where overlong keys are cut.
    "254 slashes and a letter": "/" * 254 + "a",
}
BACKENDS = ["memory", "jsonl", *families()]


@contextmanager
def address(backend, tmp_path):
    if backend == "memory":
        yield "memory://"
    elif backend == "jsonl":
        yield f"jsonl://{tmp_path}/store"
    else:
        with ready(backend) as url:
            yield url


@pytest.fixture(params=BACKENDS)
def monitor(request, clock, channels, tmp_path):
    with (
        address(request.param, tmp_path) as url,
        closing(open_storage(url, clock=clock)) as storage,
        Monitor(storage, channels=channels) as opened,
    ):
        yield opened


def low(rule_id, channel, **others):
    return AlertRule(
        rule_id,
        "accuracy",
        "threshold",
        0.8,
        "<",
        "warning",
        "performance",
        channels=(channel,),
        scope="instance",
        **others,
    )


def record_misses(monitor, clock, model, count=5):
    facts = [Prediction(f"{model[-20:]}-{clock.now:%H%M}-{number}", model, 0, 0.9) for number in range(count)]
    monitor.storage.append(facts)
    monitor.storage.append([Outcome(fact.prediction_id, 1) for fact in facts])


def events(monitor, **asked):
    return [(one.event, one.model_version) for one in monitor.incident_history(**asked)]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_goes_the_whole_way_of_an_alert(monitor, clock, channels, spy, name):
    channels.register(name, spy)
    assert monitor.add_rule(low(name, name, notify_resolved=True)) == 1
    record_misses(monitor, clock, name)
    (alert,) = monitor.evaluate()
    assert (alert.rule_id, alert.model_version) == (name, name)
    assert monitor.storage.check().ok

    silence = monitor.silence(clock.now + HOUR, rule_id=name, model_version=name)
    assert monitor.deliver()["silenced"] == 1
    monitor.lift_silence(silence.silence_id)
    assert monitor.deliver().delivered == 1
    assert [message.alert.alert_id for message in spy.messages] == [alert.alert_id]

    acknowledged = monitor.acknowledge(alert.alert_id, "ada")
    assert acknowledged.new
    assert not monitor.acknowledge(alert.alert_id, "bob").new
    assert ("acknowledged", name) in events(monitor)

    monitor.storage.prune(clock.now + HOUR)
    assert monitor.alert(alert.alert_id).model_version == name  # its incident is open, and holds it

    clock.forward(3 * 60)  # its model has fallen silent, and is known by its incident alone
    assert monitor.evaluate() == []

    assert monitor.add_rule(low(name, name, enabled=False)) == 2
    assert events(monitor)[-1] == ("closed", name)
    assert monitor.deliver().delivered == 1  # that it ended
    monitor.storage.prune(clock.now)
    assert monitor.alerts() == []
    monitor.remove_rule(name)
    assert monitor.rules() == []
    assert monitor.storage.check().ok


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_edit_reaches_the_instances_of_its_rule_and_no_others(monitor, clock, spy, channels, name):
    channels.register("spy", spy)
    other = name[:-1] + "b"
    for rule_id in (name, other):
        monitor.add_rule(low(rule_id, "spy"))
    for model in (name, other):
        record_misses(monitor, clock, model)
    assert len(monitor.evaluate()) == 4
    monitor.remove_rule(name)
    closed = [(one.rule_id, one.model_version) for one in monitor.incident_history() if one.event == "closed"]
    assert sorted(closed) == sorted([(name, name), (name, other)])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_model_that_fell_silent_is_evaluated_under_its_own_name(monitor, clock, name):
    silent = low("r", "spy", on_no_data="fire", cooldown_minutes=0.0)
    monitor.add_rule(silent)
    other = name[:-1] + "b"
    for model in (name, other):
        record_misses(monitor, clock, model)
    assert {one.model_version for one in monitor.evaluate()} == {name, other}
    clock.forward(3 * 60)
    assert {one.model_version for one in monitor.evaluate()} == {name, other}


def forget_whose_they_are(storage):
    """Leave the documents of instances as they were written before they said so."""
    for key in storage.state("instance/"):

        def step(document, _now):
            kept = {name: value for name, value in document.items() if name != "instance"}
            return Change(kept | {"v": 1})

        storage.transition(key, step, operation_id="forget")


@pytest.mark.parametrize("model", ["m", *NAMES.values()], ids=["a letter", *NAMES])
def test_an_older_document_of_an_instance_is_known_by_its_key_or_its_incident(monitor, clock, model):
    monitor.add_rule(low("r", "spy", on_no_data="fire", cooldown_minutes=0.0))
    record_misses(monitor, clock, model)
    (first,) = monitor.evaluate()
    forget_whose_they_are(monitor.storage)
    clock.forward(3 * 60)
    (again,) = monitor.evaluate()
    assert (again.model_version, again.incident_id) == (model, first.incident_id)
    forget_whose_they_are(monitor.storage)
    monitor.remove_rule("r")
    assert events(monitor)[-1] == ("closed", model)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_dead_letter_under_a_name_is_sent_again(monitor, clock, channels, spy, name):
    monitor.add_rule(low(name, name))
    record_misses(monitor, clock, name)
    monitor.evaluate()
    clock.forward(60)
    assert monitor.deliver()["dead"] == 1  # nothing is configured under that name
    assert [one.channel for one in monitor.dead_letters()] == [name]
    channels.register(name, spy)
    assert monitor.retry_dead_letters(channel=name) == 1
    assert monitor.deliver().delivered == 1


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_alert_of_others_under_a_name_is_acknowledged(monitor, clock, name):
    made = monitor.create_alert("warning", "t", "m", "accuracy", 0.1, 0.5, "performance", name, channels=[name])
    imported = attrs.evolve(made, alert_id=name)
    monitor.storage.append([imported])
    for alert_id in (made.alert_id, name):
        assert monitor.acknowledge(alert_id, "ada").new
    assert monitor.storage.check().ok
