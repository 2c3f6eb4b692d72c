"""An SQLite file that this process may only read, and how it is opened without making anything beside it.

A reader of a file in WAL mode keeps its place in a `-shm` beside it, and makes that where it is missing. Where it may
not, there are two ways around it, both as good as the other as long as nobody writes meanwhile:

- No `-wal` is there either: the file is all there is, and is opened as one that does not change (`immutable`).
- A `-wal` is there, as in a copy of all but the `-shm`: what it holds is looked up in memory, without locks, as one who
  is alone with the file does.

Whether somebody wrote meanwhile is seen by size and time of both files; what was read is then read again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from f1mon_sql.turns import lock_files

READS_ONLY = "f1mon_reads_only"
"""Where `Connection.info` has the `State` of the files that a connection of a reader was made for."""

_Stamp = tuple[int, int, int] | None


@attrs.frozen
class State:
    """The files of a database at an instant.

    Attributes:
        database, log: Inode, size and time of change of the file and of its `-wal`; None where there is none.
        shared: Whether there is a `-shm`, by which readers and writers see each other.
    """

    database: _Stamp
    log: _Stamp
    shared: bool

    @classmethod
    def of(cls, file: Path) -> State:
        """The state of a database's files now."""
        return cls(_stamp(file), _stamp(_beside(file, "-wal")), _beside(file, "-shm").exists())

    @property
    def has_log(self) -> bool:
        """Whether something lies in the `-wal`."""
        return self.log is not None and self.log[1] > 0

    def is_settled(self, file: Path) -> bool:
        """Whether a connection made for this state still sees all there is, and nothing half written."""
        return self.shared or self == State.of(file)


def why_only_read(file: Path, *, take_turns: bool) -> str | None:
    """Why this process cannot write to a database file that is there; None if it can."""
    if not file.exists():
        return None
    beside = [_beside(file, "-wal"), _beside(file, "-shm")]
    if not _may_write(file):
        return f"{file} may not be written"
    if not _may_write(file.parent) and not all(one.exists() and _may_write(one) for one in beside):
        return f"the directory {file.parent} may not be written"
    for one in lock_files(file) if take_turns else ():
        if not _may_write(one if one.exists() else file.parent):
            return f"{one} may not be written"
    return None


def read_only_address(file: Path, state: State) -> str:
    """The `file:` address that opens a database to be read, making nothing."""
    if state.shared:
        how = "mode=ro"
    elif state.has_log:
        how = "mode=ro&vfs=unix-none"
    else:
        how = "mode=ro&immutable=1"
    return f"file:{quote(str(file.absolute()))}?{how}"


def set_up(connection: Any, info: dict[Any, Any], state: State) -> None:
    """Prepare a driver's connection that was opened by `read_only_address`."""
    info[READS_ONLY] = state
    cursor = connection.cursor()
    if not state.shared and state.has_log:
        cursor.execute("PRAGMA locking_mode = EXCLUSIVE")  # of what is then looked up in memory
    cursor.execute("PRAGMA query_only = 1")
    cursor.close()


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
