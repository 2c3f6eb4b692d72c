"""The state machine finds what only a sequence of verbs over several handles shows."""

import pytest
from planted.registry import BLUNDERS, OVER, faults

from f1mon_core.testing import run_law

pytestmark = pytest.mark.planted
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
AT_ONCE = [
    "BEGIN IMMEDIATE is taken away: the transaction begins at the first write",
    "BEGIN IMMEDIATE is taken away, and SQLAlchemy's default left",
    "the journal's lock is taken away",
    "the cooldown is kept in memory only",
    "the SQL store's documents are kept by the handle",
    "a claim is looked up in one transaction and written in the next",
]
"""What guards a rule's state against several evaluators, taken away: writers that come at once lose some of it."""
SOUND = ["onefile", "jsonl", "sql"]
"""What those faults are planted in."""


@pytest.mark.parametrize("name", INTERLEAVED)
def test_the_machine_finds_an_interleaving_within_500_sequences(name):
    verdict = run_law(faults()[name].location, LAW, sequences=500, steps=30, shrink=False)
    assert verdict.status == "fail"


@pytest.mark.parametrize("name", AT_ONCE)
def test_the_machine_alone_finds_a_missing_guard_within_its_usual_sequences(name):
    verdict = run_law(faults()[name].location, LAW, shrink=False)
    assert verdict.status == "fail", f"{name!r} survives the machine"
    assert not isinstance(verdict.error, BLUNDERS), verdict.trace


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_store_agrees_with_the_model(name):
    verdict = run_law(OVER[name].location, LAW)
    assert verdict.status == "pass", verdict.trace
