"""One state document that cannot be read holds up no other, and is told by its key."""

import pytest

from f1mon_core.errors import CorruptStoreError, EvaluationError, SchemaError
from f1mon_core.storage.change import Change

from ..factories import rule

BROKEN = {
    "a later version": ("instance/r/broken/{}", {"v": 99, "revision": 0}, SchemaError),
    "a field nobody knows": ("instance/r/broken/{}", {"v": 1, "revision": 0, "colour": "red"}, CorruptStoreError),
    "labels that are no JSON": ("instance/r/broken/{oops", {"v": 1, "revision": 0}, CorruptStoreError),
    "half an instance": (
        "instance/r/broken/{}",
        {"v": 2, "revision": 0, "instance": {}},
        CorruptStoreError,
    ),
}


@pytest.fixture(params=BROKEN)
def broken(request, monitor):
    key, document, error = BROKEN[request.param]
    monitor.add_rule(rule(rule_id="r", scope="instance", window_minutes=600))
    monitor.storage.transition(key, lambda _, __: Change(document), operation_id="break it")
    return key, error


def fail(monitor, *models):
    for model in models:
        monitor.record_prediction("item", model, predicted_outcome=1, confidence=0.9)
    monitor.record_outcome("item", 0)


def test_the_other_models_are_evaluated_and_the_broken_one_is_told(monitor, clock, broken):
    key, error = broken
    fail(monitor, "a", "b")
    clock.forward(1)
    with pytest.raises(EvaluationError) as told:
        monitor.evaluate()
    assert {alert.model_version for alert in told.value.fired} == {"a", "b"}
    assert isinstance(told.value.failures["r"], error)
    assert key in str(told.value)


def test_an_edit_reaches_every_other_instance_and_says_so(monitor, clock, broken):
    key, error = broken
    fail(monitor, "a")
    clock.forward(1)
    with pytest.raises(EvaluationError):
        monitor.evaluate()
    with pytest.raises(error, match="instance") as told:
        monitor.add_rule(rule(rule_id="r", scope="instance", window_minutes=600, threshold=0.9))
    assert key in str(told.value)
    assert "revision 2 of the rule is stored" in told.value.__notes__[0]
    assert monitor.storage.state("instance/r/a/")["instance/r/a/{}"]["revision"] == 2
