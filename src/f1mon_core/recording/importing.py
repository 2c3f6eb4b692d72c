"""A file's rows into a store, batch by batch, and an account of what became of each."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias

import attrs

from f1mon_core.errors import ConfigurationError, ConflictError, InvalidRecordError, PrunedError
from f1mon_core.recording.cells import Meaning
from f1mon_core.recording.files import Read, Table
from f1mon_core.recording.given import LeftOut
from f1mon_core.recording.layout import Layout
from f1mon_core.recording.rows import fact_of
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.storage.contract import Appended

Append: TypeAlias = Callable[[Sequence[Fact]], Appended]
_HEADER = ("line", "field", "column", "reason", "row")
_CACHE = -8_000
"""Kibibytes of memory, as SQLite counts them, for what was seen of a file."""


@attrs.frozen
class Refused:
    """A row that is not in the store.

    Attributes:
        place: Its line, or its row.
        field: The field of the fact that was refused; "row" where the row could not be read.
        column: The file's column; None where it is none's.
        reason: What it should have been, and what it was.
        raw: The row as it was read.
    """

    place: int
    field: str
    column: str | None
    reason: str
    raw: Any


@attrs.define
class Imported:
    """What became of a file.

    Attributes:
        rows: How many were read.
        appended: What the store made of those that are facts.
        refused: How many are not in the store.
    """

    rows: int = 0
    appended: Appended = attrs.field(factory=lambda: Appended(unmatched=0))
    refused: int = 0

    @property
    def complete(self) -> bool:
        """Whether all rows are in; those without a label are no outcomes yet."""
        return not self.refused


class SetAside:
    """The rows that were refused, in a file that is complete or not there: CSV, or JSON lines by its name."""

    def __init__(self, path: Path) -> None:
        """Begin the file anew, beside the one of an earlier run."""
        self.path = path
        self._lines = path.suffix.lower() in {".jsonl", ".ndjson", ".json"}
        if path.exists() and not self._is_ours():
            raise ConfigurationError(f"{path} is there, and no file of rows that were set aside: name another")
        self._partial = path.with_name(f".{path.name}.part")
        self._file: IO[str] = self._partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._writer = csv.writer(self._file)
        if not self._lines:
            self._writer.writerow(_HEADER)

    def _is_ours(self) -> bool:
        with self.path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline().strip()
        return not first or first == ",".join(_HEADER) or first.startswith('{"line":')

    def __call__(self, row: Refused) -> None:
        """Set a row aside."""
        values = (row.place, row.field, row.column, row.reason, row.raw)
        if self._lines:
            self._file.write(json.dumps(dict(zip(_HEADER, values, strict=True)), default=str) + "\n")
        else:
            self._writer.writerow([*values[:-1], json.dumps(row.raw, default=str)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            os.replace(self._partial, self.path)  # noqa: PTH105 - both are on one file system
        else:
            with suppress(OSError):
                self._partial.unlink()


def import_rows(  # noqa: D417 - the rest is what it says
    table: Table,
    layout: Layout,
    meaning: Meaning,
    append: Append,
    refuse: Callable[[Refused], None],
    *,
    batch_size: int,
    progress: Callable[[], None] = lambda: None,
) -> Imported:
    """Append the facts of a file's rows, in its order, each batch atomic.

    Doing it again changes nothing: facts are idempotent by their key, and of outcomes without a known_at, which would
    take turns as the current one, the first that a file has of an item is the one that counts.

    Args:
        append: Appends a batch to a store.
        refuse: Told of each row that is not in the store; what it raises ends the import.
        progress: Called now and then.
    """
    account, left_out = Imported(), LeftOut()
    timeless = layout.kind is Outcome and not {"known_at"} & {*layout.fields, *layout.given}

    def told(row: Read, field: str, reason: str) -> None:
        account.refused += 1
        column = layout.column_of(field)
        refuse(
            Refused(
                row.place, "known_at" if layout.kind is Outcome and field == "at" else field, column, reason, row.raw
            )
        )

    with _seen(timeless) as contradicts:
        batch: list[tuple[Read, Fact]] = []
        for row, fact in _facts(table, layout, meaning, left_out, account, told):
            if isinstance(fact, Outcome) and (first := contradicts(fact, row.place)) is not None:
                told(
                    row, "actual_outcome", f"must be as in {table.unit} {first}, or have a known_at: which came later?"
                )
                continue
            batch.append((row, fact))
            if len(batch) >= batch_size:
                account.appended += _appended(batch, append, told)
                batch = []
                progress()
        account.appended += _appended(batch, append, told)
        progress()
    account.appended = left_out.told(account.appended)
    return account


def _facts(
    table: Table,
    layout: Layout,
    meaning: Meaning,
    left_out: LeftOut,
    account: Imported,
    told: Callable[[Read, str, str], None],
) -> Iterator[tuple[Read, Prediction | Outcome]]:
    read = meaning.reader(layout)
    for row in table.rows():
        account.rows += 1
        try:
            if row.problem is not None:
                raise row.problem
            fact = fact_of(read(row), layout, left_out)
        except InvalidRecordError as error:
            told(row, error.field, _reason(error))
        else:
            if fact is not None:
                yield row, fact


def _reason(error: InvalidRecordError) -> str:
    """What a refusal says, without what is told beside it: its field, and where it was."""
    return str(InvalidRecordError("", error.value, error.reason)).removeprefix(": ")


def _appended(batch: Sequence[tuple[Read, Fact]], append: Append, told: Callable[[Read, str, str], None]) -> Appended:
    """Append a batch; where the store refuses one of it, halves of it, until that one is found."""
    if not batch:
        return Appended(unmatched=0)
    try:
        return append([fact for _, fact in batch])
    except (ConflictError, PrunedError, InvalidRecordError) as error:
        if len(batch) == 1:
            ((row, fact),) = batch
            if isinstance(error, InvalidRecordError):
                told(row, error.field, _reason(error))
            else:
                told(row, fact.key_fields[0], str(error))
            return Appended(unmatched=0)
    middle = len(batch) // 2
    first = _appended(batch[:middle], append, told)
    return first + _appended(batch[middle:], append, told)


@contextmanager
def _seen(wanted: bool) -> Iterator[Callable[[Outcome, int], int | None]]:
    """What says where a file has another label of an item; it takes memory for a few thousand of them, not for all."""
    if not wanted:
        yield lambda _, __: None
        return
    with closing(sqlite3.connect("", isolation_level=None)) as seen:  # a file that goes with the connection
        for statement in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            f"PRAGMA cache_size={_CACHE}",
            "CREATE TABLE seen (item TEXT PRIMARY KEY, label TEXT, place INTEGER) WITHOUT ROWID",
            "BEGIN",
        ):
            seen.execute(statement)

        def contradicts(fact: Outcome, place: int) -> int | None:
            label = canonical(fact.actual_outcome)
            made = seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (fact.prediction_id, label, place))
            if made.rowcount:
                return None
            first, where = seen.execute(
                "SELECT label, place FROM seen WHERE item = ?", (fact.prediction_id,)
            ).fetchone()
            return None if first == label else int(where)

        yield contradicts
