"""The verbs of a store as functions on a SQLAlchemy `Connection`, written once for both colours."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.json_text import canonical, decoded, encoded
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock, from_micros, host_clock, to_micros
from f1mon_core.storage.change import Step, check_state_key, checked_change, due_of
from f1mon_core.storage.contract import OPERATION_HOURS, Appended, CheckReport, Pruned
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery, check_instant
from f1mon_sql.connect import statements
from f1mon_sql.connect.statements import Row
from f1mon_sql.dialects.sqlite import Sqlite
from f1mon_sql.tables.rows import OPERATION_COLUMNS, STATE_COLUMNS
from f1mon_sql.verbs import (
    check as _checking,
)
from f1mon_sql.verbs import (
    find as _queries,
)
from f1mon_sql.verbs import (
    prune as _pruning,
)
from f1mon_sql.verbs import (
    tally as _tally,
)
from f1mon_sql.verbs.append import Appending

_LAST = "\U0010ffff"
_BEFORE_SURROGATES = "\ud7ff"
_AFTER_SURROGATES = "\ue000"


class Operations:
    """What a store does with a connection that is inside a transaction."""

    def __init__(self, dialect: Sqlite, clock: Clock | None) -> None:
        self.dialect = dialect
        self.clock = clock

    # Clock ----------------------------------------------------------------------------------------------------------

    def now(self, connection: Connection) -> datetime:
        """The clock that facts are stamped with: the given one, else the server's, else the host's."""
        return self._present(connection, None)

    def _present(self, connection: Connection, server: int | None) -> datetime:
        """As `now`, where the server may have said its time already."""
        if self.clock is not None:
            return self.clock()
        micros = self.dialect.now(connection) if server is None else server
        return host_clock() if micros is None else from_micros(micros)

    # Facts ----------------------------------------------------------------------------------------------------------

    def append(self, connection: Connection, facts: Iterable[Fact], now: datetime | None = None) -> Appended:
        """See `Storage.append`; `now` where the instant is settled already."""
        clock = partial(self._present, connection) if now is None else lambda _: now
        return Appending(connection, self.dialect, clock).append(facts)

    def find(self, connection: Connection, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return _queries.find(connection, self.dialect, select)

    def count(self, connection: Connection, select: Select, by: Sequence[str]) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        return _queries.count(connection, self.dialect, select, by)

    def tally(self, connection: Connection, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return _tally.tally(connection, self.dialect, query)

    # State ----------------------------------------------------------------------------------------------------------

    def transition(self, connection: Connection, key: str, step: Step, operation_id: str) -> Json:
        """See `Storage.transition`."""
        stored = self.dialect.claim(connection, key)
        operation = _digest(key, operation_id)
        done, server = self.dialect.operation(connection, operation)
        if done is not None:
            if stored is None:
                self._delete(connection, key)  # the claim on an absent document
            result: Json = decoded(done)
            return result
        now = self._present(connection, server)
        document = None if stored is None else _document(key, stored)
        due = None if document is None else due_of(document)  # before the step may change it
        change = checked_change(step(document, now))
        if change.facts:
            self.append(connection, change.facts, now)
        kept = (operation, to_micros(now), encoded(change.result))
        if change.state is None:
            self._delete(connection, key)
            self.dialect.insert_absent(connection, "f1mon_operations", OPERATION_COLUMNS, [kept])
        else:
            row: Row = (key, encoded(change.state), due_of(change.state))
            if document is not None and due == row[-1]:
                row = row[:-1]  # SQLite would write the index of `due` anew, also with what is there
            self.dialect.conclude(connection, STATE_COLUMNS[: len(row)], row, kept, absent=document is None)
        self._put_absent(connection, change.also)
        return change.result

    def _delete(self, connection: Connection, key: str) -> None:
        text = self.dialect.sql("DELETE FROM f1mon_state WHERE state_key = ?")
        statements.rows(connection, text, (self.dialect.text_in(key),))

    def _put_absent(self, connection: Connection, also: Mapping[str, Document]) -> None:
        for key in sorted(also):
            row = (key, encoded(also[key]), due_of(also[key]))
            self.dialect.insert_absent(connection, "f1mon_state", STATE_COLUMNS, [row])

    def state(
        self, connection: Connection, prefix: str, due_before: datetime | None, limit: int | None, after: str | None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        conditions, values = ["document IS NOT NULL"], list[Any]()
        if prefix:
            conditions.append("state_key >= ?")
            values.append(self.dialect.text_in(prefix))
            if (behind := _behind(prefix)) is not None:
                conditions.append("state_key < ?")
                values.append(self.dialect.text_in(behind))
        if after is not None:
            conditions.append("state_key > ?")
            values.append(self.dialect.text_in(after))
        if due_before is not None:
            conditions.append("due < ?")
            values.append(to_micros(due_before))
        text = f"SELECT state_key, document FROM f1mon_state WHERE {' AND '.join(conditions)} ORDER BY state_key"
        if limit is not None:
            text += " LIMIT ?"
            values.append(max(0, limit))
        rows = statements.rows(connection, self.dialect.sql(text), tuple(values))
        found = ((self.dialect.text_out(key), document) for key, document in rows)
        return {key: _document(key, document) for key, document in found}

    # Retention and integrity ----------------------------------------------------------------------------------------

    def prune(self, connection: Connection, before: datetime, keep: Collection[str]) -> Pruned:
        """See `Storage.prune`."""
        return _pruning.prune(connection, self.dialect, before, keep, partial(self.now, connection))

    def forget_operations(self, connection: Connection) -> None:
        """Drop the results of transitions that are older than a store promises to keep."""
        oldest = to_micros(self.now(connection) - timedelta(hours=OPERATION_HOURS))
        statements.rows(connection, self.dialect.sql("DELETE FROM f1mon_operations WHERE at < ?"), (oldest,))

    def check(self, connection: Connection) -> CheckReport:
        """See `Storage.check`."""
        return _checking.check(connection, self.dialect)


def check_state(prefix: str, due_before: datetime | None) -> None:
    """Refuse what `Storage.state` refuses."""
    check_state_key(prefix, prefix=True)
    check_instant("due_before", due_before)


def _digest(key: str, operation_id: str) -> str:
    return hashlib.sha256(canonical([key, operation_id]).encode()).hexdigest()


def _document(key: str, text: str) -> Document:
    try:
        document = decoded(text)
    except ValueError as error:
        raise CorruptStoreError(f"the document of state key {key!r} is not JSON; run `f1mon check`") from error
    if not isinstance(document, dict):
        raise CorruptStoreError(f"the document of state key {key!r} is no object; run `f1mon check`")
    return document


def _behind(prefix: str) -> str | None:
    """The least text that is greater than all that start with `prefix`; None if there is none."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return None
    following = _AFTER_SURROGATES if kept[-1] == _BEFORE_SURROGATES else chr(ord(kept[-1]) + 1)
    return kept[:-1] + following
