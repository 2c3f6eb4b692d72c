"""Reading the journal: from where it was left off, in bytes, without a lock.

Only lines that end in a newline and whose checksum holds are taken; bad ones are noted with their position and the
rest stays readable. One kind of bad line ends the journal: un-synced bytes that a power loss turned into zeros, when
no later line vouches that they had been synced. What follows them rests on lost lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs
import msgspec

from f1mon_core.errors import SchemaError
from f1mon_jsonl.disk.directory import read_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import (
    FORMAT,
    READABLE,
    Header,
    Transaction,
    decode_any_line,
    decode_header,
    decode_lines,
    intact,
)
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal import conversions

CHUNK = 1 << 20
_GUARD = 32
"""The last bytes read, compared when reading on (`journal.known`)."""
_SETTLING = 0.002
"""Seconds after which a bad line is read again: a reader may have met a repair under way."""
_TRIES = 5


class ChangedError(Exception):
    """The bytes changed while they were read; read them again."""


@attrs.frozen
class Damage:
    """Bytes of the journal that are not what was written.

    Attributes:
        line: The number of the line in the file, from 1.
        offset: The position of its first byte.
        size: How many bytes, with the newline; 0 where lines are missing before it.
    """

    line: int
    offset: int
    size: int
    reason: str


@attrs.define(eq=False)
class Reader:
    """One generation of a journal as far as it was read.

    Attributes:
        identity: Of the file that was read from its beginning: one restored from a copy bears an old header, but what
            was known of its predecessor is not known of it.
        header: The bytes of the first line, which tell one generation from another.
        end: Behind the last byte consumed; whatever lies there is torn, or dead behind a hole.
        last: Where the last line consumed begins.
        hole: Where zeros end the journal although more lies behind them; None if none do.
        number: The highest line number met.
        format: What the header says; 0 where it is damaged.
        file: Device and inode of the file that was read, once somebody noted them.
        bad_since: Bad lines behind that one.
        vouched: The highest byte that lines say was synced.
    """

    files: Files
    index: Index = attrs.field(factory=Index)
    identity: object = attrs.field(factory=object)
    header: bytes = b""
    store: str | None = None
    generation: int = 0
    format: int = FORMAT
    end: int = 0
    last: int = 0
    hole: int | None = None
    file: tuple[int, int] | None = None
    lines: int = 0
    number: int = 0
    bad_since: int = 0
    vouched: int = 0
    guard: bytes = b""
    damages: list[Damage] = attrs.field(factory=list)
    _furthest: int | None = attrs.field(default=None, init=False)
    """The highest byte that lines still to be read say was synced, once a bad line made it matter."""

    def read_on(self, descriptor: int, *, locked: bool) -> None:
        """Take in what was appended since.

        Args:
            descriptor: The journal.
            locked: Whether the writers' lock is held, so that nobody repairs what is being read.
        """
        for _ in range(_TRIES):
            try:
                self._read_on(descriptor, locked=locked)
            except ChangedError:
                time.sleep(_SETTLING)
            else:
                return

    def _read_on(self, descriptor: int, *, locked: bool) -> None:
        self._furthest = None
        self.hole = None
        for chunk in chunks(self.files, descriptor, self.end):
            if not self._take_chunk(chunk, None if locked else descriptor, descriptor):
                self.hole = self.end
                return

    def take(self, line: bytes) -> None:
        """Take in a line this handle has just written."""
        if self.header:
            piece = line[:-1]
            self.take_decoded(decode_any_line(piece), line)
        else:
            self._take_header(line, None, -1)

    def take_decoded(self, decoded: Transaction, line: bytes) -> None:
        """Take in a line this handle has just written, and decoded before that."""
        self._took(decoded, line[:-1])

    def _take_chunk(self, chunk: bytes, unlocked: int | None, descriptor: int) -> bool:
        """Take in whole lines; False at a hole, where the journal ends."""
        if not self.header:
            first = chunk.index(b"\n") + 1
            if not self._take_header(chunk[:first], unlocked, descriptor):
                return False
            chunk = chunk[first:]
        pieces = chunk.split(b"\n")
        pieces.pop()
        # In one go: line by line, opening a journal of a line a prediction takes 1.7 times as long.
        if all(map(intact, pieces)) and (lines := self._decoded(chunk)) is not None:
            if lines:
                self.index.extend(lines, pieces, self.end)
                vouched = max(self.vouched, *(line.synced for line in lines))
                end, count = self.end + len(chunk), len(lines)
                last = end - len(pieces[-1]) - 1
                guard = (self.guard + chunk[-_GUARD:])[-_GUARD:]
                self.number, self.bad_since, self.vouched = lines[-1].n, 0, vouched
                self.lines, self.last, self.end, self.guard = self.lines + count, last, end, guard
            return True
        return self._take_each(pieces, unlocked, descriptor)

    def _decoded(self, chunk: bytes) -> list[Transaction] | None:
        """The lines of a chunk, if they are all in order."""
        try:
            lines = decode_lines(chunk)
        except msgspec.MsgspecError:
            return None
        expected = self.number + 1
        if self.bad_since and lines:
            return None
        for line in lines:
            if line.n != expected:
                return None
            expected += 1
        return lines

    def _take_header(self, line: bytes, unlocked: int | None, descriptor: int) -> bool:
        header = parsed_header(line[:-1])
        if header is None:
            conversions.refuse(line)
            if self._is_hole(line[:-1], descriptor):
                return False
            self._confirm(unlocked, line)
            self.damages.append(Damage(1, 0, len(line), "the header is damaged; the lines behind it are read"))
            self.format = 0
        else:
            self.store, self.generation, self.format = header.store, header.generation, header.format
        end, guard = len(line), line[-_GUARD:]
        self.header, self.end, self.guard, self.lines = line, end, guard, 1
        return True

    def _take_each(self, pieces: list[bytes], unlocked: int | None, descriptor: int) -> bool:
        confirmed = False
        for number, piece in enumerate(pieces):
            line, reason = self._checked(piece)
            if line is None:
                if self._is_hole(piece, descriptor):
                    return False
                if not confirmed:
                    self._confirm(unlocked, b"".join(rest + b"\n" for rest in pieces[number:]))
                    confirmed = True
                self.damages.append(Damage(self.lines + 1, self.end, len(piece) + 1, reason))
                self.bad_since += 1
                self._passed(piece)
            else:
                if (missing := line.n - self.number - 1 - self.bad_since) > 0:
                    self.damages.append(Damage(self.lines + 1, self.end, 0, f"{missing} lines before it are missing"))
                self._took(line, piece)
        return True

    def _took(self, line: Transaction, piece: bytes) -> None:
        """Take in one good line that begins at the end."""
        self.index.extend([line], [piece], self.end)
        vouched = max(self.vouched, line.synced)
        self.number, self.bad_since, self.vouched = line.n, 0, vouched
        self._passed(piece)

    def _passed(self, piece: bytes) -> None:
        """Go on behind a line."""
        end, guard = self.end + len(piece) + 1, (self.guard + piece[-_GUARD:] + b"\n")[-_GUARD:]
        # Together, with no call between: whoever is interrupted forgets, and remembers where it was by these.
        self.lines, self.last, self.end, self.guard = self.lines + 1, self.end, end, guard

    def _checked(self, piece: bytes) -> tuple[Transaction | None, str]:
        if not intact(piece):
            return None, conversions.reason(piece) or "the checksum does not hold"
        try:
            line = decode_any_line(piece)
        except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
            return None, f"the line is not a transaction: {error}"
        except msgspec.MsgspecError as error:
            return None, f"the line is not JSON: {error}"
        if line.n <= self.number:
            return None, f"the line repeats number {line.n}"
        return line, ""

    def _confirm(self, unlocked: int | None, text: bytes) -> None:
        """Make sure that what begins with a bad line lies there so, and is not half of a repair under way."""
        if unlocked is None:
            return
        time.sleep(_SETTLING)
        if read_all(self.files, unlocked, self.end, self.end + len(text)) != text:
            raise ChangedError

    def _is_hole(self, piece: bytes, descriptor: int) -> bool:
        """Whether a bad line is zeros that a power loss left of bytes nobody vouches for."""
        if b"\0" not in piece or self.vouched > self.end or _one_bit_off(piece):
            return False
        if self._furthest is None:
            rest = (line for chunk in chunks(self.files, descriptor, self.end) for line in chunk.split(b"\n"))
            self._furthest = max((_synced_of(line) for line in rest if intact(line)), default=0)
        return self._furthest <= self.end


def _one_bit_off(piece: bytes) -> bool:
    """Whether a single flipped bit made the only zero of a line: damage, and nothing a power loss does."""
    return piece.count(b"\0") == 1 and any(intact(piece.replace(b"\0", bytes([1 << bit]))) for bit in range(8))


class _Synced(msgspec.Struct, gc=False):
    synced: int = 0


_decode_synced = msgspec.json.Decoder(_Synced).decode


def _synced_of(line: bytes) -> int:
    """How far the writer of an intact line knew the journal to be synced."""
    try:
        return _decode_synced(line).synced
    except msgspec.MsgspecError:
        return 0


def parsed_header(line: bytes) -> Header | None:
    """The header in a line; None if it is damaged.

    Raises:
        SchemaError: If a newer f1mon wrote it.
    """
    if not intact(line):
        return None
    try:
        header = decode_header(line)
    except msgspec.MsgspecError:
        return None
    if header.f1mon != "journal":
        return None
    if header.format not in READABLE:
        raise SchemaError(f"the journal has format {header.format}, this f1mon knows {FORMAT}; update f1mon")
    return header


def chunks(files: Files, descriptor: int, start: int) -> Iterator[bytes]:
    """The whole lines of a file from `start`, some megabytes at a time; what is not terminated is left out."""
    rest = b""
    while data := files.pread(descriptor, max(CHUNK, len(rest)), start + len(rest)):
        buffer = rest + data
        cut = buffer.rfind(b"\n") + 1
        if cut:
            yield buffer[:cut]
        start += cut
        rest = buffer[cut:]
