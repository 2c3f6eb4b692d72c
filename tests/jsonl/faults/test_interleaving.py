"""Whoever writes between any two operations of a writer, all that is acknowledged stays."""

import pytest

from .interleaving import APPENDING, COMPACTING, COUNTING, Interleaved
from .verdict import shared_out


@pytest.mark.faults
def test_whoever_writes_in_between_all_that_is_acknowledged_stays(counted):
    jobs = [Interleaved(scenario, first, 14) for scenario in (APPENDING, COUNTING, COMPACTING) for first in (0, 7)]
    findings = shared_out(jobs, processes=2)
    counted("pairs of writers let in between", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried >= 100


@pytest.mark.soak
def test_whoever_writes_in_between_anywhere_all_that_is_acknowledged_stays(counted):
    jobs = [Interleaved(scenario, first, 2) for scenario in (APPENDING, COUNTING, COMPACTING) for first in (0, 1)]
    findings = shared_out(jobs, processes=2)
    counted("pairs of writers let in between", findings.tried, len(findings.violations))
    assert findings.violations == []
