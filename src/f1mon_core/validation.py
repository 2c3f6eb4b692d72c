"""Moved to `f1mon_core.records.fields`; this name stays until 1.0."""

from f1mon_core.records.fields import *  # noqa: F403
