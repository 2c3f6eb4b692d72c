"""The keys of predictions that were pruned: they stay known."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from f1mon_core.storage.dumping import PrunedKey
from f1mon_jsonl.index.codes import Codes

_NO_MODEL: frozenset[str | None] = frozenset()


class PrunedKeys:
    """Under which models each item was pruned; None is every model."""

    def __init__(self) -> None:
        self._sets = Codes()
        """The sets of models that occur: few, for as many items as there are."""
        self._items: dict[str, int] = {}
        self._sorted: list[str] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def add(self, model: str | None, items: Iterable[str]) -> None:
        """Take in items that were pruned under a model."""
        alone = self._sets.of(frozenset({model}))
        for item in items:
            code = self._items.get(item)
            self._items[item] = alone if code is None else self._sets.of(self._sets.values[code] | {model})
        self._sorted = None

    def models(self, item: str) -> frozenset[str | None]:
        """The models under which an item was pruned."""
        code = self._items.get(item)
        return _NO_MODEL if code is None else self._sets.values[code]

    def by_model(self) -> dict[str | None, list[str]]:
        """The items that were pruned, by model."""
        found: dict[str | None, list[str]] = {}
        for item, code in self._items.items():
            for model in self._sets.values[code]:
                found.setdefault(model, []).append(item)
        return found

    def behind(self, after: PrunedKey | None) -> Iterator[PrunedKey]:
        """The keys by item and model, every model first, behind one of them."""
        if self._sorted is None:
            self._sorted = sorted(self._items)
        place = 0 if after is None else bisect_left(self._sorted, after[0])
        for number in range(place, len(self._sorted)):
            item = self._sorted[number]
            for model in sorted(self.models(item), key=_text):
                if after is None or (item, _text(model)) > (after[0], _text(after[1])):
                    yield item, model


def _text(model: str | None) -> str:
    return model or ""
