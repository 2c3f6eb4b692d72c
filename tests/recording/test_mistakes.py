"""What beginners do: each message names the record, the field, the value, and the next step."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from f1mon_core import InvalidRecordError, Monitor

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = {"prediction_id": "p-7", "model_version": "m", "predicted_outcome": 1, "confidence": 0.9}
FRAME = pd.DataFrame({"id": ["p-6", "p-7"], "label": [1.0, 0.0], "p": [0.9, 0.8]})
COLUMNS = {"prediction_id": "id", "predicted_outcome": "label", "confidence": "p"}


def one(**changes):
    return lambda monitor: monitor.record_prediction(**{**GOOD, **changes})


def in_batch(**changes):
    fine = {**GOOD, "prediction_id": "p-6"}
    return lambda monitor: monitor.record_predictions([fine, {**GOOD, **changes}])


def frame(columns=COLUMNS, **changes):
    made = FRAME.assign(
        **{name: pd.Series(["p-6", "p-7"] if name == "id" else value) for name, value in changes.items()}
    )
    return lambda monitor: monitor.record_predictions(made, columns=columns, model_version="m")


P7 = "prediction 'p-7'"
MISTAKES = {
    # what was done: (door, record, field, value, next step)
    "a label of a pandas column with gaps": (
        lambda monitor: monitor.record_outcome("p-7", 1.0), "outcome 'p-7'", "actual_outcome", "1.0", "int(label)"),
    "a score as a label": (
        lambda monitor: monitor.record_outcome("p-7", 0.37), "outcome 'p-7'", "actual_outcome", "0.37", "confidence"),
    "a label that is not known yet": (
        lambda monitor: monitor.record_outcome("p-7", np.nan),
        "outcome 'p-7'", "actual_outcome", "nan", "leave it out"),
    "an id that is a number": (one(prediction_id=7), "", "prediction_id", "7", "str(int)"),
    "an id that is missing": (in_batch(prediction_id=None), "record 1", "prediction_id", "None", "must be a str"),
    "a percentage": (one(confidence=93), P7, "confidence", "93", "divide a percentage by 100"),
    "a confidence as text": (in_batch(confidence="0.9"), f"{P7}, record 1", "confidence", "'0.9'", "float(…)"),
    "no confidence at all": (one(confidence=None), P7, "confidence", "None", "probability= (of the positive class)"),
    "a confidence and a probability": (one(probability=0.9), P7, "confidence", "0.9", "must be given once"),
    "P(positive) of a text": (
        one(confidence=None, predicted_outcome="sick", probability=0.9), P7, "probability", "0.9", "needs positive="),
    "probabilities that are no whole": (
        one(confidence=None, probabilities={0: 0.5, 1: 0.2}), P7, "probabilities", "a dict of 2", "add up to 1"),
    "probabilities as a row of numpy": (
        one(confidence=None, probabilities=np.array([0.5, 0.5])), P7, "probabilities", "array", "model.classes_, row"),
    "a time without a zone": (one(at=datetime(2026, 5, 1)), P7, "at", "2026, 5, 1", "tzinfo=UTC"),  # noqa: DTZ001
    "a time as text": (one(at="2026-05-01"), P7, "at", "'2026-05-01'", "fromisoformat"),
    "a time as seconds": (in_batch(at=1777636800), f"{P7}, record 1", "at", "1777636800", "fromtimestamp(seconds"),
    "a day as a time": (one(at=date(2026, 5, 1)), P7, "at", "2026, 5, 1", "datetime with a time zone"),
    "NaT as a time": (one(at=pd.NaT), P7, "at", "NaT", "is missing"),
    "a set deep in the features": (
        in_batch(features={"grid": [0, 1, 2, {3}]}), f"{P7}, record 1", "features.grid[3]", "a set of 1", "sorted(…)"),
    "bytes in the metadata": (one(metadata={"raw": b"x"}), P7, "metadata.raw", "b'x'", "decode"),
    "an array as features": (one(features=np.zeros(3)), P7, "features", "array", '{"grid": 3}'),
    "a number as a segment": (one(segments={"age": 31.5}), P7, "segments.age", "31.5", "a range"),
    "a segment without a value": (one(segments={"country": None}), P7, "segments.country", "None", "left out"),
    "a field that is spelled otherwise": (
        in_batch(confidenc=0.9), f"{P7}, record 1", "confidenc", "0.9", "'confidence'"),
    "one mapping instead of several": (
        lambda monitor: monitor.record_predictions(GOOD), "", "records", "a dict of 4", "give [record]"),
    "a frame with columns of its own": (frame({}), "", "prediction_id", "None", "name it in columns"),
    "a column that is not there": (frame({**COLUMNS, "at": "mode"}), "", "columns.at", "'mode'", "there are 'id'"),
    "a frame with a gap in its labels": (
        frame(label=[1.0, None]), f"{P7}, row 1, column 'label'", "predicted_outcome", "nan", "leave it out"),
    "a frame with a bad score": (frame(p=[0.9, 8.0]), f"{P7}, row 1, column 'p'", "confidence", "8.0", "by 100"),
    "a frame that was not computed": (
        lambda monitor: monitor.record_predictions(pl.from_pandas(FRAME).lazy()),
        "", "records", "LazyFrame", ".collect()"),
    "a column instead of a frame": (
        lambda monitor: monitor.record_outcomes(FRAME["label"]), "", "records", "label", "a column for each field"),
    "importances as an array": (
        lambda monitor: monitor.record_importances("m", np.zeros(3)), "", "importances", "array", "zip(names"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_message_names_the_record_the_field_the_value_and_the_next_step(mistake):
    door, record, field, value, step = MISTAKES[mistake]
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        with pytest.raises(InvalidRecordError) as refused:
            door(monitor)
        assert monitor.storage.check().facts == {}
    said = str(refused.value)
    assert said.startswith(f"{field}: ")
    assert refused.value.field == field
    for part in (record, value, step):
        assert part in said
    assert ", ".join(filter(None, (refused.value.record, refused.value.where))) == record


def test_there_are_twenty_of_them():
    assert len(MISTAKES) >= 20
