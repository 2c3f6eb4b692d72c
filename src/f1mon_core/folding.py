"""Moved to `f1mon_core.storage`: answers and retention; this name stays until 1.0."""

from collections.abc import Iterable
from datetime import datetime

from f1mon_core.records.kinds import KeptTally
from f1mon_core.storage.answers import *  # noqa: F403
from f1mon_core.storage.retention import *  # noqa: F403
from f1mon_core.storage.retention import kept_cells
from f1mon_core.storage.tally import KEPT_BINS, KEPT_BUCKET, Tally, TallyQuery, answered


def kept_query(before: datetime) -> TallyQuery:
    """The tally by the hour of everything made before `before`; a prune keeps `kept_queries` now."""
    return TallyQuery(until=before, bins=KEPT_BINS, bucket=KEPT_BUCKET)


def kept_tally(facts: Iterable[KeptTally], query: TallyQuery) -> Tally:
    """The kept cells that fall into a query; `kept_cells` answers them one by one now."""
    return answered(query, kept_cells(facts, query))
