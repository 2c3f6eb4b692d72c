"""Kill points: a forked worker dies by SIGKILL at every operation of a scenario, and in the middle of every write.

Run as a module it is the warm process that all workers are forked from: small, so that a fork is cheap, and it prints
what it counted as JSON.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import attrs

from .layers import Counting, Killing, Operation, sigkill
from .scenarios import (
    BIRTH,
    COMPACTION,
    GROUP_COMMIT,
    OS_DURABILITY,
    PLAIN,
    PRUNING,
    SINGLES,
    TRANSITIONS,
    ActClock,
    Handles,
    Progress,
    Scenario,
    perform,
    prediction,
    recoveries,
)
from .verdict import Findings, Judge, Plant, as_it_is, opener, prepared, remains, replica, scratch, shared_out

EVERY_CUT = 16
"""Writes of up to so many bytes are cut at every byte; longer ones at so many places."""


@attrs.frozen
class Point:
    """Where a worker dies: before an operation, or after some bytes of the write that it is."""

    operation: int
    cut: int | None = None


def dry_run(scenario: Scenario, base: Path, plant: Plant = as_it_is, since: Progress | None = None) -> list[Operation]:
    """The operations of a scenario that nothing disturbs."""
    layer = Counting()
    handles = Handles(opener(scenario, base, layer, plant), ActClock())
    perform(scenario, handles, since=since)
    handles.close()
    return layer.seen


def points_of(operations: Sequence[Operation], every_cut: int = EVERY_CUT) -> list[Point]:
    """Every kill point of a run: before each operation, behind the last, and within each write."""
    points = []
    for number, operation in enumerate(operations):
        points.append(Point(number))
        points += [Point(number, cut) for cut in cuts_of(operation.size, every_cut)]
    return [*points, Point(len(operations))]


def cuts_of(size: int, most: int) -> list[int]:
    """Where to cut a write: at every byte if there are at most so many, else evenly, always next to both ends."""
    inner = range(1, size)
    if len(inner) <= most:
        return list(inner)
    return sorted({1, 2, size - 2, size - 1, *(1 + step * (size - 2) // most for step in range(most - 4))})


def killed(
    scenario: Scenario, base: Path, point: Point, plant: Plant = as_it_is, since: Progress | None = None
) -> tuple[Progress, Progress, str]:
    """Let a forked worker run a scenario until it dies; what was acknowledged, what had begun, and its complaint."""
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        _work(scenario, base, point, plant, since, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(worker, 0)
    words, _, complaint = said.partition(b"!")
    acknowledged = list(since or (0,) * len(scenario.lanes))
    begun = list(acknowledged)
    for word in words:
        lane, done = divmod(word, 2)
        if done:
            acknowledged[lane] += 1
        else:
            begun[lane] += 1
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        complaint += b" the worker was not killed: status %d" % status
    return tuple(acknowledged), tuple(begun), complaint.decode()


def _work(scenario: Scenario, base: Path, point: Point, plant: Plant, since: Progress | None, pipe: int) -> NoReturn:
    """The life of a worker."""
    try:
        layer = Killing(point.operation, point.cut, sigkill)
        handles = Handles(opener(scenario, base, layer, plant), ActClock())
        perform(
            scenario,
            handles,
            begin=lambda lane: os.write(pipe, bytes([2 * lane])),
            acknowledge=lambda lane: os.write(pipe, bytes([2 * lane + 1])),
            since=since,
        )
        handles.close()
    except BaseException:  # noqa: BLE001 - it is told, and the worker still dies
        os.write(pipe, b"!" + traceback.format_exc().encode())
    sigkill()


def campaign(
    scenario: Scenario, points: Sequence[Point], home: Path, plant: Plant = as_it_is, stop_at: int | None = None
) -> Findings:
    """Kill a worker at each point and judge what it leaves.

    Args:
        stop_at: Leave off after so many violations.
    """
    _ready(scenario, home)
    findings = Findings()
    judge = Judge(scenario, plant)
    for point in points:
        base = replica(home / "prepared", home / "run")
        acknowledged, begun, complaint = killed(scenario, base, point, plant)
        wrong = [complaint] if complaint else judge(base, acknowledged, begun)
        findings.note(f"{scenario.name}, killed at {point}", wrong)
        if stop_at is not None and len(findings.violations) >= stop_at:
            break
    return findings


def nested_campaign(scenario: Scenario, home: Path, first_points: Sequence[Point]) -> Findings:
    """Kill a worker, then kill its successor at every operation while it repairs, repeats and goes on.

    Points that leave the same files and the same acknowledgements are one.
    """
    _ready(scenario, home)
    findings = Findings()
    judge = Judge(scenario)
    seen = set()
    for point in first_points:
        first = replica(home / "prepared", home / "first")
        acknowledged, begun, complaint = killed(scenario, first, point)
        findings.note(f"{scenario.name}, killed at {point}", [complaint] if complaint else [])
        left = (acknowledged, remains(first))
        if complaint or left in seen:
            continue
        seen.add(left)
        operations = dry_run(scenario, replica(first, home / "run"), since=acknowledged)
        for second in points_of(operations, every_cut=8):
            base = replica(first, home / "run")
            further, started, complaint = killed(scenario, base, second, since=acknowledged)
            reached = tuple(map(max, begun, started))
            wrong = [complaint] if complaint else judge(base, further, reached)
            findings.note(f"{scenario.name}, killed at {point} and again at {second}", wrong)
    return findings


def _ready(scenario: Scenario, home: Path) -> None:
    """Lay the store that each run starts from."""
    shutil.rmtree(home / "prepared", ignore_errors=True)
    (home / "prepared").mkdir()
    prepared(scenario, home / "prepared")


def next_line(home: Path) -> bytes:
    """The line that a writer in the recovery scenarios was about to append when it died."""
    (scenario, *_) = recoveries(b"", [0])
    whole = attrs.evolve(scenario, damage=None)
    _ready(whole, home)
    before = (home / "prepared" / scenario.path / "journal.jsonl").read_bytes()
    store = opener(scenario, home / "prepared")(ActClock())
    store.append([prediction("never acknowledged", hour=8)])
    store.close()
    return (home / "prepared" / scenario.path / "journal.jsonl").read_bytes()[len(before) :]


@attrs.frozen
class Job:
    """A piece of a campaign."""

    scenario: Scenario
    points: tuple[Point, ...]
    nested: bool = False

    def __call__(self, home: Path) -> Findings:
        if self.nested:
            return nested_campaign(self.scenario, home, self.points)
        return campaign(self.scenario, self.points, home)


def everything(home: Path, *, deep: bool) -> list[Job]:
    """The kill points of continuous integration, or of a soak."""
    line = next_line(home)
    size = len(line)
    cuts = cuts_of(size, size if deep else 4)
    jobs: list[Job] = []
    for scenario in (*PLAIN, GROUP_COMMIT, OS_DURABILITY, *recoveries(line, cuts)):
        operations = dry_run(scenario, _fresh(scenario, home))
        points = points_of(operations, 100_000) if deep else points_of(operations, EVERY_CUT)[::2]
        jobs += [Job(scenario, tuple(points[part : part + 200])) for part in range(0, len(points), 200)]
    for scenario in (BIRTH, SINGLES, TRANSITIONS, PRUNING, COMPACTION):
        operations = dry_run(scenario, _fresh(scenario, home))
        points = points_of(operations, 24 if deep else 3)
        jobs += [Job(scenario, (point,), nested=True) for point in (points if deep else points[::15])]
    return jobs


def _fresh(scenario: Scenario, home: Path) -> Path:
    _ready(scenario, home)
    return home / "prepared"


def main(arguments: Sequence[str]) -> None:
    """Run all there is; print the counts and the first violations as JSON."""
    with scratch() as home:
        jobs = everything(Path(home), deep="--deep" in arguments)
    findings = shared_out(jobs, processes=2)
    json.dump({"kill_points": findings.tried, "violations": findings.violations[:50]}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
