"""Monitor and AsyncMonitor: what users hold. Both run the same plans; only one of them waits."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from f1mon_core import recording
from f1mon_core.alerts import alerts as alerting
from f1mon_core.alerts import evaluate as evaluating
from f1mon_core.alerts import evaluate_rule, silences, stored_rules
from f1mon_core.alerts.alerts import Acknowledged, AlertStatistics, OneOrMany
from f1mon_core.alerts.evaluate import EvaluationRequest
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.silences import Silence
from f1mon_core.delivery import enrichment, report, worker
from f1mon_core.delivery.attempts import Enrich
from f1mon_core.delivery.channels import Channels, directory_of
from f1mon_core.delivery.report import DeliveryReport, Pending
from f1mon_core.metrics import (
    degradation,
    drift,
    estimate,
    health,
    importance,
    performance,
    trends,
)
from f1mon_core.metrics import label_delay as label_delays
from f1mon_core.metrics.degradation import Baseline
from f1mon_core.metrics.drift import DriftDefaults
from f1mon_core.metrics.estimate import ScoredEstimate
from f1mon_core.metrics.intervals import Method
from f1mon_core.metrics.label_delay import LabelDelay
from f1mon_core.metrics.performance import Measures, Performance, PerformanceOptions, asked
from f1mon_core.metrics.tables import Trend
from f1mon_core.metrics.trends import Comparison
from f1mon_core.metrics.windows import WindowBasis, WindowRequest
from f1mon_core.records.kinds import (
    AccuracyEstimate,
    Acknowledgement,
    Alert,
    Cursor,
    DegradationAnalysis,
    DriftResult,
    FeatureImportance,
    HealthSnapshot,
    IncidentEvent,
    MetricSnapshot,
    Outcome,
    Prediction,
    RuleRevision,
)
from f1mon_core.storage import plans
from f1mon_core.storage.contract import Appended, AsyncStorage, Storage
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.registry import open_async_storage, open_storage

R = TypeVar("R")

_log = logging.getLogger("f1mon.delivery")


class Monitor:
    """Predictions, their outcomes, metrics and alerts in one store.

    A context manager: `with Monitor.open("jsonl", path="data/monitoring") as monitor: …`. Safe to share between
    threads.
    """

    def __init__(
        self, storage: Storage, *, channels: Channels | None = None, enrich: Enrich = enrichment.from_facts
    ) -> None:
        """Hold an open store.

        Args:
            storage: The store; closing the monitor closes it.
            channels: Where alerts go; those of the environment if None.
            enrich: What is said beside an alert in what this monitor delivers; by default what stored facts have to
                say about its model.
        """
        self.storage = storage
        self.channels = channels or Channels(directory=directory_of(storage.address))
        self._dispatcher = worker.Dispatcher(storage, self.channels, enrich=enrich)
        self._patience: float | None = None
        self._rounds = itertools.count()

    @classmethod
    def open(
        cls,
        backend: str | None = None,
        /,
        *,
        channels: Channels | None = None,
        enrich: Enrich = enrichment.from_facts,
        **options: Any,
    ) -> Monitor:
        """Open the store that a backend name, an address or the environment names.

        Args:
            backend: As in `open_storage`.
            channels: As in `Monitor`.
            enrich: As in `Monitor`.
            **options: As in `open_storage`.
        """
        return cls(open_storage(backend, **options), channels=channels, enrich=enrich)

    def close(self) -> None:
        """Close the store, once what is being sent is sent; again is a no-op.

        A channel that hangs is not waited for longer than `delivery.CLOSING_SECONDS`; what it was sending stays in the
        outbox.
        """
        self._dispatcher.close()
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, plan: Plan[R]) -> R:
        return plans.run(plan, self.storage)

    def _evaluated(self, plan: Plan[R]) -> R:
        """Run a plan that may make alerts; then deliver, if this monitor does, also where the plan failed midway."""
        try:
            result = self._run(plan)
        except Exception:
            self._deliver_due()
            raise
        self._deliver_due()
        return result

    def _deliver_due(self) -> None:
        """Deliver what is due, if this monitor does: also reminders, repeats, and what a silence held back."""
        if self._patience is None:
            return
        try:
            self._dispatcher.round(self._patience, thorough=next(self._rounds) % worker.THOROUGH_EVERY == 0)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged
            # The alert is stored, and whoever evaluated is to learn of it; the outbox keeps the rest.
            _log.exception("what is due could not be delivered; the next evaluation tries again")

    # Recording ------------------------------------------------------------------------------------------------------

    def record_prediction(
        self,
        prediction_id: str,
        model_version: str,
        predicted_outcome: int,
        confidence: float,
        features: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        at: datetime | None = None,
    ) -> Appended:
        """Store one prediction; the same one again is a no-op.

        Args:
            prediction_id: The id its outcome will name.
            model_version: The model that made it.
            predicted_outcome: The predicted class, a 64-bit int.
            confidence: The probability in [0, 1] the model gave to that class.
            features: What it was predicted from; a JSON object.
            metadata: Whatever else belongs to it; a JSON object.
            at: When it was made, an aware datetime; the store's clock if None.

        Raises:
            InvalidRecordError: If a value is refused; nothing is stored.
            ConflictError: If a different prediction has this id; the first stays.
        """
        plan = recording.prediction(prediction_id, model_version, predicted_outcome, confidence, features, metadata, at)
        return self._run(plan)

    def record_predictions(
        self, predictions: Iterable[Prediction | Mapping[str, Any]], batch_size: int = recording.BATCH_SIZE
    ) -> Appended:
        """Store many predictions, or mappings with their fields, batch by batch; each batch is atomic.

        Raises:
            InvalidRecordError, ConflictError, StorageError: With a note that names the first batch not written.
        """
        return self._run(recording.record(map(recording.prediction_of, predictions), batch_size))

    def record_outcome(self, prediction_id: str, actual_outcome: int, *, known_at: datetime | None = None) -> Appended:
        """Store what truly happened; a different one later is a correction, and both are kept.

        Args:
            prediction_id: The prediction's id; the outcome may come first.
            actual_outcome: The true class, a 64-bit int.
            known_at: When the world knew it. If None the store decides: the current outcome again is a no-op, else
                the present, but after every earlier revision.

        Raises:
            ConflictError: If a different outcome is stored under this very known_at.
        """
        return self._run(recording.outcome(prediction_id, actual_outcome, known_at))

    def record_outcomes(
        self,
        outcomes: Iterable[Outcome | Mapping[str, Any] | tuple[str, int] | tuple[str, int, datetime | None]],
        batch_size: int = recording.BATCH_SIZE,
    ) -> Appended:
        """Store many outcomes: records, mappings, or `(prediction_id, actual_outcome[, known_at])`.

        Raises:
            InvalidRecordError, ConflictError, StorageError: With a note that names the first batch not written.
        """
        return self._run(recording.record(map(recording.outcome_of, outcomes), batch_size))

    def predictions(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Sequence[Prediction]:
        """Stored predictions in order of time; page with `after=page[-1].cursor`."""
        return self._run(
            recording.predictions(model_version, since, until, descending=descending, limit=limit, after=after)
        )

    # Measuring ------------------------------------------------------------------------------------------------------

    def performance(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        basis: WindowBasis = "prediction",
        horizon: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        n_bins: int = 10,
        positive: int = 1,
        labels: Iterable[int] | None = None,
        interval: Method = "wilson",
        metrics: Collection[str] | None = None,
    ) -> Performance:
        """Every metric of the predictions in a window, each with what it rests on.

        Args:
            model_version: One model's predictions; None for all.
            since: The start of the half-open window `[since, until)`, an aware datetime; None is unbounded.
            until: Its end.
            last: The newest stretch of time instead of `since`: `[until - last, until)` if that is given, else
                from `last` ago to the present, both included; for matured predictions as seen from `horizon` ago.
            basis: "prediction" for predictions made in the window, "outcome" for those whose outcome first became
                known in it, "matured" for those made in it and at least `horizon` ago.
            horizon: The age at which a prediction counts as matured; `label_delay` suggests one.
            as_of: As it was knowable then: predictions made and outcomes known by it.
            as_recorded: As the store held it then.
            n_bins: Equal-width confidence bins of the calibration metrics.
            positive: The positive class of precision, recall, F1, ROC-AUC, Brier score and log loss.
            labels: The declared classes, over which macro and weighted averages and the confusion matrix go; None for
                those that occur.
            interval: "wilson" or "clopper-pearson", the 95 % interval of proportions.
            metrics: The names wanted, of `metrics.METRIC_NAMES`; None for all. Without "roc_auc" and "log_loss" the
                store needs no cell per distinct confidence, which is much cheaper on a long window.

        Raises:
            InvalidQueryError: If an argument is refused, or "matured" has no horizon.
            PrunedError: If the window lies where only cells are kept and they cannot answer any of it.
        """
        request = WindowRequest(
            model_version=model_version,
            since=since,
            until=until,
            last=last,
            basis=basis,
            horizon=horizon,
            as_of=as_of,
            as_recorded=as_recorded,
        )
        measures = Measures(n_bins=n_bins, positive=positive, labels=labels, interval=interval, names=metrics)
        return self._run(performance.performance(request, measures))

    def label_delay(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        quantiles: Sequence[float] = label_delays.QUANTILES,
        unit: timedelta = label_delays.UNIT,
    ) -> LabelDelay:
        """How long outcomes take to become known, and the horizon that suggests for matured windows.

        Args:
            model_version: One model's predictions; None for all.
            since: The start of the window of predictions.
            until: Its end.
            last: The newest stretch of time instead.
            as_of: As it was knowable then.
            as_recorded: As the store held it then.
            quantiles: Shares of the labels, in (0, 1].
            unit: The resolution of the delays.
        """
        request = WindowRequest(
            model_version=model_version, since=since, until=until, last=last, as_of=as_of, as_recorded=as_recorded
        )
        return self._run(label_delays.label_delay(request, quantiles, unit))

    def trend(
        self,
        model_version: str | None = None,
        *,
        every: trends.Every,
        **options: Unpack[PerformanceOptions],
    ) -> Trend:
        """The performance of each hour, day, week or other stretch of a window, from one tally.

        Days begin at midnight and weeks on Monday, UTC. A bucket without predictions is there too, with the reason in
        its metrics; the first and the last are cut to the window.

        Args:
            model_version: One model's predictions; None for all.
            every: "hour", "day", "week" or a timedelta.
            **options: As `performance` takes them.
        """
        return self._run(trends.trend(*asked(model_version, options), every))

    def compare(
        self,
        version_a: str,
        version_b: str,
        **options: Unpack[PerformanceOptions],
    ) -> Comparison:
        """Two model versions over the same window, with the interval of each difference.

        The intervals (Newcombe's hybrid score) take the two as independent samples; where both answered the same items
        they are conservative.

        Args:
            version_a: The first model.
            version_b: The one that is compared with it: differences are second minus first.
            **options: As `performance` takes them.
        """
        request, measures = asked(version_a, options)
        return self._run(trends.compare(request, version_b, measures))

    # Health, drift, importances, estimates --------------------------------------------------------------------------

    def capture_health(
        self,
        model_version: str,
        *,
        baseline: Baseline = None,
        snapshot_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[PerformanceOptions],
    ) -> HealthSnapshot:
        """Compute a health snapshot of a window from the stored facts, and keep it.

        Its `trend` is the change of accuracy against the model's newest trusted snapshot in percent;
        `degradation_detected` means that the whole interval of the accuracy lies below that of the baseline.

        Args:
            model_version: The model.
            baseline: A window `(since, until)`, a trusted snapshot, or None for the window of the same length before.
            snapshot_id: An id of the caller's, which makes a repeat safe: the same window asked again under it, at
                whatever time, answers the snapshot that is stored. A fresh one if None.
            metadata: Whatever else belongs to it.
            **options: As `performance` takes them; with `as_of` the snapshot is dated then.

        Raises:
            InvalidQueryError: If the baseline is a snapshot that is not trusted, or ends before it begins.
            ConflictError: If another snapshot has this id, of another model or window.
            PrunedError: If the window, or a baseline that was given, was pruned. A pruned baseline by default is no
                verdict, with that reason.
        """
        request, measures = asked(model_version, options)
        return self._run(health.capture(request, measures, baseline, snapshot_id, metadata))

    def health(
        self,
        model_version: str | None = None,
        limit: int | None = 100,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        trusted: bool | None = None,
        after: Cursor | None = None,
    ) -> Sequence[HealthSnapshot]:
        """Health snapshots, newest first; imported ones from before the correction have `trusted=False`."""
        return self._run(
            recording.listing(
                HealthSnapshot,
                model_version=model_version,
                since=since,
                until=until,
                where={"trusted": trusted},
                limit=limit,
                after=after,
            )
        )

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
    ) -> Sequence[MetricSnapshot]:
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

    def analyze_degradation(
        self,
        model_version: str,
        metric_name: str = "accuracy",
        *,
        baseline: Baseline = None,
        **options: Unpack[PerformanceOptions],
    ) -> DegradationAnalysis:
        """Judge whether a metric got worse, by its whole interval against the baseline's, and keep the verdict.

        Args:
            model_version: The model.
            metric_name: "accuracy", "precision" or "recall", the metrics that have an interval.
            baseline: As in `capture_health`.
            **options: As `performance` takes them.
        """
        request, measures = asked(model_version, options)
        return self._run(degradation.analyze(request, measures, metric_name, baseline))

    def degradation_analyses(
        self,
        model_version: str | None = None,
        metric_name: str | None = None,
        *,
        degraded: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Sequence[DegradationAnalysis]:
        """Kept degradation analyses, newest first."""
        return self._run(
            recording.listing(
                DegradationAnalysis,
                model_version=model_version,
                since=since,
                until=until,
                where={"metric_name": metric_name, "degraded": degraded},
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
    ) -> Sequence[DriftResult]:
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
    ) -> Sequence[FeatureImportance]:
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

    def estimate_accuracy(
        self,
        model_version: str,
        *,
        horizon: timedelta,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        estimate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AccuracyEstimate:
        """Estimate the accuracy of a window without its labels, and keep the estimate to be scored later.

        The expected accuracy is the mean of the confidences after an isotonic recalibration on the predictions made
        before the window that have matured by now (or by `as_of`), with their labels as known then; so labels that
        became known during the window count. Where predictions were pruned it learns from those that are left, and
        `calibration` says since when. It is an estimate: it cannot see that the world answers differently than before.

        Args:
            model_version: The model.
            horizon: The age at which labels count as matured.
            since: The start of the window; give it or `last`.
            until: Its end; the present if None.
            last: The newest stretch of time instead.
            as_of: As it was knowable then; the estimate is dated then.
            as_recorded: As the store held it then.
            estimate_id: An id of the caller's, which makes a repeat safe as `snapshot_id` does in `capture_health`.
            metadata: Whatever else belongs to it.

        Raises:
            PrunedError: If the window itself was pruned.
            ConflictError: If another estimate has this id, of another model or window.
        """
        request = WindowRequest(
            model_version=model_version, since=since, until=until, last=last, as_of=as_of, as_recorded=as_recorded
        )
        return self._run(estimate.estimate(request, horizon, metadata, estimate_id))

    def accuracy_estimates(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Sequence[ScoredEstimate]:
        """Kept estimates, newest first, each beside the true accuracy once its labels have matured."""
        return self._run(estimate.scored(model_version, since, until, limit, after))

    # Alerts ---------------------------------------------------------------------------------------------------------

    def add_rule(self, rule: AlertRule) -> int:
        """Store a rule, or a new revision of the one of that id; its cooldown stays. Returns the revision."""
        return self._run(stored_rules.add_rule(rule))

    def rules(self) -> list[AlertRule]:
        """Every stored rule, by its id."""
        return self._run(stored_rules.stored_rules())

    def remove_rule(self, rule_id: str) -> None:
        """Remove a rule and close its open incidents; its revisions and alerts stay.

        Raises:
            NotFoundError: If no rule is stored under that id.
        """
        self._run(stored_rules.remove_rule(rule_id))

    def rule_revisions(self, rule_id: str) -> list[RuleRevision]:
        """Every revision of a rule, oldest first; a removal is one without a definition."""
        return self._run(stored_rules.rule_revisions(rule_id))

    def evaluate_rule(
        self,
        rule: AlertRule | str,
        value: Any,
        model_version: str,
        *,
        labels: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        operation_id: str | None = None,
    ) -> Alert | None:
        """Evaluate one rule against one value; the alert if it fired, of any number of processes in exactly one.

        Args:
            rule: The id of a stored rule, evaluated as it stands when its state is locked; or a rule, evaluated as
                it is given, whatever is stored under its id.
            value: A number (numpy and Decimal scalars too) or a `Metric`; None, NaN and infinities are no data.
            model_version: The model the value is of.
            labels: What else makes an instance, for a rule of scope "instance".
            context: JSON kept with the alert.
            operation_id: Repeating a call with the same one returns the first result for at least 24 hours.

        Raises:
            NotANumberError: If the value is a bool, a str or another object.
            NotFoundError: If no rule is stored under the id given.
        """
        plan = evaluate_rule.evaluate_rule(
            rule, value, model_version, labels=labels, context=context, operation_id=operation_id
        )
        return self._evaluated(plan)

    def evaluate(
        self,
        model_version: str | None = None,
        *,
        component: str | None = None,
        metric_name: str | None = None,
        rule_id: str | None = None,
        until: datetime | None = None,
        last: timedelta = timedelta(hours=1),
        basis: WindowBasis = "prediction",
        horizon: timedelta | None = None,
    ) -> list[Alert]:
        """Measure a window and evaluate every stored, enabled rule that matches; the alerts that fired.

        Rules on metrics that `performance` does not have go by the newest facts in the window: `drifted_features`,
        `drift_statistic:<feature>`, `drift_p_value:<feature>`, `feature_importance:<feature>` and
        `degradation:<metric>` by what `record_drift`, `record_importances` and `analyze_degradation` kept, any other
        by the newest `MetricSnapshot` of that name. Rules of the metric_type "no_outcomes" go by how many predictions
        got their first outcome in it.

        Args:
            model_version: One model. If None, a rule of scope "instance" is evaluated for each model of the window,
                a rule of scope "rule" that names no model over all of them together (as model "all").
            component: Only rules of this component.
            metric_name: Only rules on this metric.
            rule_id: Only this rule.
            until: The end of the windows; the present if None.
            last: The length of the window, for rules that do not name theirs.
            basis: As in `performance`, for rules that do not name theirs.
            horizon: As in `performance`, for rules that do not name theirs.

        Raises:
            InvalidQueryError: If no window can be made of what is asked.
            NotFoundError: If no rule is stored under the `rule_id` given.
            EvaluationError: If a rule could not be evaluated, after all the others were; it holds what fired.
        """
        request = EvaluationRequest(
            model_version=model_version,
            component=component,
            metric_name=metric_name,
            rule_id=rule_id,
            until=until,
            last=last,
            basis=basis,
            horizon=horizon,
        )
        return self._evaluated(evaluating.evaluate(request))

    def check_alert_rules(
        self,
        metric_name: str,
        value: Any,
        component: str | None,
        model_version: str,
        *,
        labels: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[Alert]:
        """Evaluate every stored, enabled rule of this metric, component and model; the alerts that fired.

        Raises:
            NotANumberError: If the value is a bool, a str or another object.
            EvaluationError: If a rule could not be evaluated, after all the others were; it holds what fired.
        """
        plan = evaluate_rule.check_alert_rules(
            metric_name, value, component, model_version, labels=labels, context=context
        )
        return self._evaluated(plan)

    def create_alert(
        self,
        severity: str,
        title: str,
        message: str,
        metric_name: str,
        metric_value: float | None,
        threshold: float | None,
        component: str,
        model_version: str,
        channels: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Alert:
        """Store an alert that no rule made, with its deliveries, in one commit."""
        plan = alerting.create_alert(
            severity,
            title,
            message,
            metric_name,
            metric_value,
            threshold,
            component,
            model_version,
            channels,
            metadata,
        )
        return self._evaluated(plan)

    def alerts(
        self,
        *,
        severity: OneOrMany | None = None,
        acknowledged: bool | None = None,
        component: OneOrMany | None = None,
        model_version: str | None = None,
        metric_name: OneOrMany | None = None,
        rule_id: OneOrMany | None = None,
        incident_id: OneOrMany | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = True,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> list[Alert]:
        """Stored alerts, newest first; page with `after=page[-1].cursor`.

        Args:
            severity: One severity, or a collection of them.
            component: One component or several.
            metric_name: One metric or several.
            rule_id: One rule or several.
            incident_id: One incident or several.
            acknowledged: True for those that somebody took on, False for the open ones, None for both.
            model_version: The model they are about.
            since: Not before this instant.
            until: Before this instant.
            descending: Newest first.
            limit: At most so many; None for all.
            after: Continue behind this cursor.
        """
        plan = alerting.alerts(
            severity=severity,
            acknowledged=acknowledged,
            component=component,
            model_version=model_version,
            metric_name=metric_name,
            rule_id=rule_id,
            incident_id=incident_id,
            since=since,
            until=until,
            descending=descending,
            limit=limit,
            after=after,
        )
        return self._run(plan)

    def alert(self, alert_id: str) -> Alert:
        """One alert. Raises `NotFoundError` if it is not stored."""
        return self._run(alerting.alert(alert_id))

    def acknowledge(self, alert_id: str, by: str | None, note: str | None = None) -> Acknowledged:
        """Take an alert on. The first one does, for ever; a later one changes nothing and is told who was first.

        Raises:
            NotFoundError: If no alert is stored under that id.
        """
        return self._run(alerting.acknowledge(alert_id, by, note))

    def acknowledgements(self, alert_ids: Collection[str]) -> dict[str, Acknowledgement]:
        """The acknowledgement of each of these alerts that has one, by alert id."""
        return self._run(alerting.acknowledgements(alert_ids))

    def alert_statistics(self) -> AlertStatistics:
        """How many alerts are stored, by severity and component, counted by the store and with no cap.

        Those that nobody has acknowledged are a second count: one that is acknowledged in between is not among them.
        """
        return self._run(alerting.alert_statistics())

    def incident_history(
        self,
        *,
        rule_id: str | None = None,
        incident_id: str | None = None,
        model_version: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[IncidentEvent]:
        """Every transition of incidents with its reason, oldest first."""
        plan = alerting.incident_history(
            rule_id=rule_id, incident_id=incident_id, model_version=model_version, since=since, until=until
        )
        return self._run(plan)

    # Delivery -------------------------------------------------------------------------------------------------------

    def silence(
        self,
        end: datetime,
        *,
        start: datetime | None = None,
        rule_id: str | None = None,
        component: str | None = None,
        model_version: str | None = None,
        metric_name: str | None = None,
        severity: str | None = None,
        by: str | None = None,
        comment: str | None = None,
    ) -> Silence:
        """Store matching alerts without telling anybody, in the half-open time `[start, end)`.

        What still fires at the end and was not told is told once. Alerts match that have every value given here.

        Args:
            end: When it ends.
            start: When it begins; at once if None.
            rule_id: Only alerts of this rule.
            component: Only alerts of this component.
            model_version: Only alerts about this model.
            metric_name: Only alerts on this metric.
            severity: Only alerts of this severity.
            by: Who asked for it.
            comment: Why.
        """
        match = {
            "rule_id": rule_id,
            "component": component,
            "model_version": model_version,
            "metric_name": metric_name,
            "severity": severity,
        }
        return self._run(silences.add(start, end, match, by, comment))

    def silences(self) -> list[Silence]:
        """Every silence that was not lifted, past ones too, oldest first."""
        return self._run(silences.listed())

    def lift_silence(self, silence_id: str) -> None:
        """Remove a silence. What it holds back is told as at its end: what still fires, and was told nobody.

        Raises:
            NotFoundError: If no silence is stored under that id.
        """
        self._run(silences.lift(silence_id))

    def deliver(self, patience: float | None = None) -> DeliveryReport:
        """Send what is due in the outbox through the channels, each beside the others.

        Args:
            patience: Seconds a channel is waited for; what is not done by then goes on behind. None waits for all.
        """
        return self._dispatcher.round(patience)

    def deliver_after_commit(self, patience: float = 2.0) -> None:
        """From now on deliver in this process, after each evaluation: for those without a worker.

        What is due then is delivered, whatever made it: the alert that just fired, reminders, the end of an incident,
        repeats of what failed, and what a silence held back. So nothing is sent while nothing is evaluated. What goes
        wrong is logged, and never the failure of an evaluation.

        Args:
            patience: Seconds whoever evaluates waits for a channel; a slower one goes on behind.
        """
        self._patience = patience

    def deliveries(self) -> list[Pending]:
        """What is on its way to a channel, oldest first."""
        return self._run(report.pending())

    def dead_letters(self) -> list[Pending]:
        """What could not be delivered and is not tried again, oldest first, each with its reason."""
        return self._run(report.dead())

    def retry_dead_letters(self, alert_id: str | None = None, channel: str | None = None) -> int:
        """Put dead letters back on their way: all, those of one alert, or of one channel. Returns how many."""
        return self._run(report.retry_dead(alert_id, channel))


class AsyncMonitor:
    """`Monitor` for event loops: the same methods, awaited."""

    def __init__(
        self, storage: AsyncStorage, *, channels: Channels | None = None, enrich: Enrich = enrichment.from_facts
    ) -> None:
        """See `Monitor`."""
        self.storage = storage
        self.channels = channels or Channels(directory=directory_of(storage.address))
        self._dispatcher = worker.AsyncDispatcher(storage, self.channels, enrich=enrich)
        self._patience: float | None = None
        self._rounds = itertools.count()

    @classmethod
    async def open(
        cls,
        backend: str | None = None,
        /,
        *,
        channels: Channels | None = None,
        enrich: Enrich = enrichment.from_facts,
        **options: Any,
    ) -> AsyncMonitor:
        """See `Monitor.open`."""
        return cls(await open_async_storage(backend, **options), channels=channels, enrich=enrich)

    async def close(self) -> None:
        """See `Monitor.close`."""
        await self._dispatcher.close()
        await self.storage.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, plan: Plan[R]) -> R:
        return await plans.run_async(plan, self.storage)

    async def _evaluated(self, plan: Plan[R]) -> R:
        try:
            result = await self._run(plan)
        except Exception:
            await self._deliver_due()
            raise
        await self._deliver_due()
        return result

    async def _deliver_due(self) -> None:
        if self._patience is None:
            return
        try:
            thorough = next(self._rounds) % worker.THOROUGH_EVERY == 0
            await self._dispatcher.round(self._patience, thorough=thorough)
        except Exception:  # noqa: BLE001 - as in `Monitor`
            _log.exception("what is due could not be delivered; the next evaluation tries again")

    # Recording ------------------------------------------------------------------------------------------------------

    async def record_prediction(
        self,
        prediction_id: str,
        model_version: str,
        predicted_outcome: int,
        confidence: float,
        features: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        at: datetime | None = None,
    ) -> Appended:
        """See `Monitor.record_prediction`."""
        plan = recording.prediction(prediction_id, model_version, predicted_outcome, confidence, features, metadata, at)
        return await self._run(plan)

    async def record_predictions(
        self, predictions: Iterable[Prediction | Mapping[str, Any]], batch_size: int = recording.BATCH_SIZE
    ) -> Appended:
        """See `Monitor.record_predictions`."""
        return await self._run(recording.record(map(recording.prediction_of, predictions), batch_size))

    async def record_outcome(
        self, prediction_id: str, actual_outcome: int, *, known_at: datetime | None = None
    ) -> Appended:
        """See `Monitor.record_outcome`."""
        return await self._run(recording.outcome(prediction_id, actual_outcome, known_at))

    async def record_outcomes(
        self,
        outcomes: Iterable[Outcome | Mapping[str, Any] | tuple[str, int] | tuple[str, int, datetime | None]],
        batch_size: int = recording.BATCH_SIZE,
    ) -> Appended:
        """See `Monitor.record_outcomes`."""
        return await self._run(recording.record(map(recording.outcome_of, outcomes), batch_size))

    async def predictions(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Sequence[Prediction]:
        """See `Monitor.predictions`."""
        return await self._run(
            recording.predictions(model_version, since, until, descending=descending, limit=limit, after=after)
        )

    # Measuring ------------------------------------------------------------------------------------------------------

    async def performance(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        basis: WindowBasis = "prediction",
        horizon: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        n_bins: int = 10,
        positive: int = 1,
        labels: Iterable[int] | None = None,
        interval: Method = "wilson",
        metrics: Collection[str] | None = None,
    ) -> Performance:
        """See `Monitor.performance`."""
        request = WindowRequest(
            model_version=model_version,
            since=since,
            until=until,
            last=last,
            basis=basis,
            horizon=horizon,
            as_of=as_of,
            as_recorded=as_recorded,
        )
        measures = Measures(n_bins=n_bins, positive=positive, labels=labels, interval=interval, names=metrics)
        return await self._run(performance.performance(request, measures))

    async def label_delay(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        quantiles: Sequence[float] = label_delays.QUANTILES,
        unit: timedelta = label_delays.UNIT,
    ) -> LabelDelay:
        """See `Monitor.label_delay`."""
        request = WindowRequest(
            model_version=model_version, since=since, until=until, last=last, as_of=as_of, as_recorded=as_recorded
        )
        return await self._run(label_delays.label_delay(request, quantiles, unit))

    async def trend(
        self,
        model_version: str | None = None,
        *,
        every: trends.Every,
        **options: Unpack[PerformanceOptions],
    ) -> Trend:
        """See `Monitor.trend`."""
        return await self._run(trends.trend(*asked(model_version, options), every))

    async def compare(
        self,
        version_a: str,
        version_b: str,
        **options: Unpack[PerformanceOptions],
    ) -> Comparison:
        """See `Monitor.compare`."""
        request, measures = asked(version_a, options)
        return await self._run(trends.compare(request, version_b, measures))

    # Health, drift, importances, estimates --------------------------------------------------------------------------

    async def capture_health(
        self,
        model_version: str,
        *,
        baseline: Baseline = None,
        snapshot_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[PerformanceOptions],
    ) -> HealthSnapshot:
        """See `Monitor.capture_health`."""
        request, measures = asked(model_version, options)
        return await self._run(health.capture(request, measures, baseline, snapshot_id, metadata))

    async def health(
        self,
        model_version: str | None = None,
        limit: int | None = 100,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        trusted: bool | None = None,
        after: Cursor | None = None,
    ) -> Sequence[HealthSnapshot]:
        """See `Monitor.health`."""
        return await self._run(
            recording.listing(
                HealthSnapshot,
                model_version=model_version,
                since=since,
                until=until,
                where={"trusted": trusted},
                limit=limit,
                after=after,
            )
        )

    async def record_metric(
        self,
        model_version: str,
        metric_name: str,
        value: float | None,
        *,
        at: datetime | None = None,
        snapshot_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MetricSnapshot:
        """See `Monitor.record_metric`."""
        return await self._run(health.record_metric(model_version, metric_name, value, at, snapshot_id, metadata))

    async def metric_snapshots(
        self,
        model_version: str | None = None,
        metric_name: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Sequence[MetricSnapshot]:
        """See `Monitor.metric_snapshots`."""
        return await self._run(
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

    async def analyze_degradation(
        self,
        model_version: str,
        metric_name: str = "accuracy",
        *,
        baseline: Baseline = None,
        **options: Unpack[PerformanceOptions],
    ) -> DegradationAnalysis:
        """See `Monitor.analyze_degradation`."""
        request, measures = asked(model_version, options)
        return await self._run(degradation.analyze(request, measures, metric_name, baseline))

    async def degradation_analyses(
        self,
        model_version: str | None = None,
        metric_name: str | None = None,
        *,
        degraded: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Sequence[DegradationAnalysis]:
        """See `Monitor.degradation_analyses`."""
        return await self._run(
            recording.listing(
                DegradationAnalysis,
                model_version=model_version,
                since=since,
                until=until,
                where={"metric_name": metric_name, "degraded": degraded},
                limit=limit,
                after=after,
            )
        )

    async def record_drift(
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
        """See `Monitor.record_drift`."""
        defaults = DriftDefaults(
            model_version=model_version,
            feature=feature,
            method=method,
            threshold=threshold,
            detected=detected,
            at=at,
            metadata=metadata,
        )
        return await self._run(drift.record(result, defaults))

    async def drift_results(
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
    ) -> Sequence[DriftResult]:
        """See `Monitor.drift_results`."""
        return await self._run(
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

    async def record_importances(
        self,
        model_version: str,
        importances: Mapping[str, float],
        *,
        method: str = "unspecified",
        at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> list[FeatureImportance]:
        """See `Monitor.record_importances`."""
        return await self._run(importance.record(model_version, importances, method, at, metadata))

    async def importance_trend(
        self,
        model_version: str,
        feature: str,
        *,
        method: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Sequence[FeatureImportance]:
        """See `Monitor.importance_trend`."""
        return await self._run(
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

    async def latest_importances(
        self,
        model_version: str,
        *,
        method: str | None = None,
        until: datetime | None = None,
    ) -> dict[str, FeatureImportance]:
        """See `Monitor.latest_importances`."""
        return await self._run(importance.latest(model_version, method, until))

    async def estimate_accuracy(
        self,
        model_version: str,
        *,
        horizon: timedelta,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        estimate_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AccuracyEstimate:
        """See `Monitor.estimate_accuracy`."""
        request = WindowRequest(
            model_version=model_version, since=since, until=until, last=last, as_of=as_of, as_recorded=as_recorded
        )
        return await self._run(estimate.estimate(request, horizon, metadata, estimate_id))

    async def accuracy_estimates(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
        after: Cursor | None = None,
    ) -> Sequence[ScoredEstimate]:
        """See `Monitor.accuracy_estimates`."""
        return await self._run(estimate.scored(model_version, since, until, limit, after))

    # Alerts ---------------------------------------------------------------------------------------------------------

    async def add_rule(self, rule: AlertRule) -> int:
        """See `Monitor.add_rule`."""
        return await self._run(stored_rules.add_rule(rule))

    async def rules(self) -> list[AlertRule]:
        """See `Monitor.rules`."""
        return await self._run(stored_rules.stored_rules())

    async def remove_rule(self, rule_id: str) -> None:
        """See `Monitor.remove_rule`."""
        await self._run(stored_rules.remove_rule(rule_id))

    async def rule_revisions(self, rule_id: str) -> list[RuleRevision]:
        """See `Monitor.rule_revisions`."""
        return await self._run(stored_rules.rule_revisions(rule_id))

    async def evaluate_rule(
        self,
        rule: AlertRule | str,
        value: Any,
        model_version: str,
        *,
        labels: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        operation_id: str | None = None,
    ) -> Alert | None:
        """See `Monitor.evaluate_rule`."""
        plan = evaluate_rule.evaluate_rule(
            rule, value, model_version, labels=labels, context=context, operation_id=operation_id
        )
        return await self._evaluated(plan)

    async def evaluate(
        self,
        model_version: str | None = None,
        *,
        component: str | None = None,
        metric_name: str | None = None,
        rule_id: str | None = None,
        until: datetime | None = None,
        last: timedelta = timedelta(hours=1),
        basis: WindowBasis = "prediction",
        horizon: timedelta | None = None,
    ) -> list[Alert]:
        """See `Monitor.evaluate`."""
        request = EvaluationRequest(
            model_version=model_version,
            component=component,
            metric_name=metric_name,
            rule_id=rule_id,
            until=until,
            last=last,
            basis=basis,
            horizon=horizon,
        )
        return await self._evaluated(evaluating.evaluate(request))

    async def check_alert_rules(
        self,
        metric_name: str,
        value: Any,
        component: str | None,
        model_version: str,
        *,
        labels: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[Alert]:
        """See `Monitor.check_alert_rules`."""
        plan = evaluate_rule.check_alert_rules(
            metric_name, value, component, model_version, labels=labels, context=context
        )
        return await self._evaluated(plan)

    async def create_alert(
        self,
        severity: str,
        title: str,
        message: str,
        metric_name: str,
        metric_value: float | None,
        threshold: float | None,
        component: str,
        model_version: str,
        channels: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Alert:
        """See `Monitor.create_alert`."""
        plan = alerting.create_alert(
            severity,
            title,
            message,
            metric_name,
            metric_value,
            threshold,
            component,
            model_version,
            channels,
            metadata,
        )
        return await self._evaluated(plan)

    async def alerts(
        self,
        *,
        severity: OneOrMany | None = None,
        acknowledged: bool | None = None,
        component: OneOrMany | None = None,
        model_version: str | None = None,
        metric_name: OneOrMany | None = None,
        rule_id: OneOrMany | None = None,
        incident_id: OneOrMany | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = True,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> list[Alert]:
        """See `Monitor.alerts`."""
        plan = alerting.alerts(
            severity=severity,
            acknowledged=acknowledged,
            component=component,
            model_version=model_version,
            metric_name=metric_name,
            rule_id=rule_id,
            incident_id=incident_id,
            since=since,
            until=until,
            descending=descending,
            limit=limit,
            after=after,
        )
        return await self._run(plan)

    async def alert(self, alert_id: str) -> Alert:
        """See `Monitor.alert`."""
        return await self._run(alerting.alert(alert_id))

    async def acknowledge(self, alert_id: str, by: str | None, note: str | None = None) -> Acknowledged:
        """See `Monitor.acknowledge`."""
        return await self._run(alerting.acknowledge(alert_id, by, note))

    async def acknowledgements(self, alert_ids: Collection[str]) -> dict[str, Acknowledgement]:
        """See `Monitor.acknowledgements`."""
        return await self._run(alerting.acknowledgements(alert_ids))

    async def alert_statistics(self) -> AlertStatistics:
        """See `Monitor.alert_statistics`."""
        return await self._run(alerting.alert_statistics())

    async def incident_history(
        self,
        *,
        rule_id: str | None = None,
        incident_id: str | None = None,
        model_version: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[IncidentEvent]:
        """See `Monitor.incident_history`."""
        plan = alerting.incident_history(
            rule_id=rule_id, incident_id=incident_id, model_version=model_version, since=since, until=until
        )
        return await self._run(plan)

    # Delivery -------------------------------------------------------------------------------------------------------

    async def silence(
        self,
        end: datetime,
        *,
        start: datetime | None = None,
        rule_id: str | None = None,
        component: str | None = None,
        model_version: str | None = None,
        metric_name: str | None = None,
        severity: str | None = None,
        by: str | None = None,
        comment: str | None = None,
    ) -> Silence:
        """See `Monitor.silence`."""
        match = {
            "rule_id": rule_id,
            "component": component,
            "model_version": model_version,
            "metric_name": metric_name,
            "severity": severity,
        }
        return await self._run(silences.add(start, end, match, by, comment))

    async def silences(self) -> list[Silence]:
        """See `Monitor.silences`."""
        return await self._run(silences.listed())

    async def lift_silence(self, silence_id: str) -> None:
        """See `Monitor.lift_silence`."""
        await self._run(silences.lift(silence_id))

    async def deliver(self, patience: float | None = None) -> DeliveryReport:
        """See `Monitor.deliver`."""
        return await self._dispatcher.round(patience)

    async def deliver_after_commit(self, patience: float = 2.0) -> None:
        """See `Monitor.deliver_after_commit`."""
        self._patience = patience

    async def deliveries(self) -> list[Pending]:
        """See `Monitor.deliveries`."""
        return await self._run(report.pending())

    async def dead_letters(self) -> list[Pending]:
        """See `Monitor.dead_letters`."""
        return await self._run(report.dead())

    async def retry_dead_letters(self, alert_id: str | None = None, channel: str | None = None) -> int:
        """See `Monitor.retry_dead_letters`."""
        return await self._run(report.retry_dead(alert_id, channel))
