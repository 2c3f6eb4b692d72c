"""Rows in order of time: positions to bisect, extended by what is new."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import le
from typing import Protocol


class Times(Protocol):
    """An instant for each row."""

    def __getitem__(self, row: int, /) -> int: ...


class TimeOrder:
    """The numbers of some rows, ordered by a column of times.

    Rows that come in order are appended; late ones wait until the next question and are then merged, which costs a
    sort of what lies behind the earliest of them.
    """

    def __init__(self, times: Times, rows: Iterable[int] = ()) -> None:
        self._times = times
        self._rows = array("I", sorted(rows, key=times.__getitem__))
        self._moved: int | None = None
        self._late: list[int] = []

    def __len__(self) -> int:
        return len(self._rows) + len(self._late)

    def add(self, row: int) -> None:
        """Take in a row that was not there."""
        if not self._rows or self._times[row] >= self._times[self._rows[-1]]:
            self._rows.append(row)
        else:
            self._late.append(row)

    def extend(self, rows: Sequence[int], times: Sequence[int]) -> None:
        """Take in rows that were not there, with their times."""
        in_order = all(map(le, times, islice(times, 1, None)))
        if in_order and (not self._rows or times[0] >= self._times[self._rows[-1]]):
            self._rows.extend(rows)
        else:
            for row in rows:
                self.add(row)

    @property
    def rows(self) -> array[int]:
        """The rows in order, the late ones merged."""
        if self._late:
            column, rows = self._times, self._rows
            first = bisect_left(rows, min(column[row] for row in self._late), key=column.__getitem__)
            moved = rows[first:].tolist() + self._late
            moved.sort(key=column.__getitem__)
            rows[first:] = array("I", moved)
            self._late = []
            self._moved = first if self._moved is None else min(first, self._moved)
        return self._rows

    def moved(self) -> int | None:
        """The first position whose row changed since this was last asked; None if rows were only appended."""
        _ = self.rows
        first, self._moved = self._moved, None
        return first

    def window(self, since: int | None, until: int | None) -> tuple[int, int]:
        """The half-open range of positions whose times lie in `[since, until)`."""
        rows, key = self.rows, self._times.__getitem__
        low = 0 if since is None else bisect_left(rows, since, key=key)
        high = len(rows) if until is None else bisect_left(rows, until, key=key)
        return low, max(low, high)
