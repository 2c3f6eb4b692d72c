"""Moved to `f1mon_core.storage.memory`; this name stays until 1.0."""

from f1mon_core.storage.memory import *  # noqa: F403
