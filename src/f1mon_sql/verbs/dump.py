"""A store carried away whole, page by page, and put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection

from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import decoded, encoded
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import from_micros, shifted, to_micros
from f1mon_core.storage.change import due_of
from f1mon_core.storage.contract import OPERATION_HOURS, Appended
from f1mon_core.storage.dumping import (
    Dumped,
    KeptOperation,
    PrunedKey,
    Restoring,
    StoreRecord,
    check_restorable,
    page,
)
from f1mon_core.storage.following import following
from f1mon_core.storage.select import Select
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.dialects.base import HORIZON_COLUMNS, IN_CHUNK
from f1mon_sql.tables.definitions import (
    alerts,
    attributes,
    facts,
    features,
    horizons,
    meta,
    operations,
    outcomes,
    predictions,
    state,
)
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    OPERATION_COLUMNS,
    PRUNED_COLUMNS,
    READ_COLUMNS,
    STATE_COLUMNS,
    Row,
    key_columns,
)
from f1mon_sql.verbs.append import Appending
from f1mon_sql.verbs.find import find
from f1mon_sql.verbs.prune import store_horizon
from f1mon_sql.verbs.transition import state as documents

_STORE = "store"
_RESTORED_FROM = "restored_from"


def dump(connection: Connection, dialect: Dialect, clock: Callable[[], datetime], after: str | None) -> Dumped:
    """See `Storage.dump`; inside a transaction that reads one snapshot."""
    return page(_Source(connection, dialect, clock), after)


@attrs.frozen
class _Source:
    """What `dumping.page` asks of a store in one snapshot."""

    connection: Connection
    dialect: Dialect
    clock: Callable[[], datetime]

    def itself(self) -> StoreRecord:
        return store_record(self.connection)

    def pruned_keys(self, after: PrunedKey | None, limit: int) -> Sequence[PrunedKey]:
        p = predictions.c
        found = sa.select(p.prediction_id, p.model_version).where(p.pruned == 1)
        if after is not None:
            item, model = after
            # A key without a model is its item's only one, or stands before the others.
            more = p.model_version.is_not(None) if model is None else p.model_version > model
            found = found.where(p.prediction_id >= item, sa.or_(p.prediction_id > item, more))
        rows = statements.execute(self.connection, found.order_by(p.prediction_id, p.model_version).limit(limit))
        return [(one, model) for one, model in rows]

    def operations(self, after: str | None, limit: int) -> Sequence[KeptOperation]:
        o = operations.c
        oldest = to_micros(shifted(self.clock(), -timedelta(hours=OPERATION_HOURS)))
        found = sa.select(o.operation, o.at, o.result).where(o.at >= oldest)
        if after is not None:
            found = found.where(o.operation > after)
        rows = statements.execute(self.connection, found.order_by(o.operation).limit(limit))
        return [KeptOperation(digest, from_micros(at), decoded(result)) for digest, at, result in rows]

    def find(self, select: Select) -> Sequence[Fact]:
        return find(self.connection, self.dialect, select)

    def state(self, prefix: str, *, limit: int | None = None, after: str | None = None) -> Mapping[str, Document]:
        return documents(self.connection, self.dialect, prefix, None, limit, after)


def store_record(connection: Connection) -> StoreRecord:
    """What a store knows of itself."""
    named = {row.name: row.value for row in statements.execute(connection, sa.select(meta.c.name, meta.c.value))}
    columns = [horizons.c[name] for name in HORIZON_COLUMNS]
    rows = statements.execute(connection, sa.select(horizons.c.kind, *columns).where(horizons.c.kind != ""))
    pruned = {kind: [None if one is None else from_micros(one) for one in row] for kind, *row in rows}
    _, outcomes_until, stands_until = pruned.get("prediction", (None, None, None))
    return StoreRecord(
        store=named[_STORE],
        pruned_before={kind: before for kind, (before, _, _) in pruned.items() if before is not None},
        outcomes_until=outcomes_until,
        stands_until=stands_until,
        restored_from=named.get(_RESTORED_FROM),
    )


# Back -----------------------------------------------------------------------------------------------------------------


def restore(connection: Connection, dialect: Dialect, offered: Restoring) -> Appended:
    """See `Storage.restore`; inside a writing transaction."""
    dialect.horizons(connection, exclusive=True)
    itself = store_record(connection)
    check_restorable(itself, offered.itself, empty=_is_empty(connection))
    told = following(itself, offered)
    _put_itself(connection, itself, told.itself)
    told.refuse(_unknown(connection, dialect, told.to_know))
    _remove(connection, told.gone(partial(find, connection, dialect)))
    # Before what is offered: an outcome that went with its item's last prediction labels none that was made since.
    _take(connection, dialect, told.pruned)
    came = Appending(connection, dialect).put_back(told.facts)
    _put_operations(connection, dialect, offered.operations)
    for part in offered.ranges:
        s = state.c
        within = [s.state_key > (part.after or "")]
        if part.until is not None:
            within.append(s.state_key <= part.until)
        present = statements.execute(connection, sa.select(s.state_key).where(*within)).scalars().all()
        _delete(connection, s.state_key, set(present) - part.documents.keys())
        rows = [(key, encoded(document), due_of(document)) for key, document in sorted(part.documents.items())]
        dialect.put(connection, "f1mon_state", STATE_COLUMNS, rows)
    return Appended(came.new, len(offered.facts) - came.new)


def _is_empty(connection: Connection) -> bool:
    tables = ("predictions", "outcomes", "alerts", "facts", "state", "operations")
    return not any(statements.rows(connection, f"SELECT 1 FROM f1mon_{name} LIMIT 1") for name in tables)


def _put_itself(connection: Connection, itself: StoreRecord, told: StoreRecord) -> None:
    if itself == told:
        return
    if itself.restored_from is None:
        statements.execute(connection, sa.insert(meta).values(name=_RESTORED_FROM, value=told.restored_from))
    for kind, before in told.pruned_before.items():
        ends = (told.outcomes_until, told.stands_until) if kind == "prediction" else (None, None)
        micros = (None if one is None else to_micros(one) for one in (before, *ends))
        store_horizon(
            connection, kind, dict(zip(HORIZON_COLUMNS, micros, strict=True)), known=kind in itself.pruned_before
        )


def _unknown(connection: Connection, dialect: Dialect, keys: Sequence[PrunedKey]) -> list[PrunedKey]:
    """Keys of which neither a prediction is stored nor one was pruned."""
    known: dict[str, set[str | None]] = {}
    text = "SELECT prediction_id, model_version FROM f1mon_predictions WHERE (predicted_at IS NOT NULL OR pruned = 1)"
    out = dialect.text_out
    for item, model in dialect.select_in(connection, f"{text} AND prediction_id", {item for item, _ in keys}):
        known.setdefault(out(item), set()).add(None if model is None else out(model))
    return [(item, model) for item, model in keys if {model, None}.isdisjoint(known.get(item, ()))]


def _remove(connection: Connection, gone: Iterable[Fact]) -> None:
    """Delete facts that are neither predictions nor outcomes."""
    keys: dict[str, list[tuple[str, str]]] = {}
    for fact in gone:
        keys.setdefault(fact.kind, []).append(key_columns(fact))
    for kind, found in keys.items():
        if kind == "alert":
            _delete(connection, alerts.c.alert_id, {first for first, _ in found})
            continue
        for table in (attributes, facts):
            t = table.c
            for start in range(0, len(found), IN_CHUNK // 2):
                chunk = found[start : start + IN_CHUNK // 2]
                of_them = sa.tuple_(t.key_1, t.key_2).in_(chunk)
                statements.execute(connection, sa.delete(table).where(t.kind == kind, of_them))


def _put_operations(connection: Connection, dialect: Dialect, kept: Iterable[KeptOperation]) -> None:
    rows = {one.digest: (one.digest, to_micros(one.at), encoded(one.result)) for one in kept}
    dialect.put(connection, "f1mon_operations", OPERATION_COLUMNS, [rows[key] for key in sorted(rows)])


def _delete(connection: Connection, column: sa.ColumnElement[Any], values: Collection[str]) -> None:
    ordered = sorted(values)
    for start in range(0, len(ordered), IN_CHUNK):
        chunk = ordered[start : start + IN_CHUNK]
        statements.execute(connection, sa.delete(column.table).where(column.in_(chunk)))


def _take(connection: Connection, dialect: Dialect, pruned: Sequence[PrunedKey]) -> None:
    """Take the predictions of pruned keys, their items' outcomes with the last of them, and keep the keys."""
    keys: dict[str, set[str | None]] = {}
    for item, model in pruned:
        keys.setdefault(item, set()).add(model)
    rows: dict[str, list[Row]] = {item: [] for item in keys}
    p = predictions.c
    columns = (p.prediction_id, p.ordinal, p.model_version, p.predicted_at, p.pruned, *(p[n] for n in CURRENT_COLUMNS))
    items = sorted(keys)
    for start in range(0, len(items), IN_CHUNK):
        found = sa.select(*columns).where(p.prediction_id.in_(items[start : start + IN_CHUNK])).order_by(*columns[:2])
        for item, *row in statements.execute(connection, found):
            rows[item].append(tuple(row))
    taken: list[tuple[str, int]] = []
    new: list[Row] = []
    put: list[Row] = []
    unlabelled: set[str] = set()
    for item in items:
        models = keys[item]
        live = {model: ordinal for ordinal, model, at, *_ in rows[item] if at is not None}
        going = {model: ordinal for model, ordinal in live.items() if model in models or None in models}
        taken += [(item, ordinal) for ordinal in going.values()]
        if len(going) == len(live):
            unlabelled.add(item)  # early outcomes too, whose prediction came and went in the source meanwhile
        there = {model for _, model, at, gone, *_ in rows[item] if at is None and gone} | going.keys()
        free = max((row[0] for row in rows[item]), default=-1) + 1
        current = (None,) * len(CURRENT_COLUMNS) if item in unlabelled or not rows[item] else rows[item][0][4:]
        stub = free > 0 and rows[item][0][2] is None and not rows[item][0][3]
        for model in sorted(models - there, key=lambda one: one or ""):
            if stub:
                stub = False
                put.append((item, 0, model, 1, *current))
            else:
                new.append((item, free, model, 1, *current))
                free += 1
    _empty(connection, taken)
    dialect.update(connection, "f1mon_predictions", PRUNED_COLUMNS[:2], PRUNED_COLUMNS[2:], put)
    dialect.insert_absent(connection, "f1mon_predictions", PRUNED_COLUMNS, new)
    _delete(connection, outcomes.c.prediction_id, unlabelled)
    dialect.set_current(connection, [(item, *(None,) * len(CURRENT_COLUMNS)) for item in sorted(unlabelled)])


def _empty(connection: Connection, taken: Iterable[tuple[str, int]]) -> None:
    """Leave of predictions what pruning leaves."""
    by_ordinal: dict[int, list[str]] = {}
    for item, ordinal in taken:
        by_ordinal.setdefault(ordinal, []).append(item)
    nothing = dict.fromkeys(set(READ_COLUMNS) - {"prediction_id", "model_version"})
    for ordinal, items in by_ordinal.items():
        for start in range(0, len(items), IN_CHUNK):
            chunk = items[start : start + IN_CHUNK]
            p, f = predictions.c, features.c
            statements.execute(connection, sa.delete(features).where(f.prediction_id.in_(chunk), f.ordinal == ordinal))
            emptied = sa.update(predictions).where(p.prediction_id.in_(chunk), p.ordinal == ordinal)
            statements.execute(connection, emptied.values(**nothing | {"at_given": 0, "pruned": 1}))
