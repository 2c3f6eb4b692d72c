"""Numbers computed from stored facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack

from f1mon_core import recording
from f1mon_core.metrics import data_doubts, degradation, estimate, health, models, performance, trends
from f1mon_core.metrics import label_delay as label_delays
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.degradation import Baseline
from f1mon_core.metrics.estimate import ScoredEstimate
from f1mon_core.metrics.intervals import Method
from f1mon_core.metrics.label_delay import LabelDelay
from f1mon_core.metrics.models import ModelSummary
from f1mon_core.metrics.performance import Measures, Performance, PerformanceOptions, asked
from f1mon_core.metrics.tables import Trend
from f1mon_core.metrics.trends import Comparison
from f1mon_core.metrics.windows import WindowBasis, WindowRequest
from f1mon_core.monitor._sync.running import Running
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import AccuracyEstimate, Cursor, DegradationAnalysis, HealthSnapshot


class Measuring(Running):
    """Metrics of a window; and the snapshots, analyses and estimates of it that are kept."""

    def models(self) -> list[ModelSummary]:
        """Every model that ever predicted, by name: how much it did, how much of that is labelled, and when."""
        return self._run(models.models())

    def data_doubts(self, model_version: str | None = None, *, since: datetime | None = None) -> list[DataDoubt]:
        """What was recorded and can hardly be meant; `f1mon status` and `f1mon check` say it.

        Confidences that look like P(positive), labels of two types, outcomes known before their prediction was made,
        facts of the future, outcomes that nobody's prediction matches, and event times given as known_at.

        Args:
            model_version: Only what is of this model.
            since: Of predictions made since then; None for all.
        """
        return self._run(data_doubts.data_doubts(model_version, since))

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
        positive: ClassLabel | None = None,
        labels: Iterable[ClassLabel] | None = None,
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
            positive: The positive class of precision, recall, F1, ROC-AUC, Brier score and log loss; None for 1 where
                the labels are integers, and for none where they are texts: those metrics then say so.
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
