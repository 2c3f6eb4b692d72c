"""The kit's laws by what they need: those of several processes are races, those that kill are faults."""

from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws


def pytest_collection_modifyitems(items):
    for item in items:
        for owner, marker in ((RaceLaws, "races"), (DurabilityLaws, "faults"), (KillLaws, "faults")):
            if getattr(item, "originalname", None) in vars(owner):
                item.add_marker(marker)
