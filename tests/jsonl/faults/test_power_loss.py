"""Whatever reached the disk before the power went, nothing acknowledged is lost and nothing is made up."""

import os
from pathlib import Path

import pytest

from .power_loss import losses, soak_losses
from .verdict import scratch, shared_out

SOAK_STATES = 250_000


@pytest.mark.faults
def test_every_disk_that_a_power_loss_may_leave_holds_what_was_acknowledged(counted):
    with scratch() as home:
        jobs = losses(Path(home))
    findings = shared_out(jobs, processes=2)
    counted("states after a power loss", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried >= 2_000


@pytest.mark.soak
def test_a_quarter_of_a_million_disks_hold_what_was_acknowledged(counted):
    seed = int(os.environ.get("F1MON_SOAK_SEED", "1"))
    with scratch() as home:
        jobs = soak_losses(Path(home), seed)
    findings = shared_out(jobs, processes=2)
    counted(f"states after a power loss, seed {seed}", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried >= SOAK_STATES
