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
_PREDICTION, _OUTCOME, _ALERT = Prediction.kind, Outcome.kind, Alert.kind
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
    models: dict[str, int] = attrs.field(factory=dict)
    pruned: set[str | None] = attrs.field(factory=set)
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
            rows, self.server = self.dialect.locked(self.connection, text, missing)
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
            self.facts |= {(_PREDICTION, *fact.key): fact for fact in facts}

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


def _text(out: Callable[[Any], str], value: Any) -> str | None:
    return None if value is None else out(value)
