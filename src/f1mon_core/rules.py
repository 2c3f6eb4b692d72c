"""Moved to `f1mon_core.alerts.rule_files` and `f1mon_core.alerts.rules` and `f1mon_core.alerts.verdict`; this name stays until 1.0."""

from f1mon_core.alerts.rule_files import *  # noqa: F403
from f1mon_core.alerts.rules import *  # noqa: F403
from f1mon_core.alerts.verdict import *  # noqa: F403
