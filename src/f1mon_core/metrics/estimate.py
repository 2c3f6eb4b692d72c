"""Expected accuracy without labels: confidences recalibrated on matured ones. An estimate, and marked as one.

Learned from are the predictions made before the window that have matured by now, or by `as_of`.

The recalibration is an isotonic regression of "was correct" on the confidence; the estimate is its mean over the
window's predictions. It holds as long as the confidence means what it meant on the matured labels: it follows a shift
of what is asked, and cannot see that the world answers differently.

C. Guo et al., ICML 2017, for confidence calibration; J. Kivimäki et al., JAIR 82 (2025), for the estimator.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.metrics.metric import NO_PREDICTIONS, Metric
from f1mon_core.metrics.performance import Measures
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.recording.lists import Listed
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import AccuracyEstimate, Cursor
from f1mon_core.records.times import shifted
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import Tally

NAME = "estimated_accuracy"
NO_MATURED_LABELS = "no matured labelled predictions to recalibrate on"


@attrs.frozen
class Block:
    """A stretch of confidences with one recalibrated accuracy.

    Attributes:
        low, high: The smallest and the largest confidence in it.
        correct: Correct predictions among its `n`.
    """

    low: float
    high: float
    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """The share that was correct."""
        return self.correct / self.n


@attrs.frozen
class Recalibration:
    """A monotone map from confidence to expected accuracy.

    Attributes:
        blocks: Ascending by confidence and strictly by accuracy; at least one.
    """

    blocks: tuple[Block, ...]

    def __call__(self, confidence: float) -> float:
        """The expected accuracy: linear between blocks, constant outside, as scikit-learn's isotonic regression."""
        index = bisect_right(self.blocks, confidence, key=lambda block: block.low) - 1
        if index < 0:
            return self.blocks[0].accuracy
        block = self.blocks[index]
        if confidence <= block.high or index + 1 == len(self.blocks):
            return block.accuracy
        following = self.blocks[index + 1]
        share = (confidence - block.high) / (following.low - block.high)
        return block.accuracy + share * (following.accuracy - block.accuracy)

    @property
    def n(self) -> int:
        """How many labelled predictions it rests on."""
        return sum(block.n for block in self.blocks)

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {"blocks": [[block.low, block.high, block.correct, block.n] for block in self.blocks], "n": self.n}


def recalibrate(points: Iterable[tuple[float, int, int]]) -> Recalibration | None:
    """The isotonic regression of correctness on confidence, by pooling adjacent violators.

    R. E. Barlow et al., "Statistical inference under order restrictions" (1972). Means are compared as fractions, so
    ties pool exactly.

    Args:
        points: `(confidence, correct, n)`, each confidence once.
    """
    blocks: list[Block] = []
    for confidence, correct, n in sorted(points):
        block = Block(confidence, confidence, correct, n)
        while blocks and blocks[-1].correct * block.n >= block.correct * blocks[-1].n:
            before = blocks.pop()
            block = Block(before.low, block.high, before.correct + block.correct, before.n + block.n)
        blocks.append(block)
    return Recalibration(tuple(blocks)) if blocks else None


def recalibration_of(tally: Tally) -> Recalibration | None:
    """The recalibration that the labelled predictions of an exact tally come to; None without any."""
    points: dict[float, list[int]] = {}
    for key, moments in tally.cells.items():
        if key.actual is not None:
            point = points.setdefault(float(key.bin), [0, 0])
            point[0] += moments.n * (key.predicted == key.actual)
            point[1] += moments.n
    return recalibrate((confidence, correct, n) for confidence, (correct, n) in points.items())


def expected_accuracy(recalibration: Recalibration, tally: Tally) -> float:
    """The mean expected accuracy of all predictions of an exact tally, labelled or not."""
    total = math.fsum(moments.n * recalibration(float(key.bin)) for key, moments in tally.cells.items())
    return min(1.0, total / tally.count)


def estimate(
    request: WindowRequest, horizon: timedelta, metadata: Mapping[str, Any] | None, estimate_id: str | None = None
) -> Plan[AccuracyEstimate]:
    """Estimate the accuracy of a window from its confidences, recalibrated on matured ones made before it; keep it.

    What has matured is decided by the present (or `as_of`), not by the start of the window: the labels of predictions
    made before it count although they became known during it.
    """
    if request.model_version is None:
        raise InvalidQueryError("model_version must be given: an estimate is of one model")
    if request.since is None and request.last is None:
        raise InvalidQueryError("give since or last: an estimate learns from predictions made before its window")
    learned = attrs.evolve(request, since=None, last=None, until=None, basis="matured", horizon=horizon)
    asked: Document = {**request.to_dict(), "horizon": horizon.total_seconds()}

    def repeats(stored: AccuracyEstimate) -> bool:
        return stored.calibration.get("asked") == asked

    if estimate_id is not None:
        first = yield from recording.stored(AccuracyEstimate, estimate_id)
        if first is not None and repeats(first):
            return first
    window = yield from request.resolve_closed()
    reference = yield from learned.resolve()
    before = [one for one in (reference.until, window.since) if one is not None]
    reference = attrs.evolve(reference, until=min(before))
    reference, matured = yield from _not_pruned(reference)
    recalibration = recalibration_of(matured)
    tally = yield from plans.tally(window.query("exact"))
    reason = NO_PREDICTIONS if not tally.count else NO_MATURED_LABELS if recalibration is None else None
    value = None if recalibration is None or not tally.count else expected_accuracy(recalibration, tally)
    made = AccuracyEstimate(
        model_version=request.model_version,
        value=value,
        n=tally.count,
        window_start=window.since,
        window_end=window.until,
        calibration={
            **(recalibration.to_dict() if recalibration else {"blocks": [], "n": 0}),
            "method": "isotonic",
            "since": None if reference.since is None else reference.since.isoformat(),
            "until": None if reference.until is None else reference.until.isoformat(),
            "horizon_seconds": horizon.total_seconds(),
            "reason": reason,
            "asked": asked,
        },
        metadata=recording.given(metadata),
        at=request.as_of,
    )
    if estimate_id is not None:
        made = attrs.evolve(made, estimate_id=estimate_id)
    return (yield from recording.kept_first(made, repeats))


def _not_pruned(window: Window) -> Plan[tuple[Window, Tally]]:
    """What of a window the store still has row by row, and its exact tally: kept cells are too coarse to learn from."""
    try:
        return window, (yield from plans.tally(window.query("exact")))
    except PrunedError as error:
        if error.since is None:
            raise
        since = error.since
    if window.until is not None and window.until <= since:
        return attrs.evolve(window, since=window.until), Tally("exact")
    window = attrs.evolve(window, since=since)
    return window, (yield from plans.tally(window.query("exact")))


@attrs.frozen
class ScoredEstimate:
    """An estimate beside the truth.

    Attributes:
        estimate: The stored fact.
        expected: Its value as a metric, marked as an estimate.
        truth: The accuracy of the same window once its labels are mature; before that, and where the window was pruned
            since, None with the reason.
        error: Estimate minus truth; None where either is missing.
    """

    estimate: AccuracyEstimate
    expected: Metric
    truth: Metric

    @property
    def error(self) -> float | None:
        """Estimate minus truth; None where either is missing."""
        if self.expected.value is None or self.truth.value is None:
            return None
        return self.expected.value - self.truth.value


def metric_of(made: AccuracyEstimate) -> Metric:
    """A stored estimate as a metric, marked as one; `n` is the window's predictions."""
    if made.value is not None:
        return Metric(NAME, made.value, made.n, 0, made.n, estimate=True)
    reason = str(made.calibration.get("reason") or NO_MATURED_LABELS)
    return Metric(NAME, None, made.n, 0, made.n, reason=reason, estimate=True)


def scored(
    model_version: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    after: Cursor | None,
) -> Plan[Listed[ScoredEstimate]]:
    """Stored estimates, newest first, each beside the truth of its window."""
    found = yield from recording.listing(
        AccuracyEstimate, model_version=model_version, since=since, until=until, limit=limit, after=after
    )
    present = yield from plans.now()
    answers: Listed[ScoredEstimate] = Listed()
    for one in found:
        answers.append(ScoredEstimate(one, metric_of(one), (yield from _truth(one, present))))
    return answers


def _truth(made: AccuracyEstimate, present: datetime) -> Plan[Metric]:
    window = Window(model_version=made.model_version, since=made.window_start, until=made.window_end)
    only = Measures(names={"accuracy"})
    try:
        tally, unavailable = yield from only.tally(window)
    except PrunedError as error:
        return Metric("accuracy", None, 0, 0, 0, reason=f"pruned: {error}")
    measured = only.of(tally, window, unavailable).accuracy
    horizon = timedelta(seconds=float(cast("float", made.calibration.get("horizon_seconds", 0))))
    if made.window_end is None or shifted(made.window_end, horizon) <= present:
        return measured
    mature = shifted(made.window_end, horizon).isoformat()
    return attrs.evolve(
        measured, value=None, low=None, high=None, reason=f"the labels of this window are mature at {mature}"
    )
