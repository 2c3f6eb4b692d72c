"""What is stored under the keys of a batch: items locked, and facts read where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, TypeAlias

import attrs
from sqlalchemy import Connection

from f1mon_core.errors import StorageError
from f1mon_core.records.kinds import Alert, Fact, Outcome, Prediction
from f1mon_core.records.times import from_micros, to_micros
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.rows import (
    CURRENT_COLUMNS,
    OUTCOME_COLUMNS,
    READ_COLUMNS,
    Row,
    content_parts,
    key_columns,
    label_of,
    outcome_parts,
    prediction_parts,
    restored,
)

Key: TypeAlias = tuple[Any, ...]
"""What tells facts apart: the kind, then the parts of the key as the table has them."""

_ROUNDS = 100
_UNKNOWN: Row = (None,) * len(CURRENT_COLUMNS)
_ITEM_ROWS = (
    f"SELECT prediction_id, ordinal, model_version, predicted_at, pruned, {', '.join(CURRENT_COLUMNS)}"
    " FROM f1mon_predictions WHERE"
)
_NO_MODELS: dict[str, int] = {}
_NOT_PRUNED: frozenset[str | None] = frozenset()
_PREDICTION, _OUTCOME, _ALERT = Prediction.kind, Outcome.kind, Alert.kind


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
    models: dict[str, int] = _NO_MODELS
    pruned: frozenset[str | None] = _NOT_PRUNED
    free: int = 0

    def newest(self, item: str) -> Outcome | None:
        """Its current outcome."""
        number, text, known_at, _ = self.current
        if known_at is None:
            return None
        return Outcome(prediction_id=item, actual_outcome=label_of(number, text), at=from_micros(known_at))


class Stored:
    """What one transaction knows to be stored.

    Attributes:
        items: The items that are locked.
        facts: The facts that were read, by their keys.
        are_locked: Whether the items of the batch's predictions are locked.
        server: The server's clock where a lock has answered it.
    """

    def __init__(self, connection: Connection, dialect: Dialect, server: int | None) -> None:
        self.connection = connection
        self.dialect = dialect
        self.server = server
        self.items: dict[str, Item] = {}
        self.facts: dict[Key, Fact] = {}
        self.are_locked = False

    def look_up(self, facts: Iterable[Fact | None]) -> None:
        """Read what is stored under the keys of facts, and lock their items."""
        keys: dict[str, set[Key]] = {}
        for fact in facts:
            if fact is not None:
                kind = family_of(fact.kind)
                keys.setdefault(kind, set()).add(key_of(fact))
        predictions = {(key[1], key[2]) for key in keys.pop(_PREDICTION, ())}
        items = {key[1] for key in keys.get(_OUTCOME, ())}
        if (predictions or items) and not self.are_locked:
            self.lock(predictions, items - self.items.keys())
        for kind, wanted in keys.items():
            self.read(kind, wanted)

    def read(self, kind: str, keys: Collection[Key]) -> bool:
        """Read what is stored under keys; whether anything is."""
        found = _READ[kind](self, keys)
        self.facts |= found
        return bool(found)

    def lock(self, predictions: Collection[tuple[str, str]], outcomes: Collection[str]) -> None:
        """Lock the items of predictions to store and of outcomes, and read which predictions they have.

        The row of ordinal 0 is locked by one statement and the item's rows are read by a later one: a statement that
        waited for a lock would not see rows that were added meanwhile.
        """
        self.are_locked = self.are_locked or bool(predictions)
        predicted = {item for item, _ in predictions}
        wanted = predicted.union(outcomes)
        if not self.dialect.lock_rows:  # the transaction is the lock, and only outcomes need a row to bear them
            self._read_items(wanted)
            if absent := wanted - self.items.keys():
                stubs = sorted(absent.intersection(outcomes))
                self.dialect.make_stubs(self.connection, stubs)
                self.items |= {item: Item() for item in absent} | {item: Item(stub=True, free=1) for item in stubs}
        elif predicted:
            self._lock_first_rows("SELECT prediction_id FROM f1mon_predictions WHERE", wanted)
            self._read_items(wanted)
        else:
            self._take_rows(self._lock_first_rows(_ITEM_ROWS, wanted))
            if pruned := [item for item in wanted if self.items[item].pruned]:
                self._read_items(pruned)
        if repeated := [key for key in predictions if key[1] in self.items[key[0]].models]:
            self._read_predictions(repeated)

    def _lock_first_rows(self, text: str, items: Collection[str]) -> list[Row]:
        """Lock the rows of ordinal 0 of items, made where there are none, and answer what a statement asks of them."""
        missing = set(items)
        if len(missing) > 1:
            # Made first and locked then, each in the order of ids: whoever waits for a row holds none that comes after.
            self.dialect.make_stubs(self.connection, sorted(missing))
        found: list[Row] = []
        for _ in range(_ROUNDS):
            rows, self.server = self.dialect.locked(self.connection, f"{text} ordinal = 0 AND prediction_id", missing)
            found += rows
            if len(rows) == len(missing):
                return found
            missing -= {self.dialect.text_out(row[0]) for row in rows}
            self.dialect.make_stubs(self.connection, sorted(missing))
        raise StorageError("rows of predictions vanish as fast as they are made")

    def _read_items(self, items: Collection[str]) -> None:
        """Note all rows of items."""
        self._take_rows(self.dialect.select_in(self.connection, f"{_ITEM_ROWS} prediction_id", items))

    def _take_rows(self, rows: Iterable[Row]) -> None:
        """Note what `_ITEM_ROWS` answers."""
        items = self.items
        for row in self.dialect.texts_out(rows, (0, 2, 6)):
            one, ordinal, model, at, pruned = row[:5]
            item = items.get(one)
            if item is None:
                if ordinal == 0 and at is not None:  # as most are
                    items[one] = Item(row[5:], False, True, {model: 0}, _NOT_PRUNED, 1)
                    continue
                item = items[one] = Item()
            if ordinal == 0:
                item.current = row[5:]
                item.stub = at is None and not pruned
            if ordinal >= item.free:
                item.free = ordinal + 1
            if at is not None:
                item.live = True
                if item.models:
                    item.models[model] = ordinal
                else:
                    item.models = {model: ordinal}
            elif pruned:
                item.pruned |= {model}

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
            rows = self.dialect.texts_out(self.dialect.select_in(self.connection, text, items), (0, 4, 6))
            facts = restored(prediction_parts, [(*row, *documents.get(row[0], (None, None))) for row in rows])
            self.facts |= {(_PREDICTION, *fact.key): fact for fact in facts}

    def _read_outcomes(self, keys: Collection[Key]) -> dict[Key, Fact]:
        text = f"SELECT {','.join(OUTCOME_COLUMNS)} FROM f1mon_outcomes WHERE prediction_id"
        found = self.dialect.select_in(self.connection, text, {key[1] for key in keys})
        rows = {(_OUTCOME, *row[:2]): row for row in self.dialect.texts_out(found, (0, 5))}
        wanted = [key for key in rows if key in keys]
        return dict(zip(wanted, restored(outcome_parts, map(rows.__getitem__, wanted)), strict=True))

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


_READ: dict[str, Callable[[Stored, Collection[Key]], dict[Key, Fact]]] = {
    _PREDICTION: lambda _appending, _keys: {},
    _OUTCOME: Stored._read_outcomes,  # noqa: SLF001 - of this module
    _ALERT: Stored._read_alerts,  # noqa: SLF001
    "": Stored._read_others,  # noqa: SLF001
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


def family_of(kind: str) -> str:
    """The kind, or "" for all that lie in the one table of facts."""
    return kind if kind in _READ else ""
