"""Fresh copies of what callers hand over as JSON, within the limits of a store.

One walk, two doors: what f1mon itself keeps must be JSON already (`plain`), and what people keep with a fact, features
and metadata, is made JSON first where it has one form (`foreign`, see `values`).
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Real
from typing import Any, TypeAlias

from f1mon_core.records.json_text import Json, canonical

MAX_JSON_BYTES = 1 << 20
MAX_JSON_DEPTH = 64
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
ESCAPED = 12
"""The most ASCII bytes one character takes in JSON: a surrogate pair of escapes."""
_NUMBER = 26
"""More ASCII bytes than any 64-bit number takes in JSON."""
_NAME = re.compile(r"\w[\w-]*").fullmatch

surrogate = re.compile("[\ud800-\udfff]").search

Foreign: TypeAlias = Callable[[Any], Any]
"""What makes something nearer to JSON of a value that is none of it; or raises `Unkept`."""


class Unkept(Exception):
    """A value that cannot be kept, and the path to it, innermost step first. Never leaves this floor."""

    def __init__(self, value: Any, reason: str) -> None:
        super().__init__()
        self.value = value
        self.reason = reason
        self.steps: list[str] = []


class _TooDeepError(Unkept):
    """Nested too deep: the path would say no more than that."""


def path_of(refused: Unkept) -> str:
    """Where a value is that was refused: `.grid[3]`."""
    return "" if isinstance(refused, _TooDeepError) else "".join(reversed(refused.steps))


def copied(value: Any, foreign: Foreign | None = None) -> Json:
    """A fresh copy of a value as JSON: 64-bit ints, str keys, depth ≤ 64, ≤ 1 MiB encoded.

    Args:
        value: What a caller gave.
        foreign: Makes JSON of what is none, and null of what is no finite number; None to refuse both.

    Raises:
        Unkept: If it, or something in it, cannot be kept.
    """
    made, size = _copied(value, 1, foreign)
    if size > MAX_JSON_BYTES and len(canonical(made)) > MAX_JSON_BYTES:
        raise Unkept(value, f"must take at most {MAX_JSON_BYTES} bytes as JSON")
    return made


def _copied(value: Any, depth: int, foreign: Foreign | None) -> tuple[Json, int]:  # noqa: C901, PLR0911 - one for each type
    """A copy of `value` and an upper bound of its encoded size in bytes."""
    kind = type(value)
    if kind is float:
        if math.isfinite(value):
            return value + 0.0, _NUMBER
        if foreign is not None:
            return None, 5
        raise Unkept(value, "must be finite")
    if kind is str:
        return _text(value)
    if value is None or kind is bool:
        return value, 5
    if kind is int:
        return _integer(value)
    if kind is dict:
        return _object(value, depth, foreign)
    if kind is list or kind is tuple:
        return _array(value, depth, foreign)
    try:
        return _other(value, depth, foreign)
    except Unkept:
        raise
    except Exception as error:
        # A value's own code failed; which, is the caller's to see.
        raise Unkept(value, f"must be a value that can be read (its own code raised {type(error).__name__})") from error


def _other(value: Any, depth: int, foreign: Foreign | None) -> tuple[Json, int]:  # noqa: C901, PLR0911 - one for each type
    """As `_copied`, for what is not of one of JSON's own types, but of a subclass, or nothing of the kind."""
    if foreign is not None and isinstance(value, Enum):
        return _copied(value.value, depth + 1, foreign)
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, float):
        return _copied(float(value), depth, foreign)
    if isinstance(value, int):
        return _integer(int.__int__(value))
    if isinstance(value, Mapping):
        return _object(value, depth, foreign)
    if isinstance(value, list | tuple):
        return _array(value, depth, foreign)
    if foreign is not None:
        if depth > MAX_JSON_DEPTH:
            raise _TooDeepError(value, f"must be nested at most {MAX_JSON_DEPTH} deep")
        made = foreign(value)
        return _copied(made, depth if type(made) in {list, float, str} else depth + 1, foreign)
    if hasattr(value, "__index__"):
        return _integer(operator.index(value))
    if isinstance(value, Real):
        return _copied(float(value), depth, foreign)
    raise Unkept(value, "must hold JSON values only (None, bool, int, float, str, list, dict)")


def _text(value: str) -> tuple[str, int]:
    if not value.isascii() and surrogate(value):
        raise Unkept(value, "must not hold a lone surrogate")
    if len(value) * ESCAPED > MAX_JSON_BYTES and len(canonical(value)) > MAX_JSON_BYTES:
        raise Unkept(value, f"must take at most {MAX_JSON_BYTES} bytes as JSON")
    return value, 2 + ESCAPED * len(value)


def _integer(value: int) -> tuple[int, int]:
    if not INT64_MIN <= value <= INT64_MAX:
        raise Unkept(value, "must fit in 64 bits (keep it as a str)")
    return value, _NUMBER


def _object(value: Mapping[Any, Any], depth: int, foreign: Foreign | None) -> tuple[Json, int]:
    if depth > MAX_JSON_DEPTH:
        raise _TooDeepError(value, f"must be nested at most {MAX_JSON_DEPTH} deep")
    made: dict[str, Json] = {}
    size = 2
    for name, item in value.items():
        if type(name) is not str and not isinstance(name, str):
            raise Unkept(name, "must have str keys")
        key, length = _text(str.__str__(name))
        if type(item) is float and math.isfinite(item):  # by far the most common feature, so no further calls
            made[key] = item + 0.0
            size += _NUMBER
        else:
            try:
                made[key], item_size = _copied(item, depth + 1, foreign)
            except Unkept as refused:
                refused.steps.append(step(key))
                raise
            size += item_size
        size += 4 + length
    return made, size


def _array(value: list[Any] | tuple[Any, ...], depth: int, foreign: Foreign | None) -> tuple[Json, int]:
    if depth > MAX_JSON_DEPTH:
        raise _TooDeepError(value, f"must be nested at most {MAX_JSON_DEPTH} deep")
    made: list[Json] = []
    size = 2
    for item in value:
        try:
            inner, item_size = _copied(item, depth + 1, foreign)
        except Unkept as refused:
            refused.steps.append(f"[{len(made)}]")
            raise
        made.append(inner)
        size += item_size + 1
    return made, size


def step(name: str) -> str:
    """One step of a path: `.grid`, or `['a name']` where it is not one word; a long name is cut."""
    if len(name) > 80:  # noqa: PLR2004 - as much as an error shows of a value
        return f"[{name[:80]!r}…]"
    return f".{name}" if _NAME(name) else f"[{name!r}]"
