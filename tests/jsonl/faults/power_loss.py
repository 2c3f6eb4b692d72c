"""Power loss: scenarios are recorded, and every disk they may leave is opened with the real store and judged."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import attrs

from .disk import Crash, Disk, Event, Recorder, Since, crashes, materialised
from .kills import Point, dry_run, next_line, points_of
from .layers import KilledError, Killing
from .scenarios import (
    BATCHES,
    BIRTH,
    COMPACTION,
    FIRST_LINES,
    GROUP_COMMIT,
    OUTCOMES,
    PLAIN,
    PRUNING,
    SINGLES,
    TRANSITIONS,
    TWO_HANDLES,
    ActClock,
    Handles,
    Progress,
    Scenario,
    closing,
    contents,
    perform,
    possible,
    recoveries,
)
from .verdict import Findings, Plant, as_it_is, judged, opener, prepared, replica

SYNCS = frozenset({"fdatasync", "fsync", "fsync_directory"})


def recorded(
    scenario: Scenario, base: Path, since: Progress, *, kill: Point | None = None, plant: Plant = as_it_is
) -> tuple[Disk, list[Event]]:
    """Run a scenario on a recorder.

    Args:
        kill: Where the process dies; a second one then repeats what was not acknowledged and goes on.
    """
    recorder = Recorder(base)
    done = list(since)

    def acknowledge(lane: int) -> None:
        recorder.acknowledge(lane)
        done[lane] += 1

    if kill is not None:
        handles = Handles(opener(scenario, base, Killing(kill.operation, kill.cut, below=recorder), plant), ActClock())
        with contextlib.suppress(KilledError):
            perform(scenario, handles, begin=recorder.begin, acknowledge=acknowledge, since=since)
    with closing(Handles(opener(scenario, base, recorder, plant), ActClock())) as handles:
        perform(scenario, handles, begin=recorder.begin, acknowledge=acknowledge, since=tuple(done))
    return recorder.start, recorder.events


@attrs.frozen
class Loss:
    """A recorded run, and how many of its disks to judge.

    Attributes:
        kills: Where the process dies once before the machine does; None for not at all.
        most: How many states to take after each operation, if there are more.
        again: Of every so-manieth of them, the losses while that disk is repaired; 0 for none.
        finish: Of every so-manieth, whether the store also goes on as it should.
    """

    scenario: Scenario
    seed: int
    most: int
    kill: Point | None = None
    again: int = 0
    finish: int = 2

    def __call__(self, home: Path) -> Findings:
        return campaign(self, home)


def campaign(loss: Loss, home: Path, plant: Plant = as_it_is, stop_at: int | None = None) -> Findings:
    """Judge the disks that a recorded run may leave."""
    scenario = loss.scenario
    nothing = (0,) * len(scenario.lanes)
    base = replica(_empty(home / "empty"), home / "recorded")
    prepared(scenario, base)
    disk, events = recorded(scenario, base, nothing, kill=loss.kill, plant=plant)
    since = Since(nothing, nothing, nothing)
    findings = Findings()
    for number, crash in enumerate(crashes(disk, events, since, seed=loss.seed, most=loss.most, seen=set())):
        finish = number % loss.finish == 0
        findings.note(_where(loss, crash), judged_crash(scenario, crash, home, plant, finish=finish))
        if loss.again and number % loss.again == 0:
            findings.add(_again(loss, crash, home))
        if stop_at is not None and len(findings.violations) >= stop_at:
            break
    return findings


def _again(loss: Loss, first: Crash, home: Path) -> Findings:
    """Lose power a second time, while the store is opened, repaired and gone on with."""
    scenario = loss.scenario
    base = materialised(first.state, replica(_empty(home / "empty"), home / "again"))
    with closing(Handles(opener(scenario, base), ActClock())) as handles:
        found = contents(handles[0])
    shown = next((one for one in possible(first.acknowledged, first.begun) if scenario.expected(one) == found), None)
    base = materialised(first.state, replica(_empty(home / "empty"), home / "again"))
    findings = Findings()
    if shown is None:
        return findings  # the first loss is already a violation
    disk, events = recorded(scenario, base, first.acknowledged)
    since = Since(first.acknowledged, first.begun, shown)
    seconds = crashes(disk, events, since, seed=loss.seed, most=max(4, loss.most // 8), seen=set())
    for number, crash in enumerate(seconds):
        wrong = judged_crash(scenario, crash, home, finish=number % loss.finish == 0)
        findings.note(f"{_where(loss, first)}, and again: {_where(loss, crash)}", wrong)
    return findings


def judged_crash(scenario: Scenario, crash: Crash, home: Path, plant: Plant = as_it_is, *, finish: bool) -> list[str]:
    """Lay a disk's state out and judge it."""
    base = materialised(crash.state, replica(_empty(home / "empty"), home / "left"))
    return judged(scenario, base, crash.acknowledged, crash.begun, plant, finish=finish, power_lost=True)


def _where(loss: Loss, crash: Crash) -> str:
    sizes = ", ".join(f"{path}: {len(data)} bytes" for path, data in crash.state if data is not None)
    died = f" (killed at {loss.kill})" if loss.kill else ""
    return f"{loss.scenario.name}{died}, power lost after {crash.acknowledged} acknowledged, left {sizes or 'nothing'}"


def _empty(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def sync_points(scenario: Scenario, home: Path) -> Iterator[Point]:
    """Before each sync of a scenario: what was written is seen by others, but on no disk yet."""
    base = replica(_empty(home / "empty"), home / "recorded")
    prepared(scenario, base)
    for number, operation in enumerate(dry_run(scenario, base)):
        if operation.name in SYNCS:
            yield Point(number)


def losses(home: Path) -> list[Loss]:
    """The runs of continuous integration."""
    jobs = [Loss(scenario, seed=1, most=24) for scenario in (*PLAIN, GROUP_COMMIT)]
    for scenario in (BIRTH, SINGLES, OUTCOMES, TRANSITIONS, COMPACTION, FIRST_LINES):
        jobs += [Loss(scenario, seed=2, most=6, kill=point) for point in sync_points(scenario, home)]
    jobs += [Loss(scenario, seed=3, most=3, again=11) for scenario in (SINGLES, TRANSITIONS, PRUNING)]
    jobs += [Loss(scenario, seed=4, most=6) for scenario in recoveries(next_line(home), (1, 60))]
    return jobs


def soak_losses(home: Path, seed: int) -> list[Loss]:
    """The runs of a soak: all tears of every write, deaths at every operation, losses upon losses."""
    jobs = [Loss(scenario, seed=seed, finish=16, most=4_000) for scenario in (*PLAIN, GROUP_COMMIT)]
    for scenario in (BIRTH, SINGLES, OUTCOMES, BATCHES, TRANSITIONS, PRUNING, COMPACTION, TWO_HANDLES):
        base = replica(_empty(home / "empty"), home / "recorded")
        prepared(scenario, base)
        points = points_of(dry_run(scenario, base), every_cut=4)
        jobs += [Loss(scenario, seed=seed, finish=16, most=28, kill=point) for point in points]
        jobs.append(Loss(scenario, seed=seed, finish=16, most=48, again=5))
    line = next_line(home)
    jobs += [Loss(scenario, seed=seed, finish=16, most=200) for scenario in recoveries(line, range(1, len(line), 9))]
    return jobs
