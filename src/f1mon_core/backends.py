"""Moved to `f1mon_core.storage`: address, environment and registry; this name stays until 1.0."""

from f1mon_core.storage.address import *  # noqa: F403
from f1mon_core.storage.environment import *  # noqa: F403
from f1mon_core.storage.registry import *  # noqa: F403
