"""What a transaction of a key-value store can do, and `Staged` for a store that only takes changes as one."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from f1mon_core.storage.keyvalue.keys import Pair


class Reading(Protocol):
    """Keys and values of bytes, as they stood at one instant."""

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values of keys, in their order; None where there is none."""
        ...

    def items(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Pair]:
        """Keys from `start` (included) to `stop` (excluded) in the order of their bytes, with their values.

        `reverse` begins with the last. What is put or deleted while the items are read need not be seen.
        """
        ...


class Transaction(Reading, Protocol):
    """The same, to be changed. What was put or deleted is what it reads from then on."""

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value, in place of an earlier one."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""
        ...


class Staged:
    """A transaction over a store that can only read while it runs: its changes wait in `changes` to be sent as one."""

    def __init__(self, stored: Reading) -> None:
        self._stored = stored
        self._changes: dict[bytes, bytes | None] = {}
        self._ordered: list[bytes] = []

    @property
    def changes(self) -> Mapping[bytes, bytes | None]:
        """What each key changed has to hold; None where it was deleted."""
        return self._changes

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """See `Reading.get`."""
        unknown = [key for key in keys if key not in self._changes]
        found = dict(zip(unknown, self._stored.get(unknown), strict=True)) if unknown else {}
        return [self._changes[key] if key in self._changes else found[key] for key in keys]

    def items(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Pair]:
        """See `Reading.items`."""
        between = islice(self._ordered, bisect_left(self._ordered, start), bisect_left(self._ordered, stop))
        changed = sorted(between, reverse=reverse)
        hidden = set(changed)
        at = 0
        for key, value in self._stored.items(start, stop, reverse=reverse):
            while at < len(changed) and (changed[at] > key if reverse else changed[at] < key):
                yield from self._changed(changed[at])
                at += 1
            if key not in hidden:
                yield key, value
        for one in changed[at:]:
            yield from self._changed(one)

    def _changed(self, key: bytes) -> Iterator[Pair]:
        if (value := self._changes[key]) is not None:
            yield key, value

    def put(self, key: bytes, value: bytes) -> None:
        """See `Transaction.put`."""
        self._change(key, value)

    def delete(self, key: bytes) -> None:
        """See `Transaction.delete`."""
        self._change(key, None)

    def _change(self, key: bytes, value: bytes | None) -> None:
        if key not in self._changes:
            insort(self._ordered, key)
        self._changes[key] = value
