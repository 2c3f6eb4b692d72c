"""What is asked of facts: listings and grouped counts, as one statement each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple, cast

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.documents import Kept
from f1mon_core.records.fields import INT64_MAX, INT64_MIN
from f1mon_core.records.kinds import Alert, Fact
from f1mon_core.records.times import to_micros
from f1mon_core.storage.answers import check_count, fold_count
from f1mon_core.storage.select import Scalar, Select, alternatives, have_in_common, kind_of
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.dialects.base import IN_CHUNK
from f1mon_sql.tables.definitions import alerts, attributes, facts, features, outcomes, predictions
from f1mon_sql.tables.rows import (
    OUTCOME_COLUMNS,
    READ_COLUMNS,
    attribute_text,
    attribute_value,
    content_parts,
    key_choice,
    key_part,
    label_of,
    outcome_parts,
    prediction_parts,
    restored,
)

_Column = sa.ColumnElement[Any]

_SHAPES = 128
"""How many statements are kept. To build one takes longer than SQLite needs to answer it."""


class Shape(NamedTuple):
    """What the statements of two selects have in common that differ in values alone; `where` comes on top."""

    kind: str
    since: bool
    until: bool
    model_version: bool
    lacking: str | None
    having: str | None
    descending: bool
    limit: bool
    after: int | None
    """The parts of the cursor's key; None without a cursor."""

    @classmethod
    def of(cls, select: Select) -> Shape:
        """The shape of a select."""
        return cls(
            select.kind,
            select.since is not None,
            select.until is not None,
            select.model_version is not None,
            select.lacking,
            select.having,
            select.descending,
            select.limit is not None,
            None if select.after is None else len(select.after.key),
        )


class Listing:
    """How facts of one kind lie in their table.

    Attributes:
        at: The column of their time.
        key: The columns of their key, as they order.
        columns: What a fact is made of.
        plain: Attributes that are a column, with the type of their values.
        labels: Attributes that are a label, with the columns of integers and of texts.
    """

    def __init__(self, record: type[Fact], dialect: Dialect) -> None:
        self.record = record
        self.dialect = dialect
        self.at: _Column
        self.key: tuple[_Column, ...]
        self.columns: tuple[_Column, ...]
        self.parts: Callable[[Sequence[Any]], Kept]
        self.conditions: list[_Column] = []
        self.plain: dict[str, tuple[_Column, type]] = {}
        self.labels: dict[str, tuple[_Column, _Column]] = {}
        if record.kind == "prediction":
            self._of_predictions()
        elif record.kind == "outcome":
            self._of_outcomes()
        elif record.kind == "alert":
            self._of_alerts()
        else:
            self._of_others()

    def _of_predictions(self) -> None:
        t, f = predictions.c, features.c
        whose = sa.and_(f.prediction_id == t.prediction_id, f.ordinal == t.ordinal)
        self.source: sa.FromClause = predictions.outerjoin(features, whose)
        self.table: sa.FromClause = predictions
        self.at, self.key = t.predicted_at, (t.prediction_id, t.model_version)
        self.conditions = [t.predicted_at.is_not(None)]
        self.columns = (*(t[name] for name in READ_COLUMNS), f.features, f.metadata)
        self.parts = prediction_parts
        self.plain = {"prediction_id": (t.prediction_id, str), "model_version": (t.model_version, str)}
        self.labels = {"predicted_outcome": (t.predicted_outcome, t.predicted_text)}

    def _of_outcomes(self) -> None:
        t = outcomes.c
        self.source = self.table = outcomes
        # Of two outcomes at one instant the second parts of the keys are equal, so the first one orders them.
        self.at, self.key = t.known_at, (t.prediction_id,)
        self.columns = tuple(t[name] for name in OUTCOME_COLUMNS)
        self.parts = outcome_parts
        self.plain = {"prediction_id": (t.prediction_id, str)}
        self.labels = {"actual_outcome": (t.actual_outcome, t.actual_text)}

    def _of_alerts(self) -> None:
        t = alerts.c
        self.source = self.table = alerts
        self.at, self.key = t.at, (t.alert_id,)
        self.columns = (t.at, t.at_given, t.recorded_at, t.v, t.content)
        self.parts = partial(content_parts, self.record.kind)
        self.plain = {name: (t[name], str) for name in (*Alert.key_fields, *Alert.attributes)}

    def _of_others(self) -> None:
        t = facts.c
        self.source = self.table = facts
        self.at, self.key = t.at, (t.key_1, t.key_2)
        self.conditions = [t.kind == self.record.kind]
        self.columns = (t.at, t.at_given, t.recorded_at, t.v, t.content)
        self.parts = partial(content_parts, self.record.kind)

    # Conditions -----------------------------------------------------------------------------------------------------

    def where(self, shape: Shape) -> list[_Column]:
        """The conditions of a shape, its cursor apart, with the parameters of `values`."""
        found = list(self.conditions)
        if shape.since:
            found.append(self.at >= sa.bindparam("since", type_=sa.BigInteger))
        if shape.until:
            found.append(self.at < sa.bindparam("until", type_=sa.BigInteger))
        if shape.model_version:
            found.append(self._is_of_model())
        for other, present in ((shape.having, True), (shape.lacking, False)):
            if other is not None:
                exists = self._exists(kind_of(other))
                found.append(exists if present else sa.not_(exists))
        return found

    def wanted(self, select: Select) -> list[_Column]:
        """The conditions of a select's `where`."""
        found = []
        for name, value in select.where.items():
            choices = alternatives(value)
            found.append(self._is_one_of(name, [cast("Scalar", value)] if choices is None else choices))
        return found

    def values(self, select: Select) -> dict[str, Any]:
        """The parameters of the statement of a select's shape."""
        found: dict[str, Any] = {}
        if select.since is not None:
            found["since"] = to_micros(select.since)
        if select.until is not None:
            found["until"] = to_micros(select.until)
        if select.model_version is not None:
            text = select.model_version
            found["model_version"] = text if self._model_column() is not None else attribute_text(text)
        if select.limit is not None:
            found["limit"] = min(select.limit, INT64_MAX)
        if select.after is not None:
            found["after"] = to_micros(select.after.at)
            found |= {f"after_{number}": part for number, part in enumerate(select.after.key)}
        return found

    def _model_column(self) -> _Column | None:
        """The column of `model_version`; None where it lies in `attributes`."""
        if "model_version" in self.plain:
            return self.plain["model_version"][0]
        if "model_version" in self.record.key_fields:
            return self.key[self.record.key_fields.index("model_version")]
        return None

    def _is_of_model(self) -> _Column:
        column = self._model_column()
        if column is not None:
            return column == sa.bindparam("model_version", type_=column.type)
        value = attributes.c.value
        return self._has_attribute("model_version", value == sa.bindparam("model_version", type_=value.type))

    def _has_attribute(self, name: str, condition: _Column) -> _Column:
        belongs = (*self.joined(attributes), attributes.c.name == name, condition)
        return sa.exists(sa.select(sa.literal(1)).where(*belongs))

    def _is_one_of(self, name: str, wanted: Sequence[Scalar]) -> _Column:
        choices = [choice for choice in wanted if _storable(choice)]
        if name in self.plain:
            column, kind = self.plain[name]
            equal = [choice for choice in choices if type(choice) is kind]
            condition = self.dialect.is_in(column, equal)
            return sa.or_(condition, column.is_(None)) if None in choices else condition
        if name in self.labels:
            numbers, texts_column = self.labels[name]
            integers = [choice for choice in choices if type(choice) is int]
            texts = [choice for choice in choices if isinstance(choice, str)]
            return sa.or_(self.dialect.is_in(numbers, integers), self.dialect.is_in(texts_column, texts))
        if name in self.record.key_fields:
            parts = [key_choice(self.record, name, choice) for choice in choices]
            column = self.key[self.record.key_fields.index(name)]
            return self.dialect.is_in(column, [part for part in parts if part is not None])
        values = [attribute_text(choice) for choice in choices]
        return self._has_attribute(name, self.dialect.is_in(attributes.c.value, values))

    def joined(self, table: Any) -> tuple[_Column, ...]:
        """The conditions that rows of a table belong to a row of `facts`."""
        t = facts.c
        return (table.c.kind == t.kind, table.c.key_1 == t.key_1, table.c.key_2 == t.key_2)

    def _exists(self, other: type[Fact]) -> _Column:
        """Whether a fact of another kind has the same first part of the key."""
        if not have_in_common(self.record.kind, other.kind):
            return sa.false()
        listing = Listing(other, self.dialect)
        aliased: Any = cast("sa.Table", listing.table).alias("other")
        conditions = [aliased.c[listing.key[0].name] == self.key[0]]
        if other.kind == "prediction":
            conditions.append(aliased.c.predicted_at.is_not(None))
        elif listing.table is facts:
            conditions.append(aliased.c.kind == other.kind)
        return sa.exists(sa.select(sa.literal(1)).select_from(aliased).where(*conditions))

    def behind(self, parts: int, *, descending: bool) -> _Column:
        """The condition that a fact lies strictly behind a cursor with so many parts of a key."""
        names = ["after", *(f"after_{number}" for number in range(parts))]
        given = [
            (column, sa.bindparam(name, type_=column.type))
            for name, column in zip(names, (self.at, *self.key), strict=False)
        ]
        condition: _Column = sa.false()
        for column, value in reversed(given):
            further = column < value if descending else column > value
            condition = sa.or_(further, sa.and_(column == value, condition))
        _, first = given[0]
        return sa.and_(self.at <= first if descending else self.at >= first, condition)

    def order(self, *, descending: bool) -> list[_Column]:
        """The order of a listing."""
        return [column.desc() if descending else column.asc() for column in (self.at, *self.key)]


def split(dialect: Dialect, select: Select) -> list[Select]:
    """Selects that together select what one does, of whose values one statement takes so many only."""
    for name, value in select.where.items():
        choices = alternatives(value)
        if choices is None or len(choices) <= IN_CHUNK:
            continue
        distinct = list({(type(one), one): one for one in choices}.values())
        if len(portions := dialect.portions(distinct)) > 1:
            parts = [attrs.evolve(select, where={**select.where, name: [*portion]}) for portion in portions]
            return [smaller for part in parts for smaller in split(dialect, part)]
    return [select]


def find(connection: Connection, dialect: Dialect, select: Select) -> Sequence[Fact]:
    """See `Storage.find`; inside a transaction that reads one snapshot, where it is `split`."""
    if select.limit == 0:
        return []
    if len(parts := split(dialect, select)) > 1:
        together = [fact for part in parts for fact in find(connection, dialect, part)]
        return sorted(together, key=lambda fact: fact.cursor, reverse=select.descending)[: select.limit]
    listing, statement = _page(dialect, Shape.of(select))
    if select.where:
        statement = statement.where(*listing.wanted(select))
    # Closed also where a row cannot be read: half read, it would hold a snapshot for as long as the error is kept.
    with statements.execute(connection, statement, listing.values(select)) as found:
        return restored(listing.parts, found)


@lru_cache(_SHAPES)
def _page(dialect: Dialect, shape: Shape) -> tuple[Listing, sa.Select[Any]]:
    """The statement of a shape, which SQLAlchemy compiles once, and how to read its rows."""
    listing = Listing(kind_of(shape.kind), dialect)
    statement = sa.select(*listing.columns).select_from(listing.source).where(*listing.where(shape))
    if shape.after is not None:
        statement = statement.where(listing.behind(shape.after, descending=shape.descending))
    statement = statement.order_by(*listing.order(descending=shape.descending))
    return listing, statement.limit(sa.bindparam("limit", type_=sa.BigInteger)) if shape.limit else statement


def count(
    connection: Connection, dialect: Dialect, select: Select, by: Sequence[str] = ()
) -> Mapping[tuple[Scalar, ...], int]:
    """See `Storage.count`; inside a transaction that reads one snapshot, where it is `split`."""
    check_count(select, by)
    if len(parts := split(dialect, select)) > 1:
        total: Counter[tuple[Scalar, ...]] = Counter()
        for part in parts:
            total.update(count(connection, dialect, part, by))
        return total
    record = kind_of(select.kind)
    listing = Listing(record, dialect)
    source: Any = listing.table
    groups: list[_Column] = []
    values: list[tuple[int, Callable[..., Scalar]]] = []
    """For each name, how many columns its value is made of, and how."""
    for number, name in enumerate(by):
        if name in listing.plain:
            groups.append(listing.plain[name][0])
            values.append((1, _as_is))
        elif name in listing.labels:
            groups += listing.labels[name]
            values.append((2, label_of))
        elif name in record.key_fields:
            groups.append(listing.key[record.key_fields.index(name)])
            values.append((1, partial(key_part, record, name)))
        else:
            joined = attributes.alias(f"by_{number}")
            source = source.join(joined, sa.and_(*listing.joined(joined), joined.c.name == name))
            groups.append(joined.c.value)
            values.append((1, attribute_value))
    conditions = (*listing.where(Shape.of(select)), *listing.wanted(select))
    statement = sa.select(sa.func.count(), *groups).select_from(source).where(*conditions).group_by(*groups)
    try:
        return {
            tuple(_group(row[1:], values)): row[0]
            for row in statements.execute(connection, statement, listing.values(select))
            if row[0]
        }
    except LookupError:
        # A value too long to be kept as an attribute; the facts themselves have it.
        return fold_count(find(connection, dialect, select), by)


def _group(cells: Sequence[Any], values: Sequence[tuple[int, Callable[..., Scalar]]]) -> Iterator[Scalar]:
    left = iter(cells)
    for width, value in values:
        yield value(*islice(left, width))


def _storable(value: Scalar) -> bool:
    """Whether any stored fact could have the value; drivers fail at those that none can have."""
    if isinstance(value, str):
        return "\0" not in value and (value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value))
    return not isinstance(value, int) or INT64_MIN <= value <= INT64_MAX


def _as_is(value: Any) -> Scalar:
    return cast("Scalar", value)
