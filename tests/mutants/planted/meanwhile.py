"""Faults that show while a verb is under way: the caller's own code, interrupts, other handles, other processes."""

import itertools
import os
import threading
import time

import attrs

from f1mon_core.errors import ClosedError
from f1mon_core.storage import retention
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from planted.guide import onefile
from planted.registry import dawdling, fault

OneFile = onefile().OneFileStorage
_homes = {}


class Among(MemoryStorage):
    """A store in memory that several handles of one process share, by its name."""

    def __init__(self, *, name, clock=None):
        self._name = name
        super().__init__(clock=clock, address=f"memory://{name}")
        self._home = _homes.setdefault(name, {"contents": self._own, "lock": self._lock})
        self._lock = self._home["lock"]

    @property
    def _contents(self):
        return None if self._own is None else self._home["contents"]

    @_contents.setter
    def _contents(self, contents):
        if hasattr(self, "_home") and contents is not None:
            self._home["contents"] = contents
        self._own = contents


WHOLE = "a_batch_is_stamped_when_all_of_it_is_there_however_long_that_takes"
FORMS = "a_batch_may_be_iterated_once_and_in_any_form"
LET_IN = "nothing_of_the_callers_keeps_others_out_while_a_batch_is_read"
ASKS = "what_an_iterable_asks_of_the_same_handle_is_answered"
INTERRUPTED = "an_interrupt_in_a_step_leaves_nothing_and_keeps_nobody_out"
READING = "an_interrupt_while_a_batch_is_read_leaves_nothing_and_keeps_nobody_out"
LEASE = "a_step_may_take_its_time"
TOTALS = "totals_stand_for_another_handle_while_a_prune_is_under_way"
CLOSED = "a_close_leaves_the_running_verbs_of_other_handles_alone"
FORKED = "a_forked_child_and_its_parent_work_at_the_same_time"

# The caller's own code ------------------------------------------------------------------------------------------------


class _At(MemoryStorage):
    """Stamps a batch with an instant of its own choice."""

    def append_at(self, facts, now):
        clock, self.clock = self.clock, lambda: now
        try:
            return super().append(facts)
        finally:
            self.clock = clock


@fault("a batch is stamped when its first fact comes", caught_by=WHOLE)
class StampedFirst(_At):
    def append(self, facts):
        left = iter(facts)
        first, now = list(itertools.islice(left, 1)), self.clock()
        return self.append_at([*first, *left], now)


@fault("a batch is stamped before it is read", caught_by=WHOLE)
class StampedBefore(_At):
    def append(self, facts):
        now = self.clock()
        return self.append_at(list(facts), now)


@fault("each fact is stamped as it comes", caught_by=WHOLE)
class StampedAsItComes(_At):
    def append(self, facts):
        stamped = [attrs.evolve(one, at=one.at or self.clock(), at_given=False) for one in facts]
        return self.append_at(stamped, self.clock())


@fault("recorded_at is when the last fact was asked for", caught_by=WHOLE)
class RecordedByFact(_At):
    def append(self, facts):
        new = [self.append_at([fact], self.clock()) for fact in facts]
        return sum(new[1:], new[0]) if new else Appended()


@fault("a batch is counted before it is read", caught_by=FORMS)
class CountedFirst(MemoryStorage):
    def append(self, facts):
        appended = super().append(facts)
        return attrs.evolve(appended, repeated=len(list(facts)) - appended.new)


@fault("a batch must be a sequence", caught_by=FORMS)
class Sequences(MemoryStorage):
    def append(self, facts):
        return super().append([facts[number] for number in range(len(facts))])


@fault("a mapping of facts is read by its keys", caught_by=FORMS)
class ReadsKeys(MemoryStorage):
    def append(self, facts):
        return super().append(facts.mapping if hasattr(facts, "mapping") else facts)


@fault("a batch is read under the lock", caught_by=LET_IN)
class ReadUnderTheLock(MemoryStorage):
    def append(self, facts):
        with self._lock:
            return super().append(facts)


@fault("a batch is read under a lock of all appends", caught_by=LET_IN)
class ReadUnderALockOfAppends(MemoryStorage):
    def append(self, facts):
        lock = self.__dict__.setdefault("_of_appends", threading.RLock())
        with lock:
            return super().append(facts)


@fault("transitions wait for whoever reads a batch", caught_by=LET_IN)
class TransitionsWait(MemoryStorage):
    _reading = 0

    def append(self, facts):
        self._reading += 1
        try:
            batch = list(facts)
        finally:
            self._reading -= 1
        return super().append(batch)

    def transition(self, key, step, *, operation_id):
        until = time.monotonic() + 5
        while self._reading and time.monotonic() < until:
            time.sleep(0.005)
        return super().transition(key, step, operation_id=operation_id)


class _Busy(MemoryStorage):
    """Takes no second verb while it has one."""

    busy = False
    verbs = ()

    def append(self, facts):
        self.refuse("append")
        was, self.busy = self.busy, True
        try:
            return super().append(list(facts))
        finally:
            self.busy = was

    def refuse(self, verb):
        if self.busy and verb in self.verbs:
            raise RuntimeError(f"{verb} within an append")

    def count(self, select, by=()):
        self.refuse("count")
        return super().count(select, by)

    def transition(self, key, step, *, operation_id):
        self.refuse("transition")
        return super().transition(key, step, operation_id=operation_id)


for _verb in ("append", "count", "transition"):
    fault(f"{_verb} within an append is an error", caught_by=ASKS)(
        type("Busy", (_Busy,), {"verbs": (_verb,), "__module__": __name__})
    )


@fault("what is appended while a batch is read is forgotten", caught_by=ASKS)
class ForgetsWhatCameWithin(MemoryStorage):
    def append(self, facts):
        held = self._contents.of_kind("prediction")
        before = dict(held)
        batch = list(facts)
        held.clear()
        held.update(before)
        return super().append(batch)


# Interrupts -----------------------------------------------------------------------------------------------------------


@fault("a lock is given back after exceptions, and not after interrupts", caught_by=INTERRUPTED)
class KeepsItsLock(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        self._lock.acquire()
        try:
            answer = super().transition(key, step, operation_id=operation_id)
        except Exception:
            self._lock.release()
            raise
        self._lock.release()
        return answer


@fault("an interrupted step counts as done", caught_by=INTERRUPTED)
class InterruptedIsDone(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        try:
            return super().transition(key, step, operation_id=operation_id)
        except KeyboardInterrupt:
            super().transition(key, lambda state, _: onefile_change(state), operation_id=operation_id)
            raise


def onefile_change(state):
    from f1mon_core.storage.change import Change  # noqa: PLC0415 - of this fault alone

    return Change(state)


@fault("an interrupted step leaves what it did to its document", caught_by=INTERRUPTED)
class InterruptedIsKept(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        seen = []

        def watched(state, now):
            seen.append(state)
            return step(state, now)

        try:
            return super().transition(key, watched, operation_id=operation_id)
        except KeyboardInterrupt:
            self._contents.documents[key] = seen[0]
            raise


@fault("an interrupt closes the handle", caught_by=INTERRUPTED)
class InterruptedIsClosed(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        try:
            return super().transition(key, step, operation_id=operation_id)
        except KeyboardInterrupt:
            self.close()
            raise


@fault("what was read of a batch before an interrupt is stored", caught_by=READING)
class StoresWhatCame(MemoryStorage):
    def append(self, facts):
        read = []
        try:
            read.extend(facts)
        finally:
            appended = super().append(read)
        return appended


@fault("an interrupt while a batch is read is passed over", caught_by=READING)
class PassesOverInterrupts(MemoryStorage):
    def append(self, facts):
        read = []
        try:
            read.extend(facts)
        except BaseException:  # noqa: BLE001 - this fault
            read.clear()
        return super().append(read)


@fault("after an interrupt the handle takes no more batches", caught_by=READING)
class TakesNoMore(MemoryStorage):
    _broken = False

    def append(self, facts):
        if self._broken:
            return Appended()
        try:
            return super().append(list(facts))
        except BaseException:
            self._broken = True
            raise


@fault("a lock is a lease, after which another has it", caught_by=LEASE, over="onefile")
class Lease(OneFile):
    lease = 0.3

    def __init__(self, *, path, clock=None):
        super().__init__(path, clock)

    def transition(self, key, step, *, operation_id):
        begun = time.monotonic()
        seen = self.state(key).get(key)
        from f1mon_core.storage.change import Change  # noqa: PLC0415 - of this fault alone

        change = step(seen, self.clock())
        if time.monotonic() - begun < self.lease and self.state(key).get(key) != seen:
            return self.transition(key, step, operation_id=operation_id)
        return super().transition(
            key, lambda _, __: Change(change.state, change.facts, change.also, change.result), operation_id=operation_id
        )


@fault("a step that takes long is called off", caught_by=LEASE)
class CalledOff(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def timed(state, now):
            begun = time.monotonic()
            change = step(state, now)
            if time.monotonic() - begun > 0.5:
                raise TimeoutError("the step took too long")
            return change

        return super().transition(key, timed, operation_id=operation_id)


# Another handle -------------------------------------------------------------------------------------------------------


class _InParts(Among):
    """A prune that others see on its way."""

    def prune(self, before, keep=()):
        with self._lock:
            contents, whole = self._contents, self._contents.copied()
            self.horizon = retention.prune_horizon(before)
            self.on_the_way(contents)
        time.sleep(0.05)
        with self._lock:
            self._contents = whole
            return super().prune(before, keep)

    def on_the_way(self, contents):
        raise NotImplementedError


@fault("predictions go before their cells are kept", caught_by=TOTALS, over="memory among handles")
class GoneBeforeKept(_InParts):
    def on_the_way(self, contents):
        contents.of_kind("prediction").clear()


@fault("cells are kept before their predictions go", caught_by=TOTALS, over="memory among handles")
class KeptBeforeGone(_InParts):
    def on_the_way(self, contents):
        made = list(contents.of_kind("prediction").values())
        for fact in retention.fold_kept(made, contents.outcomes, self.horizon):
            contents.put(attrs.evolve(fact, recorded_at=self.clock()))
        contents.itself = attrs.evolve(contents.itself, pruned_before={"prediction": self.horizon})


@fault("outcomes go before their predictions", caught_by=TOTALS, over="memory among handles")
class OutcomesGoFirst(_InParts):
    def on_the_way(self, contents):
        contents.of_kind("outcome").clear()
        contents.outcomes.clear()


@fault("predictions go in two parts", caught_by=TOTALS, over="memory among handles")
class GoInParts(_InParts):
    def on_the_way(self, contents):
        facts = contents.of_kind("prediction")
        for key in list(facts)[::2]:
            del facts[key]


@fault("a close ends what other handles are doing", caught_by=CLOSED, over="memory among handles")
class ClosesAll(Among):
    def close(self):
        if self._own is not None:
            self._home["closed"] = self._home.get("closed", 0) + 1
        super().close()

    def transition(self, key, step, *, operation_id):
        before = self._home.get("closed", 0)

        def checked(state, now):
            change = step(state, now)
            if self._home.get("closed", 0) != before:
                raise ClosedError("this store is closed")
            return change

        return super().transition(key, checked, operation_id=operation_id)


@fault("the last handle that is closed takes the store along", caught_by=CLOSED, over="memory among handles")
class TakesTheStore(Among):
    def close(self):
        if self._own is not None:
            self._home["contents"].of_kind("prediction").clear()
        super().close()


class _Forked(OneFile):
    """Forgets its lock on one side of a fork."""

    child = True

    def __init__(self, *, path, clock=None):
        super().__init__(path, clock)
        self._born_in = os.getpid()

    def _lacks(self):
        return (os.getpid() != self._born_in) is self.child

    def transition(self, key, step, *, operation_id):
        if not self._lacks():
            done = super().transition(key, dawdling(step), operation_id=operation_id)
            time.sleep(0.01)  # for the other to have its turn: SQLite's locks are not fair
            return done
        seen = self.state(key).get(key)
        change = dawdling(step)(seen, self.clock())
        time.sleep(0.03)  # for the other to come between
        return super().transition(key, lambda _, __: change, operation_id=operation_id)


fault("a forked child takes no lock", caught_by=FORKED, over="onefile")(
    type("Child", (_Forked,), {"__module__": __name__})
)
fault("the parent of a child takes no lock", caught_by=FORKED, over="onefile")(
    type("Parent", (_Forked,), {"child": False, "__module__": __name__})
)
