"""Faults in the base for stores of ordered keys, and in how a backend stands on it."""

import hashlib
import threading
from bisect import bisect_left, insort
from itertools import islice

import attrs

from f1mon_core.storage.keyvalue import KeyValueStorage, Staged, keys, store
from f1mon_core.storage.keyvalue.contents import Reader, Writer
from f1mon_core.storage.keyvalue.keys import KeySpace
from planted.registry import dawdling, fault, rewired


class Pairs:
    """Sorted keys in a dictionary."""

    def __init__(self):
        self.values, self.ordered = {}, []

    def get(self, wanted):
        return [self.values.get(key) for key in wanted]

    def items(self, start, stop, *, reverse=False):
        between = self.ordered[bisect_left(self.ordered, start) : bisect_left(self.ordered, stop)]
        return ((key, self.values[key]) for key in (reversed(between) if reverse else between))

    def put(self, key, value):
        if key not in self.values:
            insort(self.ordered, key)
        self.values[key] = value

    def delete(self, key):
        if self.values.pop(key, None) is not None:
            del self.ordered[bisect_left(self.ordered, key)]


class Keys(KeyValueStorage):
    """The base with the shortest keys, over a dictionary."""

    space, reader, writer, staged = KeySpace, Reader, Writer, Staged

    def __init__(self, *, clock=None):
        super().__init__(address="keys:", clock=clock, longest_key=64)
        self._keys = self.space(64)
        self._pairs, self._turn = Pairs(), threading.RLock()
        self.begin()

    def write(self, work):
        with self._turn:
            staged = self.staged(self._pairs)
            done = work(staged)
            for key, value in staged.changes.items():
                if value is None:
                    self._pairs.delete(key)
                else:
                    self._pairs.put(key, value)
            return done

    def read(self, work):
        with self._turn:
            return work(self._pairs)

    def _write(self, work):
        self._refuse_closed()
        return self.write(lambda transaction: work(self.writer(self._keys, transaction)))

    def _read(self, work):
        self._refuse_closed()
        return self.read(lambda reading: work(self.reader(self._keys, reading)))


def wrong(name, caught_by, **parts):
    """A fault in one part of the base."""
    fault(name, caught_by=caught_by, over="keys")(type("Wrong", (Keys,), {**parts, "__module__": __name__}))


def part(of, **methods):
    """A part of the base with some of its methods replaced."""
    return type(of.__name__, (of,), methods)


# Keys -----------------------------------------------------------------------------------------------------------------

LAST = "long_values_are_told_apart_by_their_last_character"
EACH_SEES = "concurrent_transitions_each_see_what_the_one_before_stored"
LONGEST = "keys_of_the_greatest_length_are_told_apart_by_their_last_character_and_lie_in_order"

wrong("a long key is cut and has no digest", LAST, space=part(
    KeySpace, key=lambda self, parts: keys.prefix_bytes(parts)[:64]
))  # fmt: skip
wrong("the digest of a long key is that of its beginning", LAST, space=part(
    KeySpace,
    key=lambda self, parts: (
        whole if len(whole := keys.prefix_bytes(parts)) <= 64 else whole[:32] + hashlib.sha256(whole[:200]).digest()
    ),
))  # fmt: skip
wrong("keys of one beginning lie in the order of their digests", LONGEST, space=part(
    KeySpace, ordered=lambda self, pairs, reverse=False: map(keys._taken, pairs)
))  # fmt: skip
wrong("parts of a key are not ended", "keys_order_part_by_part", space=part(
    KeySpace, key=lambda self, parts: KeySpace.key(self, parts).replace(b"\0", b"\xff")
))  # fmt: skip
wrong("a prefix is looked for uncut", "the_prefix_of_parts_finds_every_key_that_begins_with_them", space=part(
    KeySpace, cut=lambda self, prefix: prefix
))  # fmt: skip

# Staged changes -------------------------------------------------------------------------------------------------------

wrong("a transaction does not read what it put", "also_is_stored_only_where_its_key_is_absent", staged=part(
    Staged, get=lambda self, wanted: self._stored.get(wanted)
))  # fmt: skip
wrong("what was deleted is still read", "the_outcomes_of_an_item_go_with_its_last_prediction", staged=part(
    Staged, delete=lambda self, key: None
))  # fmt: skip


@fault("work is done without a lock and never begun anew", caught_by=EACH_SEES, over="keys")
class Unlocked(Keys):
    def write(self, work):
        staged = self.staged(self._pairs)
        done = work(staged)
        with self._turn:
            for key, value in staged.changes.items():
                (self._pairs.delete(key) if value is None else self._pairs.put(key, value))
            return done

    def transition(self, key, step, *, operation_id):
        return super().transition(key, dawdling(step), operation_id=operation_id)


# What is stored -------------------------------------------------------------------------------------------------------

GO = "prune_removes_predictions_before_the_horizon_with_all_their_outcomes"
REPEAT = "a_repeat_of_what_was_pruned_is_refused_and_totals_stand"
REPEATED = "a_repeated_operation_returns_the_first_result_and_does_not_step"

wrong("a fact that goes stays listed by its time", GO, writer=part(
    Writer, take=lambda self, fact: self.set("fact", fact.kind, *fact.key, body=None)
))  # fmt: skip
wrong("an item forgets its models", "the_outcomes_of_an_item_go_with_its_last_prediction", writer=part(
    Writer,
    put_all=lambda self, facts: Writer.put_all(self, [
        fact for fact in facts if fact.kind != "prediction" or self.put(fact)
    ]),
))  # fmt: skip
wrong("an item knows its newest outcome alone", "as_of_counts_only_what_was_knowable", reader=part(
    Reader,
    items=lambda self, ids: [
        attrs.evolve(item, known=set(sorted(item.known)[-1:])) for item in Reader.items(self, ids)
    ],
))  # fmt: skip
wrong("pruned ids are forgotten with the models of their item", REPEAT, writer=part(
    Writer, items=lambda self, ids: [attrs.evolve(item, pruned=set()) for item in Reader.items(self, ids)]
))  # fmt: skip
wrong("a look-up ends at 1,000 keys", "a_big_batch_is_stored_whole", writer=part(
    Writer,
    bodies=lambda self, wanted: [
        *Reader.bodies(self, wanted[:1_000]), *[None] * len(wanted[1_000:])
    ],
))  # fmt: skip
wrong("a listing ends at 1,000 keys", "state_has_no_hidden_limit", reader=part(
    Reader,
    scan=lambda self, *parts, **edges: islice(Reader.scan(self, *parts, **edges), 1_000),
))  # fmt: skip
wrong("a limit is counted before every condition", "a_limit_counts_after_every_filter", reader=part(
    Reader,
    find=lambda self, select: (
        Reader.find(self, select)
        if select.limit is None
        else [
            fact
            for fact in Reader.find(self, attrs.evolve(select, where={}, having=None, lacking=None, model_version=None))
            if fact in Reader.find(self, attrs.evolve(select, limit=None))
        ]
    ),
))  # fmt: skip
wrong("operations are kept under their key alone", "an_operation_belongs_to_its_key", transition=rewired(
    KeyValueStorage.transition, operation_digest=lambda _, operation_id: operation_id
))  # fmt: skip
wrong("no operation is kept", REPEATED, writer=part(
    Writer, keep=lambda self, operation: None
))  # fmt: skip
wrong("also takes the place of what is there", "also_is_stored_only_where_its_key_is_absent", writer=part(
    Writer,
    bodies=lambda self, wanted: (
        [None for _ in wanted] if {of for of, *_ in wanted} == {"document"} else Reader.bodies(self, wanted)
    ),
    body=lambda self, *parts: Reader.bodies(self, [parts])[0],
))  # fmt: skip
wrong("documents that go leave their key", "a_document_of_none_deletes", writer=part(
    Writer,
    set=lambda self, *parts, body: (
        Writer.set(self, *parts, body={} if body is None and parts[0] == "document" else body)
    ),
))  # fmt: skip
wrong("a store knows no instant of a prune", "a_horizon_never_moves_back", writer=part(
    Writer, know=lambda self, itself: Writer.know(self, attrs.evolve(itself, pruned_before={}))
))  # fmt: skip
wrong("how far predictions stood by outcome time is not kept", "windows_by_outcome_time_survive_a_prune", writer=part(
    Writer, know=lambda self, itself: Writer.know(self, attrs.evolve(itself, stands_until=None))
))  # fmt: skip
wrong("the cells of one model alone are kept", "totals_the_kept_cells_can_answer_stand", writer=part(
    Writer,
    put=lambda self, fact: (
        None if fact.kind == "kept_tally" and fact.model_version != "m-1" else Writer.put(self, fact)
    ),
))  # fmt: skip


@fault("the batch is stamped before its turn", caught_by="a_batch_is_stamped_inside_its_critical_section", over="keys")
class StampedBeforeItsTurn(Keys):
    def append(self, facts):
        batch, now = list(facts), self.clock()
        return self._write(lambda writer: store._append(writer, batch, now))


wrong("a tally looks at no outcome beyond a page", "windows_of_thousands_of_rows_are_answered_anew", reader=part(
    Reader, outcomes=lambda self, ids: {} if len(ids) > 999 else Reader.outcomes(self, ids)
))  # fmt: skip
