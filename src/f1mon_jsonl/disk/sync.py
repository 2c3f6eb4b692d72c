"""Group commit: one fdatasync acknowledges all that was written before it began.

Writers sync outside the writers' lock, so the next one writes meanwhile. Of the threads that wait, one syncs for all;
between processes the file system's own journal does the same.
"""

from __future__ import annotations

import threading

from f1mon_core.errors import NotWritten, OutcomeUnknown
from f1mon_jsonl.disk.files import Files


class Syncer:
    """What this handle knows to be on the disk, of the journal that it met last (`Reader.identity`)."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._mutex = threading.Lock()
        self._running = threading.Lock()
        """Whoever syncs holds this one and puts it here, so that nothing but the lock says that somebody is at it: an
        interrupt lets go of it in any case, where a flag would stay and a `Condition` may be left half entered."""
        self._journal: object = None
        self._written = 0
        self._synced = 0
        self._poison: str | None = None

    def synced(self, journal: object) -> int:
        """Up to which byte this journal is known to be on the disk."""
        with self._mutex:
            return self._synced if journal is self._journal else 0

    def known(self, journal: object) -> int:
        """Up to which byte this handle wrote this journal, or found it written and synced."""
        with self._mutex:
            return self._written if journal is self._journal else 0

    def check(self) -> None:
        """Refuse to go on after a sync that failed. Raises `NotWritten`."""
        if self._poison is not None:
            raise NotWritten(
                f"{self._poison}; nothing more is written through this handle: close it and open the store again"
            )

    def poisoned(self, reason: str) -> OutcomeUnknown:
        """Poison the handle; answers the error to raise."""
        with self._mutex:
            self._poison = reason
        return OutcomeUnknown(f"{reason}; whether this was stored is unknown: open the store again and repeat it")

    def learn(self, journal: object, written: int, synced: int = 0) -> None:
        """Note how much was written, and how much is known to be on the disk; before the writers' lock is let go."""
        with self._mutex:
            if journal is not self._journal:
                self._journal, self._written, self._synced = journal, 0, 0
            self._written = max(self._written, written)
            self._synced = max(self._synced, synced)

    def sync(self, descriptor: int, journal: object, end: int) -> None:
        """Return once the first `end` bytes are on the disk.

        Raises:
            OutcomeUnknown: If the disk refuses; the handle is poisoned then, for a second fdatasync would answer as
                if nothing had happened although the bytes are gone.
        """
        mine = threading.Lock()
        while True:
            with mine:
                with self._mutex:
                    if self._poison is not None:
                        raise OutcomeUnknown(
                            f"{self._poison}; whether this was stored is unknown: open the store again and repeat it"
                        )
                    if journal is self._journal and self._synced >= end:
                        return
                    other = self._running
                    if not other.locked():
                        self._running = mine
                        target = max(end, self._written) if journal is self._journal else end
                if self._running is mine:
                    self._sync(descriptor, journal, target)
                    return
            with other:
                pass

    def _sync(self, descriptor: int, journal: object, target: int) -> None:
        try:
            self._files.fdatasync(descriptor)
        except OSError as error:
            with self._mutex:
                self._poison = f"syncing the journal failed ({error})"
            raise OutcomeUnknown(
                f"syncing the journal failed ({error}); whether this was stored is unknown: open the store again and"
                " repeat it"
            ) from error
        with self._mutex:
            if journal is self._journal:  # an interrupt proves nothing: who waits syncs again
                self._synced = max(self._synced, target)
