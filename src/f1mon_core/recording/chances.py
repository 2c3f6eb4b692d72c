"""The confidence of a prediction, from whichever probability a model gave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.records import fields
from f1mon_core.records.fields import ClassLabel

_WHOLE = 1e-3
"""How far the probabilities of all classes may be from adding up to 1: what float16 leaves of a softmax."""
_WAYS = "one of confidence=, probability= (of the positive class) and probabilities={label: p}"


@attrs.frozen(kw_only=True)
class Chance:
    """What a model said of its answer, in one of three ways.

    Attributes:
        confidence: The probability of the predicted class.
        probability: The probability of the positive class, of two.
        probabilities: The probability of each class, the predicted one among them.
        positive: The positive class; None for 1, where the predicted class is an integer.
    """

    confidence: Any = None
    probability: Any = None
    probabilities: Any = None
    positive: Any = None

    def of(self, prediction_id: Any, predicted_outcome: Any) -> Any:
        """The confidence, not yet checked where it was given as such. Raises `InvalidRecordError`."""
        if self.probability is None and self.probabilities is None:
            if self.confidence is None:
                raise _refused(prediction_id, "confidence", None, f"must be given: {_WAYS}")
            return self.confidence
        given = [self.confidence, self.probability, self.probabilities]
        if sum(one is not None for one in given) > 1:
            raise _refused(prediction_id, "confidence", self.confidence, f"must be given once: {_WAYS}")
        try:
            predicted = fields.label(predicted_outcome, "predicted_outcome")
            if self.probabilities is not None:
                return _of_all(self.probabilities, predicted)
            chance = fields.probability(self.probability, "probability")
            return chance if predicted == self._positive(predicted) else 1.0 - chance
        except InvalidRecordError as error:
            error.record = error.record or _named(prediction_id)
            raise

    def _positive(self, predicted: ClassLabel) -> ClassLabel:
        if self.positive is None:
            if isinstance(predicted, str):
                reason = f"needs positive=, the class it is of: the predicted class is the text {predicted!r:.80}"
                raise InvalidRecordError("probability", self.probability, reason)
            return 1
        positive = fields.label(self.positive, "positive")
        if isinstance(positive, str) != isinstance(predicted, str):
            reason = f"must be of the type of the labels, such as {predicted!r:.80}: '1' is not 1"
            raise InvalidRecordError("positive", self.positive, reason)
        return positive


def _of_all(probabilities: Any, predicted: ClassLabel) -> float:
    """The predicted class's share of the probabilities of all classes."""
    if not isinstance(probabilities, Mapping):
        reason = "must be a mapping of labels to probabilities: dict(zip(model.classes_, row))"
        raise InvalidRecordError("probabilities", probabilities, reason)
    chances = {
        fields.label(one, "probabilities"): fields.probability(chance, f"probabilities[{one!r:.80}]")
        for one, chance in probabilities.items()
    }
    if abs((whole := math.fsum(chances.values())) - 1) > _WHOLE:
        raise InvalidRecordError("probabilities", probabilities, f"must add up to 1, and add up to {whole:.6g}")
    if (chance := chances.get(predicted)) is None:
        known = ", ".join(repr(one)[:80] for one in list(chances)[:10])
        raise InvalidRecordError(
            "probabilities", probabilities, f"must hold the predicted class {predicted!r:.80}, and hold {known}"
        )
    return chance


def _named(prediction_id: Any) -> str | None:
    return f"prediction {prediction_id[:80]!r}" if isinstance(prediction_id, str) else None


def _refused(prediction_id: Any, field: str, value: Any, reason: str) -> InvalidRecordError:
    return InvalidRecordError(field, value, reason, record=_named(prediction_id))
