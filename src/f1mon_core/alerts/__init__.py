"""Rules, the incidents they watch, and the alerts that come of them."""

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.silences import (
    Silence,
)
from f1mon_core.alerts.verdict import Reading, Verdict

__all__ = [
    "AlertRule",
    "Reading",
    "Silence",
    "Verdict",
]
