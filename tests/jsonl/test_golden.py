"""Journals as an older version wrote them are read to the last fact."""

import json
import shutil

import pytest

from f1mon_core.errors import PrunedError
from f1mon_core.records.documents import from_documents
from f1mon_core.records.kinds import KINDS, Outcome, Prediction
from f1mon_jsonl import JSONLStorage

from . import golden

NAMES = ["plain-0001", "plain-0002", "pruned-0001", "pruned-0002", "restored-0002"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def expected(name):
    found = json.loads((golden.ASSETS / f"{name}.json").read_text())
    return under_contract_2(found) if name.endswith("-0001") else found


@pytest.fixture
def queries(name):
    return golden.QUERIES if name.endswith("-0001") else golden.QUERIES + golden.QUERIES_OF_SEVERAL


def under_contract_2(expected):
    """What contract 1 answered, as contract 2 answers it. Three things differ, and no other.

    - There is a kind more, of which an old journal holds nothing: `kept_cells`.
    - The key of a cell ends in its segments, of which an old journal holds none.
    - Minimum and maximum are those of all cells that differ in nothing but the outcome and its delay.
    """
    expected["facts"]["kept_cells"] = []
    for number, rows in enumerate(expected["tallies"]):
        alike = {}
        for model, predicted, _, place, bucket, _, _, low, high, *_ in rows:
            alike.setdefault((model, predicted, place, bucket), []).extend((low, high))
        expected["tallies"][number] = sorted(
            (
                [*row[:6], [], row[6], min(found := alike[row[0], row[1], row[3], row[4]]), max(found), *row[9:]]
                for row in rows
            ),
            key=repr,
        )
    return expected


@pytest.fixture
def store(name, tmp_path):
    shutil.copytree(golden.ASSETS / name, tmp_path / name)
    store = JSONLStorage(tmp_path / name, clock=lambda: golden.END)
    yield store
    store.close()


def test_every_asset_is_read():
    assert sorted(path.name for path in golden.ASSETS.iterdir() if path.is_dir()) == NAMES


def test_every_fact_document_and_tally_is_what_it_was(store, expected, queries):
    found = json.loads(json.dumps(golden.as_read(store, queries)))
    for part, was in expected.items():
        assert found[part] == was, part


def test_the_store_is_sound(store, expected):
    report = store.check()
    assert report.ok
    assert not report.problems
    assert dict(report.facts) == expected["counts"]


def test_every_kind_is_there(expected):
    assert {kind for kind, facts in expected["facts"].items() if facts} >= KINDS.keys() - {"kept_tally", "kept_cells"}
    heads = {key.partition("/")[0] for key in expected["state"]}
    assert heads >= {"rule", "instance", "silence", "delivery", "dead", "season"}


def test_facts_repeat_themselves(store, expected):
    kept = {"kept_tally", "kept_cells"}
    facts = [document for kind, found in expected["facts"].items() if kind not in kept for document in found]
    assert store.append(from_documents(facts)).new == 0


def test_operations_answer_what_they_answered(store):
    for key, (operation_id, result) in golden.REPEATED.items():
        assert store.transition(key, None, operation_id=operation_id) == result


@pytest.mark.parametrize("name", ["pruned-0001"])
def test_ids_that_contract_1_pruned_stay_refused_under_every_model(store, expected):
    assert expected["facts"]["kept_tally"]
    for pruned in golden.PRUNED_IDS:
        with pytest.raises(PrunedError):
            store.append([Prediction(pruned, "podium-1", 1, 0.5)])
        with pytest.raises(PrunedError):
            store.append([Outcome(pruned, 1)])
    with pytest.raises(PrunedError):
        store.append([golden.prediction("new", 3, confidence=0.5)])


@pytest.mark.parametrize("name", ["pruned-0002", "restored-0002"])
def test_keys_that_were_pruned_stay_refused(store, expected):
    assert expected["facts"]["kept_cells"]
    for pruned in golden.PRUNED_IDS:
        with pytest.raises(PrunedError):
            store.append([Prediction(pruned, "podium-1", 1, 0.5)])
        if pruned != "old-1":  # of which one stays
            with pytest.raises(PrunedError):
                store.append([Outcome(pruned, 1)])
    with pytest.raises(PrunedError):
        store.append([golden.prediction("new", 3, confidence=0.5)])
    assert store.append([Prediction(golden.PRUNED_IDS[0], "podium-2", 1, 0.5)]).new == 1


def test_a_compaction_changes_nothing_that_is_read(store, expected, queries):
    store.compact()
    assert json.loads(json.dumps(golden.as_read(store, queries))) == expected
    assert store.check().ok
