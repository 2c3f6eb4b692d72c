"""Tables of any library go in as rows would, and come out again."""

import asyncio
import sys
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from f1mon_core import AsyncMonitor, InvalidRecordError, MissingExtraError, Monitor

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROWS = pd.DataFrame(
    {
        "request_id": [1, 2, 3],
        "answer": [1.0, 0.0, 1.0],  # whole numbers of a column that had a gap once
        "score": np.array([0.9, 0.8, 1.0000001], dtype="float32"),
        "made": pd.to_datetime(["2026-04-01 12:00:00.123456789"] * 3, utc=True),
        "age": [31.0, np.nan, 58.5],
        "country": ["DE", None, "FR"],
        "tier": [1.0, np.nan, 2.0],
    }
)
COLUMNS = {"prediction_id": "request_id", "predicted_outcome": "answer", "confidence": "score", "at": "made"}
OPTIONS = {"columns": COLUMNS, "segments": ["country", "tier"], "features": "rest", "model_version": "m"}
LIBRARIES = {
    "pandas": lambda frame: frame,
    "pandas, nullable": lambda frame: frame.convert_dtypes(),
    "pandas, arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "arrow, a batch": pa.RecordBatch.from_pandas,
}


@pytest.fixture
def monitor():
    with Monitor.open("memory", clock=lambda: NOON) as opened:
        yield opened


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_frame_of_any_library_is_the_same_facts(monitor, library):
    told = monitor.record_predictions(LIBRARIES[library](ROWS), **OPTIONS)
    assert (told.new, told.nulled) == (3, 3)
    assert monitor.record_predictions(ROWS, **OPTIONS).repeated == 3 or "nullable" in library or "arrow" in library
    at = datetime(2026, 4, 1, 12, 0, 0, 123456, UTC)
    stored = [
        (one.prediction_id, one.predicted_outcome, one.features["age"], one.segments, one.at, one.confidence)
        for one in monitor.predictions()
    ]
    assert stored == [
        ("1", 1, 31.0, {"country": "DE", "tier": 1}, at, float(np.float32(0.9))),
        ("2", 0, None, {}, at, float(np.float32(0.8))),
        ("3", 1, 58.5, {"country": "FR", "tier": 2}, at, 1.0),
    ]
    assert {type(one.predicted_outcome) for one in monitor.predictions()} == {int}


@pytest.mark.parametrize("library", LIBRARIES)
def test_outcomes_without_a_label_are_skipped_and_counted(monitor, library):
    labels = pd.DataFrame({"prediction_id": ["a", "b", "c"], "label": [1.0, np.nan, 0.0]})
    told = monitor.record_outcomes(LIBRARIES[library](labels), columns={"actual_outcome": "label"})
    assert (told.new, told.skipped, told.unmatched) == (2, 1, 2)
    assert [(one.prediction_id, one.actual_outcome) for one in monitor.outcomes()] == [("a", 1), ("c", 0)]


def test_a_frame_is_read_in_slices_and_a_refusal_names_row_and_column(monitor, monkeypatch):
    monkeypatch.setattr("f1mon_core.recording.frames.SLICE", 2)
    with pytest.raises(InvalidRecordError, match="row 2, column 'score'") as refused:
        monitor.record_predictions(ROWS.assign(score=[0.5, 0.5, 5]), **OPTIONS)
    assert refused.value.record == "prediction '3'"
    assert monitor.record_predictions(ROWS, **OPTIONS, batch_size=1).new == 3


def test_probabilities_of_all_classes_are_columns_of_their_own(monitor):
    frame = pl.DataFrame(
        {"prediction_id": ["a", "b"], "predicted_outcome": ["x", "y"], "px": [0.7, 0.4], "py": [0.3, 0.6]}
    )
    columns = {"probabilities": {"x": "px", "y": "py"}}
    monitor.record_predictions(frame, columns=columns, model_version="m")
    assert [one.confidence for one in monitor.predictions()] == [0.7, 0.6]
    with pytest.raises(InvalidRecordError, match="must name one of"):
        monitor.record_predictions(frame, columns={**columns, "confidence": "px"}, model_version="m")


def test_what_tables_hold_becomes_ids_and_objects(monitor):
    frame = pd.DataFrame(
        {
            "prediction_id": [UUID(int=1), 2.0],
            "model_version": [1, 1],
            "predicted_outcome": [True, False],
            "confidence": [0.5, 0.5],
            "features": [{"grid": [1, np.nan]}, None],
            0: ["metadata", "of a frame without names"],
        }
    )
    monitor.record_predictions(frame, metadata={"note": "0"})
    stored = {one.prediction_id: one for one in monitor.predictions()}
    assert sorted(stored) == ["00000000-0000-0000-0000-000000000001", "2"]
    assert stored["2"].features == {}
    one = stored["00000000-0000-0000-0000-000000000001"]
    assert (one.model_version, one.predicted_outcome) == ("1", 1)
    assert (one.features, one.metadata) == ({"grid": [1, None]}, {"note": "metadata"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"confidence": "scor"}}, "did you mean 'score'"),
        ({"columns": ["score"]}, "must be a mapping"),
        ({"columns": {"score": "score"}}, "must name fields of a prediction"),
        ({"features": "age"}, 'as in ["age"], or "rest"'),
        ({"features": ["ages"]}, "did you mean 'age'"),
        ({"features": "rest", "metadata": "rest"}, "must not take the rest"),
        ({"model_version": None}, "model_version: needs a column"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(monitor, options, said):
    with pytest.raises(InvalidRecordError) as refused:
        monitor.record_predictions(ROWS, **{**OPTIONS, **options})
    assert said in str(refused.value)
    with pytest.raises(InvalidRecordError, match="with a frame only"):
        monitor.record_predictions([], model_version="m")
    with pytest.raises(InvalidRecordError, match="is given twice"):
        monitor.record_predictions(ROWS.assign(model_version="m"), **OPTIONS)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_facts_come_out_as_tables_with_nulls_and_one_type_a_column(monitor, library):
    monitor.record_predictions(ROWS, **OPTIONS)
    monitor.record_prediction("9", "m", 0, 0.5, {"age": 1, "raw": [1]}, {"age": None, "raw": "x"}, at=NOON)
    monitor.record_outcome("1", 1, known_at=NOON)
    monitor.record_outcome("1", 0)
    facts = monitor.predictions().to_frame(library)
    read = facts if library == "pandas" else facts.to_pandas()
    assert list(read["prediction_id"]) == ["1", "2", "3", "9"]
    ages = read["features.age"].astype("Float64")
    assert [None if pd.isna(one) else one for one in ages] == [31.0, None, 58.5, 1.0]
    assert read["features.raw"].iloc[3] == "[1]"
    assert list(read["segments.tier"].astype("Int64"))[::2] == [1, 2]
    assert str(read["at"].dtype).startswith("datetime64[us, UTC")
    labelled = monitor.labelled().to_frame(library)
    read = labelled if library == "pandas" else labelled.to_pandas()
    assert [(one.prediction_id, one.actual_outcome, one.correct) for one in read.itertuples()] == [("1", 0, False)]
    assert len(monitor.outcomes().to_frame(library)) == 2


def test_labelled_joins_each_prediction_with_its_current_outcome_and_pages(monitor):
    monitor.record_predictions(ROWS, **OPTIONS)
    monitor.record_prediction("1", "challenger", 0, 0.5, at=NOON)
    monitor.record_outcomes([("1", 1, NOON), ("1", 0), ("3", "1", NOON)])
    labelled = monitor.labelled()
    assert [(one.prediction.model_version, one.actual_outcome, one.correct) for one in labelled] == [
        *(("m", 0, False), ("m", "1", False), ("challenger", 0, True)),
    ]
    assert [one.actual_outcome for one in monitor.labelled("m", pending=True)] == [0, None, "1"]
    assert monitor.labelled(limit=1) == labelled[:1]
    assert monitor.labelled(after=labelled[0].cursor) == labelled[1:]
    assert monitor.labelled(descending=True) == labelled[::-1]
    assert monitor.outcomes(prediction_id="3", until=NOON) == []
    assert labelled[0].to_dict()["known_at"] == labelled[0].known_at.isoformat()


def test_an_empty_listing_is_an_empty_table(monitor):
    for listing in (monitor.predictions(), monitor.outcomes(), monitor.labelled()):
        assert len(listing.to_pandas()) == len(listing.to_arrow()) == 0


def test_so_it_is_on_an_event_loop():
    async def served():
        async with await AsyncMonitor.open("memory", clock=lambda: NOON) as monitor:
            await monitor.record_predictions(ROWS, **OPTIONS)
            await monitor.record_outcomes(pa.table({"prediction_id": [1, 3], "actual_outcome": [1, None]}))
            return [one.correct for one in await monitor.labelled(pending=True)], (await monitor.outcomes()).to_arrow()

    correct, outcomes = asyncio.run(served())
    assert correct == [True, None, None]
    assert outcomes["prediction_id"].to_pylist() == ["1"]


def test_without_narwhals_the_extra_is_named(monitor, monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"f1mon\[pandas\]"):
        monitor.record_predictions(ROWS, **OPTIONS)
