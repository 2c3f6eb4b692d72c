"""Tallies as one grouped query; what was pruned is added from its kept cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.times import duration_micros, from_micros, to_micros
from f1mon_core.storage.retention import check_kept, kept_cells, kept_selects
from f1mon_core.storage.tally import (
    BUCKET_ORIGIN,
    Basis,
    Bins,
    CellKey,
    Moments,
    Tally,
    TallyQuery,
    answered,
    segments_of,
)
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.dialects.base import HORIZON_COLUMNS
from f1mon_sql.tables.definitions import outcomes, predictions
from f1mon_sql.tables.rows import label_of, segments_from
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
    segments: bool
    """Whether cells are split by the whole of their segments."""
    beside: bool = False
    """Whether cells are split by what another model answered."""
    before: bool = False
    """Whether only predictions made before an instant are counted."""

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
            bool(query.by or query.where),
            query.beside is not None,
        )


def _given(name: str) -> _Column:
    """The parameter of an instant."""
    return sa.bindparam(name, type_=sa.BigInteger)


def tally(connection: Connection, dialect: Dialect, query: TallyQuery) -> Tally:
    """See `Storage.tally`; inside a transaction that reads one snapshot."""
    kept = _kept(connection, dialect, query)
    return answered(query, chain(counted(connection, dialect, query), kept))


def _kept(connection: Connection, dialect: Dialect, query: TallyQuery) -> Iterator[tuple[CellKey, Moments]]:
    """The cells of what was pruned. Raises `PrunedError` before any row is counted."""
    text = dialect.sql(f"SELECT {', '.join(HORIZON_COLUMNS)} FROM f1mon_horizons WHERE kind = ?")
    rows = statements.rows(connection, text, (dialect.text_in("prediction"),))
    if not rows or not check_kept(query, *(None if one is None else from_micros(one) for one in rows[0])):
        return iter(())
    found = [find(connection, dialect, select) for select in kept_selects(query)]
    return kept_cells(chain.from_iterable(found), query)


def counted(
    connection: Connection, dialect: Dialect, query: TallyQuery, *, before: datetime | None = None
) -> Iterator[tuple[CellKey, Moments]]:
    """The cells of the predictions that are stored whole, by the segments asked for.

    Args:
        connection: Inside a transaction.
        dialect: What its database says differently.
        query: Which predictions to count, into which cells.
        before: Only those that were made before it; None for all.
    """
    shape = Shape.of(query)
    segments = _Segments(query)
    for text, key, moments in cells(connection, dialect, query, shape, before=before):
        if not shape.segments:
            yield key, moments
        elif (group := segments[text]) is not None:
            yield key._replace(segments=(*group, *key.segments)), moments


class _Segments(dict[str | None, tuple[int | str | None, ...] | None]):
    """The groups of texts of segments, each parsed once. No name and no value ever stands in a statement."""

    def __init__(self, query: TallyQuery) -> None:
        self.query = query

    def __missing__(self, text: str | None) -> tuple[int | str | None, ...] | None:
        group = self[text] = segments_of(self.query, segments_from(text))
        return group


def cells(
    connection: Connection, dialect: Dialect, query: TallyQuery, shape: Shape, *, before: datetime | None = None
) -> Iterator[tuple[str | None, CellKey, Moments]]:
    """The cells of the predictions that are stored whole, each with the text of its segments if the shape has them."""
    if before is not None:
        shape = shape._replace(before=True)
    instants = {name: getattr(query, name) for name in ("since", "until", "as_of", "as_recorded")} | {"before": before}
    values: dict[str, Any] = {name: to_micros(value) for name, value in instants.items() if value is not None}
    if query.model_version is not None:
        values["model_version"] = query.model_version
    if query.beside is not None:
        values["beside"] = query.beside
    for row in statements.execute(connection, _statement(dialect, shape), values):
        model, predicted, predicted_text, actual, actual_text, place, bucket, delay, segments, *rest = row
        beside = (label_of(*rest[:2]),) if shape.beside else ()
        n, *moments = rest[2:] if shape.beside else rest
        key = CellKey(
            model,
            label_of(predicted, predicted_text),
            label_of(actual, actual_text),
            place if query.bins == "exact" else int(place),
            None if bucket is None else int(bucket),
            None if delay is None else int(delay),
            beside,
        )
        yield segments, key, Moments(n, *map(float, moments[:4]))


@lru_cache(_SHAPES)
def _statement(dialect: Dialect, shape: Shape) -> sa.Select[Any]:
    """The statement of a shape, which SQLAlchemy compiles once."""
    t = _counted(dialect, shape).subquery("counted").c
    index, middle = _bin(t.confidence, dialect, shape)
    inner = sa.select(
        t.model_version,
        t.predicted_outcome,
        t.predicted_text,
        t.actual_outcome,
        t.actual_text,
        index.label("bin"),
        _bucket(t.stands_at, shape).label("bucket"),
        _delay(t.first_known_at - (t.stands_at if shape.beside else t.predicted_at), shape).label("delay"),
        t.segments,
        *(t[name] for name in _BESIDE[: 2 * shape.beside]),
        t.confidence,
    ).subquery("binned")
    b = inner.c
    deviation = b.confidence - middle(b.bin)
    # What all cells share is no part of the key: of a million rows SQLite sorts keys of six columns in half the time.
    places: dict[str, _Column] = {
        "bin": sa.literal_column("0") if shape.bins == 1 else b.bin,
        "bucket": sa.null() if shape.bucket is None else b.bucket,
        "delay": sa.null() if shape.delay is None else b.delay,
        "segments": b.segments if shape.segments else sa.null(),
    }
    labels = (b.predicted_outcome, b.predicted_text, b.actual_outcome, b.actual_text)
    beside = tuple(b[name] for name in _BESIDE[: 2 * shape.beside])
    split = [column for name, column in places.items() if column is b[name]]
    key = (b.model_version, *labels, *split, *beside)
    apart = dialect.apart(b.segments) if shape.segments else ()
    return sa.select(
        *(b.model_version, *labels, *(column.label(name) for name, column in places.items()), *beside),
        sa.func.count(),
        sa.func.min(b.confidence),
        sa.func.max(b.confidence),
        sa.func.sum(deviation),
        sa.func.sum(deviation * deviation),
    ).group_by(*key, *apart)


# Which predictions --------------------------------------------------------------------------------------------------


def _counted(dialect: Dialect, shape: Shape) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """The predictions counted, with the outcome current for each and the time it stands at."""
    if shape.as_of or shape.as_recorded:
        return _counted_as_known(dialect, shape)
    p = predictions.c
    current = (p.actual_outcome, p.actual_text, p.first_known_at)
    made = [p.predicted_at.is_not(None)]
    if shape.beside:
        statement = sa.select(*_kept_columns(shape, _earlier(dialect, shape)), *current, *_answers_beside())
        return _both_windowed(statement.select_from(_with_other()), shape, made)
    if shape.basis == "prediction":
        statement = sa.select(*_kept_columns(shape, p.predicted_at), *current)
        return _windowed(statement, shape, p.predicted_at, made)
    # Each stands at the later of two times, and each of these has an index that finds the window.
    o = outcomes.c
    first = sa.and_(o.prediction_id == p.prediction_id, o.known_at == p.first_known_at)
    after = sa.select(*_kept_columns(shape, o.known_at), *current).select_from(predictions.join(outcomes, first))
    before = sa.select(*_kept_columns(shape, p.predicted_at), *current)
    return sa.union_all(
        _windowed(after, shape, o.known_at, [p.predicted_at <= o.known_at]),
        _windowed(before, shape, p.predicted_at, [p.predicted_at > p.first_known_at]),
    )


def _counted_as_known(dialect: Dialect, shape: Shape) -> sa.Select[Any]:
    p, o = predictions.c, outcomes.c
    known: list[_Column] = []
    conditions: list[_Column] = [p.predicted_at.is_not(None)]
    if shape.as_of:
        known.append(o.known_at <= _given("as_of"))
        conditions.append(p.predicted_at <= _given("as_of"))
    if shape.as_recorded:
        known.append(o.recorded_at <= _given("as_recorded"))
        conditions.append(p.recorded_at <= _given("as_recorded"))
    of_item = (o.prediction_id == p.prediction_id, *known)
    # Asked item by item: MariaDB finds nothing by an id in what it has grouped, for the key would be too long.
    first = sa.select(sa.func.min(o.known_at)).where(*of_item).correlate(predictions).scalar_subquery()
    last = sa.select(sa.func.max(o.known_at)).where(*of_item).correlate(predictions).scalar_subquery()
    seen = sa.select(
        p.prediction_id,
        *_kept_columns(shape, _earlier(dialect, shape) if shape.beside else p.predicted_at),
        first.label("first_known_at"),
        last.label("last_known_at"),
        *(_answers_beside() if shape.beside else ()),
    )
    if shape.beside:
        if shape.as_of:
            conditions.append(_other.c.predicted_at <= _given("as_of"))
        if shape.as_recorded:
            conditions.append(_other.c.recorded_at <= _given("as_recorded"))
        s = _both_windowed(seen.select_from(_with_other()), shape, conditions).subquery("seen").c
        within: list[_Column] = []
        stands: _Column = s.stands_at
    elif shape.basis == "prediction":
        s = _windowed(seen, shape, p.predicted_at, conditions).subquery("seen").c
        within, stands = [], s.stands_at
    else:
        everywhere = shape._replace(since=False, until=False)
        s = _windowed(seen, everywhere, p.predicted_at, conditions).subquery("seen").c
        stands = dialect.greater(s.predicted_at, s.first_known_at)
        within = [s.first_known_at.is_not(None)]
        if shape.since:
            within.append(stands >= _given("since"))
        if shape.until:
            within.append(stands < _given("until"))
    current = sa.and_(o.prediction_id == s.prediction_id, o.known_at == s.last_known_at)
    return (
        sa.select(
            *(s.model_version, s.predicted_outcome, s.predicted_text, s.confidence, s.predicted_at),
            *(stands.label("stands_at"), s.segments, o.actual_outcome, o.actual_text, s.first_known_at),
            *(s[name] for name in _BESIDE[: 2 * shape.beside]),
        )
        .select_from(s.prediction_id.table.outerjoin(outcomes, current))
        .where(*within)
    )


_other: Any = predictions.alias("other")
_BESIDE = ("beside_outcome", "beside_text")


def _earlier(dialect: Dialect, shape: Shape) -> _Column:
    """When an item of two models stands; either of its times where nobody asks."""
    mine = predictions.c.predicted_at
    return mine if shape.bucket is None and shape.delay is None else dialect.lesser(mine, _other.c.predicted_at)


def _answers_beside() -> tuple[_Column, ...]:
    """What the other model answered."""
    return (_other.c.predicted_outcome.label(_BESIDE[0]), _other.c.predicted_text.label(_BESIDE[1]))


def _with_other() -> sa.FromClause:
    """The predictions of items that another model predicted too, each beside that one's."""
    t = _other.c
    named = t.model_version == sa.bindparam("beside", type_=t.model_version.type)
    return predictions.join(
        _other, sa.and_(t.prediction_id == predictions.c.prediction_id, named, t.predicted_at.is_not(None))
    )


def _both_windowed(statement: sa.Select[Any], shape: Shape, made: Sequence[_Column]) -> sa.Select[Any]:
    """The items of which the earlier of two predictions lies in the window: neither before it, one within."""
    times = (predictions.c.predicted_at, _other.c.predicted_at)
    conditions = [*made]
    if shape.since:
        conditions += [at >= _given("since") for at in times]
    if shape.until:
        conditions.append(sa.or_(*(at < _given("until") for at in times)))
    column = predictions.c.model_version
    conditions.append(column == sa.bindparam("model_version", type_=column.type))
    return statement.where(*conditions)


def _kept_columns(shape: Shape, stands: _Column) -> tuple[_Column, ...]:
    p = predictions.c
    segments = p.segments if shape.segments else sa.null().label("segments")
    label = (p.predicted_outcome, p.predicted_text)
    return (p.model_version, *label, p.confidence, p.predicted_at, stands.label("stands_at"), segments)


def _windowed(statement: sa.Select[Any], shape: Shape, stands: _Column, made: Sequence[_Column]) -> sa.Select[Any]:
    conditions = [*made]
    if shape.since:
        conditions.append(stands >= _given("since"))
    if shape.until:
        conditions.append(stands < _given("until"))
    if shape.before:
        conditions.append(predictions.c.predicted_at < _given("before"))
    if shape.model_version:
        column = predictions.c.model_version
        conditions.append(column == sa.bindparam("model_version", type_=column.type))
    return statement.where(*conditions)


# Into which cells ---------------------------------------------------------------------------------------------------


def _bin(confidence: _Column, dialect: Dialect, shape: Shape) -> tuple[_Column, Any]:
    """`tally.bin_of` and `tally.midpoint`, to the last float: multiplied, then corrected by the edges."""
    if shape.bins == "exact":
        return confidence, lambda place: place
    if shape.bins == 1:
        return sa.literal_column("0"), lambda _: dialect.real(1) / dialect.real(2)
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
