"""Moved to `f1mon_core.storage.registry`; this name stays until 1.0."""

from f1mon_core.storage.registry import *  # noqa: F403
