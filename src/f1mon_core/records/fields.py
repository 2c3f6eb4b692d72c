"""What may enter a store. Each function returns the value as it will be stored, or raises `InvalidRecordError`."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from numbers import Real
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.records import copying, json_text
from f1mon_core.records.copying import ESCAPED, Foreign, Unkept, copied, path_of, step, surrogate
from f1mon_core.records.json_text import canonical
from f1mon_core.records.times import EPOCH
from f1mon_core.records.values import is_missing, nearer, plain_datetime

Json: TypeAlias = json_text.Json
Document: TypeAlias = json_text.Document
ClassLabel: TypeAlias = int | str
"""What a classifier answers, and what truly happened; compared with its type."""
Segments: TypeAlias = dict[str, int | str]
"""What tells predictions apart besides their model: names to values."""

MAX_ID_CHARACTERS = 255
MAX_JSON_BYTES, MAX_JSON_DEPTH = copying.MAX_JSON_BYTES, copying.MAX_JSON_DEPTH
INT64_MIN, INT64_MAX = copying.INT64_MIN, copying.INT64_MAX
MAX_SEGMENTS = 16
MAX_SEGMENT_NAME_CHARACTERS = 64

_NEAR = 2.0**-20
"""How far float32 rounding may leave a probability beyond its ends: eight of its steps at 1."""


def identifier(value: Any, field: str) -> str:
    """1 to 255 characters, no NUL, no lone surrogate."""
    if not isinstance(value, str):
        raise InvalidRecordError(field, value, _not_text(value))
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise InvalidRecordError(field, value, f"must have 1 to {MAX_ID_CHARACTERS} characters")
    if not value.isascii() and surrogate(value):
        raise InvalidRecordError(field, value, "must not hold a lone surrogate")
    if "\0" in value:
        raise InvalidRecordError(field, value, "must not hold a NUL character")
    return value if type(value) is str else str.__str__(value)  # what it holds, not what an Enum calls itself


def _not_text(value: Any) -> str:
    """What to say of what is no str."""
    if is_missing(value):
        return "must be a str, and is missing"
    if isinstance(value, bytes):
        return "must be a str: decode it"
    return f"must be a str: give str({type(value).__name__.lower()})" if _is_simple(value) else "must be a str"


def _is_simple(value: Any) -> bool:
    return isinstance(value, int | UUID) and not isinstance(value, bool)


def text(value: Any, field: str) -> str:
    """Any str without a lone surrogate that takes at most 1 MiB as JSON."""
    if not isinstance(value, str):
        raise InvalidRecordError(field, value, "must be a str")
    if not value.isascii() and surrogate(value):
        raise InvalidRecordError(field, value, "must not hold a lone surrogate")
    if len(value) * ESCAPED > MAX_JSON_BYTES and len(canonical(value)) > MAX_JSON_BYTES:
        raise InvalidRecordError(field, value, f"must take at most {MAX_JSON_BYTES} bytes as JSON")
    return value if type(value) is str else str.__str__(value)  # what it holds, not what an Enum calls itself


def integer(value: Any, field: str) -> int:
    """A 64-bit integer; bool is refused, integers of other libraries are converted."""
    if type(value) is not int:
        if is_bool(value):
            raise InvalidRecordError(field, value, "must be an int, not a bool")
        try:
            value = operator.index(value)
        except Exception as error:  # its own code; TypeError for what is none
            raise InvalidRecordError(field, value, "must be an int") from error
    if not INT64_MIN <= value <= INT64_MAX:
        raise InvalidRecordError(field, value, "must fit in 64 bits")
    return int.__pos__(value)  # a plain one, whatever a subclass says of itself


def label(value: Any, field: str) -> int | str:
    """A class label: a 64-bit integer, or a text of 1 to 255 characters; a bool is kept as 0 or 1.

    Labels compare with their type: "1" is not 1. Scalars of other libraries become Python's, an Enum its value.
    """
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    if isinstance(value, Enum):
        return label(value.value, field)
    if isinstance(value, str):
        return identifier(value, field)
    if is_bool(value):
        return int(value)
    if isinstance(value, float | Decimal) or (isinstance(value, Real) and not hasattr(value, "__index__")):
        raise InvalidRecordError(field, value, _LABEL + _floating(value))
    if not hasattr(value, "__index__"):
        raise InvalidRecordError(field, value, _LABEL + (", and is missing" if is_missing(value) else ""))
    return integer(value, field)


_LABEL = "must be a class label, an int or a str"


def _floating(value: Any) -> str:
    """What to do about a label that is a float: where a pandas column has gaps, every label in it is one."""
    if is_missing(value):
        return ", and is missing: leave it out until it is known"
    with suppress(ArithmeticError, TypeError, ValueError):  # infinite, or no number after all
        if value == (whole := int(value)):
            return (
                f": {whole}, not {float(value)} (give int(label), or a whole frame, in which whole numbers are labels)"
            )
    return ": is this a score? It belongs into confidence or probability"


def label_order(one: int | str) -> tuple[bool, int | str]:
    """What labels of both types are sorted by: integers first, each in its own order."""
    return isinstance(one, str), one


def segments(value: Any, field: str) -> Segments:
    """A fresh copy of segments: at most 16 names of 1 to 64 characters, each to a str, an int, or a bool as 0 or 1."""
    if not isinstance(value, dict | Mapping):
        raise InvalidRecordError(field, value, "must be a mapping of segment names to values")
    if len(value) > MAX_SEGMENTS:
        raise InvalidRecordError(field, value, f"must have at most {MAX_SEGMENTS} names")
    return {segment_name(name, field): segment_value(item, f"{field}{step(name)}") for name, item in value.items()}


def segment_name(name: Any, field: str) -> str:
    """The name of a segment: an identifier of at most 64 characters."""
    if not isinstance(name, str) or len(name) > MAX_SEGMENT_NAME_CHARACTERS:
        raise InvalidRecordError(field, name, f"must have names of 1 to {MAX_SEGMENT_NAME_CHARACTERS} characters")
    return identifier(name, field)


def segment_value(value: Any, field: str) -> int | str:
    """The value of a segment: a 64-bit int, or a text of at most 255 characters, the empty one too; bool is 0 or 1."""
    if isinstance(value, Enum):
        return segment_value(value.value, field)
    if isinstance(value, str):
        return identifier(value, field) if value else ""
    if is_bool(value):
        return int(value)
    if not hasattr(value, "__index__"):
        why = ", or be left out where there is none" if is_missing(value) else _binned(value)
        raise InvalidRecordError(field, value, f"must be an int or a str{why}")
    return integer(value, field)


def _binned(value: Any) -> str:
    return ": give it a range, as in '10-20'" if isinstance(value, float | Decimal) else ""


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
            raise InvalidRecordError(field, value, "must be a number" + _number_of(value))
        try:
            given: Any = value
            value = float.__pos__(given) if isinstance(given, float) else float(given)
        except TypeError:
            raise InvalidRecordError(field, value, "must be a number") from None
        except (OverflowError, ValueError):
            raise InvalidRecordError(field, value, "must fit in a 64-bit float") from None
    if not math.isfinite(value):
        raise InvalidRecordError(field, value, "must be finite" + (", and is missing" if math.isnan(value) else ""))
    return float(value) + 0.0


def _number_of(value: Any) -> str:
    if is_missing(value):
        return ", and is missing"
    if isinstance(value, str):
        return ", not text: give float(…)"
    return ": give .item()" if hasattr(value, "item") and not isinstance(value, bool) else ""


def probability(value: Any, field: str) -> float:
    """A number in [0, 1]; what float32 rounding leaves beyond an end, as in 1.0000001, is that end."""
    converted = number(value, field)
    if 0.0 <= converted <= 1.0:
        return converted
    if -_NEAR <= converted <= 1.0 + _NEAR and converted == struct.unpack("f", struct.pack("f", converted))[0]:
        return min(1.0, max(0.0, converted))
    percent = 1.0 < converted <= 100.0 and converted > 1.0 + _NEAR  # noqa: PLR2004 - a hundred percent
    raise InvalidRecordError(field, value, "must be in [0, 1]" + (": divide a percentage by 100" if percent else ""))


def instant(given: Any, field: str) -> datetime:
    """An aware datetime from 1970 to 9999, in UTC, cut to microseconds; a plain one, whatever subclass was given."""
    if not isinstance(given, datetime):
        raise InvalidRecordError(field, given, _not_an_instant(given))
    value: datetime = given
    if type(value) is not datetime:
        if is_missing(value):
            raise InvalidRecordError(field, value, "must be a datetime, and is missing")
        value = plain_datetime(value)
    if value.tzinfo is not UTC:
        if value.utcoffset() is None:
            reason = "must be an aware datetime: give it a time zone, as in .replace(tzinfo=UTC)"
            raise InvalidRecordError(field, given, reason)
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise InvalidRecordError(field, given, "must lie in the years 1970 to 9999") from None
    if value < EPOCH:
        raise InvalidRecordError(field, given, "must lie in the years 1970 to 9999")
    return value


def _not_an_instant(given: Any) -> str:
    """What to say of what is no datetime."""
    if is_missing(given):
        return "must be a datetime, and is missing"
    if isinstance(given, str):
        return "must be a datetime, not text: give datetime.fromisoformat(…), with a time zone"
    if isinstance(given, int | float) and not isinstance(given, bool):
        return "must be a datetime: give datetime.fromtimestamp(seconds, UTC)"
    return "must be a datetime with a time zone"


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
    return _copied(value, field, None)


def content(value: Any, field: str) -> Document:
    """A JSON object of what people keep with a fact, under the limits of `json_object`; see `values` for the forms.

    What is no number or no value (NaN, ±inf, `pandas.NA`, `NaT`) becomes null; what cannot be kept is refused by its
    path, as in `features.grid[3]`.
    """
    if not isinstance(value, dict | Mapping):
        raise InvalidRecordError(field, value, 'must be a mapping with str keys, as in {"grid": 3}')
    return cast("Document", _copied(value, field, nearer))


def _copied(value: Any, field: str, foreign: Foreign | None) -> Json:
    try:
        return copied(value, foreign)
    except Unkept as refused:
        made = InvalidRecordError(f"{field}{path_of(refused)}", refused.value, refused.reason)
        raise made from refused.__cause__


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

Object: TypeAlias = Annotated[Document, content]

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
