"""What people keep in features and metadata, each in one form. No library is imported for it.

| given | kept as |
|---|---|
| None, NaN, ±inf, `pandas.NA`, `NaT`, a masked element | null |
| numpy and other scalars with `tolist`/`as_py` | Python's own |
| arrays, Series, Index, tensors of any number of dimensions | arrays of arrays |
| datetime, `pandas.Timestamp`, `datetime64` | ISO 8601 cut to microseconds; in UTC, naive ones without an offset |
| date, time | ISO 8601 |
| timedelta, `timedelta64` | seconds, a number |
| Decimal, Fraction | the nearest 64-bit float |
| UUID, Path | text |
| Enum | its value |
| a subclass of str, int, float, dict, list | as what it derives from |
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real
from pathlib import PurePath
from typing import Any
from uuid import UUID

from f1mon_core.records.copying import Unkept
from f1mon_core.records.json_text import Json

_MISSING = {("pandas", "NAType"), ("pandas", "NaTType"), ("polars", "Null"), ("pyarrow", "NullScalar")}


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none: None, `pandas.NA`, `NaT`, or a float or Decimal that is no number."""
    if value is None:
        return True
    kind = type(value)
    if issubclass(kind, float):
        return math.isnan(value)
    if issubclass(kind, Decimal):
        return bool(value.is_nan())
    module, name = kind.__module__.partition(".")[0], kind.__name__
    if module != "numpy":
        return (module, name) in _MISSING
    if name.startswith(("datetime", "timedelta")):
        return str(value) == "NaT"
    return name == "MaskedConstant" or (name.startswith("float") and math.isnan(value))


def plain_datetime(value: datetime) -> datetime:
    """The same instant as a plain datetime, cut to microseconds."""
    return datetime(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        tzinfo=value.tzinfo,
        fold=value.fold,
    )


def nearer(value: Any) -> Any:  # noqa: PLR0911 - one for each way to be read
    """What a value that is no JSON is kept as, or what is one step nearer to that. Raises `Unkept`."""
    if isinstance(value, Decimal):
        return _finite(value) if value.is_finite() else None
    if is_missing(value):
        return None
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    if type(value).__module__.partition(".")[0] == "numpy":
        return _of_numpy(value)
    for method in ("tolist", "to_list", "as_py"):  # arrays, series, tensors, and scalars of any library
        if callable(convert := getattr(value, method, None)):
            return _changed(value, convert())
    if hasattr(value, "__index__"):
        return operator.index(value)
    if isinstance(value, Real):
        return float(value)
    raise _refused(value)


def _refused(value: Any) -> Unkept:
    return Unkept(value, "must hold JSON values, or what has one form in JSON (see docs/data.md): convert it")


def _instant(value: datetime) -> str:
    made = plain_datetime(value)
    return (made if made.utcoffset() is None else made.astimezone(UTC)).isoformat()


def _finite(value: Decimal) -> float:
    if not math.isfinite(made := float(value)):
        raise Unkept(value, "must fit in a 64-bit float")
    return made


def _no_bytes(value: Any) -> Any:
    raise Unkept(value, "must hold JSON values, and bytes are none: decode them to str")


def _no_set(value: Any) -> Any:
    raise Unkept(value, "must hold JSON values, and a set has no order: give sorted(…)")


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime, _instant),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    (UUID, str),
    (PurePath, os.fspath),
    ((bytes, bytearray, memoryview), _no_bytes),
    ((set, frozenset), _no_set),
)
"""The form of each of Python's own types; the first that fits."""


def _of_numpy(value: Any) -> Any:
    """Numpy's scalars and arrays; times of any unit to the microsecond."""
    kind = value.dtype.kind if hasattr(value, "dtype") else ""
    if kind in {"M", "m"}:
        micros = value.astype(f"{'datetime' if kind == 'M' else 'timedelta'}64[us]").tolist()
        if isinstance(micros, int):
            raise Unkept(value, "must lie in the years 1 to 9999")
        return micros
    if kind == "V":
        raise Unkept(value, "must be no structured value: give its fields as a dict")
    if not hasattr(value, "tolist"):
        raise _refused(value)
    made = value.tolist()
    return float(value) if type(made) is type(value) else made  # a longdouble stays one


def _changed(given: Any, made: Any) -> Any:
    if type(made) is type(given):
        raise _refused(given)
    return made


def nulls(value: Json) -> int:
    """How many nulls there are in a kept value."""
    if value is None:
        return 1
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if _HOLDING.isdisjoint(map(type, inside)):  # most objects hold numbers and texts alone
        return 0
    return sum(map(nulls, inside))


_HOLDING = frozenset({type(None), dict, list})
