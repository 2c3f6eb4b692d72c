"""What a metric is: its value, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.records.fields import ClassLabel, Document, label, label_order
from f1mon_core.storage.tally import check_collection

NO_PREDICTIONS = "no predictions"

NO_LABELS = "no labelled predictions"

ONE_CLASS = "one class only"

ONE_VALUE = "one value only"

NO_PREDICTED_POSITIVES = "no predicted positives"

NO_ACTUAL_POSITIVES = "no actual positives"

NO_POSITIVE_CLASS = "the labels are texts: name the positive class by positive="
NO_POSITIVES = "no predicted and no actual positives"


def left_out(name: str) -> str:
    """Why a metric that nobody asked for by name was not computed, and how to have it."""
    return f'left out: dear in so large a window; ask for it by name, metrics=["{name}"]'


@attrs.frozen
class Metric:
    """A number with what it rests on.

    Attributes:
        name: One of `measurement.METRIC_NAMES`.
        value: The number, finite; None where it is undefined.
        n: Its own denominator: predictions, labelled ones, predicted positives, as the definition says.
        labelled: Predictions of the window whose outcome is known.
        total: Predictions of the window.
        low, high: The 95 % interval; None for a metric that has none.
        reason: Why the value is None; None where it is not.
        estimate: True for a number computed without labels.
        at_least, at_most: Between what the value lies for certain, where it was left out and kept cells bound it: no
            interval, but what rounding confidences to bins leaves open. None otherwise.
    """

    name: str
    value: float | None
    n: int
    labelled: int
    total: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    estimate: bool = False
    at_least: float | None = None
    at_most: float | None = None

    def __attrs_post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            message = f"metric {self.name!r} has either a value or a reason"
            raise ValueError(message)
        for number in (self.value, self.low, self.high, self.at_least, self.at_most):
            if number is not None and not math.isfinite(number):
                message = f"metric {self.name!r} would hold {number}"
                raise ValueError(message)

    @property
    def coverage(self) -> float | None:
        """The labelled share of the window's predictions; None where there are none."""
        return self.labelled / self.total if self.total else None

    def to_dict(self) -> Document:
        """As a JSON object, `coverage` included; `at_least` and `at_most` only where there are such bounds."""
        told = {**attrs.asdict(self), "coverage": self.coverage}
        if self.at_least is None:
            del told["at_least"], told["at_most"]
        return told

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Metric:
        """The metric that `to_dict` wrote. Raises `ValueError` or `TypeError` for another object."""
        return cls(**{name: value for name, value in kept.items() if name != "coverage"})

    def __str__(self) -> str:
        shown = f"none ({self.reason})" if self.value is None else f"{self.value:.4f}"
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        if self.at_least is not None and self.at_most is not None:
            bounds = f" (between {self.at_least:.4f} and {self.at_most:.4f})"
        marked = " (estimate)" if self.estimate else ""
        return f"{self.name} {shown}{bounds}{marked}, n={self.n}, {self.labelled} of {self.total} labelled"


def names_left_out(metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    """Those of some metrics, by their names, that were not computed because nobody asked for them by name."""
    return tuple(name for name, one in metrics.items() if one.reason == left_out(name))


@attrs.frozen
class ReliabilityBin:
    """One bar of a reliability diagram.

    Attributes:
        index: From 0.
        low, high: The bin `[low, high)`; the last one is closed.
        total: Predictions in it.
        labelled: Those with a known outcome, which the next two are over.
        mean_confidence, accuracy: None where nothing is labelled.
        mean_confidence_of_all: Over all its predictions; None where there are none.
    """

    index: int
    low: float
    high: float
    total: int
    labelled: int
    mean_confidence: float | None
    accuracy: float | None
    mean_confidence_of_all: float | None

    @property
    def gap(self) -> float | None:
        """|accuracy - mean confidence|; None where nothing is labelled."""
        if self.accuracy is None or self.mean_confidence is None:
            return None
        return abs(self.accuracy - self.mean_confidence)

    def to_dict(self) -> Document:
        """As a JSON object."""
        return attrs.asdict(self)


@attrs.frozen
class ConfusionMatrix:
    """Counts of labelled predictions by actual and predicted class.

    Attributes:
        labels: The classes in order: the declared ones, else all that occur, ascending.
        cells: `(actual, predicted)` to its count, zeros left out. Classes outside `labels` are not in it.
    """

    labels: tuple[ClassLabel, ...]
    cells: Mapping[tuple[ClassLabel, ClassLabel], int]

    @property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """One row for each actual class, one column for each predicted one, both in the order of `labels`."""
        return tuple(
            tuple(self.cells.get((actual, predicted), 0) for predicted in self.labels) for actual in self.labels
        )

    def to_dict(self) -> Document:
        """As a JSON object; the cells as `[actual, predicted, count]`."""
        return {
            "labels": list(self.labels),
            "cells": [[*pair, self.cells[pair]] for pair in sorted(self.cells, key=_order)],
        }


@attrs.frozen
class LabelMetrics:
    """Precision, recall and F1 of one class against the rest; `support` is how often it truly occurred."""

    label: ClassLabel
    support: int
    precision: Metric
    recall: Metric
    f1_score: Metric

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "label": self.label,
            "support": self.support,
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "f1_score": self.f1_score.to_dict(),
        }


def _order(pair: tuple[ClassLabel, ClassLabel]) -> tuple[Any, ...]:
    return tuple(map(label_order, pair))


def check_labels(labels: Iterable[ClassLabel] | None) -> tuple[ClassLabel, ...] | None:
    """The declared classes. Raises `InvalidQueryError` for none, a repeated one or one that is no label."""
    if labels is None:
        return None
    declared = tuple(check_label("labels", one) for one in check_collection("labels", labels, "classes"))
    if not declared or len(set(declared)) < len(declared):
        raise InvalidQueryError(f"labels must name at least one class, each once, got {declared}")
    return declared


def check_label(name: str, value: Any) -> ClassLabel:
    """One class label. Raises `InvalidQueryError`."""
    try:
        return label(value, name)
    except InvalidRecordError as error:
        raise InvalidQueryError(str(error)) from error
