"""Plans that measure: one tally for a window, and everything that is a function of its cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

import attrs

from f1mon_core import errors
from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.metrics import rows, shown
from f1mon_core.metrics.intervals import LEVEL, Method, check_method, sidak
from f1mon_core.metrics.measurement import BINNED_METRICS, EXACT_METRICS, METRIC_NAMES, Measurement, check_names
from f1mon_core.metrics.metric import (
    ConfusionMatrix,
    LabelMetrics,
    Metric,
    ReliabilityBin,
    check_label,
    check_labels,
    names_left_out,
)
from f1mon_core.metrics.windows import Window, WindowBasis, WindowRequest
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import KEPT_BINS, Bins, Tally, TallyQuery, check_bins
from f1mon_core.text import closest

SMALL_WINDOW = 10_000
"""Predictions in a window up to which the metrics that need every distinct confidence come unasked: some 15 ms."""


@attrs.frozen
class Performance:
    """What is known of the predictions in one window, and how much of it.

    Attributes:
        window: The window measured, with its times resolved.
        total: Predictions in it.
        labelled: Those whose outcome is known.
        metrics: Every metric asked for, by name (`metrics.METRIC_NAMES`). One that was left out is there too, without
            a value, and its reason is how to ask for it.
        bins: The reliability bins, empty ones too; () where pruning left no cells that fit them.
        confusion: Labelled predictions by actual and predicted class.
        by_label: Precision, recall and F1 of each class.
        positive: The class that precision, recall, F1, ROC-AUC, Brier score and log loss are of; None where the labels
            are texts and none was named.
        interval: How the intervals of proportions were computed.
        models: Whose predictions they are.
        level: The confidence level of the intervals: 0.95, or more where several slices are looked at together.
        read: How many predictions were read one by one, because they were told apart by what stands in their features
            or metadata; None where the store answered from cells.
    """

    window: Window
    total: int
    labelled: int
    metrics: Mapping[str, Metric]
    bins: tuple[ReliabilityBin, ...]
    confusion: ConfusionMatrix
    by_label: Mapping[ClassLabel, LabelMetrics]
    positive: ClassLabel | None = None
    interval: Method = "wilson"
    models: frozenset[str] = frozenset()
    level: float = LEVEL
    read: int | None = None

    @property
    def model_version(self) -> str | None:
        """The model measured; None for all."""
        return self.window.model_version

    @property
    def pending(self) -> int:
        """Predictions whose outcome is not known."""
        return self.total - self.labelled

    @property
    def coverage(self) -> float | None:
        """The labelled share; None without predictions."""
        return self.labelled / self.total if self.total else None

    @property
    def left_out(self) -> tuple[str, ...]:
        """The metrics that were not computed, because nobody named them and the window is large."""
        return names_left_out(self.metrics)

    def __getitem__(self, name: str) -> Metric:
        return self.metrics[name]

    @property
    def accuracy(self) -> Metric:
        """`metrics["accuracy"]`."""
        return self.metrics["accuracy"]

    @property
    def precision(self) -> Metric:
        """`metrics["precision"]`, of the positive class."""
        return self.metrics["precision"]

    @property
    def recall(self) -> Metric:
        """`metrics["recall"]`, of the positive class."""
        return self.metrics["recall"]

    @property
    def f1_score(self) -> Metric:
        """`metrics["f1_score"]`, of the positive class."""
        return self.metrics["f1_score"]

    @property
    def roc_auc(self) -> Metric:
        """`metrics["roc_auc"]`."""
        return self.metrics["roc_auc"]

    @property
    def expected_calibration_error(self) -> Metric:
        """`metrics["expected_calibration_error"]`."""
        return self.metrics["expected_calibration_error"]

    def to_dict(self) -> Document:
        """As a JSON object; times in ISO 8601."""
        return {
            "window": self.window.to_dict(),
            "total": self.total,
            "labelled": self.labelled,
            "coverage": self.coverage,
            "metrics": {name: one.to_dict() for name, one in self.metrics.items()},
            "left_out": list(self.left_out),
            "bins": [one.to_dict() for one in self.bins],
            "confusion": self.confusion.to_dict(),
            "by_label": [one.to_dict() for one in self.by_label.values()],
            "positive": self.positive,
            "interval": self.interval,
            "level": self.level,
            "read": self.read,
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each metric; what is missing is null.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return frame_of(shown.performance_columns(self), library)

    def __str__(self) -> str:
        return "\n".join([shown.performance_line(self), *shown.left_out_lines(self.metrics, self.left_out)])

    def _repr_html_(self) -> str:
        return shown.performance_html(self)


def _positive(value: Any) -> ClassLabel | None:
    """The positive class as cells hold it, with which it is compared."""
    return None if value is None else check_label("positive", value)


@attrs.frozen(kw_only=True)
class Measures:
    """What to compute of a window.

    Attributes:
        n_bins: Equal-width confidence bins of the calibration metrics.
        positive: The positive class; None for 1 where labels are integers.
        labels: The declared classes; None for those that occur.
        interval: "wilson" or "clopper-pearson".
        level: At which confidence.
        names: The metrics, each computed whatever it costs; None for all, `metrics.EXACT_METRICS` among them only where
            the window has no more than `SMALL_WINDOW` predictions, since they need a cell per distinct confidence.
    """

    n_bins: int = 10
    positive: ClassLabel | None = attrs.field(default=None, converter=_positive)
    labels: tuple[ClassLabel, ...] | None = attrs.field(default=None, converter=check_labels)
    interval: Method = "wilson"
    level: float = LEVEL
    names: frozenset[str] | None = attrs.field(default=None, converter=attrs.converters.optional(check_names))

    def __attrs_post_init__(self) -> None:
        if isinstance(self.n_bins, str):
            raise InvalidQueryError(f"n_bins must be a number of bins, got {errors.shown(self.n_bins)}")
        check_bins(self.n_bins, "n_bins")
        check_method(self.interval)

    def with_names(self, names: Collection[str]) -> Measures:
        """The same, and these metrics by name."""
        if self.names is None and not EXACT_METRICS.intersection(names):
            return self  # all of those come anyway
        return attrs.evolve(self, names={*(METRIC_NAMES if self.names is None else self.names), *names})

    def adjusted(self, looks: int) -> Measures:
        """The same for each of so many slices: Clopper-Pearson's interval at the Šidák level.

        Wilson's misses up to 190 times as often as it says at the level of 200 slices.
        """
        return attrs.evolve(self, interval="clopper-pearson", level=sidak(looks, self.level))

    def of(self, tally: Tally, window: Window, unavailable: Mapping[str, str] | None = None) -> Performance:
        """The performance that a tally comes to."""
        asked_for = (self.n_bins, self.positive, self.labels, self.interval)
        measurement = Measurement(tally, *asked_for, unavailable or {}, self.level)
        return Performance(
            window=window,
            total=measurement.total,
            labelled=measurement.labelled,
            metrics=measurement.metrics(METRIC_NAMES if self.names is None else self.names),
            bins=measurement.bins,
            confusion=measurement.confusion,
            by_label={one: measurement.of_label(one) for one in measurement.classes},
            positive=measurement.positive_class,
            interval=self.interval,
            models=frozenset(tally.models),
            level=self.level,
            read=tally.read if isinstance(tally, rows.RowsTally) else None,
        )

    def tally(
        self, window: Window, bucket: timedelta | None = None, by: tuple[str, ...] = ()
    ) -> Plan[tuple[Tally, Mapping[str, str]]]:
        """The one tally that answers all of it, and what pruning made unanswerable, by metric name."""
        query = window.query(self.n_bins, bucket=bucket, by=by)
        if self.names is not None:
            return (yield from self._answered(query, exact=bool(self.names & EXACT_METRICS)))
        if rows.undeclared((*query.by, *query.where)):  # the predictions are read one by one, for any cells
            return (yield from self._answered(query, exact=True))
        binned = yield from self._answered(query, exact=False)
        if binned[0].count > SMALL_WINDOW:
            return binned
        return (yield from self._answered(query, exact=True))  # all of it anew, so that one state is told of

    def _answered(self, query: TallyQuery, *, exact: bool) -> Plan[tuple[Tally, Mapping[str, str]]]:
        attempts: list[Bins] = ["exact", self.n_bins] if exact else [self.n_bins]
        if self.n_bins != KEPT_BINS:
            attempts.append(KEPT_BINS)
        unavailable: dict[str, str] = {}
        for bins in attempts:
            try:
                tally = yield from rows.tally(attrs.evolve(query, bins=bins))
            except PrunedError as error:
                if bins == attempts[-1]:
                    raise
                lost = EXACT_METRICS if bins == "exact" else BINNED_METRICS if KEPT_BINS % self.n_bins else frozenset()
                unavailable |= dict.fromkeys(lost, f"pruned: {error}")
            else:
                return tally, unavailable
        raise AssertionError  # the last attempt returns or raises


def performance(request: WindowRequest, measures: Measures) -> Plan[Performance]:
    """Measure one window."""
    window = yield from request.resolve()
    tally, unavailable = yield from measures.tally(window)
    return measures.of(tally, window, unavailable)


class PerformanceOptions(TypedDict, total=False):
    """The keyword arguments of `Monitor.performance`, as others pass them on."""

    since: datetime | None
    until: datetime | None
    last: timedelta | None
    basis: WindowBasis
    horizon: timedelta | None
    as_of: datetime | None
    as_recorded: datetime | None
    where: Mapping[str, Any] | None
    n_bins: int
    positive: ClassLabel | None
    labels: Iterable[ClassLabel] | None
    interval: Method
    metrics: Collection[str] | None


_MEASURES = {"n_bins": "n_bins", "positive": "positive", "labels": "labels", "interval": "interval", "metrics": "names"}


class SlicedOptions(PerformanceOptions, total=False):
    """The keyword arguments of `Monitor.performance` where it is told apart by segments."""

    worst: int | None
    worst_by: str


def asked(model_version: str | None, options: PerformanceOptions) -> tuple[WindowRequest, Measures]:
    """The window and the measures that a caller's options ask for. Raises `InvalidQueryError`."""
    given: dict[str, Any] = dict(options)
    if unknown := sorted(given.keys() - PerformanceOptions.__annotations__.keys()):
        known = sorted(PerformanceOptions.__annotations__)
        close = closest(unknown[0], known)
        raise InvalidQueryError(f"there is no option {unknown[0]!r}{close}; there are {', '.join(known)}")
    measures = {field: given.pop(name) for name, field in _MEASURES.items() if name in given}
    return WindowRequest(model_version=model_version, **given), Measures(**measures)
