"""How keys become bytes: ordered as their parts are by code point, and never longer than a store allows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, cast

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records import json_text
from f1mon_core.records.fields import Json

Parts = tuple[str, ...]
"""A key as f1mon has it: texts without NUL, the first of which names what is kept there."""

Pair = tuple[bytes, bytes]

END = b"\0"
"""What ends each part. No part holds it, and it is the least of all bytes, so parts order one by one."""
_DIGEST = 32
SHORTEST = 64
"""What a store must allow a key to have at the least, in bytes."""


class KeySpace:
    """Keys and values as bytes. A key that is too long ends in a digest; the whole key stands in the value.

    Args:
        longest: How many bytes a key may have; None where there is no limit.
    """

    def __init__(self, longest: int | None = None) -> None:
        if longest is not None and longest < SHORTEST:
            message = f"longest must be None or at least {SHORTEST}, got {longest}"
            raise ValueError(message)
        self._longest = longest
        self._uncut = None if longest is None else longest - _DIGEST

    def key(self, parts: Parts) -> bytes:
        """The bytes of a key."""
        whole = prefix_bytes(parts)
        if self._longest is None or len(whole) <= self._longest:
            return whole
        return whole[: self._uncut] + hashlib.sha256(whole).digest()

    def cut(self, prefix: bytes) -> bytes:
        """As much of a prefix as stands in every key that begins with it."""
        return prefix[: self._uncut]

    def value(self, parts: Parts, body: Json) -> bytes:
        """What is stored under a key."""
        return json_text.encoded([list(parts), body]).encode()

    def ordered(self, pairs: Iterable[Pair], *, reverse: bool = False) -> Iterator[tuple[Parts, Json]]:
        """Keys and bodies in the order of the keys, out of pairs in the order of their bytes."""
        if self._uncut is None:
            yield from map(_taken, pairs)
            return
        for _, group in groupby(pairs, key=lambda pair: pair[0][: self._uncut]):
            yield from sorted(map(_taken, group), key=lambda taken: taken[0], reverse=reverse)


def prefix_bytes(parts: Parts, then: str = "") -> bytes:
    """What the keys of these parts begin with; `then` is how the next part begins."""
    return b"".join(part.encode() + END for part in parts) + then.encode()


def above(prefix: bytes) -> bytes:
    """The least bytes that are above all which begin with a prefix (whose last byte is not 255: none of UTF-8 is)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _taken(pair: Pair) -> tuple[Parts, Json]:
    try:
        parts, body = cast("Sequence[Any]", json_text.decoded(pair[1].decode()))
        return tuple(map(str, parts)), body
    except (TypeError, ValueError) as error:
        raise CorruptStoreError(f"the value of {pair[0]!r:.120} is not what f1mon stored: {pair[1]!r:.80}") from error


def body_of(key: bytes, value: bytes, parts: Parts) -> Json:
    """The body of a value. Raises `CorruptStoreError` where it is that of another key."""
    found, body = _taken((key, value))
    if found != parts:
        raise CorruptStoreError(f"under {key!r:.120} stands the value of {'/'.join(found)!r:.120}")
    return body
