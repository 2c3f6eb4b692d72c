"""What scikit-learn and numpy say of the same rows; shares nothing with the code it judges."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk


def close(value):
    """Equal to 1e-12, absolute or relative, whichever is looser."""
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def expected_metrics(rows, *, positive=1, labels=None, n_bins=10):
    """Metric name to its value, None where scikit-learn calls it undefined.

    Args:
        rows: `(predicted, confidence, actual | None)` of a window.
        positive: The positive class.
        labels: The declared classes.
        n_bins: Calibration bins.
    """
    known = [row for row in rows if row[2] is not None]
    confidence = np.array([row[1] for row in rows], dtype=float)
    found = {
        "num_predictions": len(rows),
        "num_labelled": len(known),
        "coverage": len(known) / len(rows) if rows else None,
        "avg_confidence": confidence.mean() if rows else None,
        "min_confidence": confidence.min() if rows else None,
        "max_confidence": confidence.max() if rows else None,
        "confidence_std": confidence.std(ddof=1) if len(rows) > 1 else None,
    }
    classes = {positive, *(labels or [])}
    for predicted, _, actual in rows:
        classes |= {predicted} if actual is None else {predicted, actual}
    return found | _labelled_metrics(known, positive, labels, n_bins, len(classes))


def _labelled_metrics(known, positive, labels, n_bins, number_of_classes):
    if not known:
        names = ("accuracy", "precision", "recall", "f1_score", "brier_score", "log_loss", "roc_auc")
        return dict.fromkeys((*names, "expected_calibration_error", "maximum_calibration_error"))
    predicted = np.array([row[0] for row in known])
    confidence = np.array([row[1] for row in known], dtype=float)
    actual = np.array([row[2] for row in known])
    found = {"accuracy": sk.accuracy_score(actual, predicted)}
    scores = {"precision": sk.precision_score, "recall": sk.recall_score, "f1_score": sk.f1_score}
    for name, score in scores.items():
        found[name] = _averages(score, actual, predicted, [positive])["macro"]
        for average, value in _averages(score, actual, predicted, labels or sorted({*actual, *predicted})).items():
            found[f"{name}_{average}"] = value
    if number_of_classes > 2:  # what is left of a confidence is shared by the other classes, nobody knows how
        found |= dict.fromkeys(("brier_score", "log_loss", "roc_auc"))
    else:
        found |= _probability_metrics(predicted, confidence, actual, positive)
    correct = predicted == actual
    gaps = [
        (inside.sum(), abs(correct[inside].mean() - confidence[inside].mean()))
        for i in range(n_bins)
        if (inside := _in_bin(confidence, i, n_bins)).any()
    ]
    found["expected_calibration_error"] = sum(n * gap for n, gap in gaps) / len(known)
    found["maximum_calibration_error"] = max(gap for _, gap in gaps)
    return found


def _in_bin(confidence, index, n_bins):
    last = index == n_bins - 1
    below = confidence <= 1 if last else confidence < (index + 1) / n_bins
    return (confidence >= index / n_bins) & below


def _averages(score, actual, predicted, classes):
    """The macro and the weighted mean; None where a class with a weight is undefined."""
    by_class = score(actual, predicted, labels=classes, average=None, zero_division=np.nan)
    support = np.array([(actual == one).sum() for one in classes])
    undefined = np.isnan(by_class)
    blocked = {"macro": undefined.any(), "weighted": undefined[support > 0].any() or not support.sum()}
    return {
        average: None
        if blocked[average]
        else score(actual, predicted, labels=classes, average=average, zero_division=0)
        for average in ("macro", "weighted")
    }


def _probability_metrics(predicted, confidence, actual, positive):
    is_positive = actual == positive
    chance = np.where(predicted == positive, confidence, 1 - confidence)
    one_class = is_positive.all() or not is_positive.any()
    return {
        "brier_score": sk.brier_score_loss(is_positive, chance, pos_label=True, labels=[False, True]),
        "log_loss": sk.log_loss(is_positive, chance, labels=[False, True]),
        "roc_auc": None if one_class else sk.roc_auc_score(is_positive, chance),
    }


def assert_equal(performance, expected):
    """Every expected metric is there and equal: 1e-12, the standard deviation 1e-9; undefined ones have a reason."""
    for name, value in expected.items():
        metric = performance.metrics[name]
        if value is None or math.isnan(value):
            assert (metric.value, bool(metric.reason)) == (None, True), metric
        else:
            tolerance = 1e-9 if name == "confidence_std" else 1e-12
            assert metric.value == pytest.approx(float(value), rel=tolerance, abs=tolerance), metric
            assert metric.reason is None
