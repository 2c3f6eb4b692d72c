"""The harness reports every fault that is planted on purpose, and nothing where none is."""

from pathlib import Path

import pytest

from . import planted
from .bitflips import Flips
from .interleaving import APPENDING, Interleaved
from .kills import Point, campaign, dry_run, next_line, points_of
from .power_loss import Loss
from .power_loss import campaign as lose_power
from .scenarios import BIRTH, COMPACTION, SINGLES, recoveries
from .verdict import Findings, Plant, as_it_is, prepared, scratch

pytestmark = pytest.mark.faults


def after_power_losses(scenario, home: Path, plant: Plant) -> Findings:
    return lose_power(Loss(scenario, seed=1, most=24), home, plant, stop_at=1)


def after_kills(scenario, home: Path, plant: Plant) -> Findings:
    ready = home / "counted"
    ready.mkdir()
    operations = dry_run(scenario, prepared(scenario, ready), plant)
    points = [point for point in points_of(operations, every_cut=4) if _matters(operations, point)]
    return campaign(scenario, points, home, plant, stop_at=1)


def _matters(operations, point: Point) -> bool:
    """Leave out deaths before a mere look at the disk, which are those before the next change of it."""
    return point.operation == len(operations) or operations[point.operation].name in {"pwrite", "rename", "unlink"}


def after_a_torn_tail(home: Path, plant: Plant, cut: int | None) -> Findings:
    line = next_line(home)
    scenario = recoveries(line, [len(line) - 1 if cut is None else cut])[0]
    return campaign(scenario, [Point(10_000)], home, plant)


LAYERS = {
    "no fsync": (planted.NoSync, lambda home, plant: after_power_losses(SINGLES, home, plant)),
    "no directory fsync after creation": (
        planted.NoNameSyncAfterCreation,
        lambda home, plant: after_power_losses(BIRTH, home, plant),
    ),
    "no directory fsync after rename": (
        planted.NoNameSyncAfterRename,
        lambda home, plant: after_power_losses(COMPACTION, home, plant),
    ),
    "no temporary fsync": (planted.NoTemporarySync, lambda home, plant: after_power_losses(COMPACTION, home, plant)),
    "unlink before rename": (planted.UnlinkBeforeRename, lambda home, plant: after_kills(COMPACTION, home, plant)),
    "cached descriptor across compaction": (
        planted.CachedDescriptor,
        lambda home, plant: Interleaved(APPENDING, 0, 17, plant, stop_at=1)(home),
    ),
    "lock on the data file": (
        planted.LockOnTheJournal,
        lambda home, plant: Interleaved(APPENDING, 0, 3, plant, stop_at=1)(home),  # it shows at four places in a row
    ),
}

PATCHES = {
    "no repair": (planted.no_repair, lambda home: after_a_torn_tail(home, as_it_is, 60)),
    "repair by newline": (planted.repair_by_newline, lambda home: after_a_torn_tail(home, as_it_is, None)),
    "no checksum": (planted.no_checksum, Flips(3, 56)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_fault_between_store_and_disk_is_reported(name):
    plant, tried = LAYERS[name]
    with scratch() as home:
        assert tried(Path(home), plant).violations


@pytest.mark.parametrize("name", LAYERS)
def test_without_that_fault_nothing_is_reported(name):
    _, tried = LAYERS[name]
    with scratch() as home:
        findings = tried(Path(home), as_it_is)
    assert findings.tried
    assert findings.violations == []


@pytest.mark.parametrize("name", PATCHES)
def test_a_fault_in_the_store_is_reported(name):
    patch, tried = PATCHES[name]
    with scratch() as home, patch():
        assert tried(Path(home)).violations


@pytest.mark.parametrize("name", PATCHES)
def test_without_that_fault_in_the_store_nothing_is_reported(name):
    _, tried = PATCHES[name]
    with scratch() as home:
        findings = tried(Path(home))
    assert findings.tried
    assert findings.violations == []
