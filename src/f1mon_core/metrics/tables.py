"""Tables for notebooks: performances as a pandas, pyarrow or polars frame, through narwhals (extra `pandas`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from f1mon_core.metrics import shown
from f1mon_core.metrics.performance import Performance
from f1mon_core.recording.lists import Library, frame_of


class Trend(list[Performance]):
    """Performances in order of time, one for each bucket; a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each performance; see `to_frame` of this module."""
        return to_frame(self, library)

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


def to_frame(performances: Sequence[Performance], library: Library = "pandas") -> Any:
    """A table with one row for each performance; what is undefined is null, never NaN.

    Columns: `since`, `until` (UTC), `model_version`, `total`, `labelled`, and for each metric `<name>`, `<name>_low`,
    `<name>_high` (64-bit floats) and `<name>_reason` (text).

    Raises:
        MissingExtraError: If narwhals or the library is not installed.
    """
    return frame_of(shown.performances_columns(performances), library)
