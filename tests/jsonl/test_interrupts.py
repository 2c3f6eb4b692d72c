"""An interrupt at every moment at which one may come: the handle goes on, whole, and holds nothing."""

import os
import threading
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from f1mon_jsonl import JSONLStorage

from ..interrupting import Struck

pytestmark = [pytest.mark.faults]

STRIDE = 5
"""One moment in so many is tried in the short version."""


def facts(number):
    made = [
        Prediction(prediction_id=f"{number}/{n}", model_version="m", predicted_outcome=1, confidence=0.5)
        for n in range(2)
    ]
    return [*made, Outcome(prediction_id=made[0].prediction_id, actual_outcome=1)]


def claim(state, _now):
    return Change({"n": (state or {"n": 0})["n"] + 1}, facts=[], also={"other": {}})


def pruned(store, number):
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    store.append([attrs.evolve(facts(number)[0], prediction_id=f"old-{number}", at=at)])
    return store.prune(at + timedelta(seconds=1))


CALLS = {
    "append": lambda store, number: store.append(facts(number)),
    "transition": lambda store, number: store.transition("key", claim, operation_id=str(number)),
    "find": lambda store, _: store.find(Select("prediction")),
    "prune": pruned,
    "compact": lambda store, _: store.compact(),
}


def descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is wanted


@pytest.mark.parametrize("stride", [STRIDE, pytest.param(1, marks=pytest.mark.soak)], ids=["some", "all"])
@pytest.mark.parametrize(
    ("kind", "verb"),
    [(kind, verb) for kind in ("jsonl", "memory") for verb in CALLS if (kind, verb) != ("memory", "compact")],
)
def test_an_interrupt_at_any_moment_leaves_a_handle_whole(kind, verb, stride, tmp_path):
    store = JSONLStorage(tmp_path, durability="commit", lock_timeout=1.0) if kind == "jsonl" else MemoryStorage()
    store.append(facts("first"))
    number, done, held = 1, 0, descriptors()
    while True:
        came = Struck(number).at(lambda number=number: CALLS[verb](store, number))
        assert descriptors() == held, number
        assert kind == "memory" or not store._view.descriptors, number
        if verb == "append":  # whole or not at all, and to repeat it tells
            assert store.append(facts(number)).new in (0, 3), number
        if verb == "transition":
            done += 1
            assert store.transition("key", claim, operation_id=str(number)) is None
            assert store.state("key")["key"] == {"n": done}, number
        if not came:
            break
        # What is left of prunes grows with each, and so do the moments of the next one.
        number += max(stride, number // 4) if verb == "prune" else stride
    answers = []
    other = threading.Thread(target=lambda: answers.append(store.append(facts("last")).new), daemon=True)
    other.start()
    other.join(10)
    assert answers == [3], "another thread waits for ever"
    assert store.check().ok
    assert number > 5 * stride
