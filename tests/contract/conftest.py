"""The kit's laws by what they need: those of several processes are races, those that kill are faults."""

from collections import Counter

from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws


def pytest_collection_modifyitems(items):
    for item in items:
        for owner, marker in ((RaceLaws, "races"), (DurabilityLaws, "faults"), (KillLaws, "faults")):
            if getattr(item, "originalname", None) in vars(owner):
                item.add_marker(marker)


def pytest_terminal_summary(terminalreporter):
    """How long each backend took in each colour."""
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if "test_backends.py::" in getattr(report, "nodeid", "") and hasattr(report, "duration"):
                seconds[report.nodeid.split("::")[1]] += report.duration
    if seconds:
        terminalreporter.section("the contract kit, by backend and colour")
        for name, taken in seconds.most_common():
            terminalreporter.write_line(f"{taken:7.1f} s  {name}")
        terminalreporter.write_line(f"{seconds.total():7.1f} s  together")
