"""One converter, both ways, strictly."""

import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from f1mon_core import codec
from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import KINDS, Fact, Outcome, Prediction, checks

_text = st.text(st.characters(exclude_categories=["Cs"]))
_ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)
_ints = st.integers(-(2**63), 2**63 - 1)
_json = st.recursive(
    st.none() | st.booleans() | _ints | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
_values = {
    "identifier": _ids,
    "text": _text,
    "severity": st.sampled_from(["info", "warning", "critical"]),
    "label": _ints,
    "count": st.integers(0, 2**63 - 1),
    "ordinal": st.integers(1, 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "probability": st.floats(0, 1),
    "flag": st.booleans(),
    "instant": _instants,
    "json_object": st.dictionaries(_text, _json, max_size=3),
    "json_array": st.lists(_json, max_size=3),
}


def facts_of(record: type[Fact]) -> st.SearchStrategy[Fact]:
    required = {f.name for f in attrs.fields(record) if f.default is attrs.NOTHING}
    fields = {
        name: _values[check.__name__] | st.none() if optional else _values[check.__name__]
        for name, check, optional in checks(record)
        if name != "at_given"
    }
    return st.fixed_dictionaries(
        {name: fields[name] for name in required}, optional={n: f for n, f in fields.items() if n not in required}
    ).map(lambda values: record(**values))


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: facts_of(KINDS[kind])))
def test_every_fact_survives_ascii_json(fact):
    line = json.dumps(codec.to_document(fact), allow_nan=False)
    assert line.isascii()
    again = codec.from_document(json.loads(line))
    assert again == fact
    assert type(again) is type(fact)


def test_a_document_is_short_and_says_what_it_is():
    made = Prediction(prediction_id="a", model_version="m", predicted_outcome=1, confidence=0.5, at_given=False)
    assert codec.to_document(made) == {
        "kind": "prediction",
        "v": 1,
        "at": None,
        "at_given": False,
        "recorded_at": None,
        "prediction_id": "a",
        "model_version": "m",
        "predicted_outcome": 1,
        "confidence": 0.5,
    }


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"kind": "tyre_change"}, SchemaError, "update f1mon"),
        ({"kind": None}, SchemaError, "update f1mon"),
        ({"v": 2}, SchemaError, "update f1mon"),
        ({"surprise": 1}, InvalidRecordError, "surprise"),
        ({"at": 1.5}, InvalidRecordError, "microseconds"),
        ({"at": True}, InvalidRecordError, "microseconds"),
        ({"at": 10**18}, InvalidRecordError, "microseconds"),
        ({"actual_outcome": "1"}, InvalidRecordError, "actual_outcome"),
    ],
)
def test_a_strange_document_is_refused(change, error, words):
    document = codec.to_document(Outcome(prediction_id="a", actual_outcome=1, at=datetime(2026, 5, 1, tzinfo=UTC)))
    with pytest.raises(error, match=words):
        codec.from_document({**document, **change})


def test_a_missing_field_is_named():
    document = codec.to_document(Outcome(prediction_id="a", actual_outcome=1))
    del document["actual_outcome"]
    with pytest.raises(InvalidRecordError, match="actual_outcome"):
        codec.from_document(document)
