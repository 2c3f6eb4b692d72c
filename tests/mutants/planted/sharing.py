"""Faults of several handles, of reopening and of several processes, over the guide's store in one SQLite file."""

import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import attrs

from f1mon_core.errors import ClosedError, ConflictError
from f1mon_core.records.kinds import same
from f1mon_core.storage import stamping
from f1mon_core.storage.contract import Appended
from f1mon_jsonl import jsonl_exists, open_jsonl
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.storage import JSONLStorage
from planted.guide import onefile
from planted.registry import dawdling, fault, rewired

OneFile = onefile().OneFileStorage
_append = onefile()._append


class _Over(OneFile):
    """Opens as the backend does."""

    def __init__(self, *, path, clock=None):
        super().__init__(path, clock)


@fault(
    "BEGIN IMMEDIATE is taken away: the transaction begins at the first write",
    caught_by="transitions_of_several_processes_lose_nothing",
    over="onefile",
)
class BeginsAtTheFirstWrite(_Over):
    @contextmanager
    def _transaction(self, begin):
        with closing(sqlite3.connect(self._path, timeout=60)) as db:  # the driver's default
            if begin == "BEGIN":
                db.execute(begin)
            yield db
            db.commit()

    def transition(self, key, step, *, operation_id):
        return super().transition(key, dawdling(step), operation_id=operation_id)


@fault(
    "the cooldown is kept in memory only",
    caught_by="processes_that_evaluate_one_rule_fire_once_in_each_cooldown",
    over="onefile",
)
class CooldownInMemory(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._own = {}

    def transition(self, key, step, *, operation_id):
        def remembered(_, now):
            change = step(self._own.get(key), now)
            self._own[key] = change.state
            return change

        return super().transition(key, remembered, operation_id=operation_id)


@fault(
    "the clock is read before the lock, by several processes",
    caught_by="the_clock_is_read_after_the_lock_among_processes",
    over="onefile",
)
@fault(
    "the clock is read before a wait for the lock that outlasts the cooldown",
    caught_by="claimers_blocked_for_longer_than_the_cooldown_fire_once",
    over="onefile",
)
class ClockBeforeTheLock(_Over):
    def transition(self, key, step, *, operation_id):
        before = self.clock()
        return super().transition(key, lambda state, _: step(state, before), operation_id=operation_id)


@fault(
    "a batch is stamped before the lock, by several handles",
    caught_by="a_batch_is_stamped_inside_its_critical_section",
    over="onefile",
)
class StampedBeforeTheLock(_Over):
    def append(self, facts):
        batch, now = list(facts), self.clock()
        with self._commit() as db:
            return _append(db, batch, now)


@fault(
    "a claim is looked up in one transaction and written in the next",
    caught_by="processes_that_evaluate_rules_that_never_fired_fire_each_once",
    over="onefile",
)
class LookThenWrite(_Over):
    def transition(self, key, step, *, operation_id):
        with self._snapshot() as db:
            state = onefile()._documents(db).get(key)
        change = dawdling(step)(state, self.clock())
        return super().transition(key, lambda *_: change, operation_id=operation_id)


@fault(
    "an acknowledgement is looked up in one transaction and written in the next",
    caught_by="of_concurrent_acknowledgements_one_wins_for_ever",
    over="onefile",
)
class AcknowledgedTwice(_Over):
    def append(self, facts):
        batch = list(facts)
        with self._snapshot() as db:
            for fact in batch:
                stored = onefile()._stored(db, fact) if fact.at or fact.kind != "outcome" else None
                if stored is not None and not same(stored, fact):
                    raise ConflictError(stored, fact)
        time.sleep(0.002)
        with self._commit() as db:
            for fact in batch:
                stored = onefile()._stored(db, fact) if fact.kind == "acknowledgement" else None
                if stored is not None and not same(stored, fact):
                    onefile()._delete(db, stored)
            return _append(db, batch, self.clock())


@fault(
    "the newest outcome is looked up before the lock",
    caught_by="concurrent_corrections_without_known_at_all_have_their_own_instant",
    over="onefile",
)
class NewestBeforeTheLock(_Over):
    def append(self, facts):
        batch = list(facts)
        if self._closed or len(batch) != 1 or batch[0].kind != "outcome":
            return super().append(batch)
        with self._snapshot() as db:
            newest = onefile()._newest_outcome(db, batch[0])
        time.sleep(0.002)
        with self._commit() as db:
            now = self.clock()
            fact = stamping.timed(batch[0], now, newest)
            return Appended(0, 1) if fact is None else _append(db, [fact], now)


@fault(
    "what was appended is written when the handle is closed",
    caught_by="what_one_handle_appends_every_handle_sees_at_once",
    over="onefile",
)
class WrittenAtClose(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._waiting = []

    def append(self, facts):
        batch = list(facts)
        if self._closed or any(fact.kind != "prediction" for fact in batch):
            return super().append(batch)
        self._waiting.append(batch)
        return Appended(len(batch), 0)

    def find(self, select):
        if self._waiting and not self._closed:
            batches, self._waiting = self._waiting, []
            for batch in batches:
                super().append(batch)
        return super().find(select)

    def close(self):
        if not self._closed:
            for batch in self._waiting:
                super().append(batch)
        super().close()


@fault(
    "the data lies in a temporary place of the handle", caught_by="closing_one_handle_leaves_the_others", over="onefile"
)
class TemporaryPlace(_Over):
    def __init__(self, *, path, clock=None):
        super().__init__(path=f"{path}-{id(self)}", clock=clock)


@fault("opening a store empties it", caught_by="everything_is_there_after_reopening", over="onefile")
class EmptiedAtOpening(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        with self._commit() as db:
            db.execute("DELETE FROM facts")


@fault("opening a store forgets the documents", caught_by="everything_is_there_after_reopening", over="onefile")
class DocumentsForgotten(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        with self._commit() as db:
            db.execute("DELETE FROM documents")


@fault(
    "operation ids are remembered by the handle alone", caught_by="everything_is_there_after_reopening", over="onefile"
)
class OperationsForgottenAtOpening(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        with self._commit() as db:
            db.execute("DELETE FROM operations")


@fault("pruned ids are remembered by the handle alone", caught_by="everything_is_there_after_reopening", over="onefile")
class PrunedForgottenAtOpening(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        with self._commit() as db:
            db.execute("DELETE FROM pruned")


@fault("the horizon is remembered by the handle alone", caught_by="everything_is_there_after_reopening", over="onefile")
class HorizonForgottenAtOpening(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        with self._commit() as db:
            db.execute("DELETE FROM horizons")


@fault(
    "the horizon is read when a handle is opened",
    caught_by="what_one_handle_prunes_is_pruned_for_every_handle",
    over="onefile",
)
class HorizonAtOpening(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._known = self._read_itself()

    def _read_itself(self):
        with self._snapshot() as db:
            return onefile()._itself(db)

    def append(self, facts):
        batch = list(facts)
        with self._commit() as db:
            return rewired(_append, _itself=lambda _: self._known)(db, batch, self.clock())

    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        self._known = self._read_itself()
        return pruned


@fault(
    "what comes of a group of appends is told to each of them",
    caught_by="appends_at_once_are_each_atomic_and_counted_by_themselves",
    over="onefile",
)
class GroupAsOne(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._guard, self._waiting = threading.Lock(), []

    def append(self, facts):
        mine = {"facts": list(facts)}
        with self._guard:
            self._waiting.append(mine)
        time.sleep(0.02)  # for others to come
        with self._guard:
            if "answer" not in mine:
                group, self._waiting = self._waiting, []
                try:
                    answer = super().append([fact for one in group for fact in one["facts"]])
                except ConflictError as error:
                    answer = error
                for one in group:
                    one["answer"] = answer
        if isinstance(mine["answer"], ConflictError):
            raise mine["answer"]
        return mine["answer"]


@fault(
    "a handle's connection belongs to the thread that opened it",
    caught_by="verbs_may_be_called_from_several_threads",
    over="onefile",
)
class ConnectionOfAThread(_Over):
    def __init__(self, *, path, clock=None):
        self._db = sqlite3.connect(path, isolation_level=None)  # whose check_same_thread is on, as ever
        super().__init__(path=path, clock=clock)

    @contextmanager
    def _transaction(self, begin):
        if self._closed:
            raise ClosedError("this store is closed; open it again")
        self._db.execute(begin)
        try:
            yield self._db
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def close(self):
        super().close()
        self._db.close()


@fault(
    "a handle reads each document once and then believes its copy",
    caught_by="what_one_handle_transitions_every_handle_sees_at_once",
    over="onefile",
)
class StaleDocuments(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._read = {}

    def transition(self, key, step, *, operation_id):
        def from_copy(state, now):
            change = step(self._read.setdefault(key, state), now)
            self._read[key] = change.state
            return change

        return super().transition(key, from_copy, operation_id=operation_id)


@fault(
    "a handle keeps what it found and does not look again",
    caught_by="what_one_handle_appends_every_handle_sees_at_once",
    over="onefile",
)
class StaleListing(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._found = {}

    def append(self, facts):
        self._found.clear()
        return super().append(facts)

    def find(self, select):
        if self._closed:
            return super().find(select)
        return self._found.setdefault(repr(select), super().find(select) if repr(select) not in self._found else None)


@fault(
    "an acknowledgement rewrites all alerts from the handle's copy",
    caught_by="an_acknowledgement_by_one_handle_loses_no_alert_of_another",
    over="onefile",
)
class AlertsRewritten(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._alerts = self._all()

    def _all(self):
        with self._snapshot() as db:
            return onefile()._facts(db, "alert")

    def append(self, facts):
        batch = list(facts)
        appended = super().append(batch)
        if any(fact.kind == "alert" for fact in batch):
            self._alerts = self._all()
        if any(fact.kind == "acknowledgement" for fact in batch):
            with self._commit() as db:
                db.execute("DELETE FROM facts WHERE kind = 'alert'")
                for one in self._alerts:
                    onefile()._write(db, one)
        return appended


@fault("a batch is committed in two halves", caught_by="a_conflict_writes_nothing_of_its_batch", over="onefile")
class TwoCommits(_Over):
    def append(self, facts):
        batch = list(facts)
        half = len(batch) // 2
        first = super().append(batch[:half])
        second = super().append(batch[half:])
        return Appended(first.new + second.new, first.repeated + second.repeated)


@fault("state and facts are two commits", caught_by="a_conflict_of_its_facts_leaves_nothing", over="onefile")
class StateThenFacts(_Over):
    def transition(self, key, step, *, operation_id):
        facts = []

        def held_back(state, now):
            change = step(state, now)
            facts.extend(
                attrs.evolve(fact, at=now, at_given=False) if fact.at is None else fact for fact in change.facts
            )
            return attrs.evolve(change, facts=())

        result = super().transition(key, held_back, operation_id=operation_id)
        self.append(facts)
        return result


class _NoLock(Files):
    def flock(self, descriptor, operation):
        """Answer at once, as if the lock were taken."""


@fault(
    "the journal's lock is taken away",
    caught_by="transitions_of_several_processes_lose_nothing",
    over="jsonl",
)
class WithoutLock(JSONLStorage):
    def __init__(self, **options):
        super().__init__(_files=_NoLock(), **options)

    def transition(self, key, step, *, operation_id):
        return super().transition(key, dawdling(step), operation_id=operation_id)


@fault(
    "the journal's clock is read before the lock",
    caught_by="the_clock_is_read_after_the_lock_among_processes",
    over="jsonl",
)
class ClockBeforeTheJournalsLock(JSONLStorage):
    def transition(self, key, step, *, operation_id):
        before = self.clock()
        return super().transition(key, lambda state, _: step(state, before), operation_id=operation_id)


@fault(
    "asking whether a store is there makes its directory",
    caught_by="asking_whether_a_store_is_there_makes_none",
    over="jsonl",
)
class MadeByAsking(JSONLStorage):
    @staticmethod
    def exists(*, path):
        there = jsonl_exists(path=path)
        open_jsonl(path=path).close()
        return there


@fault("a store that holds nothing is not there", caught_by="asking_whether_a_store_is_there_makes_none", over="jsonl")
class EmptyIsNone(JSONLStorage):
    @staticmethod
    def exists(*, path):
        if not jsonl_exists(path=path):
            return False
        with closing(open_jsonl(path=path)) as store:
            return bool(store.check().facts)
