"""One converter, both ways, strictly."""

import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import documents, fields, json_text
from f1mon_core.records.fields import Text, checks
from f1mon_core.records.kinds import KINDS, Fact
from f1mon_core.records.times import to_micros

from ..factories import outcome, prediction

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
    "label": _ints | _ids,
    "segments": st.dictionaries(_ids.filter(lambda name: len(name) <= 64), _ints | _ids | st.just(""), max_size=3),
    "count": st.integers(0, 2**63 - 1),
    "ordinal": st.integers(1, 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "probability": st.floats(0, 1),
    "flag": st.booleans(),
    "instant": _instants,
    "content": st.dictionaries(_text, _json, max_size=3),
    "json_array": st.lists(_json, max_size=3),
}


def facts_of(record: type[Fact]) -> st.SearchStrategy[Fact]:
    required = {f.name for f in attrs.fields(record) if f.default is attrs.NOTHING}
    values = {
        name: _values[check.__name__] | st.none() if optional else _values[check.__name__]
        for name, check, optional in checks(record)
        if name != "at_given"
    }
    return st.fixed_dictionaries(
        {name: values[name] for name in required}, optional={n: f for n, f in values.items() if n not in required}
    ).map(lambda given: record(**given))


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: facts_of(KINDS[kind])))
def test_every_fact_survives_ascii_json(fact):
    line = json.dumps(documents.to_document(fact), allow_nan=False)
    assert line.isascii()
    again = documents.from_document(json.loads(line))
    assert again == fact
    assert type(again) is type(fact)


def stored_fact(*kept):
    (fact,) = documents.stored_facts([kept])
    return fact


def restored(fact):
    """A fact from what a store keeps of it."""
    content = json.loads(json.dumps(documents.content_document(fact)))
    at, recorded_at = (to_micros(fact.at), to_micros(fact.recorded_at))
    return stored_fact(fact.kind, fact.version, at, int(fact.at_given), recorded_at, content)


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: facts_of(KINDS[kind])), _instants, _instants)
def test_a_stored_fact_is_restored_without_a_difference(fact, at, recorded_at):
    stored = attrs.evolve(fact, at=at, at_given=fact.at_given, recorded_at=recorded_at)
    again = restored(stored)
    assert again == stored
    assert documents.to_document(again) == documents.to_document(stored)


STORED = {"prediction_id": "a", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"confidence": "0.5"}, "confidence"),
        ({"confidence": True}, "confidence"),
        ({"predicted_outcome": 1.0}, "predicted_outcome"),
        ({"predicted_outcome": None}, "predicted_outcome"),
        ({"prediction_id": 7}, "prediction_id"),
        ({"features": []}, "features"),
        ({"colour": "red"}, "prediction"),
    ],
)
def test_a_stored_value_of_another_type_is_refused(change, field):
    with pytest.raises(InvalidRecordError) as caught:
        stored_fact("prediction", 1, 0, 1, 0, STORED | change)
    assert caught.value.field == field


def test_a_stored_fact_that_lacks_a_field_or_a_time_is_refused():
    with pytest.raises(InvalidRecordError, match="confidence"):
        stored_fact("prediction", 1, 0, 1, 0, {n: v for n, v in STORED.items() if n != "confidence"})
    for wrong in (None, -1, 0.5, 10**18):
        with pytest.raises(InvalidRecordError, match="instant"):
            stored_fact("prediction", 1, wrong, 1, 0, STORED)
        with pytest.raises(InvalidRecordError, match="instant"):
            stored_fact("prediction", 1, 0, 1, wrong, STORED)
    with pytest.raises(SchemaError):
        stored_fact("prediction", 2, 0, 1, 0, STORED)


def test_the_fields_of_a_record_without_slots_are_filled_too():
    @attrs.frozen(kw_only=True, slots=False)
    class Unslotted(Fact):
        note: Text = ""

    fact = Unslotted()
    documents._setter(Unslotted, "note")(fact, "a")
    documents._setter(Unslotted, "at_given")(fact, True)
    assert (fact.note, fact.at_given) == ("a", True)


@given(st.lists(_json, max_size=5))
@example([{}, {"a": "b\nc"}])
@example([{"a": None}, {"a": 1.5}])
@example([{"a": "é"}, {"a": 1.5}])
@example([{"a": "\x7f"}])
def test_values_written_together_are_those_written_one_by_one(values):
    assert json_text.encoded_all(values) == [json_text.encoded(value) for value in values]


@given(value=_json)
@example(value={"a": None, "null": "null"})
@example(value={"é": '\x7f\0\n"\\/\u2028', "b": ["\U0001f3ce", 0.1 + 0.2, 1e22, 5e-324, -(2**63)]})
def test_a_value_is_written_in_ascii_and_read_as_it_was(value):
    text = json_text.encoded(value)
    assert text.isascii()
    assert "\n" not in text
    as_it_was = json_text.canonical(value)
    assert json_text.canonical(json.loads(text)) == as_it_was
    for one in (text, json_text.encoded(value), f"\n {json.dumps(value, indent=2)}\n"):  # as a person may leave it
        assert json_text.canonical(json_text.decoded(one)) == as_it_was


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_number_for_is_refused_and_does_not_become_null(number):
    """A record refuses it; but its features are a dict, which somebody may have changed since."""
    with pytest.raises(ValueError, match="JSON"):
        json_text.encoded({"a": number})


@pytest.mark.parametrize("value", [type("Text", (str,), {})("é"), "\ud800", 2**200, {"a": [None, 2**64]}], ids=repr)
def test_what_no_fact_holds_is_written_as_the_standard_library_writes_it(value):
    assert json_text.encoded(value) == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("value", [b"{}", None])
def test_what_is_no_text_is_not_decoded(value):
    with pytest.raises(TypeError):
        json_text.decoded(value)


@pytest.mark.parametrize("text", ["1" * 30, "1e400", '"\\ud800"', '{"a":1,"a":2}', "-0.0", "1e-400"])
def test_what_f1mon_would_not_write_is_read_as_the_standard_library_reads_it(text):
    assert repr(json_text.decoded(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", " ", "{", "{}{}", "{} {}", "NaN", '{"a": Infinity}', "nul", "[" * 100_000])
def test_what_is_no_encoded_value_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        json_text.decoded(text)


def test_limits_and_hashes_rest_on_the_standard_librarys_spelling():
    """msgspec leaves a DEL as it is: what was refused would be stored, and no old hash be met again."""
    assert json_text.canonical(["\x7f", 1e22]) == json.dumps(["\x7f", 1e22], separators=(",", ":"))
    longest = "\x7f" * ((fields.MAX_JSON_BYTES - 2) // len(r"\u007f"))
    assert fields.text(longest, "note") == longest
    with pytest.raises(InvalidRecordError, match="at most"):
        fields.text(longest + "\x7f", "note")


def test_a_document_is_short_and_says_what_it_is():
    made = prediction(at_given=False)
    assert documents.to_document(made) == {
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
        ({"actual_outcome": 1.0}, InvalidRecordError, "actual_outcome"),
    ],
)
def test_a_strange_document_is_refused(change, error, words):
    document = documents.to_document(outcome(at=datetime(2026, 5, 1, tzinfo=UTC)))
    with pytest.raises(error, match=words):
        documents.from_document({**document, **change})


def test_a_missing_field_is_named():
    document = documents.to_document(outcome())
    del document["actual_outcome"]
    with pytest.raises(InvalidRecordError, match="actual_outcome"):
        documents.from_document(document)
