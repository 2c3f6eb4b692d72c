"""Facts that were made elsewhere, recorded and listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from f1mon_core import recording
from f1mon_core.metrics import drift, health, importance
from f1mon_core.metrics.drift import DriftDefaults
from f1mon_core.monitor._sync.running import Runner, Running
from f1mon_core.recording.lists import LabelledPredictions, Listed, Outcomes, Predictions
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import (
    Cursor,
    DriftResult,
    FeatureImportance,
    HealthSnapshot,
    MetricSnapshot,
    Outcome,
    Prediction,
)
from f1mon_core.storage.contract import Appended


class Accepting(Runner):
    """Predictions and outcomes, recorded."""

    def record_prediction(
        self,
        prediction_id: str,
        model_version: str,
        predicted_outcome: ClassLabel,
        confidence: float | None = None,
        features: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        probability: float | None = None,
        probabilities: Mapping[Any, float] | None = None,
        positive: ClassLabel | None = None,
        segments: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Appended:
        """Store one prediction; the same one again is a no-op.

        One of `confidence`, `probability` and `probabilities` is given; kept is the confidence.

        Args:
            prediction_id: The item it is about, which its outcome will name; several models may answer about one.
            model_version: The model that made it.
            predicted_outcome: The predicted class, a 64-bit int or a text; a bool is kept as 0 or 1.
            confidence: The probability in [0, 1] the model gave to that class.
            features: What it was predicted from; a JSON object. NaN, infinities and what is missing become null and are
                counted in `Appended.nulled`; numpy's and other values have one form each (docs/data.md).
            metadata: Whatever else belongs to it; likewise.
            probability: Instead of the confidence, the probability in [0, 1] of the positive class, of two.
            probabilities: Instead of the confidence, that of each class, which add up to 1.
            positive: The class that `probability` is of; None for 1, where the predicted class is an integer.
            segments: What it is told apart by, such as `{"country": "DE"}`: at most 16 names, each to a str or an int.
            at: When it was made, an aware datetime; the store's clock if None.

        Raises:
            InvalidRecordError: If a value is refused; nothing is stored.
            ConflictError: If this model has a different prediction of the item; the first stays.
        """
        chance = recording.Chance(
            confidence=confidence, probability=probability, probabilities=probabilities, positive=positive
        )
        plan = recording.prediction(
            prediction_id, model_version, predicted_outcome, features, metadata, segments, at, chance
        )
        return self._run(plan)

    def record_predictions(
        self,
        predictions: Iterable[Prediction | Mapping[str, Any]] | Any,
        batch_size: int = recording.BATCH_SIZE,
        *,
        columns: Mapping[str, Any] | None = None,
        features: recording.Choice = None,
        segments: recording.Choice = None,
        metadata: recording.Choice = None,
        model_version: str | None = None,
        positive: ClassLabel | None = None,
    ) -> Appended:
        """Store many predictions, batch by batch; each batch is atomic.

        Args:
            predictions: Records, mappings with their fields (or with `probability` or `probabilities` in place of the
                confidence), or a frame of pandas, polars or Arrow with one row for each (extra `pandas`).
            batch_size: How many are one batch.
            columns: Of a frame, field to column where it is called otherwise: `{"prediction_id": "request_id"}`; also
                `probability`, or `probabilities` to `{label: column}`. Columns called like a field are that field.
            features: Columns that go into features: a list, `{name: column}`, or "rest" for all that are nothing else;
                other columns are left out.
            segments: Likewise; a row in which one is missing has no such segment.
            metadata: Likewise.
            model_version: The model of all rows, where no column says it.
            positive: As in `record_prediction`, of all rows.

        Raises:
            InvalidRecordError, ConflictError, StorageError: With a note that names the first batch not written.
            MissingExtraError: If a frame is given and narwhals is not installed.
        """
        left_out = recording.LeftOut()
        made = recording.predictions_of(
            predictions,
            columns,
            {"features": features, "segments": segments, "metadata": metadata},
            {"model_version": model_version, "positive": positive},
            left_out,
        )
        return self._run(recording.record(made, batch_size, left_out))

    def record_outcome(
        self, prediction_id: str, actual_outcome: ClassLabel, *, known_at: datetime | None = None
    ) -> Appended:
        """Store what truly happened; a different one later is a correction, and both are kept.

        Args:
            prediction_id: The item; every model's prediction of it is labelled, and the outcome may come first.
            actual_outcome: The true class, a 64-bit int or a text.
            known_at: When the world knew it. If None the store decides: the current outcome again is a no-op, else
                the present, but after every earlier revision.

        Raises:
            InvalidRecordError: If a value is refused; a label of 1.0 too, for it is the class 1 or no class.
            ConflictError: If a different outcome is stored under this very known_at.
        """
        return self._run(recording.outcome(prediction_id, actual_outcome, known_at))

    def record_outcomes(
        self,
        outcomes: (
            Iterable[Outcome | Mapping[str, Any] | tuple[str, ClassLabel] | tuple[str, ClassLabel, datetime | None]]
            | Any
        ),
        batch_size: int = recording.BATCH_SIZE,
        *,
        columns: Mapping[str, Any] | None = None,
    ) -> Appended:
        """Store many outcomes, batch by batch; each batch is atomic.

        Args:
            outcomes: Records, mappings, `(prediction_id, actual_outcome[, known_at])`, or a frame of pandas, polars or
                Arrow (extra `pandas`): rows without a label are skipped and counted in `Appended.skipped`, and labels
                that are whole floats, because the column has such gaps, are integers.
            batch_size: How many are one batch.
            columns: Of a frame, field to column where it is called otherwise: `{"actual_outcome": "label"}`.

        Raises:
            InvalidRecordError, ConflictError, StorageError: With a note that names the first batch not written.
            MissingExtraError: If a frame is given and narwhals is not installed.
        """
        left_out = recording.LeftOut()
        return self._run(recording.record(recording.outcomes_of(outcomes, columns, left_out), batch_size, left_out))


class Recording(Accepting, Running):
    """Predictions, outcomes, and what other tools computed: kept, and listed."""

    def prediction(self, prediction_id: str, model_version: str | None = None) -> Prediction:
        """One prediction of an item, of several models' the one recorded first.

        Raises:
            NotFoundError: If none is stored.
        """
        return self._run(recording.prediction_stored(prediction_id, model_version))

    def predictions(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Predictions:
        """Stored predictions in order of time; page with `after=page[-1].cursor`; `.to_frame()` makes a table."""
        return self._run(
            recording.predictions(model_version, since, until, descending=descending, limit=limit, after=after)
        )

    def outcomes(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        prediction_id: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Outcomes:
        """Stored outcomes, every revision, in order of known_at; page with `after=page[-1].cursor`.

        Args:
            since: The start of the window `[since, until)` of known_at.
            until: Its end.
            prediction_id: Only those of this item.
            descending: Newest first.
            limit: At most so many; None for all.
            after: Behind this one.
        """
        return self._run(
            recording.outcomes(
                since, until, prediction_id=prediction_id, descending=descending, limit=limit, after=after
            )
        )

    def labelled(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        pending: bool = False,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> LabelledPredictions:
        """Predictions joined with the outcome that is current for each, in order of prediction time.

        Page with `after=page[-1].cursor`. `.to_frame()` makes a table of them.

        Args:
            model_version: One model's predictions; None for all.
            since: The start of the window `[since, until)` of prediction time.
            until: Its end.
            pending: Whether those without an outcome are there too.
            descending: Newest first.
            limit: At most so many; None for all.
            after: Behind this one.
        """
        return self._run(
            recording.labelled(
                model_version, since, until, pending=pending, descending=descending, limit=limit, after=after
            )
        )

    def record_health(self, snapshot: HealthSnapshot) -> HealthSnapshot:
        """Keep a health snapshot that was computed elsewhere; `capture_health` computes one from what is stored."""
        return self._run(recording.kept(recording.of_kind(snapshot, HealthSnapshot, "snapshot")))

    def record_metric(
        self,
        model_version: str,
        metric_name: str,
        value: float | None,
        *,
        at: datetime | None = None,
        snapshot_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MetricSnapshot:
        """Keep one metric value that was computed elsewhere."""
        return self._run(health.record_metric(model_version, metric_name, value, at, snapshot_id, metadata))

    def metric_snapshots(
        self,
        model_version: str | None = None,
        metric_name: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Listed[MetricSnapshot]:
        """Kept metric values, newest first."""
        return self._run(
            recording.listing(
                MetricSnapshot,
                model_version=model_version,
                since=since,
                until=until,
                where={"metric_name": metric_name},
                limit=limit,
                after=after,
            )
        )

    def record_drift(
        self,
        result: Any,
        model_version: str | None = None,
        feature: str | None = None,
        *,
        method: str | None = None,
        threshold: float | None = None,
        detected: bool | None = None,
        at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> list[DriftResult]:
        """Keep what a drift library found: one fact for each feature, all or none.

        Args:
            result: A mapping with the fields of `DriftResult`, a scipy test result, a distance, or an Evidently report
                (the object or its dictionary).
            model_version: The model; the result rarely says it.
            feature: The feature, where the result does not say it; refused for a report of several.
            method: The test's name; scipy's results are named by their class.
            threshold: Drift is a p-value below it, or a distance of at least it. It goes before the result's own
                verdict.
            detected: The verdict, if it is not to be derived from the threshold; refused for a report of several
                features.
            at: When it was found; the store's clock if None.
            metadata: Whatever else belongs to it.

        Raises:
            InvalidRecordError: If the shape is unknown, the verdict can neither be read nor derived, or one feature or
                verdict is given for several.
        """
        defaults = DriftDefaults(
            model_version=model_version,
            feature=feature,
            method=method,
            threshold=threshold,
            detected=detected,
            at=at,
            metadata=metadata,
        )
        return self._run(drift.record(result, defaults))

    def drift_results(
        self,
        model_version: str | None = None,
        feature: str | None = None,
        *,
        detected: bool | None = None,
        method: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Listed[DriftResult]:
        """Kept drift results, newest first; `detected=True` for those that found drift."""
        return self._run(
            recording.listing(
                DriftResult,
                model_version=model_version,
                since=since,
                until=until,
                where={"feature": feature, "detected": detected, "method": method},
                limit=limit,
                after=after,
            )
        )

    def record_importances(
        self,
        model_version: str,
        importances: Mapping[str, float],
        *,
        method: str = "unspecified",
        at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> list[FeatureImportance]:
        """Keep the feature importances of one computation, ranked by absolute size; all or none."""
        return self._run(importance.record(model_version, importances, method, at, metadata))

    def importance_trend(
        self,
        model_version: str,
        feature: str,
        *,
        method: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Listed[FeatureImportance]:
        """The importance of one feature over time, oldest first."""
        return self._run(
            recording.listing(
                FeatureImportance,
                model_version=model_version,
                since=since,
                until=until,
                where={"feature": feature, "method": method},
                descending=False,
                limit=limit,
                after=after,
            )
        )

    def latest_importances(
        self,
        model_version: str,
        *,
        method: str | None = None,
        until: datetime | None = None,
    ) -> dict[str, FeatureImportance]:
        """Each feature's newest importance (before `until`), by feature, the most important first."""
        return self._run(importance.latest(model_version, method, until))
