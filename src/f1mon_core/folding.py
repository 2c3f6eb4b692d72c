"""Moved to `f1mon_core.storage`: answers and retention; this name stays until 1.0."""

from f1mon_core.storage.answers import *  # noqa: F403
from f1mon_core.storage.retention import *  # noqa: F403
