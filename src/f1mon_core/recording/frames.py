"""Facts from frames of pandas, polars and Arrow, through narwhals (extra `pandas`), a slice at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from f1mon_core.errors import InvalidRecordError, MissingExtraError
from f1mon_core.recording.given import LeftOut, numbered, outcome_of, prediction_of
from f1mon_core.recording.layout import Choice, Layout, layout
from f1mon_core.recording.rows import fact_of
from f1mon_core.records import fields
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.storage.tally import check_collection
from f1mon_core.text import closest

SLICE = 5_000
"""How many rows are in memory as Python's objects."""


def is_frame(given: Any) -> bool:
    """Whether this is a table with columns, or a column of one, and no iterable of records."""
    if isinstance(given, list | tuple | Iterator | Mapping):
        return False
    kind = type(given)
    return (
        hasattr(kind, "__arrow_c_stream__")
        or any(
            hasattr(kind, name)
            for name in ("__dataframe__", "__narwhals_dataframe__", "__narwhals_lazyframe__", "to_pandas")
        )
        or kind.__name__ in {"DataFrame", "LazyFrame", "Series"}
    )


def predictions_of(
    given: Any,
    columns: Mapping[str, Any] | None,
    groups: Mapping[str, Choice],
    constant: Mapping[str, Any],
    left_out: LeftOut,
) -> Iterable[Prediction]:
    """Predictions from a frame, or from records one by one."""
    if is_frame(given):
        return _facts(Prediction, given, columns, groups, constant, left_out)
    _no_options({"columns": columns, **groups, **constant})
    return numbered(prediction_of, given)


def outcomes_of(given: Any, columns: Mapping[str, Any] | None, left_out: LeftOut) -> Iterable[Outcome]:
    """Outcomes from a frame, or from records one by one."""
    if is_frame(given):
        return _facts(Outcome, given, columns, {}, {}, left_out)
    _no_options({"columns": columns})
    return numbered(outcome_of, given)


def columns_of(sample: Any, names: Collection[str] | None) -> dict[str, list[Any]]:
    """The columns of a table, each of JSON values as features hold them.

    Args:
        sample: A frame of pandas, polars or Arrow; a mapping of names to columns; or rows, each a mapping.
        names: Only these; None for all.

    Raises:
        InvalidRecordError: If it is none of these, or lacks a column that is named.
    """
    names = None if names is None else check_collection("features", names, "names")
    for name in names or ():
        if not isinstance(name, str):
            raise InvalidRecordError("features", name, "must be names")
    if names == []:
        raise InvalidRecordError("features", names, "must name at least one column")
    if is_frame(sample):
        frame = _opened(sample, "sample")
        found = {str(name): partial(_cells, frame, name, str(name)) for name in frame.columns}
    elif isinstance(sample, Mapping):
        found = {str(name): partial(_column, str(name), cells) for name, cells in sample.items()}
    else:
        rows = _row_mappings(sample)
        known = dict.fromkeys(str(name) for row in rows for name in row)
        found = {name: partial(_of_rows, rows, name) for name in known}
    for name in names or ():
        if name not in found:
            raise InvalidRecordError("features", name, f"must be a column of the sample{closest(name, found)}")
    wanted = found if names is None else dict.fromkeys(names)
    return {name: [_plain(cell, name) for cell in found[name]()] for name in wanted}


def _row_mappings(sample: Any) -> list[Mapping[str, Any]]:
    try:
        rows = list(sample)
    except TypeError:
        rows = [None]
    if not all(isinstance(row, Mapping) for row in rows):
        raise InvalidRecordError("sample", sample, "must be a frame, a mapping of columns, or rows that are mappings")
    return rows


def _column(name: str, cells: Any) -> list[Any]:
    if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
        raise InvalidRecordError(f"sample.{name}", cells, "must be a column of values")
    return list(cells)


def _of_rows(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row.get(name) for row in rows]


def _plain(cell: Any, name: str) -> Any:
    """A cell as a feature would hold it."""
    if cell is None or type(cell) in {int, float, str, bool}:
        return cell
    return fields.content({name: cell}, "sample")[name]


def _no_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidRecordError(name, value, "must be given with a frame only; records name their own fields")


def _facts(
    kind: Any,
    given: Any,
    columns: Mapping[str, Any] | None,
    groups: Mapping[str, Choice],
    constant: Mapping[str, Any],
    left_out: LeftOut,
) -> Iterator[Any]:
    frame = _opened(given)
    names = {str(name): name for name in frame.columns}
    found = layout(kind, list(names), columns=columns, groups=groups, given=constant)
    for begin in range(0, len(frame), SLICE):
        some = frame[begin : begin + SLICE]
        cells = [_cells(some, names[column], column) for column in found.columns]
        for number, row in enumerate(_rows(found.columns, cells, len(some)), begin):
            if (made := _made(row, found, left_out, number)) is not None:
                yield made


def _rows(columns: Sequence[str], cells: Sequence[Sequence[Any]], length: int) -> Iterator[dict[str, Any]]:
    if not columns:  # cannot be: every layout has an id
        return iter([{}] * length)
    return (dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True))


def _made(row: Mapping[str, Any], found: Layout, left_out: LeftOut, number: int) -> Fact | None:
    try:
        made = fact_of(row, found, left_out)
    except InvalidRecordError as error:
        column = found.column_of(error.field)
        error.where = f"row {number}" if column in {None, error.field} else f"row {number}, column {column!r}"
        raise
    return made


def _opened(given: Any, called: str = "records") -> Any:
    """The frame as narwhals has it. Raises `MissingExtraError`, or `InvalidRecordError` for what is none."""
    try:
        import narwhals as nw  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("frames need the extra `pandas`: pip install 'f1mon[pandas]'") from error
    if type(given).__name__ == "RecordBatch":
        import pyarrow as pa  # noqa: PLC0415 - whoever has a batch of it has it

        given = pa.Table.from_batches([given])
    try:
        frame = nw.from_native(given)
    except TypeError as error:
        reason = "must be a frame of pandas, polars or Arrow with a column for each field, or an iterable of records"
        raise InvalidRecordError(called, given, reason) from error
    except nw.exceptions.NarwhalsError as error:
        raise InvalidRecordError(called, given, f"must be a frame that can be read: {error}") from error
    if isinstance(frame, nw.LazyFrame):
        raise InvalidRecordError(called, given, "must be a frame that was computed: give .collect()")
    return frame


def _cells(frame: Any, name: Any, column: str) -> list[Any]:
    try:
        values: list[Any] = frame.get_column(name).to_list()
    except Exception as error:  # whatever the frame's library raises
        raise InvalidRecordError(f"column {column!r}", None, f"must be readable: {error}") from error
    return values
