"""The segments of predictions: a column of codes for each name that occurs."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from f1mon_jsonl.index.codes import NONE, Codes


class Segment:
    """The values of one name: a code for each row, NONE for a prediction without it."""

    def __init__(self) -> None:
        self.codes = Codes()
        self.column = array("i")

    def put(self, row: int, value: int | str) -> None:
        """Note the value of a row."""
        code = self.codes.of(value)
        self.reach(row)
        if row < len(self.column):
            self.column[row] = code
        else:
            self.column.append(code)

    def reach(self, rows: int) -> None:
        """Make the column as long as there are rows."""
        if (missing := rows - len(self.column)) > 0:
            self.column.frombytes(_NONE * missing)


_NONE = array("i", [NONE]).tobytes()


class Segments:
    """What is known of segments."""

    def __init__(self) -> None:
        self._names: dict[str, Segment] = {}

    def put(self, row: int, segments: Mapping[str, int | str]) -> None:
        """Note the segments of a row."""
        for name, value in segments.items():
            if (segment := self._names.get(name)) is None:
                segment = self._names[name] = Segment()
            segment.put(row, value)

    def of(self, name: str, rows: int) -> Segment:
        """One name, for so many rows."""
        segment = self._names.get(name) or Segment()
        segment.reach(rows)
        return segment

    @property
    def names(self) -> Sequence[str]:
        """All names that occur."""
        return list(self._names)
