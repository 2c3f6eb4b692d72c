"""The directory of a store: its files by name, what is set aside in it, and the file system it lies on."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib

from f1mon_core.errors import ConfigurationError, CorruptStoreError, shown
from f1mon_jsonl.disk.files import Files

JOURNAL = "journal.jsonl"
LOCK = "LOCK"
DAMAGED = "damaged-"
"""How the files of lines begin whose checksum did not hold."""
REWRITTEN = "journal.jsonl.new"
"""What a compaction writes before it takes the journal's name."""

NETWORK = (
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "gcsfuse",
    "gluster",
    "juicefs",
    "lustre",
    "nfs",
    "s3fs",
    "smb",
    "sshfs",
    "virtiofs",
)
"""How the names of their types begin, behind a `fuse.`."""


class Directory:
    """One directory, by its absolute path."""

    def __init__(self, path: str | os.PathLike[str], files: Files) -> None:
        given: object = path
        name = os.fspath(given) if isinstance(given, str | os.PathLike) else given
        if not isinstance(name, str) or not name or "\0" in name:
            raise ConfigurationError(f"path must name a directory, got {shown(path)}")
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            raise ConfigurationError(f"path must be of characters a file name may have, got {shown(path)}") from None
        self.path = os.path.abspath(name)
        self._inside = os.path.join(self.path, "")
        self._files = files

    def of(self, name: str) -> str:
        """The path of one of its files."""
        return self._inside + name

    def make(self) -> None:
        """Make the directory, and what is missing above it, each name synced before the next."""
        missing = []
        path = self.path
        while not self._files.is_directory(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                self._files.mkdir(path)
            except FileExistsError:
                continue
            self._files.fsync_directory(os.path.dirname(path))

    def has_journal(self) -> bool:
        """Whether there is a journal."""
        return self._has(self.of(JOURNAL))

    def _has(self, path: str) -> bool:
        try:
            self._files.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def why_only_read(self) -> str | None:
        """Why this process cannot write to the journal that lies there; None if it can."""
        lock = self.of(LOCK)
        for path in (self.of(JOURNAL), lock if self._has(lock) else self.path):
            if not self._files.may_write(path):
                return f"{path} may not be written"
        return None

    def open(self, name: str, flags: int) -> int:
        """A descriptor of one of its files; see `open_sized`."""
        return self.open_sized(name, flags)[0]

    def open_sized(self, name: str, flags: int) -> tuple[int, int]:
        """A descriptor of one of its files, which is a regular file and no link, and the file's size.

        Raises:
            CorruptStoreError: If it is anything else.
        """
        descriptor = self._files.open(self.of(name), flags)
        try:
            found = self._files.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                return descriptor, found.st_size
        except BaseException:
            self._files.close(descriptor)
            raise
        self._files.close(descriptor)
        raise CorruptStoreError(f"{self.of(name)} is not a regular file; the store keeps its hands off it")

    def sync_names(self) -> None:
        """Return once the directory's names, its own, and those above it are on the disk.

        All the way up to the root of the file system: whoever made the directories may have died before syncing them.
        """
        self._files.fsync_directory(self.path)
        device = self._files.lstat(self.path).st_dev
        path = self.path
        while (parent := os.path.dirname(path)) != path and self._files.lstat(parent).st_dev == device:
            with contextlib.suppress(PermissionError):  # we may not read it, so it is not one that we made
                self._files.fsync_directory(parent)
            path = parent

    def set_aside(self, what: str, generation: int, offset: int, data: bytes) -> None:
        """Keep bytes that leave the journal in a file that stays; the same bytes again are the same file."""
        name = f"{what}-{generation}-{offset}-{zlib.crc32(data):08x}.bytes"
        descriptor = self.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, descriptor, data, 0)
            self._files.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # half of it, under a name that says it is whole, helps nobody
                self._files.unlink(self.of(name))
            raise
        finally:
            self._files.close(descriptor)
        self._files.fsync_directory(self.path)

    def set_aside_files(self) -> list[str]:
        """The names of what was set aside."""
        return [name for name in self._files.listdir(self.path) if name.endswith(".bytes")]

    def network_file_system(self) -> str | None:
        """The type of the file system, where it is one of a network."""
        kind = self._files.file_system(self.path)
        return kind if kind.removeprefix("fuse.").startswith(NETWORK) else None


def write_all(files: Files, descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte at an offset, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        written = files.pwrite(descriptor, view, offset)
        if written <= 0:
            raise OSError("the file system wrote nothing")
        view, offset = view[written:], offset + written


def read_all(files: Files, descriptor: int, start: int, end: int) -> bytes:
    """The bytes of a file between two positions."""
    parts = []
    while start < end and (data := files.pread(descriptor, end - start, start)):
        parts.append(data)
        start += len(data)
    return b"".join(parts)
