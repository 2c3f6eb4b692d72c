"""The rows of predictions: what tallies and look-ups need of them, in columns."""

from __future__ import annotations

from array import array

from f1mon_jsonl.index.codes import NONE


class Predictions:
    """A row for each prediction id: of a prediction, or of outcomes that still wait for theirs."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        """The row of each id; NONE for a pruned one."""
        self.ids: list[str] = []
        self.at = array("q")
        self.model = array("i")
        """The code of the model; NONE where there is no prediction yet."""
        self.predicted = array("i")
        self.confidence = array("d")
        self.actual = array("i")
        """The code of the current outcome's label."""
        self.first_known = array("q")
        self.outcome = array("i")
        """The first link of the chain of outcomes, in order of arrival reversed."""
        self.line = array("i")
        self.item = array("I")

    def row(self, prediction_id: str) -> int:
        """The row of an id, made where there is none; NONE for a pruned one."""
        if (row := self.rows.get(prediction_id)) is None:
            row = self.add(prediction_id)
        return row

    def add(
        self,
        prediction_id: str,
        at: int = NONE,
        model: int = NONE,
        predicted: int = NONE,
        confidence: float = 0.0,
        line: int = NONE,
        item: int = 0,
    ) -> int:
        """Make the row of an id that has none."""
        row = self.rows[prediction_id] = len(self.ids)
        self.ids.append(prediction_id)
        self.at.append(at)
        self.model.append(model)
        self.predicted.append(predicted)
        self.confidence.append(confidence)
        self.actual.append(NONE)
        self.first_known.append(NONE)
        self.outcome.append(NONE)
        self.line.append(line)
        self.item.append(item)
        return row
