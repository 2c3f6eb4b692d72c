"""Rules, the incidents they watch, and the alerts that come of them."""

from f1mon_core.alerts.rules import (
    AlertRule,
    Reading,
    Verdict,
)
from f1mon_core.alerts.silences import (
    Silence,
)

__all__ = [
    "AlertRule",
    "Reading",
    "Silence",
    "Verdict",
]
