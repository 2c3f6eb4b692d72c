"""Facts recorded and listed: as plans, and the ways in and out for what people have."""

from f1mon_core.recording.chances import Chance
from f1mon_core.recording.frames import outcomes_of, predictions_of
from f1mon_core.recording.given import LeftOut, outcome_of, prediction_of
from f1mon_core.recording.layout import Choice, Layout
from f1mon_core.recording.lists import LabelledPrediction, LabelledPredictions, Outcomes, Predictions
from f1mon_core.recording.plans import (
    BATCH_SIZE,
    all_kept,
    append,
    given,
    kept,
    kept_first,
    labelled,
    listing,
    of_kind,
    outcome,
    outcomes,
    prediction,
    prediction_stored,
    predictions,
    record,
    stored,
)

__all__ = [
    "BATCH_SIZE",
    "Chance",
    "Choice",
    "LabelledPrediction",
    "LabelledPredictions",
    "Layout",
    "LeftOut",
    "Outcomes",
    "Predictions",
    "all_kept",
    "append",
    "given",
    "kept",
    "kept_first",
    "labelled",
    "listing",
    "of_kind",
    "outcome",
    "outcome_of",
    "outcomes",
    "outcomes_of",
    "prediction",
    "prediction_of",
    "prediction_stored",
    "predictions",
    "predictions_of",
    "record",
    "stored",
]
