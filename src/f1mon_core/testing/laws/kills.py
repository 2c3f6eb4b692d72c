"""What survives a SIGKILL at any moment."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import pairwise
from typing import Any, ClassVar

from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.select import Select
from f1mon_core.testing.engine import Engine
from f1mon_core.testing.facts import MINUTE, prediction
from f1mon_core.testing.laws.base import Laws, demands
from f1mon_core.testing.laws.races import RULE
from f1mon_core.testing.location import Place
from f1mon_core.testing.races import Prey, Slots

LONGEST_WAIT = 0.006
"""Seconds before a kill, at most: a few times what a claim takes."""


LONGEST_CLAIM = LONGEST_WAIT / 3
"""Seconds from when a claim was seen to begin to a kill, at most: about what a claim takes."""


def _await(claiming: Slots, slot: int) -> None:
    """Wait until an evaluator claims, or for as long as it may take to be born."""
    deadline = time.monotonic() + 10 * LONGEST_WAIT
    while not claiming[slot] and time.monotonic() < deadline:
        time.sleep(0.0001)


class DyingInItsStep:
    """A store whose holder is killed inside the step of some transition: after the lock, before the commit."""

    def __init__(self, store: Any, survived: int) -> None:
        self._store, self._left = store, survived

    def transition(self, key: str, step: Any, *, operation_id: str) -> Any:
        """`Storage.transition`, deadly in the end."""

        def deadly(document: Any, now: Any) -> Any:
            change = step(document, now)
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change

        return self._store.transition(key, deadly, operation_id=operation_id)


class KillLaws(Laws):
    """What `Storage` promises when processes are killed.

    Attributes:
        kills: How many evaluators are killed while they claim; those that were killed between two claims come on top.
        writer_kills: How many writers are killed while they append.
        evaluators: How many are alive at once.
        engine: What decides whether a rule fires: the kit's own, or somebody else's.
    """

    kills: ClassVar[int] = 50
    writer_kills: ClassVar[int] = 50
    evaluators: ClassVar[int] = 3
    engine: ClassVar[Engine] = Engine()

    @demands("durable", "shared")
    def test_killed_evaluators_never_fire_twice_in_a_cooldown_nor_leave_half_a_claim(self) -> None:
        rng = random.Random(7)  # noqa: S311 - moments, not secrets
        cooldown = self.engine.cooldown
        claiming = Slots(self.evaluators)

        def evaluate(place: Place, born: int) -> None:
            store: Any = place.open()
            slot = born % self.evaluators

            def claim() -> None:
                claiming[slot] = 1
                self.engine.fires(store, RULE)
                claiming[slot] = 0

            if slot == 0:
                store = DyingInItsStep(store, born // self.evaluators % 3)
                while True:
                    claim()
            evaluated = None
            while True:
                if (now := place.clock()) != evaluated:
                    claim()
                    evaluated = now
                time.sleep(0.0002)

        with self.place() as place:
            place.open().check()
            place.close()
            with Prey.hunted(place, self.evaluators, evaluate) as prey:
                kill = killed_claiming = 0
                while killed_claiming < self.kills:
                    place.clock.advance(cooldown // 3)
                    slot = kill % self.evaluators
                    if slot == 0:
                        prey.await_death(slot)
                    else:
                        _await(claiming, slot)
                        time.sleep(rng.random() * LONGEST_CLAIM)
                    prey.kill(slot)
                    kill, killed_claiming = kill + 1, killed_claiming + claiming[slot]
                    claiming[slot] = 0
                    prey.replace(slot)
            store = place.open()
            times = [fact.instant for fact in self.engine.fired(store, RULE)]
            gaps = [later - earlier for earlier, later in pairwise(times)]
            assert min(gaps, default=cooldown) >= cooldown
            assert len(times) >= self.kills // 6, "the evaluators hardly came to evaluate"
            self.engine.assert_whole(store, RULE)
            place.clock.advance(cooldown)
            assert self.engine.fires(store, RULE)
            assert not self.engine.fires(store, RULE)
            assert store.check().ok

    @demands("durable", "shared")
    def test_what_was_acknowledged_survives_the_kill_of_its_writer_and_nothing_is_half_there(self) -> None:
        rng = random.Random(8)  # noqa: S311 - moments, not secrets
        size, writers = 5, 2
        acknowledged = Slots(self.writer_kills + writers)

        def write(place: Place, own: int) -> None:
            store, number = place.open(), 0
            while True:
                store.append(
                    prediction(f"{own}-{number}-{part}", predicted_outcome=own, at=None, metadata={"batch": number})
                    for part in range(size)
                )
                number += 1
                acknowledged[own] = number

        with self.place() as place:
            place.open().check()
            place.close()
            with Prey.hunted(place, writers, write) as prey:
                for kill in range(self.writer_kills):
                    place.clock.advance(MINUTE)
                    # Writer number `kill` dies: one pair at any moment from its birth, the next between its writes.
                    if kill // writers % 2:
                        acknowledged.await_positive(kill)
                    time.sleep(rng.random() * 2 * LONGEST_WAIT)
                    prey.kill(kill % writers)
                    prey.replace(kill % writers)
            store = place.open()
            batches: dict[tuple[ClassLabel, int], int] = {}
            for fact in store.find(Select("prediction")):
                assert isinstance(fact, Prediction)
                batch = (fact.predicted_outcome, int(str(fact.metadata["batch"])))
                batches[batch] = batches.get(batch, 0) + 1
            told = sum(acknowledged[own] for own in range(self.writer_kills))
            assert told >= self.writer_kills // (2 * writers), "the writers hardly came to write"
            assert set(batches.values()) == {size}
            for own in range(self.writer_kills + writers):
                missing = [number for number in range(acknowledged[own]) if (own, number) not in batches]
                assert missing == [], f"writer {own} was told that {acknowledged[own]} batches were stored"
            assert store.check().ok
