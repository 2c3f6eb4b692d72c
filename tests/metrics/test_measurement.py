"""Metrics against scikit-learn and numpy, on data hypothesis makes."""

import json
import math
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics.formula import FORMULAS, formula
from f1mon_core.metrics.measurement import (
    BINNED_METRICS,
    EXACT_METRICS,
    METRIC_NAMES,
    Measurement,
    check_names,
    rebinned,
)
from f1mon_core.metrics.metric import Metric
from f1mon_core.monitor import Monitor
from f1mon_core.storage.tally import CellKey, Moments, Tally, bin_of, merge_cells, midpoint, moments_of

from ..oracle import assert_equal, close, expected_metrics

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

EDGES = [0.0, 0.1, 0.29, 0.3, 0.7, math.nextafter(0.7, 0), math.nextafter(0.7, 1), 0.5, 1.0, 5e-324, 1e-10]
confidences = st.one_of(st.sampled_from(EDGES), st.floats(0, 1))


def rows(labels):
    return st.lists(st.tuples(labels, confidences, st.none() | labels), max_size=60)


def tally_of(rows, bins="exact"):
    """The cells of rows, folded one by one."""
    cells = []
    for predicted, confidence, actual in rows:
        index = bin_of(confidence, bins)
        cells.append((CellKey("m", predicted, actual, index), moments_of(confidence, midpoint(index, bins))))
    return Tally(bins, merge_cells(cells))


def monitored(rows, **arguments):
    """The performance of rows that went through a store."""
    with Monitor.open("memory", clock=lambda: NOON) as monitor:
        made = [
            {"prediction_id": str(i), "model_version": "m", "predicted_outcome": p, "confidence": c}
            for i, (p, c, _) in enumerate(rows)
        ]
        monitor.record_predictions(made)
        monitor.record_outcomes((str(i), actual) for i, (_, _, actual) in enumerate(rows) if actual is not None)
        return monitor.performance(**arguments)


@given(rows(st.integers(0, 1)), st.sampled_from([1, 2, 7, 10, 15, 100]))
def test_two_classes_are_scikit_learns(data, n_bins):
    assert_equal(monitored(data, n_bins=n_bins), expected_metrics(data, n_bins=n_bins))


@given(rows(st.sampled_from([-3, 0, 1, 7])), st.sampled_from([1, 7]))
def test_many_classes_are_scikit_learns(data, positive):
    assert_equal(monitored(data, positive=positive), expected_metrics(data, positive=positive))


@given(rows(st.sampled_from(["benign", "malignant"])), st.sampled_from([1, 7, 10]))
def test_two_classes_of_text_are_scikit_learns(data, n_bins):
    performance = monitored(data, n_bins=n_bins, positive="malignant")
    assert_equal(performance, expected_metrics(data, n_bins=n_bins, positive="malignant"))


@given(rows(st.sampled_from(["a", "B", "1", "ä"])))
def test_many_classes_of_text_are_scikit_learns(data):
    assert_equal(monitored(data, positive="B"), expected_metrics(data, positive="B"))
    assert_equal(
        monitored(data, labels=["ä", "a", "B"], positive="a"),
        expected_metrics(data, labels=["ä", "a", "B"], positive="a"),
    )


OF_A_POSITIVE_CLASS = ("precision", "recall", "f1_score", "brier_score", "log_loss", "roc_auc")


def test_texts_have_no_positive_class_unless_one_is_named():
    data = [("yes", 0.7, "yes"), ("no", 0.8, "yes"), ("no", 0.6, None)]
    performance = monitored(data)
    assert performance.positive is None
    for name in OF_A_POSITIVE_CLASS:
        assert performance[name].value is None
        assert "positive=" in performance[name].reason
    assert performance.accuracy.value == 0.5
    assert performance["f1_score_macro"].value is not None
    assert performance["expected_calibration_error"].value is not None
    assert performance.by_label["yes"].recall.value == 0.5
    named = monitored(data, positive="yes")
    assert (named.positive, named["recall"].value) == ("yes", 0.5)


def test_integers_have_1_as_their_positive_class():
    assert monitored([(1, 0.7, 1), (0, 0.8, 1)]).positive == 1
    assert monitored([(1, 0.7, 1), (0, 0.8, 1)])["recall"].value == 0.5
    assert monitored([], labels=["a", "b"]).positive is None


def test_labels_of_two_types_are_compared_with_none_and_the_model_is_named():
    performance = monitored([(1, 0.7, "1"), (1, 0.8, None)])
    counts = {"num_predictions": 2.0, "num_labelled": 1.0, "coverage": 0.5, "avg_confidence": 0.75}
    for name, metric in performance.metrics.items():
        if name in counts or name in {"min_confidence", "max_confidence", "confidence_std"}:
            assert metric.value == pytest.approx(counts.get(name, metric.value))
        else:
            assert metric.value is None
            assert "model m" in metric.reason
            assert "int and as str" in metric.reason


@given(rows(st.sampled_from([0, 1, 2])), st.permutations([0, 1, 2, 5]).map(lambda order: order[:3]))
def test_declared_classes_are_scikit_learns(data, labels):
    performance = monitored(data, labels=labels)
    assert_equal(performance, expected_metrics(data, labels=labels))
    known = [(actual, predicted) for predicted, _, actual in data if actual is not None and actual in labels]
    if known:
        matrix = sk.confusion_matrix(*zip(*known, strict=True), labels=labels)
        assert np.array_equal(performance.confusion.counts, matrix)


@given(rows(st.integers(0, 1)), st.sampled_from([5, 10, 20]))
def test_cells_of_few_bins_say_the_same_as_exact_ones(data, n_bins):
    names = set(METRIC_NAMES) - {"roc_auc", "log_loss"}
    cheap = Measurement(tally_of(data, n_bins), n_bins).metrics(names)
    full = Measurement(tally_of(data), n_bins).metrics(names)
    assert list(cheap) == [name for name in METRIC_NAMES if name in names]
    for name in names:
        tolerance = 1e-9 if name == "confidence_std" else 1e-12
        if full[name].value is not None:
            assert cheap[name].value == pytest.approx(full[name].value, rel=tolerance, abs=tolerance)
        assert attrs.evolve(cheap[name], value=full[name].value) == full[name]


@given(rows(st.integers(0, 1)), st.sampled_from([(10, 5), (10, 1), (12, 4), (100, 10)]))
def test_coarser_bins_are_those_of_the_rows(data, fine_and_coarse):
    fine, coarse = fine_and_coarse
    moved, straight = rebinned(tally_of(data, fine), coarse), tally_of(data, coarse)
    assert moved.cells.keys() == straight.cells.keys()
    for key, moments in straight.cells.items():
        assert moved.cells[key][:3] == moments[:3]
        assert moved.cells[key][3:] == pytest.approx(moments[3:], rel=1e-12, abs=1e-12)


def test_finer_bins_cannot_be_had_from_coarser_ones():
    assert rebinned(tally_of([(1, 0.5, 1)], 10), 20) is None


@given(rows(st.integers(0, 1)))
def test_the_reliability_bins_hold_every_prediction_once(data):
    bins = monitored(data, n_bins=10).bins
    assert len(bins) == 10
    assert sum(one.total for one in bins) == len(data)
    for one in bins:
        inside = [row for row in data if one.low <= row[1] and (row[1] < one.high or one.index == 9)]
        known = [row for row in inside if row[2] is not None]
        assert (one.total, one.labelled) == (len(inside), len(known))
        assert one.accuracy == (close(np.mean([row[0] == row[2] for row in known])) if known else None)
        assert one.mean_confidence == (close(np.mean([row[1] for row in known])) if known else None)
        assert one.mean_confidence_of_all == (close(np.mean([row[1] for row in inside])) if inside else None)


def test_all_scores_tied_is_an_auc_of_one_half():
    assert monitored([(1, 0.7, 1), (1, 0.7, 0), (1, 0.7, 0)])["roc_auc"].value == 0.5


REASONS = {
    "no predictions": ([], {"accuracy": "no predictions", "coverage": "no predictions", "avg_confidence": "no pred"}),
    "no labels": ([(1, 0.7, None)] * 2, dict.fromkeys(["accuracy", "precision", "roc_auc", "log_loss"], "no labelled")),
    "one class": ([(1, 0.7, 1), (0, 0.6, 1)], {"roc_auc": "one class only"}),
    "no predicted positives": ([(0, 0.7, 1), (0, 0.7, 0)], {"precision": "no predicted positives"}),
    "no actual positives": ([(1, 0.7, 0)], {"recall": "no actual positives"}),
    "no positives at all": ([(0, 0.7, 0)], {"f1_score": "no predicted and no actual positives"}),
    "one value": ([(0, 0.7, 0)], {"confidence_std": "one value only"}),
    "three classes": ([(0, 0.7, 2)], dict.fromkeys(["brier_score", "log_loss", "roc_auc"], "the confidence says")),
    "a third class predicted, not yet labelled": (
        [(0, 0.7, 0), (1, 0.7, 1), (2, 0.4, None)],
        dict.fromkeys(["brier_score", "log_loss", "roc_auc"], "the confidence says P(positive) of two classes only"),
    ),
    "a class never predicted": ([(0, 0.7, 2)], {"precision_macro": "class 2: no predicted positives"}),
}


@pytest.mark.parametrize("case", REASONS)
def test_what_is_undefined_says_why(case):
    data, reasons = REASONS[case]
    performance = monitored(data)
    for name, reason in reasons.items():
        metric = performance[name]
        assert metric.value is None
        assert metric.reason.startswith(reason), metric


def test_a_declared_third_class_leaves_no_binary_metric():
    data = [(1, 0.7, 1), (0, 0.6, 0), (1, 0.8, 0)]
    for name in ("brier_score", "log_loss", "roc_auc"):
        assert monitored(data, labels=[0, 1])[name].value is not None
        assert monitored(data, labels=[0, 1, 2])[name].reason.startswith("the confidence says"), name
        assert monitored(data, positive=2)[name].value is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_metric_holds_what_is_not_finite(value):
    with pytest.raises(ValueError, match="would hold"):
        Metric("accuracy", value, 1, 1, 1)
    with pytest.raises(ValueError, match="would hold"):
        Metric("accuracy", 1.0, 1, 1, 1, low=value)


def test_a_metric_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="either"):
        Metric("accuracy", None, 0, 0, 0)
    with pytest.raises(ValueError, match="either"):
        Metric("accuracy", 1.0, 0, 0, 0, reason="none")


@pytest.mark.parametrize(
    "arguments",
    [
        {"basis": "matured"},
        {"horizon": timedelta(days=1)},
        {"basis": "newest"},
        {"last": timedelta(0)},
        {"last": 60},
        {"last": timedelta(1), "since": NOON},
        {"since": NOON, "until": NOON - timedelta(1)},
        {"since": datetime(2026, 5, 1)},  # noqa: DTZ001 - that is what is refused
        {"n_bins": 0},
        {"n_bins": "exact"},
        {"interval": "wald"},
        {"positive": 1.0},
        {"labels": []},
        {"labels": [1, 1]},
        {"metrics": ["accurracy"]},
        {"metrics": "accuracy"},
        {"metrics": 5},
        {"labels": 5},
        {"positive": ""},
        {"labels": [1, True]},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(arguments):
    with Monitor.open("memory") as monitor, pytest.raises(InvalidQueryError):
        monitor.performance(**arguments)


def test_only_what_was_asked_for_is_computed():
    performance = monitored([(1, 0.7, 1)], metrics=["accuracy", "coverage"])
    assert list(performance.metrics) == ["coverage", "accuracy"]


def test_numpys_integers_are_classes_and_any_iterable_holds_names():
    data = [(1, 0.7, 1), (0, 0.6, 0), (1, 0.8, 0)]
    plain = monitored(data, labels=[0, 1])
    assert monitored(data, positive=np.int64(1), labels=np.array([0, 1])).metrics == plain.metrics
    assert monitored(data, positive=np.int64(1)).to_dict()["positive"] == 1
    named = monitored(data, metrics=(name for name in ("accuracy", "roc_auc")))
    assert list(named.metrics) == ["accuracy", "roc_auc"]


def test_a_performance_as_a_dict_is_json_and_holds_every_class():
    performance = monitored([(1, 0.7, 1), (0, 0.6, 0), (1, 0.8, 0)])
    told = json.loads(json.dumps(performance.to_dict(), allow_nan=False))
    assert [(one["label"], one["support"]) for one in told["by_label"]] == [(0, 2), (1, 1)]
    assert told["by_label"][1]["precision"] == performance.by_label[1].precision.to_dict()


def test_the_coverage_of_nothing_labelled_is_0_and_of_nothing_at_all_undefined():
    assert monitored([(1, 0.7, None)] * 2)["coverage"].value == 0.0
    assert monitored([(1, 0.7, None)] * 2).coverage == 0.0
    assert monitored([])["coverage"].value is None


def test_the_metrics_are_these_in_this_order():
    assert METRIC_NAMES == (
        "num_predictions",
        "num_labelled",
        "coverage",
        "accuracy",
        "precision",
        "recall",
        "f1_score",
        "precision_macro",
        "recall_macro",
        "f1_score_macro",
        "precision_weighted",
        "recall_weighted",
        "f1_score_weighted",
        "brier_score",
        "log_loss",
        "roc_auc",
        "expected_calibration_error",
        "maximum_calibration_error",
        "avg_confidence",
        "min_confidence",
        "max_confidence",
        "confidence_std",
    )
    assert {"roc_auc", "log_loss"} == EXACT_METRICS
    assert {"expected_calibration_error", "maximum_calibration_error"} == BINNED_METRICS
    assert check_names(None) == set(METRIC_NAMES)


def test_a_metric_is_one_function(monkeypatch):
    monkeypatch.setitem(FORMULAS, "error_rate", None)  # which takes it out again behind the test

    @formula("error_rate")
    def error_rate(self, name):
        return self._share(name, self.labelled - sum(self.pairs[one, one] for one in self.classes), self.labelled, "no")

    measured = Measurement(tally_of([(1, 0.9, 1), (1, 0.9, 0)])).metrics({"error_rate", "accuracy"})
    assert {name: one.value for name, one in measured.items()} == {"accuracy": 0.5, "error_rate": 0.5}


def test_the_positive_class_is_looked_for_once_however_many_confidences_there_are():
    """To go through all cells for each of them took the square of their number."""

    class Counted(dict):
        looked = 0

        def __iter__(self):
            Counted.looked += 1
            return super().__iter__()

    def looks(n):
        Counted.looked = 0
        cells = Counted(
            {
                CellKey("m", one % 2, one % 3 % 2, (one + 1) / (n + 1)): Moments(1, 0.5, 0.5, 0.0, 0.0)
                for one in range(n)
            }
        )
        measured = Measurement(Tally("exact", cells)).metrics(frozenset({"log_loss", "roc_auc", "brier_score"}))
        assert measured["log_loss"].value is not None
        return Counted.looked

    assert looks(200) == looks(10)
