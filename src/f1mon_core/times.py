"""Moved to `f1mon_core.records.times`; this name stays until 1.0."""

from f1mon_core.records.times import *  # noqa: F403
