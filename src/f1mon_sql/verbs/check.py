"""Reading a store whole, and saying what is lost, wrong, or set in a way that risks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from f1mon_core.errors import CorruptStoreError, SchemaError
from f1mon_core.records.json_text import decoded
from f1mon_core.records.kinds import KINDS, Fact
from f1mon_core.storage.contract import CheckReport, Problem
from f1mon_core.storage.select import kind_of
from f1mon_sql.connect import statements
from f1mon_sql.connect.errors import is_damage
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.definitions import attributes, facts, features, outcomes, predictions, state
from f1mon_sql.tables.rows import checked
from f1mon_sql.verbs.find import Listing

_PAGE = 5_000
_SHOWN = 20
"""How many problems of one sort are listed one by one."""


def check(connection: Connection, dialect: Dialect) -> CheckReport:
    """See `Storage.check`; inside a transaction that reads one snapshot."""
    problems: list[Problem] = []
    counts: dict[str, int] = {}
    # First what a database finds out about itself, which says more than where reading fails.
    with _damage(problems, "settings"):
        problems += dialect.problems(connection)
    stored: set[str] = set()
    with _damage(problems, "f1mon_facts"):
        stored = set(statements.execute(connection, sa.select(facts.c.kind).distinct()).scalars())
    for kind in sorted({*KINDS, *stored}, key=str):
        if kind not in KINDS:
            problems.append(
                Problem("warning", f"f1mon_facts, kind {kind}", "this f1mon does not know it; update f1mon")
            )
            continue
        with _damage(problems, _table(kind)):
            for number in _read_kind(connection, dialect, kind, problems):
                counts[kind] = number
    for where, found in (("tables", _disagreements(connection)), ("f1mon_state", _bad_documents(connection))):
        with _damage(problems, where):
            problems.extend(islice(found, _SHOWN))
    return CheckReport(counts, problems)


@contextmanager
def _damage(problems: list[Problem], where: str) -> Iterator[None]:
    """Note that a part of a damaged database cannot be read; the other parts may be."""
    try:
        yield
    except CorruptStoreError as error:
        problems.append(Problem("error", where, f"cannot be read: {error}"))
    except DBAPIError as error:
        if not is_damage(error):
            raise
        problems.append(Problem("error", where, f"cannot be read: {error.orig}"))


def _read_kind(connection: Connection, dialect: Dialect, kind: str, problems: list[Problem]) -> Iterator[int]:
    """Read the facts of a kind; how many there were so far, now and then."""
    listing = Listing(kind_of(kind), dialect)
    number, seen, after = 0, 0, None
    while True:
        statement = sa.select(*listing.key, listing.at, *listing.columns).select_from(listing.source)
        statement = statement.where(*listing.conditions)
        if after is not None:
            statement = statement.where(_beyond((*listing.key, *_second(listing)), after))
        order = (*listing.key, *_second(listing))
        rows = statements.execute(connection, statement.order_by(*order).limit(_PAGE)).all()
        for row in rows:
            number += 1
            key = tuple(row[: len(listing.key)])
            try:
                fact = checked(listing.parts, row[len(listing.key) + 1 :])
                _same_key(fact, key)
            except (CorruptStoreError, SchemaError) as error:
                seen += 1
                if seen <= _SHOWN:
                    cause = error.__cause__ or error
                    problems.append(Problem("error", f"{_table(kind)}, key {key!r}", str(cause)))
        if number:
            yield number
        if len(rows) < _PAGE:
            break
        after = (*rows[-1][: len(listing.key)], *([rows[-1][len(listing.key)]] if _second(listing) else []))
    if seen > _SHOWN:
        problems.append(Problem("error", _table(kind), f"{seen - _SHOWN} further rows cannot be read"))


def _second(listing: Listing) -> tuple[sa.ColumnElement[Any], ...]:
    return (listing.at,) if listing.record.kind == "outcome" else ()


def _beyond(columns: Sequence[sa.ColumnElement[Any]], values: Sequence[Any]) -> sa.ColumnElement[Any]:
    condition: sa.ColumnElement[Any] = sa.false()
    for column, value in reversed(list(zip(columns, values, strict=True))):
        condition = sa.or_(column > value, sa.and_(column == value, condition))
    return condition


def _same_key(fact: Fact, key: Sequence[str]) -> None:
    stored = tuple(part for part in key if part)
    if fact.key[: len(stored)] != stored:
        raise CorruptStoreError(f"its content names the key {fact.key!r}")


def _table(kind: str) -> str:
    return {"prediction": "f1mon_predictions", "outcome": "f1mon_outcomes", "alert": "f1mon_alerts"}.get(
        kind, f"f1mon_facts, kind {kind}"
    )


def _disagreements(connection: Connection) -> Iterator[Problem]:
    """Tables that contradict each other: every pair is written in one commit, so none may."""
    p, o, f = predictions.c, outcomes.c, features.c
    ends = (
        sa.select(o.prediction_id, sa.func.min(o.known_at).label("first"), sa.func.max(o.known_at).label("last"))
        .group_by(o.prediction_id)
        .subquery("ends")
    )
    moved = (
        sa.select(p.prediction_id)
        .select_from(predictions.outerjoin(ends, ends.c.prediction_id == p.prediction_id))
        .where(
            sa.or_(
                sa.func.coalesce(p.known_at, -1) != sa.func.coalesce(ends.c.last, -1),
                sa.func.coalesce(p.first_known_at, -1) != sa.func.coalesce(ends.c.first, -1),
            )
        )
    )
    newest = predictions.join(outcomes, sa.and_(o.prediction_id == p.prediction_id, o.known_at == p.known_at))
    other = sa.select(p.prediction_id).select_from(newest).where(_differ(p, o))
    for statement in (moved, other):
        for one in statements.execute(connection, statement.distinct().limit(_SHOWN)).scalars():
            yield Problem("error", f"f1mon_predictions, key {one!r}", "its current outcome is not its newest one")
    for table, statement, message in (
        ("f1mon_predictions", _unborne(), "its item has no row of ordinal 0"),
        ("f1mon_predictions", _apart_from_bearer(), "its outcome is not that of its item's row of ordinal 0"),
        ("f1mon_predictions", _without_model(), "neither a prediction nor what is left of one has its row"),
        (
            "f1mon_outcomes",
            sa.select(o.prediction_id).where(~sa.exists().where(p.prediction_id == o.prediction_id)),
            "there is no row for its prediction",
        ),
        (
            "f1mon_features",
            sa.select(f.prediction_id).where(
                ~sa.exists().where(
                    p.prediction_id == f.prediction_id, p.ordinal == f.ordinal, p.predicted_at.is_not(None)
                )
            ),
            "there is no prediction they belong to",
        ),
    ):
        for one in statements.execute(connection, statement.limit(_SHOWN)).scalars():
            yield Problem("error", f"{table}, key {one!r}", message)
    yield from _attribute_disagreements(connection)


def _differ(one: Any, other: Any) -> sa.ColumnElement[bool]:
    """Whether two rows bear different labels. A label is in one of two columns, and no text is empty."""
    return sa.or_(
        sa.func.coalesce(one.actual_outcome, 0) != sa.func.coalesce(other.actual_outcome, 0),
        sa.func.coalesce(one.actual_text, "") != sa.func.coalesce(other.actual_text, ""),
        one.actual_outcome.is_(None) != other.actual_outcome.is_(None),
    )


def _bearers() -> tuple[Any, sa.Join]:
    """The rows of ordinal 0, and the others joined with them."""
    bearer = predictions.alias("bearer")
    p = predictions.c
    return bearer, predictions.outerjoin(
        bearer, sa.and_(bearer.c.prediction_id == p.prediction_id, bearer.c.ordinal == 0)
    )


def _unborne() -> sa.Select[Any]:
    bearer, joined = _bearers()
    p = predictions.c
    return sa.select(p.prediction_id).select_from(joined).where(p.ordinal > 0, bearer.c.prediction_id.is_(None))


def _apart_from_bearer() -> sa.Select[Any]:
    bearer, joined = _bearers()
    p, b = predictions.c, bearer.c
    times = (sa.func.coalesce(p[name], -1) != sa.func.coalesce(b[name], -1) for name in ("known_at", "first_known_at"))
    apart = sa.or_(*times, _differ(p, b))
    return sa.select(p.prediction_id).select_from(joined).where(p.ordinal > 0, b.prediction_id.is_not(None), apart)


def _without_model() -> sa.Select[Any]:
    p = predictions.c
    stub = sa.and_(p.ordinal > 0, p.predicted_at.is_(None), p.pruned == 0)
    both = sa.and_(p.predicted_at.is_not(None), p.pruned != 0)
    return sa.select(p.prediction_id).where(sa.or_(stub, both))


def _attribute_disagreements(connection: Connection) -> Iterator[Problem]:
    a, f = attributes.c, facts.c
    same = (f.kind == a.kind, f.key_1 == a.key_1, f.key_2 == a.key_2)
    orphaned = sa.select(a.kind, a.key_1, a.name).where(~sa.exists().where(*same))
    for kind, key, name in statements.execute(connection, orphaned.limit(_SHOWN)):
        yield Problem("error", f"f1mon_attributes, {kind} {key!r}, {name}", "there is no fact it belongs to")
    for kind, record in sorted(KINDS.items()):
        if kind in {"prediction", "outcome", "alert"} or not record.attributes:
            continue
        held = (
            sa.select(f.key_1, sa.func.count(a.name))
            .select_from(facts.outerjoin(attributes, sa.and_(*same)))
            .where(f.kind == kind)
            .group_by(f.key_1, f.key_2)
            .having(sa.func.count(a.name) != len(record.attributes))
        )
        for key, _ in statements.execute(connection, held.limit(_SHOWN)):
            yield Problem("error", f"f1mon_facts, {kind} {key!r}", "its attributes are not all indexed")


def _bad_documents(connection: Connection) -> Iterator[Problem]:
    for key, text in statements.execute(connection, sa.select(state.c.state_key, state.c.document)):
        try:
            sound = text is not None and isinstance(decoded(text), dict)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            yield Problem("error", f"f1mon_state, key {key!r}", "its document is not a JSON object")
