"""Storing facts: a batch is walked in its order against what is stored, and written where its keys are free.

What is stored is looked up late: the walk takes all keys for free, the inserts find out which were not, and only then
is read what stands under those and the batch walked again. Most batches meet nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import compress, pairwise
from operator import add
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
    FACT_COLUMNS,
    FEATURE_COLUMNS,
    JOINED_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
    alert_row,
    attribute_rows,
    fact_row,
    feature_rows,
    label_columns,
    outcome_row,
    prediction_rows,
)
from f1mon_sql.verbs.stored import Key, Stored, family_of, key_of

_ROUNDS = 100
_FILLED = PREDICTION_COLUMNS[2:]
_MANY = 100
"""Of so many predictions the first is looked for before they are sent in vain."""
_SAVEPOINT = "f1mon_rows"
_PREDICTION, _OUTCOME, _ALERT = Prediction.kind, Outcome.kind, Alert.kind
Part: TypeAlias = tuple[str, Sequence[str], Sequence[Row]]
"""Rows to insert: their table, their columns, and they."""


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
class Walked:
    """What a batch comes to: the facts to store by their keys, predictions apart, and the items predicted.

    Items are noted only where an outcome, or what was pruned, may ask for them.
    """

    predictions: dict[Key, Prediction] = attrs.field(factory=dict)
    others: dict[Key, Fact] = attrs.field(factory=dict)
    items: set[str] = attrs.field(factory=set)

    @property
    def new(self) -> int:
        """How many facts are to be stored."""
        return len(self.predictions) + len(self.others)


class Appending:
    """One batch on one connection, inside a transaction."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        server, horizons = dialect.horizons(connection)
        self.stored = Stored(connection, dialect, server)
        self.horizons = {kind: from_micros(row[0]) for kind, row in horizons.items() if row[0] is not None}
        self._written: set[Key] = set()
        self._recorded: int | None = None
        self._are_moved = False

    def append(self, batch: Sequence[Fact], clock: Callable[[int | None], datetime]) -> Appended:
        """Store a batch. Raises as `Storage.append`."""
        outcomes = {one.prediction_id for one in batch if isinstance(one, Outcome)}
        # Predictions lock rows of the one table too: all of them now and in one order, or two batches deadlock.
        if outcomes or self._are_taken(batch):
            predictions = {(one.prediction_id, one.model_version) for one in batch if isinstance(one, Prediction)}
            self.stored.lock(predictions, outcomes)
        now = clock(self.stored.server)
        self._recorded = to_micros(now)
        try:
            walked = self._walk(batch, now)
        except F1monError:
            self.stored.look_up([_timed(one, now) for one in batch])
            walked = self._walk(batch, now)
        for _ in range(_ROUNDS):
            if self._write(walked):
                return self._appended(walked, len(batch))
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
        self.stored.look_up(facts)
        predicted = {one.prediction_id for one in facts if isinstance(one, Prediction) and not self._is_pruned(one, ())}
        walked = Walked()
        for fact in facts:
            if self._is_pruned(fact, predicted):
                continue  # here, or in the source since it told of it
            key = key_of(fact)
            staged: dict[Key, Any] = walked.predictions if isinstance(fact, Prediction) else walked.others
            stored = self.stored.facts.get(key) or staged.setdefault(key, fact)
            if stored is not fact and not same(stored, fact):
                raise ConflictError(stored, fact)
        if not self._write(walked):
            raise StorageError("somebody writes to this store while it is restored")
        self._move(walked.others)
        return Appended(walked.new, len(facts) - walked.new)

    # In the batch's order -------------------------------------------------------------------------------------------

    def _walk(self, batch: Sequence[Fact], now: datetime) -> Walked:
        """What a batch comes to, given what is known to be stored. Raises its first contradiction."""
        walked = Walked()
        predictions, others, items = walked.predictions, walked.others, walked.items
        before, horizons = self.stored.facts, self.horizons
        may_be_pruned = bool(self.stored.items or horizons)
        newest: dict[str, Outcome] = {}
        for offered in batch:
            fact: Fact | None = offered if offered.at is not None else self._timed(offered, now, newest)
            if fact is None:
                continue  # it repeats
            key = key_of(fact)
            staged: dict[Key, Any] = predictions if isinstance(fact, Prediction) else others
            stored = before[key] if key in before else staged.setdefault(key, fact)
            if stored is not fact:
                if not same(stored, fact):
                    raise ConflictError(stored, offered)
                continue
            if may_be_pruned:
                pruned, horizon = self._is_pruned(fact, items), horizons.get(fact.kind)
                if pruned or horizon is not None:
                    refuse_pruned(fact, horizon, pruned=pruned)
                if isinstance(fact, Prediction):
                    items.add(fact.prediction_id)
            if isinstance(fact, Outcome):
                known = newest.get(fact.prediction_id)
                if known is None or fact.instant >= known.instant:
                    newest[fact.prediction_id] = fact
        return walked

    def _timed(self, offered: Fact, now: datetime, newest: Mapping[str, Outcome]) -> Fact | None:
        """A fact without a time with one; None for an outcome that only repeats the current one.

        Args:
            offered: The fact.
            now: The clock.
            newest: The newest outcomes of the batch so far, by their items.
        """
        if not isinstance(offered, Outcome):
            return timed(offered, now)
        item = offered.prediction_id
        stored, earlier = self.stored.items[item].newest(item), newest.get(item)
        if stored is not None and (earlier is None or earlier.instant < stored.instant):
            return timed(offered, now, stored)
        return timed(offered, now, earlier)

    def _is_pruned(self, fact: Fact, predicted: Collection[str]) -> bool:
        """Whether a fact would change what was pruned."""
        if isinstance(fact, Prediction):
            item = self.stored.items.get(fact.prediction_id)
            return item is not None and (fact.model_version in item.pruned or None in item.pruned)
        if isinstance(fact, Outcome):
            item = self.stored.items[fact.prediction_id]
            return bool(item.pruned) and not item.live and fact.prediction_id not in predicted
        return False

    def _appended(self, walked: Walked, offered: int) -> Appended:
        new, items = walked.new, self.stored.items
        if not items:  # no others have outcomes, of this batch or of an earlier one
            return Appended(new, offered - new, 0, 0)
        self._move(walked.others)
        first: dict[str, datetime] = {}
        unmatched = 0
        for fact in walked.others.values():
            if isinstance(fact, Outcome):
                item = fact.prediction_id
                unmatched += not items[item].live and item not in walked.items
                if walked.predictions and (item not in first or fact.instant < first[item]):
                    first[item] = fact.instant
        prelabelled = 0
        if walked.predictions:
            for one in walked.predictions.values():
                stored = items[one.prediction_id].current[3] if one.prediction_id in items else None
                known = first.get(one.prediction_id)
                if stored is not None and (known is None or stored < to_micros(known)):
                    known = from_micros(stored)
                prelabelled += known is not None and is_prelabelled(one, known)
        return Appended(new, offered - new, prelabelled, unmatched)

    # What is written ------------------------------------------------------------------------------------------------

    def _write(self, walked: Walked) -> bool:
        """Insert what is staged; False if keys turned out to be taken, and what stands under them was read."""
        found = walked.predictions.keys() - self._written if self._written else walked.predictions
        if found:
            facts = [walked.predictions[key] for key in sorted(found)]
            if self.stored.are_locked:
                self._join(facts)
            elif not self._insert_free_items(facts):
                self.stored.lock({(one.prediction_id, one.model_version) for one in facts}, ())
                return False
            self._written.update(found)
        if not walked.others:
            return True
        if len(walked.others) == 1 and not self._written:
            ((key, fact),) = walked.others.items()
            if isinstance(fact, Outcome):
                return self._write_outcome(key, fact)
        return self._write_others(walked)

    def _write_others(self, walked: Walked) -> bool:
        """`_write` for all but predictions, table by table."""
        keys: dict[str, list[Key]] = {}
        for key in walked.others:
            if key not in self._written:
                keys.setdefault(family_of(key[0]), []).append(key)
        done = True
        for kind, table, columns, row_of in (
            (_OUTCOME, "f1mon_outcomes", OUTCOME_COLUMNS, outcome_row),
            (_ALERT, "f1mon_alerts", ALERT_COLUMNS, alert_row),
            ("", "f1mon_facts", FACT_COLUMNS, fact_row),
        ):
            if kind in keys:
                make = cast("Callable[[Any, int], Row]", row_of)
                staged = {key: walked.others[key] for key in sorted(keys[kind])}
                rows = {key: make(fact, self._stamp(fact)) for key, fact in staged.items()}
                done = self._insert(kind, table, columns, rows, staged) and done
        return done

    def _stamp(self, fact: Fact) -> int:
        return to_micros(fact.recorded_at) if self._recorded is None else self._recorded  # type: ignore[arg-type]

    def _insert_free_items(self, facts: Sequence[Prediction]) -> bool:
        """Insert predictions, in the order of their keys, if none of their items has a row yet."""
        ordinals = [0] * len(facts)
        if len({fact.prediction_id for fact in facts}) < len(facts):
            for number, (one, other) in enumerate(pairwise(facts), 1):
                if one.prediction_id == other.prediction_id:
                    ordinals[number] = ordinals[number - 1] + 1
        rows = prediction_rows(facts, ordinals, self._recorded)
        features = feature_rows(facts, ordinals)
        # As most come: alone, so that there is no order in which to take locks, table by table.
        if len(rows) == len(features) == 1:
            return self.dialect.insert_both(self.connection, rows[0], features[0])
        return self._all_inserted(
            ("f1mon_predictions", PREDICTION_COLUMNS, rows), ("f1mon_features", FEATURE_COLUMNS, features)
        )

    def _join(self, facts: Sequence[Prediction]) -> None:
        """Write predictions of locked items: into the stub of an early outcome, else beside what is there."""
        ordinals, stubs, currents = [], [], []
        for fact in facts:
            item = self.stored.items[fact.prediction_id]
            stubs.append(item.stub)
            if item.stub:
                item.stub, ordinal = False, 0
            else:
                ordinal, item.free = item.free, item.free + 1
            ordinals.append(ordinal)
            currents.append(item.current)
        rows = prediction_rows(facts, ordinals, self._recorded)
        joined: Sequence[Row]
        if any(stubs):
            filled = list(compress(rows, stubs))
            self.dialect.update(self.connection, "f1mon_predictions", PREDICTION_COLUMNS[:2], _FILLED, filled)
            joined = [row + current for row, current, stub in zip(rows, currents, stubs, strict=True) if not stub]
        else:
            joined = list(map(add, rows, currents))
        self._insert_new("f1mon_predictions", JOINED_COLUMNS, joined)
        self._insert_new("f1mon_features", FEATURE_COLUMNS, feature_rows(facts, ordinals))

    def _write_outcome(self, key: Key, fact: Outcome) -> bool:
        """`_write` for an outcome that is alone, as most come: what is current of its item is set along with it."""
        _, item, known_at = key
        number, text = label_columns(fact.actual_outcome)
        row = (item, known_at, 1 if fact.at_given else 0, self._stamp(fact), number, text)
        stored = self.stored.items[item]
        current = _moved(stored.current, number, text, known_at)
        alone = stored.free == 1 and not self.dialect.lock_rows  # where the transaction is the lock, all rows were read
        if self.dialect.insert_current(self.connection, row, (item, *current), alone=alone):
            self._written.add(key)
            self._are_moved = True
            return True
        return not self.stored.read(_OUTCOME, {key})

    def _insert(
        self, kind: str, table: str, columns: Sequence[str], rows: dict[Key, Row], staged: Mapping[Key, Fact]
    ) -> bool:
        """Insert the rows whose key is free; False if any was not, and what stands there was read."""
        free = dict(rows)
        for _ in range(_ROUNDS):
            if self._all_inserted((table, columns, list(free.values()))):
                self._written.update(free)
                if kind == "":
                    attributes = [row for key in free for row in attribute_rows(staged[key])]
                    self._insert_new("f1mon_attributes", ATTRIBUTE_COLUMNS, attributes)
                return len(free) == len(rows)
            self.stored.read(kind, set(free))
            free = {key: row for key, row in free.items() if key not in self.stored.facts}
        raise StorageError(f"keys in {table} are taken and freed again too fast to be written")

    def _move(self, staged: Mapping[Key, Fact]) -> None:
        """Set what is current of items of which outcomes were stored."""
        if self._are_moved:
            return  # with the one outcome that there was
        outcomes = [key for key in staged if key[0] == _OUTCOME]
        currents = [row for row in self._currents(outcomes, staged) if row[1:] != self.stored.items[row[0]].current]
        if currents:
            self.dialect.set_current(self.connection, currents)

    def _currents(self, keys: Iterable[Key], staged: Mapping[Key, Fact]) -> list[Row]:
        """What is current of items, each with its id first, once outcomes are stored."""
        moved: dict[str, Row] = {}
        for key in keys:
            _, item, known_at = key
            label = label_columns(cast("Outcome", staged[key]).actual_outcome)
            moved[item] = _moved(moved.get(item) or self.stored.items[item].current, *label, known_at)
        return [(item, *moved[item]) for item in sorted(moved)]

    def _all_inserted(self, *parts: Part) -> bool:
        """Insert the rows if all their keys are free; else none, so that no lock is kept out of the order of keys."""
        filled = [part for part in parts if part[2]]
        if len(filled) == 1 and len(filled[0][2]) == 1:
            table, columns, rows = filled[0]
            return self.dialect.insert_absent(self.connection, table, columns, rows) == 1
        statements.rows(self.connection, f"SAVEPOINT {_SAVEPOINT}")
        done = all(self.dialect.insert_all(self.connection, *part) for part in filled)
        if not done:
            statements.rows(self.connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        statements.rows(self.connection, f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return done

    def _insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows that belong to what was not stored before, so that nothing else may have their keys.

        Raises:
            StorageError: If something has one: to write the others alone would lose a part of a fact without a word.
        """
        if rows and not self._all_inserted((table, columns, rows)):
            raise StorageError(
                f"a key in {table} of what is not stored yet, one of {len(rows)} that begin with {rows[0][:2]}, is"
                " taken; nothing was written: run `f1mon check`, and repeat the call"
            )


def _moved(current: Row, number: int | None, text: str | None, known_at: int) -> Row:
    """What is current of an item once an outcome is stored, its label as two columns."""
    current_number, current_text, newest, first = current
    if newest is None or known_at > newest:
        current_number, current_text, newest = number, text, known_at
    return current_number, current_text, newest, known_at if first is None or known_at < first else first


def _timed(offered: Fact, now: datetime) -> Fact | None:
    """A fact with its time; None for an outcome without one, whose key is always free."""
    if offered.at is None and isinstance(offered, Outcome):
        return None
    return timed(offered, now)
