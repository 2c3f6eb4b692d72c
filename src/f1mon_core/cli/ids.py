"""Ids that somebody typed, shortened as with git."""

from __future__ import annotations

from collections.abc import Iterable

from f1mon_core.cli.errors import CannotError
from f1mon_core.monitor import Monitor
from f1mon_core.text import printable

LEAST = 4
"""So many characters at least stand for more of an id."""
_SHOWN = 3


def alert_id_of(monitor: Monitor, given: str) -> str:
    """The id of the alert that an id, or the beginning of one, means; what begins none is left to the command."""
    return _meant(given, (one.alert_id for one in monitor.alerts()))


def incident_id_of(monitor: Monitor, given: str) -> str:
    """The id of the incident or alert that an id, or the beginning of one, means."""
    alerts = monitor.alerts()
    return _meant(given, (one for alert in alerts for one in (alert.alert_id, alert.incident_id) if one is not None))


def _meant(given: str, ids: Iterable[str]) -> str:
    if len(given) < LEAST:
        return given
    found = sorted({one for one in ids if one.startswith(given)})
    if given in found or not found:
        return given
    if len(found) > 1:
        shown = ", ".join(map(printable, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
        raise CannotError(f"{printable(given)!r} begins {len(found)} ids: {shown}")
    return found[0]
