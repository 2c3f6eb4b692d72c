"""ModelPerformanceTracker as code of the old system calls it, with true numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from f1mon_core.errors import InvalidQueryError, MissingExtraError, NotFoundError
from f1mon_core.legacy.drop_in import DropIn
from f1mon_core.legacy.old_files import ADOPTION
from f1mon_core.legacy.records import (
    OPTIONAL_NUMBERS,
    ModelHealthSnapshot,
    health_metrics,
    instant,
    label,
    legacy_snapshot,
    seconds,
    without_nan,
)
from f1mon_core.records import fields
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import HealthSnapshot
from f1mon_core.records.times import EPOCH

if TYPE_CHECKING:
    import pandas as pd

_CONFIDENCE = ("avg_confidence", "min_confidence", "max_confidence", "confidence_std")


class ModelPerformanceTracker(DropIn):
    """Predictions, their outcomes and health snapshots, under the method names of the old system."""

    def __init__(self, data_dir: Path | str = "data/monitoring") -> None:
        """Open the store and adopt the old files in `data_dir`; see `DropIn`."""
        super().__init__(data_dir)

    def record_prediction(
        self,
        prediction_id: str,
        model_version: str,
        predicted_outcome: int,
        confidence: float,
        features: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Store one prediction; the same one again is a no-op.

        A NaN or infinity in features or metadata is stored as null, with a note in the metadata.

        Raises:
            InvalidRecordError: If a value is refused.
            ConflictError: If a different prediction has this id; the first stays.
        """
        nulled: list[str] = []
        kept: Document = without_nan(features or {}, "features", nulled)
        notes: Document = without_nan(metadata or {}, "metadata", nulled)
        if nulled:
            notes = {**notes, ADOPTION: {"nulled": nulled}}  # type: ignore[dict-item]  # a list of str is JSON
        predicted = fields.integer(label(predicted_outcome, "predicted_outcome"), "predicted_outcome")
        self.monitor.record_prediction(prediction_id, model_version, predicted, confidence, kept, notes)

    def record_actual_outcome(self, prediction_id: str, actual_outcome: int) -> dict[str, Any] | None:
        """Store what truly happened, and say how the prediction did: of several models', the one recorded first.

        Returns:
            prediction_id, model_version, predicted, actual, correct, confidence, calibration_error
            (|confidence - 1| if correct, else confidence) and timestamp; None, and nothing stored, for an unknown id.

        Raises:
            InvalidRecordError: If the outcome is no whole number.
        """
        try:
            made = self.monitor.prediction(prediction_id)
        except NotFoundError:
            return None
        actual = fields.integer(label(actual_outcome, "actual_outcome"), "actual_outcome")
        self.monitor.record_outcome(prediction_id, actual)
        correct = made.predicted_outcome == actual
        return {
            "prediction_id": prediction_id,
            "model_version": made.model_version,
            "predicted": made.predicted_outcome,
            "actual": actual,
            "correct": correct,
            "confidence": made.confidence,
            "calibration_error": abs(made.confidence - float(correct)),
            "timestamp": seconds(self.monitor.now()),
        }

    def get_performance_metrics(
        self, model_version: str | None = None, window_minutes: float = 60
    ) -> dict[str, int | float]:
        """The confidences of the predictions of the last `window_minutes`.

        Returns:
            num_predictions, avg_confidence, min_confidence, max_confidence and confidence_std (ddof 1; 0.0 for one);
            empty without predictions.
        """
        measured = self.monitor.performance(model_version, since=self._ago(window_minutes), metrics=_CONFIDENCE)
        if not measured.total:
            return {}
        values = {name: measured[name].value for name in _CONFIDENCE}
        return {"num_predictions": measured.total, **{name: value or 0.0 for name, value in values.items()}}

    def calculate_accuracy(self, model_version: str | None = None, window_minutes: float = 60) -> float | None:
        """The share of labelled predictions of the last `window_minutes` that came true; None while none is labelled.

        In the old system this was the mean confidence, and outcomes were not stored.
        """
        since = self._ago(window_minutes)
        return self.monitor.performance(model_version, since=since, metrics=["accuracy"]).accuracy.value

    def calculate_calibration_metrics(self, model_version: str | None = None, n_bins: int = 10) -> dict[str, Any]:
        """Whether confidences are right, over all predictions.

        Returns:
            expected_calibration_error (None while nothing is labelled), num_bins, total_predictions, and bin_metrics:
            for each bin with predictions its bin, bin_range, count, mean_confidence and accuracy (None while nothing
            in it is labelled). Empty without predictions.
        """
        measured = self.monitor.performance(model_version, n_bins=n_bins, metrics=["expected_calibration_error"])
        if not measured.total:
            return {}
        return {
            "expected_calibration_error": measured.expected_calibration_error.value,
            "num_bins": n_bins,
            "total_predictions": measured.total,
            "bin_metrics": [
                {
                    "bin": one.index,
                    "bin_range": f"[{one.low:.2f}, {one.high:.2f}{']' if one.index == n_bins - 1 else ')'}",
                    "count": one.total,
                    "mean_confidence": one.mean_confidence_of_all,
                    "accuracy": one.accuracy,
                }
                for one in measured.bins
                if one.total
            ],
        }

    def record_health_snapshot(self, snapshot: ModelHealthSnapshot) -> None:
        """Store a snapshot that the caller computed; `monitor.capture_health` computes one from what is stored."""
        given = snapshot.to_dict()
        nulled: list[str] = []
        fact = HealthSnapshot(
            at=instant(snapshot.timestamp),
            model_version=snapshot.model_version,
            metrics=without_nan(health_metrics(given), "metrics", nulled),
            trend=without_nan(snapshot.prediction_accuracy_trend, "trend", nulled),
            degradation_detected=bool(snapshot.degradation_detected),
        )
        self.monitor.record_health(fact)

    def get_recent_health_snapshots(
        self, model_version: str | None = None, limit: int | None = 100
    ) -> list[ModelHealthSnapshot]:
        """The newest snapshots, newest first; None for all."""
        return self._snapshots(model_version, None, limit)

    def get_performance_trend(self, model_version: str | None = None, hours: float = 24) -> pd.DataFrame:
        """The snapshots of the last `hours` as a DataFrame with a `datetime` column, oldest first; empty without any.

        A metric that is not known is `pandas.NA`, in a column of pandas' own Float64.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as error:
            raise MissingExtraError("get_performance_trend needs pandas: pip install 'f1mon[pandas]'") from error
        found = self._snapshots(model_version, self._ago(hours * 60), None)
        if not found:
            return pd.DataFrame()
        frame = pd.DataFrame([one.to_dict() for one in reversed(found)])
        # numpy-backed floats mark what is missing as NaN; pandas' own Float64 has a null
        frame = frame.astype(dict.fromkeys(OPTIONAL_NUMBERS, "Float64"))
        frame["datetime"] = pd.to_datetime(frame["timestamp"], unit="s")
        return frame

    def _snapshots(
        self, model_version: str | None, since: datetime | None, limit: int | None
    ) -> list[ModelHealthSnapshot]:
        return [legacy_snapshot(one) for one in self.monitor.health(model_version, limit, since=since)]

    def _ago(self, minutes: float) -> datetime | None:
        """The instant so many minutes ago; None where that is before all time."""
        if isinstance(minutes, bool) or math.isnan(minutes) or minutes < 0:
            raise InvalidQueryError(f"a window is a number of minutes of at least 0, got {minutes!r}")
        now = self.monitor.now()
        longest = (now - EPOCH) / timedelta(minutes=1)
        return None if minutes >= longest else now - timedelta(minutes=minutes)
