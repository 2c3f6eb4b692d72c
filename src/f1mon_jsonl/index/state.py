"""State documents, and the results of the operations that changed them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

import msgspec

from f1mon_core.records.times import duration_micros
from f1mon_core.storage.change import operation_digest
from f1mon_core.storage.contract import OPERATION_HOURS

_OPERATION_MICROS = duration_micros(timedelta(hours=OPERATION_HOURS))
_FEW = 1_000
"""As many results as are kept without asking how old they are."""


class State:
    """The documents by key, as JSON texts."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self._sorted_keys: list[str] | None = None
        self.results: dict[tuple[str, str], tuple[int, bytes]] = {}
        """When each operation of a key was committed, and its encoded result."""
        self.restored: dict[str, tuple[int, bytes]] = {}
        """The same of operations that were restored, by their digests."""
        self._results_wanted = _FEW
        self._digests: dict[tuple[str, str], str] = {}

    def take_documents(self, state: Mapping[str, msgspec.Raw]) -> None:
        """Take in what a line says of documents; null deletes one."""
        for key, raw in state.items():
            text = bytes(raw)
            if text == b"null":
                if self.documents.pop(key, None) is not None:
                    self._sorted_keys = None
            else:
                if key not in self.documents:
                    self._sorted_keys = None
                self.documents[key] = text

    def take_results(self, operations: Iterable[tuple[str, str, int, msgspec.Raw]]) -> None:
        """Take in what a line says of operations."""
        for key, operation_id, at, result in operations:
            self.results[key, operation_id] = (at, bytes(result))
            if len(self.results) > self._results_wanted:
                self._forget_results(oldest_result(at))

    def take_restored(self, results: Mapping[str, tuple[int, msgspec.Raw]]) -> None:
        """Take in what a line says of operations of the store it was restored from."""
        self.restored |= {digest: (at, bytes(result)) for digest, (at, result) in results.items()}

    def _forget_results(self, since: int) -> None:
        """Drop results that are old enough, once there are twice as many as were left the last time."""
        self.results = {name: kept for name, kept in self.results.items() if kept[0] >= since}
        self.restored = {digest: kept for digest, kept in self.restored.items() if kept[0] >= since}
        self._digests = {name: digest for name, digest in self._digests.items() if name in self.results}
        self._results_wanted = max(_FEW, 2 * len(self.results))

    def result(self, key: str, operation_id: str) -> bytes | None:
        """The encoded result of an operation; None of one that is not known."""
        kept = self.results.get((key, operation_id))
        if kept is None and self.restored:
            kept = self.restored.get(operation_digest(key, operation_id))
        return None if kept is None else kept[1]

    def digested(self) -> dict[str, tuple[int, bytes]]:
        """When each operation was committed, and its encoded result, by its digest."""
        known = self._digests
        known.update((name, operation_digest(*name)) for name in self.results.keys() - known.keys())
        return {**self.restored, **{known[name]: kept for name, kept in self.results.items()}}

    @property
    def sorted_keys(self) -> list[str]:
        """The keys of the documents, by code point."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self.documents)
        return self._sorted_keys

    def documents_from(self, prefix: str, after: str | None) -> Iterator[tuple[str, bytes]]:
        """The documents under a prefix, behind a key, in order of their keys."""
        keys = self.sorted_keys
        start = bisect_left(keys, prefix) if after is None or after < prefix else bisect_right(keys, after)
        for place in range(start, len(keys)):
            if not keys[place].startswith(prefix):
                return
            yield keys[place], self.documents[keys[place]]


def oldest_result(now: int) -> int:
    """The instant before which results of operations may be forgotten; microseconds, as `now`."""
    return now - _OPERATION_MICROS
