"""No bit of a journal can be flipped without either being harmless or being reported."""

import pytest

from .bitflips import Flips, FlipsBelowAHandle
from .scenarios import compact, prune
from .verdict import shared_out

ALL = [Flips(0, 2), Flips(1, 2)]
SOME = [Flips(0, 7), Flips(3, 7)]
"""Two bits of seven: each place in a byte has its turn."""


@pytest.mark.faults
@pytest.mark.parametrize("jobs", [SOME, pytest.param(ALL, marks=pytest.mark.soak)], ids=["some", "all"])
def test_no_flipped_bit_is_silently_wrong(jobs, counted):
    findings = shared_out(jobs, processes=2)
    counted("flipped bits", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried > (8_000 if jobs is ALL else 3_000)


@pytest.mark.faults
def test_no_bit_that_flipped_below_a_handle_is_sealed_by_a_compaction_or_a_prune(counted):
    jobs = [FlipsBelowAHandle(first, 13, act) for first, act in enumerate((compact(), prune(1)))]
    findings = shared_out(jobs, processes=2)
    counted("bits flipped below a handle", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried > 2_000
