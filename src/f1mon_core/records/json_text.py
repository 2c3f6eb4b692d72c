"""JSON as every store keeps it: compact, ASCII, without NaN. The one place where its texts are written and read.

msgspec does it in a fraction of the standard library's time. What it would write or read otherwise goes to the standard
library: letters beyond ASCII, NaN, halves of surrogate pairs, integers beyond 64 bits, and whatever is to be refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias, Union

import msgspec

Json: TypeAlias = Union[bool, int, float, str, list["Json"], dict[str, "Json"], None]  # noqa: UP007 - recursive
Document: TypeAlias = dict[str, Json]


def _refused(literal: str) -> Any:
    raise ValueError(f"{literal} is no JSON")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# What is encoded here was copied before, so it holds no cycle to look for.
_encode_any = json.JSONEncoder(allow_nan=False, separators=(",", ":"), check_circular=False).encode
_decode_any = json.JSONDecoder(parse_constant=_refused).decode
_encode_sorted = json.JSONEncoder(allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def encoded(value: Json) -> str:
    """Compact ASCII JSON. Raises ValueError for NaN and infinities, which JSON does not have."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, OverflowError):  # a subclass of str, half a surrogate pair, more than 64 bits
        return _encode_any(value)
    # msgspec leaves letters beyond ASCII as they are, and makes null of a NaN.
    return text.decode() if text.isascii() and b"null" not in text else _encode_any(value)


def encoded_all(values: Sequence[Json]) -> list[str]:
    """Each as `encoded`. What all of them have in common is looked at once."""
    try:
        whole = b"\n".join(map(_encode, values))  # no line breaks within: strings have theirs escaped
    except (TypeError, ValueError, OverflowError):
        return list(map(encoded, values))
    if not values or not whole.isascii() or b"null" in whole:
        return list(map(encoded, values))
    return whole.decode().split("\n")


def decoded(text: str) -> Json:
    """The value of a JSON text. Raises ValueError for any that is none, or more than that."""
    if type(text) is str:  # bytes are no text, also where msgspec reads them
        try:
            value: Json = _decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # to be read, or refused, by the standard library
        else:
            return value
    try:
        value = _decode_any(text)
    except RecursionError:
        raise ValueError("nested deeper than can be read") from None
    return value


def canonical(value: Json) -> str:
    """Compact ASCII JSON with sorted keys: equal texts, equal values, and 1 is neither 1.0 nor true.

    It is the standard library's, whose spelling the limits of sizes and the hashes in stores rest on.
    """
    return _encode_sorted(value)
