"""The contract over any store of ordered keys: what it means is here, and where it lies is the backend's to say."""

from __future__ import annotations

import abc
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

import attrs

from f1mon_core.errors import ClosedError, ConflictError, F1monError
from f1mon_core.records import documents
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import KINDS, Fact, Outcome, Prediction, same
from f1mon_core.records.times import Clock, host_clock
from f1mon_core.storage import answers, retention, stamping
from f1mon_core.storage.change import (
    Step,
    check_operation_id,
    check_state,
    check_state_key,
    checked_change,
    operation_digest,
)
from f1mon_core.storage.contract import OPERATION_HOURS, Appended, CheckReport, Problem, Pruned
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
from f1mon_core.storage.keyvalue.contents import Item, Name, Reader, Writer, operation_of
from f1mon_core.storage.keyvalue.keys import KeySpace
from f1mon_core.storage.keyvalue.transaction import Reading, Transaction
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import CellKey, Moments, Tally, TallyQuery, answered

T = TypeVar("T")


class KeyValueStorage(abc.ABC):
    """`Storage` over keys and values of bytes. A backend gives it two methods, and may override any verb.

    Args:
        address: What it was opened on, fit to print: never with a password.
        clock: The clock to stamp with; None for the host's.
        longest_key: How many bytes a key may have; None where there is no limit. At least `keys.SHORTEST`.
    """

    def __init__(self, *, address: str, clock: Clock | None = None, longest_key: int | None = None) -> None:
        self.clock: Clock = clock or host_clock
        self.address = address
        self._keys = KeySpace(longest_key)
        self._closed = False

    @abc.abstractmethod
    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit it; answers what `work` did.

        - From before `work` begins until the commit, no other writer of this place may change anything; or, in a store
          that lets them, what they changed makes the commit fail and `work` is run again from the beginning.
        - An exception of `work` leaves nothing of it.
        - Where nothing was stored it raises `NotWritten`, where a commit's fate is unknown `OutcomeUnknown`.
        - When it returns, what was put is visible to every handle, and durable if the backend claims so.
        """

    @abc.abstractmethod
    def read(self, work: Callable[[Reading], T]) -> T:
        """Run `work` on one snapshot: what commits meanwhile it does not see."""

    def begin(self) -> None:
        """Make the store where there is none. To be called once by whoever has opened it, before any verb."""

        def work(transaction: Transaction) -> None:
            writer = Writer(self._keys, transaction)
            if writer.body("store") is None:
                writer.know(StoreRecord(store=uuid.uuid4().hex))

        self.write(work)

    def _write(self, work: Callable[[Writer], T]) -> T:
        self._refuse_closed()
        return self.write(lambda transaction: work(Writer(self._keys, transaction)))

    def _read(self, work: Callable[[Reader[Reading]], T]) -> T:
        self._refuse_closed()
        return self.read(lambda reading: work(Reader(self._keys, reading)))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("this store is closed; open it again")

    # The verbs

    def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        batch = list(facts)
        return self._write(lambda writer: _append(writer, batch, self.clock()))

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return self._read(lambda reader: reader.find(select))

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        answers.check_count(select, by)
        return answers.fold_count(self.find(select), by)

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return self._read(lambda reader: answered(query, _cells(reader, query)))

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        check_state_key(key)
        digest = operation_digest(key, check_operation_id(operation_id))

        def work(writer: Writer) -> Json:
            now = self.clock()
            if (done := writer.body("operation", digest)) is not None:
                return operation_of(digest, done).result
            change = checked_change(step(cast("Document | None", writer.body("document", key)), now))
            _append(writer, change.facts, now)
            writer.set("document", key, body=change.state)
            others = list(change.also)
            for other, stored in zip(others, writer.bodies([("document", one) for one in others]), strict=True):
                if stored is None:
                    writer.set("document", other, body=change.also[other])
            writer.keep(KeptOperation(digest, now, change.result))
            return change.result

        return self._write(work)

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        check_state(prefix, due_before, limit, after)
        return self._read(lambda reader: reader.state(prefix, due_before=due_before, limit=limit, after=after))

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        horizon = retention.prune_horizon(before)
        kinds = retention.prunable_kinds(keep)
        return self._write(lambda writer: _prune(writer, horizon, kinds, self.clock()))

    def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return self._read(lambda reader: page(_Source(reader, self.clock), after))

    def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        offered = restoring(records)

        def work(writer: Writer) -> Appended:
            itself = writer.itself()
            check_restorable(itself, offered.itself, empty=_is_empty(writer))
            told = following(itself, offered)
            told.refuse(key for key, known in zip(told.to_know, writer.know_of(told.to_know), strict=True) if not known)
            for fact in list(told.gone(writer.find)):
                writer.take(fact)
            # Before what is offered is put: an outcome that went with the last prediction of its item labels none of it
            # that was made since.
            writer.take_predictions(told.pruned)
            new = _new(writer, told.facts)
            writer.put_all(new)
            writer.know(told.itself)
            for one in offered.operations:
                writer.keep(one)
            for part in offered.ranges:
                for key in [key for key in writer.state("", after=part.after) if part.holds(key)]:
                    writer.set("document", key, body=None)
                for key, document in part.documents.items():
                    writer.set("document", key, body=document)
            return Appended(len(new), len(offered.facts) - len(new))

        return self._write(work)

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        return self._read(lambda reader: _check(reader, self.address))

    def close(self) -> None:
        """See `Storage.close`."""
        self._closed = True


# Appending ------------------------------------------------------------------------------------------------------------


def _append(writer: Writer, batch: Sequence[Fact], now: datetime) -> Appended:
    """Look up all that the batch may meet in a few calls, decide fact by fact, and store what is new."""
    ids = sorted({fact.key[0] for fact in _of_items(batch)})
    items = dict(zip(ids, writer.items(ids), strict=True))
    outcomes = writer.outcomes([one for one in ids if items[one].known])
    timed_before = [(fact.kind, fact.key) for fact in batch if fact.at is not None or "at" not in fact.key_fields]
    met = {name: fact for name, fact in zip(timed_before, writer.facts(timed_before), strict=True) if fact is not None}
    pruned_before = writer.itself().pruned_before
    new: dict[Name, Fact] = {}
    unmatched: list[Outcome] = []
    for offered in batch:
        fact = stamping.timed(offered, now, _newest(offered, outcomes))
        if fact is None:
            continue
        name = (fact.kind, fact.key)
        stored = new.get(name) or met.get(name)
        if stored is None and offered.at is None and "at" in fact.key_fields:
            stored = writer.facts([name])[0]
        if stored is not None:
            if not same(stored, fact):
                raise ConflictError(stored, offered)
            continue
        item = items.get(fact.key[0]) if isinstance(fact, Prediction | Outcome) else None
        stamping.refuse_pruned(fact, pruned_before.get(fact.kind), pruned=item is not None and item.is_pruned(fact))
        fact = attrs.evolve(fact, recorded_at=now)
        new[name] = fact
        if isinstance(fact, Prediction):
            items[fact.prediction_id].models.add(fact.model_version)
        elif isinstance(fact, Outcome):
            outcomes.setdefault(fact.prediction_id, []).append(fact)
            unmatched.append(fact)
    writer.put_all(new.values())
    made = [fact for fact in new.values() if isinstance(fact, Prediction)]
    return Appended(
        len(new),
        len(batch) - len(new),
        sum(stamping.is_prelabelled(one, _first_known(outcomes.get(one.prediction_id, ()))) for one in made),
        sum(not items[one.prediction_id].models for one in unmatched),
    )


def _of_items(batch: Iterable[Fact]) -> Iterator[Prediction | Outcome]:
    return (fact for fact in batch if isinstance(fact, Prediction | Outcome))


def _newest(offered: Fact, outcomes: Mapping[str, Sequence[Outcome]]) -> Outcome | None:
    if not isinstance(offered, Outcome):
        return None
    return max(outcomes.get(offered.prediction_id, ()), key=lambda one: one.instant, default=None)


def _first_known(outcomes: Iterable[Outcome]) -> datetime | None:
    return min((one.instant for one in outcomes), default=None)


def _new(writer: Writer, offered: Sequence[Fact]) -> list[Fact]:
    """The facts to be restored that are not stored yet, without those that were pruned; predictions come first."""
    names = [(fact.kind, fact.key) for fact in offered]
    ids = sorted({fact.key[0] for fact in _of_items(offered)})
    items = dict(zip(ids, writer.items(ids), strict=True))
    new: dict[Name, Fact] = {}
    for fact, name, stored in zip(offered, names, writer.facts(names), strict=True):
        there = new.get(name) or stored
        if there is not None:
            if not same(there, fact):
                raise ConflictError(there, fact)
            continue
        if isinstance(fact, Prediction | Outcome) and items[fact.prediction_id].is_pruned(fact):
            continue
        if isinstance(fact, Prediction):
            items[fact.prediction_id].models.add(fact.model_version)
        new[name] = fact
    return list(new.values())


# Tallying and pruning -------------------------------------------------------------------------------------------------


def _cells(reader: Reader[Reading], query: TallyQuery) -> Iterator[tuple[CellKey, Moments]]:
    itself = reader.itself()
    behind = retention.check_kept(
        query, itself.pruned_before.get("prediction"), itself.outcomes_until, itself.stands_until
    )
    # By outcome time a prediction stands at its own time or later, so nothing made at the end or behind it counts.
    since = query.since if query.basis == "prediction" else None
    pages = reader.pages(Select("prediction", since, query.until))
    if query.beside is not None:  # what both models answered must lie side by side
        pages = iter([[fact for page in reader.pages(Select("prediction")) for fact in page]])
    for made in pages:
        predictions = cast("list[Prediction]", made)
        outcomes = reader.outcomes({one.prediction_id for one in predictions})
        yield from answers.fold_cells(predictions, outcomes, query)
    for select in retention.kept_selects(query) if behind else ():
        yield from retention.kept_cells(reader.find(select), query)


def _prune(writer: Writer, horizon: datetime, kinds: Sequence[str], now: datetime) -> Pruned:
    removed: dict[str, int] = {}
    itself = writer.itself()
    held = retention.held_by(writer.state("").values())
    for kind in kinds:
        old = writer.find(Select(kind, until=horizon))
        if kind == "prediction":
            made = cast("list[Prediction]", old)
            outcomes = writer.outcomes({one.prediction_id for one in made})
            kept = retention.fold_kept(made, outcomes, horizon)
            writer.put_all(attrs.evolve(fact, recorded_at=now) for fact in kept)
            stands = [
                max(one.instant, first)
                for one in made
                if (first := _first_known(outcomes.get(one.prediction_id, ()))) is not None
            ]
            if stands:
                until = max(stands if itself.stands_until is None else [*stands, itself.stands_until])
                itself = attrs.evolve(itself, stands_until=until)
            removed["prediction"] = len(made)
            removed["outcome"] = writer.take_predictions([(one.prediction_id, one.model_version) for one in made])
        else:
            gone = [fact for fact in old if fact.key[0] not in held]
            for fact in gone:
                writer.take(fact)
            removed[kind] = len(gone)
    earlier = itself.pruned_before
    moved = {kind: max(horizon, earlier.get(kind, horizon)) for kind in kinds}
    writer.know(attrs.evolve(itself, pruned_before={**earlier, **moved}))
    oldest = now - timedelta(hours=OPERATION_HOURS)
    for digest, body in [(parts[1], body) for parts, body in writer.scan("operation")]:
        if operation_of(digest, body).at < oldest:
            writer.set("operation", digest, body=None)
    return Pruned(horizon, {kind: number for kind, number in removed.items() if number})


# The whole store ------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Source:
    """What `dumping.page` asks of a store."""

    reader: Reader[Reading]
    clock: Clock

    def itself(self) -> StoreRecord:
        return self.reader.itself()

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        return self.reader.pruned_keys(after, limit)

    def operations(self, after: str | None, limit: int) -> Sequence[KeptOperation]:
        return self.reader.operations(after, limit, self.clock() - timedelta(hours=OPERATION_HOURS))

    def find(self, select: Select) -> Sequence[Fact]:
        return self.reader.find(select)

    def state(self, prefix: str, *, limit: int | None = None, after: str | None = None) -> Mapping[str, Document]:
        return self.reader.state(prefix, limit=limit, after=after)


def _is_empty(reader: Reader[Transaction]) -> bool:
    tables = ("fact", "item", "document", "operation")
    return all(next(reader.scan(table), None) is None for table in tables)


def _check(reader: Reader[Reading], address: str) -> CheckReport:
    """Read every fact, and whether it is listed by its time and known to its item; and every document and operation."""
    problems: list[Problem] = []

    def error(name: Name, message: str) -> None:
        kind, key = name
        problems.append(Problem("error", f"{address}: {kind} {'/'.join(key)}", message))

    stored = {(parts[1], parts[2:]): body for parts, body in reader.scan("fact")}
    for name, body in stored.items():
        try:
            fact = documents.from_document(cast("Document", body))
        except (F1monError, TypeError) as refused:
            error(name, f"cannot be read: {refused}")
        else:
            if (fact.kind, fact.key) != name:
                error(name, f"holds another fact: {fact.kind} {'/'.join(fact.key)}")
    listed = {(kind, key) for kind in KINDS for key in reader.listed(Select(kind))}
    known = {name for parts, body in reader.scan("item") for name in Item.of(body).names(parts[1])}
    of_items = {name for name in stored if name[0] in {"prediction", "outcome"}}
    for wrong, message in (
        (stored.keys() - listed, "is stored and not listed by its time"),
        (listed - stored.keys(), "is listed by its time and not stored"),
        (of_items - known, "is stored and not known to its item"),
        (known - of_items, "is known to its item and not stored"),
    ):
        for name in sorted(wrong):
            error(name, message)
    for parts, body in reader.scan("operation"):
        operation_of(parts[1], body)
    reader.state("")
    return CheckReport(dict(Counter(kind for kind, _ in stored)), problems)
