"""The contract kit: one suite of laws that proves any backend, yours and ours.

Needs `pip install 'f1mon[testing]'`. Subclass `StorageContract`, override `location`, run pytest; or ask for a report
with `python -m f1mon_core.testing BACKEND --OPTION VALUE`.
"""

import pytest

pytest.register_assert_rewrite("f1mon_core.testing.laws", "f1mon_core.testing.machine")

from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.contract import LAWS, StorageContract, Verdict, run_law
from f1mon_core.testing.location import Location

__all__ = ["LAWS", "Location", "SharedClock", "StorageContract", "Verdict", "run_law"]
