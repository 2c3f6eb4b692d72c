"""Moved to `f1mon_core.records.documents`; this name stays until 1.0."""

from f1mon_core.records.documents import *  # noqa: F403
