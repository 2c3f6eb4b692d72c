"""The rows of predictions: what tallies and look-ups need of them, in columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from f1mon_jsonl.index.codes import NONE


class Predictions:
    """A row for each prediction, and one for each item of which there are only outcomes, which wait in it."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        """The first row of each item."""
        self.following = array("i")
        """The next row of the same item, which has as many as models predicted it."""
        self.ids: list[str] = []
        self.at = array("q")
        self.model = array("i")
        """The code of the model; NONE where there is no prediction yet."""
        self.predicted = array("i")
        self.confidence = array("d")
        self.actual = array("i")
        """The code of the label of the item's current outcome."""
        self.first_known = array("q")
        """When the item's first outcome was known."""
        self.outcome = array("i")
        """The first link of the item's chain of outcomes, in order of arrival reversed; in its first row alone."""
        self.line = array("i")
        self.item = array("I")

    def row(self, prediction_id: str) -> int:
        """The first row of an item, made where there is none."""
        if (row := self.rows.get(prediction_id)) is None:
            row = self.add(prediction_id)
        return row

    def rows_from(self, row: int) -> Iterator[int]:
        """A row and those that follow it of the same item."""
        while row != NONE:
            yield row
            row = self.following[row]

    def is_predicted(self, prediction_id: str) -> bool:
        """Whether there is a prediction of an item."""
        return (row := self.rows.get(prediction_id, NONE)) != NONE and self.model[row] != NONE

    def of_item(self, prediction_id: str) -> list[int]:
        """The rows of an item's predictions."""
        return [*self.rows_from(self.rows[prediction_id])] if self.is_predicted(prediction_id) else []

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
        """Make the first row of an item."""
        self.rows[prediction_id] = row = len(self.ids)
        self._append(prediction_id, at, model, predicted, confidence, line, item)
        self.actual.append(NONE)
        self.first_known.append(NONE)
        return row

    def join(self, last: int, at: int, model: int, predicted: int, confidence: float, line: int, item: int) -> int:
        """Make a further row of an item, behind the one that was its last; its outcome is the item's."""
        self.following[last] = row = len(self.ids)
        self._append(self.ids[last], at, model, predicted, confidence, line, item)
        self.actual.append(self.actual[last])
        self.first_known.append(self.first_known[last])
        return row

    def _append(
        self, prediction_id: str, at: int, model: int, predicted: int, confidence: float, line: int, item: int
    ) -> None:
        self.ids.append(prediction_id)
        self.following.append(NONE)
        self.at.append(at)
        self.model.append(model)
        self.predicted.append(predicted)
        self.confidence.append(confidence)
        self.outcome.append(NONE)
        self.line.append(line)
        self.item.append(item)


class Stands:
    """When each labelled prediction stands by outcome time: not before it was made."""

    def __init__(self, table: Predictions) -> None:
        self._at = table.at
        self._first_known = table.first_known

    def __getitem__(self, row: int) -> int:
        return max(self._at[row], self._first_known[row])
