"""MemoryStorage: the contract in its plainest form, for tests and notebooks. Nothing outlives the handle."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

import attrs

from f1mon_core.errors import ClosedError, ConflictError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact, KeptTally, Outcome, Prediction, same
from f1mon_core.records.times import Clock, host_clock, to_micros
from f1mon_core.storage import answers, retention, stamping
from f1mon_core.storage.address import masked
from f1mon_core.storage.change import Step, check_state_key, checked_change, due_of
from f1mon_core.storage.contract import OPERATION_HOURS, Appended, CheckReport, Pruned
from f1mon_core.storage.registry import Backend
from f1mon_core.storage.retention import held_by
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery, check_instant

T = TypeVar("T")


@attrs.define
class _Contents:
    """All that a store holds. A batch works on a copy of what it changes and puts it back whole."""

    facts: dict[str, dict[tuple[str, ...], Fact]] = attrs.field(factory=dict)
    outcomes: dict[str, list[Outcome]] = attrs.field(factory=dict)
    documents: dict[str, Document] = attrs.field(factory=dict)
    operations: dict[tuple[str, str], tuple[datetime, Json]] = attrs.field(factory=dict)
    pruned_before: dict[str, datetime] = attrs.field(factory=dict)
    pruned_ids: set[str] = attrs.field(factory=set)
    outcomes_until: datetime | None = None

    def of_kind(self, kind: str) -> dict[tuple[str, ...], Fact]:
        return self.facts.setdefault(kind, {})


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
            appended, commit = self._staged(batch, self.clock())
            commit()
            return appended

    def _staged(self, batch: Sequence[Fact], now: datetime) -> tuple[Appended, Callable[[], None]]:
        """What appending a batch comes to, and the commit that nothing can refuse any more."""
        contents = self._open()
        staged: dict[tuple[str, tuple[str, ...]], Fact] = {}
        staged_outcomes: dict[str, list[Outcome]] = {}
        repeated = 0
        for offered in batch:
            fact = stamping.timed(offered, now, _newest(offered, contents.outcomes, staged_outcomes))
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
            pruned = isinstance(fact, Prediction | Outcome) and fact.prediction_id in contents.pruned_ids
            stamping.refuse_pruned(fact, contents.pruned_before.get(fact.kind), pruned=pruned)
            fact = attrs.evolve(fact, recorded_at=now)
            staged[fact.kind, key] = fact
            if isinstance(fact, Outcome):
                staged_outcomes.setdefault(fact.prediction_id, []).append(fact)

        def commit() -> None:
            for (kind, key), fact in staged.items():
                contents.of_kind(kind)[key] = fact
            for prediction_id, outcomes in staged_outcomes.items():
                contents.outcomes.setdefault(prediction_id, []).extend(outcomes)

        return Appended(len(staged), repeated), commit

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
            behind = retention.check_kept(query, contents.pruned_before.get("prediction"), contents.outcomes_until)
            predictions = cast("Collection[Prediction]", contents.of_kind("prediction").values())
            tally = answers.fold_tally(predictions, contents.outcomes, query)
            if behind:
                kept = cast("Collection[KeptTally]", contents.of_kind("kept_tally").values())
                tally += retention.kept_tally(kept, query)
            return tally

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        check_state_key(key)
        with self._lock:
            contents = self._open()
            now = self.clock()
            if (key, operation_id) in contents.operations:
                return copy.deepcopy(contents.operations[key, operation_id][1])
            change = checked_change(step(copy.deepcopy(contents.documents.get(key)), now))
            _, commit = self._staged(change.facts, now)
            commit()
            if change.state is None:
                contents.documents.pop(key, None)
            else:
                contents.documents[key] = change.state
            for other, document in change.also.items():
                contents.documents.setdefault(other, document)
            contents.operations[key, operation_id] = (now, change.result)
            return copy.deepcopy(change.result)

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        check_state_key(prefix, prefix=True)
        check_instant("due_before", due_before)
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
        pruned_before = retention.prune_horizon(before)
        kinds = retention.prunable_kinds(keep)
        with self._lock:
            contents = self._open()
            now = self.clock()
            removed: dict[str, int] = {}
            if "prediction" in kinds:
                removed |= self._prune_predictions(contents, pruned_before, now)
            held = held_by(contents.documents.values())
            for kind, facts in contents.facts.items():
                if kind == "prediction" or kind not in kinds:
                    continue
                gone = [key for key, fact in facts.items() if fact.instant < pruned_before and key[0] not in held]
                for key in gone:
                    del facts[key]
                if gone:
                    removed[kind] = len(gone)
            for kind in kinds:
                contents.pruned_before[kind] = max(pruned_before, contents.pruned_before.get(kind, pruned_before))
            oldest = now - timedelta(hours=OPERATION_HOURS)
            contents.operations = {name: kept for name, kept in contents.operations.items() if kept[0] > oldest}
            return Pruned(pruned_before, removed)

    @staticmethod
    def _prune_predictions(contents: _Contents, pruned_before: datetime, now: datetime) -> dict[str, int]:
        predictions = contents.of_kind("prediction")
        gone = [cast("Prediction", fact) for fact in predictions.values() if fact.instant < pruned_before]
        outcomes = [one for made in gone for one in contents.outcomes.get(made.prediction_id, ())]
        firsts = [
            min(contents.outcomes[made.prediction_id], key=_instant).instant
            for made in gone
            if contents.outcomes.get(made.prediction_id)
        ]
        for fact in retention.kept_facts(
            answers.fold_tally(gone, contents.outcomes, retention.kept_query(pruned_before))
        ):
            contents.of_kind("kept_tally")[fact.key] = attrs.evolve(fact, recorded_at=now)
        if firsts:
            contents.outcomes_until = max([*firsts, *([contents.outcomes_until] if contents.outcomes_until else [])])
        for made in gone:
            del predictions[made.key]
            contents.outcomes.pop(made.prediction_id, None)
            contents.pruned_ids.add(made.prediction_id)
        for one in outcomes:
            del contents.of_kind("outcome")[one.key]
        removed = {"prediction": len(gone), "outcome": len(outcomes)}
        return {kind: number for kind, number in removed.items() if number}

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


def _instant(fact: Fact) -> datetime:
    return fact.instant


def _newest(offered: Fact, *held: Mapping[str, Sequence[Outcome]]) -> Outcome | None:
    """The outcome with the newest known_at of an outcome's prediction."""
    if not isinstance(offered, Outcome):
        return None
    return max(
        (one for outcomes in held for one in outcomes.get(offered.prediction_id, ())), key=_instant, default=None
    )


def open_memory(*, url: str = "memory://", clock: Clock | None = None) -> MemoryStorage:
    """Open an empty store in memory."""
    return MemoryStorage(clock=clock, address=masked(url))


backend = Backend(name="memory", open=open_memory, durable=False, shared=False)
