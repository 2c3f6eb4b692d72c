"""Moved to `f1mon_core.storage.stamping`; this name stays until 1.0."""

from f1mon_core.storage.stamping import *  # noqa: F403
