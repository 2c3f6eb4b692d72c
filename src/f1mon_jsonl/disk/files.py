"""Every file-system operation of this backend, as one small object.

Nothing else in `f1mon_jsonl` touches the file system: no `open()`, no `os.` call, no `pathlib` I/O. A store takes the
object as its private argument `_files`, so a test can hand in a subclass that kills the process, records, or fails at
any operation:

- Every operation is one method; its name is its name in POSIX, its paths are absolute `str`s.
- `pwrite` may write less than it was given, as the real call may: the callers loop. A test kills in mid-write by
  writing a part of the data itself first, and fails in mid-write by answering a short count and raising next time.
- Operations that change what survives a power loss: `open` with O_CREAT or O_TRUNC, `mkdir`, `pwrite`, `ftruncate`,
  `rename`, `unlink`. Operations that make it survive: `fdatasync` and `fsync` of a descriptor, `fsync_directory`.
  `write_out` promises nothing: it only makes the sync behind it shorter.
- Errors leave as `OSError`; the store turns them into its typed errors.
- An interrupt may come behind every call, so `open` either returns the descriptor or has closed it again, and `close`
  is the system's own function, before which none can come.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def opened(path: str, flags: int, mode: int = 0o666) -> int:
    """As `os.open`; where an interrupt comes right behind it, the descriptor is closed again."""
    made: list[int] = []
    try:
        # One call in C: an interrupt comes before the file is opened or behind the note of it, never between.
        made.extend(map(os.open, (path,), (flags,), (mode,)))
        return made[0]
    except BaseException:
        for descriptor in made:
            os.close(descriptor)
        raise


class Files:
    """The operating system's own calls."""

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor of a file; never of what a symbolic link at its end points to, and never waiting for a pipe."""
        return opened(path, flags | _CAREFULLY, mode)

    close = staticmethod(os.close)
    """Release a descriptor."""

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer at the end of the file."""
        return os.pread(descriptor, size, offset)

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write at `offset`; answers how many bytes were written, which may be fewer than given."""
        return os.pwrite(descriptor, data, offset)

    def write_out(self, descriptor: int, offset: int, size: int) -> None:
        """Begin to bring written bytes to the disk, and wait for nothing: a sync will find them on their way."""
        os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)  # which on Linux begins so

    def fstat(self, descriptor: int) -> os.stat_result:
        """What is known of an open file."""
        return os.fstat(descriptor)

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        """Return once the file's bytes and its size are on the disk."""
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        """Return once the file's bytes and all that is known of it are on the disk."""
        os.fsync(descriptor)

    def fsync_directory(self, path: str) -> None:
        """Return once the names in a directory are on the disk."""
        descriptor = opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name at once, replacing what had it."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Take a name away."""
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make one directory."""
        os.mkdir(path)

    def is_directory(self, path: str) -> bool:
        """Whether a path leads to a directory, through links too."""
        return os.path.isdir(path)

    def lstat(self, path: str) -> os.stat_result:
        """What is known of a name, not of what a symbolic link points to."""
        return os.lstat(path)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(os.listdir(path))

    def file_system(self, path: str) -> str:
        """The type of the file system a path lies on, as the kernel names it; empty where it does not say."""
        real, best, kind = os.path.realpath(path), "", ""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
                lines = mounts.readlines()
        except OSError:
            return ""
        for line in lines:
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].replace("\\040", " ")
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, right.split(" ")[0]
        return kind

    def may_write(self, path: str) -> bool:
        """Whether this process may write to a file, or make files in a directory; False too where there is none."""
        return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)

    def flock(self, descriptor: int, operation: int) -> None:
        """Take (`LOCK_EX | LOCK_NB`) or release (`LOCK_UN`) the lock of an open file."""
        fcntl.flock(descriptor, operation)


def shut(files: Files, descriptors: dict[int, object], descriptor: int, whose: object) -> None:
    """Close a descriptor that is noted as somebody's, and its note with it; nothing if it is not, or not any more.

    It was never opened then; or a forked child closed it, or an earlier call of this, and the number is another's.
    """
    if descriptors.get(descriptor) is not whose or descriptor not in descriptors:
        return
    with contextlib.suppress(OSError):  # Linux gives the descriptor back whatever close answers
        # One call in C, for an interrupt between the two would leave a descriptor that nobody knows.
        list(zip(map(descriptors.pop, (descriptor,)), map(files.close, (descriptor,)), strict=True))
