"""The state machine finds faults that only an interleaving of handles, reopening and verbs shows."""

from contextlib import contextmanager
from functools import partial
from secrets import token_hex

import attrs
import pytest

from f1mon_core.storage.change import operation_digest
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.registry import Backend
from f1mon_core.testing import Location, run_law

LAW = "any_sequence_of_verbs_agrees_with_the_model"
WITHIN = 2_000
"""Which sequences are tried changes with every module that is loaded; one seed in ten shows the rarest fault only after
its first 500. Whatever is found ends the search."""

_places = {}


class Handle:
    """One of several handles on a store in memory, which lives as long as its place."""

    def __init__(self, *, place, clock):
        self.clock = clock
        self.address = f"shared://{place}"
        self.store = _places.setdefault(place, MemoryStorage(clock=clock))

    def __getattr__(self, verb):
        return getattr(self.store, verb)

    def close(self):
        pass


class ReadsWhatItOnceRead(Handle):
    """Answers a question again as it was answered before, until the handle itself writes."""

    def __init__(self, **options):
        super().__init__(**options)
        self.answers = {}

    def find(self, select):
        return self.answers.setdefault(repr(select), self.store.find(select))

    def append(self, facts):
        self.answers.clear()
        return self.store.append(facts)

    def transition(self, key, step, *, operation_id):
        self.answers.clear()
        return self.store.transition(key, step, operation_id=operation_id)

    def prune(self, before, keep=()):
        self.answers.clear()
        return self.store.prune(before, keep)


class RemembersOperationsOfItsOwn(Handle):
    """Knows only the operations it did itself."""

    def __init__(self, **options):
        super().__init__(**options)
        self.done = set()

    def transition(self, key, step, *, operation_id):
        if (key, operation_id) not in self.done:
            self.store._contents.operations.pop(operation_digest(key, operation_id), None)
        self.done.add((key, operation_id))
        return self.store.transition(key, step, operation_id=operation_id)


class ForgetsTheHorizonWhenReopened(Handle):
    """The prune horizon lives in the handles, and goes with the last one."""

    def __init__(self, **options):
        super().__init__(**options)
        self.store._contents.itself = attrs.evolve(self.store._contents.itself, pruned_before={})
        self.store._contents.pruned.clear()


class StateWithoutItsFacts(Handle):
    """A step whose facts repeat what is stored loses the state that came with them."""

    def transition(self, key, step, *, operation_id):
        before = len(self.store._contents.of_kind("alert"))
        document = self.store.state("").get(key)
        result = self.store.transition(key, step, operation_id=operation_id)
        if document and before and len(self.store._contents.of_kind("alert")) == before:
            self.store._contents.documents[key] = document
        return result


FAULTS = [ReadsWhatItOnceRead, RemembersOperationsOfItsOwn, ForgetsTheHorizonWhenReopened, StateWithoutItsFacts]


@contextmanager
def location(handle):
    place = token_hex(8)
    yield Location(Backend(name=handle.__name__, open=partial(handle)), place=place)
    _places.pop(place, None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    verdict = run_law(partial(location, fault), LAW, sequences=WITHIN, shrink=False)
    assert verdict.status == "fail"
    assert isinstance(verdict.error, AssertionError), verdict.trace


def test_the_sound_handles_agree():
    verdict = run_law(partial(location, Handle), LAW)
    assert verdict.status == "pass", verdict.trace
