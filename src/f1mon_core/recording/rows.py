"""Facts from the rows of a table, whose cells have types: those of a frame, of Parquet, of JSON lines.

What tables do to values is undone here, and nowhere else: ids and labels that are whole floats because their column has
gaps are integers, an id that is a number is its text, and a missing segment is one without the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, TypeAlias
from uuid import UUID

from f1mon_core.errors import InvalidRecordError
from f1mon_core.recording.chances import Chance
from f1mon_core.recording.given import LeftOut
from f1mon_core.recording.layout import Layout
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.records.values import is_missing

Row: TypeAlias = Mapping[str, Any]
"""Column to cell."""


def whole(value: Any) -> Any:
    """An int for a number without a fraction; anything else as it is."""
    if type(value) is int or isinstance(value, str | bool):
        return value
    if isinstance(value, Real | Decimal) and not hasattr(value, "__index__"):
        try:
            number = value if isinstance(value, Decimal) else float(value)
            return int(number) if number == int(number) else value
        except (ArithmeticError, TypeError, ValueError):  # infinite, or no number
            return value
    return value


def identity(value: Any) -> Any:
    """An id as text: of a table's id that is a number, its digits."""
    if type(value) is str:
        return value
    number = whole(value)
    if isinstance(number, UUID):
        return str(number)
    if isinstance(number, Integral) and not isinstance(number, bool):
        return str(number)
    return value


def fact_of(row: Row, layout: Layout, left_out: LeftOut) -> Prediction | Outcome | None:
    """The fact of a row; None for an outcome without a label, which is skipped and counted.

    Args:
        row: Its cells by column.
        layout: Which column is what.
        left_out: Counts what is missing.

    Raises:
        InvalidRecordError: If a cell is refused.
    """
    try:
        made = outcome_row(row, layout, left_out) if layout.kind is Outcome else prediction_row(row, layout, left_out)
    except InvalidRecordError:
        raise
    except Exception as error:
        reason = f"must hold values that can be read (the own code of one raised {type(error).__name__})"
        raise InvalidRecordError("row", None, reason) from error
    return None if made is None else layout.kind(**made)


def outcome_row(row: Row, layout: Layout, left_out: LeftOut) -> dict[str, Any] | None:
    """The fields of an outcome; None for one without a label."""
    fields = layout.fields
    actual = layout.given.get("actual_outcome") if "actual_outcome" not in fields else row[fields["actual_outcome"]]
    if is_missing(actual):
        left_out.skipped += 1
        return None
    made = {"prediction_id": identity(row[fields["prediction_id"]]), "actual_outcome": whole(actual)}
    if "known_at" in fields:
        made["at"] = _time(row[fields["known_at"]], "known_at", made["prediction_id"], "outcome")
    elif "known_at" in layout.given:
        made["at"] = layout.given["known_at"]
    return made


def prediction_row(row: Row, layout: Layout, left_out: LeftOut) -> dict[str, Any]:
    """The fields of a prediction."""
    fields, given = layout.fields, layout.given
    made: dict[str, Any] = {
        name: row[fields[name]] if name in fields else given.get(name)
        for name in ("prediction_id", "model_version", "predicted_outcome", "confidence")
    }
    made["prediction_id"] = identity(made["prediction_id"])
    made["model_version"] = identity(made["model_version"])
    made["predicted_outcome"] = whole(made["predicted_outcome"])
    if layout.probabilities or "probability" in fields:
        chance = Chance(
            probability=row[fields["probability"]] if "probability" in fields else None,
            probabilities={label: row[column] for label, column in layout.probabilities.items()} or None,
            positive=given.get("positive"),
        )
        made["confidence"] = chance.of(made["prediction_id"], made["predicted_outcome"])
    if "at" in fields:
        made["at"] = _time(row[fields["at"]], "at", made["prediction_id"], "prediction")
    for group in ("features", "metadata", "segments"):
        if chosen := layout.groups.get(group):
            made[group] = {name: row[column] for name, column in chosen.items() if column in row}
            if group == layout.rest:  # of rows that name their own columns, also what the first ones did not have
                made[group] |= {name: value for name, value in row.items() if name not in layout.known}
        elif group in fields and not is_missing(row[fields[group]]):
            made[group] = row[fields[group]]
    if isinstance(segments := made.get("segments"), Mapping):
        made["segments"] = {name: whole(value) for name, value in segments.items() if not is_missing(value)}
        left_out.nulled += len(segments) - len(made["segments"])
    return made


def _time(value: Any, field: str, prediction_id: Any, kind: str) -> Any:
    if is_missing(value):
        record = f"{kind} {prediction_id[:80]!r}" if isinstance(prediction_id, str) else None
        reason = "must be a time in every row, and is missing: leave out the row, or the column for the store's clock"
        raise InvalidRecordError(field, value, reason, record=record)
    return value
