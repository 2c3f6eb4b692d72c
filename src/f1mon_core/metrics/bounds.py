"""Between what a ROC-AUC lies, by cells that hold many confidences."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from f1mon_core.records.fields import ClassLabel
from f1mon_core.storage.tally import Tally


class Scored(NamedTuple):
    """Labelled predictions whose P(positive) lies within `[low, high]`."""

    low: float
    high: float
    negatives: int
    positives: int


def scored(tally: Tally, positive: ClassLabel) -> list[Scored]:
    """The labelled cells of a tally by where their P(positive) lies, which their extremes say."""
    found: list[Scored] = []
    for key, moments in tally.cells.items():
        if key.actual is None:
            continue
        low, high = moments.minimum, moments.maximum
        if key.predicted != positive:
            low, high = 1 - high, 1 - low
        is_positive = key.actual == positive
        found.append(Scored(low, high, moments.n * (not is_positive), moments.n * is_positive))
    return found


def roc_auc_bounds(cells: Iterable[Scored]) -> tuple[float, float]:
    """The least and the greatest ROC-AUC that predictions in such cells can have, both classes being there.

    A positive and a negative in cells that overlap count as anything from a loss to a win; in cells that touch in one
    score, from there to a tie. A cell of a single score makes ties, so an exact tally has equal bounds.
    """
    cells = list(cells)
    negatives = [one for one in cells if one.negatives]
    by_high = sorted((one.high, one.negatives) for one in negatives)
    by_low = sorted((one.low, one.negatives) for one in negatives)
    highs, below = [high for high, _ in by_high], [0, *accumulate(n for _, n in by_high)]
    lows, until = [low for low, _ in by_low], [0, *accumulate(n for _, n in by_low)]
    least = most = 0
    for one in cells:  # doubled, so that a tie is a whole number
        least += one.positives * (below[bisect_left(highs, one.low)] + below[bisect_right(highs, one.low)])
        most += one.positives * (until[bisect_left(lows, one.high)] + until[bisect_right(lows, one.high)])
    pairs = 2 * sum(one.positives for one in cells) * below[-1]
    return least / pairs, most / pairs
