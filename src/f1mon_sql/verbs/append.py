"""Storing facts: claimed by their natural key, compared where the key is taken, refused where pruning was final."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar, cast

from sqlalchemy import Connection

from f1mon_core.errors import ConflictError, StorageError
from f1mon_core.records.kinds import Alert, Fact, Outcome, Prediction, same
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.stamping import refuse_pruned, timed
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.rows import (
    ALERT_COLUMNS,
    ATTRIBUTE_COLUMNS,
    CURRENT_COLUMNS,
    FACT_COLUMNS,
    FEATURE_COLUMNS,
    OUTCOME_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
    alert_row,
    attribute_rows,
    content_parts,
    fact_row,
    feature_rows,
    key_columns,
    outcome_parts,
    outcome_row,
    prediction_parts,
    prediction_row,
    restored,
)

F = TypeVar("F", bound=Fact)
Stored: TypeAlias = Fact | Literal["stub", "pruned"]
Key: TypeAlias = Any
"""What tells facts of one kind apart: the id of a prediction, else the parts of a key as the table has them."""
Read: TypeAlias = Callable[[Sequence[Key]], dict[Key, Stored]]

_ROUNDS = 100
_FILLED = PREDICTION_COLUMNS[1:]


def append(
    connection: Connection, dialect: Dialect, clock: Callable[[int | None], datetime], batch: Iterable[Fact]
) -> Appended:
    """See `Storage.append`; inside a writing transaction.

    The clock is asked once the rows are locked. It is told the microseconds of the server's where a statement after the
    lock has answered them.
    """
    return _Appending(connection, dialect, clock).append(batch)


class _Appending:
    """One batch on one connection, inside a transaction."""

    def __init__(self, connection: Connection, dialect: Dialect, clock: Callable[[int | None], datetime]) -> None:
        self.connection = connection
        self.dialect = dialect
        self.clock = clock
        self._server, horizons = dialect.horizons(connection)
        self.horizons = {kind: from_micros(row[0]) for kind, row in horizons.items() if row[0] is not None}
        self._stubs_are_made = False

    def append(self, batch: Iterable[Fact]) -> Appended:
        """Store a batch. Raises as `Storage.append`."""
        predictions: list[Prediction] = []
        outcomes: list[Outcome] = []
        alerts: list[Fact] = []
        others: list[Fact] = []
        for fact in batch:
            if isinstance(fact, Prediction):
                predictions.append(fact)
            elif isinstance(fact, Outcome):
                outcomes.append(fact)
            else:
                (alerts if isinstance(fact, Alert) else others).append(fact)
        if predictions and outcomes:
            # Both lock rows of the one table: all of them now and in one order, or two such batches deadlock.
            self._locked({one.prediction_id for one in predictions} | {one.prediction_id for one in outcomes})
            self._stubs_are_made = True
        new = repeated = 0
        for facts, store in (
            (predictions, self._predictions),
            (outcomes, self._outcomes),
            (alerts, self._alerts),
            (others, self._others),
        ):
            if facts:
                done = store(cast("Any", facts))
                new, repeated = new + done.new, repeated + done.repeated
        return Appended(new, repeated)

    # Predictions ----------------------------------------------------------------------------------------------------

    def _predictions(self, offered: Sequence[Prediction]) -> Appended:
        now = self.clock(self._server)
        staged, again = self._staged(offered, now, attrgetter("prediction_id"))
        self._refuse_old(staged, self._stored_predictions)
        recorded = to_micros(now)
        fresh = [staged[key] for key in sorted(staged)]
        rows = [prediction_row(one, recorded) for one in fresh]
        features = feature_rows(fresh)
        # As most come: alone, so that there is no order in which to take locks, table by table.
        alone = len(rows) == len(features) == 1 and not self._stubs_are_made
        if alone and self.dialect.insert_both(self.connection, rows[0], features[0]):
            self._compared({}, staged, again)
            return Appended(1, len(offered) - 1)
        taken = self._taken_predictions(rows)
        stubs = []
        for key, stored in taken.items():
            refuse_pruned(staged[key], None, pruned=stored == "pruned")
            if stored == "stub":
                stubs.append(prediction_row(staged[key], recorded))
        self._compared(taken, staged, again)
        self.dialect.update(self.connection, "f1mon_predictions", ("prediction_id",), _FILLED, sorted(stubs))
        if taken:
            fresh = [one for one in fresh if taken.get(one.prediction_id, "stub") == "stub"]
            features = feature_rows(fresh)
        self._insert_free("f1mon_features", FEATURE_COLUMNS, features)
        return Appended(len(fresh), len(offered) - len(fresh))

    def _taken_predictions(self, rows: Sequence[Row]) -> dict[Key, Stored]:
        """Insert the rows if all their ids are free; else lock all of them and answer what is stored under them."""
        if not self._stubs_are_made:
            if self._all_inserted("f1mon_predictions", PREDICTION_COLUMNS, rows):
                return {}
            self.dialect.make_stubs(self.connection, [row[0] for row in rows])
        return self._stored_predictions([row[0] for row in rows])

    def _stored_predictions(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        text = (
            "SELECT p.prediction_id, p.predicted_at, p.at_given, p.recorded_at, p.model_version, p.predicted_outcome,"
            " p.confidence, p.pruned FROM f1mon_predictions p WHERE p.prediction_id"
        )
        out = self.dialect.text_out
        rows = list(self.dialect.select_in(self.connection, text, set(keys), lock=True))
        made = [row[0] for row in rows if row[1] is not None]
        documents = {
            row[0]: row[1:]
            for row in self.dialect.select_in(
                self.connection,
                "SELECT prediction_id, features, metadata FROM f1mon_features WHERE prediction_id",
                [out(one) for one in made],
            )
        }
        found: dict[Key, Stored] = {}
        for row in rows:
            key = out(row[0])
            if row[1] is None:
                found[key] = "pruned" if row[7] else "stub"
            else:
                whole = (key, *row[1:4], out(row[4]), *row[5:7], *documents.get(row[0], (None, None)))
                (found[key],) = restored(prediction_parts, [whole])
        return found

    # Outcomes -------------------------------------------------------------------------------------------------------

    def _outcomes(self, offered: Sequence[Outcome]) -> Appended:
        held = self._locked({one.prediction_id for one in offered})
        now = self.clock(self._server)
        current: dict[str, tuple[int, int] | None] = {
            one: None if row[2] is None else (row[2], row[1]) for one, row in held.items()
        }
        staged: dict[Key, Fact] = {}
        again: list[tuple[Key, Fact]] = []
        for fact in offered:
            key_id = fact.prediction_id
            if fact.at is None:
                known = current[key_id]
                newest = None if known is None else _revision(key_id, known)
                given = timed(fact, now, newest)
                if given is None:
                    continue
            else:
                given = fact
            refuse_pruned(given, None, pruned=bool(held[key_id][0]))
            key = (key_id, to_micros(given.instant))
            if staged.setdefault(key, given) is not given:
                again.append((key, given))
                continue
            known = current[key_id]
            if known is None or key[1] >= known[0]:
                current[key_id] = (key[1], fact.actual_outcome)
        recorded = to_micros(now)
        rows = [outcome_row(cast("Outcome", staged[key]), recorded) for key in sorted(staged)]
        if len(rows) == 1:
            (standing,) = self._moved(held, staged, staged)
            if self.dialect.insert_current(self.connection, rows[0], standing):
                self._compared({}, staged, again)
                return Appended(1, len(offered) - 1)
        taken = self._insert("f1mon_outcomes", OUTCOME_COLUMNS, 2, rows, self._stored_outcomes)
        self._compared(taken, staged, again)
        fresh = [key for key in staged if key not in taken]
        current_rows = self._moved(held, fresh, staged)
        self.dialect.update(self.connection, "f1mon_predictions", ("prediction_id",), CURRENT_COLUMNS, current_rows)
        return Appended(len(fresh), len(offered) - len(fresh))

    def _locked(self, ids: set[str]) -> dict[str, Row]:
        """The rows of predictions, locked, made if absent: pruned, actual_outcome, known_at, first_known_at."""
        text = (
            "SELECT prediction_id, pruned, actual_outcome, known_at, first_known_at FROM f1mon_predictions"
            " WHERE prediction_id"
        )
        if len(ids) > 1:
            # Made first and locked then, each in the order of ids: whoever waits for a row holds none that comes after.
            self.dialect.make_stubs(self.connection, sorted(ids))
        found: dict[str, Row] = {}
        missing = ids
        for _ in range(_ROUNDS):
            rows, self._server = self.dialect.locked(self.connection, text, missing)
            found |= {self.dialect.text_out(row[0]): row[1:] for row in rows}
            missing = ids - found.keys()
            if not missing:
                return found
            self.dialect.make_stubs(self.connection, sorted(missing))
        raise StorageError("rows of predictions vanish as fast as they are made")

    @staticmethod
    def _moved(held: Mapping[str, Row], fresh: Iterable[Key], staged: Mapping[Key, Fact]) -> list[Row]:
        """What is current of predictions, their ids first, once fresh outcomes are stored."""
        moved: dict[str, Row] = {}
        for key in fresh:
            one, known_at = key
            _, actual, newest, first = held[one] if one not in moved else (0, *moved[one])
            if newest is None or known_at > newest:
                actual, newest = cast("Outcome", staged[key]).actual_outcome, known_at
            moved[one] = (actual, newest, known_at if first is None else min(first, known_at))
        return [(one, *moved[one]) for one in sorted(moved)]

    def _stored_outcomes(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        wanted = set(keys)
        text = f"SELECT {','.join(OUTCOME_COLUMNS)} FROM f1mon_outcomes WHERE prediction_id"
        found: dict[Key, Stored] = {}
        for one, *row in self.dialect.select_in(self.connection, text, {key[0] for key in keys}):
            key = (self.dialect.text_out(one), row[0])
            if key in wanted:
                (found[key],) = restored(outcome_parts, [(key[0], *row)])
        return found

    # Alerts and all other kinds -------------------------------------------------------------------------------------

    def _alerts(self, offered: Sequence[Alert]) -> Appended:
        now = self.clock(self._server)
        staged, again = self._staged(offered, now, lambda fact: (fact.alert_id,))
        self._refuse_old(staged, self._stored_alerts)
        rows = [alert_row(staged[key], to_micros(now)) for key in sorted(staged)]
        taken = self._insert("f1mon_alerts", ALERT_COLUMNS, 1, rows, self._stored_alerts)
        self._compared(taken, staged, again)
        return Appended(len(staged) - len(taken), len(offered) - len(staged) + len(taken))

    def _stored_alerts(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        text = "SELECT alert_id, at, at_given, recorded_at, v, content FROM f1mon_alerts WHERE alert_id"
        rows = list(self.dialect.select_in(self.connection, text, {key[0] for key in keys}))
        found = restored(partial(content_parts, "alert"), (row[1:] for row in rows))
        return {(self.dialect.text_out(row[0]),): fact for row, fact in zip(rows, found, strict=True)}

    def _others(self, offered: Sequence[Fact]) -> Appended:
        now = self.clock(self._server)
        staged, again = self._staged(offered, now, lambda fact: (fact.kind, *key_columns(fact)))
        self._refuse_old(staged, self._stored_others)
        ordered = sorted(staged)
        rows = [fact_row(staged[key], to_micros(now)) for key in ordered]
        taken = self._insert("f1mon_facts", FACT_COLUMNS, 3, rows, self._stored_others)
        self._compared(taken, staged, again)
        attributes = [row for key in ordered if key not in taken for row in attribute_rows(staged[key])]
        self.dialect.insert_absent(self.connection, "f1mon_attributes", ATTRIBUTE_COLUMNS, attributes)
        return Appended(len(staged) - len(taken), len(offered) - len(staged) + len(taken))

    def _stored_others(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        wanted = set(keys)
        text = "SELECT key_1, kind, key_2, at, at_given, recorded_at, v, content FROM f1mon_facts WHERE key_1"
        found: dict[Key, Stored] = {}
        out = self.dialect.text_out
        for first, kind, second, *row in self.dialect.select_in(self.connection, text, {key[1] for key in keys}):
            key = (out(kind), out(first), out(second))
            if key in wanted:
                (found[key],) = restored(partial(content_parts, key[0]), [row])
        return found

    # Shared ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _staged(
        offered: Sequence[F], now: datetime, key_of: Callable[[F], Key]
    ) -> tuple[dict[Key, F], list[tuple[Key, F]]]:
        """The facts of a batch with their times, by key, each once; and those whose key an earlier one has."""
        staged: dict[Key, F] = {}
        again = []
        for fact in offered:
            given = fact if fact.at is not None else cast("F", timed(fact, now))
            key = key_of(given)
            if staged.setdefault(key, given) is not given:
                again.append((key, given))
        return staged, again

    @staticmethod
    def _compared(taken: Mapping[Key, Stored], staged: Mapping[Key, Fact], again: Sequence[tuple[Key, Fact]]) -> None:
        """Refuse what contradicts the fact that stands under its key: the stored one, else the batch's first."""
        stored = {key: fact for key, fact in taken.items() if isinstance(fact, Fact)}
        for key, fact in stored.items():
            _repeats(fact, staged[key])
        for key, fact in again:
            _repeats(stored.get(key, staged[key]), fact)

    def _refuse_old(self, staged: Mapping[Key, Fact], read: Read) -> None:
        """Refuse what lies behind the horizon of its kind, unless it is stored."""
        if not self.horizons:
            return
        old = [
            key
            for key, fact in staged.items()
            if (horizon := self.horizons.get(fact.kind)) is not None and fact.instant < horizon
        ]
        stored = read(old) if old else {}
        for key in old:
            fact = staged[key]
            if not isinstance(found := stored.get(key), Fact):
                refuse_pruned(fact, self.horizons[fact.kind], pruned=found == "pruned")

    def _all_inserted(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> bool:
        """Insert the rows if all their keys are free; else none, so that no lock is kept out of the order of keys."""
        if len(rows) <= 1:
            return self.dialect.insert_absent(self.connection, table, columns, rows) == len(rows)
        savepoint = self.connection.begin_nested()
        done = self.dialect.insert_all(self.connection, table, columns, rows)
        (savepoint.commit if done else savepoint.rollback)()
        return done

    def _insert_free(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows of facts that were not stored before, so that nothing else should have their keys."""
        if not self._all_inserted(table, columns, rows):
            self.dialect.insert_absent(self.connection, table, columns, rows)

    def _insert(
        self, table: str, columns: Sequence[str], parts: int, rows: Sequence[Row], read: Read
    ) -> dict[Key, Stored]:
        """Insert the rows whose key, their first `parts` columns, is free; answer what is stored under the others."""
        taken: dict[Key, Stored] = {}
        for _ in range(_ROUNDS):
            if not rows:
                return taken
            if self._all_inserted(table, columns, rows):
                return taken
            taken |= read([row[:parts] for row in rows])
            rows = [row for row in rows if row[:parts] not in taken]
        raise StorageError(f"keys in {table} are taken and freed again too fast to be written")


def _revision(prediction_id: str, known: tuple[int, int]) -> Outcome:
    return Outcome(prediction_id=prediction_id, actual_outcome=known[1], at=from_micros(known[0]))


def _repeats(stored: Fact, offered: Fact) -> None:
    if not same(stored, offered):
        raise ConflictError(stored, offered)
