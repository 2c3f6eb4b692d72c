"""State documents: changed one at a time with the facts that belong to the change, and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records.fields import INT64_MAX, Document, Json
from f1mon_core.records.json_text import decoded, encoded
from f1mon_core.records.times import shifted, to_micros
from f1mon_core.storage.change import Step, checked_change, due_of, operation_digest
from f1mon_core.storage.contract import OPERATION_HOURS
from f1mon_sql.connect import statements
from f1mon_sql.dialects import Dialect
from f1mon_sql.tables.rows import OPERATION_COLUMNS, STATE_COLUMNS, Row
from f1mon_sql.verbs.append import append

_FEW = 1_000
"""As many results as are kept without asking how old they are."""
_LAST = "\U0010ffff"
_BEFORE_SURROGATES = "\ud7ff"
_AFTER_SURROGATES = "\ue000"


def transition(
    connection: Connection,
    dialect: Dialect,
    clock: Callable[[int | None], datetime],
    key: str,
    step: Step,
    operation_id: str,
) -> Json:
    """See `Storage.transition`; inside a writing transaction."""
    stored = dialect.claim(connection, key)
    operation = operation_digest(key, operation_id)
    done, server = dialect.operation(connection, operation)
    if done is not None:
        if stored is None:
            _delete(connection, dialect, key)  # the claim on an absent document
        result: Json = decoded(done)
        return result
    now = clock(server)
    document = None if stored is None else _document(key, stored)
    due = None if document is None else due_of(document)  # before the step may change it
    change = checked_change(step(document, now))
    if change.facts:
        append(connection, dialect, lambda _: now, change.facts)
    kept = (operation, to_micros(now), encoded(change.result))
    if change.state is None:
        _delete(connection, dialect, key)
        dialect.insert_absent(connection, "f1mon_operations", OPERATION_COLUMNS, [kept])
    else:
        row: Row = (key, encoded(change.state), due_of(change.state))
        if document is not None and due == row[-1]:
            row = row[:-1]  # SQLite would write the index of `due` anew, also with what is there
        dialect.conclude(connection, STATE_COLUMNS[: len(row)], row, kept, absent=document is None)
    for other in sorted(change.also):
        row = (other, encoded(change.also[other]), due_of(change.also[other]))
        dialect.insert_absent(connection, "f1mon_state", STATE_COLUMNS, [row])
    return change.result


def forget(connection: Connection, dialect: Dialect, now: datetime) -> None:
    """Drop the results of transitions that are older than a store promises to keep.

    The newest stay however old they are: a clock that stands in the future for a moment makes all of them look old.
    """
    text = f"SELECT at FROM f1mon_operations ORDER BY at DESC LIMIT 1 OFFSET {_FEW - 1}"
    for (newest,) in statements.rows(connection, text):
        oldest = min(newest, to_micros(shifted(now, -timedelta(hours=OPERATION_HOURS))))
        statements.rows(connection, dialect.sql("DELETE FROM f1mon_operations WHERE at < ?"), (oldest,))


def state(
    connection: Connection,
    dialect: Dialect,
    prefix: str,
    due_before: datetime | None,
    limit: int | None,
    after: str | None,
) -> Mapping[str, Document]:
    """See `Storage.state`."""
    conditions, values = ["document IS NOT NULL"], list[Any]()
    if prefix:
        conditions.append("state_key >= ?")
        values.append(dialect.text_in(prefix))
        if (behind := _behind(prefix)) is not None:
            conditions.append("state_key < ?")
            values.append(dialect.text_in(behind))
    if after is not None:
        conditions.append("state_key > ?")
        values.append(dialect.text_in(after))
    if due_before is not None:
        conditions.append("due < ?")
        values.append(to_micros(due_before))
    text = f"SELECT state_key, document FROM f1mon_state WHERE {' AND '.join(conditions)} ORDER BY state_key"
    if limit is not None:
        text += " LIMIT ?"
        values.append(min(limit, INT64_MAX))
    rows = statements.rows(connection, dialect.sql(text), tuple(values))
    found = ((dialect.text_out(key), document) for key, document in rows)
    return {key: _document(key, document) for key, document in found}


def _delete(connection: Connection, dialect: Dialect, key: str) -> None:
    text = dialect.sql("DELETE FROM f1mon_state WHERE state_key = ?")
    statements.rows(connection, text, (dialect.text_in(key),))


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
