"""Every law of the metrics notices when the arithmetic is wrong in a way that somebody once got it wrong."""

import math
import random

import attrs
import pytest

from f1mon_core.errors import PrunedError
from f1mon_core.metrics import (
    degradation,
    estimate,
    health,
    intervals,
    label_delay,
    measurement,
    performance,
    trends,
    windows,
)
from f1mon_core.metrics.formula import FORMULAS, Formula
from f1mon_core.metrics.measurement import Measurement
from f1mon_core.metrics.metric import Metric
from f1mon_core.records.times import MICROSECOND

from ..metrics import (
    test_estimate,
    test_health,
    test_intervals,
    test_label_delay,
    test_measurement,
    test_trends,
    test_windows,
)


def inner(test):
    """A hypothesis test without hypothesis, to be called with data of our own."""
    return test.hypothesis.inner_test


def worlds(labels=(0, 1), count=25):
    """Seeded rows `(predicted, confidence, actual | None)`: ties, edges, one class only, few and many."""
    for seed in range(count):
        generator = random.Random(seed)
        offered = labels if seed % 3 else labels[:1]
        yield [
            (
                generator.choice(labels),
                generator.choice([0.5, 0.7, 1.0, round(generator.random(), 3)]),
                generator.choice([None, *offered, *offered]),
            )
            for _ in range(generator.choice([0, 1, 2, 8, 40]))
        ]


def holds_for_labels():
    test_measurement.test_texts_have_no_positive_class_unless_one_is_named()
    test_measurement.test_integers_have_1_as_their_positive_class()
    test_measurement.test_labels_of_two_types_are_compared_with_none_and_the_model_is_named()


def holds_for_two_classes():
    for rows in worlds():
        inner(test_measurement.test_two_classes_are_scikit_learns)(rows, 10)


def holds_for_declared_classes():
    for rows in worlds((0, 1, 2)):
        inner(test_measurement.test_declared_classes_are_scikit_learns)(rows, [2, 0, 1])


def holds_for_bins():
    for rows in worlds():
        inner(test_measurement.test_the_reliability_bins_hold_every_prediction_once)(rows)
        inner(test_measurement.test_cells_of_few_bins_say_the_same_as_exact_ones)(rows, 5)


def holds_for_intervals():
    for successes, n in [(0, 3), (3, 3), (1, 7), (50, 99)]:
        inner(test_intervals.test_wilson_is_statsmodels)((successes, n), 0.95)
        inner(test_intervals.test_clopper_pearson_is_scipys)((successes, n), 0.95)
        inner(test_intervals.test_the_difference_is_newcombes)((successes, n), (2, 5))


def on(world, *tests):
    """A law of tests `(test, *arguments)`, each on a fresh world."""

    def law():
        for test, *arguments in tests:
            with world() as monitor:
                test(monitor, *arguments)

    law.__name__ = f"holds_for_{world.__name__}"
    return law


holds_for_windows = on(
    test_windows.six_hours,
    (
        test_windows.test_a_window_counts,
        {"last": 3 * test_windows.HOUR, "as_of": test_windows.NOON - 2 * test_windows.HOUR},
        4,
        2,
    ),
    (test_windows.test_a_window_counts, {"basis": "matured", "horizon": 2 * test_windows.HOUR}, 4, 3),
    (test_windows.test_a_window_counts, {"basis": "outcome", "since": test_windows.NOON - 2 * test_windows.HOUR}, 2, 2),
    (test_windows.test_a_pruned_window_answers_what_its_cells_can,),
)
holds_for_trends = on(
    test_trends.two_models,
    (test_trends.test_each_bucket_is_what_its_own_window_would_say, "day", test_trends.DAY, {}),
    (test_trends.test_each_bucket_is_what_its_own_window_would_say, "week", 7 * test_trends.DAY, {}),
    (test_trends.test_two_models_are_compared_with_the_interval_of_the_difference,),
)
holds_for_health = on(
    test_health.ten_days,
    (test_health.test_degradation_is_judged_against_the_window_before,),
    (test_health.test_a_single_noisy_point_is_no_degradation,),
    (test_health.test_the_trend_is_the_change_against_the_newest_trusted_snapshot,),
    (test_health.test_an_imported_snapshot_is_never_a_baseline,),
)
holds_for_estimates = on(
    test_estimate.overconfident,
    (test_estimate.test_an_estimate_is_marked_kept_and_scored_once_labels_mature,),
    (test_estimate.test_an_estimate_learns_only_from_what_matured_before_its_window,),
)


def holds_for_recalibrations():
    for rows in worlds():
        points = [(confidence, predicted == actual) for predicted, confidence, actual in rows if actual is not None]
        if points:
            inner(test_estimate.test_the_recalibration_is_scikit_learns)(points, [0.0, 0.3, 0.6, 1.0])


def holds_for_delays():
    for seed in range(20):
        generator = random.Random(seed)
        labels = [(generator.randint(0, 30), generator.choice([None, 1, 5, 9, 20])) for _ in range(40)]
        inner(test_label_delay.test_the_arrived_share_is_kaplan_and_meiers)(labels, 25)


def mean_confidence_as_accuracy(self, _name):
    return (
        self._of("accuracy", self._mean_confidence or 0.0, self.labelled)
        if self.labelled
        else self._unlabelled("accuracy")
    )


def accuracy_of_all(self, _name):
    correct = sum(n for (predicted, actual), n in self.pairs.items() if predicted == actual)
    return self._share("accuracy", correct, self.total, "no")


def ties_lose(self, _name):
    wins = below = 0
    for _, (negatives, positives) in sorted(self._scores.items()):
        wins += positives * below
        below += negatives
    pairs = self.actual[1] * (self.labelled - self.actual[1])
    return self._of("roc_auc", wins / pairs, self.labelled) if pairs else self._none("roc_auc", 0, "one class only")


def population_deviation(self, name):
    metric = original_deviation(self, name)
    return metric if metric.value is None else attrs.evolve(metric, value=metric.value * math.sqrt(1 - 1 / self.total))


original_deviation = FORMULAS["confidence_std"].of


def empty_precision_is_zero(self, _name):
    one = self.positive
    return self._of("precision", self.pairs[one, one] / (self.predicted[one] or 1), self.labelled)


def skipping_average(self, name, *, weighted):
    base = name.rpartition("_")[0]
    values = [value for one in self.classes if (value := getattr(self.of_label(one), base).value) is not None]
    return self._of(name, sum(values) / len(values), self.labelled) if values else self._none(name, 0, "none")


def unweighted_calibration(self, _name):
    gaps = [gap for _, gap in self._gaps()]
    return self._of("expected_calibration_error", sum(gaps) / len(gaps), 1) if gaps else self._unlabelled("ece")


def unclipped_loss(self, _name):
    if (undefined := self._not_binary("log_loss")) is not None:
        return undefined
    total = sum(
        -n * math.log(chance or 1e-300)
        for score, counts in self._scores.items()
        for n, chance in zip(counts, (1 - score, score), strict=True)
    )
    return self._of("log_loss", total / self.labelled, self.labelled)


def brier_of_confidence(self, _name):
    if (undefined := self._not_binary("brier_score")) is not None:
        return undefined
    terms = [m.n * (key.bin - (key.actual == 1)) ** 2 for key, m in self.tally.cells.items() if key.actual is not None]
    return self._of("brier_score", sum(terms) / self.labelled, self.labelled)


def third_class_overlooked(self, name):
    if not self.labelled:
        return self._unlabelled(name)
    classes = len({self.positive, *self.predicted, *self.actual})
    return self._none(name, self.labelled, f"here are {classes}") if classes > 2 else None


def naive_squares(moments):
    return max(0.0, moments.squares)


def multiplied_bin(confidence, bins):
    return confidence if bins == "exact" else int(confidence * bins)  # 1.0 falls out of the last bin


def wald(successes, n, *_):
    share = successes / n
    half = 1.959963984540054 * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def limit_of_the_share(successes, n, tail):
    return 0.0 if successes == 0 else successes / n * (1 - tail)


def independent_sum(first, second, **_):
    (low_1, high_1), (low_2, high_2) = intervals.proportion(*first), intervals.proportion(*second)
    return low_2 - high_1, high_2 - low_1


original_query = windows.Window.query


def query_without_as_of(self, bins, **options):
    return original_query(attrs.evolve(self, as_of=None), bins, **options)


def query_by_prediction(self, bins, **options):
    return original_query(attrs.evolve(self, basis="prediction"), bins, **options)


def bucket_of_epoch(micros, width):
    return micros // (width // MICROSECOND) * (width // MICROSECOND)


def only_wide_gaps(current, baseline):
    if baseline is None or current.value is None or baseline.value is None:
        return original_judge(current, baseline)
    return degradation.Degradation(current.value < baseline.value, current, baseline, "")


original_judge = degradation.judge


def any_previous(model_version, until, _where):
    from f1mon_core.storage import plans  # noqa: PLC0415
    from f1mon_core.storage.select import Select  # noqa: PLC0415

    found = yield from plans.find(Select("health_snapshot", None, until, model_version, descending=True, limit=1))
    kept = found[0].metrics["accuracy"] if found else None
    return kept if isinstance(kept, float | None) else kept["value"]


def trusting(snapshot, name):
    return Metric(name, float(snapshot.metrics[name]), 1, 1, 1, 0.9, 1.0)


def unpooled(points):
    return estimate.Recalibration(tuple(estimate.Block(c, c, correct, n) for c, correct, n in sorted(points)))


def unmarked(made):
    return Metric("accuracy", made.value, made.n, 0, made.n)


def impatient(made, present):
    return (yield from original_truth(attrs.evolve(made, calibration={}), present))


original_truth = estimate._truth


def uncensored(*_):
    return 10**9


TWO, BINS, BOUNDS, WINDOWS = holds_for_two_classes, holds_for_bins, holds_for_intervals, holds_for_windows
TRENDS, HEALTH, ESTIMATES = holds_for_trends, holds_for_health, holds_for_estimates

MUTANTS = {
    "accuracy is the mean confidence": (TWO, FORMULAS, "accuracy", mean_confidence_as_accuracy),
    "pending predictions count as wrong": (TWO, FORMULAS, "accuracy", accuracy_of_all),
    "a tie is a loss": (TWO, FORMULAS, "roc_auc", ties_lose),
    "the deviation of a population": (TWO, FORMULAS, "confidence_std", population_deviation),
    "the squares of a bin are not its own": (BINS, measurement, "_inner_squares", naive_squares),
    "texts have 1 as their positive class": (
        holds_for_labels,
        Measurement,
        "positive_class",
        property(lambda self: 1 if self.positive is None else self.positive),
    ),
    "labels of two types are compared": (holds_for_labels, Measurement, "mixed", property(lambda _: None)),
    "precision of nothing is 0": (TWO, FORMULAS, "precision", empty_precision_is_zero),
    "averages skip what is undefined": (holds_for_declared_classes, Measurement, "_averaged", skipping_average),
    "a declared class that did not occur is none": (
        holds_for_declared_classes,
        Measurement,
        "_not_binary",
        third_class_overlooked,
    ),
    "bins weigh alike": (TWO, FORMULAS, "expected_calibration_error", unweighted_calibration),
    "a certain miss costs without limit": (TWO, FORMULAS, "log_loss", unclipped_loss),
    "confidence is always P(positive)": (TWO, FORMULAS, "brier_score", brier_of_confidence),
    "the last bin is open": (BINS, measurement, "bin_of", multiplied_bin),
    "Wald's interval": (BOUNDS, test_intervals, "wilson", wald),
    "a limit by rule of thumb": (BOUNDS, intervals, "_lower_limit", limit_of_the_share),
    "intervals are subtracted": (BOUNDS, test_intervals, "difference", independent_sum),
    "a comparison subtracts intervals": (TRENDS, intervals, "difference", independent_sum),
    "as_of is forgotten": (WINDOWS, windows.Window, "query", query_without_as_of),
    "outcome time is prediction time": (WINDOWS, windows.Window, "query", query_by_prediction),
    "the horizon is forgotten": (WINDOWS, windows, "minus", lambda instant, _: instant),
    "pruning loses what the cells could answer": (WINDOWS, performance, "KEPT_BINS", 3),
    "weeks begin on Thursday": (TRENDS, trends, "bucket_of", bucket_of_epoch),
    "a single point is a degradation": (HEALTH, degradation, "judge", only_wide_gaps),
    "imported snapshots count": (HEALTH, health, "previous_accuracy", any_previous),
    "imported snapshots are baselines": (HEALTH, degradation, "_of_snapshot", trusting),
    "violators are not pooled": (holds_for_recalibrations, test_estimate, "recalibrate", unpooled),
    "an estimate looks like a measurement": (ESTIMATES, test_estimate, "metric_of", unmarked),
    "an estimate is scored before its labels": (ESTIMATES, estimate, "_truth", impatient),
    "young predictions have quick labels": (holds_for_delays, label_delay, "_watched_units", uncensored),
}


@pytest.mark.parametrize("law", dict.fromkeys(law for law, *_ in MUTANTS.values()), ids=lambda law: law.__name__)
def test_a_law_holds_for_the_code_as_it_is(law):
    law()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name, monkeypatch):
    law, owner, attribute, mutant = MUTANTS[name]
    if owner is FORMULAS:
        monkeypatch.setitem(FORMULAS, attribute, Formula(mutant))
    else:
        monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises((AssertionError, IndexError, PrunedError, pytest.fail.Exception)):
        law()
