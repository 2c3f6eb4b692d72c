"""Retention: cells stay, rows go, and the horizon moves in the same commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, cast, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.fields import MAX_ID_CHARACTERS, Document, Segments
from f1mon_core.records.json_text import decoded
from f1mon_core.records.times import to_micros
from f1mon_core.storage.contract import Pruned
from f1mon_core.storage.retention import (
    held_by,
    kept_facts,
    kept_queries,
    prunable_kinds,
    prune_horizon,
    sorted_out,
)
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import (
    KEPT_BINS,
    KEPT_SEGMENT_BUCKET,
    Basis,
    CellKey,
    Moments,
    TallyQuery,
    answered,
)
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.dialects.base import HORIZON_COLUMNS, IN_CHUNK
from f1mon_sql.tables.definitions import alerts, attributes, facts, features, horizons, outcomes, predictions, state
from f1mon_sql.tables.rows import (
    ATTRIBUTE_COLUMNS,
    CURRENT_COLUMNS,
    FACT_COLUMNS,
    READ_COLUMNS,
    attribute_rows,
    fact_row,
    key_columns,
    segments_from,
)
from f1mon_sql.verbs.find import find
from f1mon_sql.verbs.tally import Shape, cells, counted
from f1mon_sql.verbs.transition import forget


def prune(
    connection: Connection, dialect: Dialect, clock: Callable[[], datetime], before: datetime, keep: Collection[str]
) -> Pruned:
    """See `Storage.prune`; inside a writing transaction."""
    horizon = prune_horizon(before)
    kinds = prunable_kinds(keep)
    _, stored = dialect.horizons(connection, exclusive=True)
    now = clock()
    removed: dict[str, int] = {}
    stands = None
    if "prediction" in kinds:
        removed, stands = _prune_predictions(connection, dialect, horizon, now)
    held = _held(connection)
    for kind in kinds:
        if kind != "prediction" and (number := _prune_others(connection, dialect, kind, to_micros(horizon), held)):
            removed[kind] = number
    for kind in kinds:
        row = dict(zip(HORIZON_COLUMNS, stored.get(kind, (0, None, None)), strict=True))
        row["pruned_before"] = max(to_micros(horizon), row["pruned_before"])
        if kind == "prediction":
            row["stands_until"] = max((one for one in (stands, row["stands_until"]) if one is not None), default=None)
        store_horizon(connection, kind, row, known=kind in stored)
    forget(connection, dialect, now)
    return Pruned(horizon, removed)


def _prune_predictions(
    connection: Connection, dialect: Dialect, horizon: datetime, now: datetime
) -> tuple[dict[str, int], int | None]:
    """Take what was made before an instant; how much of each kind, and the latest time by outcome it stands at."""
    p, o, f = predictions.c, outcomes.c, features.c
    micros = to_micros(horizon)
    old = p.predicted_at < micros
    labelled = sa.case((p.first_known_at.is_not(None), dialect.greater(p.predicted_at, p.first_known_at)))
    number, stands = statements.execute(connection, sa.select(sa.func.count(), sa.func.max(labelled)).where(old)).one()
    if not number:
        return {}, None
    keep_cells(connection, dialect, horizon, now)
    went = _pruned_before(connection, micros)
    of_them = sa.exists().where(p.prediction_id == f.prediction_id, p.ordinal == f.ordinal, old)
    statements.execute(connection, sa.delete(features).where(of_them))
    stays = predictions.alias("stays")
    unlabelled = sa.and_(
        o.prediction_id.in_(sa.select(p.prediction_id).where(old)),
        ~sa.exists().where(stays.c.prediction_id == o.prediction_id, stays.c.predicted_at >= micros),
    )
    gone = statements.execute(connection, sa.delete(outcomes).where(unlabelled)).rowcount
    emptied: dict[str, Any] = dict.fromkeys(set(READ_COLUMNS) - {"prediction_id", "model_version"})
    labels = ~sa.exists().where(o.prediction_id == p.prediction_id)
    current = {name: sa.case((labels, sa.null()), else_=p[name]) for name in CURRENT_COLUMNS}
    taken = sa.update(predictions).where(old).values(**emptied | {"at_given": 0, "pruned": 1}, **current)
    statements.execute(connection, taken)
    for start in range(0, len(went), IN_CHUNK):
        rest = sa.update(predictions).where(p.prediction_id.in_(went[start : start + IN_CHUNK]), labels)
        statements.execute(connection, rest.values(dict.fromkeys(CURRENT_COLUMNS)))
    removed = {"prediction": int(number), "outcome": gone}
    return {kind: count for kind, count in removed.items() if count}, stands


def _pruned_before(connection: Connection, micros: int) -> list[str]:
    """Items of which a prediction goes now and another one went before, whose row still bears their outcome."""
    p, earlier = predictions.c, predictions.alias("earlier")
    joined = predictions.join(earlier, earlier.c.prediction_id == p.prediction_id)
    went = (earlier.c.pruned == 1, earlier.c.known_at.is_not(None))
    found = sa.select(p.prediction_id).distinct().select_from(joined).where(p.predicted_at < micros, *went)
    return [*statements.execute(connection, found).scalars()]


def keep_cells(connection: Connection, dialect: Dialect, horizon: datetime, now: datetime) -> None:
    """Store the cells of what is about to go.

    The cells of all segments together are read once for each order, and each segment's added up from them.
    """
    split: dict[str, list[tuple[Segments, CellKey, Moments]]] = {}
    values: dict[tuple[str, str], set[int | str]] = {}
    for basis in get_args(Basis):
        query = TallyQuery(basis=basis, bins=KEPT_BINS, bucket=KEPT_SEGMENT_BUCKET)
        shape = Shape.of(query)._replace(segments=True)
        split[basis] = [
            (segments_from(text), key, moments)
            for text, key, moments in cells(connection, dialect, query, shape, before=horizon)
        ]
    for segments, key, _ in split["prediction"]:
        for name, value in segments.items():
            values.setdefault((key.model_version, name), set()).add(value)
    kept, crowded = sorted_out({key: len(found) for key, found in values.items()})
    tallies = []
    for query in kept_queries(kept):
        if query.by:
            found = [
                (key._replace(segments=(segments.get(query.by[0]),)), moments)
                for segments, key, moments in split[query.basis]
                if key.model_version == query.model_version
            ]
            tallies.append((query, answered(query, found)))
        else:
            tallies.append((query, answered(query, counted(connection, dialect, query, before=horizon))))
    # An hour that is there already came with its predictions from the store they were restored from, and is whole.
    there = {(fact.kind, *key_columns(fact)) for fact in find(connection, dialect, Select("kept_tally", until=horizon))}
    made = {(one.kind, *key_columns(one)): one for one in kept_facts(tallies, horizon, crowded)}
    fresh = [made[key] for key in sorted(made) if key not in there]
    rows = [fact_row(fact, to_micros(now)) for fact in fresh]
    dialect.insert_absent(connection, "f1mon_facts", FACT_COLUMNS, rows)
    attributes_of = [row for fact in fresh for row in attribute_rows(fact)]
    dialect.insert_absent(connection, "f1mon_attributes", ATTRIBUTE_COLUMNS, attributes_of)


def _prune_others(connection: Connection, dialect: Dialect, kind: str, horizon: int, held: Collection[str]) -> int:
    if kind == "alert":
        a = alerts.c
        return _delete_others(connection, dialect, a.alert_id, held, a.at < horizon)
    f, a = facts.c, attributes.c
    _delete_others(connection, dialect, a.key_1, held, a.kind == kind, a.at < horizon)
    return _delete_others(connection, dialect, f.key_1, held, f.kind == kind, f.at < horizon)


def _delete_others(
    connection: Connection,
    dialect: Dialect,
    column: sa.ColumnElement[Any],
    held: Collection[str],
    *conditions: sa.ColumnElement[Any],
) -> int:
    """Delete the rows of conditions whose key is not held; how many.

    Where a statement takes so many keys only, the rows are parted by the order of keys, which is that of code points
    everywhere, at the last held key of each part.
    """
    if not statements.execute(connection, sa.select(sa.literal(1)).where(*conditions).limit(1)).all():
        return 0
    number, above = 0, None
    portions = dialect.portions(sorted(held))
    for place, portion in enumerate(portions):
        bounds = [] if above is None else [column > above]
        if place < len(portions) - 1:
            above = portion[-1]
            bounds.append(column <= above)
        kept = [sa.not_(dialect.is_in(column, portion))] if portion else []
        gone = sa.delete(column.table).where(*conditions, *bounds, *kept)
        number += statements.execute(connection, gone).rowcount
    return number


def _held(connection: Connection) -> Collection[str]:
    # Documents are ASCII JSON, so a document that holds anything spells the word out.
    holding = sa.select(state.c.document).where(state.c.document.contains('"holds"'))
    texts = statements.execute(connection, holding).scalars()
    held = held_by(cast("Document", decoded(text)) for text in texts)
    return [one for one in held if len(one) <= MAX_ID_CHARACTERS and "\0" not in one]  # as every key of a fact is


def store_horizon(connection: Connection, kind: str, row: Mapping[str, int | None], *, known: bool) -> None:
    """Write the `HORIZON_COLUMNS` of a kind."""
    if known:
        statements.execute(connection, sa.update(horizons).where(horizons.c.kind == kind).values(**row))
    else:
        statements.execute(connection, sa.insert(horizons).values(kind=kind, **row))
