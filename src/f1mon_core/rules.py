"""Moved to `f1mon_core.alerts`: rules, verdicts and rule files; this name stays until 1.0."""

from f1mon_core.alerts.rule_files import *  # noqa: F403
from f1mon_core.alerts.rules import *  # noqa: F403
from f1mon_core.alerts.verdict import *  # noqa: F403
