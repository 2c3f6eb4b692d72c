"""Two more writers let in between any two operations of a writer: whoever is acknowledged stays."""

import itertools
import os
from pathlib import Path

import attrs

from f1mon_core.errors import NotWritten

from .layers import Counting, Interleaving
from .scenarios import (
    ActClock,
    Handles,
    Scenario,
    append,
    closing,
    compact,
    contents,
    counted,
    perform,
    prediction,
    prune,
)
from .verdict import Findings, Plant, as_it_is, opener, prepared, replica

_BEFORE = (append(prediction("old", hour=-1)), append(prediction("p1", hour=8)), counted("rule/a", "w1"))

APPENDING = Scenario(
    "append twice, meanwhile compact and append",
    (
        (append(prediction("one", hour=9)), append(prediction("two", hour=9))),
        (compact(),),
        (append(prediction("other", hour=9)),),
    ),
    before=_BEFORE,
)
COUNTING = Scenario(
    "transition, meanwhile prune and transition",
    ((counted("rule/a", "w2"), counted("rule/c", "w1")), (prune(0),), (counted("rule/b", "w1"),)),
    before=_BEFORE,
)
COMPACTING = Scenario(
    "compact, meanwhile append and compact",
    ((compact(), append(prediction("one", hour=9))), (append(prediction("other", hour=9)),), (compact(),)),
    before=_BEFORE,
)


@attrs.frozen
class Interleaved:
    """A scenario whose second and third lane are let in by forked processes, for some pairs of places.

    Attributes:
        first, step: Every so-manieth pair, from this one on.
        stop_at: Leave off after so many violations.
    """

    scenario: Scenario
    first: int
    step: int
    plant: Plant = as_it_is
    stop_at: int | None = None

    def __call__(self, home: Path) -> Findings:
        empty = home / "empty"
        empty.mkdir(exist_ok=True)
        prepared(self.scenario, replica(empty, home / "prepared"))
        layer = Counting()
        self._run(replica(home / "prepared", home / "run"), layer)
        places = list(itertools.combinations(range(len(layer.seen)), 2))
        findings = Findings()
        for pair in places[self.first :: self.step]:
            findings.note(f"{self.scenario.name}, let in at {pair}", self._let_in(home, *pair))
            if self.stop_at is not None and len(findings.violations) >= self.stop_at:
                break
        return findings

    def _run(self, base: Path, layer: Counting | Interleaving) -> None:
        alone = attrs.evolve(self.scenario, lanes=self.scenario.lanes[:1], known={})
        with closing(Handles(opener(alone, base, layer, self.plant), ActClock())) as handles:
            perform(alone, handles)

    def _let_in(self, home: Path, one: int, two: int) -> list[str]:
        base = replica(home / "prepared", home / "run")
        done = [len(self.scenario.lanes[0]), 0, 0]

        def other(lane: int) -> None:
            done[lane] = int(self._acknowledged(base, lane))

        try:
            self._run(base, Interleaving(one, lambda: other(1), Interleaving(two, lambda: other(2))))
            with closing(Handles(opener(self.scenario, base), ActClock())) as handles:
                found, report = contents(handles[0]), handles[0].check()
        except Exception as error:  # noqa: BLE001 - whatever a store raises here is a finding
            return [f"{type(error).__name__}: {error}"]
        expected = self.scenario.expected(tuple(done))
        wrong = [] if found == expected else [found.against(expected)]
        return wrong + [f"check: {one.where}: {one.message}" for one in report.problems if one.severity == "error"]

    def _acknowledged(self, base: Path, lane: int) -> bool:
        """Whether another process, which does not wait for the lock, was told that its act is done."""
        worker = os.fork()
        if worker == 0:
            code = 2
            try:
                handles = Handles(opener(self.scenario, base, plant=self.plant, lock_timeout=0.0), ActClock())
                handles.clock.set(self.scenario.second(lane, 0))
                self.scenario.lanes[lane][0](handles[0])
                code = 0
            except NotWritten:
                code = 1
            finally:
                os._exit(code)
        _, status = os.waitpid(worker, 0)
        if (code := os.waitstatus_to_exitcode(status)) not in {0, 1}:
            raise AssertionError(f"the process let in failed with {code}")
        return code == 0
