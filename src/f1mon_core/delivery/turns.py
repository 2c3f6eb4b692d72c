"""Who is served first: what was never tried before what failed, the urgent before the rest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, zip_longest

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

    First attempts come first: alerts by severity, what follows them later. In a crowd every other one is the newest
    of the most urgent, so that neither waits for the whole crowd. Repeats follow by when they were due, so that each
    has its turn.
    """
    first = {key: one for key, one in found.items() if is_first(one)}
    repeats = sorted(found.keys() - first.keys(), key=lambda key: (whole_of(found[key], "due"), key))
    oldest = sorted(first, key=lambda key: (*_urgency(first[key]), whole_of(first[key], "created"), key))
    if len(first) <= CROWD:
        return [*oldest, *repeats]
    newest = sorted(first, key=lambda key: (*_urgency(first[key]), -whole_of(first[key], "created"), key))
    longest = sorted(first, key=lambda key: (whole_of(first[key], "created"), key))
    both = chain.from_iterable(zip_longest(newest, longest))
    return [*dict.fromkeys(key for key in both if key is not None), *repeats]


def is_first(document: Document) -> bool:
    """Whether a delivery was not yet answered. That its channel failed, or its worker ended, is not its own failure."""
    own = whole_of(document, "failures") - outbox.channel_failures(document)
    return own <= 0 and whole_of(document, "attempts") < _SUSPECT


def _urgency(document: Document) -> tuple[bool, int]:
    severity = document.get("severity")
    return document.get("purpose") != "alert", -rank(severity) if severity in SEVERITIES else 0
