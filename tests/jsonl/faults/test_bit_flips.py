"""No bit of a journal can be flipped without either being harmless or being reported."""

import pytest

from .bitflips import Flips, FlipsBelowAHandle
from .scenarios import compact, prune
from .verdict import shared_out


@pytest.mark.faults
def test_no_flipped_bit_is_silently_wrong(counted):
    findings = shared_out([Flips(0, 2), Flips(1, 2)], processes=2)
    counted("flipped bits", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried > 8 * 1_000


@pytest.mark.faults
def test_no_bit_that_flipped_below_a_handle_is_sealed_by_a_compaction_or_a_prune(counted):
    jobs = [FlipsBelowAHandle(first, 13, act) for first, act in enumerate((compact(), prune(1)))]
    findings = shared_out(jobs, processes=2)
    counted("bits flipped below a handle", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried > 2_000
