"""Metrics: pure functions of cells. None is a bare float, none is ever NaN, and every missing one says why.

Definitions are scikit-learn's where it has the metric. `confidence` belongs to the *predicted* class, so
P(positive) = c if the positive class was predicted, else 1 - c.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import attrs

from f1mon_core.metrics.intervals import Method, proportion
from f1mon_core.metrics.metric import (
    METRIC_NAMES,
    NO_ACTUAL_POSITIVES,
    NO_LABELS,
    NO_POSITIVES,
    NO_PREDICTED_POSITIVES,
    NO_PREDICTIONS,
    ONE_CLASS,
    ONE_VALUE,
    ConfusionMatrix,
    LabelMetrics,
    Metric,
    ReliabilityBin,
)
from f1mon_core.storage.tally import CellKey, Moments, Tally, bin_of, merge_cells, midpoint

_EPSILON = 2.0**-52
"""Probabilities are clipped to [eps, 1 - eps] for the log loss, as scikit-learn does."""


def rebinned(tally: Tally, bins: int) -> Tally | None:
    """The same predictions in coarser bins; None where the finer bins do not fit into them."""
    if tally.bins == bins:
        return tally
    if tally.bins != "exact" and tally.bins % bins:
        return None
    cells: list[tuple[CellKey, Moments]] = []
    for key, moments in tally.cells.items():
        index = bin_of(key.bin, bins) if tally.bins == "exact" else int(key.bin) * bins // tally.bins
        shift = midpoint(key.bin, tally.bins) - midpoint(index, bins)
        moved = Moments(
            moments.n,
            moments.minimum,
            moments.maximum,
            moments.total + moments.n * shift,
            moments.squares + 2 * shift * moments.total + moments.n * shift * shift,
        )
        cells.append((key._replace(bin=index), moved))
    return Tally(bins, merge_cells(cells))


@attrs.frozen(slots=False)
class Measurement:
    """Everything that can be said of one tally, each part worked out when asked for.

    Attributes:
        tally: The cells, of any bins.
        n_bins: Bins of the calibration metrics.
        positive: The class precision, recall, F1, ROC-AUC, Brier score and log loss are of.
        labels: The declared classes; None for those that occur.
        interval: How proportions get their interval.
        unavailable: Metrics the store could not give cells for, with the reason.
    """

    tally: Tally
    n_bins: int = 10
    positive: int = 1
    labels: tuple[int, ...] | None = None
    interval: Method = "wilson"
    unavailable: Mapping[str, str] = attrs.field(factory=dict)

    @cached_property
    def pairs(self) -> Counter[tuple[int, int]]:
        """Labelled predictions by (predicted, actual)."""
        counts: Counter[tuple[int, int]] = Counter()
        for key, moments in self.tally.cells.items():
            if key.actual is not None:
                counts[key.predicted, key.actual] += moments.n
        return counts

    @cached_property
    def total(self) -> int:
        """Predictions."""
        return self.tally.count

    @cached_property
    def labelled(self) -> int:
        """Predictions whose outcome is known."""
        return self.pairs.total()

    @cached_property
    def predicted(self) -> Counter[int]:
        """Labelled predictions by predicted class."""
        counts: Counter[int] = Counter()
        for (predicted, _), n in self.pairs.items():
            counts[predicted] += n
        return counts

    @cached_property
    def actual(self) -> Counter[int]:
        """Labelled predictions by actual class."""
        counts: Counter[int] = Counter()
        for (_, actual), n in self.pairs.items():
            counts[actual] += n
        return counts

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The declared classes, else those that occur among labelled predictions, ascending."""
        return self.labels or tuple(sorted({*self.predicted, *self.actual}))

    def metrics(self, names: Collection[str]) -> dict[str, Metric]:
        """The named metrics, in the order of `METRIC_NAMES`."""
        return {name: self.metric(name) for name in METRIC_NAMES if name in names}

    def metric(self, name: str) -> Metric:
        """One metric."""
        if name in self.unavailable:
            return self._none(name, self.labelled, self.unavailable[name])
        measured: Metric = getattr(self, f"_{name}")()
        return measured

    # Counts -----------------------------------------------------------------------------------------------------------

    def _of(self, name: str, value: float, n: int, bounds: tuple[float, float] | None = None) -> Metric:
        low, high = bounds or (None, None)
        return Metric(name, value, n, self.labelled, self.total, low, high)

    def _none(self, name: str, n: int, reason: str) -> Metric:
        return Metric(name, None, n, self.labelled, self.total, reason=reason)

    def _share(self, name: str, part: int, whole: int, reason: str) -> Metric:
        """A proportion with its interval."""
        if not self.labelled:
            return self._unlabelled(name)
        if not whole:
            return self._none(name, 0, reason)
        return self._of(name, part / whole, whole, proportion(part, whole, self.interval))

    def _unlabelled(self, name: str) -> Metric:
        return self._none(name, 0, NO_LABELS if self.total else NO_PREDICTIONS)

    def _num_predictions(self) -> Metric:
        return self._of("num_predictions", float(self.total), self.total)

    def _num_labelled(self) -> Metric:
        return self._of("num_labelled", float(self.labelled), self.total)

    def _coverage(self) -> Metric:
        if not self.total:
            return self._none("coverage", 0, NO_PREDICTIONS)
        return self._of("coverage", self.labelled / self.total, self.total)

    def _accuracy(self) -> Metric:
        correct = sum(n for (predicted, actual), n in self.pairs.items() if predicted == actual)
        return self._share("accuracy", correct, self.labelled, NO_LABELS)

    # Classes ----------------------------------------------------------------------------------------------------------

    def of_label(self, one: int) -> LabelMetrics:
        """Precision, recall and F1 of one class against the rest."""
        return LabelMetrics(one, self.actual[one], self._precision(one), self._recall(one), self._f1_score(one))

    def _precision(self, one: int | None = None) -> Metric:
        one = self.positive if one is None else one
        return self._share("precision", self.pairs[one, one], self.predicted[one], NO_PREDICTED_POSITIVES)

    def _recall(self, one: int | None = None) -> Metric:
        one = self.positive if one is None else one
        return self._share("recall", self.pairs[one, one], self.actual[one], NO_ACTUAL_POSITIVES)

    def _f1_score(self, one: int | None = None) -> Metric:
        """2 tp / (2 tp + fp + fn); n is tp + fp + fn."""
        one = self.positive if one is None else one
        if not self.labelled:
            return self._unlabelled("f1_score")
        hits, sides = self.pairs[one, one], self.predicted[one] + self.actual[one]
        if not sides:
            return self._none("f1_score", 0, NO_POSITIVES)
        return self._of("f1_score", 2 * hits / sides, sides - hits)

    def _precision_macro(self) -> Metric:
        return self._averaged("precision", weighted=False)

    def _recall_macro(self) -> Metric:
        return self._averaged("recall", weighted=False)

    def _f1_score_macro(self) -> Metric:
        return self._averaged("f1_score", weighted=False)

    def _precision_weighted(self) -> Metric:
        return self._averaged("precision", weighted=True)

    def _recall_weighted(self) -> Metric:
        return self._averaged("recall", weighted=True)

    def _f1_score_weighted(self) -> Metric:
        return self._averaged("f1_score", weighted=True)

    def _averaged(self, base: str, *, weighted: bool) -> Metric:
        """The mean over classes, weighted by support or not; undefined as soon as a class it needs is."""
        name = f"{base}_weighted" if weighted else f"{base}_macro"
        if not self.labelled:
            return self._unlabelled(name)
        terms: list[float] = []
        weight = 0
        for one in self.classes:
            share = self.actual[one] if weighted else 1
            if not share:
                continue
            measured: Metric = getattr(self.of_label(one), base)
            if measured.value is None:
                return self._none(name, self.labelled, f"class {one}: {measured.reason}")
            terms.append(share * measured.value)
            weight += share
        if not weight:
            return self._none(name, 0, "none of the declared classes occurred")
        return self._of(name, min(1.0, math.fsum(terms) / weight), self.labelled)

    @cached_property
    def confusion(self) -> ConfusionMatrix:
        """The confusion matrix over `classes`."""
        among = frozenset(self.classes)
        cells = {
            (actual, predicted): n for (predicted, actual), n in self.pairs.items() if {actual, predicted} <= among
        }
        return ConfusionMatrix(self.classes, cells)

    # Probabilities ----------------------------------------------------------------------------------------------------

    def _not_binary(self, name: str) -> Metric | None:
        """Why P(positive) is not known, if it is not."""
        if not self.labelled:
            return self._unlabelled(name)
        # c is P(predicted), and so 1 - c is P(the other), only where there can be no third class: neither a declared
        # one nor one that was predicted and has no outcome yet.
        seen = {self.positive, *(self.labels or ()), *(key.predicted for key in self.tally.cells), *self.actual}
        if len(seen) > 2:  # noqa: PLR2004 - binary
            return self._none(
                name, self.labelled, f"the confidence says P(positive) of two classes only, here are {len(seen)}"
            )
        return None

    def _brier_score(self) -> Metric:
        """Mean of (P(positive) - [actual is positive])², which for two classes is (c - [correct])².

        G. W. Brier, Monthly Weather Review 78 (1950) 1-3, in the one-sided form scikit-learn uses.
        """
        if (undefined := self._not_binary("brier_score")) is not None:
            return undefined
        terms: list[float] = []
        for key, moments in self.tally.cells.items():
            if key.actual is None:
                continue
            away = midpoint(key.bin, self.tally.bins) - (key.predicted == key.actual)
            terms += (moments.squares, 2 * away * moments.total, moments.n * away * away)
        return self._of("brier_score", max(0.0, math.fsum(terms) / self.labelled), self.labelled)

    @cached_property
    def _scores(self) -> dict[float, list[int]]:
        """P(positive) to the labelled [negatives, positives] that got it; of an exact tally."""
        scores: dict[float, list[int]] = {}
        for key, moments in self.tally.cells.items():
            if key.actual is not None:
                score = key.bin if key.predicted == self.positive else 1 - key.bin
                scores.setdefault(score, [0, 0])[key.actual == self.positive] += moments.n
        return scores

    def _log_loss(self) -> Metric:
        """Mean of -log P(actual), in nats, P clipped to [2**-52, 1 - 2**-52]."""
        if (undefined := self._not_binary("log_loss")) is not None:
            return undefined
        loss = math.fsum(
            -n * math.log(min(max(chance, _EPSILON), 1 - _EPSILON))
            for score, (negatives, positives) in self._scores.items()
            for n, chance in ((negatives, 1 - score), (positives, score))
        )
        return self._of("log_loss", loss / self.labelled, self.labelled)

    def _roc_auc(self) -> Metric:
        """The chance that a positive scores above a negative, a tie counting half (midranks); exact.

        J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29-36: the Mann-Whitney statistic.
        """
        if (undefined := self._not_binary("roc_auc")) is not None:
            return undefined
        positives_in_all = self.actual[self.positive]
        negatives_in_all = self.labelled - positives_in_all
        if not positives_in_all or not negatives_in_all:
            return self._none("roc_auc", self.labelled, ONE_CLASS)
        doubled_wins = below = 0
        for _, (negatives, positives) in sorted(self._scores.items()):
            doubled_wins += positives * (2 * below + negatives)
            below += negatives
        return self._of("roc_auc", doubled_wins / (2 * positives_in_all * negatives_in_all), self.labelled)

    # Calibration ------------------------------------------------------------------------------------------------------

    @cached_property
    def bins(self) -> tuple[ReliabilityBin, ...]:
        """The reliability bins, empty ones too; () where the store's cells do not fit them."""
        tally = rebinned(self.tally, self.n_bins)
        if tally is None:
            return ()
        grouped: list[list[tuple[CellKey, Moments]]] = [[] for _ in range(self.n_bins)]
        for key, moments in tally.cells.items():
            grouped[int(key.bin)].append((key, moments))
        return tuple(self._bin(index, cells) for index, cells in enumerate(grouped))

    def _bin(self, index: int, cells: Sequence[tuple[CellKey, Moments]]) -> ReliabilityBin:
        middle = midpoint(index, self.n_bins)
        known = [(key, moments) for key, moments in cells if key.actual is not None]
        labelled = sum(moments.n for _, moments in known)
        correct = sum(moments.n for key, moments in known if key.predicted == key.actual)
        return ReliabilityBin(
            index=index,
            low=index / self.n_bins,
            high=(index + 1) / self.n_bins,
            total=sum(moments.n for _, moments in cells),
            labelled=labelled,
            mean_confidence=_mean(middle, [moments for _, moments in known]),
            accuracy=correct / labelled if labelled else None,
            mean_confidence_of_all=_mean(middle, [moments for _, moments in cells]),
        )

    def _gaps(self) -> list[tuple[int, float]]:
        return [(one.labelled, one.gap) for one in self.bins if one.gap is not None]

    def _expected_calibration_error(self) -> Metric:
        """Mean |accuracy - confidence| of the bins, weighted by their labelled predictions.

        M. P. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015. Biased upwards at small n, so read it with n.
        """
        if not self.labelled:
            return self._unlabelled("expected_calibration_error")
        error = math.fsum(n * gap for n, gap in self._gaps()) / self.labelled
        return self._of("expected_calibration_error", error, self.labelled)

    def _maximum_calibration_error(self) -> Metric:
        """The largest |accuracy - confidence| of a bin that is not empty."""
        if not self.labelled:
            return self._unlabelled("maximum_calibration_error")
        return self._of("maximum_calibration_error", max(gap for _, gap in self._gaps()), self.labelled)

    # Confidence -------------------------------------------------------------------------------------------------------

    def _avg_confidence(self) -> Metric:
        return self._of_confidence("avg_confidence", self._mean_confidence)

    def _min_confidence(self) -> Metric:
        return self._of_confidence("min_confidence", min((m.minimum for m in self.tally.cells.values()), default=None))

    def _max_confidence(self) -> Metric:
        return self._of_confidence("max_confidence", max((m.maximum for m in self.tally.cells.values()), default=None))

    def _of_confidence(self, name: str, value: float | None) -> Metric:
        return self._none(name, 0, NO_PREDICTIONS) if value is None else self._of(name, value, self.total)

    @cached_property
    def _mean_confidence(self) -> float | None:
        if not self.total:
            return None
        terms: list[float] = []
        for key, moments in self.tally.cells.items():
            terms += (moments.n * midpoint(key.bin, self.tally.bins), moments.total)
        minimum = min(moments.minimum for moments in self.tally.cells.values())
        maximum = max(moments.maximum for moments in self.tally.cells.values())
        return min(max(math.fsum(terms) / self.total, minimum), maximum)

    def _confidence_std(self) -> Metric:
        """The sample standard deviation (ddof 1), from the cells' own means and squares.

        T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37 (1983) 242-247.
        """
        name = "confidence_std"
        mean = self._mean_confidence
        if mean is None:
            return self._none(name, 0, NO_PREDICTIONS)
        if self.total == 1:
            return self._none(name, 1, ONE_VALUE)
        terms: list[float] = []
        for key, moments in self.tally.cells.items():
            offset = moments.total / moments.n
            away = midpoint(key.bin, self.tally.bins) + offset - mean
            terms += (_inner_squares(moments), moments.n * away * away)
        return self._of(name, math.sqrt(math.fsum(terms) / (self.total - 1)), self.total)


def _mean(middle: float, cells: Sequence[Moments]) -> float | None:
    """The mean confidence of cells of one bin."""
    n = sum(moments.n for moments in cells)
    if not n:
        return None
    mean = middle + math.fsum(moments.total for moments in cells) / n
    return min(max(mean, min(moments.minimum for moments in cells)), max(moments.maximum for moments in cells))


def _inner_squares(moments: Moments) -> float:
    """Squared deviations from the cell's own mean, kept within what its minimum and maximum allow.

    The difference cancels where all values sit together far from the midpoint; n (max - min)² / 4 (Popoviciu) and
    (max - min)² / 2 bound what rounding can make of it.
    """
    span = moments.maximum - moments.minimum
    squares = moments.squares - moments.total * moments.total / moments.n
    return min(max(squares, span * span / 2), moments.n * span * span / 4)
