"""What may enter a store. Each function returns the value as it will be stored, or raises `InvalidRecordError`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Real
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.records import json_text
from f1mon_core.records.json_text import canonical
from f1mon_core.records.times import EPOCH

Json: TypeAlias = json_text.Json
Document: TypeAlias = json_text.Document
ClassLabel: TypeAlias = int | str
"""What a classifier answers, and what truly happened; compared with its type."""
Segments: TypeAlias = dict[str, int | str]
"""What tells predictions apart besides their model: names to values."""

MAX_ID_CHARACTERS = 255
MAX_JSON_BYTES = 1 << 20
MAX_JSON_DEPTH = 64
MAX_SEGMENTS = 16
MAX_SEGMENT_NAME_CHARACTERS = 64
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

_surrogate = re.compile("[\ud800-\udfff]").search
_ESCAPED = 12
"""The most ASCII bytes one character takes in JSON: a surrogate pair of escapes."""
_NUMBER = 26
"""More ASCII bytes than any 64-bit number takes in JSON."""


def identifier(value: Any, field: str) -> str:
    """1 to 255 characters, no NUL, no lone surrogate."""
    if not isinstance(value, str):
        raise InvalidRecordError(field, value, "must be a str")
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise InvalidRecordError(field, value, f"must have 1 to {MAX_ID_CHARACTERS} characters")
    if not value.isascii() and _surrogate(value):
        raise InvalidRecordError(field, value, "must not hold a lone surrogate")
    if "\0" in value:
        raise InvalidRecordError(field, value, "must not hold a NUL character")
    return value if type(value) is str else str.__str__(value)  # what it holds, not what an Enum calls itself


def text(value: Any, field: str) -> str:
    """Any str without a lone surrogate that takes at most 1 MiB as JSON."""
    if not isinstance(value, str):
        raise InvalidRecordError(field, value, "must be a str")
    if not value.isascii() and _surrogate(value):
        raise InvalidRecordError(field, value, "must not hold a lone surrogate")
    if len(value) * _ESCAPED > MAX_JSON_BYTES and len(canonical(value)) > MAX_JSON_BYTES:
        raise InvalidRecordError(field, value, f"must take at most {MAX_JSON_BYTES} bytes as JSON")
    return value if type(value) is str else str.__str__(value)  # what it holds, not what an Enum calls itself


def integer(value: Any, field: str) -> int:
    """A 64-bit integer; bool is refused, integers of other libraries are converted."""
    if type(value) is not int:
        if is_bool(value):
            raise InvalidRecordError(field, value, "must be an int, not a bool")
        try:
            value = operator.index(value)
        except TypeError:
            raise InvalidRecordError(field, value, "must be an int") from None
    if not INT64_MIN <= value <= INT64_MAX:
        raise InvalidRecordError(field, value, "must fit in 64 bits")
    return int.__pos__(value)  # a plain one, whatever a subclass says of itself


def label(value: Any, field: str) -> int | str:
    """A class label: a 64-bit integer, or a text of 1 to 255 characters; a bool is kept as 0 or 1.

    Labels compare with their type: "1" is not 1. Scalars of other libraries become Python's.
    """
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    if isinstance(value, str):
        return identifier(value, field)
    if is_bool(value):
        return int(value)
    if isinstance(value, float | Decimal) or (isinstance(value, Real) and not hasattr(value, "__index__")):
        raise InvalidRecordError(field, value, "must be a class label, an int or a str: 1, not 1.0")
    if not hasattr(value, "__index__"):
        raise InvalidRecordError(field, value, "must be a class label, an int or a str")
    return integer(value, field)


def label_order(one: int | str) -> tuple[bool, int | str]:
    """What labels of both types are sorted by: integers first, each in its own order."""
    return isinstance(one, str), one


def segments(value: Any, field: str) -> Segments:
    """A fresh copy of segments: at most 16 names of 1 to 64 characters, each to a str, an int, or a bool as 0 or 1."""
    if not isinstance(value, dict | Mapping):
        raise InvalidRecordError(field, value, "must be a mapping of segment names to values")
    if len(value) > MAX_SEGMENTS:
        raise InvalidRecordError(field, value, f"must have at most {MAX_SEGMENTS} names")
    return {segment_name(name, field): segment_value(item, f"{field}.{name}") for name, item in value.items()}


def segment_name(name: Any, field: str) -> str:
    """The name of a segment: an identifier of at most 64 characters."""
    if not isinstance(name, str) or len(name) > MAX_SEGMENT_NAME_CHARACTERS:
        raise InvalidRecordError(field, name, f"must have names of 1 to {MAX_SEGMENT_NAME_CHARACTERS} characters")
    return identifier(name, field)


def segment_value(value: Any, field: str) -> int | str:
    """The value of a segment: a 64-bit int, or a text of at most 255 characters, the empty one too; bool is 0 or 1."""
    if isinstance(value, str):
        return identifier(value, field) if value else ""
    return int(value) if is_bool(value) else integer(value, field)


def is_bool(value: Any) -> bool:
    """Whether a value is a bool, numpy's too."""
    return isinstance(value, bool) or (
        type(value).__name__ in {"bool", "bool_"} and type(value).__module__.partition(".")[0] == "numpy"
    )


def count(value: Any, field: str) -> int:
    """An integer that is not negative."""
    if (converted := integer(value, field)) < 0:
        raise InvalidRecordError(field, value, "must not be negative")
    return converted


def number(value: Any, field: str) -> float:
    """A finite real number as a float; -0.0 becomes 0.0; bool and str are refused."""
    if type(value) is not float:
        if isinstance(value, bool) or type(value).__name__ == "bool_" or not isinstance(value, Real | Decimal):
            raise InvalidRecordError(field, value, "must be a number")
        try:
            given: Any = value
            value = float.__pos__(given) if isinstance(given, float) else float(given)
        except (OverflowError, ValueError):
            raise InvalidRecordError(field, value, "must fit in a 64-bit float") from None
    if not math.isfinite(value):
        raise InvalidRecordError(field, value, "must be finite")
    return float(value) + 0.0


def probability(value: Any, field: str) -> float:
    """A number in [0, 1]."""
    converted = number(value, field)
    if not 0.0 <= converted <= 1.0:
        raise InvalidRecordError(field, value, "must be in [0, 1]")
    return converted


def instant(given: Any, field: str) -> datetime:
    """An aware datetime from 1970 to 9999, in UTC."""
    if not isinstance(given, datetime):
        raise InvalidRecordError(field, given, "must be a datetime")
    value: datetime = given if type(given) is datetime else plain_instant(given, field)
    if value.tzinfo is not UTC:
        if value.utcoffset() is None:
            raise InvalidRecordError(field, value, "must be an aware datetime (give it a time zone)")
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise InvalidRecordError(field, value, "must lie in the years 1970 to 9999") from None
    if value < EPOCH:
        raise InvalidRecordError(field, value, "must lie in the years 1970 to 9999")
    return value


def plain_instant(given: datetime, field: str) -> datetime:
    """A datetime of a subclass as one of the standard library's; pandas' NaT, which is one too, is refused."""
    try:
        parts = (given.year, given.month, given.day, given.hour, given.minute, given.second, given.microsecond)
        return datetime(*parts, tzinfo=given.tzinfo, fold=given.fold)
    except (TypeError, ValueError):
        raise InvalidRecordError(field, given, "must be a datetime") from None


def flag(value: Any, field: str) -> bool:
    """A bool, numpy's converted; nothing that merely looks like one."""
    if isinstance(value, bool):
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}:
        return bool(value)
    raise InvalidRecordError(field, value, "must be a bool")


def json_object(value: Any, field: str) -> Document:
    """A fresh copy of a JSON object: finite numbers, 64-bit ints, str keys, depth ≤ 64, ≤ 1 MiB encoded."""
    if not isinstance(value, dict | Mapping):  # a dict is told apart in a tenth of the time
        raise InvalidRecordError(field, value, "must be a mapping with str keys")
    return cast("Document", json_value(value, field))


def json_array(value: Any, field: str) -> list[Json]:
    """A fresh copy of a JSON array, under the limits of `json_object`."""
    if not isinstance(value, list | tuple):
        raise InvalidRecordError(field, value, "must be a list")
    return cast("list[Json]", json_value(value, field))


def json_value(value: Any, field: str) -> Json:
    """A fresh copy of any JSON value, under the limits of `json_object`."""
    copied, size = _copied(value, field, 1)
    if size > MAX_JSON_BYTES and len(canonical(copied)) > MAX_JSON_BYTES:
        raise InvalidRecordError(field, value, f"must take at most {MAX_JSON_BYTES} bytes as JSON")
    return copied


def _copied(value: Any, field: str, depth: int) -> tuple[Json, int]:  # noqa: PLR0911 - one for each JSON type
    """A normalised copy of `value` and an upper bound of its encoded size in bytes."""
    if value is None or isinstance(value, bool):
        return value, 5
    if isinstance(value, str):
        return text(value, field), 2 + _ESCAPED * len(value)
    if isinstance(value, float):
        return number(value, field), _NUMBER
    if isinstance(value, int):
        return integer(value, field), _NUMBER
    if isinstance(value, dict | Mapping):
        return _copied_object(value, field, depth)
    if isinstance(value, list | tuple):
        return _copied_array(value, field, depth)
    if hasattr(value, "__index__"):
        return integer(value, field), _NUMBER
    if isinstance(value, Real):
        return number(value, field), _NUMBER
    raise InvalidRecordError(field, value, "must hold JSON values only (None, bool, int, float, str, list, dict)")


def _copied_object(value: Mapping[Any, Any], field: str, depth: int) -> tuple[Json, int]:
    if depth > MAX_JSON_DEPTH:
        raise InvalidRecordError(field, value, f"must be nested at most {MAX_JSON_DEPTH} deep")
    copied: dict[str, Json] = {}
    size = 2
    for name, item in value.items():
        if not isinstance(name, str):
            raise InvalidRecordError(field, name, "must have str keys")
        key = text(name, field)
        if type(item) is float and math.isfinite(item):  # by far the most common feature, so no further calls
            copied[key] = item + 0.0
            size += _NUMBER
        else:
            copied[key], item_size = _copied(item, field, depth + 1)
            size += item_size
        size += 4 + _ESCAPED * len(key)
    return copied, size


def _copied_array(value: list[Any] | tuple[Any, ...], field: str, depth: int) -> tuple[Json, int]:
    if depth > MAX_JSON_DEPTH:
        raise InvalidRecordError(field, value, f"must be nested at most {MAX_JSON_DEPTH} deep")
    copied: list[Json] = []
    size = 2
    for item in value:
        inner, item_size = _copied(item, field, depth + 1)
        copied.append(inner)
        size += item_size + 1
    return copied, size


SEVERITIES = ("info", "warning", "critical")
"""Alert severities, lowest first."""


def severity(value: Any, field: str) -> str:
    """One of `SEVERITIES`."""
    if not isinstance(value, str) or value not in SEVERITIES:
        raise InvalidRecordError(field, value, f"must be one of {', '.join(SEVERITIES)}")
    return value if type(value) is str else str.__str__(value)  # what it holds, not what an Enum calls itself


def ordinal(value: Any, field: str) -> int:
    """A 64-bit integer of at least 1."""
    if (converted := integer(value, field)) < 1:
        raise InvalidRecordError(field, value, "must be at least 1")
    return converted


# The type of a field says how it is checked and normalised when a record is made.
Id: TypeAlias = Annotated[str, identifier]

Text: TypeAlias = Annotated[str, text]

Severity: TypeAlias = Annotated[str, severity]

Label: TypeAlias = Annotated[int | str, label]

Segmented: TypeAlias = Annotated[Segments, segments]

Count: TypeAlias = Annotated[int, count]

Ordinal: TypeAlias = Annotated[int, ordinal]

Number: TypeAlias = Annotated[float, number]

Probability: TypeAlias = Annotated[float, probability]

Flag: TypeAlias = Annotated[bool, flag]

Instant: TypeAlias = Annotated[datetime, instant]

Object: TypeAlias = Annotated[Document, json_object]

Array: TypeAlias = Annotated[list[Json], json_array]


class FieldCheck(NamedTuple):
    """How one field of a record is checked: `check(value, name)` answers what is kept, or refuses."""

    name: str
    check: Callable[[Any, str], Any]
    optional: bool


_checks: dict[type[attrs.AttrsInstance], tuple[FieldCheck, ...]] = {}


def checks(record: type[attrs.AttrsInstance]) -> tuple[FieldCheck, ...]:
    """The checks that an attrs class's field types declare, in the order of its fields; worked out once."""
    if (known := _checks.get(record)) is not None:
        return known
    hints = get_type_hints(record, include_extras=True)
    found = []
    for field in attrs.fields(record):
        hint = hints[field.name]
        alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        declared = next(one for one in alternatives if get_origin(one) is Annotated)
        found.append(FieldCheck(field.name, declared.__metadata__[0], type(None) in alternatives))
    _checks[record] = tuple(found)
    return _checks[record]
