"""What every store decides of a fact it is given, once it has looked up what is stored: its time, or its refusal."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from f1mon_core.errors import InvalidRecordError, PrunedError
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.records.times import LATEST, MICROSECOND

PRELABELLED = timedelta(days=1)
"""A prediction that was made later than this after its item's first outcome is told of."""


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


def refuse_pruned(fact: Fact, pruned_before: datetime | None, *, pruned: bool = False) -> None:
    """Refuse a timed fact that is not stored where storing it would change what was pruned.

    Args:
        fact: The fact, with its time.
        pruned_before: Before which its kind was pruned; None if it never was.
        pruned: Whether it is a prediction whose key was pruned, or an outcome of an item of which predictions were
            pruned and none is stored.

    Raises:
        PrunedError: If it must not be stored.
    """
    if pruned and isinstance(fact, Prediction):
        raise PrunedError(f"prediction {fact.prediction_id!r} of {fact.model_version!r} was pruned; its tally is final")
    if pruned and isinstance(fact, Outcome):
        raise PrunedError(f"every prediction of {fact.prediction_id!r} was pruned; their tally is final")
    # The kept cells of a prediction's hour are final whoever gave the time; other kinds leave nothing behind.
    final = fact.at_given or isinstance(fact, Prediction)
    if pruned_before is not None and final and fact.instant < pruned_before:
        raise PrunedError(f"this {fact.kind} is older than {pruned_before.isoformat()}, before which they were pruned")


def is_prelabelled(made: Prediction, first_known: datetime | None) -> bool:
    """Whether an item was labelled more than a day before a prediction of it was made.

    So it is where a counter that restarts with each deployment makes the ids: the labels are those of other items.
    """
    return first_known is not None and first_known < made.instant - PRELABELLED
