"""Faults that show when processes compete, fork, are spawned or die; and of hostile values."""

import os
import threading
import time

import attrs

from f1mon_core.errors import ConflictError, InvalidQueryError
from f1mon_core.records.kinds import same
from f1mon_core.storage import answers
from f1mon_core.storage.change import operation_digest
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from planted.guide import onefile
from planted.registry import fault, rewired
from planted.sharing import CooldownInMemory, _Over


def _append(db, batch, now):
    return onefile()._append(db, batch, now)


@fault(
    "the cooldown dies with its evaluator",
    caught_by="killed_evaluators_never_fire_twice_in_a_cooldown_nor_leave_half_a_claim",
    over="onefile",
)
class CooldownOfTheEvaluator(CooldownInMemory):
    pass


WRITERS = "what_was_acknowledged_survives_the_kill_of_its_writer_and_nothing_is_half_there"


@fault("a batch is acknowledged, and written with the next one", caught_by=WRITERS, over="onefile")
class AcknowledgedEarly(_Over):
    def __init__(self, **options):
        super().__init__(**options)
        self._waiting = []

    def append(self, facts):
        written, self._waiting = self._waiting, list(facts)
        super().append(written)
        return Appended(len(self._waiting), 0)


@fault("a batch is a commit for each fact", caught_by=WRITERS, over="onefile")
class CommitForEachFact(_Over):
    def append(self, facts):
        each = [super(CommitForEachFact, self).append([fact]) for fact in facts]
        return Appended(sum(one.new for one in each), sum(one.repeated for one in each))


@fault(
    "readers see a batch grow",
    caught_by="readers_in_other_processes_see_all_of_a_batch_or_nothing",
    over="onefile",
)
class GrowingBatch(CommitForEachFact):
    pass


@fault(
    "whether its prediction is there is looked up before an outcome is written",
    caught_by="a_prediction_and_its_outcome_meet_whoever_comes_first",
    over="onefile",
)
class OutcomeParked(_Over):
    def append(self, facts):
        (fact,) = batch = list(facts)
        with self._snapshot() as db:
            made = onefile()._facts(db, "prediction", "AND head = ?", fact.key[0])
        time.sleep(0.002)
        with self._commit() as db:
            appended = _append(db, batch, self.clock())
            if fact.kind == "prediction":
                db.execute("UPDATE facts SET kind = 'outcome' WHERE kind = 'parked' AND head = ?", fact.key[:1])
            elif not made:
                db.execute("UPDATE facts SET kind = 'parked' WHERE kind = 'outcome' AND head = ?", fact.key[:1])
            return appended


@fault(
    "a correction rewrites all revisions from what was read before the lock",
    caught_by="of_concurrent_corrections_the_newest_known_at_is_current",
    over="onefile",
)
class RevisionsRewritten(_Over):
    def append(self, facts):
        batch = list(facts)
        if self._closed or len(batch) != 1 or batch[0].kind != "outcome":
            return super().append(batch)
        head = batch[0].key[0]
        with self._snapshot() as db:
            known = onefile()._facts(db, "outcome", "AND head = ?", head)
        time.sleep(0.002)
        with self._commit() as db:
            db.execute("DELETE FROM facts WHERE kind = 'outcome' AND head = ?", (head,))
            for one in known:
                onefile()._write(db, one)
            return _append(db, batch, self.clock())


@fault(
    "the predictions of an item are rewritten from what was read before the lock",
    caught_by="two_models_an_outcome_its_correction_and_a_contradiction_meet_at_one_item",
    over="onefile",
)
class ItemsRewritten(_Over):
    def append(self, facts):
        batch = list(facts)
        if self._closed or len(batch) != 1 or batch[0].kind != "prediction":
            return super().append(batch)
        head = batch[0].key[0]
        with self._snapshot() as db:
            known = onefile()._facts(db, "prediction", "AND head = ?", head)
        time.sleep(0.002)
        with self._commit() as db:
            db.execute("DELETE FROM facts WHERE kind = 'prediction' AND head = ?", (head,))
            for one in known:
                onefile()._write(db, one)
            return _append(db, batch, self.clock())


@fault(
    "a batch takes the lock at its first write, after it has read",
    caught_by="overlapping_batches_in_different_orders_are_stored_once_and_never_deadlock",
    over="onefile",
)
class LockedAtTheFirstWrite(_Over):
    def append(self, facts):
        batch = list(facts)
        with self._transaction("BEGIN") as db:
            return _append(db, batch, self.clock())


@fault(
    "conflicts are looked up in one transaction and the rest is written in the next",
    caught_by="of_several_conflicting_batches_one_is_stored_whole",
    over="onefile",
)
class ConflictsLookedUpBefore(_Over):
    def append(self, facts):
        batch = list(facts)
        with self._snapshot() as db:
            for fact in batch:
                stored = onefile()._stored(db, fact)
                if stored is not None and not same(stored, fact):
                    raise ConflictError(stored, fact)
        time.sleep(0.002)
        with self._commit() as db:
            return _append(db, [fact for fact in batch if onefile()._stored(db, fact) is None], self.clock())


@fault(
    "whether an operation was done is looked up before the lock",
    caught_by="an_operation_repeated_by_several_processes_is_done_once",
    over="onefile",
)
class OperationsLookedUpBefore(_Over):
    def transition(self, key, step, *, operation_id):
        named = (operation_digest(key, operation_id),)
        with self._snapshot() as db:
            done = db.execute("SELECT 1 FROM operations WHERE digest = ?", named).fetchone()
        if done is None:
            time.sleep(0.002)
            with self._commit() as db:
                db.execute("DELETE FROM operations WHERE digest = ?", named)
        return super().transition(key, step, operation_id=operation_id)


@fault(
    "whether a prediction was pruned is looked up before the lock",
    caught_by="a_repeat_of_what_another_process_prunes_never_counts_twice",
    over="onefile",
)
class PrunedLookedUpBefore(_Over):
    def append(self, facts):
        batch = list(facts)
        with self._snapshot() as db:
            itself = onefile()._itself(db)
            pruned = {one for (one,) in db.execute("SELECT prediction_id FROM pruned")}
        time.sleep(0.005)
        with self._commit() as db:
            for head in {fact.key[0] for fact in batch} - pruned:
                db.execute("DELETE FROM pruned WHERE prediction_id = ?", (head,))
            return rewired(onefile()._append, _itself=lambda _: itself)(db, batch, self.clock())


@fault(
    "a handle works in the process that opened it only",
    caught_by="a_handle_works_in_a_forked_child_and_still_in_its_parent",
    over="onefile",
)
class LostByForking(_Over):
    def __init__(self, **options):
        self._owner = os.getpid()
        super().__init__(**options)

    def _transaction(self, begin):
        if self._owner != os.getpid():
            raise RuntimeError("this handle belongs to another process")
        return super()._transaction(begin)


@fault("each process has a place of its own", caught_by="a_spawned_process_opens_the_same_place", over="onefile")
class PlaceOfTheProcess(_Over):
    def __init__(self, *, path, clock=None):
        super().__init__(path=f"{path}-{os.getpid()}", clock=clock)


@fault("what is opened for an event loop lies apart", caught_by="colours_read_what_the_other_wrote", over="onefile")
class PlaceOfTheColour(_Over):
    def __init__(self, *, path, clock=None):
        offloaded = threading.current_thread().name.startswith("f1mon")
        super().__init__(path=f"{path}{'-async' if offloaded else ''}", clock=clock)


@fault("messages end at 64 KiB", caught_by="hostile_values_come_back_as_they_were")
class MessagesCut(MemoryStorage):
    def append(self, facts):
        return super().append(
            attrs.evolve(fact, message=fact.message[:65_535]) if fact.kind == "alert" else fact for fact in facts
        )


class _AsTheyCome(MemoryStorage):
    def append(self, facts):
        each = [super(_AsTheyCome, self).append([fact]) for fact in facts]
        return Appended(sum(one.new for one in each), sum(one.repeated for one in each))


@fault("facts are stored as they come, before a refused one", caught_by="an_iterable_that_fails_leaves_nothing")
class StoredWhileRead(_AsTheyCome):
    pass


@fault(
    "facts are stored before the batch is whole",
    caught_by="refused_values_are_refused_by_the_name_of_their_field_and_leave_nothing",
)
class StoredBeforeTheRefused(_AsTheyCome):
    pass


@fault("a state that cannot be asked for is empty", caught_by="questions_that_cannot_be_asked_are_refused")
class NoStateForWrongQuestions(MemoryStorage):
    def state(self, prefix, **paging):
        try:
            return super().state(prefix, **paging)
        except InvalidQueryError:
            return {}


@fault(
    "find looks into a view that only an append brings up to date",
    caught_by="any_sequence_of_verbs_agrees_with_the_model",
)
class ViewOfAppends(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._view = {}

    def append(self, facts):
        appended = super().append(facts)
        self._view = {kind: dict(held) for kind, held in self._contents.facts.items()}
        return appended

    def find(self, select):
        facts = self._view.get(select.kind, {}).values()
        return answers.fold_find(facts, select, lambda kind: self._view.get(kind, {}))


@fault("texts are kept as Latin-1, with question marks for the rest", caught_by="any_legal_fact_comes_back_as_it_was")
class Latin1Texts(MemoryStorage):
    def append(self, facts):
        return super().append(self._narrowed(fact) for fact in facts)

    @staticmethod
    def _narrowed(fact):
        texts = {
            field.name: value.encode("latin-1", "replace").decode("latin-1")
            for field in attrs.fields(type(fact))
            if isinstance(value := getattr(fact, field.name), str) and field.name not in fact.key_fields
        }
        return attrs.evolve(fact, **texts)


def _without_empties(value):
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := _without_empties(item)) not in ({}, [], None)}
    return value


@fault("what is empty within a document is left out", caught_by="any_legal_document_comes_back_as_it_was")
class EmptiesLeftOut(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def sparse(state, now):
            change = step(state, now)
            return attrs.evolve(change, state=_without_empties(change.state))

        return super().transition(key, sparse, operation_id=operation_id)
