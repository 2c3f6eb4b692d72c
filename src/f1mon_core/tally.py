"""Moved to `f1mon_core.storage.tally`; this name stays until 1.0."""

from f1mon_core.storage.tally import *  # noqa: F403
