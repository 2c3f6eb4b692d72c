"""Tables for notebooks: performances as a pandas, pyarrow or polars frame, through narwhals (extra `pandas`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from f1mon_core.errors import MissingExtraError
from f1mon_core.metrics.performance import Performance

Library: TypeAlias = Literal["pandas", "pyarrow", "polars"]


class Trend(list[Performance]):
    """Performances in order of time, one for each bucket; a list that can turn itself into a table."""

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
    try:
        import narwhals as nw  # noqa: PLC0415 - an extra

        schema: dict[str, Any] = {
            "since": nw.Datetime("us", "UTC"),
            "until": nw.Datetime("us", "UTC"),
            "model_version": nw.String,
            "total": nw.Int64,
            "labelled": nw.Int64,
        }
        names = list(dict.fromkeys(name for one in performances for name in one.metrics))
        for name in names:
            schema |= {name: nw.Float64, f"{name}_low": nw.Float64, f"{name}_high": nw.Float64}
            schema[f"{name}_reason"] = nw.String
        rows = [_row(one) for one in performances]
        columns = {column: [row.get(column) for row in rows] for column in schema}
        native = nw.from_dict(columns, schema, backend=library).to_native()
    except ImportError as error:
        raise MissingExtraError(
            f"tables need the extra `pandas` and {library}: pip install 'f1mon[pandas]' {library}"
        ) from error
    if library != "pandas":
        return native
    # numpy-backed floats mark what is missing as NaN; pandas' own Float64 has a null
    return native.astype({column: "Float64" for column, kind in schema.items() if kind is nw.Float64})


def _row(one: Performance) -> dict[str, Any]:
    row: dict[str, Any] = {
        "since": one.window.since,
        "until": one.window.until,
        "model_version": one.model_version,
        "total": one.total,
        "labelled": one.labelled,
    }
    for name, metric in one.metrics.items():
        row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        row[f"{name}_reason"] = metric.reason
    return row
