"""Every planted fault is caught by its law, and the store it was planted in keeps that law."""

import pytest
from planted.registry import BLUNDERS, OVER, faults
from planted.table import README, table

from f1mon_core.testing import LAWS, run_law
from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws

FAULTS = faults().values()
FEW = {
    "processes": 4,
    "windows": 20,
    "fresh_rules": 20,
    "meetings": 60,
    "items": 60,
    "kills": 12,
    "writer_kills": 30,
    "sequences": 10,
    "shrink": False,
}
"""The measure of the races: these faults show within a few turns, and nobody reads the shortest example."""
UNTIL_FOUND = {**FEW, "sequences": 500}
"""Which sequences are tried depends on the modules that are loaded; the first that shows the fault is the last."""


def marks(law, over):
    rooms = ((RaceLaws, pytest.mark.races), (DurabilityLaws, pytest.mark.faults), (KillLaws, pytest.mark.faults))
    found = [mark for owner, mark in rooms if f"test_{law}" in vars(owner)]
    return [*found, pytest.mark.servers] if over.server else found


def test_every_fault_names_a_law_of_the_kit():
    assert {one.law for one in FAULTS} <= set(LAWS)


def test_every_law_of_the_kit_has_a_fault_that_names_it():
    assert set(LAWS) - {one.law for one in FAULTS} == set(), "plant a fault in tests/mutants/planted for each of these"


@pytest.mark.planted
@pytest.mark.parametrize("fault", [pytest.param(one, id=one.name, marks=marks(one.law, one.over)) for one in FAULTS])
def test_its_law_catches_the_fault(fault):
    verdict = run_law(fault.location, fault.law, **UNTIL_FOUND)
    assert verdict.status == "fail", f"{fault.name!r} survives {fault.law!r}"
    assert not isinstance(verdict.error, BLUNDERS), verdict.trace


@pytest.mark.planted
@pytest.mark.parametrize(
    ("over", "law"),
    [
        pytest.param(over, law, id=f"{over}: {law}", marks=marks(law, OVER[over]))
        for over, law in sorted({(one.over.name, one.law) for one in FAULTS})
    ],
)
def test_the_sound_store_keeps_the_law(over, law):
    verdict = run_law(OVER[over].location, law, **FEW)
    assert verdict.status == "pass", verdict.trace


def test_the_table_is_up_to_date():
    assert README.read_text(encoding="utf-8") == table(), "run python tests/mutants/planted/table.py"
