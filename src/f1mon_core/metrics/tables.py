"""Tables for notebooks: performances as a pandas, pyarrow or polars frame, through narwhals (extra `pandas`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from f1mon_core.metrics import shown
from f1mon_core.metrics.performance import Performance
from f1mon_core.metrics.slices import Group
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.text import html_table, printable, told_segments


class Tabular(Protocol):
    """What a slice can come to: anything with the columns of a table."""

    def columns(self) -> dict[str, tuple[str, list[Any]]]:
        """The name of each column to its kind and its cells."""
        ...


T = TypeVar("T", bound=Tabular)


class Trend(list[Performance]):
    """Performances in order of time, one for each bucket; a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each performance; see `to_frame` of this module."""
        return to_frame(self, library)

    def columns(self) -> dict[str, tuple[str, list[Any]]]:
        """The columns of its table: the name of each to its kind and its cells."""
        return shown.performances_columns(self)

    def __str__(self) -> str:
        return shown.trend_line(self)

    def _repr_html_(self) -> str:
        return shown.trend_html(self)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, one row for each performance; see `to_frame`."""
        return to_frame(self, "pandas")

    def to_arrow(self) -> Any:
        """A pyarrow.Table, one row for each performance; see `to_frame`."""
        return to_frame(self, "pyarrow")


class Grouped(dict[Group, T]):
    """What each slice of a window came to; a dict that can say itself and turn itself into one table.

    Attributes:
        by: The names of the segments that its keys are values of.
    """

    def __init__(self, by: Sequence[str], found: Mapping[Group, T]) -> None:
        """Hold what was found, in its order."""
        super().__init__(found)
        self.by = tuple(by)

    def named(self, group: Group) -> Document:
        """The values of a group under the names of their segments."""
        return dict(zip(self.by, group if isinstance(group, tuple) else (group,), strict=True))

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library: the tables of all slices, one below the other, with a column for each segment.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        parts = [(group, one.columns()) for group, one in self.items()]
        names = dict.fromkeys((name, kind) for _, part in parts for name, (kind, _) in part.items())
        lengths = [len(next(iter(part.values()))[1]) for _, part in parts]
        columns: dict[str, tuple[str, list[Any]]] = {}
        for name in self.by:
            told = ([self.named(group).get(name)] * length for (group, _), length in zip(parts, lengths, strict=True))
            columns[f"segments.{name}"] = ("any", [one for many in told for one in many])
        for name, kind in names:
            columns[name] = (kind, [cell for _, part in parts for cell in part[name][1]])
        return frame_of(columns, library)

    def __str__(self) -> str:
        return printable(f"{len(self)} slices by {' and '.join(self.by)}")

    def _repr_html_(self) -> str:
        rows = [(told_segments(self.named(group)), str(one)) for group, one in list(self.items())[: shown.ROWS]]
        notes = [f"{shown.ROWS} of {len(self)}: to_frame() has them all."] if len(self) > shown.ROWS else []
        return html_table(str(self), ("segment", "what it came to"), rows, notes)


def to_frame(performances: Sequence[Performance], library: Library = "pandas") -> Any:
    """A table with one row for each performance; what is undefined is null, never NaN.

    Columns: `since`, `until` (UTC), `model_version`, `total`, `labelled`, and for each metric `<name>`, `<name>_low`,
    `<name>_high` (64-bit floats) and `<name>_reason` (text).

    Raises:
        MissingExtraError: If narwhals or the library is not installed.
    """
    return frame_of(shown.performances_columns(performances), library)
