"""Rows of CSV, JSON lines and Parquet files, one by one, and what is wrong with one that cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self, TypeAlias

import attrs

from f1mon_core.errors import ConfigurationError, InvalidRecordError, MissingExtraError

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
_SUFFIXES: Mapping[str, Format] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
_LONGEST = 4 << 20
"""How many characters one row may have: four times what a fact may take."""
_LOOKED_AT = 1_000
"""How many rows of JSON lines are looked at for their columns."""
_TOGETHER = 5_000


class Cells(dict[str, Any]):
    """A row's cells by column; a column it does not have is missing there."""

    def __missing__(self, column: str) -> None:
        return None


@attrs.frozen
class Read:
    """One row as it was read.

    Attributes:
        place: Its line, from 1, or its row, from 1, as the file's `unit` says.
        cells: None where it could not be read.
        raw: What it was read from, for who has to look at it.
        problem: Why it could not be read.
    """

    place: int
    cells: Cells | None
    raw: Any
    problem: InvalidRecordError | None = None


class Table(Protocol):
    """An open file of rows.

    Attributes:
        unit: What a place counts: "line" or "row".
        length: Of what `position` is a part.
    """

    unit: str
    length: int

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""
        ...

    def rows(self) -> Iterator[Read]:
        """Its rows, once."""
        ...

    def position(self) -> int:
        """How far it was read."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def format_of(path: Path) -> Format:
    """The format that a file's name says. Raises `ConfigurationError` for one that says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2] if suffixes[-1:] == [".gz"] and suffixes[:-1] else suffixes[-1] if suffixes else ""
    if last not in _SUFFIXES:
        raise ConfigurationError(
            f"the format of {path.name!r} cannot be told by its name: give --format csv, jsonl or parquet"
        )
    return _SUFFIXES[last]


def opened(path: Path, form: Format, *, delimiter: str | None = None, encoding: str = "utf-8-sig") -> Table:
    """A file, ready to be read.

    Raises:
        ConfigurationError: If it is no file of that format.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    with ExitStack() as failing:
        if form == "parquet":
            table: Table = ParquetFile(path, failing)
        elif form == "jsonl":
            table = JsonLines(path, encoding, failing)
        else:
            table = CsvFile(path, delimiter or ("\t" if ".tsv" in path.suffixes else ","), encoding, failing)
        failing.pop_all()  # it was opened, and is whoever has it's to close
    return table


class _Lines:
    """A text file, perhaps under gzip. Bytes that are no text come as lone surrogates, which no field takes."""

    unit = "line"

    def __init__(self, path: Path, encoding: str, failing: ExitStack) -> None:
        """Open a file; `failing` closes it where it turns out to be none of its kind."""
        self._raw: IO[bytes] = path.open("rb")
        failing.callback(self._raw.close)
        self.length = path.stat().st_size
        begin = self._raw.read(2)
        self._raw.seek(0)
        if begin in {b"\xff\xfe", b"\xfe\xff"} and encoding == "utf-8-sig":
            raise ConfigurationError(f"{path.name} is UTF-16: give --encoding utf-16")
        whole: Any = gzip.GzipFile(fileobj=self._raw) if begin == b"\x1f\x8b" else self._raw
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        self._text = io.TextIOWrapper(whole, encoding, errors=errors, newline="")
        failing.callback(self._text.close)

    def position(self) -> int:
        """How many bytes were read."""
        return self._raw.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._text.close()
        self._raw.close()


class CsvFile(_Lines):
    """CSV with a header: quoted fields may hold line ends, whatever the line ends are."""

    def __init__(self, path: Path, delimiter: str, encoding: str, failing: ExitStack) -> None:
        """Open a file and read its header."""
        super().__init__(path, encoding, failing)
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        self._reader = csv.reader(self._text, delimiter=delimiter, strict=True)
        try:
            header = next((row for row in self._reader if row), [])
        except (csv.Error, UnicodeError) as error:
            raise ConfigurationError(f"the header of {path.name} cannot be read: {error}") from error
        self.names = [name.strip() for name in header]
        if not header:
            raise ConfigurationError(f"{path.name} is empty: the first line names the columns")
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ConfigurationError(f"{path.name} has columns of one name: {', '.join(map(repr, twice))}")
        others = [one for one in ";\t|," if one != delimiter and one in header[0]]
        if len(header) == 1 and others:
            raise ConfigurationError(f"{path.name} has one column, {header[0]!r:.80}: give --delimiter {others[0]!r}")

    def rows(self) -> Iterator[Read]:
        """See `Table.rows`."""
        wanted = len(self.names)
        while True:
            place = self._reader.line_num + 1
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeError) as error:
                until = self._reader.line_num
                lines = f"lines {place} to {until}" if until > place else "the line"
                reason = f"{lines} cannot be read as CSV: {error}"
                yield Read(place, None, None, InvalidRecordError("row", None, reason))
                continue
            if len(row) == wanted:
                yield Read(place, Cells(zip(self.names, row, strict=True)), row)
            elif row:
                reason = f"must have {wanted} fields as the header, and has {len(row)}"
                yield Read(place, None, row, InvalidRecordError("row", row, reason))


class JsonLines(_Lines):
    """One JSON object a line."""

    def __init__(self, path: Path, encoding: str, failing: ExitStack) -> None:
        """Open a file and look at its first rows."""
        super().__init__(path, encoding, failing)
        self._begun = list(islice(self._read(), _LOOKED_AT))
        seen = dict.fromkeys(name for one in self._begun if one.cells is not None for name in one.cells)
        self.names = list(seen)
        if not self.names:
            raise ConfigurationError(f"{path.name} holds no JSON object, one a line")

    def rows(self) -> Iterator[Read]:
        """See `Table.rows`."""
        yield from self._begun
        self._begun = []
        yield from self._rest

    def _read(self) -> Iterator[Read]:
        self._rest = self._lines()
        return self._rest

    def _lines(self) -> Iterator[Read]:
        place = 0
        while True:
            place += 1
            try:
                line = self._text.readline(_LONGEST)
            except UnicodeError as error:
                yield Read(place, None, None, InvalidRecordError("row", None, f"cannot be read as text: {error}"))
                return
            if not line:
                return
            cut = len(line) == _LONGEST and not line.endswith("\n")
            while cut and (more := self._text.readline(_LONGEST)) and not more.endswith("\n"):
                pass
            if line.isspace():
                continue
            yield _object(place, line, cut=cut)


def _object(place: int, line: str, *, cut: bool) -> Read:
    if cut:
        return Read(
            place, None, line[:1_000], InvalidRecordError("row", line, f"must have at most {_LONGEST} characters")
        )
    text = line.strip()
    try:
        value = json.loads(text)  # NaN too, as Python and others write it
    except (ValueError, RecursionError) as error:
        return Read(place, None, text, InvalidRecordError("row", text, f"must be a JSON object: {error}"))
    if not isinstance(value, dict):
        return Read(place, None, text, InvalidRecordError("row", text, "must be a JSON object"))
    return Read(place, Cells(value), value)


class ParquetFile:
    """A Parquet file, a few thousand rows at a time."""

    unit = "row"

    def __init__(self, path: Path, failing: ExitStack) -> None:
        """Open a file; `failing` closes it where it turns out to be none of its kind."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra
            from pyarrow import parquet  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError("Parquet needs the extra `parquet`: pip install 'f1mon[parquet]'") from error
        self._raw = path.open("rb")
        failing.callback(self._raw.close)
        try:
            self._file = parquet.ParquetFile(self._raw)
        except (pa.ArrowException, OSError) as error:
            raise ConfigurationError(f"{path.name} cannot be read as Parquet: {error}") from error
        self._failures = (pa.ArrowException, OSError)
        self.names = list(self._file.schema_arrow.names)
        self.length = self._file.metadata.num_rows
        self._read = 0

    def rows(self) -> Iterator[Read]:
        """See `Table.rows`."""
        batches = self._file.iter_batches(batch_size=_TOGETHER)
        while True:
            try:
                batch = next(batches, None)
                columns = [] if batch is None else [column.to_pylist() for column in batch.columns]
            except (*self._failures, ValueError) as error:
                reason = f"cannot be read as Parquet from here on: {error}"
                yield Read(self._read + 1, None, None, InvalidRecordError("row", None, reason))
                return
            if batch is None:
                return
            for cells in zip(*columns, strict=True):
                self._read += 1
                made = Cells(zip(self.names, cells, strict=True))
                yield Read(self._read, made, made)

    def position(self) -> int:
        """How many rows were read."""
        return self._read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._raw.close()
