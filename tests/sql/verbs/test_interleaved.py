"""Writers of one item who meet: two models, an outcome, its correction and a contradiction, in every order."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import attrs
import pytest

from f1mon_core.errors import ConflictError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import SQLStorage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
WRITERS = 8
ITEMS = 60


def facts_of(item):
    """What is written of an item, each fact by somebody else."""
    made = Prediction(prediction_id=item, model_version="a", predicted_outcome=1, confidence=0.5, at=NOON)
    return [
        made,
        attrs.evolve(made, confidence=0.25),
        attrs.evolve(made, model_version="b", features={"x": 1}),
        made,
        Outcome(prediction_id=item, actual_outcome=0, at=NOON + timedelta(hours=1)),
        Outcome(prediction_id=item, actual_outcome="late", at=NOON + timedelta(hours=2)),
    ]


@pytest.mark.races
def test_every_prediction_is_labelled_and_none_is_there_twice(url):
    store = SQLStorage(url, pool_size=WRITERS)
    items = [f"i{number:03d}" for number in range(ITEMS)]
    work = [[] for _ in range(WRITERS)]
    for number, item in enumerate(items):
        facts = facts_of(item)
        random.Random(number).shuffle(facts)
        for writer, fact in enumerate(facts):
            work[(number + writer) % WRITERS].append([fact])
    # Whole batches that meet the single facts, in another order of items.
    for writer, model in ((0, "c"), (1, "d")):
        whole = [attrs.evolve(facts_of(item)[0], model_version=model) for item in reversed(items)]
        work[writer].insert(len(work[writer]) // 2, whole)
    together = Barrier(WRITERS)

    def write(batches):
        refused = 0
        together.wait(60)
        for batch in batches:
            try:
                store.append(batch)
            except ConflictError:
                refused += 1
        return refused

    with ThreadPoolExecutor(WRITERS) as pool:
        refused = sum(pool.map(write, work))
    assert ITEMS <= refused <= 2 * ITEMS  # of three facts of one key, one or two say otherwise than the first
    found = [(one.prediction_id, one.model_version) for one in store.find(Select("prediction"))]
    assert sorted(found) == [(item, model) for item in items for model in "abcd"]
    cells = store.tally(TallyQuery()).cells
    assert {(key.model_version, key.actual) for key in cells} == {(model, "late") for model in "abcd"}
    assert sum(cell.n for cell in cells.values()) == len(found)
    report = store.check()
    assert report.ok, report.problems
    store.close()
