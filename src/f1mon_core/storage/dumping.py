"""Carrying a store away whole: the records of `Storage.dump`, and what `Storage.restore` makes of them.

A record is a JSON object, so that a dump can stand in a file or cross a wire. Every page begins with the store it is
of; then come, in this order over all pages, the keys of pruned predictions, the facts kind by kind, the operations of
the last day, and the state documents.

    {"record": "store", "store": id, "contract": 2,
     "pruned_before": {kind: µs}, "outcomes_until": µs | null, "stands_until": µs | null}
    {"record": "pruned", "prediction_id": id, "model_version": model | null}     null: of every model (contract 1)
    {"record": "facts", "kind": kind, "after": place | null, "until": place | null}
    {"record": "fact", "fact": document}                                         as `records.documents` writes it
    {"record": "operation", "operation": digest, "at": µs, "result": JSON}
    {"record": "documents", "after": key | null, "until": key | null}            all there are between two keys …
    {"record": "document", "key": key, "document": document}                     … are those that follow

A record "facts" stands before the facts of a kind of which some went by a prune, and says the same of them: all there
are between two places, which are [µs, key …]. So a second pass finds what went since, and what a prune left because
something held it. Predictions and outcomes go by the keys of pruned predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

import attrs

from f1mon_core.errors import InvalidQueryError, InvalidRecordError, RestoreError, SchemaError, shown
from f1mon_core.records import documents, fields, json_text
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import KINDS, Cursor, Fact, KeptCells, KeptTally, Outcome, Prediction
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.change import check_state_key
from f1mon_core.storage.select import Select, check_cursor, kind_of

CONTRACT = 2
PAGE = 2_000
"""How many records a page holds at most, besides the one it begins with."""

PrunedKey = tuple[str, str | None]
"""A pruned prediction: its id and model version; None for every model, as contract 1 pruned."""


@attrs.frozen
class Dumped:
    """A page of a store.

    Attributes:
        records: JSON objects, in the order in which `restore` takes them.
        after: Where the next page begins; None behind the last.
    """

    records: Sequence[Document]
    after: str | None = None


@attrs.frozen(kw_only=True)
class StoreRecord:
    """What a store knows of itself.

    Attributes:
        store: What tells it apart from every other; the same for all of its handles, for ever.
        pruned_before: The instant before which each kind was pruned.
        outcomes_until: The newest first known_at of a prediction that contract 1 pruned.
        stands_until: The latest time, by outcome, at which a pruned prediction stands.
        restored_from: The store it was restored from.
    """

    store: str
    pruned_before: Mapping[str, datetime] = attrs.field(factory=dict)
    outcomes_until: datetime | None = None
    stands_until: datetime | None = None
    restored_from: str | None = None


@attrs.frozen
class KeptOperation:
    """The result of a transition: when it was committed, and under which `change.operation_digest`."""

    digest: str
    at: datetime
    result: Json


class Source(Protocol):
    """What a backend tells of a store, in one snapshot, for `page` to make pages of."""

    def itself(self) -> StoreRecord:
        """The store and what was pruned of it."""
        ...

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        """Keys of pruned predictions behind one of them, in any order that stays; None begins."""
        ...

    def operations(self, after: str | None, limit: int) -> Sequence[KeptOperation]:
        """Operations of the last 24 hours behind a digest, in the order of digests; None begins."""
        ...

    def find(self, select: Select) -> Sequence[Fact]:
        """As `Storage.find`."""
        ...

    def state(self, prefix: str, *, limit: int | None = None, after: str | None = None) -> Mapping[str, Document]:
        """As `Storage.state`."""
        ...


# Pages ----------------------------------------------------------------------------------------------------------------


def page(source: Source, after: str | None = None, *, limit: int = PAGE) -> Dumped:
    """One page of a store.

    Raises:
        InvalidQueryError: If `after` is not where a page ended.
    """
    name, place = ("pruned", None) if after is None else _place(after)
    records = [_store_document(source.itself())]
    for section in _NAMES[_NAMES.index(name) :]:
        left = limit - len(records) + 1
        if left <= 0:
            return Dumped(records, json_text.encoded([section, place]))
        found, place = _SECTIONS[section](source, place, left)
        records += found
        if place is not None:
            return Dumped(records, json_text.encoded([section, place]))
    return Dumped(records)


def _place(after: str) -> tuple[str, Json]:
    try:
        name, place = cast("list[Any]", json_text.decoded(after))
        _NAMES.index(name)
    except (TypeError, ValueError):
        raise InvalidQueryError(f"after is where a page of dump ended, got {shown(after)}") from None
    return name, place


def _store_document(itself: StoreRecord) -> Document:
    return {
        "record": "store",
        "store": itself.store,
        "contract": CONTRACT,
        "pruned_before": {kind: to_micros(before) for kind, before in itself.pruned_before.items()},
        "outcomes_until": None if itself.outcomes_until is None else to_micros(itself.outcomes_until),
        "stands_until": None if itself.stands_until is None else to_micros(itself.stands_until),
    }


def _pruned(source: Source, place: Any, left: int) -> tuple[list[Document], Json]:
    found = source.pruned_keys(None if place is None else (str(place[0]), place[1]), left)
    records: list[Document] = [{"record": "pruned", "prediction_id": one, "model_version": of} for one, of in found]
    end: list[Json] | None = [*found[-1]] if len(found) >= left else None
    return records, end


def _facts(source: Source, place: Any, left: int) -> tuple[list[Document], Json]:
    kinds = list(KINDS)
    first, at, key = place or (kinds[0], None, ())
    pruned = source.itself().pruned_before
    records: list[Document] = []
    for kind in kinds[kinds.index(first) :]:
        after = None if at is None else Cursor(from_micros(at), tuple(key))
        found = source.find(Select(kind, limit=left, after=after))
        left -= len(found)
        last = found[-1].cursor if not left else None
        if goes_by_ranges(kind) and _pruned_with(kind) in pruned:
            records.append({"record": "facts", "kind": kind, "after": _written(after), "until": _written(last)})
        records += [{"record": "fact", "fact": documents.to_document(fact)} for fact in found]
        if last is not None:
            return records, [kind, to_micros(last.at), list(last.key)]
        at = None
    return records, None


KEPT_KINDS = frozenset({KeptTally.kind, KeptCells.kind})
"""What a prune of predictions leaves of them."""


def goes_by_ranges(kind: str) -> bool:
    """Whether the facts of a kind go by their own time, and not by the keys of pruned predictions."""
    return kind not in (Prediction.kind, Outcome.kind)


def _pruned_with(kind: str) -> str:
    """The kind whose prunes change what there is of a kind."""
    return Prediction.kind if kind in KEPT_KINDS else kind


def _written(cursor: Cursor | None) -> list[Json] | None:
    return None if cursor is None else [to_micros(cursor.at), *cursor.key]


def _operations(source: Source, place: Any, left: int) -> tuple[list[Document], Json]:
    found = source.operations(place, left)
    records: list[Document] = [
        {"record": "operation", "operation": one.digest, "at": to_micros(one.at), "result": one.result} for one in found
    ]
    return records, found[-1].digest if len(found) >= left else None


def _documents(source: Source, place: Any, left: int) -> tuple[list[Document], Json]:
    found = source.state("", limit=left, after=place)
    until = list(found)[-1] if len(found) >= left else None
    records: list[Document] = [{"record": "documents", "after": place, "until": until}]
    records += [{"record": "document", "key": key, "document": document} for key, document in found.items()]
    return records, until


_SECTIONS: dict[str, Callable[[Source, Any, int], tuple[list[Document], Json]]] = {
    "pruned": _pruned,
    "facts": _facts,
    "operations": _operations,
    "documents": _documents,
}
_NAMES = tuple(_SECTIONS)


# Restoring ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class DocumentRange:
    """All state documents between two keys, the first excluded and the last included; None is unbounded."""

    after: str | None
    until: str | None
    documents: dict[str, Document] = attrs.field(factory=dict)

    def holds(self, key: str) -> bool:
        """Whether a key lies in it."""
        return (self.after is None or key > self.after) and (self.until is None or key <= self.until)


@attrs.frozen
class FactRange:
    """All facts of a kind between two places of a listing, the first excluded and the last included; None is unbounded.

    Attributes:
        facts: The facts by their keys.
    """

    kind: str
    after: Cursor | None
    until: Cursor | None
    facts: dict[tuple[str, ...], Fact] = attrs.field(factory=dict)

    def holds(self, cursor: Cursor) -> bool:
        """Whether a place lies in it."""
        return (self.after is None or cursor > self.after) and (self.until is None or cursor <= self.until)


@attrs.define
class Restoring:
    """What the records of one call to `restore` say, checked."""

    itself: StoreRecord
    pruned: list[PrunedKey] = attrs.field(factory=list)
    facts: list[Fact] = attrs.field(factory=list)
    operations: list[KeptOperation] = attrs.field(factory=list)
    ranges: list[DocumentRange] = attrs.field(factory=list)
    fact_ranges: list[FactRange] = attrs.field(factory=list)


def restoring(records: Iterable[Mapping[str, Any]]) -> Restoring:
    """The records of a page, or of several of one store, taken apart and checked.

    Raises:
        InvalidRecordError: If one of them is none; it names which.
        SchemaError: If a fact was written by a newer f1mon.
    """
    found: Restoring | None = None
    for number, record in enumerate(records):
        try:
            found = _taken(found, record)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InvalidRecordError):
                raise
            raise InvalidRecordError(f"records[{number}]", record, "must be a record as `dump` makes them") from error
    if found is None:
        raise InvalidRecordError("records", None, "must begin with the record of the store they are of")
    return found


def _taken(found: Restoring | None, record: Mapping[str, Any]) -> Restoring:
    name = record["record"]
    if name == "store":
        itself = _itself(record)
        if found is not None and found.itself.store != itself.store:
            raise InvalidRecordError("store", itself.store, f"must be {found.itself.store}, as before it")
        if found is None:
            return Restoring(itself)
        found.itself = itself
    elif found is None:
        raise InvalidRecordError("records", name, "must begin with the record of the store they are of")
    elif name in _TAKEN:
        _TAKEN[name](found, record)
    else:
        raise InvalidRecordError("record", name, "must be a record as `dump` makes them")
    return found


def _take_pruned(found: Restoring, record: Mapping[str, Any]) -> None:
    model = record["model_version"]
    key = fields.identifier(record["prediction_id"], "prediction_id")
    found.pruned.append((key, None if model is None else fields.identifier(model, "model_version")))


def _take_facts(found: Restoring, record: Mapping[str, Any]) -> None:
    kind = kind_of(record["kind"])
    if not goes_by_ranges(kind.kind):
        raise InvalidRecordError("kind", kind.kind, "must be one whose facts go by themselves")
    found.fact_ranges.append(FactRange(kind.kind, _cursor(kind, record["after"]), _cursor(kind, record["until"])))


def _take_fact(found: Restoring, record: Mapping[str, Any]) -> None:
    fact = documents.from_document(record["fact"])
    found.facts.append(fact)
    if found.fact_ranges and found.fact_ranges[-1].kind == fact.kind:
        found.fact_ranges[-1].facts[fact.key] = fact


def _take_operation(found: Restoring, record: Mapping[str, Any]) -> None:
    result = fields.json_value(record["result"], "result")
    found.operations.append(KeptOperation(str(record["operation"]), from_micros(record["at"]), result))


def _take_documents(found: Restoring, record: Mapping[str, Any]) -> None:
    found.ranges.append(DocumentRange(record["after"], record["until"]))


def _take_document(found: Restoring, record: Mapping[str, Any]) -> None:
    key = check_state_key(record["key"])
    found.ranges[-1].documents[key] = fields.json_object(record["document"], "document")


_TAKEN: dict[str, Callable[[Restoring, Mapping[str, Any]], None]] = {
    "pruned": _take_pruned,
    "facts": _take_facts,
    "fact": _take_fact,
    "operation": _take_operation,
    "documents": _take_documents,
    "document": _take_document,
}


def _itself(record: Mapping[str, Any]) -> StoreRecord:
    if record["contract"] != CONTRACT:
        raise SchemaError(f"this dump is of contract {record['contract']!r}; this f1mon reads {CONTRACT}: update f1mon")
    return StoreRecord(
        store=fields.identifier(record["store"], "store"),
        pruned_before={kind: from_micros(before) for kind, before in record["pruned_before"].items()},
        outcomes_until=_optional(record["outcomes_until"]),
        stands_until=_optional(record["stands_until"]),
    )


def _cursor(kind: type[Fact], place: Any) -> Cursor | None:
    if place is None:
        return None
    at, *key = place
    cursor = Cursor(from_micros(at), tuple(key))
    check_cursor(kind, cursor)
    return cursor


def _optional(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def check_restorable(itself: StoreRecord, offered: StoreRecord, *, empty: bool) -> None:
    """Refuse a restore into a store that holds something else.

    Args:
        itself: The store that is to take the records.
        offered: The store they are of.
        empty: Whether the store holds no fact, document, operation or pruned key.

    Raises:
        RestoreError: If it is neither empty nor was restored from the same store.
    """
    if itself.store == offered.store:
        raise RestoreError("a store cannot be restored from itself")
    if itself.restored_from == offered.store or (empty and itself.restored_from is None):
        return
    holds = f"was restored from {itself.restored_from}" if itself.restored_from else "holds facts of its own"
    raise RestoreError(f"this store {holds}; records of {offered.store} go into an empty one, or one restored from it")
