"""What is asked of facts: listings and grouped counts, as one statement each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.folding import check_count, fold_count
from f1mon_core.records import Alert, Cursor, Fact
from f1mon_core.storage import Scalar, Select, alternatives, kind_of
from f1mon_core.times import to_micros
from f1mon_sql import _rows
from f1mon_sql._dialects import Sqlite
from f1mon_sql._tables import alerts, attributes, facts, features, outcomes, predictions

_Column = sa.ColumnElement[Any]


class Listing:
    """How facts of one kind lie in their table.

    Attributes:
        at: The column of their time.
        key: The columns of their key, as they order.
        columns: What a fact is made of.
    """

    def __init__(self, record: type[Fact], dialect: Sqlite) -> None:
        self.record = record
        self.dialect = dialect
        self.at: _Column
        self.key: tuple[_Column, ...]
        self.columns: tuple[_Column, ...]
        self.make: Callable[[Sequence[Any]], Fact]
        self.conditions: list[_Column] = []
        self.plain: dict[str, tuple[_Column, type]] = {}
        if record.kind == "prediction":
            self._of_predictions()
        elif record.kind == "outcome":
            self._of_outcomes()
        elif record.kind == "alert":
            self._of_alerts()
        else:
            self._of_others()

    def _of_predictions(self) -> None:
        t = predictions.c
        self.source: sa.FromClause = predictions.outerjoin(features, features.c.prediction_id == t.prediction_id)
        self.table: sa.FromClause = predictions
        self.at, self.key = t.predicted_at, (t.prediction_id,)
        self.conditions = [t.predicted_at.is_not(None)]
        names = _rows.PREDICTION_COLUMNS[:-1]
        self.columns = (*(t[name] for name in names), features.c.features, features.c.metadata)
        self.make = _rows.prediction_fact
        self.plain = {
            "prediction_id": (t.prediction_id, str),
            "model_version": (t.model_version, str),
            "predicted_outcome": (t.predicted_outcome, int),
        }

    def _of_outcomes(self) -> None:
        t = outcomes.c
        self.source = self.table = outcomes
        # Of two outcomes at one instant the second parts of the keys are equal, so the first one orders them.
        self.at, self.key = t.known_at, (t.prediction_id,)
        self.columns = tuple(t[name] for name in _rows.OUTCOME_COLUMNS)
        self.make = _rows.outcome_fact
        self.plain = {"prediction_id": (t.prediction_id, str), "actual_outcome": (t.actual_outcome, int)}

    def _of_alerts(self) -> None:
        t = alerts.c
        self.source = self.table = alerts
        self.at, self.key = t.at, (t.alert_id,)
        self.columns = (sa.literal("alert"), t.at, t.at_given, t.recorded_at, t.v, t.content)
        self.make = _rows.content_fact
        self.plain = {name: (t[name], str) for name in (*Alert.key_fields, *Alert.attributes)}

    def _of_others(self) -> None:
        t = facts.c
        self.source = self.table = facts
        self.at, self.key = t.at, (t.key_1, t.key_2)
        self.conditions = [t.kind == self.record.kind]
        self.columns = (t.kind, t.at, t.at_given, t.recorded_at, t.v, t.content)
        self.make = _rows.content_fact

    # Conditions -----------------------------------------------------------------------------------------------------

    def where(self, select: Select) -> list[_Column]:
        """The conditions of a select, its cursor apart."""
        found = list(self.conditions)
        if select.since is not None:
            found.append(self.at >= to_micros(select.since))
        if select.until is not None:
            found.append(self.at < to_micros(select.until))
        wanted = dict(select.where)
        if select.model_version is not None:
            found.append(self._is_one_of("model_version", [select.model_version]))
        for name, value in wanted.items():
            choices = alternatives(value)
            found.append(self._is_one_of(name, [cast("Scalar", value)] if choices is None else choices))
        for other, present in ((select.having, True), (select.lacking, False)):
            if other is not None:
                exists = self._exists(kind_of(other))
                found.append(exists if present else sa.not_(exists))
        return found

    def _is_one_of(self, name: str, choices: Sequence[Scalar]) -> _Column:
        if name in self.plain:
            column, kind = self.plain[name]
            equal = [choice for choice in choices if type(choice) is kind]
            condition = self.dialect.is_in(column, equal)
            return sa.or_(condition, column.is_(None)) if None in choices else condition
        if name in self.record.key_fields:
            texts = [_rows.key_choice(self.record, name, choice) for choice in choices]
            column = self.key[self.record.key_fields.index(name)]
            return self.dialect.is_in(column, [text for text in texts if text is not None])
        a = attributes.c
        values = [_rows.attribute_text(choice) for choice in choices]
        return sa.exists(
            sa.select(sa.literal(1)).where(
                *self.joined(attributes), a.name == name, self.dialect.is_in(a.value, values)
            )
        )

    def joined(self, table: Any) -> tuple[_Column, ...]:
        """The conditions that rows of a table belong to a row of `facts`."""
        t = facts.c
        return (table.c.kind == t.kind, table.c.key_1 == t.key_1, table.c.key_2 == t.key_2)

    def _exists(self, other: type[Fact]) -> _Column:
        """Whether a fact of another kind has a key that starts with this one's."""
        own = self._own_key()
        if len(other.key_fields) < len(own):
            return sa.false()
        listing = Listing(other, self.dialect)
        theirs = listing.other_key()
        return sa.exists(
            sa.select(sa.literal(1))
            .select_from(listing.aliased)
            .where(*listing.aliased_conditions, *(a == b for a, b in zip(theirs, own, strict=False)))
        )

    def _own_key(self) -> tuple[_Column, ...]:
        if self.record.kind == "outcome":
            return (outcomes.c.prediction_id, self.dialect.padded(outcomes.c.known_at))
        return self.key[: len(self.record.key_fields)]

    def other_key(self) -> tuple[_Column, ...]:
        """The key's columns in `aliased`, a second look at the table inside another listing."""
        kind = self.record.kind
        self.aliased: Any = cast("sa.Table", self.table).alias("other")
        t = self.aliased.c
        self.aliased_conditions: list[_Column] = []
        if kind == "prediction":
            self.aliased_conditions = [t.predicted_at.is_not(None)]
            return (t.prediction_id,)
        if kind == "outcome":
            return (t.prediction_id, self.dialect.padded(t.known_at))
        if kind == "alert":
            return (t.alert_id,)
        self.aliased_conditions = [t.kind == kind]
        return (t.key_1, t.key_2)

    def behind(self, cursor: Cursor, *, descending: bool) -> _Column:
        """The condition that a fact lies strictly behind a cursor."""
        given = [to_micros(cursor.at), *cursor.key]
        columns = [self.at, *self.key]
        condition: _Column = sa.false()
        for column, value in reversed(list(zip(columns, given, strict=False))):
            further = column < value if descending else column > value
            condition = sa.or_(further, sa.and_(column == value, condition))
        edge = self.at <= given[0] if descending else self.at >= given[0]
        return sa.and_(edge, condition)

    def order(self, *, descending: bool) -> list[_Column]:
        """The order of a listing."""
        return [column.desc() if descending else column.asc() for column in (self.at, *self.key)]


def find(connection: Connection, dialect: Sqlite, select: Select) -> Sequence[Fact]:
    """See `Storage.find`."""
    if select.limit == 0:
        return []
    listing = Listing(kind_of(select.kind), dialect)
    statement = sa.select(*listing.columns).select_from(listing.source).where(*listing.where(select))
    if select.after is not None:
        statement = statement.where(listing.behind(select.after, descending=select.descending))
    statement = statement.order_by(*listing.order(descending=select.descending)).limit(select.limit)
    return [_rows.decoded(listing.make, row) for row in connection.execute(statement)]


def count(
    connection: Connection, dialect: Sqlite, select: Select, by: Sequence[str] = ()
) -> Mapping[tuple[Scalar, ...], int]:
    """See `Storage.count`."""
    check_count(select, by)
    record = kind_of(select.kind)
    listing = Listing(record, dialect)
    source: Any = listing.table
    groups: list[_Column] = []
    values: list[Callable[[Any], Scalar]] = []
    for number, name in enumerate(by):
        if name in listing.plain:
            groups.append(listing.plain[name][0])
            values.append(_as_is)
        elif name in record.key_fields:
            groups.append(listing.key[record.key_fields.index(name)])
            values.append(lambda text, name=name: _rows.key_part(record, name, text))  # type: ignore[misc]
        else:
            joined = attributes.alias(f"by_{number}")
            source = source.join(joined, sa.and_(*listing.joined(joined), joined.c.name == name))
            groups.append(joined.c.value)
            values.append(_rows.attribute_value)
    statement = sa.select(sa.func.count(), *groups).select_from(source).where(*listing.where(select)).group_by(*groups)
    try:
        return {
            tuple(value(cell) for value, cell in zip(values, row[1:], strict=True)): row[0]
            for row in connection.execute(statement)
            if row[0]
        }
    except LookupError:
        # A value too long to be kept as an attribute; the facts themselves have it.
        return fold_count(find(connection, dialect, select), by)


def _as_is(value: Any) -> Scalar:
    return cast("Scalar", value)
