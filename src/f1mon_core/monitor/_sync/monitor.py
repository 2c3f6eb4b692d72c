"""The monitor users hold, composed of its domains."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from f1mon_core.delivery import enrichment, report
from f1mon_core.delivery.attempts import Enrich
from f1mon_core.delivery.channels import Channels
from f1mon_core.monitor._sync.alerting import Alerting
from f1mon_core.monitor._sync.buffered import BufferedRecorder
from f1mon_core.monitor._sync.delivering import Delivering
from f1mon_core.monitor._sync.drifting import Drifting
from f1mon_core.monitor._sync.exporting import Exporting
from f1mon_core.monitor._sync.measuring import Measuring
from f1mon_core.monitor._sync.recording import Recording
from f1mon_core.recording.buffer import DIRECTORY, BufferOptions, SpillWhen, WhenFull
from f1mon_core.storage import plans
from f1mon_core.storage.contract import CheckReport, Pruned
from f1mon_core.storage.registry import open_storage


class Monitor(Recording, Measuring, Drifting, Alerting, Delivering, Exporting):
    """Predictions, their outcomes, metrics and alerts in one store.

    A context manager: `with Monitor.open("jsonl", path="data/monitoring") as monitor: …`.
    Safe to share between threads.
    """

    @classmethod
    def open(
        cls,
        backend: str | None = None,
        /,
        *,
        channels: Channels | None = None,
        enrich: Enrich = enrichment.from_facts,
        **options: Any,
    ) -> Monitor:
        """Open the store that a backend name, an address or the environment names.

        Args:
            backend: As in `open_storage`.
            channels: As in `Monitor`.
            enrich: As in `Monitor`.
            **options: As in `open_storage`.
        """
        return cls(open_storage(backend, **options), channels=channels, enrich=enrich)

    def buffered(
        self,
        *,
        capacity: int = 10_000,
        batch: int = 500,
        seconds: float = 0.2,
        when_full: WhenFull = "block",
        spill: SpillWhen | None = None,
        directory: str | os.PathLike[str] = DIRECTORY,
        install_signal_handler: bool = False,
    ) -> BufferedRecorder:
        """A recorder for request paths, which must not wait for a disk or a server; close it before this monitor.

        Args:
            capacity: How many accepted facts may wait in memory: what a kill of the process loses at most, unless they
                are spilled.
            batch: So many are stored at once.
            seconds: How long a fact waits at most for others to be stored with.
            when_full: "block" waits for room, "drop" leaves the fact out and counts it.
            spill: "full" writes to a file in `directory` where there is no room; "always" writes each fact there before
                it is accepted, which a kill of the process survives.
            directory: Where spilled facts lie, and those that the store refused (`set-aside.jsonl`). What a recorder
                that was killed left there is stored by the next one.
            install_signal_handler: Flush at SIGTERM, and then do what was done at it before.

        Raises:
            ConfigurationError: If an option says something it cannot do.
        """
        options = BufferOptions(
            capacity=capacity, batch=batch, seconds=seconds, when_full=when_full, spill=spill, directory=directory
        )
        return BufferedRecorder(self.storage, options, install_signal_handler=install_signal_handler)

    def close(self) -> None:
        """Close the store, once what is being sent is sent; again is a no-op.

        A channel that hangs is not waited for longer than `delivery.CLOSING_SECONDS`; what it was sending stays in the
        outbox.
        """
        self._dispatcher.close()
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def now(self) -> datetime:
        """The present by the store's clock, from which windows and silences are counted."""
        return self._run(plans.now())

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """Remove what is older than `before`, floored to the full hour, for good.

        Predictions go with their outcomes and leave their totals per hour behind, from which windows of full hours are
        still answered. Rules' revisions stay, and what an open incident holds. An earlier `before` than last time
        removes nothing.

        Args:
            before: An aware datetime.
            keep: Names of kinds that stay, such as "alert" or "health_snapshot".

        Raises:
            InvalidQueryError: If `keep` names no kind of fact; nothing is removed.
        """
        return self._run(plans.prune(before, keep))

    def check(self) -> CheckReport:
        """Read the whole store and report what is damaged, lost, or set in a way that risks it; deliveries too."""
        return self._run(report.checked())
