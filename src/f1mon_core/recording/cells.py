"""What the cells of a file mean: labels, times, numbers, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.recording.files import Cells, Read
from f1mon_core.recording.layout import Layout
from f1mon_core.recording.rows import whole
from f1mon_core.records.copying import INT64_MAX, INT64_MIN
from f1mon_core.records.json_text import Json, decoded
from f1mon_core.records.times import EPOCH
from f1mon_core.records.values import is_missing

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "<NA>", "NaT", "null", "NULL"})
"""Texts that say there is no value."""
ISO = "iso"
_PER_SECOND = {"unix": 1, "unix-ms": 1_000, "unix-us": 1_000_000}
TIME_FORMATS = (ISO, *_PER_SECOND)
"""What `time_format` may be besides a format of `strptime`."""

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})").fullmatch
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?").fullmatch
_INFINITE = frozenset({"inf", "-inf", "+inf", "infinity", "-infinity"})
_FLAGS = {"True": 1, "False": 0, "true": 1, "false": 0}


@attrs.frozen(kw_only=True)
class Meaning:
    """How the cells of a file are read.

    Attributes:
        labels: What a label is called in the file -> the label; any other is refused. Empty for labels as they are.
        label_type: "int" or "text" for labels of one type; "auto" where whole numbers are int, and the others text.
        time_format: "iso", "unix", "unix-ms", "unix-us", or a format of `strptime`.
        time_zone: Of times that name none; None to refuse those.
        as_text: Columns whose cells stay text, also where they look like numbers.
        typed: Whether cells have types already: those of JSON and Parquet.
    """

    labels: Mapping[str, int | str] = attrs.field(factory=dict)
    label_type: Literal["auto", "int", "text"] = "auto"
    time_format: str = ISO
    time_zone: tzinfo | None = None
    as_text: frozenset[str] = frozenset()
    typed: bool = False

    def reader(self, layout: Layout) -> Callable[[Read], Cells]:
        """What reads the cells of a row in a file of this layout. It raises `InvalidRecordError`."""
        roles: dict[str, tuple[str, Callable[[Any, str], Any]]] = {}
        for group, chosen in layout.groups.items():
            for name, column in chosen.items():
                roles[column] = (f"{group}.{name}", self.free(column))
        for field, column in layout.fields.items():
            roles[column] = (field, self._role(field))
        for label, column in layout.probabilities.items():
            roles[column] = (f"probabilities[{label!r}]", self._number)

        def read(row: Read) -> Cells:
            given = row.cells or Cells()
            made = Cells(given)
            for column, (field, meaning) in roles.items():
                if column in given:
                    made[column] = meaning(given[column], field)
            return made

        return read

    def _role(self, field: str) -> Callable[[Any, str], Any]:
        if field in {"predicted_outcome", "actual_outcome"}:
            return self.label
        if field in {"at", "known_at"}:
            return self.instant
        if field in {"confidence", "probability"}:
            return self._number
        return self._object if field in {"features", "metadata", "segments"} else _text

    def label(self, value: Any, field: str) -> Any:
        """A label; None where there is none."""
        if is_missing(value) or (
            isinstance(value, str) and value.strip() in MISSING and value.strip() not in self.labels
        ):
            return None
        if self.labels:
            name = value.strip() if isinstance(value, str) else str(whole(value))
            if name not in self.labels:
                known = ", ".join(map(repr, list(self.labels)[:10]))
                raise InvalidRecordError(field, value, f"must be one of the labels that --label names: {known}")
            return self.labels[name]
        if self.label_type == "text":
            return value if isinstance(value, str) else str(whole(value))
        found = value if self.typed and self.label_type == "auto" else _label(value)
        if self.label_type == "int" and isinstance(found, str):
            raise InvalidRecordError(field, value, "must be a whole number, as --label-type int says")
        if isinstance(found, str) and not self.typed and _NUMBER(found.strip()):
            raise InvalidRecordError(
                field, value, "must be a class label: is this a score? Else give --label-type text"
            )
        return found

    def instant(self, value: Any, field: str) -> Any:
        """An aware datetime; None where there is none."""
        if is_missing(value) or (isinstance(value, str) and value.strip() in MISSING):
            return None
        made = value if isinstance(value, datetime) else self._parsed(value, field)
        if made.utcoffset() is not None:
            return made
        if self.time_zone is None:
            raise InvalidRecordError(field, value, "must be a time with a zone: give --time-zone for those without")
        local = made.replace(tzinfo=self.time_zone)
        if local.astimezone(UTC).astimezone(self.time_zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            raise InvalidRecordError(field, value, f"must be a time there is: clocks of {self.time_zone} left it out")
        return local

    def _parsed(self, value: Any, field: str) -> datetime:
        text = value.strip() if isinstance(value, str) else str(value)
        try:
            if (scale := _PER_SECOND.get(self.time_format)) is not None:
                return EPOCH + timedelta(microseconds=int(Decimal(text) * 1_000_000 / scale))
            if self.time_format != ISO:
                return datetime.strptime(text, self.time_format)  # noqa: DTZ007 - a zone is looked for afterwards
            if not _NUMBER(text):
                return datetime.fromisoformat(text)
        except (ValueError, ArithmeticError, OverflowError) as error:
            known = f"as --time-format {self.time_format} says" if self.time_format != ISO else "in ISO 8601"
            raise InvalidRecordError(field, value, f"must be a time {known}") from error
        raise InvalidRecordError(
            field, value, "must be a time in ISO 8601: for seconds since 1970 give --time-format unix"
        )

    def _number(self, value: Any, field: str) -> Any:
        if not isinstance(value, str):
            return value
        text = value.strip()
        if text in MISSING:
            return None
        if not _NUMBER(text):
            comma = " with a decimal point" if _NUMBER(text.replace(",", ".")) else ""
            raise InvalidRecordError(field, value, f"must be a number{comma}")
        return float(text)

    def free(self, column: str) -> Callable[[Any, str], Any]:
        """A feature, a segment, or something else that is kept as it is."""
        if self.typed:
            return lambda value, _: str(whole(value)) if column in self.as_text and not is_missing(value) else value
        as_text = column in self.as_text

        def read(value: Any, field: str) -> Any:  # noqa: ARG001 - one shape for all
            if value.strip() in MISSING:
                return None
            return value if as_text else _plain(value)

        return read

    def _object(self, value: Any, field: str) -> Any:
        if not isinstance(value, str) or self.typed:
            return value
        if value.strip() in MISSING:
            return None
        try:
            return decoded(value)
        except ValueError as error:
            raise InvalidRecordError(field, value, f"must be a JSON object: {error}") from error


def _text(value: Any, field: str) -> Any:  # noqa: ARG001 - one shape for all
    return None if isinstance(value, str) and value.strip() in MISSING else value


def _label(value: Any) -> Any:
    """Whole numbers, also as 1.0, and True and False as integers; anything else as it is."""
    if not isinstance(value, str):
        return whole(value)
    text = value.strip()
    if text in _FLAGS:
        return _FLAGS[text]
    if _INTEGER(text):
        return int(text)
    if (_NUMBER(text) and not text.startswith(("0", "+"))) or re.fullmatch(r"0\.0*", text):
        return whole(Decimal(text)) if Decimal(text) == Decimal(text).to_integral_value() else value
    return text


def _plain(text: str) -> Json:
    """The number a text spells, if it is how numbers are spelled: "007" and "+1" stay text; infinite ones are null."""
    bare = text.strip()
    if _INTEGER(bare):
        number = int(bare)
        return number if INT64_MIN <= number <= INT64_MAX else text
    if _NUMBER(bare) and not re.match(r"[+]|-?0[0-9]", bare):
        return float(bare)
    if bare.lower() in _INFINITE:
        return None
    return bare in {"True", "true"} if bare in _FLAGS else text
