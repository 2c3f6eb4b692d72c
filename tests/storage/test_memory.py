"""The plainest store, end to end; the contract kit says the rest."""

import pickle
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from f1mon_core import ConflictError, InvalidQueryError, PrunedError
from f1mon_core.monitor import Monitor
from f1mon_core.records import Prediction
from f1mon_core.storage import Change, memory
from f1mon_core.storage.dumping import page
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import CellKey, Moments, TallyQuery

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_a_prediction_and_its_late_outcome_meet_in_one_cell():
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        monitor.record_prediction("race-1", "podium-1", 1, 0.75, at=NOON - timedelta(hours=2))
        monitor.record_outcome("race-1", 1)
        cells = monitor.storage.tally(TallyQuery(delay=timedelta(hours=1))).cells
    assert cells == {CellKey("podium-1", 1, 1, 7, None, 2): Moments(1, 0.75, 0.75, 0.0, 0.0)}


def test_a_conflict_writes_nothing_of_its_batch():
    with Monitor.open("memory") as monitor:
        monitor.record_prediction("a", "m", 1, 0.5)
        second = {"prediction_id": "b", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}
        with pytest.raises(ConflictError) as refused:
            monitor.record_predictions([second, {**second, "prediction_id": "a", "confidence": 0.6}])
        assert refused.value.stored.confidence == 0.5
        assert [one.prediction_id for one in monitor.storage.find(Select("prediction"))] == ["a"]


def test_an_hour_that_was_pruned_is_final_also_for_predictions_the_store_stamps():
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        monitor.record_prediction("a", "m", 1, 0.5)
        monitor.storage.prune(NOON + timedelta(hours=1))
        with pytest.raises(PrunedError):
            monitor.record_prediction("b", "m", 1, 0.5)
        monitor.storage.prune(NOON + timedelta(hours=2))
        assert monitor.storage.tally(TallyQuery()).count == 1


def test_a_prune_that_cannot_be_done_removes_nothing():
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        monitor.record_prediction("a", "m", 1, 0.5, at=NOON - timedelta(days=1))
        with pytest.raises(InvalidQueryError):
            monitor.storage.prune(NOON, keep=["alerts"])
        with pytest.raises(InvalidQueryError):
            monitor.storage.prune(None)
        assert len(monitor.storage.find(Select("prediction"))) == 1


def test_what_pruning_refused_says_from_when_on_it_is_answered_in_another_process_too():
    with Monitor.open("memory") as monitor:
        monitor.storage.prune(NOON)
        with pytest.raises(PrunedError) as refused:
            monitor.storage.tally(TallyQuery(bins="exact"))
    moved = pickle.loads(pickle.dumps(refused.value))
    assert (moved.since, str(moved)) == (NOON, str(refused.value))
    assert PrunedError("of a fact").since is None


@pytest.mark.parametrize("limit", range(1, 8))
def test_pages_of_any_size_carry_the_same(monkeypatch, limit):
    store, copy = MemoryStorage(clock=lambda: NOON), MemoryStorage(clock=lambda: NOON)
    for number in range(3):
        made = Prediction(prediction_id=f"r-{number}", model_version="m", predicted_outcome=1, confidence=0.5)
        store.transition(f"k{number}", lambda _, __, made=made: Change({}, [made]), operation_id="o")
    store.prune(NOON + timedelta(hours=1))
    monkeypatch.setattr(memory, "page", partial(page, limit=limit))
    after, asked = None, 0
    while after is not None or not asked:
        asked += 1
        dumped = store.dump(after)
        copy.restore(dumped.records)
        assert dumped.after is None or dumped.after != after
        after = dumped.after
    monkeypatch.undo()
    assert copy.dump().records[1:] == store.dump().records[1:]
