"""Who is served first: what was never tried before what failed, the urgent before the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from f1mon_core.alerts import outbox
from f1mon_core.alerts.rules import rank
from f1mon_core.records.fields import SEVERITIES, Document
from f1mon_core.storage.entries import whole_of

CROWD = 64
"""Of more first attempts than this, the newest and the oldest are served in turns."""
_SUSPECT = 3
"""A delivery that was taken so often and neither arrived nor failed may be what ends its workers."""


def in_turn(found: Mapping[str, Document]) -> list[str]:
    """Keys of deliveries in the order in which they are to be attempted.

    First attempts of alerts come first, by severity; in a crowd every other one is the oldest of all, so that neither
    the newest nor the oldest waits for the whole crowd. Repeats follow by when they were due, so that each has its
    turn, and last what waits for its alert anyway: reminders, and that something resolved.
    """
    first = {key: one for key, one in found.items() if is_first(one)}
    alerts = [key for key, one in first.items() if one.get("purpose") == "alert"]
    repeats = sorted(found.keys() - first.keys(), key=lambda key: (whole_of(found[key], "due"), key))
    after = sorted(first.keys() - set(alerts), key=lambda key: (whole_of(found[key], "created"), key))
    return [*_of_first(alerts, first), *repeats, *after]


def _of_first(alerts: Sequence[str], found: Mapping[str, Document]) -> list[str]:
    oldest = sorted(alerts, key=lambda key: (whole_of(found[key], "created"), key))
    urgent = sorted(oldest, key=lambda key: -_rank(found[key]))
    if len(alerts) <= CROWD:
        return urgent
    newest = sorted(alerts, key=lambda key: (-_rank(found[key]), -whole_of(found[key], "created"), key))
    return list(dict.fromkeys(chain.from_iterable(zip(newest, oldest, strict=True))))


def is_first(document: Document) -> bool:
    """Whether a delivery was not yet answered. That its channel failed, or its worker ended, is not its own failure."""
    own = whole_of(document, "failures") - outbox.channel_failures(document)
    return own <= 0 and whole_of(document, "attempts") < _SUSPECT


def _rank(document: Document) -> int:
    severity = document.get("severity")
    return rank(severity) if isinstance(severity, str) and severity in SEVERITIES else 0
