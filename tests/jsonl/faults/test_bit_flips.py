"""No bit of a journal can be flipped without either being harmless or being reported."""

import pytest

from .bitflips import Flips
from .verdict import shared_out


@pytest.mark.faults
def test_no_flipped_bit_is_silently_wrong(counted):
    findings = shared_out([Flips(0, 2), Flips(1, 2)], processes=2)
    counted("flipped bits", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried > 8 * 1_000
