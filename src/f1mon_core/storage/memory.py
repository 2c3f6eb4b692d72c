"""MemoryStorage: the contract in its plainest form, for tests and notebooks. Nothing outlives the handle."""

from __future__ import annotations

import copy
import operator
import threading
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core.errors import ClosedError, ConfigurationError, ConflictError, shown
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact, Outcome, Prediction, same
from f1mon_core.records.times import Clock, host_clock, shifted, to_micros
from f1mon_core.storage import answers, retention, stamping
from f1mon_core.storage.address import masked
from f1mon_core.storage.change import (
    Step,
    check_operation_id,
    check_state,
    check_state_key,
    checked_change,
    due_of,
    operation_digest,
)
from f1mon_core.storage.contract import OPERATION_HOURS, Appended, CheckReport, Pruned
from f1mon_core.storage.dumping import (
    Dumped,
    KeptOperation,
    PrunedKey,
    StoreRecord,
    check_restorable,
    page,
    restoring,
)
from f1mon_core.storage.following import following
from f1mon_core.storage.registry import Backend
from f1mon_core.storage.retention import held_by
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery, answered

_Put: TypeAlias = tuple[Any, ...]
"""A function written in C, and what it is called with."""


def _at_once(puts: Iterable[_Put]) -> None:
    """Call one after the other without a moment for an interrupt between them, as one call in C."""
    deque(starmap(operator.call, puts), maxlen=0)


@attrs.define
class _Contents:
    """All that a store holds. A batch works on a copy of what it changes and puts it back whole."""

    facts: dict[str, dict[tuple[str, ...], Fact]] = attrs.field(factory=dict)
    models: dict[str, set[str]] = attrs.field(factory=dict)
    outcomes: dict[str, list[Outcome]] = attrs.field(factory=dict)
    documents: dict[str, Document] = attrs.field(factory=dict)
    operations: dict[str, KeptOperation] = attrs.field(factory=dict)
    pruned: dict[str, set[str | None]] = attrs.field(factory=dict)
    itself: StoreRecord = attrs.field(factory=lambda: StoreRecord(store=uuid.uuid4().hex))

    def of_kind(self, kind: str) -> dict[tuple[str, ...], Fact]:
        return self.facts.setdefault(kind, {})

    def is_pruned(self, fact: Fact, also: Collection[str] = ()) -> bool:
        """Whether a fact would change what was pruned; predictions of the items of `also` are about to be stored."""
        if isinstance(fact, Prediction):
            return not {fact.model_version, None}.isdisjoint(self.pruned.get(fact.prediction_id, ()))
        if isinstance(fact, Outcome):
            item = fact.prediction_id
            return item in self.pruned and item not in also and not self.models.get(item)
        return False

    def put(self, fact: Fact) -> None:
        _at_once(self.puts([fact]))

    def puts(self, facts: Iterable[Fact]) -> list[_Put]:
        """What stores facts."""
        models: dict[str, set[str]] = {}
        outcomes: dict[str, list[Outcome]] = {}
        puts: list[_Put] = []
        for fact in facts:
            puts.append((operator.setitem, self.of_kind(fact.kind), fact.key, fact))
            if isinstance(fact, Prediction):
                item = fact.prediction_id
                known = self.models[item] if item in self.models else models.setdefault(item, set())
                puts.append((set.add, known, fact.model_version))
            elif isinstance(fact, Outcome):
                item = fact.prediction_id
                told = self.outcomes[item] if item in self.outcomes else outcomes.setdefault(item, [])
                puts.append((list.append, told, fact))
        return [*puts, (dict.update, self.models, models), (dict.update, self.outcomes, outcomes)]

    def copied(self) -> _Contents:
        """A copy that changes by itself."""
        return _Contents(
            {kind: facts.copy() for kind, facts in self.facts.items()},
            {item: models.copy() for item, models in self.models.items()},
            {item: outcomes.copy() for item, outcomes in self.outcomes.items()},
            self.documents.copy(),
            self.operations.copy(),
            {item: models.copy() for item, models in self.pruned.items()},
            self.itself,
        )

    def put_unless_pruned(self, fact: Fact) -> bool:
        """Store a fact, unless it is of what was pruned; answers whether it was stored."""
        if self.is_pruned(fact):
            return False
        self.put(fact)
        return True

    def knows(self, key: PrunedKey) -> bool:
        """Whether a prediction is stored, or was pruned."""
        item, model = key
        return model in self.models.get(item, ()) or not {model, None}.isdisjoint(self.pruned.get(item, ()))

    def take_prediction(self, made: Prediction) -> int:
        """Remove a prediction for good; answers how many outcomes went with it, its item's last."""
        del self.of_kind("prediction")[made.key]
        self.pruned.setdefault(made.prediction_id, set()).add(made.model_version)
        self.models[made.prediction_id].discard(made.model_version)
        return self.take_orphans(made.prediction_id)

    def take_orphans(self, item: str) -> int:
        """Remove the outcomes of an item of which no prediction is stored; answers how many went."""
        if self.models.get(item):
            return 0
        self.models.pop(item, None)
        gone = self.outcomes.pop(item, [])
        for one in gone:
            del self.of_kind("outcome")[one.key]
        return len(gone)

    def take_pruned(self, keys: Iterable[PrunedKey]) -> None:
        """Know keys as pruned; what is stored of them goes."""
        for item, model in keys:
            self.pruned.setdefault(item, set()).add(model)
            for of in [of for of in self.models.get(item, ()) if model in (None, of)]:
                self.take_prediction(cast("Prediction", self.of_kind("prediction")[item, of]))
            self.take_orphans(item)


class MemoryStorage:
    """The storage contract over dictionaries, guarded by one lock; claims neither durability nor sharing."""

    def __init__(self, *, clock: Clock | None = None, address: str = "memory://") -> None:
        self.clock: Clock = clock or host_clock
        self.address = address
        self._lock = threading.RLock()
        self._contents: _Contents | None = _Contents()

    def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        batch = list(facts)
        with self._lock:
            appended, puts = self._staged(batch, self.clock())
            _at_once(puts)
            return appended

    def _staged(self, batch: Sequence[Fact], now: datetime) -> tuple[Appended, list[_Put]]:
        """What appending a batch comes to, and what commits it, which nothing can refuse any more."""
        contents = self._open()
        staged: dict[tuple[str, tuple[str, ...]], Fact] = {}
        outcomes: dict[str, list[Outcome]] = {}
        items: set[str] = set()
        repeated = 0
        for offered in batch:
            fact = stamping.timed(offered, now, _newest(offered, contents.outcomes, outcomes))
            if fact is None:
                repeated += 1
                continue
            key = fact.key
            stored = staged.get((fact.kind, key)) or contents.of_kind(fact.kind).get(key)
            if stored is not None:
                if not same(stored, fact):
                    raise ConflictError(stored, offered)
                repeated += 1
                continue
            pruned_before = contents.itself.pruned_before.get(fact.kind)
            stamping.refuse_pruned(fact, pruned_before, pruned=contents.is_pruned(fact, items))
            fact = attrs.evolve(fact, recorded_at=now)
            staged[fact.kind, key] = fact
            if isinstance(fact, Outcome):
                outcomes.setdefault(fact.prediction_id, []).append(fact)
            elif isinstance(fact, Prediction):
                items.add(fact.prediction_id)

        def first_known(item: str) -> datetime | None:
            known = [*contents.outcomes.get(item, ()), *outcomes.get(item, ())]
            return min(map(_instant, known), default=None)

        made = [fact for fact in staged.values() if isinstance(fact, Prediction)]
        appended = Appended(
            len(staged),
            repeated,
            sum(stamping.is_prelabelled(one, first_known(one.prediction_id)) for one in made),
            sum(len(found) for item, found in outcomes.items() if item not in items and item not in contents.models),
        )
        return appended, contents.puts(staged.values())

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        with self._lock:
            contents = self._open()
            found = answers.fold_find(contents.of_kind(select.kind).values(), select, contents.of_kind)
            return [copy.deepcopy(fact) for fact in found]

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        answers.check_count(select, by)
        return answers.fold_count(self.find(select), by)

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        with self._lock:
            contents = self._open()
            itself = contents.itself
            behind = retention.check_kept(
                query, itself.pruned_before.get("prediction"), itself.outcomes_until, itself.stands_until
            )
            cells = [*answers.fold_cells(self._predictions(), contents.outcomes, query)]
            for select in retention.kept_selects(query) if behind else ():
                cells += retention.kept_cells(self.find(select), query)
            return answered(query, cells)

    def _predictions(self) -> Collection[Prediction]:
        return cast("Collection[Prediction]", self._open().of_kind("prediction").values())

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        check_state_key(key)
        check_operation_id(operation_id)
        digest = operation_digest(key, operation_id)
        with self._lock:
            contents = self._open()
            now = self.clock()
            if (known := contents.operations.get(digest)) is not None:
                return copy.deepcopy(known.result)
            change = checked_change(step(copy.deepcopy(contents.documents.get(key)), now))
            _, puts = self._staged(change.facts, now)
            documents = contents.documents
            if change.state is None:
                puts.append((dict.pop, documents, key, None))
            else:
                puts.append((operator.setitem, documents, key, change.state))
            puts += [(dict.setdefault, documents, other, document) for other, document in change.also.items()]
            puts.append((operator.setitem, contents.operations, digest, KeptOperation(digest, now, change.result)))
            _at_once(puts)
            return copy.deepcopy(change.result)

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        check_state(prefix, due_before, limit, after)
        due = None if due_before is None else to_micros(due_before)
        with self._lock:
            documents = self._open().documents
            found = sorted(
                key
                for key, document in documents.items()
                if key.startswith(prefix)
                and (after is None or key > after)
                and (due is None or ((own := due_of(document)) is not None and own < due))
            )
            return {key: copy.deepcopy(documents[key]) for key in found[:limit]}

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        before = retention.prune_horizon(before)
        kinds = retention.prunable_kinds(keep)
        with self._lock:
            contents = self._open().copied()  # put back whole: an interrupt leaves what was there
            now = self.clock()
            removed = self._prune_predictions(contents, before, now) if "prediction" in kinds else {}
            held = held_by(contents.documents.values())
            for kind, facts in contents.facts.items():
                if kind == "prediction" or kind not in kinds:
                    continue
                gone = [key for key, fact in facts.items() if fact.instant < before and key[0] not in held]
                for key in gone:
                    del facts[key]
                if gone:
                    removed[kind] = len(gone)
            earlier = contents.itself.pruned_before
            moved = {kind: max(before, earlier.get(kind, before)) for kind in kinds}
            contents.itself = attrs.evolve(contents.itself, pruned_before={**earlier, **moved})
            oldest = shifted(now, -timedelta(hours=OPERATION_HOURS))
            contents.operations = {name: kept for name, kept in contents.operations.items() if kept.at >= oldest}
            self._contents = contents
            return Pruned(before, removed)

    @staticmethod
    def _prune_predictions(contents: _Contents, before: datetime, now: datetime) -> dict[str, int]:
        predictions = cast("Collection[Prediction]", contents.of_kind("prediction").values())
        gone = [made for made in predictions if made.instant < before]
        stands = [
            max(made.instant, min(map(_instant, known)))
            for made in gone
            if (known := contents.outcomes.get(made.prediction_id))
        ]
        for fact in retention.fold_kept(gone, contents.outcomes, before):
            contents.put(attrs.evolve(fact, recorded_at=now))
        if stands:
            latest = max([*stands, *filter(None, [contents.itself.stands_until])])
            contents.itself = attrs.evolve(contents.itself, stands_until=latest)
        outcomes = sum(contents.take_prediction(made) for made in gone)
        removed = {"prediction": len(gone), "outcome": outcomes}
        return {kind: number for kind, number in removed.items() if number}

    def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        with self._lock:
            return page(_Source(self, self._open()), after)

    def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        offered = restoring(records)
        with self._lock:
            contents = self._open()
            empty = not (any(contents.facts.values()) or contents.documents or contents.operations or contents.pruned)
            check_restorable(contents.itself, offered.itself, empty=empty)
            told = following(contents.itself, offered)
            told.refuse(key for key in told.to_know if not contents.knows(key))
            gone = {(fact.kind, fact.key) for fact in told.gone(self.find)}
            new: dict[tuple[str, tuple[str, ...]], Fact] = {}
            for fact in told.facts:
                name = (fact.kind, fact.key)
                stored = new.get(name) or (None if name in gone else contents.of_kind(fact.kind).get(fact.key))
                if stored is None:
                    new[name] = fact
                elif not same(stored, fact):
                    raise ConflictError(stored, fact)
            contents.itself = told.itself
            for kind, of in gone:
                del contents.of_kind(kind)[of]
            # What was pruned goes before what is offered is put: an outcome that went with the last prediction of its
            # item labels no prediction of it that was made since.
            contents.take_pruned(told.pruned)
            put = [fact for fact in new.values() if contents.put_unless_pruned(fact)]
            contents.operations |= {one.digest: one for one in offered.operations}
            for part in offered.ranges:
                for key in [key for key in contents.documents if part.holds(key) and key not in part.documents]:
                    del contents.documents[key]
                contents.documents |= part.documents
            return Appended(len(put), len(offered.facts) - len(put))

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        with self._lock:
            return CheckReport({kind: len(facts) for kind, facts in self._open().facts.items() if facts})

    def close(self) -> None:
        """See `Storage.close`."""
        self._contents = None

    def _open(self) -> _Contents:
        if self._contents is None:
            raise ClosedError("this store is closed; open it again")
        return self._contents


@attrs.frozen
class _Source:
    """What `dumping.page` asks of a store in memory."""

    store: MemoryStorage
    contents: _Contents

    def itself(self) -> StoreRecord:
        return self.contents.itself

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        keys = [(item, model) for item, models in self.contents.pruned.items() for model in models]
        keys.sort(key=_order)
        return [key for key in keys if after is None or _order(key) > _order(after)][:limit]

    def operations(self, after: str | None, limit: int) -> Sequence[KeptOperation]:
        oldest = shifted(self.store.clock(), -timedelta(hours=OPERATION_HOURS))
        kept = sorted(self.contents.operations.values(), key=lambda one: one.digest)
        return [one for one in kept if one.at >= oldest and (after is None or one.digest > after)][:limit]

    def find(self, select: Select) -> Sequence[Fact]:
        return self.store.find(select)

    def state(self, prefix: str, *, limit: int | None = None, after: str | None = None) -> Mapping[str, Document]:
        return self.store.state(prefix, limit=limit, after=after)


def _order(key: PrunedKey) -> tuple[str, str]:
    return key[0], key[1] or ""


def _instant(fact: Fact) -> datetime:
    return fact.instant


def _newest(offered: Fact, *held: Mapping[str, Sequence[Outcome]]) -> Outcome | None:
    """The outcome with the newest known_at of an outcome's item."""
    if not isinstance(offered, Outcome):
        return None
    return max(
        (one for outcomes in held for one in outcomes.get(offered.prediction_id, ())), key=_instant, default=None
    )


def open_memory(*, url: str = "memory://", clock: Clock | None = None) -> MemoryStorage:
    """Open an empty store in memory."""
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be an address, memory://, got {shown(url)}")
    return MemoryStorage(clock=clock, address=masked(url))


backend = Backend(name="memory", open=open_memory, durable=False, shared=False, contract=2)
