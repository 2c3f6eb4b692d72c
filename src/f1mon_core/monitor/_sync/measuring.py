"""Numbers computed from stored facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, Unpack, overload

from f1mon_core import recording
from f1mon_core.metrics import data_doubts, degradation, estimate, health, models, performance, slices, trends
from f1mon_core.metrics import label_delay as label_delays
from f1mon_core.metrics import paired as pairing
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.degradation import Baseline
from f1mon_core.metrics.estimate import ScoredEstimate
from f1mon_core.metrics.intervals import Method
from f1mon_core.metrics.label_delay import LabelDelay
from f1mon_core.metrics.models import ModelGlance, ModelSummary
from f1mon_core.metrics.paired import PairedComparison
from f1mon_core.metrics.performance import Measures, Performance, PerformanceOptions, SlicedOptions, asked
from f1mon_core.metrics.slices import By, Group, Slices
from f1mon_core.metrics.tables import Trend
from f1mon_core.metrics.trends import Comparison
from f1mon_core.metrics.windows import WindowBasis, WindowRequest
from f1mon_core.monitor._sync.running import Running
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import AccuracyEstimate, Cursor, DegradationAnalysis, HealthSnapshot
from f1mon_core.storage.tally import check_flag


class Measuring(Running):
    """Metrics of a window; and the snapshots, analyses and estimates of it that are kept."""

    def models(self) -> list[ModelSummary]:
        """Every model that ever predicted, by name: how much it did, how much of that is labelled, and when."""
        return self._run(models.models())

    def glance(self) -> list[ModelGlance]:
        """Every model that ever predicted, by name, told at once: `models` counts labels too, and looks at everything.

        For a million predictions in SQLite it takes a tenth of a second, and `models` many.
        """
        return self._run(models.glance())

    def data_doubts(self, model_version: str | None = None, *, since: datetime | None = None) -> list[DataDoubt]:
        """What was recorded and can hardly be meant; `f1mon status` and `f1mon check` say it.

        Confidences that look like P(positive), labels of two types, outcomes known before their prediction was made,
        facts of the future, outcomes that nobody's prediction matches, and event times given as known_at.

        Args:
            model_version: Only what is of this model.
            since: Of predictions made since then; None for all.
        """
        return self._run(data_doubts.data_doubts(model_version, since))

    @overload
    def performance(
        self, model_version: str | None = None, *, by: None = None, **options: Unpack[PerformanceOptions]
    ) -> Performance: ...

    @overload
    def performance(self, model_version: str | None = None, *, by: By, **options: Unpack[SlicedOptions]) -> Slices: ...

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
        where: Mapping[str, Any] | None = None,
        n_bins: int = 10,
        positive: ClassLabel | None = None,
        labels: Iterable[ClassLabel] | None = None,
        interval: Method = "wilson",
        metrics: Collection[str] | None = None,
        by: By | None = None,
        worst: int | None = None,
        worst_by: str = "accuracy",
    ) -> Performance | Slices:
        """Every metric of the predictions in a window, each with what it rests on; of each of its slices with `by`.

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
            where: Only predictions with these segments: name to a value, or to a collection of values; None is a
                prediction without the name. Values compare with their type.
            n_bins: Equal-width confidence bins of the calibration metrics.
            positive: The positive class of precision, recall, F1, ROC-AUC, Brier score and log loss; None for 1 where
                the labels are integers, and for none where they are texts: those metrics then say so.
            labels: The declared classes, over which macro and weighted averages and the confusion matrix go; None for
                those that occur.
            interval: "wilson" or "clopper-pearson", the 95 % interval of proportions.
            metrics: The names wanted, of `metrics.METRIC_NAMES`; None for all. Without "roc_auc" and "log_loss" the
                store needs no cell per distinct confidence, which is much cheaper on a long window.
            by: The name of a segment, or two: what comes back is the performance of each of its values, or pairs of
                values, those without the name under None. `features.<path>` and `metadata.<path>` need not be declared:
                the predictions are read then, which takes as long as reading does; `read` says how many. The intervals
                are Clopper-Pearson's at the level at which those of all slices hold together in 95 %.
            worst: Only so many slices, those first that are surely bad: by the upper bound of the interval where low is
                bad, by the lower one where high is. A metric without an interval goes by its value.
            worst_by: The metric that `worst` goes by.

        Raises:
            InvalidQueryError: If an argument is refused, "matured" has no horizon, or there are more than 10,000
                slices.
            PrunedError: If the window lies where only cells are kept and they cannot answer any of it: kept of segments
                is each name by the day.
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
            where=where,
        )
        measures = Measures(n_bins=n_bins, positive=positive, labels=labels, interval=interval, names=metrics)
        if by is None:
            slices.check_without_by(worst)
            return self._run(performance.performance(request, measures))
        return self._run(slices.slices(request, measures, by, worst, worst_by))

    def label_delay(
        self,
        model_version: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: timedelta | None = None,
        as_of: datetime | None = None,
        as_recorded: datetime | None = None,
        where: Mapping[str, Any] | None = None,
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
            where: As in `performance`.
            quantiles: Shares of the labels, in (0, 1].
            unit: The resolution of the delays.
        """
        request = WindowRequest(
            model_version=model_version,
            since=since,
            until=until,
            last=last,
            as_of=as_of,
            as_recorded=as_recorded,
            where=where,
        )
        return self._run(label_delays.label_delay(request, quantiles, unit))

    @overload
    def trend(
        self,
        model_version: str | None = None,
        *,
        every: trends.Every,
        by: None = None,
        **options: Unpack[PerformanceOptions],
    ) -> Trend: ...

    @overload
    def trend(
        self,
        model_version: str | None = None,
        *,
        every: trends.Every,
        by: By,
        **options: Unpack[PerformanceOptions],
    ) -> dict[Group, Trend]: ...

    def trend(
        self,
        model_version: str | None = None,
        *,
        every: trends.Every,
        by: By | None = None,
        **options: Unpack[PerformanceOptions],
    ) -> Trend | dict[Group, Trend]:
        """The performance of each hour, day, week or other stretch of a window, from one tally.

        Days begin at midnight and weeks on Monday, UTC. A bucket without predictions is there too, with the reason in
        its metrics; the first and the last are cut to the window.

        Args:
            model_version: One model's predictions; None for all.
            every: "hour", "day", "week" or a timedelta.
            by: As in `performance`: what comes back is the trend of each slice. Every bucket of every slice is a look,
                and the intervals are adjusted for so many.
            **options: As `performance` takes them.
        """
        if by is None:
            return self._run(trends.trend(*asked(model_version, options), every))
        return self._run(trends.trend_by(*asked(model_version, options), every, by))

    @overload
    def compare(
        self,
        version_a: str,
        version_b: str,
        *,
        by: None = None,
        paired: Literal[False] = False,
        **options: Unpack[PerformanceOptions],
    ) -> Comparison: ...

    @overload
    def compare(
        self,
        version_a: str,
        version_b: str,
        *,
        by: By,
        paired: Literal[False] = False,
        **options: Unpack[PerformanceOptions],
    ) -> dict[Group, Comparison]: ...

    @overload
    def compare(
        self,
        version_a: str,
        version_b: str,
        *,
        by: None = None,
        paired: Literal[True],
        min_coverage: float = 0.9,
        **options: Unpack[PerformanceOptions],
    ) -> PairedComparison: ...

    def compare(
        self,
        version_a: str,
        version_b: str,
        *,
        by: By | None = None,
        paired: bool = False,
        min_coverage: float = pairing.MIN_COVERAGE,
        **options: Unpack[PerformanceOptions],
    ) -> Comparison | dict[Group, Comparison] | PairedComparison:
        """Two model versions over the same window, with the interval of each difference.

        Unpaired, the intervals (Newcombe's hybrid score) take the two as independent samples; where both answered the
        same items they are conservative. Paired, only the items count that both predicted: McNemar's mid-p test, and
        Newcombe's interval for paired proportions. Without a `basis` those are matured items, by the `horizon` given or
        the one that the delays of their labels suggest, and there is no verdict while too few of them are labelled.

        Args:
            version_a: The first model.
            version_b: The one that is compared with it: differences are second minus first.
            by: As in `performance`: what comes back is the comparison of each slice; not with `paired`.
            paired: Only the items that both predicted. `where` is then of the first model's predictions.
            min_coverage: The labelled share of the common items below which there is no verdict.
            **options: As `performance` takes them; `paired` has no basis "outcome".
        """
        paired = check_flag("paired", paired)
        request, measures = asked(version_a, pairing.matured_at(options) if paired else options)
        if paired:
            pairing.check_whole(by)
            plan = pairing.paired(request, version_b, measures, min_coverage, mature=pairing.is_to_mature(options))
            return self._run(plan)
        if by is None:
            return self._run(trends.compare(request, version_b, measures))
        return self._run(trends.compare_by(request, version_b, measures, by))

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
        `degradation_detected` means that the whole interval of the accuracy lies below that of the baseline. With
        `where` it is of these segments alone, and so are the baseline by default and the snapshot before.

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
        where: Mapping[str, Any] | None = MappingProxyType({}),
        after: Cursor | None = None,
    ) -> Sequence[HealthSnapshot]:
        """Health snapshots, newest first; imported ones from before the correction have `trusted=False`.

        Args:
            model_version: One model's; None for all.
            limit: At most so many; None for all.
            since: Not before this instant.
            until: Before this instant.
            trusted: Only those that are, or are not.
            where: Those that were captured with this `where`; without it those of whole models. None for all of them.
            after: Continue behind this cursor.
        """
        return self._run(
            health.snapshots(model_version, since, until, trusted=trusted, where=where, limit=limit, after=after)
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
