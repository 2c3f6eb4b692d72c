"""What a key-value store holds, table by table, read inside one transaction and changed there.

("fact", kind, *key)      its document
("time", kind, at, *key)  nothing: it orders the facts of a kind by their time
("item", prediction_id)   {"models": stored, "pruned": models, "known": the times of its outcomes}
("document", key)         a state document
("operation", digest)     [µs, result]
("store",)                what the store knows of itself
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, cast

import attrs

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import answers
from f1mon_core.storage.change import due_of
from f1mon_core.storage.dumping import KeptOperation, PrunedKey, StoreRecord
from f1mon_core.storage.keyvalue.keys import KeySpace, Parts, above, body_of, prefix_bytes
from f1mon_core.storage.keyvalue.transaction import Reading, Transaction
from f1mon_core.storage.select import Select

R_co = TypeVar("R_co", bound=Reading, covariant=True)

Name: TypeAlias = tuple[str, tuple[str, ...]]
"""The kind and the key of a fact."""

TOGETHER = 1_000
"""How many values are asked for in one call."""
_EVERY_MODEL = ""
"""Stands for every model of an item that contract 1 pruned: no model has an empty name."""
_STORE = ("store",)


@attrs.define
class Item:
    """What is known of an item: the models whose predictions are stored or were pruned, and when outcomes were known.

    The times are the second parts of its outcomes' keys.
    """

    models: set[str] = attrs.field(factory=set)
    pruned: set[str] = attrs.field(factory=set)
    known: set[str] = attrs.field(factory=set)

    @classmethod
    def of(cls, body: Json) -> Item:
        """An item as it is stored; an empty one for None."""
        found = cast("Mapping[str, list[str]]", body or {})
        return cls(*(set(found.get(name, ())) for name in ("models", "pruned", "known")))

    def body(self) -> Json:
        """As it is stored; None for an empty one."""
        sets = (("models", self.models), ("pruned", self.pruned), ("known", self.known))
        found: dict[str, Json] = {name: [*sorted(held)] for name, held in sets if held}
        return found or None

    def names(self, prediction_id: str) -> Iterator[Name]:
        """The facts of it that are stored."""
        yield from (("prediction", (prediction_id, model)) for model in self.models)
        yield from (("outcome", (prediction_id, at)) for at in self.known)

    def is_pruned(self, fact: Fact) -> bool:
        """Whether a fact of it would change what was pruned."""
        if isinstance(fact, Prediction):
            return not self.pruned.isdisjoint({fact.model_version, _EVERY_MODEL})
        return isinstance(fact, Outcome) and bool(self.pruned) and not self.models


class Reader(Generic[R_co]):
    """The questions a store is asked in one snapshot."""

    def __init__(self, keys: KeySpace, pairs: R_co) -> None:
        self.keys = keys
        self.pairs = pairs

    # One by one, and many in one call

    def bodies(self, wanted: Sequence[Parts]) -> list[Json]:
        """What is stored under keys, in their order; None where there is nothing."""
        found: list[Json] = []
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            names = [self.keys.key(parts) for parts in some]
            values = self.pairs.get(names)
            found += [
                None if value is None else body_of(name, value, parts)
                for name, value, parts in zip(names, values, some, strict=True)
            ]
        return found

    def body(self, *parts: str) -> Json:
        """What is stored under a key; None where there is nothing."""
        return self.bodies([parts])[0]

    def facts(self, wanted: Sequence[Name]) -> list[Fact | None]:
        """The facts of kinds and keys."""
        bodies = self.bodies([("fact", kind, *key) for kind, key in wanted])
        return [None if body is None else documents.from_document(cast("Document", body)) for body in bodies]

    def items(self, ids: Sequence[str]) -> list[Item]:
        """What is known of items."""
        return [Item.of(body) for body in self.bodies([("item", one) for one in ids])]

    def know_of(self, keys: Sequence[PrunedKey]) -> list[bool]:
        """Whether predictions are stored, or were pruned."""
        found = zip(keys, self.items([one for one, _ in keys]), strict=True)
        return [
            model in item.models or not item.pruned.isdisjoint({model or _EVERY_MODEL, _EVERY_MODEL})
            for (_, model), item in found
        ]

    def outcomes(self, ids: Collection[str]) -> dict[str, list[Outcome]]:
        """The outcomes of items that have some."""
        wanted = [
            ("outcome", (one, at)) for one, item in zip(ids, self.items([*ids]), strict=True) for at in item.known
        ]
        found: dict[str, list[Outcome]] = {}
        for one in cast("list[Outcome]", self.stored(wanted)):
            found.setdefault(one.prediction_id, []).append(one)
        return found

    def stored(self, wanted: Sequence[Name]) -> list[Fact]:
        """The facts of kinds and keys that must be there. Raises `CorruptStoreError` where one is not."""
        found = self.facts(wanted)
        for fact, (kind, key) in zip(found, wanted, strict=True):
            if fact is None:
                raise CorruptStoreError(f"the {kind} {'/'.join(key)!r} is listed and not stored: run f1mon check")
        return cast("list[Fact]", found)

    def itself(self) -> StoreRecord:
        """What the store knows of itself."""
        found = cast("Mapping[str, Any]", self.body(*_STORE))
        if found is None:
            raise CorruptStoreError("the store does not know which it is: run f1mon check")
        return StoreRecord(
            store=found["store"],
            pruned_before={kind: from_micros(before) for kind, before in found["pruned_before"].items()},
            outcomes_until=_optional(found["outcomes_until"]),
            stands_until=_optional(found["stands_until"]),
            restored_from=found["restored_from"],
        )

    # In order

    def scan(
        self, *parts: str, then: str = "", since: str = "", until: str | None = None, reverse: bool = False
    ) -> Iterator[tuple[Parts, Json]]:
        """Keys that begin with these parts, with their bodies; the next part from `since`, and below `until`.

        `then` is how the next part begins.
        """
        prefix = self.keys.cut(prefix_bytes(parts, then))
        start, stop = max(prefix, self.keys.cut(prefix_bytes(parts, since))), above(prefix)
        if until is not None:
            stop = min(stop, above(self.keys.cut(prefix_bytes(parts, until))))
        for found, body in self.keys.ordered(self.pairs.items(start, stop, reverse=reverse), reverse=reverse):
            rest = found[len(parts) :]
            if found[: len(parts)] != parts or not rest or not rest[0].startswith(then):
                continue  # others lie in between where keys are cut
            if rest[0] >= since and (until is None or rest[0] < until):
                yield found, body

    def listed(self, select: Select) -> Iterator[tuple[str, ...]]:
        """The keys of a kind's facts in the window of a select, behind its cursor, in its order."""
        since = "" if select.since is None else _time(select.since)
        until = None if select.until is None else _time(select.until)
        after = None if select.after is None else (_time(select.after.at), *select.after.key)
        if after is not None and not select.descending:
            since = max(since, after[0])
        if after is not None and select.descending:
            until = min(filter(None, [until, after[0] + "\1"]))
        for found, _ in self.scan("time", select.kind, since=since, until=until, reverse=select.descending):
            place = found[2:]
            if after is None or (place < after if select.descending else place > after):
                yield place[1:]

    def pages(self, select: Select) -> Iterator[list[Fact]]:
        """The facts of the keys `listed`, `TOGETHER` at a time."""
        listed = self.listed(select)
        while some := list(islice(listed, TOGETHER)):
            yield self.stored([(select.kind, key) for key in some])

    def find(self, select: Select) -> list[Fact]:
        """See `Storage.find`."""
        found: list[Fact] = []
        held: dict[str, list[tuple[str, ...]]] = {}

        def keys_of(kind: str) -> Collection[tuple[str, ...]]:
            if kind not in held:
                held[kind] = list(self.listed(Select(kind)))
            return held[kind]

        if select.limit == 0:
            return found
        whole = attrs.evolve(select, limit=None)
        for page in self.pages(select):
            found += answers.fold_find(page, whole, keys_of)
            if select.limit is not None and len(found) >= select.limit:
                return found[: select.limit]
        return found

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> dict[str, Document]:
        """See `Storage.state`."""
        due = None if due_before is None else to_micros(due_before)
        found = (
            (parts[1], cast("Document", body))
            for parts, body in self.scan("document", then=prefix, since=after or "")
            if after is None or parts[1] > after
        )
        wanted = (
            (key, document)
            for key, document in found
            if due is None or ((own := due_of(document)) is not None and own < due)
        )
        return dict(islice(wanted, limit and min(limit, sys.maxsize)))  # islice takes no more

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        """See `dumping.Source`."""
        behind = ("", "") if after is None else (after[0], after[1] or _EVERY_MODEL)
        keys = (
            (parts[1], model)
            for parts, body in self.scan("item", since=behind[0])
            for model in sorted(Item.of(body).pruned)
        )
        return [
            (item, model or None)
            for item, model in islice((one for one in keys if after is None or one > behind), limit)
        ]

    def operations(self, after: str | None, limit: int | None, since: datetime) -> Sequence[KeptOperation]:
        """Operations committed since an instant, behind a digest, in the order of digests."""
        kept = (operation_of(parts[1], body) for parts, body in self.scan("operation", since=after or ""))
        return list(islice((one for one in kept if one.at >= since and one.digest > (after or "")), limit))


class Writer(Reader[Transaction]):
    """The same, and the changes made to it."""

    def set(self, *parts: str, body: Json) -> None:
        """Store a body under a key; None removes it."""
        key = self.keys.key(parts)
        if body is None:
            self.pairs.delete(key)
        else:
            self.pairs.put(key, self.keys.value(parts, body))

    def put(self, fact: Fact) -> None:
        """Store a fact, and list it; what its item knows is the caller's to say."""
        self.set("fact", fact.kind, *fact.key, body=documents.to_document(fact))
        self.set(*_place(fact), body=True)

    def take(self, fact: Fact) -> None:
        """Remove a fact."""
        self.set("fact", fact.kind, *fact.key, body=None)
        self.set(*_place(fact), body=None)

    def put_all(self, facts: Iterable[Fact]) -> None:
        """Store facts, and what their items know of them."""
        facts = list(facts)
        ids = sorted({fact.key[0] for fact in facts if isinstance(fact, Prediction | Outcome)})
        items = dict(zip(ids, self.items(ids), strict=True))
        for fact in facts:
            self.put(fact)
            if isinstance(fact, Prediction):
                items[fact.prediction_id].models.add(fact.model_version)
            elif isinstance(fact, Outcome):
                items[fact.prediction_id].known.add(fact.key[1])
        for one, item in items.items():
            self.set("item", one, body=item.body())

    def take_predictions(self, keys: Collection[PrunedKey]) -> int:
        """Know keys as pruned and remove what is stored of them; answers how many outcomes went, their items' last."""
        models: dict[str, set[str]] = {}
        for one, model in keys:
            models.setdefault(one, set()).add(model or _EVERY_MODEL)
        ids = sorted(models)
        orphans = 0
        gone: list[Name] = []
        for one, item in zip(ids, self.items(ids), strict=True):
            pruned = models[one]
            going = set(item.models) if _EVERY_MODEL in pruned else item.models & pruned
            gone += [("prediction", (one, model)) for model in going]
            item.models -= going
            item.pruned |= pruned
            if not item.models:
                gone += [("outcome", (one, at)) for at in item.known]
                orphans += len(item.known)
                item.known = set()
            self.set("item", one, body=item.body())
        for fact in self.stored(gone):
            self.take(fact)
        return orphans

    def know(self, itself: StoreRecord) -> None:
        """Store what the store knows of itself."""
        self.set(
            *_STORE,
            body={
                "store": itself.store,
                "pruned_before": {kind: to_micros(before) for kind, before in itself.pruned_before.items()},
                "outcomes_until": None if itself.outcomes_until is None else to_micros(itself.outcomes_until),
                "stands_until": None if itself.stands_until is None else to_micros(itself.stands_until),
                "restored_from": itself.restored_from,
            },
        )

    def keep(self, operation: KeptOperation) -> None:
        """Store the result of an operation."""
        self.set("operation", operation.digest, body=[to_micros(operation.at), operation.result])


def operation_of(digest: str, body: Json) -> KeptOperation:
    """The operation that `Writer.keep` stored."""
    at, result = cast("list[Any]", body)
    return KeptOperation(digest, from_micros(at), result)


def _place(fact: Fact) -> Parts:
    return ("time", fact.kind, _time(fact.instant), *fact.key)


def _time(instant: datetime) -> str:
    return f"{to_micros(instant):020d}"


def _optional(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
