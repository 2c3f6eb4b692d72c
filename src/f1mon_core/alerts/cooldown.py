"""The cooldown: when a breach is kept without an alert. Instants are microseconds since 1970."""

from __future__ import annotations

from f1mon_core.alerts.rules import AlertRule, rank
from f1mon_core.alerts.watch import Incident, Watch


def suppressed(rule: AlertRule, watch: Watch, incident: Incident, severity: str, now: int) -> bool:
    """Within the cooldown, unless the severity is higher than the last one fired and new to the incident.

    A clock set back by a cooldown or more ends it too: otherwise one step could silence a rule for three of them.
    """
    last = watch.last_fired
    if last is None or elapsed(last, now) >= rule.cooldown or stepped_back(rule, watch, now):
        return False
    escalates = rank(severity) > rank(watch.last_severity or severity) and severity not in incident.severities
    return not escalates


def stepped_back(rule: AlertRule, watch: Watch, now: int) -> bool:
    """Whether the clock was set back by at least the cooldown since it fired."""
    return watch.latest is not None and watch.latest - now >= max(rule.cooldown, 1)


def elapsed(since: int, now: int) -> int:
    """The time between two readings of the clock, whichever way it was set in between."""
    return abs(now - since)
