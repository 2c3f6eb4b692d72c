"""Whether a store that crashed kept its promises: opened again, questioned, and made to finish what was begun."""

import gc
import os
import pickle
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.disk.files import Files

from .scenarios import LAST, ActClock, Contents, Handles, Progress, Scenario, closing, contents, perform, possible

Plant: TypeAlias = Callable[[Files], Files]
"""Puts a planted fault between a store and its file layer."""

SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where scratch directories lie: in memory where there is such a place, for the machine itself does not crash here."""


BEHIND_ZEROS = "whole transactions behind zeros; whether they were acknowledged is not known"


def as_it_is(files: Files) -> Files:
    """No fault planted."""
    return files


def scratch() -> tempfile.TemporaryDirectory:
    """A directory that goes away."""
    return tempfile.TemporaryDirectory(prefix="f1mon-faults-", dir=SCRATCH, ignore_cleanup_errors=True)


def opener(
    scenario: Scenario, base: Path, files: Files | None = None, plant: Plant = as_it_is, lock_timeout: float = 30.0
) -> Callable[[ActClock], JSONLStorage]:
    """Opens handles on a scenario's store under `base`, all above one file layer."""
    layer = plant(files or Files())
    path = base / scenario.path

    def opened(clock: ActClock) -> JSONLStorage:
        return JSONLStorage(path, durability=scenario.durability, clock=clock, lock_timeout=lock_timeout, _files=layer)

    return opened


def prepared(scenario: Scenario, base: Path, plant: Plant = as_it_is) -> Path:
    """The store as it is before the acts under fault."""
    if scenario.before:
        clock = ActClock()
        store = opener(scenario, base, plant=plant)(clock)
        scenario.prepare(store, clock)
        store.close()
        if scenario.damage is not None:
            scenario.damage(base / scenario.path)
    return base


def replica(of: Path, at: Path) -> Path:
    """A fresh copy of a base directory."""
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(of, at)
    return at


@attrs.define
class Findings:
    """How much was tried, and what was found wrong."""

    tried: int = 0
    violations: list[str] = attrs.field(factory=list)

    def note(self, where: str, wrong: Sequence[str]) -> None:
        """One more was tried."""
        self.tried += 1
        self.violations += [f"{where}: {one}" for one in wrong]

    def add(self, other: "Findings") -> None:
        self.tried += other.tried
        self.violations += other.violations


def shared_out(jobs: Sequence[Callable[[Path], Findings]], processes: int) -> Findings:
    """Do jobs in forked processes, each with a scratch directory of its own; a process that fails is an error."""
    gc.collect()
    gc.freeze()  # what is there is never touched by a collection, so forked workers share its pages
    pipes = []
    for number in range(processes):
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                with scratch() as home, os.fdopen(writing, "wb") as pipe:
                    mine = Findings()
                    for job in jobs[number::processes]:
                        mine.add(job(Path(home)))
                    pickle.dump(mine, pipe)
                os._exit(0)
            except BaseException:  # noqa: BLE001 - told on the way out; the parent misses the answer
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        pipes.append(reading)
    findings = Findings()
    for reading in pipes:
        with os.fdopen(reading, "rb") as pipe:
            findings.add(pickle.load(pipe))
        os.wait()
    gc.unfreeze()
    return findings


def remains(base: Path) -> tuple[tuple[str, bytes], ...]:
    """All files under a base directory, and what is in them."""
    return tuple(
        (path.relative_to(base).as_posix(), path.read_bytes() if path.is_file() else b"")
        for path in sorted(base.rglob("*"))
    )


class Judge:
    """Judges what crashes of one scenario leave; the same remains under the same promises have one verdict."""

    def __init__(self, scenario: Scenario, plant: Plant = as_it_is) -> None:
        self._scenario = scenario
        self._plant = plant
        self._verdicts: dict[int, list[str]] = {}

    def __call__(self, base: Path, acknowledged: Progress, begun: Progress) -> list[str]:
        case = hash((remains(base), acknowledged, begun))
        if case not in self._verdicts:
            self._verdicts[case] = judged(self._scenario, base, acknowledged, begun, self._plant)
        return self._verdicts[case]


def judged(
    scenario: Scenario,
    base: Path,
    acknowledged: Progress,
    begun: Progress,
    plant: Plant = as_it_is,
    *,
    finish: bool = True,
    power_lost: bool = False,
) -> list[str]:
    """What is wrong with a store that crashed when these acts were acknowledged and those had begun.

    It must show exactly the contents after some acts between the two and be sound in its own eyes.

    Args:
        finish: It must also take what was not acknowledged again without doubling it, then the rest, then something
            new, and show the same to the next handle.
        power_lost: It may report whole transactions behind zeros: it cannot know that they were not acknowledged.
    """
    try:
        with closing(Handles(opener(scenario, base, plant=plant), ActClock())) as handles:
            found = contents(handles[0])
            at = next((one for one in possible(acknowledged, begun) if scenario.expected(one) == found), None)
            if at is None:
                return [f"after the crash: {found.against(scenario.expected(acknowledged))}"]
            if not finish:
                return unsound(handles[0], found, zeros=power_lost)
            if wrong := gone_on(scenario, handles, acknowledged):
                return wrong
        complete = scenario.expected((*scenario.whole, 1))
        with closing(Handles(opener(scenario, base, plant=plant), ActClock())) as handles:
            if (found := contents(handles[0])) != complete:
                return [f"finished, for the next handle: {found.against(complete)}"]
            return unsound(handles[0], found, zeros=power_lost)
    except Exception as error:  # noqa: BLE001 - whatever a store raises here is a finding
        return [f"{type(error).__name__}: {error}"]


def gone_on(scenario: Scenario, handles: Handles, since: Progress) -> list[str]:
    """Do what is left of a scenario, and one append more; what is wrong after either."""
    perform(scenario, handles, since=since)
    complete = scenario.expected(scenario.whole)
    if (found := contents(handles[0])) != complete:
        return [f"finished by the same handle: {found.against(complete)}"]
    handles.clock.set(scenario.second(len(scenario.lanes), 0))
    LAST[0](handles[0])
    complete = scenario.expected((*scenario.whole, 1))
    if (found := contents(handles[0])) != complete:
        return [f"after one more append: {found.against(complete)}"]
    return []


def unsound(store: Any, found: Contents, *, zeros: bool = False) -> list[str]:
    """What a store finds wrong with itself; of whole transactions behind zeros it may speak if there can be any."""
    report = store.check()
    errors = [one for one in report.problems if one.severity == "error"]
    wrong = [f"check: {one.where}: {one.message}" for one in errors if not (zeros and BEHIND_ZEROS in one.message)]
    shown = dict(Counter(kind for kind, _ in found.facts))
    if dict(report.facts) != shown:
        wrong.append(f"check counts {dict(report.facts)}, shown are {shown}")
    return wrong
