"""Storing facts: a batch is walked in its order against what is stored, and written where its keys are free.

What is stored is looked up late: the walk takes all keys for free, the inserts find out which were not, and only then
is read what stands under those and the batch walked again. Most batches meet nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, cast

import attrs
from sqlalchemy import Connection

from f1mon_core.errors import ConflictError, F1monError, InvalidRecordError, StorageError
from f1mon_core.records.kinds import Alert, Fact, Outcome, Prediction, same
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.stamping import is_prelabelled, refuse_pruned, timed
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.rows import (
    ALERT_COLUMNS,
    ATTRIBUTE_COLUMNS,
    CURRENT_COLUMNS,
    FACT_COLUMNS,
    FEATURE_COLUMNS,
    JOINED_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    READ_COLUMNS,
    Row,
    alert_row,
    attribute_rows,
    content_parts,
    fact_row,
    feature_rows,
    key_columns,
    label_columns,
    label_of,
    outcome_parts,
    outcome_row,
    prediction_parts,
    prediction_row,
    restored,
)

Key: TypeAlias = tuple[Any, ...]
"""What tells facts apart: the kind, then the parts of the key as the table has them."""

_ROUNDS = 100
_UNKNOWN: Row = (None,) * len(CURRENT_COLUMNS)
_FILLED = PREDICTION_COLUMNS[2:]
_MANY = 100
"""Of so many predictions the first is looked for before they are sent in vain."""
_ITEM_ROWS = (
    f"SELECT prediction_id, ordinal, model_version, predicted_at, pruned, {', '.join(CURRENT_COLUMNS)}"
    " FROM f1mon_predictions WHERE"
)
_PREDICTION, _OUTCOME, _ALERT = Prediction.kind, Outcome.kind, Alert.kind


def append(
    connection: Connection, dialect: Dialect, clock: Callable[[int | None], datetime], batch: Iterable[Fact]
) -> Appended:
    """See `Storage.append`; inside a writing transaction.

    The clock is asked once the items of outcomes are locked. It is told the microseconds of the server's where a
    statement after the lock has answered them.
    """
    appending = Appending(connection, dialect)
    return appending.append(list(batch), clock)


@attrs.define
class Item:
    """What is stored of an item whose row of ordinal 0 is locked.

    Attributes:
        current: Its `CURRENT_COLUMNS`.
        stub: Whether that row waits for a prediction.
        live: Whether a prediction is stored.
        models: The ordinals of stored predictions by their model, if they were looked up.
        pruned: The models whose predictions were pruned; None stands for every model.
        free: The next ordinal.
    """

    current: Row = _UNKNOWN
    stub: bool = False
    live: bool = False
    models: dict[str, int] = attrs.field(factory=dict)
    pruned: set[str | None] = attrs.field(factory=set)
    free: int = 0

    def newest(self, item: str) -> Outcome | None:
        """Its current outcome."""
        number, text, known_at, _ = self.current
        if known_at is None:
            return None
        return Outcome(prediction_id=item, actual_outcome=label_of(number, text), at=from_micros(known_at))


@attrs.define
class Walked:
    """What a batch comes to: the facts to store by their keys, the items predicted, and how many facts repeat."""

    staged: dict[Key, Fact] = attrs.field(factory=dict)
    items: set[str] = attrs.field(factory=set)
    repeated: int = 0


class Appending:
    """One batch on one connection, inside a transaction."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self._server, horizons = dialect.horizons(connection)
        self.horizons = {kind: from_micros(row[0]) for kind, row in horizons.items() if row[0] is not None}
        self.items: dict[str, Item] = {}
        self._stored: dict[Key, Fact] = {}
        self._written: set[Key] = set()
        self._recorded: int | None = None
        self._are_locked = False
        self._are_moved = False

    def append(self, batch: Sequence[Fact], clock: Callable[[int | None], datetime]) -> Appended:
        """Store a batch. Raises as `Storage.append`."""
        outcomes = {one.prediction_id for one in batch if isinstance(one, Outcome)}
        # Predictions lock rows of the one table too: all of them now and in one order, or two batches deadlock.
        if outcomes or self._are_taken(batch):
            predictions = {(one.prediction_id, one.model_version) for one in batch if isinstance(one, Prediction)}
            self._lock(predictions, outcomes)
        now = clock(self._server)
        self._recorded = to_micros(now)
        try:
            walked = self._walk(batch, now)
        except F1monError:
            self._look_up([_timed(one, now) for one in batch])
            walked = self._walk(batch, now)
        for _ in range(_ROUNDS):
            if self._write(walked.staged):
                return self._appended(walked)
            walked = self._walk(batch, now)
        raise StorageError("keys are taken and freed again too fast to be written")

    def _are_taken(self, batch: Sequence[Fact]) -> bool:
        """Whether many predictions begin with an item that is stored: another model's, or sent again."""
        if len(batch) < _MANY or not isinstance(first := batch[0], Prediction):
            return False
        text = self.dialect.sql("SELECT 1 FROM f1mon_predictions WHERE prediction_id = ? AND ordinal = 0")
        return bool(statements.rows(self.connection, text, (self.dialect.text_in(first.prediction_id),)))

    def put_back(self, facts: Sequence[Fact]) -> Appended:
        """Store facts as another store kept them. Raises as `Storage.restore`; inside a transaction that is alone."""
        for fact in facts:
            if fact.at is None or fact.recorded_at is None:
                raise InvalidRecordError("recorded_at", None, f"must be given, as must at, in a {fact.kind} to restore")
        self._look_up(facts)
        staged: dict[Key, Fact] = {}
        for fact in facts:
            key = key_of(fact)
            stored = self._stored.get(key) or staged.setdefault(key, fact)
            if stored is not fact and not same(stored, fact):
                raise ConflictError(stored, fact)
            if isinstance(fact, Prediction) and self._is_pruned(fact, ()):
                del staged[key]  # of an older page: its source has pruned it since
        if not self._write(staged):
            raise StorageError("somebody writes to this store while it is restored")
        self._move(staged)
        return Appended(len(staged), len(facts) - len(staged))

    # In the batch's order -------------------------------------------------------------------------------------------

    def _walk(self, batch: Sequence[Fact], now: datetime) -> Walked:
        """What a batch comes to, given what is known to be stored. Raises its first contradiction."""
        walked = Walked()
        staged, stored_before, items = walked.staged, self._stored, walked.items
        newest: dict[str, Outcome] = {}
        for offered in batch:
            if offered.at is not None:
                fact = offered
            elif (told := timed(offered, now, self._newest(offered, newest))) is not None:
                fact = told
            else:
                walked.repeated += 1
                continue
            key = key_of(fact)
            stored = staged.get(key) or stored_before.get(key)
            if stored is not None:
                if not same(stored, fact):
                    raise ConflictError(stored, offered)
                walked.repeated += 1
                continue
            if self.items or self.horizons:
                refuse_pruned(fact, self.horizons.get(fact.kind), pruned=self._is_pruned(fact, items))
            staged[key] = fact
            if isinstance(fact, Prediction):
                items.add(fact.prediction_id)
            elif isinstance(fact, Outcome):
                known = self._newest(fact, newest)
                if known is None or fact.instant >= known.instant:
                    newest[fact.prediction_id] = fact
        return walked

    def _newest(self, fact: Fact, newest: dict[str, Outcome]) -> Outcome | None:
        """The outcome with the newest known_at of an outcome's item, those of the batch included."""
        if not isinstance(fact, Outcome):
            return None
        return newest.get(fact.prediction_id) or self.items[fact.prediction_id].newest(fact.prediction_id)

    def _is_pruned(self, fact: Fact, predicted: Collection[str]) -> bool:
        """Whether a fact would change what was pruned."""
        if isinstance(fact, Prediction):
            item = self.items.get(fact.prediction_id)
            return item is not None and (fact.model_version in item.pruned or None in item.pruned)
        if isinstance(fact, Outcome):
            item = self.items[fact.prediction_id]
            return bool(item.pruned) and not item.live and fact.prediction_id not in predicted
        return False

    def _appended(self, walked: Walked) -> Appended:
        self._move(walked.staged)
        staged, items = walked.staged, self.items
        first: dict[str, datetime] = {}
        unmatched = 0
        for fact in staged.values():
            if isinstance(fact, Outcome):
                item = fact.prediction_id
                first[item] = min(fact.instant, first.get(item, fact.instant))
                unmatched += item not in walked.items and not items[item].live
        prelabelled = 0
        if first or items:
            for fact in staged.values():
                if isinstance(fact, Prediction):
                    stored = items[fact.prediction_id].current[3] if fact.prediction_id in items else None
                    known = [first.get(fact.prediction_id), None if stored is None else from_micros(stored)]
                    prelabelled += is_prelabelled(fact, min((one for one in known if one is not None), default=None))
        return Appended(len(staged), walked.repeated, prelabelled, unmatched)

    # What is stored -------------------------------------------------------------------------------------------------

    def _look_up(self, facts: Iterable[Fact | None]) -> None:
        """Read what is stored under the keys of facts, and lock their items."""
        keys: dict[str, set[Key]] = {}
        for fact in facts:
            if fact is not None:
                kind = fact.kind if fact.kind in _READ else ""
                keys.setdefault(kind, set()).add(key_of(fact))
        predictions = {(key[1], key[2]) for key in keys.pop(_PREDICTION, ())}
        items = {key[1] for key in keys.get(_OUTCOME, ())}
        if (predictions or items) and not self._are_locked:
            self._lock(predictions, items - self.items.keys())
        for kind, wanted in keys.items():
            self._read(kind, wanted)

    def _read(self, kind: str, keys: Collection[Key]) -> bool:
        """Read what is stored under keys; whether anything is."""
        found = _READ[kind](self, keys)
        self._stored |= found
        return bool(found)

    def _lock(self, predictions: Collection[tuple[str, str]], outcomes: Collection[str]) -> None:
        """Lock the items of predictions to store and of outcomes, and read which predictions they have.

        The row of ordinal 0 is locked by one statement and the item's rows are read by a later one: a statement that
        waited for a lock would not see rows that were added meanwhile.
        """
        self._are_locked = self._are_locked or bool(predictions)
        predicted = {item for item, _ in predictions}
        if self.dialect.lock_rows:
            self._lock_first_rows(predicted, outcomes)
            predicted |= {item for item in outcomes if self.items[item].pruned}
        else:  # the transaction is the lock, and only outcomes need a row to bear them
            self.dialect.make_stubs(self.connection, sorted(outcomes))
            predicted |= {*outcomes}
            self.items |= {one: Item() for one in predicted}
        for row in self.dialect.select_in(self.connection, f"{_ITEM_ROWS} prediction_id", predicted):
            self._take_row(row)
        self._read_predictions([key for key in predictions if key[1] in self.items[key[0]].models])

    def _lock_first_rows(self, predicted: Collection[str], outcomes: Collection[str]) -> None:
        missing = {*predicted, *outcomes}
        if len(missing) > 1:
            # Made first and locked then, each in the order of ids: whoever waits for a row holds none that comes after.
            self.dialect.make_stubs(self.connection, sorted(missing))
        for _ in range(_ROUNDS):
            text = f"{_ITEM_ROWS} ordinal = 0 AND prediction_id"
            rows, self._server = self.dialect.locked(self.connection, text, missing)
            for row in rows:
                self._take_row(row)
            missing = {one for one in missing if one not in self.items}
            if not missing:
                return
            self.dialect.make_stubs(self.connection, sorted(missing))
        raise StorageError("rows of predictions vanish as fast as they are made")

    def _take_row(self, row: Row) -> None:
        """Note one of `_ITEM_ROWS`."""
        out = self.dialect.text_out
        one, ordinal, model, at, pruned, number, text, *known = row
        name = out(one)
        item = self.items.get(name)
        if item is None:
            item = self.items[name] = Item()
        if ordinal == 0:
            item.current = (number, _text(out, text), *known)
            item.stub = at is None and not pruned
        item.free = max(item.free, ordinal + 1)
        if at is not None:
            item.live = True
            item.models[out(model)] = ordinal
        elif pruned:
            item.pruned.add(_text(out, model))

    def _read_predictions(self, keys: Collection[tuple[str, str]]) -> None:
        """Read the stored predictions of looked-up keys, and no others."""
        by_ordinal: dict[int, dict[str, str]] = {}
        for item, model in keys:
            by_ordinal.setdefault(self.items[item].models[model], {})[item] = model
        out = self.dialect.text_out
        for ordinal, items in by_ordinal.items():
            where = f"WHERE ordinal = {ordinal} AND prediction_id"
            text = f"SELECT prediction_id, features, metadata FROM f1mon_features {where}"
            documents = {out(row[0]): row[1:] for row in self.dialect.select_in(self.connection, text, items)}
            text = f"SELECT {', '.join(READ_COLUMNS)} FROM f1mon_predictions {where}"
            rows = [self._text_row(row) for row in self.dialect.select_in(self.connection, text, items)]
            facts = restored(prediction_parts, [(*row, *documents.get(row[0], (None, None))) for row in rows])
            self._stored |= {(_PREDICTION, *fact.key): fact for fact in facts}

    def _text_row(self, row: Row) -> Row:
        """A row of `READ_COLUMNS` as text and numbers."""
        out = self.dialect.text_out
        one, at, at_given, recorded, model, number, text, confidence, segments = row
        return (out(one), at, at_given, recorded, out(model), number, _text(out, text), confidence, segments)

    def _read_outcomes(self, keys: Collection[Key]) -> dict[Key, Fact]:
        text = f"SELECT {','.join(OUTCOME_COLUMNS)} FROM f1mon_outcomes WHERE prediction_id"
        out = self.dialect.text_out
        found: dict[Key, Fact] = {}
        for one, *row, label in self.dialect.select_in(self.connection, text, {key[1] for key in keys}):
            key = (_OUTCOME, out(one), row[0])
            if key in keys:
                (found[key],) = restored(outcome_parts, [(key[1], *row, _text(out, label))])
        return found

    def _read_alerts(self, keys: Collection[Key]) -> dict[Key, Fact]:
        text = "SELECT alert_id, at, at_given, recorded_at, v, content FROM f1mon_alerts WHERE alert_id"
        rows = list(self.dialect.select_in(self.connection, text, {key[1] for key in keys}))
        found = restored(partial(content_parts, _ALERT), (row[1:] for row in rows))
        return {(_ALERT, self.dialect.text_out(row[0])): fact for row, fact in zip(rows, found, strict=True)}

    def _read_others(self, keys: Collection[Key]) -> dict[Key, Fact]:
        text = "SELECT key_1, kind, key_2, at, at_given, recorded_at, v, content FROM f1mon_facts WHERE key_1"
        found: dict[Key, Fact] = {}
        out = self.dialect.text_out
        for first, kind, second, *row in self.dialect.select_in(self.connection, text, {key[1] for key in keys}):
            key = (out(kind), out(first), out(second))
            if key in keys:
                (found[key],) = restored(partial(content_parts, key[0]), [row])
        return found

    # What is written ------------------------------------------------------------------------------------------------

    def _write(self, staged: dict[Key, Fact]) -> bool:
        """Insert what is staged; False if keys turned out to be taken, and what stands under them was read."""
        keys: dict[str, list[Key]] = {}
        for key in staged:
            if key not in self._written:
                keys.setdefault(key[0] if key[0] in _READ else "", []).append(key)
        if found := keys.get(_PREDICTION):
            facts = cast("list[Prediction]", [staged[key] for key in sorted(found)])
            if self._are_locked:
                self._join(facts)
            elif not self._insert_free_items(facts):
                self._lock({(one.prediction_id, one.model_version) for one in facts}, ())
                return False
            self._written.update(found)
        done = True
        for kind, table, columns, row_of in (
            (_OUTCOME, "f1mon_outcomes", OUTCOME_COLUMNS, outcome_row),
            (_ALERT, "f1mon_alerts", ALERT_COLUMNS, alert_row),
            ("", "f1mon_facts", FACT_COLUMNS, fact_row),
        ):
            if found := keys.get(kind):
                make = cast("Callable[[Any, int], Row]", row_of)
                rows = {key: make(staged[key], self._stamp(staged[key])) for key in sorted(found)}
                done = self._insert(kind, table, columns, rows, staged) and done
        return done

    def _stamp(self, fact: Fact) -> int:
        return to_micros(fact.recorded_at) if self._recorded is None else self._recorded  # type: ignore[arg-type]

    def _insert_free_items(self, facts: Sequence[Prediction]) -> bool:
        """Insert predictions, in the order of their keys, if none of their items has a row yet."""
        rows, having, last, ordinal = [], [], None, 0
        for fact in facts:
            ordinal = ordinal + 1 if fact.prediction_id == last else 0
            last = fact.prediction_id
            rows.append(prediction_row(fact, ordinal, self._stamp(fact)))
            having.append((fact, ordinal))
        features = feature_rows(having)
        # As most come: alone, so that there is no order in which to take locks, table by table.
        if len(rows) == len(features) == 1:
            return self.dialect.insert_both(self.connection, rows[0], features[0])
        if not self._all_inserted("f1mon_predictions", PREDICTION_COLUMNS, rows):
            return False
        self._insert_new("f1mon_features", FEATURE_COLUMNS, features)
        return True

    def _join(self, facts: Sequence[Prediction]) -> None:
        """Write predictions of locked items: into the stub of an early outcome, else beside what is there."""
        filled, joined, having = [], [], []
        for fact in facts:
            item = self.items[fact.prediction_id]
            if item.stub:
                item.stub, ordinal = False, 0
                filled.append(prediction_row(fact, 0, self._stamp(fact)))
            else:
                ordinal, item.free = item.free, item.free + 1
                joined.append((*prediction_row(fact, ordinal, self._stamp(fact)), *item.current))
            having.append((fact, ordinal))
        self.dialect.update(self.connection, "f1mon_predictions", PREDICTION_COLUMNS[:2], _FILLED, filled)
        self._insert_new("f1mon_predictions", JOINED_COLUMNS, joined)
        self._insert_new("f1mon_features", FEATURE_COLUMNS, feature_rows(having))

    def _insert(
        self, kind: str, table: str, columns: Sequence[str], rows: dict[Key, Row], staged: dict[Key, Fact]
    ) -> bool:
        """Insert the rows whose key is free; False if any was not, and what stands there was read."""
        if kind == _OUTCOME and len(rows) == 1:
            ((key, row),) = rows.items()
            self._written.add(key)
            (current,) = self._currents([key], staged)
            if self.dialect.insert_current(self.connection, row, current):
                self._are_moved = True
                return True
            self._written.discard(key)
            return not self._read(kind, {key})
        free = dict(rows)
        for _ in range(_ROUNDS):
            if self._all_inserted(table, columns, list(free.values())):
                self._written.update(free)
                if kind == "":
                    attributes = [row for key in free for row in attribute_rows(staged[key])]
                    self._insert_new("f1mon_attributes", ATTRIBUTE_COLUMNS, attributes)
                return len(free) == len(rows)
            self._read(kind, set(free))
            free = {key: row for key, row in free.items() if key not in self._stored}
        raise StorageError(f"keys in {table} are taken and freed again too fast to be written")

    def _move(self, staged: dict[Key, Fact]) -> None:
        """Set what is current of items of which outcomes were stored."""
        if self._are_moved:
            return  # with the one outcome that there was
        outcomes = [key for key in staged if key[0] == _OUTCOME]
        currents = [row for row in self._currents(outcomes, staged) if row[1:] != self.items[row[0]].current]
        if currents:
            self.dialect.set_current(self.connection, currents)

    def _currents(self, keys: Iterable[Key], staged: dict[Key, Fact]) -> list[Row]:
        """What is current of items, each with its id first, once outcomes are stored."""
        moved: dict[str, Row] = {}
        for key in keys:
            _, item, known_at = key
            *label, newest, first = moved.get(item) or self.items[item].current
            if newest is None or known_at > newest:
                label, newest = [*label_columns(cast("Outcome", staged[key]).actual_outcome)], known_at
            moved[item] = (*label, newest, known_at if first is None else min(first, known_at))
        return [(item, *moved[item]) for item in sorted(moved)]

    def _all_inserted(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """Insert the rows if all their keys are free; else none, so that no lock is kept out of the order of keys."""
        if len(rows) <= 1:
            return self.dialect.insert_absent(self.connection, table, columns, rows) == len(rows)
        savepoint = self.connection.begin_nested()
        done = self.dialect.insert_all(self.connection, table, columns, rows)
        (savepoint.commit if done else savepoint.rollback)()
        return done

    def _insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows that belong to what was not stored before, so that nothing else should have their keys."""
        if rows and not self._all_inserted(table, columns, rows):
            self.dialect.insert_absent(self.connection, table, columns, rows)


_READ: dict[str, Callable[[Appending, Collection[Key]], dict[Key, Fact]]] = {
    _PREDICTION: lambda _appending, _keys: {},
    _OUTCOME: Appending._read_outcomes,  # noqa: SLF001 - of this module
    _ALERT: Appending._read_alerts,  # noqa: SLF001
    "": Appending._read_others,  # noqa: SLF001
}
"""How what is stored is read, by kind; "" for all other kinds."""


def key_of(fact: Fact) -> Key:
    """The key of a timed fact."""
    if isinstance(fact, Prediction):
        return (_PREDICTION, fact.prediction_id, fact.model_version)
    if isinstance(fact, Outcome):
        return (_OUTCOME, fact.prediction_id, to_micros(fact.instant))
    if isinstance(fact, Alert):
        return (_ALERT, fact.alert_id)
    return (fact.kind, *key_columns(fact))


def _timed(offered: Fact, now: datetime) -> Fact | None:
    """A fact with its time; None for an outcome without one, whose key is always free."""
    if offered.at is None and isinstance(offered, Outcome):
        return None
    return timed(offered, now)


def _text(out: Callable[[Any], str], value: Any) -> str | None:
    return None if value is None else out(value)
