"""Facts as they are listed: lists that can turn themselves into tables (extra `pandas`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast

import attrs

from f1mon_core.errors import MissingExtraError
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Cursor, Outcome, Prediction
from f1mon_core.text import html_table

T = TypeVar("T")

Library: TypeAlias = Literal["pandas", "pyarrow", "polars"]


@attrs.frozen
class LabelledPrediction:
    """A prediction and the outcome that is current for it.

    Attributes:
        outcome: None where none is known.
    """

    prediction: Prediction
    outcome: Outcome | None

    @property
    def actual_outcome(self) -> ClassLabel | None:
        """What truly happened; None where it is not known."""
        return None if self.outcome is None else self.outcome.actual_outcome

    @property
    def known_at(self) -> datetime | None:
        """When the world knew it."""
        return None if self.outcome is None else self.outcome.known_at

    @property
    def correct(self) -> bool | None:
        """Whether it came as predicted; None where it is not known. "1" is not 1."""
        actual, predicted = self.actual_outcome, self.prediction.predicted_outcome
        return None if actual is None else type(actual) is type(predicted) and actual == predicted

    @property
    def cursor(self) -> Cursor:
        """The place of the prediction in a listing, for `after`."""
        return self.prediction.cursor

    def to_dict(self) -> Document:
        """As a JSON object; times in ISO 8601."""
        one = self.prediction
        return {
            "prediction_id": one.prediction_id,
            "model_version": one.model_version,
            "predicted_outcome": one.predicted_outcome,
            "confidence": one.confidence,
            "at": one.instant.isoformat(),
            "actual_outcome": self.actual_outcome,
            "known_at": None if self.known_at is None else self.known_at.isoformat(),
            "correct": self.correct,
            "features": one.features,
            "metadata": one.metadata,
            "segments": dict(one.segments),
        }


class _Tabular:
    """What a list of facts adds to a list."""

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, one row for each; see `to_frame`."""
        return self.to_frame("pandas")

    def to_arrow(self) -> Any:
        """A pyarrow.Table, one row for each; see `to_frame`."""
        return self.to_frame("pyarrow")

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each."""
        raise NotImplementedError


class Predictions(list[Prediction], _Tabular):
    """Predictions in order of time; a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each; what is missing is null.

        Columns: the fields, times in UTC, and one column for each name in them: `features.<name>`, `metadata.<name>`,
        `segments.<name>`. Values of several types, and lists and objects, are there as JSON text.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return _frame(list(self), _PREDICTION, list(self), library)


class Outcomes(list[Outcome], _Tabular):
    """Outcomes in order of known_at; a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library with `prediction_id`, `actual_outcome`, `known_at` and `recorded_at`.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return _frame(list(self), _OUTCOME, [], library)


class LabelledPredictions(list[LabelledPrediction], _Tabular):
    """Predictions with their current outcomes, in order of time; a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table as that of `Predictions`, with `actual_outcome`, `known_at` and `correct`.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return _frame(list(self), _LABELLED, [one.prediction for one in self], library)


class Listed(list[T], _Tabular):
    """What a question found, in its order: a list that can turn itself into a table."""

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each, one column for each of its fields; what is missing is null.

        Times are in UTC, lengths of time in seconds, objects and lists JSON text.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        cells = {name: [getattr(one, name) for one in self] for name in self._columns()}
        return frame_of({name: _typed(column) for name, column in cells.items()}, library)

    def _columns(self) -> list[str]:
        return [one.name for one in attrs.fields(cast("Any", type(self[0]))) if one.name != "at_given"] if self else []

    def __str__(self) -> str:
        what = type(self[0]).__name__ if self else "nothing found"
        times = sorted(at for one in self if (at := getattr(one, "at", None)) is not None)
        span = f", {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC" if times else ""
        return f"{len(self)} {what}{span}" if self else what

    def _repr_html_(self) -> str:
        """What stands in single fields; objects are in the frame."""
        some = self[:_SHOWN]
        cells = {name: [getattr(one, name) for one in some] for name in self._columns() if name != "recorded_at"}
        plain = {name: column for name, column in cells.items() if not any(map(_is_nested, column))}
        rows = [[_cell(column[place]) for column in plain.values()] for place in range(len(some))]
        notes = ["Times are UTC.", *([f"{_SHOWN} of {len(self)}: to_frame() has them all."] * (len(self) > _SHOWN))]
        return html_table(str(self), list(plain), rows, notes)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset) or attrs.has(type(value))


def _cell(value: Any) -> Any:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def _typed(cells: Sequence[Any]) -> tuple[str, list[Any]]:
    """A column of any attribute with its kind."""
    found = {type(cell) for cell in cells if cell is not None}
    if found == {datetime}:
        return _TIME, list(cells)
    if found == {timedelta}:
        return _NUMBER, [None if cell is None else cell.total_seconds() for cell in cells]
    return _ANY, [_json(cell) for cell in cells]


def _json(value: Any) -> Any:
    """A value of an attribute as JSON."""
    if attrs.has(type(value)):
        return attrs.asdict(value, value_serializer=lambda _one, _field, inner: _json(inner))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): _json(inner) for name, inner in value.items()}
    return [_json(inner) for inner in value] if isinstance(value, list | tuple | set | frozenset) else value


_SHOWN = 200
_TIME, _TEXT, _NUMBER, _FLAG, _ANY = "time", "text", "number", "flag", "any"
_Columns: TypeAlias = Mapping[str, tuple[str, Callable[[Any], Any]]]
_PREDICTION: _Columns = {
    "prediction_id": (_TEXT, lambda one: one.prediction_id),
    "model_version": (_TEXT, lambda one: one.model_version),
    "predicted_outcome": (_ANY, lambda one: one.predicted_outcome),
    "confidence": (_NUMBER, lambda one: one.confidence),
    "at": (_TIME, lambda one: one.at),
    "recorded_at": (_TIME, lambda one: one.recorded_at),
}
_OUTCOME: _Columns = {
    "prediction_id": (_TEXT, lambda one: one.prediction_id),
    "actual_outcome": (_ANY, lambda one: one.actual_outcome),
    "known_at": (_TIME, lambda one: one.at),
    "recorded_at": (_TIME, lambda one: one.recorded_at),
}
_LABELLED: _Columns = {
    "prediction_id": (_TEXT, lambda one: one.prediction.prediction_id),
    "model_version": (_TEXT, lambda one: one.prediction.model_version),
    "predicted_outcome": (_ANY, lambda one: one.prediction.predicted_outcome),
    "confidence": (_NUMBER, lambda one: one.prediction.confidence),
    "at": (_TIME, lambda one: one.prediction.at),
    "actual_outcome": (_ANY, lambda one: one.actual_outcome),
    "known_at": (_TIME, lambda one: one.known_at),
    "correct": (_FLAG, lambda one: one.correct),
}


def _frame(rows: Sequence[Any], known: _Columns, predictions: Sequence[Prediction], library: Library) -> Any:
    columns = {name: (kind, [read(row) for row in rows]) for name, (kind, read) in known.items()}
    for group in ("features", "metadata", "segments"):
        contents = [getattr(one, group) for one in predictions]
        for name in dict.fromkeys(name for content in contents for name in content):
            columns[f"{group}.{name}"] = (_ANY, [content.get(name) for content in contents])
    return frame_of(columns, library)


def frame_of(columns: Mapping[str, tuple[str, Sequence[Any]]], library: Library) -> Any:
    """A table of columns, each of a kind and with its cells; what is missing is null, never NaN.

    Raises:
        MissingExtraError: If narwhals or the library is not installed.
    """
    try:
        import narwhals as nw  # noqa: PLC0415 - an extra

        types: dict[str, Any] = {
            _TIME: nw.Datetime("us", "UTC"),
            _TEXT: nw.String,
            _NUMBER: nw.Float64,
            _FLAG: nw.Boolean,
            "integer": nw.Int64,
        }
        kinds = {name: _kind_of(cells) if kind is _ANY else kind for name, (kind, cells) in columns.items()}
        filled = {name: _spelled(cells) if kinds[name] == _ANY else list(cells) for name, (_, cells) in columns.items()}
        kinds = {name: _TEXT if kind == _ANY else kind for name, kind in kinds.items()}
        for name in (name for name, kind in kinds.items() if kind == _NUMBER):
            filled[name] = [None if cell is None else float(cell) for cell in filled[name]]
        if library == "pandas":
            return _pandas(filled, kinds)
        schema = {name: types[kind] for name, kind in kinds.items()}
        return nw.from_dict(filled, schema, backend=library).to_native()
    except ImportError as error:
        raise MissingExtraError(
            f"tables need the extra `pandas` and {library}: pip install 'f1mon[pandas]' {library}"
        ) from error


def _pandas(filled: Mapping[str, list[Any]], kinds: Mapping[str, str]) -> Any:
    """With pandas' own nullable types: numpy-backed floats mark what is missing as NaN, and integers cannot."""
    import pandas as pd  # noqa: PLC0415 - an extra

    types = {_TEXT: "string", _NUMBER: "Float64", _FLAG: "boolean", "integer": "Int64", _TIME: "datetime64[us, UTC]"}
    return pd.DataFrame({name: pd.Series(cells, dtype=types[kinds[name]]) for name, cells in filled.items()})


def _kind_of(cells: Sequence[Any]) -> str:
    """The one type of a column's cells; "any" where they have several, or hold lists and objects."""
    found = {type(cell) for cell in cells if cell is not None}
    if found <= {str}:
        return _TEXT
    if found == {bool}:
        return _FLAG
    if found == {int}:
        return "integer"
    return _NUMBER if found <= {int, float} else _ANY


def _spelled(cells: Sequence[Any]) -> list[str | None]:
    return [None if cell is None else canonical(cell) for cell in cells]
