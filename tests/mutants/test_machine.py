"""The state machine finds what only a sequence of verbs over several handles shows."""

import pytest
from planted.registry import faults

from f1mon_core.testing import run_law

LAW = "any_sequence_of_verbs_agrees_with_the_model"
INTERLEAVED = [
    "the cooldown is kept in memory only",
    "a handle reads each document once and then believes its copy",
    "what was appended is written when the handle is closed",
    "the data lies in a temporary place of the handle",
    "opening a store empties it",
    "opening a store forgets the documents",
    "operation ids are remembered by the handle alone",
    "the horizon is remembered by the handle alone",
]
"""Faults that no single verb over one handle shows."""


@pytest.mark.parametrize("name", INTERLEAVED)
def test_the_machine_finds_an_interleaving_within_500_sequences(name):
    verdict = run_law(faults()[name].location, LAW, sequences=500, steps=30, shrink=False)
    assert verdict.status == "fail"
