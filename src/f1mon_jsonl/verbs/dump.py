"""Carrying a store away: what a page is made of, and what restoring one writes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import TypeAlias

import attrs

from f1mon_core.errors import ConflictError, CorruptStoreError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact, Outcome, Prediction, same
from f1mon_core.records.times import Clock, from_micros, to_micros
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
from f1mon_core.storage.select import Select
from f1mon_jsonl.format import decode_document
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
        oldest = to_micros(self.clock() - timedelta(hours=OPERATION_HOURS))
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
    check_restorable(_itself(session.view.reader), offered.itself, empty=empty)
    new = _new(index, session.loader(), offered.facts)

    def planned() -> Rewrite:
        return _planned(session.view.index, offered, new)

    change = planned()
    if change.gone:
        writer.rewrite(session, change, planned)
    else:
        session.members += change.lines[0]
    return Appended(len(new), len(offered.facts) - len(new))


def _new(index: Index, loader: Loader, offered: Sequence[Fact]) -> _Facts:
    """The facts that are not stored, by kind and key."""
    new: _Facts = {}
    for fact in offered:
        name = (fact.kind, fact.key)
        stored = new.get(name) or stored_fact(index, loader, fact)
        if stored is None:
            new[name] = fact
        elif not same(stored, fact):
            raise ConflictError(stored, fact)
    return new


def _planned(index: Index, offered: Restoring, new: _Facts) -> Rewrite:
    """What restoring leaves out of the journal, and the one line that it adds."""
    change = Rewrite()
    facts = _without_pruned(change, index, offered, new)
    members: Members = []
    if facts:
        members.append(("facts", encoded([documents.to_document(fact) for fact in facts])))
    change.lines.append(
        members
        + _pruned(index, offered.pruned)
        + _limits(index, offered.itself)
        + _results(index.state, offered.operations)
        + _documents(index.state, offered.ranges)
    )
    return change


def _without_pruned(change: Rewrite, index: Index, offered: Restoring, new: _Facts) -> list[Fact]:
    """Leave out stored predictions that the source pruned, and answer the new facts without such.

    The outcomes of an item go with its last stored prediction unless they are offered anew: those that are not label
    no prediction that was made since.
    """
    pruned: dict[str, set[str | None]] = {}
    for item, model in offered.pruned:
        pruned.setdefault(item, set()).add(model)

    def goes(item: str, model: str) -> bool:
        return item in pruned and not pruned[item].isdisjoint({model, None})

    table, links = index.predictions, index.outcomes
    gone = [row for item in pruned for row in table.of_item(item) if goes(*index.prediction_key(row))]
    drop_predictions(change, index, gone)
    going = {*gone}
    alone = {item for item in pruned if going.issuperset(table.of_item(item))}
    orphaned = alone.difference(
        one.prediction_id for one in offered.facts if isinstance(one, Prediction) and not goes(*one.key)
    )
    again = {one.key for one in offered.facts if isinstance(one, Outcome) and one.prediction_id not in orphaned}
    for item in alone:
        for link in index.links(item):
            if index.outcome_key(link) not in again:
                change.drop("outcome", (links.line[link], links.item[link]))
    return [
        fact
        for fact in new.values()
        if not (isinstance(fact, Prediction) and goes(*fact.key))
        and not (isinstance(fact, Outcome) and fact.prediction_id in orphaned)
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
    """What a line says of the source's prunes, if it is news."""
    horizons = {kind: to_micros(before) for kind, before in itself.pruned_before.items()}
    outcomes_until, stands_until = (
        None if instant is None else to_micros(instant) for instant in (itself.outcomes_until, itself.stands_until)
    )
    present = (index.restored_from, index.horizons, index.outcomes_until, index.stands_until)
    if present == (itself.store, horizons, outcomes_until, stands_until):
        return []
    return limit_members(horizons, outcomes_until, stands_until, itself.store)


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
