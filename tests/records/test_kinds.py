"""Records refuse at the door what no store could keep, and say which field and why."""

import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import attrs
import numpy as np
import pytest

from f1mon_core.errors import ConflictError, InvalidRecordError
from f1mon_core.records.fields import checks, label_order
from f1mon_core.records.kinds import KINDS, Alert, Fact, Outcome, RuleRevision, same

from ..factories import prediction

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("prediction_id", "", "1 to 255"),
        ("prediction_id", "x" * 256, "1 to 255"),
        ("prediction_id", "a\0b", "NUL"),
        ("prediction_id", "\ud800", "surrogate"),
        ("prediction_id", 7, "must be a str"),
        ("model_version", None, "must be a str"),
        ("predicted_outcome", 1.0, "1, not 1.0"),
        ("predicted_outcome", np.float64(1.0), "1, not 1.0"),
        ("predicted_outcome", Decimal(1), "1, not 1.0"),
        ("predicted_outcome", None, "an int or a str"),
        ("predicted_outcome", b"a", "an int or a str"),
        ("predicted_outcome", "", "1 to 255"),
        ("predicted_outcome", "x" * 256, "1 to 255"),
        ("predicted_outcome", "a\0", "NUL"),
        ("predicted_outcome", "\ud800", "surrogate"),
        ("segments", [1], "mapping"),
        ("segments", {str(number): 1 for number in range(17)}, "at most 16"),
        ("segments", {"": 1}, "1 to 255"),
        ("segments", {"x" * 65: 1}, "1 to 64"),
        ("segments", {1: 1}, "1 to 64"),
        ("segments", {"a\0": 1}, "NUL"),
        ("predicted_outcome", 2**63, "64 bits"),
        ("predicted_outcome", -(2**63) - 1, "64 bits"),
        ("confidence", math.nan, "finite"),
        ("confidence", math.inf, "finite"),
        ("confidence", 1.0000000000000002, "[0, 1]"),
        ("confidence", -5e-324, "[0, 1]"),
        ("confidence", "0.5", "must be a number"),
        ("confidence", True, "must be a number"),
        ("confidence", 10**400, "64-bit float"),
        ("features", [1], "mapping"),
        ("features", {1: 2}, "str keys"),
        ("features", {"x": {3}}, "JSON values"),
        ("features", {"x": 2**200}, "64 bits"),
        ("features", {"x": "\udfff"}, "surrogate"),
        ("features", {"x": "y" * (1 << 20)}, "1048576 bytes"),
        ("features", {str(n): 0.123456789012345 for n in range(60_000)}, "1048576 bytes"),
        ("at", datetime(2026, 1, 1), "aware"),  # noqa: DTZ001 - naive on purpose
        ("at", datetime(1969, 12, 31, tzinfo=UTC), "1970"),
        ("at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "1970 to 9999"),
        ("at", "2026-01-01", "datetime"),
        ("at_given", 1, "bool"),
    ],
)
def test_a_refusal_names_the_field_the_value_and_the_reason(field, value, reason):
    with pytest.raises(InvalidRecordError) as refused:
        prediction(**{field: value})
    assert refused.value.field.partition(".")[0] == field
    assert reason in str(refused.value)
    assert str(refused.value).startswith(f"{refused.value.field}: ")
    sent = pickle.loads(pickle.dumps(refused.value))
    assert str(sent).startswith(f"{refused.value.field}: ")
    assert sent.record == refused.value.record == (None if field == "prediction_id" else "prediction 'a'")


def test_depth_64_is_kept_and_one_more_is_refused_however_deep():
    def nested(depth: int) -> dict[str, object]:
        innermost: dict[str, object] = {}
        for _ in range(depth - 1):
            innermost = {"x": innermost}
        return innermost

    assert prediction(features=nested(64)).features == nested(64)
    for depth in (65, 100_000):
        with pytest.raises(InvalidRecordError, match="64 deep"):
            prediction(features=nested(depth))


def test_exactly_one_mebibyte_is_kept():
    room = (1 << 20) - len('{"x":""}')
    assert len(prediction(features={"x": "y" * room}).features["x"]) == room
    with pytest.raises(InvalidRecordError):
        prediction(features={"x": "y" * (room + 1)})


def test_values_of_other_libraries_become_plain_ones():
    record = prediction(
        predicted_outcome=np.int64(3),
        confidence=np.float32(0.25),
        features={"i": np.int32(4), "f": np.float64(0.5), "t": (1, 2), "q": Fraction(1, 2)},
    )
    assert (type(record.predicted_outcome), type(record.confidence)) == (int, float)
    assert record.features == {"i": 4, "f": 0.5, "t": [1, 2], "q": 0.5}
    assert [type(value) for value in record.features.values()] == [int, float, list, float]
    assert prediction(confidence=Decimal("0.5")).confidence == 0.5


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, 1),
        (np.bool_(False), 0),
        (np.int8(-3), -3),
        (np.uint64(7), 7),
        ("1", "1"),
        (np.str_("malignant"), "malignant"),
        (-(2**63), -(2**63)),
    ],
)
def test_labels_and_segments_become_pythons_own(given, kept):
    made_of_it = [
        prediction(predicted_outcome=given).predicted_outcome,
        prediction(segments={"x": given}).segments["x"],
    ]
    made_of_it.append(Outcome(prediction_id="a", actual_outcome=given).actual_outcome)
    assert [(type(one), one) for one in made_of_it] == [(type(kept), kept)] * 3


@pytest.mark.parametrize("value", [None, 1.0, b"x", "x" * 256, "a\0", "\udfff", 2**63, ["DE"]])
def test_a_segments_value_is_refused_by_its_name(value):
    with pytest.raises(InvalidRecordError) as refused:
        prediction(segments={"fine": 1, "country": value})
    assert refused.value.field == "segments.country"


def test_segments_are_a_copy_and_part_of_the_fact():
    given = {"country": "DE", "tier": ""}
    record = prediction(segments=given)
    given["country"] = "FR"
    assert record.segments == {"country": "DE", "tier": ""}
    assert same(record, prediction(segments={"tier": "", "country": "DE"}))
    assert same(prediction(segments={"x": True}), prediction(segments={"x": 1}))
    for other in ({}, {"country": "DE"}, {"country": "DE", "tier": "", "new": 1}):
        assert not same(record, prediction(segments=other))


def test_labels_compare_with_their_type():
    assert not same(prediction(predicted_outcome="1"), prediction(predicted_outcome=1))
    assert same(prediction(predicted_outcome=True), prediction(predicted_outcome=1))
    assert sorted(["b", 2, "a", -1], key=label_order) == [-1, 2, "a", "b"]


def test_a_conflict_says_in_what_the_facts_differ():
    for changes, named in (
        ({"confidence": 0.6}, "differ in confidence"),
        ({"segments": {"country": "DE"}}, "differ in segments"),
        ({"features": {"x": 1.0}}, "differ in features"),
        ({"at": NOON, "predicted_outcome": "1"}, "differ in predicted_outcome"),
    ):
        assert named in str(
            ConflictError(
                prediction(features={"x": 1, "y": 2}), prediction(**{"features": {"y": 2, "x": 1}, **changes})
            )
        )
    assert "differ in at" in str(ConflictError(prediction(at=NOON), prediction(at=NOON + timedelta(1))))
    assert "('a', 'm')" in str(ConflictError(prediction(), prediction(confidence=0.6)))


def test_minus_zero_becomes_zero_everywhere():
    record = prediction(confidence=-0.0, features={"x": -0.0, "y": [-0.0]})
    signs = [record.confidence, record.features["x"], record.features["y"][0]]
    assert [math.copysign(1, value) for value in signs] == [1, 1, 1]


def test_a_record_keeps_no_hold_of_what_it_was_given():
    features = {"grid": {"position": 1}}
    record = prediction(features=features)
    features["grid"]["position"] = 20
    assert record.features == {"grid": {"position": 1}}


def test_times_become_utc_and_remember_who_gave_them():
    berlin = timezone(timedelta(hours=2))
    record = prediction(at=NOON.astimezone(berlin))
    assert (record.at, record.at.tzinfo, record.at_given) == (NOON, UTC, True)
    assert prediction().at is None
    assert not prediction().at_given


def test_same_compares_types_and_only_times_both_gave():
    assert same(prediction(at=NOON), prediction())
    assert same(prediction(at=NOON, at_given=False), prediction(at=NOON + timedelta(1)))
    assert not same(prediction(at=NOON), prediction(at=NOON + timedelta(1)))
    assert same(prediction(features={"x": 1, "y": 2}), prediction(features={"y": 2, "x": 1}))
    for other in (1.0, True, "1"):
        assert not same(prediction(features={"x": 1}), prediction(features={"x": other}))


def test_keys_order_as_their_values_do():
    keys = [RuleRevision(rule_id="r", revision=number).key for number in (2, 10, 100)]
    assert keys == sorted(keys)
    assert Outcome(prediction_id="a", actual_outcome=1, at=NOON).key == ("a", "00001777636800000000")
    with pytest.raises(ValueError, match="no time"):
        _ = prediction().cursor


def test_every_kind_declares_attributes_it_has():
    for kind, record in KINDS.items():
        names = {field.name for field in attrs.fields(record)}
        assert kind == record.kind
        assert {*record.key_fields, *record.attributes} <= names, kind
        assert record.key_fields, kind
        assert {check.name for check in checks(record)} == names
        assert issubclass(record, Fact)


def test_errors_cross_a_process_boundary():
    conflict = pickle.loads(pickle.dumps(ConflictError(prediction(), prediction(confidence=0.6))))
    assert conflict.offered.confidence == 0.6
    assert "prediction" in str(conflict)

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Hostile" in str(InvalidRecordError("field", Hostile(), "must be kind"))


def test_a_severity_of_a_subclass_of_str_is_kept_as_a_str():
    made = Alert(
        alert_id="a",
        severity=type("Text", (str,), {})("info"),
        title="",
        message="",
        metric_name="m",
        component="c",
        model_version="v",
    )
    assert type(made.severity) is str


def test_a_severity_is_one_of_three():
    with pytest.raises(InvalidRecordError, match="info, warning, critical"):
        Alert(alert_id="a", severity="fatal", title="", message="", metric_name="m", component="c", model_version="v")
