"""JSON texts and values as `validation` makes them, by msgspec in a fraction of the time.

For backends whose extra installs msgspec; nothing else in core needs it. What msgspec would write or read otherwise
goes to `validation`, so that its texts are valid for both and its errors are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from f1mon_core.records import fields
from f1mon_core.records.fields import Json

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encoded(value: Json) -> str:
    """Compact ASCII JSON. Raises ValueError for NaN and infinities, which JSON does not have."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, OverflowError):  # a subclass of str, half a surrogate pair, more than 64 bits
        return fields.encoded(value)
    # msgspec leaves letters beyond ASCII as they are, and makes null of a NaN.
    return text.decode() if text.isascii() and b"null" not in text else fields.encoded(value)


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
    if type(text) is not str:  # bytes are no text, also where msgspec reads them
        return fields.decoded(text)
    try:
        value: Json = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return fields.decoded(text)
    return value
