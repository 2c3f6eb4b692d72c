"""Faults in `transition` and `state`."""

import copy
import math
from datetime import timedelta

import attrs

from f1mon_core.errors import ConflictError
from f1mon_core.records import fields, json_text
from f1mon_core.records.times import MICROSECOND, to_micros
from f1mon_core.storage.change import Change, checked_change, operation_digest
from f1mon_core.storage.dumping import KeptOperation
from f1mon_core.storage.memory import MemoryStorage
from planted.appending import TEXT_BYTES
from planted.registry import altered, dawdling, fault, rewired


@fault("the clock is read when the store is opened", caught_by="a_step_gets_the_stores_clock")
class ClockReadOnce(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._opened_at = self.clock()

    def transition(self, key, step, *, operation_id):
        return super().transition(key, lambda state, _: step(state, self._opened_at), operation_id=operation_id)


@fault("the clock is read before the lock", caught_by="the_clock_is_read_after_the_lock")
class ClockBeforeTheLock(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        now = self.clock()
        return super().transition(key, lambda state, _: step(state, now), operation_id=operation_id)


@fault("a transition reads, then calls step, then writes, without a lock", caught_by="the_clock_is_read_after_the_lock")
class ReadThenWrite(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        change = step(self.state(key).get(key), self.clock())
        return super().transition(key, lambda *_: change, operation_id=operation_id)


@fault(
    "a transition takes its lock only to write",
    caught_by="concurrent_transitions_each_see_what_the_one_before_stored",
)
class LockedToWrite(ReadThenWrite):
    def transition(self, key, step, *, operation_id):
        return super().transition(key, dawdling(step), operation_id=operation_id)


@fault("a step that returns nothing changes nothing", caught_by="a_step_that_returns_something_else_leaves_nothing")
class NothingReturned(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(
            key, lambda state, now: step(copy.deepcopy(state), now) or Change(state), operation_id=operation_id
        )


@fault("trailing blanks of keys do not count", caught_by="keys_of_hostile_text_stay_apart")
class TrailingBlanksOfKeys(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(key.rstrip(" "), step, operation_id=operation_id)


@fault("any key is taken", caught_by="a_key_that_cannot_be_one_is_refused")
class AnyKeyTaken(MemoryStorage):
    transition = rewired(MemoryStorage.transition, check_state_key=lambda key: key)


@fault("state is saved without its facts when they are refused", caught_by="a_conflict_of_its_facts_leaves_nothing")
class StateWithoutFacts(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        seen = []

        def spied(state, now):
            seen.append(step(state, now))
            return seen[-1]

        try:
            return super().transition(key, spied, operation_id=operation_id)
        except ConflictError:
            change = seen[-1]
            super().transition(key, lambda *_: attrs.evolve(change, facts=()), operation_id=operation_id)
            raise


@fault("facts are saved although the document is refused", caught_by="a_document_that_is_not_json_leaves_nothing")
class FactsWithoutState(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def hasty(state, now):
            change = step(state, now)
            if isinstance(change, Change):
                self.append(change.facts)
            return change

        return super().transition(key, hasty, operation_id=operation_id)


@fault("also is saved although the facts are refused", caught_by="a_conflict_of_its_facts_leaves_nothing")
class AlsoWithoutFacts(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def hasty(state, now):
            change = step(state, now)
            for other, document in change.also.items():
                self._contents.documents.setdefault(other, document)
            return change

        return super().transition(key, hasty, operation_id=operation_id)


@fault("also overwrites what is there", caught_by="also_is_stored_only_where_its_key_is_absent")
class AlsoOverwrites(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def hasty(state, now):
            change = step(state, now)
            for other in change.also:
                self._contents.documents.pop(other, None)
            return change

        return super().transition(key, hasty, operation_id=operation_id)


@fault("also is forgotten", caught_by="state_facts_and_also_are_stored_together")
class AlsoForgotten(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(
            key, lambda state, now: attrs.evolve(step(state, now), also={}), operation_id=operation_id
        )


@fault("None leaves the document as it was", caught_by="a_document_of_none_deletes")
class NoneKeeps(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def kept(state, now):
            change = step(copy.deepcopy(state), now)
            return attrs.evolve(change, state=state) if change.state is None else change

        return super().transition(key, kept, operation_id=operation_id)


@fault("None stores an empty document", caught_by="a_document_of_none_deletes")
class NoneStoresEmpty(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def kept(state, now):
            change = step(state, now)
            return attrs.evolve(change, state={}) if change.state is None else change

        return super().transition(key, kept, operation_id=operation_id)


@fault(
    "step is handed an empty document where there is none",
    caught_by="a_step_sees_nothing_at_first_and_then_what_was_stored",
)
class EmptyForAbsent(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(key, lambda state, now: step(state or {}, now), operation_id=operation_id)


@fault("step is handed the stored document itself", caught_by="what_a_step_is_given_is_a_copy")
class OwnDocument(MemoryStorage):
    transition = rewired(MemoryStorage.transition, copy=altered(copy, deepcopy=lambda value: value))


@fault("a new document is merged into the old one", caught_by="due_follows_the_document")
class DocumentsMerged(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def merged(state, now):
            change = step(copy.deepcopy(state), now)
            return change if change.state is None else attrs.evolve(change, state={**(state or {}), **change.state})

        return super().transition(key, merged, operation_id=operation_id)


@fault("a document that a step changed in place stays due as it was", caught_by="due_follows_the_document")
class DueOfBefore(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def kept(state, now):
            before = copy.deepcopy(state)
            change = step(state, now)
            in_place = change.state is state and "due" in (before or {})
            return attrs.evolve(change, state={**state, "due": before["due"]}) if in_place else change

        return super().transition(key, kept, operation_id=operation_id)


@fault("the operation id is not looked at", caught_by="a_repeated_operation_returns_the_first_result_and_does_not_step")
class OperationIgnored(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        self._contents.operations.pop(operation_digest(key, operation_id), None)
        return super().transition(key, step, operation_id=operation_id)


@fault("a repeated operation returns None", caught_by="a_repeated_operation_returns_the_first_result_and_does_not_step")
class OperationWithoutResult(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        if operation_digest(key, operation_id) in self._contents.operations:
            return None
        return super().transition(key, step, operation_id=operation_id)


@fault(
    "a repeated operation calls step again", caught_by="a_repeated_operation_returns_the_first_result_and_does_not_step"
)
class OperationCallsStep(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        if operation_digest(key, operation_id) in self._contents.operations:
            step(copy.deepcopy(self._contents.documents.get(key)), self.clock())
        return super().transition(key, step, operation_id=operation_id)


@fault("one operation id serves all keys", caught_by="an_operation_belongs_to_its_key")
class OperationOfAllKeys(MemoryStorage):
    transition = rewired(
        MemoryStorage.transition, operation_digest=lambda _, operation_id: operation_digest("", operation_id)
    )


@fault(
    "an operation whose result is None is not remembered",
    caught_by="a_repeated_operation_returns_the_first_result_and_does_not_step",
)
class NoneResultForgotten(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        result = super().transition(key, step, operation_id=operation_id)
        if result is None:
            del self._contents.operations[operation_digest(key, operation_id)]
        return result


@fault("an operation that failed counts as done", caught_by="an_exception_in_step_leaves_nothing_and_comes_out")
class FailureRemembered(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        try:
            return super().transition(key, step, operation_id=operation_id)
        except Exception:
            if self._contents is not None:
                digest = operation_digest(key, operation_id)
                self._contents.operations[digest] = KeptOperation(digest, self.clock(), None)
            raise


@fault(
    "an operation is remembered for an hour",
    caught_by="a_repeated_operation_returns_the_first_result_and_does_not_step",
)
class OperationsForgotten(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        now = self.clock()
        done = self._contents.operations
        for name in [name for name, one in done.items() if (now - one.at).total_seconds() > 3600]:
            del done[name]
        return super().transition(key, step, operation_id=operation_id)


@fault("pruning forgets operations that are still young", caught_by="prune_leaves_state_and_operations")
class PruneForgetsOperations(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        self._contents.operations.clear()
        return pruned


@fault("the facts of a step overwrite what is stored", caught_by="a_conflict_of_its_facts_leaves_nothing")
class StepFactsOverwrite(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def forced(state, now):
            change = step(state, now)
            for fact in change.facts:
                if fact.at is not None or fact.kind != "outcome":
                    self._contents.of_kind(fact.kind).pop(fact.key, None)
            return change

        return super().transition(key, forced, operation_id=operation_id)


@fault(
    "the facts of a step are stamped later than the instant it was called with",
    caught_by="facts_of_a_step_without_a_time_get_the_instant_of_the_step",
)
class StampedLater(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def late(state, now):
            change = step(state, now)
            return attrs.evolve(
                change,
                facts=[
                    attrs.evolve(fact, at=now + MICROSECOND, at_given=False) if fact.at is None else fact
                    for fact in change.facts
                ],
            )

        return super().transition(key, late, operation_id=operation_id)


def _nulled(value):
    if isinstance(value, dict):
        return {key: _nulled(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@fault("NaN in a document is stored as null", caught_by="a_document_that_is_not_json_leaves_nothing")
class NanAsNull(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def nulled(state, now):
            change = step(state, now)
            return attrs.evolve(change, state=_nulled(change.state), result=_nulled(change.result))

        return super().transition(key, nulled, operation_id=operation_id)


@fault("a result that is not JSON is returned, once", caught_by="a_document_that_is_not_json_leaves_nothing")
class ResultUnchecked(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        given = []

        def lenient(state, now):
            change = step(state, now)
            try:
                return checked_change(change)
            except fields.InvalidRecordError:
                given.append(change.result)
                return checked_change(attrs.evolve(change, result=None))

        result = super().transition(key, lenient, operation_id=operation_id)
        return given[0] if given else result


@fault("a failing step leaves what it did to its document", caught_by="what_a_step_is_given_is_a_copy")
class FailedStepStays(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def leaky(state, now):
            try:
                return step(state, now)
            except Exception:
                if state is not None:
                    self._contents.documents[key] = state
                raise

        return super().transition(key, leaky, operation_id=operation_id)


# state --------------------------------------------------------------------------------------------------------------


@fault(
    "keys end at 640 characters",
    caught_by="keys_of_the_greatest_length_are_told_apart_by_their_last_character_and_lie_in_order",
)
class KeysCut(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(key[:640], step, operation_id=operation_id)


@fault(
    "a prefix of more than 255 characters is taken for a whole key",
    caught_by="the_prefix_of_parts_finds_every_key_that_begins_with_them",
)
class LongPrefixIsAKey(MemoryStorage):
    def state(self, prefix, **paging):
        found = super().state(prefix, **paging)
        return found if len(prefix) <= 255 else {key: found[key] for key in found if key == prefix}


@fault("a prefix is taken for a pattern", caught_by="a_prefix_is_text_and_not_a_pattern")
class PrefixIsPattern(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        import re  # noqa: PLC0415

        pattern = re.compile("".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in prefix), re.DOTALL)
        found = super().state("", due_before=due_before, after=after)
        return dict([(key, document) for key, document in found.items() if pattern.match(key)][:limit])


@fault("a prefix is compared without its case", caught_by="a_prefix_is_text_and_not_a_pattern")
class PrefixWithoutCase(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        found = super().state("", due_before=due_before, after=after)
        return dict([(k, one) for k, one in found.items() if k.lower().startswith(prefix.lower())][:limit])


@fault("an empty prefix means nothing", caught_by="an_empty_prefix_means_all_documents")
class EmptyPrefix(MemoryStorage):
    def state(self, prefix, **options):
        return super().state(prefix, **options) if prefix else {}


@fault("a prefix ends at a slash", caught_by="state_lists_the_documents_below_a_prefix_in_order_of_keys")
class PrefixIsFolder(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        folder = prefix if prefix.endswith("/") or not prefix else prefix + "/"
        found = super().state(prefix, due_before=due_before, after=after)
        return dict([(k, one) for k, one in found.items() if k == prefix or k.startswith(folder)][:limit])


@fault(
    "what is due at the very instant is listed as due before it",
    caught_by="due_before_keeps_documents_due_strictly_before_it",
)
class DueAtIncluded(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        due_before = None if due_before is None else due_before + MICROSECOND
        return super().state(prefix, due_before=due_before, limit=limit, after=after)


@fault("documents that are never due are listed as due", caught_by="due_before_keeps_documents_due_strictly_before_it")
class NeverDueIncluded(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        if due_before is None:
            return super().state(prefix, limit=limit, after=after)
        found = super().state(prefix, after=after)
        due = to_micros(due_before)
        return dict(
            [
                (k, one)
                for k, one in found.items()
                if "due" not in one or (type(one["due"]) is int and one["due"] < due)
            ][:limit]
        )


@fault("a due that is no integer is believed", caught_by="due_before_keeps_documents_due_strictly_before_it")
class AnyDue(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        if due_before is None:
            return super().state(prefix, limit=limit, after=after)
        found = super().state(prefix, after=after)
        due = to_micros(due_before)
        return dict(
            [(k, one) for k, one in found.items() if isinstance(one.get("due"), int | float) and one["due"] < due][
                :limit
            ]
        )


@fault("due_before is not looked at", caught_by="due_before_keeps_documents_due_strictly_before_it")
class DueIgnored(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):  # noqa: ARG002 - this is the fault
        return super().state(prefix, limit=limit, after=after)


@fault(
    "the limit of state is taken before due_before is looked at", caught_by="limit_counts_the_documents_that_are_due"
)
class LimitBeforeDue(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        first = super().state(prefix, limit=limit, after=after)
        due = super().state(prefix, due_before=due_before, after=after)
        return {key: document for key, document in due.items() if key in first}


@fault("paging of state repeats the key", caught_by="state_pages_by_limit_and_after")
class StatePagingRepeats(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        found = super().state(prefix, due_before=due_before)
        return dict([(key, document) for key, document in found.items() if after is None or key >= after][:limit])


@fault(
    "documents come in the order they were stored",
    caught_by="state_lists_the_documents_below_a_prefix_in_order_of_keys",
)
class StateByInsertion(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        found = super().state(prefix, due_before=due_before, after=after)
        return dict([(key, found[key]) for key in self._contents.documents if key in found][:limit])


@fault("a state limit of 0 means all", caught_by="state_pages_by_limit_and_after")
class StateZeroMeansAll(MemoryStorage):
    def state(self, prefix, *, due_before=None, limit=None, after=None):
        return super().state(prefix, due_before=due_before, limit=limit or None, after=after)


@fault("documents handed out are the store's own", caught_by="what_a_step_is_given_is_a_copy")
class OwnDocumentsHandedOut(MemoryStorage):
    state = rewired(MemoryStorage.state, copy=altered(copy, deepcopy=lambda value: value))


def _cut(value):
    """A value as a column of 64 KiB keeps it where its overflow is passed over."""
    return value if len(json_text.encoded(value)) <= TEXT_BYTES else {}


@fault("documents over 64 KiB are emptied", caught_by="documents_and_results_of_almost_a_mebibyte_come_back_whole")
class DocumentsCut(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        result = super().transition(key, step, operation_id=operation_id)
        if key in self._contents.documents:
            self._contents.documents[key] = _cut(self._contents.documents[key])
        return result


@fault("results over 64 KiB are emptied", caught_by="documents_and_results_of_almost_a_mebibyte_come_back_whole")
class ResultsCut(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        result = super().transition(key, step, operation_id=operation_id)
        digest = operation_digest(key, operation_id)
        kept = self._contents.operations[digest]
        self._contents.operations[digest] = attrs.evolve(kept, result=_cut(kept.result))
        return result


class _ForgetfulOfOperations(MemoryStorage):
    def _forget(self):
        oldest = self.clock() - timedelta(hours=23.5)
        operations = self._contents.operations
        self._contents.operations = {name: kept for name, kept in operations.items() if kept.at > oldest}


@fault(
    "an operation is remembered for 23 hours and a half", caught_by="an_operation_is_remembered_for_24_hours_inclusive"
)
class OperationsOfADayAlmost(_ForgetfulOfOperations):
    def transition(self, key, step, *, operation_id):
        self._forget()
        return super().transition(key, step, operation_id=operation_id)


@fault(
    "pruning forgets operations of 23 hours and a half", caught_by="an_operation_is_remembered_for_24_hours_inclusive"
)
class PrunesOperationsEarly(_ForgetfulOfOperations):
    def prune(self, before, keep=()):
        self._forget()
        return super().prune(before, keep)


@fault("state ends at 10,000 documents", caught_by="state_has_no_hidden_limit")
class StateLimited(MemoryStorage):
    def state(self, prefix, *, limit=None, **paging):
        return super().state(prefix, limit=10_000 if limit is None else limit, **paging)


@fault(
    "deleting a document forgets its operations", caught_by="an_operation_is_remembered_after_its_document_was_deleted"
)
class OperationsDeleted(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._of_keys = {}

    def transition(self, key, step, *, operation_id):
        result = super().transition(key, step, operation_id=operation_id)
        self._of_keys.setdefault(key, []).append(operation_digest(key, operation_id))
        if key not in self._contents.documents:
            for digest in self._of_keys.pop(key):
                self._contents.operations.pop(digest, None)
        return result


@fault("a result is returned as text", caught_by="transition_returns_the_result_of_its_step")
class ResultsAsText(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        result = super().transition(key, step, operation_id=operation_id)
        return result if result is None else str(result)


@fault("a repeated fact of a step is a conflict", caught_by="a_repeated_fact_of_a_step_is_a_no_op")
class RepeatedFactsRefused(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def strict(state, now):
            change = step(state, now)
            for fact in change.facts:
                if (stored := self._contents.of_kind(fact.kind).get(fact.key)) is not None:
                    raise ConflictError(stored, fact)
            return change

        return super().transition(key, strict, operation_id=operation_id)
