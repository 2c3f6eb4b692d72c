"""Metrics: pure functions of cells. None is a bare float, none is ever NaN, and every missing one says why.

A metric is one method of `Measurement`, registered under its name by `formula`; that is all there is to adding one.

Definitions are scikit-learn's where it has the metric. `confidence` belongs to the *predicted* class, so
P(positive) = c if the positive class was predicted, else 1 - c.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import attrs

from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.metrics.bounds import roc_auc_bounds, scored
from f1mon_core.metrics.formula import FORMULAS, formula
from f1mon_core.metrics.intervals import LEVEL, Method, proportion
from f1mon_core.metrics.metric import (
    NO_ACTUAL_POSITIVES,
    NO_LABELS,
    NO_POSITIVE_CLASS,
    NO_POSITIVES,
    NO_PREDICTED_POSITIVES,
    NO_PREDICTIONS,
    ONE_CLASS,
    ONE_VALUE,
    ConfusionMatrix,
    LabelMetrics,
    Metric,
    ReliabilityBin,
    left_out,
)
from f1mon_core.records.fields import ClassLabel, label_order
from f1mon_core.storage.tally import CellKey, Moments, Tally, bin_of, check_collection, merge_cells, midpoint
from f1mon_core.text import is_one_of

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
        positive: The class precision, recall, F1, ROC-AUC, Brier score and log loss are of; None for 1 where the labels
            are integers, and for none where they are texts.
        labels: The declared classes; None for those that occur.
        interval: How proportions get their interval.
        unavailable: Metrics the store could not give cells for, with the reason.
        level: The confidence level of the intervals.
    """

    tally: Tally
    n_bins: int = 10
    positive: ClassLabel | None = None
    labels: tuple[ClassLabel, ...] | None = None
    interval: Method = "wilson"
    unavailable: Mapping[str, str] = attrs.field(factory=dict)
    level: float = LEVEL

    @cached_property
    def pairs(self) -> Counter[tuple[ClassLabel, ClassLabel]]:
        """Labelled predictions by (predicted, actual)."""
        counts: Counter[tuple[ClassLabel, ClassLabel]] = Counter()
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
    def predicted(self) -> Counter[ClassLabel]:
        """Labelled predictions by predicted class."""
        counts: Counter[ClassLabel] = Counter()
        for (predicted, _), n in self.pairs.items():
            counts[predicted] += n
        return counts

    @cached_property
    def actual(self) -> Counter[ClassLabel]:
        """Labelled predictions by actual class."""
        counts: Counter[ClassLabel] = Counter()
        for (_, actual), n in self.pairs.items():
            counts[actual] += n
        return counts

    @cached_property
    def classes(self) -> tuple[ClassLabel, ...]:
        """The declared classes, else those that occur among labelled predictions, ascending."""
        return self.labels or tuple(sorted({*self.predicted, *self.actual}, key=label_order))

    def metrics(self, names: Collection[str]) -> dict[str, Metric]:
        """The named metrics, in the order of `METRIC_NAMES`."""
        return {name: self.metric(name) for name in FORMULAS if name in names}

    def metric(self, name: str) -> Metric:
        """One metric."""
        if name in self.unavailable:
            return self._none(name, self.labelled, self.unavailable[name])
        wanted = FORMULAS[name].labels
        if wanted != "none" and self.mixed is not None:
            return self._none(name, 0, f"the labels of model {self.mixed} come as int and as str, which never agree")
        if wanted == "positive" and self.positive_class is None:
            return self._none(name, 0, NO_POSITIVE_CLASS) if self.labelled else self._unlabelled(name)
        return FORMULAS[name].of(self, name)

    @cached_property
    def mixed(self) -> str | None:
        """The first model whose labels come in two types; None where those of each have one."""
        types: dict[str, set[type]] = {}
        for key in self.tally.cells:
            types.setdefault(key.model_version, set()).update(map(type, (key.predicted, key.actual)))
        return min((model for model, found in types.items() if {int, str} <= found), default=None)

    @cached_property
    def positive_class(self) -> ClassLabel | None:
        """The positive class: the one given, else 1 where no label is a text."""
        if self.positive is not None:
            return self.positive
        labels = (label for key in self.tally.cells for label in (key.predicted, key.actual))
        return None if any(isinstance(one, str) for one in (*labels, *(self.labels or ()))) else 1

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
        return self._of(name, part / whole, whole, proportion(part, whole, self.interval, self.level))

    def _class(self, one: ClassLabel | None = None) -> ClassLabel:
        """The class asked for, or the positive one, which a metric that needs it has."""
        if (found := self.positive_class if one is None else one) is None:
            raise InvalidQueryError(NO_POSITIVE_CLASS)
        return found

    def _unlabelled(self, name: str) -> Metric:
        return self._none(name, 0, NO_LABELS if self.total else NO_PREDICTIONS)

    @formula("num_predictions", labels="none")
    def _num_predictions(self, name: str) -> Metric:
        return self._of(name, float(self.total), self.total)

    @formula("num_labelled", labels="none")
    def _num_labelled(self, name: str) -> Metric:
        return self._of(name, float(self.labelled), self.total)

    @formula("coverage", labels="none")
    def _coverage(self, name: str) -> Metric:
        if not self.total:
            return self._none(name, 0, NO_PREDICTIONS)
        return self._of(name, self.labelled / self.total, self.total)

    @formula("accuracy")
    def _accuracy(self, name: str) -> Metric:
        correct = sum(n for (predicted, actual), n in self.pairs.items() if predicted == actual)
        return self._share(name, correct, self.labelled, NO_LABELS)

    # Classes ----------------------------------------------------------------------------------------------------------

    def of_label(self, one: ClassLabel) -> LabelMetrics:
        """Precision, recall and F1 of one class against the rest."""
        return LabelMetrics(
            label=one,
            support=self.actual[one],
            precision=self._precision("precision", one),
            recall=self._recall("recall", one),
            f1_score=self._f1_score("f1_score", one),
        )

    @formula("precision", labels="positive")
    def _precision(self, name: str, one: ClassLabel | None = None) -> Metric:
        one = self._class(one)
        return self._share(name, self.pairs[one, one], self.predicted[one], NO_PREDICTED_POSITIVES)

    @formula("recall", labels="positive")
    def _recall(self, name: str, one: ClassLabel | None = None) -> Metric:
        one = self._class(one)
        return self._share(name, self.pairs[one, one], self.actual[one], NO_ACTUAL_POSITIVES)

    @formula("f1_score", labels="positive")
    def _f1_score(self, name: str, one: ClassLabel | None = None) -> Metric:
        """2 tp / (2 tp + fp + fn); n is tp + fp + fn."""
        one = self._class(one)
        if not self.labelled:
            return self._unlabelled(name)
        hits, sides = self.pairs[one, one], self.predicted[one] + self.actual[one]
        if not sides:
            return self._none(name, 0, NO_POSITIVES)
        return self._of(name, 2 * hits / sides, sides - hits)

    @formula("precision_macro", "recall_macro", "f1_score_macro")
    def _macro(self, name: str) -> Metric:
        return self._averaged(name, weighted=False)

    @formula("precision_weighted", "recall_weighted", "f1_score_weighted")
    def _weighted(self, name: str) -> Metric:
        return self._averaged(name, weighted=True)

    def _averaged(self, name: str, *, weighted: bool) -> Metric:
        """The mean over classes, weighted by support or not; undefined as soon as a class it needs is."""
        base = name.rpartition("_")[0]
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
        seen = {self._class(), *(self.labels or ()), *(key.predicted for key in self.tally.cells), *self.actual}
        if len(seen) > 2:  # noqa: PLR2004 - binary
            return self._none(
                name, self.labelled, f"the confidence says P(positive) of two classes only, here are {len(seen)}"
            )
        return None

    @formula("brier_score", labels="positive")
    def _brier_score(self, name: str) -> Metric:
        """Mean of (P(positive) - [actual is positive])², which for two classes is (c - [correct])².

        G. W. Brier, Monthly Weather Review 78 (1950) 1-3, in the one-sided form scikit-learn uses.
        """
        if (undefined := self._not_binary(name)) is not None:
            return undefined
        terms: list[float] = []
        for key, moments in self.tally.cells.items():
            if key.actual is None:
                continue
            away = midpoint(key.bin, self.tally.bins) - (key.predicted == key.actual)
            terms += (moments.squares, 2 * away * moments.total, moments.n * away * away)
        return self._of(name, max(0.0, math.fsum(terms) / self.labelled), self.labelled)

    @cached_property
    def _scores(self) -> dict[float, list[int]]:
        """P(positive) to the labelled [negatives, positives] that got it; of an exact tally."""
        scores: dict[float, list[int]] = {}
        for key, moments in self.tally.cells.items():
            if key.actual is not None:
                score = key.bin if key.predicted == self._class() else 1 - key.bin
                scores.setdefault(score, [0, 0])[key.actual == self._class()] += moments.n
        return scores

    @formula("log_loss", cells="exact", labels="positive")
    def _log_loss(self, name: str) -> Metric:
        """Mean of -log P(actual), in nats, P clipped to [2**-52, 1 - 2**-52]."""
        if (undefined := self._not_binary(name)) is not None:
            return undefined
        if self.tally.bins != "exact":
            return self._none(name, self.labelled, left_out(name))
        loss = math.fsum(
            -n * math.log(min(max(chance, _EPSILON), 1 - _EPSILON))
            for score, (negatives, positives) in self._scores.items()
            for n, chance in ((negatives, 1 - score), (positives, score))
        )
        return self._of(name, loss / self.labelled, self.labelled)

    @formula("roc_auc", cells="exact", labels="positive")
    def _roc_auc(self, name: str) -> Metric:
        """The chance that a positive scores above a negative, a tie counting half (midranks); exact.

        J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29-36: the Mann-Whitney statistic.
        """
        if (undefined := self._not_binary(name)) is not None:
            return undefined
        positives_in_all = self.actual[self._class()]
        negatives_in_all = self.labelled - positives_in_all
        if not positives_in_all or not negatives_in_all:
            return self._none(name, self.labelled, ONE_CLASS)
        if self.tally.bins != "exact":
            least, most = roc_auc_bounds(scored(self.tally, self._class()))
            return attrs.evolve(self._none(name, self.labelled, left_out(name)), at_least=least, at_most=most)
        doubled_wins = below = 0
        for _, (negatives, positives) in sorted(self._scores.items()):
            doubled_wins += positives * (2 * below + negatives)
            below += negatives
        return self._of(name, doubled_wins / (2 * positives_in_all * negatives_in_all), self.labelled)

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

    @formula("expected_calibration_error", cells="binned")
    def _expected_calibration_error(self, name: str) -> Metric:
        """Mean |accuracy - confidence| of the bins, weighted by their labelled predictions.

        M. P. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015. Biased upwards at small n, so read it with n.
        """
        if not self.labelled:
            return self._unlabelled(name)
        error = math.fsum(n * gap for n, gap in self._gaps()) / self.labelled
        return self._of(name, error, self.labelled)

    @formula("maximum_calibration_error", cells="binned")
    def _maximum_calibration_error(self, name: str) -> Metric:
        """The largest |accuracy - confidence| of a bin that is not empty."""
        if not self.labelled:
            return self._unlabelled(name)
        return self._of(name, max(gap for _, gap in self._gaps()), self.labelled)

    # Confidence -------------------------------------------------------------------------------------------------------

    @formula("avg_confidence", labels="none")
    def _avg_confidence(self, name: str) -> Metric:
        return self._of_confidence(name, self._mean_confidence)

    @formula("min_confidence", labels="none")
    def _min_confidence(self, name: str) -> Metric:
        return self._of_confidence(name, min((m.minimum for m in self.tally.cells.values()), default=None))

    @formula("max_confidence", labels="none")
    def _max_confidence(self, name: str) -> Metric:
        return self._of_confidence(name, max((m.maximum for m in self.tally.cells.values()), default=None))

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

    @formula("confidence_std", labels="none")
    def _confidence_std(self, name: str) -> Metric:
        """The sample standard deviation (ddof 1), from the cells' own means and squares.

        T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37 (1983) 242-247.
        """
        mean = self._mean_confidence
        if mean is None:
            return self._none(name, 0, NO_PREDICTIONS)
        if self.total == 1:
            return self._none(name, 1, ONE_VALUE)
        terms: list[float] = []
        # A cell's extremes are those of all cells that differ from it in nothing but the outcome: they count as one.
        alike = merge_cells((key._replace(actual=None, delay=None), one) for key, one in self.tally.cells.items())
        for key, moments in alike.items():
            offset = moments.total / moments.n
            away = midpoint(key.bin, self.tally.bins) + offset - mean
            terms += (_inner_squares(moments), moments.n * away * away)
        return self._of(name, math.sqrt(math.fsum(terms) / (self.total - 1)), self.total)


METRIC_NAMES = tuple(FORMULAS)
"""The names in `Performance.metrics`, which rules, snapshots and tables use."""
EXACT_METRICS = frozenset(name for name, one in FORMULAS.items() if one.cells == "exact")
"""Metrics that need a cell per distinct confidence."""
BINNED_METRICS = frozenset(name for name, one in FORMULAS.items() if one.cells == "binned")
"""Metrics that need cells of the number of bins asked for."""


def check_names(names: Collection[str] | None) -> frozenset[str]:
    """The metrics asked for; all for None. Raises `InvalidQueryError` for an unknown name."""
    if names is None:
        return frozenset(METRIC_NAMES)
    wanted = tuple(check_collection("metrics", names, "names"))
    if unknown := [name for name in wanted if not is_one_of(name, METRIC_NAMES)]:
        raise InvalidQueryError(f"metrics: there is no metric {shown(unknown[0])}; there are {', '.join(METRIC_NAMES)}")
    return frozenset(wanted)


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
