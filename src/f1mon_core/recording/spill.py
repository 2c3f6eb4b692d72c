"""Accepted facts on disk until the store has them: files of lines that a kill of the process leaves whole.

A spill is a queue and no store: nobody asks it, no key is compared, and what is drained is deleted. A line is its
checksum and a fact as JSON. It is in the operating system's hands when it is accepted, so it survives a kill of the
process and not the loss of power. A file is locked by its writer; the kernel lets go of the lock of the dead, and the
next recorder with this directory takes over what they left.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

import attrs

from f1mon_core.errors import F1monError, InvalidRecordError, NotWritten
from f1mon_core.records.documents import from_document, to_document
from f1mon_core.records.json_text import decoded, encoded
from f1mon_core.records.kinds import Fact

_SPILLED = ".spill"
SET_ASIDE = "set-aside.jsonl"
"""The file of a directory to which goes what the store refused, with the reason."""


@attrs.frozen
class Taken:
    """What a closed spill file holds.

    Attributes:
        path: The file.
        descriptor: Holds its lock.
        facts: Those that could be read.
        damaged: Lines that could not, but for the last, which a kill may have torn before it was accepted.
    """

    path: Path
    descriptor: int
    facts: list[Fact]
    damaged: list[str]


class Spill:
    """The spill of one recorder in a directory that several may share."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._current: tuple[Path, int] | None = None

    def write(self, facts: Iterable[Fact]) -> None:
        """Write facts, all or none. Raises `NotWritten` if the file cannot be written."""
        lines = b"".join(_line(fact) for fact in facts)
        try:
            descriptor = self._open()
            before = os.fstat(descriptor).st_size
            try:
                left = memoryview(lines)
                while left:
                    left = left[os.write(descriptor, left) :]
            except BaseException:
                os.ftruncate(descriptor, before)
                raise
        except OSError as error:
            raise NotWritten(f"cannot spill to {self.directory}: {error.strerror}; nothing was accepted") from error

    def _open(self) -> int:
        if self._current is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{uuid.uuid4().hex}{_SPILLED}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _try_lock(descriptor)
            self._current = path, descriptor
        return self._current[1]

    def taken(self) -> Taken | None:
        """What is spilled and nobody writes to any more: this recorder's own file, else one of the dead; or None."""
        if self._current is not None:
            (path, descriptor), self._current = self._current, None
            return _read(path, descriptor)
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.directory.glob(f"*{_SPILLED}")):
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                    if _try_lock(descriptor) and path.exists():
                        return _read(path, descriptor)
                    os.close(descriptor)
        return None

    def drained(self, taken: Taken) -> None:
        """Delete a file whose facts the store has; what could not be read of it is set aside before."""
        if taken.damaged:
            self.set_aside([{"reason": "damaged", "line": line} for line in taken.damaged])
        taken.path.unlink()
        os.close(taken.descriptor)

    def put_back(self, taken: Taken) -> None:
        """Leave a file to whoever takes it next."""
        os.close(taken.descriptor)

    def set_aside(self, refused: Sequence[dict[str, object]]) -> None:
        """Append what the store refused, or what cannot be read, to the set-aside file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = "".join(encoded(one) + "\n" for one in refused)  # type: ignore[arg-type]
        descriptor = os.open(self.directory / SET_ASIDE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(text.encode())

    def close(self) -> None:
        """Let go of the file that is written to; whoever takes it next drains it."""
        if self._current is not None:
            os.close(self._current[1])
            self._current = None


def _line(fact: Fact) -> bytes:
    text = encoded(to_document(fact)).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _read(path: Path, descriptor: int) -> Taken:
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()  # what stands behind the last line's end was never accepted
    facts: list[Fact] = []
    damaged: list[str] = []
    for line in lines:
        checksum, _, text = line.partition(b" ")
        try:
            if checksum != b"%08x" % crc32(text):
                raise InvalidRecordError("line", line[:80], "does not match its checksum")
            facts.append(from_document(decoded(text.decode())))  # type: ignore[arg-type]
        except (F1monError, ValueError):
            damaged.append(line.decode(errors="replace"))
    del torn
    return Taken(path, descriptor, facts, damaged)


def _try_lock(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 - only where something is spilled

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
