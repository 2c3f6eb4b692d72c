"""Whatever is put where at any public door of a monitor: it is taken, or refused by an error of f1mon's own."""

import math
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f1mon_core import AlertRule, Channels, F1monError, Monitor, Outcome, Prediction

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Raising:
    """What raises whatever is asked of it."""

    def _raise(self, *_):
        raise ZeroDivisionError("hostile")

    __repr__ = __str__ = __index__ = __float__ = __int__ = __iter__ = __len__ = __eq__ = __lt__ = __bool__ = _raise
    __hash__ = object.__hash__
    tolist = as_py = items = keys = _raise


class RaisingDict(dict):
    def items(self):
        raise OSError("hostile")

    keys = __iter__ = items


class Endless:
    """An array of itself."""

    def tolist(self):
        return [self]


class Text(str):
    """A text that says it is another."""

    __slots__ = ()

    def __str__(self):
        return "another"


CYCLE: list = []
CYCLE.append(CYCLE)
VALUES = [
    *(None, True, False, 0, 1, -1, 2**63, 2**200, 0.0, -0.0, 0.5, 1.0, 1.0000001, 93, 1e308, math.nan,
      math.inf, -math.inf),
    *("", "a", "a" * 300, "\0", "\ud800", "1", "nan", "2026-05-01", "rest", "prediction", Text("a"), b"a",
      bytearray(b"a")),
    *((), [], {}, set(), {1}, [None], [[]], {"a": 1}, {1: 1}, {"": ""}, {None: 1}, ("a", 1), ["a", 1], [("a",
      1)], CYCLE),
    *(NOON, NOON.replace(tzinfo=None), date(2026, 5, 1), timedelta(1), timedelta.max, timedelta.min),
    *(datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
    *(Decimal(1), Decimal("NaN"), Decimal("sNaN"), Decimal("1e999"), Fraction(1, 3), 1j, UUID(int=1), Path("a")),
    *(np.int64(1), np.float32(0.5), np.float64("nan"), np.bool_(True), np.array([1, 2]), np.array(1),
      np.datetime64("NaT", "s")),
    *(np.datetime64("2026-05-01"), np.timedelta64(1, "D"), np.str_("a"), np.array([1j]), np.ma.masked,
      np.longdouble(1)),
    *(pd.NA, pd.NaT, pd.Timestamp(NOON), pd.Timestamp("2026-05-01"), pd.Timedelta(1, "D"), pd.Series([1]),
      pd.Index(["a"])),
    *(pd.DataFrame(), pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}), pl.Series([1]), pa.table({"a": [1]}),
      pa.scalar(1)),
    *(pl.LazyFrame({"a": [1]}), pa.array([1]), pd.DataFrame([[1, 2]], columns=["a", "a"])),
    *(object(), Raising(), RaisingDict(a=1), Endless(), OrderedDict(a=1), len, int, iter([1]), range(3),
      memoryview(b"a")),
    *(Prediction(prediction_id="a", model_version="m", predicted_outcome=1, confidence=0.5), Outcome, NotImplemented),
]  # fmt: skip

PREDICTION = {"prediction_id": "a", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}
DOORS = {
    "record_prediction": PREDICTION
    | dict.fromkeys(("features", "metadata", "probability", "probabilities", "positive", "segments", "at")),
    "record_predictions": {"predictions": [PREDICTION], "batch_size": 10}
    | dict.fromkeys(("columns", "features", "segments", "metadata", "model_version", "positive")),
    "record_outcome": {"prediction_id": "a", "actual_outcome": 1, "known_at": None},
    "record_outcomes": {"outcomes": [("a", 1)], "batch_size": 10, "columns": None},
    "record_metric": {"model_version": "m", "metric_name": "x", "value": 1.0, "at": None, "metadata": None},
    "record_drift": {"result": {"feature": "x", "p_value": 0.5}, "model_version": "m", "threshold": 0.1}
    | dict.fromkeys(("feature", "method", "detected", "at", "metadata")),
    "record_importances": {"model_version": "m", "importances": {"x": 1.0}, "method": "y", "at": None,
      "metadata": None},
    "prediction": {"prediction_id": "a", "model_version": None},
    "predictions": dict.fromkeys(("model_version", "since", "until", "limit", "after")),
    "outcomes": dict.fromkeys(("since", "until", "prediction_id", "limit", "after")),
    "labelled": dict.fromkeys(("model_version", "since", "until", "limit", "after")),
    "data_doubts": dict.fromkeys(("model_version", "since")),
    "performance": {"model_version": None, "n_bins": 10, "basis": "prediction", "interval": "wilson"}
    | dict.fromkeys(("since", "until", "last", "horizon", "as_of", "as_recorded", "positive", "labels", "metrics")),
    "label_delay": {"quantiles": (0.5,), "unit": timedelta(hours=1)}
    | dict.fromkeys(("model_version", "since", "until", "last", "as_of", "as_recorded")),
    "prune": {"before": NOON - timedelta(days=90), "keep": ()},
}  # fmt: skip
"""The doors of facts and of questions, with what is good at each."""
FRAMES = ("record_predictions", "record_outcomes")
PLACES = [(door, name) for door, good in DOORS.items() for name in good]


@pytest.fixture(scope="module")
def monitor():
    with Monitor.open("memory", clock=lambda: NOON, channels=Channels(environ={})) as opened:
        opened.record_prediction("seen", "m", 1, 0.5, at=NOON)
        opened.add_rule(AlertRule("r", "accuracy", "threshold", 0.8, "<", "warning", "c"))
        yield opened


def tried(monitor, door, **changes):
    """Knock at a door; only f1mon's own errors come back, and each can be shown."""
    try:
        getattr(monitor, door)(**{**DOORS[door], **changes})
    except F1monError as error:
        shown = str(error), repr(error)
    else:
        return
    assert all(shown)


@pytest.mark.parametrize(("door", "name"), PLACES)
def test_any_value_in_any_place_is_taken_or_refused_by_an_error_of_f1mons_own(monitor, door, name):
    for value in VALUES:
        tried(monitor, door, **{name: value})


@pytest.mark.parametrize("field", [*PREDICTION, "features", "segments", "at"])
def test_so_it_is_of_mappings_and_of_frames_of_any_library(monitor, field):
    for value in VALUES:
        tried(monitor, "record_predictions", predictions=[{**PREDICTION, field: value}])
        frame = pd.DataFrame({name: pd.Series([good], dtype=object) for name, good in PREDICTION.items()})
        frame[field] = pd.Series([value], dtype=object)
        tried(monitor, "record_predictions", predictions=frame, features="rest")


LEAVES = (
    st.sampled_from([one for one in VALUES if one is not CYCLE and type(one) not in {Raising, RaisingDict}])
    | st.floats()
    | st.text(max_size=5)
    | st.integers()
    | st.datetimes()
    | st.decimals()
)
INNER = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), LEAVES, max_size=3)
HOSTILE = INNER | st.lists(INNER, max_size=3) | st.dictionaries(st.text(max_size=3), INNER, max_size=3)


@settings(max_examples=150)
@given(data=st.data())
def test_and_of_whatever_they_are_nested_in(monitor, data):
    door = data.draw(st.sampled_from(sorted(DOORS)))
    names = data.draw(st.sets(st.sampled_from(sorted(DOORS[door])), min_size=1, max_size=3))
    tried(monitor, door, **{name: data.draw(HOSTILE) for name in sorted(names)})
