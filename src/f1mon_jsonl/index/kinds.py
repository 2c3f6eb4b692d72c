"""Facts of kinds other than predictions and outcomes: few enough to be kept as objects."""

from __future__ import annotations

from bisect import insort
from typing import Any, NamedTuple, TypeAlias

from f1mon_core.records.kinds import KINDS
from f1mon_jsonl.index.lines import Spot

FactKey: TypeAlias = tuple[str, ...]


class Entry(NamedTuple):
    """A fact of any other kind.

    Attributes:
        values: Its declared attributes and key fields, without `at`, in the order of `names`.
    """

    at: int
    key: FactKey
    spot: Spot
    values: tuple[Any, ...]


class Kind:
    """The facts of one of the other kinds."""

    def __init__(self) -> None:
        self.entries: dict[FactKey, Entry] = {}
        self.ordered: list[Entry] = []
        """The same, by (at, key)."""
        self.firsts: set[str] = set()
        """The first parts of all keys."""

    def add(self, entry: Entry) -> None:
        """Take in a fact."""
        self.entries[entry.key] = entry
        if not self.ordered or self.ordered[-1] < entry:
            self.ordered.append(entry)
        else:
            insort(self.ordered, entry, key=_order)
        self.firsts.add(entry.key[0])


def _order(entry: Entry) -> tuple[int, FactKey]:
    return entry.at, entry.key


def names(kind: str) -> tuple[str, ...]:
    """The attributes and key fields of a kind that the index keeps, `at` apart."""
    record = KINDS[kind]
    return tuple(dict.fromkeys(name for name in (*record.attributes, *record.key_fields) if name != "at"))
