"""The contract kit: one suite of laws that proves any backend, yours and ours.

Needs `pip install 'f1mon[testing]'`. Subclass `StorageContract`, override `location`, run pytest; or ask for a report
with `python -m f1mon_core.testing BACKEND --OPTION VALUE`.
"""

import sys

from f1mon_core.errors import MissingExtraError

try:
    import hypothesis  # noqa: F401 - wanted further down, told here
    import pytest  # noqa: F401 - as above
except ModuleNotFoundError as error:
    _MISSING = f"f1mon_core.testing needs {error.name!r}, which is not installed: pip install 'f1mon[testing]'"
    if __name__ in sys.orig_argv:  # python -m f1mon_core.testing
        sys.stderr.write(f"{_MISSING}\n")
        raise SystemExit(2) from None
    raise MissingExtraError(_MISSING, name=error.name) from error

from f1mon_core.testing.asserts import tell

tell()  # before the laws are imported

from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.contract import LAWS, StorageContract, Verdict, run_law
from f1mon_core.testing.location import Location

__all__ = ["LAWS", "Location", "SharedClock", "StorageContract", "Verdict", "run_law"]
