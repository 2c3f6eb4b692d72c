"""Retention: cells stay, rows go, and the horizon moves in the same commit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import decoded
from f1mon_core.records.kinds import KINDS, KeptTally
from f1mon_core.records.times import to_micros
from f1mon_core.storage.contract import OPERATION_HOURS, Pruned
from f1mon_core.storage.retention import (
    LASTING_KINDS,
    held_by,
    kept_facts,
    kept_query,
    kept_tally,
    prunable_kinds,
    prune_horizon,
)
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import check_instant
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.definitions import (
    alerts,
    attributes,
    facts,
    features,
    horizons,
    operations,
    outcomes,
    predictions,
    state,
)
from f1mon_sql.tables.rows import FACT_COLUMNS, fact_row, key_columns
from f1mon_sql.verbs.find import find
from f1mon_sql.verbs.tally import rows_tally


def prune(
    connection: Connection, dialect: Dialect, clock: Callable[[], datetime], before: datetime, keep: Collection[str]
) -> Pruned:
    """See `Storage.prune`; inside a writing transaction."""
    check_instant("before", before)
    horizon = prune_horizon(before)
    kinds = prunable_kinds(keep)
    _, stored = dialect.horizons(connection, exclusive=True)
    now = clock()
    removed: dict[str, int] = {}
    until: int | None = stored.get("prediction", (0, None))[1]
    if "prediction" in kinds:
        gone, until = _prune_predictions(connection, dialect, horizon, now, until)
        removed |= gone
    held = _held(connection)
    for kind in sorted(KINDS):
        if kind in {"prediction", "outcome", *LASTING_KINDS, *keep}:
            continue
        if number := _prune_others(connection, kind, to_micros(horizon), held):
            removed[kind] = number
    for kind in kinds:
        row = stored.get(kind)
        moved = max(to_micros(horizon), row[0] if row else 0)
        _store_horizon(connection, kind, moved, until if kind == "prediction" else None, known=row is not None)
    oldest = to_micros(now - timedelta(hours=OPERATION_HOURS))
    statements.execute(connection, sa.delete(operations).where(operations.c.at < oldest))
    return Pruned(horizon, removed)


def _prune_predictions(
    connection: Connection, dialect: Dialect, horizon: datetime, now: datetime, until: int | None
) -> tuple[dict[str, int], int | None]:
    p = predictions.c
    old = p.predicted_at < to_micros(horizon)
    going = sa.select(sa.func.count(), sa.func.max(p.first_known_at)).where(old)
    number, newest = statements.execute(connection, going).one()
    if not number:
        return {}, until
    _keep_cells(connection, dialect, horizon, now)
    ids = sa.select(p.prediction_id).where(old)
    statements.execute(connection, sa.delete(features).where(features.c.prediction_id.in_(ids)))
    gone = statements.execute(connection, sa.delete(outcomes).where(outcomes.c.prediction_id.in_(ids))).rowcount
    emptied = {
        name: None
        for name in p.keys()  # noqa: SIM118 - a column collection iterates over columns
        if name not in {"prediction_id", "at_given", "pruned"}
    }
    statements.execute(connection, sa.update(predictions).where(old).values(**emptied, at_given=0, pruned=1))
    removed = {"prediction": int(number), "outcome": gone}
    known = [one for one in (until, newest) if one is not None]
    return {kind: count for kind, count in removed.items() if count}, max(known, default=None)


def _keep_cells(connection: Connection, dialect: Dialect, horizon: datetime, now: datetime) -> None:
    """Store the cells of what is about to go, added to those its hours have already."""
    query = kept_query(horizon)
    fresh = rows_tally(connection, dialect, query)
    hours = {(fact.model_version, fact.instant) for fact in kept_facts(fresh)}
    earliest = min(instant for _, instant in hours)
    before = cast("list[KeptTally]", find(connection, dialect, Select("kept_tally", since=earliest)))
    touched = [fact for fact in before if (fact.model_version, fact.instant) in hours]
    for fact in touched:
        kind, first, second = fact.kind, *key_columns(fact)
        f = facts.c
        statements.execute(connection, sa.delete(facts).where(f.kind == kind, f.key_1 == first, f.key_2 == second))
    whole = kept_facts(fresh + kept_tally(touched, attrs.evolve(query, until=None)))
    rows = [fact_row(fact, to_micros(now)) for fact in whole]
    dialect.insert_absent(connection, "f1mon_facts", FACT_COLUMNS, sorted(rows))


def _prune_others(connection: Connection, kind: str, horizon: int, held: Collection[str]) -> int:
    if kind == "alert":
        a = alerts.c
        return statements.execute(connection, sa.delete(alerts).where(a.at < horizon, a.alert_id.not_in(held))).rowcount
    f, a = facts.c, attributes.c
    statements.execute(connection, sa.delete(attributes).where(a.kind == kind, a.at < horizon, a.key_1.not_in(held)))
    gone = sa.delete(facts).where(f.kind == kind, f.at < horizon, f.key_1.not_in(held))
    return statements.execute(connection, gone).rowcount


def _held(connection: Connection) -> Collection[str]:
    # Documents are ASCII JSON, so a document that holds anything spells the word out.
    holding = sa.select(state.c.document).where(state.c.document.contains('"holds"'))
    texts = statements.execute(connection, holding).scalars()
    return held_by(cast("Document", decoded(text)) for text in texts)


def _store_horizon(connection: Connection, kind: str, before: int, until: int | None, *, known: bool) -> None:
    values: dict[str, Any] = {"pruned_before": before, "outcomes_until": until}
    if known:
        statements.execute(connection, sa.update(horizons).where(horizons.c.kind == kind).values(**values))
    else:
        statements.execute(connection, sa.insert(horizons).values(kind=kind, **values))
