"""Errors of the operating system at every call: typed, harmless, and over when they are over."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from f1mon_core.errors import NotWritten, OutcomeUnknown, StorageError

from .disk import Recorder, Since, crashes
from .kills import dry_run
from .layers import Failing, Operation
from .power_loss import judged_crash
from .scenarios import ActClock, Handles, Progress, Scenario, contents
from .verdict import Findings, opener, prepared, replica, unsound

SYNCS = frozenset({"fdatasync", "fsync", "fsync_directory"})
ERRORS = {
    "open": (errno.EMFILE, errno.ENOSPC, errno.EIO),
    "mkdir": (errno.ENOSPC, errno.EIO),
    "pwrite": (errno.ENOSPC, errno.EIO),
    "rename": (errno.ENOSPC, errno.EIO),
    "fdatasync": (errno.EIO, errno.ENOSPC),
    "fsync": (errno.EIO, errno.ENOSPC),
    "fsync_directory": (errno.EIO, errno.EMFILE),
}
"""What each operation may fail with; all others with EIO."""


@attrs.frozen
class Injection:
    """One error at one call.

    Attributes:
        short: Of a write, how many bytes reach the file first.
        lasting: Whether calls of its kind go on failing until the act has failed.
    """

    operation: int
    number: int
    short: int | None = None
    lasting: bool = False

    def layer(self) -> Failing:
        return Failing(self.operation, self.number, short=self.short, until_healed=self.lasting)


def injections(operations: list[Operation]) -> Iterator[Injection]:
    """Every error at every call."""
    for at, operation in enumerate(operations):
        for number in ERRORS.get(operation.name, (errno.EIO,)):
            yield Injection(at, number)
            yield Injection(at, number, lasting=True)
        if operation.size > 1:
            for short in {1, operation.size // 2, operation.size - 1}:
                yield Injection(at, errno.ENOSPC, short=short)
                yield Injection(at, errno.ENOSPC, short=short, lasting=True)


def endured(
    scenario: Scenario,
    base: Path,
    layer: Any,
    heal: Callable[[], None],
    tell: Callable[[bool], None] = lambda _: None,
    *,
    reopen: bool = False,
) -> list[str]:
    """Do a scenario's acts in spite of errors; what went wrong that must not.

    Args:
        tell: Told when an act begins (False) and when it is acknowledged (True).
        reopen: Give a handle up after its first error, as its message asks for.
    """
    handles = Handles(opener(scenario, base, layer), ActClock())
    wrong: list[str] = []
    for number, act in enumerate(scenario.lanes[0]):
        handles.clock.set(scenario.second(0, number))
        tell(False)
        unknown = False
        for attempt in range(3):
            try:
                act(handles[act.handle])
                break
            except StorageError as error:
                heal()
                unknown = unknown or isinstance(error, OutcomeUnknown)
                wrong += _broken_word(scenario, base, number, error, unknown=unknown)
                if attempt == 2:
                    wrong.append(f"{act.name} does not work again: {error}")
                if (attempt or reopen) and act.handle in handles.open:
                    handles.drop(act.handle)
            except OSError as error:
                return [f"{act.name} raised an untyped {type(error).__name__}: {error}"]
        tell(True)
    try:
        handles.close()
    except StorageError:
        heal()
    return wrong + _finally(scenario, base)


def _broken_word(scenario: Scenario, base: Path, number: int, error: StorageError, *, unknown: bool) -> list[str]:
    """Whether what an error says of the act is so, of which an earlier try may have an unknown outcome."""
    if not (base / scenario.path / "journal.jsonl").exists():
        return []  # the store was not even made
    store = opener(scenario, base)(ActClock())
    found = contents(store)
    store.close()
    before: Progress = (number,)
    if found == scenario.expected(before):
        return []
    if unknown and found == scenario.expected((number + 1,)):
        return []
    said = "nothing was written" if isinstance(error, NotWritten) else type(error).__name__
    return [f"said {said} ({error}), but: {found.against(scenario.expected(before))}"]


def _finally(scenario: Scenario, base: Path) -> list[str]:
    store = opener(scenario, base)(ActClock())
    try:
        found = contents(store)
        complete = scenario.expected(scenario.whole)
        return ([] if found == complete else [f"in the end: {found.against(complete)}"]) + unsound(store, found)
    finally:
        store.close()


@attrs.frozen
class Errors:
    """Every so-manieth error of a scenario."""

    scenario: Scenario
    first: int = 0
    step: int = 1

    def __call__(self, home: Path) -> Findings:
        findings = Findings()
        operations = dry_run(self.scenario, _fresh(self.scenario, home))
        for injection in list(injections(operations))[self.first :: self.step]:
            base = replica(home / "prepared", home / "run")
            layer = injection.layer()
            where = f"{self.scenario.name}, {operations[injection.operation].name}, {injection}"
            try:
                wrong = endured(self.scenario, base, layer, layer.heal)
            except Exception as error:  # noqa: BLE001 - whatever a store raises here is a finding
                wrong = [f"{type(error).__name__}: {error}"]
            findings.note(where, wrong)
        return findings


@attrs.frozen
class LyingDisk:
    """Every sync of a scenario fails once, and the kernel forgets the bytes; later the power goes.

    A sync that failed marks its pages clean: the bytes are read back as if they were there, and the next sync says
    so, but they are on no disk until they are written again.
    """

    scenario: Scenario
    most: int

    def __call__(self, home: Path) -> Findings:
        findings = Findings()
        operations = dry_run(self.scenario, _fresh(self.scenario, home))
        for at, operation in enumerate(operations):
            if operation.name in SYNCS:
                findings.add(self._failed(home, at))
        return findings

    def _failed(self, home: Path, at: int) -> Findings:
        base = replica(home / "prepared", home / "recorded")
        failing = Failing(at, errno.EIO)
        recorder = Recorder(base, failing)

        def tell(done: bool) -> None:
            (recorder.acknowledge if done else recorder.begin)(0)

        findings = Findings()
        where = f"{self.scenario.name}, sync at {at} failed"
        findings.note(where, endured(self.scenario, base, recorder, failing.heal, tell, reopen=True))
        since = Since((0,), (0,), (0,))
        for crash in crashes(recorder.start, recorder.events, since, seed=at, most=self.most, seen=set()):
            findings.note(f"{where}, then the power", judged_crash(self.scenario, crash, home, finish=False))
        return findings


def _fresh(scenario: Scenario, home: Path) -> Path:
    empty = home / "empty"
    empty.mkdir(exist_ok=True)
    prepared(scenario, replica(empty, home / "prepared"))
    return replica(home / "prepared", home / "run")
