"""Tallies as one grouped query; what was pruned is added from its kept cells."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.kinds import KeptTally
from f1mon_core.records.times import duration_micros, from_micros, to_micros
from f1mon_core.storage.retention import check_kept, kept_tally
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import (
    BUCKET_ORIGIN,
    Basis,
    Bins,
    CellKey,
    Moments,
    Tally,
    TallyQuery,
)
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.definitions import outcomes, predictions
from f1mon_sql.verbs.find import find

_Column = sa.ColumnElement[Any]

_SHAPES = 128
"""How many statements are kept. To build one takes ten times what SQLite needs to answer it for a month."""


class Shape(NamedTuple):
    """What the statements of two queries have in common that differ in a model or instants alone."""

    model_version: bool
    since: bool
    until: bool
    basis: Basis
    as_of: bool
    as_recorded: bool
    bins: Bins
    bucket: timedelta | None
    delay: timedelta | None

    @classmethod
    def of(cls, query: TallyQuery) -> Shape:
        """The shape of a query."""
        return cls(
            query.model_version is not None,
            query.since is not None,
            query.until is not None,
            query.basis,
            query.as_of is not None,
            query.as_recorded is not None,
            query.bins,
            query.bucket,
            query.delay,
        )


def _given(name: str) -> _Column:
    """The parameter of an instant."""
    return sa.bindparam(name, type_=sa.BigInteger)


def tally(connection: Connection, dialect: Dialect, query: TallyQuery) -> Tally:
    """See `Storage.tally`; inside a transaction that reads one snapshot."""
    kept = _kept(connection, dialect, query)
    counted = rows_tally(connection, dialect, query)
    return counted if kept is None else counted + kept


def _kept(connection: Connection, dialect: Dialect, query: TallyQuery) -> Tally | None:
    text = dialect.sql("SELECT pruned_before, outcomes_until FROM f1mon_horizons WHERE kind = ?")
    rows = statements.rows(connection, text, (dialect.text_in("prediction"),))
    if not rows:
        return None
    ((before, until),) = rows
    if not check_kept(query, from_micros(before), None if until is None else from_micros(until)):
        return None
    select = Select("kept_tally", query.since, query.until, query.model_version)
    return kept_tally(cast("list[KeptTally]", find(connection, dialect, select)), query)


def rows_tally(connection: Connection, dialect: Dialect, query: TallyQuery) -> Tally:
    """The cells of the predictions that are stored whole."""
    instants = {name: getattr(query, name) for name in ("since", "until", "as_of", "as_recorded")}
    values: dict[str, Any] = {name: to_micros(value) for name, value in instants.items() if value is not None}
    if query.model_version is not None:
        values["model_version"] = query.model_version
    cells: dict[CellKey, Moments] = {}
    for row in statements.execute(connection, _statement(dialect, Shape.of(query)), values):
        place = row[3] if query.bins == "exact" else int(row[3])
        bucket, delay = (None if value is None else int(value) for value in row[4:6])
        cells[CellKey(row[0], row[1], row[2], place, bucket, delay)] = Moments(row[6], *map(float, row[7:11]))
    return Tally(query.bins, cells)


@lru_cache(_SHAPES)
def _statement(dialect: Dialect, shape: Shape) -> sa.Select[Any]:
    """The statement of a shape, which SQLAlchemy compiles once."""
    predicted = _counted(shape).subquery("counted")
    t = predicted.c
    index, middle = _bin(t.confidence, dialect, shape)
    inner = sa.select(
        t.model_version,
        t.predicted_outcome,
        t.actual_outcome,
        index.label("bin"),
        _bucket(t.stands_at, shape).label("bucket"),
        _delay(t.first_known_at - t.predicted_at, shape).label("delay"),
        t.confidence,
    ).subquery("binned")
    b = inner.c
    deviation = b.confidence - middle(b.bin)
    key = (b.model_version, b.predicted_outcome, b.actual_outcome, b.bin, b.bucket, b.delay)
    return sa.select(
        *key,
        sa.func.count(),
        sa.func.min(b.confidence),
        sa.func.max(b.confidence),
        sa.func.sum(deviation),
        sa.func.sum(deviation * deviation),
    ).group_by(*key)


# Which predictions --------------------------------------------------------------------------------------------------


def _counted(shape: Shape) -> sa.Select[Any]:
    """The predictions counted, with the outcome current for each and the time it stands at."""
    if shape.as_of or shape.as_recorded:
        return _counted_as_known(shape)
    p = predictions.c
    if shape.basis == "prediction":
        stands: _Column = p.predicted_at
        source: sa.FromClause = predictions
    else:
        # The index of outcomes by known_at finds the window; an outcome counts where it is its prediction's first.
        o = outcomes.c
        stands = o.known_at
        source = predictions.join(outcomes, sa.and_(o.prediction_id == p.prediction_id, o.known_at == p.first_known_at))
    statement = sa.select(*_kept_columns(stands), p.actual_outcome, p.first_known_at).select_from(source)
    return _windowed(statement, shape, stands, [p.predicted_at.is_not(None)])


def _counted_as_known(shape: Shape) -> sa.Select[Any]:
    p, o = predictions.c, outcomes.c
    known: list[_Column] = []
    conditions: list[_Column] = [p.predicted_at.is_not(None)]
    if shape.as_of:
        known.append(o.known_at <= _given("as_of"))
        conditions.append(p.predicted_at <= _given("as_of"))
    if shape.as_recorded:
        known.append(o.recorded_at <= _given("as_recorded"))
        conditions.append(p.recorded_at <= _given("as_recorded"))
    considered = (
        sa.select(sa.func.min(o.known_at)).where(o.prediction_id == p.prediction_id, *known).correlate(predictions)
    )
    first = considered.scalar_subquery()
    actual = (
        sa.select(o.actual_outcome)
        .where(o.prediction_id == p.prediction_id, *known)
        .order_by(o.known_at.desc())
        .limit(1)
        .correlate(predictions)
        .scalar_subquery()
    )
    if shape.basis == "prediction":
        statement = sa.select(
            *_kept_columns(p.predicted_at), actual.label("actual_outcome"), first.label("first_known_at")
        )
        return _windowed(statement, shape, p.predicted_at, conditions)
    firsts = (
        sa.select(o.prediction_id, sa.func.min(o.known_at).label("known_at"))
        .where(*known)
        .group_by(o.prediction_id)
        .subquery("firsts")
    )
    statement = sa.select(
        *_kept_columns(firsts.c.known_at), actual.label("actual_outcome"), firsts.c.known_at.label("first_known_at")
    ).select_from(predictions.join(firsts, firsts.c.prediction_id == p.prediction_id))
    return _windowed(statement, shape, firsts.c.known_at, conditions)


def _kept_columns(stands: _Column) -> tuple[_Column, ...]:
    p = predictions.c
    return (p.model_version, p.predicted_outcome, p.confidence, p.predicted_at, stands.label("stands_at"))


def _windowed(statement: sa.Select[Any], shape: Shape, stands: _Column, conditions: list[_Column]) -> sa.Select[Any]:
    if shape.since:
        conditions.append(stands >= _given("since"))
    if shape.until:
        conditions.append(stands < _given("until"))
    if shape.model_version:
        column = predictions.c.model_version
        conditions.append(column == sa.bindparam("model_version", type_=column.type))
    return statement.where(*conditions)


# Into which cells ---------------------------------------------------------------------------------------------------


def _bin(confidence: _Column, dialect: Dialect, shape: Shape) -> tuple[_Column, Any]:
    """`tally.bin_of` and `tally.midpoint`, to the last float: multiplied, then corrected by the edges."""
    if shape.bins == "exact":
        return confidence, lambda place: place
    n = shape.bins
    index = dialect.lesser(dialect.whole(confidence * dialect.real(n)), sa.literal(n - 1, sa.Integer))
    above = dialect.real_of(index + 1) / dialect.real(n)
    below = dialect.real_of(index) / dialect.real(n)
    corrected = sa.case(
        (sa.and_(index + 1 < n, confidence >= above), index + 1), (confidence < below, index - 1), else_=index
    )
    return corrected, lambda place: dialect.real_of(2 * place + 1) / dialect.real(2 * n)


def _bucket(micros: _Column, shape: Shape) -> _Column:
    if shape.bucket is None:
        return sa.null()
    return micros - _modulo(micros - to_micros(BUCKET_ORIGIN), duration_micros(shape.bucket))


def _delay(micros: _Column, shape: Shape) -> _Column:
    if shape.delay is None:
        return sa.null()
    unit = duration_micros(shape.delay)
    # Divided without a remainder, so that how a database rounds does not matter.
    return (micros - _modulo(micros, unit)) / unit


def _modulo(value: _Column, unit: int) -> _Column:
    """A remainder that is never negative, as Python's."""
    return (value % unit + unit) % unit
