"""Lets the tests of this folder, and the processes they start, import `planted`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2]))  # for `tests.servers`, which faults of a server are planted on
