"""A clock that several processes share and a test sets."""

from __future__ import annotations

import mmap
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from f1mon_core.records.times import from_micros, to_micros

_BYTES = 8


def words(memory: mmap.mmap) -> memoryview:
    """Shared memory as 64-bit integers, each read and written whole: `struct.pack_into` zeroes its bytes first."""
    return memoryview(memory).cast("q")


@attrs.define(eq=False)
class SharedClock:
    """The present as eight bytes of a file that every process maps: picklable by its path, alive across `fork`."""

    path: Path
    _mapped: memoryview | None = attrs.field(default=None, init=False)

    @classmethod
    def made(cls, path: Path, now: datetime) -> SharedClock:
        """A new clock at `path` that shows `now`."""
        path.write_bytes(to_micros(now).to_bytes(_BYTES, sys.byteorder))
        return cls(path)

    def __call__(self) -> datetime:
        return from_micros(self._memory()[0])

    def set(self, now: datetime) -> None:
        """Show `now`, to every process."""
        self._memory()[0] = to_micros(now)

    def advance(self, by: timedelta) -> datetime:
        """Go on (or back) by a duration; the new present."""
        now = self() + by
        self.set(now)
        return now

    def _memory(self) -> memoryview:
        if self._mapped is None:
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                self._mapped = words(mmap.mmap(descriptor, _BYTES))
            finally:
                os.close(descriptor)
        return self._mapped

    def __reduce__(self) -> tuple[type[SharedClock], tuple[Path]]:
        return (type(self), (self.path,))
