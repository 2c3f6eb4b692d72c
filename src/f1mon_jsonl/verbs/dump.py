"""Carrying a store away: what a page is made of, and what restoring one writes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeAlias

import attrs

from f1mon_core.errors import ConflictError, CorruptStoreError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact, Outcome, Prediction, same
from f1mon_core.records.times import Clock, from_micros, shifted, to_micros
from f1mon_core.storage.contract import OPERATION_HOURS, Appended
from f1mon_core.storage.dumping import (
    DocumentRange,
    Dumped,
    KeptOperation,
    PrunedKey,
    Restoring,
    StoreRecord,
    check_restorable,
    page,
)
from f1mon_core.storage.following import Following, following
from f1mon_core.storage.select import Select
from f1mon_jsonl.format import decode_document
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.kinds import FactKey
from f1mon_jsonl.index.state import State
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.compaction import Members, Rewrite, limit_members
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.reader import Reader
from f1mon_jsonl.verbs import find, transition
from f1mon_jsonl.verbs.append import stored_fact
from f1mon_jsonl.verbs.prune import drop_predictions
from f1mon_jsonl.writer import Session, Writer

_Facts: TypeAlias = dict[tuple[str, FactKey], Fact]
"""Facts by kind and key."""


def dump(reader: Reader, loader: Loader, clock: Clock, after: str | None) -> Dumped:
    """See `Storage.dump`."""
    return page(_Source(reader, loader, clock), after)


@attrs.frozen
class _Source:
    """What `dumping.page` asks of a journal, as far as it was read."""

    reader: Reader
    loader: Loader
    clock: Clock

    def itself(self) -> StoreRecord:
        return _itself(self.reader)

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        return list(islice(self.loader.index.pruned.behind(after), limit))

    def operations(self, after: str | None, limit: int) -> Sequence[KeptOperation]:
        oldest = to_micros(shifted(self.clock(), -timedelta(hours=OPERATION_HOURS)))
        found = sorted(
            (digest, kept)
            for digest, kept in self.loader.index.state.digested().items()
            if kept[0] >= oldest and (after is None or digest > after)
        )
        return [
            KeptOperation(digest, from_micros(at), decode_document(result)) for digest, (at, result) in found[:limit]
        ]

    def find(self, select: Select) -> Sequence[Fact]:
        return find.find(self.loader, select)

    def state(self, prefix: str, *, limit: int | None = None, after: str | None = None) -> Mapping[str, Document]:
        return transition.state(self.loader.index.state, prefix, None, limit, after)


def _itself(reader: Reader) -> StoreRecord:
    if reader.store is None:
        raise CorruptStoreError(
            "the journal's header is damaged, and with it the store's id; compact() gives a new one"
        )
    index = reader.index
    return StoreRecord(
        store=reader.store,
        pruned_before={kind: from_micros(before) for kind, before in index.horizons.items()},
        outcomes_until=None if index.outcomes_until is None else from_micros(index.outcomes_until),
        stands_until=None if index.stands_until is None else from_micros(index.stands_until),
        restored_from=index.restored_from,
    )


def restore(writer: Writer, session: Session, offered: Restoring) -> Appended:
    """See `Storage.restore`: one line; or, where predictions go that the source pruned, a rewritten journal.

    Raises:
        ConflictError: If a different fact is stored, or offered twice, under one key.
        RestoreError: If the store holds something else.
    """
    index = session.view.index
    empty = not (
        index.counts() or index.state.documents or index.state.results or index.state.restored or len(index.pruned)
    )
    itself = _itself(session.view.reader)
    check_restorable(itself, offered.itself, empty=empty)
    told = following(itself, offered)
    told.refuse(key for key in told.to_know if not _is_known(index, key))
    gone = {(fact.kind, fact.key) for fact in told.gone(partial(find.find, session.loader()))}
    new = _new(index, session.loader(), told.facts, gone)

    def planned() -> Rewrite:
        return _planned(session.view.index, offered, told, new, gone)

    change = planned()
    if change.gone:
        change = writer.rewrite(session, change, planned)
    else:
        session.members += change.lines[0]
    return Appended(change.added, len(offered.facts) - change.added)


def _is_known(index: Index, key: PrunedKey) -> bool:
    """Whether a prediction is stored, or was pruned."""
    item, model = key
    if not {model, None}.isdisjoint(index.pruned.models(item)):
        return True
    return model is not None and index.find(item, model) != NONE


def _new(index: Index, loader: Loader, offered: Sequence[Fact], gone: Collection[tuple[str, FactKey]]) -> _Facts:
    """The facts that are not stored, or will have gone, by kind and key."""
    new: _Facts = {}
    for fact in offered:
        name = (fact.kind, fact.key)
        stored = new.get(name) or (None if name in gone else stored_fact(index, loader, fact))
        if stored is None:
            new[name] = fact
        elif not same(stored, fact):
            raise ConflictError(stored, fact)
    return new


def _planned(
    index: Index, offered: Restoring, told: Following, new: _Facts, gone: Iterable[tuple[str, FactKey]]
) -> Rewrite:
    """What restoring leaves out of the journal, and the one line that it adds."""
    change = Rewrite()
    for kind, key in gone:
        change.drop(kind, index.kinds[kind].entries[key].spot)
    facts = _without_pruned(change, index, told, new)
    change.added = len(facts)
    members: Members = []
    if facts:
        members.append(("facts", encoded([documents.to_document(fact) for fact in facts])))
    change.lines.append(
        members
        + _pruned(index, told.pruned)
        + _limits(index, told.itself)
        + _results(index.state, offered.operations)
        + _documents(index.state, offered.ranges)
    )
    return change


def _without_pruned(change: Rewrite, index: Index, told: Following, new: _Facts) -> list[Fact]:
    """Leave out stored predictions that the source pruned, and answer the new facts without what was pruned.

    The outcomes of an item go with its last stored prediction unless they are offered anew: those that are not label
    no prediction that was made since.
    """
    pruned: dict[str, set[str | None]] = {}
    for item, model in told.pruned:
        pruned.setdefault(item, set()).add(model)

    def goes(item: str, model: str) -> bool:
        return not {model, None}.isdisjoint({*pruned.get(item, ()), *index.pruned.models(item)})

    table, links = index.predictions, index.outcomes
    gone = [row for item in pruned for row in table.of_item(item) if goes(*index.prediction_key(row))]
    drop_predictions(change, index, gone)
    going = {*gone}
    offered = {one.prediction_id for one in told.facts if isinstance(one, Prediction) and not goes(*one.key)}

    def is_orphaned(item: str) -> bool:
        known = item in pruned or item in index.pruned
        return known and item not in offered and going.issuperset(table.of_item(item))

    again = {one.key for one in told.facts if isinstance(one, Outcome) and not is_orphaned(one.prediction_id)}
    for item in pruned:
        if going.issuperset(table.of_item(item)):
            for link in index.links(item):
                if index.outcome_key(link) not in again:
                    change.drop("outcome", (links.line[link], links.item[link]))
    return [
        fact
        for fact in new.values()
        if not (isinstance(fact, Prediction) and goes(*fact.key))
        and not (isinstance(fact, Outcome) and is_orphaned(fact.prediction_id))
    ]


def _pruned(index: Index, keys: Iterable[PrunedKey]) -> Members:
    """What a line says of pruned keys that are not known yet."""
    by_model: dict[str, list[str]] = {}
    every: list[str] = []
    for item, model in keys:
        if model in index.pruned.models(item):
            continue
        (every if model is None else by_model.setdefault(model, [])).append(item)
    members: Members = [("pruned", encoded([*every]))] if every else []
    return members + ([("pruned_keys", encoded({of: [*items] for of, items in by_model.items()}))] if by_model else [])


def _limits(index: Index, itself: StoreRecord) -> Members:
    """What a line says of the store and of prunes, if it is news."""
    horizons = {kind: to_micros(before) for kind, before in itself.pruned_before.items()}
    outcomes_until, stands_until = (
        None if instant is None else to_micros(instant) for instant in (itself.outcomes_until, itself.stands_until)
    )
    present = (index.restored_from, index.horizons, index.outcomes_until, index.stands_until)
    if present == (itself.restored_from, horizons, outcomes_until, stands_until):
        return []
    return limit_members(horizons, outcomes_until, stands_until, itself.restored_from)


def _results(state: State, operations: Iterable[KeptOperation]) -> Members:
    """What a line says of operations that are not known yet."""
    known = state.digested() if operations else {}
    new: dict[str, Json] = {
        one.digest: [to_micros(one.at), one.result] for one in operations if one.digest not in known
    }
    return [("results", encoded(new))] if new else []


def _documents(state: State, ranges: Iterable[DocumentRange]) -> Members:
    """What a line says of documents that are to be what they are in some ranges of keys."""
    changed: dict[str, Document | None] = {}
    for part in ranges:
        keys = state.sorted_keys
        start = 0 if part.after is None else bisect_right(keys, part.after)
        end = len(keys) if part.until is None else bisect_right(keys, part.until)
        changed |= dict.fromkeys([*keys[start:end], *filter(part.holds, changed)])
        changed |= part.documents
    news: Document = {
        key: document
        for key, document in changed.items()
        if (None if document is None else encoded(document).encode()) != state.documents.get(key)
    }
    return [("state", encoded(news))] if news else []
