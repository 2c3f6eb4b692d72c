"""Moved to `f1mon_core.storage.answers`; this name stays until 1.0."""

from f1mon_core.storage.answers import *  # noqa: F403
