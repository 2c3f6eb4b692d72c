"""Each value that people keep has one form, the same wherever it is; what has none is refused by its path."""

import enum
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from f1mon_core import ConflictError, InvalidQueryError, InvalidRecordError, Monitor
from f1mon_core.records.kinds import Alert, Outcome

from ..factories import prediction

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = "red"


class Text(str, enum.Enum):  # noqa: UP042 - whose str() is 'Text.RED'
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


Point = namedtuple("Point", "x y")  # noqa: PYI024 - as people have them

FORMS = [
    *((value, None) for value in (None, math.nan, math.inf, -math.inf, pd.NA, pd.NaT, np.float32("nan"), np.ma.masked)),
    *((value, None) for value in (np.datetime64("NaT", "s"), np.timedelta64("NaT", "s"))),
    *((value, None) for value in (Decimal("NaN"), Decimal("sNaN"))),
    *((value, None) for value in (Decimal("-Infinity"), np.float16("inf"), np.longdouble("nan"), pa.scalar(None))),
    (np.bool_(True), True), (np.int8(-3), -3), (np.uint64(7), 7), (np.float32(0.5), 0.5), (np.float64(0.1), 0.1),
    (np.longdouble(1.5), 1.5), (np.str_("a"), "a"), (np.array(3), 3), (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([1.0, math.nan]), [1.0, None]), (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    (np.array([None, "a", 1.5, pd.NA], dtype=object), [None, "a", 1.5, None]), (np.array([True]), [True]),
    (np.array(["2026-05-01", "NaT"], dtype="datetime64[ns]"), ["2026-05-01T00:00:00", None]),
    (pd.Series([1, None]), [1.0, None]), (pd.Index(["a"]), ["a"]), (pd.Categorical(["a", None]), ["a", None]),
    (pl.Series([1, None]), [1, None]), (pa.array([1, None]), [1, None]), (pa.scalar(7), 7),
    (NOON, "2026-05-01T12:00:00+00:00"), (NOON.astimezone(BERLIN), "2026-05-01T12:00:00+00:00"),
    (datetime(2026, 5, 1, 12), "2026-05-01T12:00:00"),  # noqa: DTZ001 - one without a zone
    (pd.Timestamp("2026-05-01T12:00:00.123456789Z"), "2026-05-01T12:00:00.123456+00:00"),
    (np.datetime64("2026-05-01T12:00:00.123456789"), "2026-05-01T12:00:00.123456"),
    (date(2026, 5, 1), "2026-05-01"), (time(12, 30), "12:30:00"), (timedelta(minutes=1.5), 90.0),
    (pd.Timedelta("90s"), 90.0), (np.timedelta64(90, "s"), 90.0),
    (Decimal("12.50"), 12.5), (Fraction(1, 4), 0.25), (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (PurePosixPath("/a/b"), "/a/b"), (Colour.RED, "red"), (Text.RED, "red"), (Number.ONE, 1),
    (Point(1, 2), [1, 2]), (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "kept"), FORMS, ids=lambda value: f"{type(value).__name__}"[:20])
def test_a_value_has_one_form_wherever_it_is(given, kept):
    made = prediction(features={"x": given, "deep": [{"y": given}]}, metadata={"x": given})
    for found in (made.features["x"], made.features["deep"][0]["y"], made.metadata["x"]):
        assert (type(found), found) == (type(kept), kept)
        assert not isinstance(found, list) or [type(one) for one in found] == [type(one) for one in kept]


def test_what_is_kept_with_other_facts_has_the_same_forms():
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        kept = monitor.record_metric("m", "x", 1.0, metadata={"at": NOON, "share": np.float64("nan"), "of": np.int8(1)})
        assert kept.metadata == {"at": "2026-05-01T12:00:00+00:00", "share": None, "of": 1}
    alert = {"severity": "info", "title": "", "message": "", "metric_name": "m", "component": "c", "model_version": "v"}
    assert Alert(alert_id="a", **alert, context={"value": math.nan}).context == {"value": None}


def test_nulls_are_counted_at_the_door_whatever_they_were():
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        told = monitor.record_prediction(
            *("a", "m", 1, 0.5), {"x": math.nan, "y": [None, 1, {"z": pd.NA}], "w": 0.5}, {"v": -math.inf, "u": None}
        )
        assert (told.new, told.nulled) == (1, 5)
        again = {"prediction_id": "a", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}
        again |= {"features": {"x": None, "y": [None, 1, {"z": None}], "w": 0.5}, "metadata": {"v": None, "u": None}}
        told = monitor.record_predictions(
            [again, prediction(prediction_id="b", features={"x": math.nan})], batch_size=1
        )
        assert (told.new, told.repeated, told.nulled) == (1, 1, 6)
        assert monitor.record_outcome("a", 1).nulled == 0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"grid": [0, 1, 2, {3}]}, "features.grid[3]"),
        ({"a": {"b c": [[b"x"]]}}, "features.a['b c'][0][0]"),
        ({"a": np.array([1, 1j])}, "features.a[0]"),
        ({"a": pd.DataFrame({"b": [1]})}, "features.a"),
        ({"a": object()}, "features.a"),
        ({"a": Decimal("1e999")}, "features.a"),
        ({"a": np.datetime64("30000-01-01")}, "features.a"),
        ({"a": {1: 2}}, "features.a"),
        ({"a": [2**64]}, "features.a[0]"),
        ({"\ud800": 1}, "features"),
        ({"a": {"b": "\ud800"}}, "features.a.b"),
        ({"x" * 200: {1}}, f"features['{'x' * 80}'…]"),
        (np.array([1]), "features"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_path(given, field):
    with pytest.raises(InvalidRecordError) as refused:
        prediction(features=given)
    assert refused.value.field == field
    assert refused.value.record == "prediction 'a'"


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float32(1.0000001), 1.0), (1 + 2**-23, 1.0), (-(2.0**-23), 0.0), (np.float32(0.1), float(np.float32(0.1)))],
)
def test_what_float32_leaves_beyond_an_end_is_that_end(given, kept):
    assert prediction(confidence=given).confidence == kept


@pytest.mark.parametrize("given", [1.0000000000000002, 1.00001, np.float32(1.001), -0.001, np.float64("nan")])
def test_what_lies_farther_is_refused(given):
    with pytest.raises(InvalidRecordError):
        prediction(confidence=given)


@pytest.mark.parametrize(
    ("label", "kept"), [(Text.RED, "red"), (Colour.RED, "red"), (Number.ONE, 1), (np.str_("a"), "a")]
)
def test_an_enum_as_label_and_segment_is_its_value(label, kept):
    made = prediction(predicted_outcome=label, segments={"x": label})
    assert [(type(one), one) for one in (made.predicted_outcome, made.segments["x"])] == [(type(kept), kept)] * 2
    assert Outcome(prediction_id="a", actual_outcome=label).actual_outcome == kept


def test_a_pandas_time_is_a_plain_one_to_the_microsecond_before_it_is_compared():
    at = pd.Timestamp("2026-05-01T12:00:00.123456789", tz="Europe/Berlin")
    made = prediction(at=at)
    assert (type(made.at), made.at.tzinfo, made.at) == (datetime, UTC, datetime(2026, 5, 1, 10, 0, 0, 123456, UTC))
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        assert [monitor.record_prediction("a", "m", 1, 0.5, at=at).new for _ in range(2)] == [1, 0]
        assert len(monitor.predictions(since=at)) == 1  # by the nanosecond it would lie before
        with pytest.raises(ConflictError):
            monitor.record_prediction("a", "m", 1, 0.5, at=at + pd.Timedelta("1us"))
        with pytest.raises(InvalidQueryError, match="is missing"):
            monitor.performance(since=pd.NaT)


@pytest.mark.parametrize(
    ("said", "confidence"),
    [
        ({"predicted_outcome": 1, "probability": 0.75}, 0.75),
        ({"predicted_outcome": 0, "probability": 0.25}, 0.75),
        ({"predicted_outcome": True, "probability": np.float32(1.0000001)}, 1.0),
        ({"predicted_outcome": "ill", "probability": 0.75, "positive": "ill"}, 0.75),
        ({"predicted_outcome": "well", "probability": 0.75, "positive": "ill"}, 0.25),
        ({"predicted_outcome": 4, "probability": 0.75, "positive": 4}, 0.75),
        ({"predicted_outcome": "b", "probabilities": {"a": 0.25, "b": 0.5, "c": 0.25}}, 0.5),
        (
            {"predicted_outcome": 1, "probabilities": {np.int64(0): np.float32(0.25), np.int64(1): np.float32(0.75)}},
            0.75,
        ),
    ],
)
def test_a_probability_of_the_positive_class_or_of_all_becomes_the_confidence(said, confidence):
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        monitor.record_prediction("a", "m", **said)
        assert monitor.prediction("a").confidence == confidence
        assert monitor.record_predictions([{"prediction_id": "a", "model_version": "m", **said}]).repeated == 1
