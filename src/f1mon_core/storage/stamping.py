"""What every store decides of a fact it is given, once it has looked up what is stored: its time, or its refusal."""

from __future__ import annotations

from datetime import datetime

import attrs

from f1mon_core.errors import InvalidRecordError, PrunedError
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.records.times import LATEST, MICROSECOND


def timed(offered: Fact, now: datetime, newest: Outcome | None = None) -> Fact | None:
    """A fact with its time; None for an outcome without known_at that only repeats the current one.

    Args:
        offered: The fact as the caller gave it.
        now: The store's clock, read inside the critical section.
        newest: The outcome with the newest known_at of the same prediction, those of the same batch included; None for
            other kinds and where there is none.

    Raises:
        InvalidRecordError: If the newest outcome was known at the last instant there is.
    """
    if offered.at is not None:
        return offered
    if not isinstance(offered, Outcome) or newest is None:
        return attrs.evolve(offered, at=now, at_given=False)
    if newest.actual_outcome == offered.actual_outcome:
        return None
    if newest.instant == LATEST:
        raise InvalidRecordError("at", None, f"must be given: nothing can be known after {LATEST.isoformat()}")
    return attrs.evolve(offered, at=max(now, newest.instant + MICROSECOND), at_given=False)


def refuse_pruned(fact: Fact, horizon: datetime | None, *, pruned: bool = False) -> None:
    """Refuse a timed fact that is not stored where storing it would change what was pruned.

    Args:
        fact: The fact, with its time.
        horizon: Before which its kind was pruned; None if it never was.
        pruned: Whether it is a pruned prediction, or an outcome of one.

    Raises:
        PrunedError: If it must not be stored.
    """
    if pruned and isinstance(fact, Prediction | Outcome):
        raise PrunedError(f"prediction {fact.prediction_id!r} was pruned; its tally is final")
    # The kept cells of a prediction's hour are final whoever gave the time; other kinds leave nothing behind.
    final = fact.at_given or isinstance(fact, Prediction)
    if horizon is not None and final and fact.instant < horizon:
        raise PrunedError(f"this {fact.kind} is older than {horizon.isoformat()}, before which they were pruned")
