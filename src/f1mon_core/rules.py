"""Moved to `f1mon_core.alerts.rules`; this name stays until 1.0."""

from f1mon_core.alerts.rules import *  # noqa: F403
