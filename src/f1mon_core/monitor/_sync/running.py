"""What every part of a monitor stands on: a store, channels, and plans run over them."""

from __future__ import annotations

import itertools
import logging
from typing import TypeVar

from f1mon_core.delivery import Dispatcher, enrichment, worker
from f1mon_core.delivery.attempts import Enrich
from f1mon_core.delivery.channels import Channels, directory_of
from f1mon_core.errors import ConfigurationError, shown
from f1mon_core.storage import plans
from f1mon_core.storage.condition import Damage, damage_of, why_only_read
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.plans import Plan

R = TypeVar("R")

_log = logging.getLogger("f1mon.delivery")


class Runner:
    """What runs plans over a store."""

    storage: Storage

    def _run(self, plan: Plan[R]) -> R:
        return plans.run(plan, self.storage)


class Running(Runner):
    """An open store, the channels of its alerts, and the plans that are run over it."""

    def __init__(
        self, storage: Storage, *, channels: Channels | None = None, enrich: Enrich = enrichment.from_facts
    ) -> None:
        """Hold an open store.

        Args:
            storage: The store; closing the monitor closes it.
            channels: Where alerts go; those of the environment if None.
            enrich: What is said beside an alert in what this monitor delivers; by default what stored facts have to
                say about its model.
        """
        given: object = channels
        if given is not None and not isinstance(given, Channels):
            raise ConfigurationError(f"channels must be a Channels, got {shown(given)}")
        if not callable(enrich):
            raise ConfigurationError(f"enrich must be a function of a store and an alert, got {shown(enrich)}")
        self.storage = storage
        self.channels = channels if channels is not None else Channels(directory=directory_of(storage.address))
        self._dispatcher = Dispatcher(storage, self.channels, enrich=enrich)
        self._patience: float | None = None
        self._ping: str | None = None
        self._rounds = itertools.count()

    @property
    def address(self) -> str:
        """What the store was opened on, fit to print: never with a password."""
        return self.storage.address

    @property
    def damage(self) -> Damage | None:
        """What is known to be damaged in the store, on whose rest every answer rests; None if nothing is.

        As known so far, without reading the whole store, as `check` does; a store of files knows it when it is opened.
        """
        return damage_of(self.storage)

    @property
    def read_only(self) -> str | None:
        """Why the store may only be read by this process, as it knew when it was opened; None if it may be written.

        What would write is a `ReadOnlyError`.
        """
        return why_only_read(self.storage)

    def _evaluated(self, plan: Plan[R]) -> R:
        """Run a plan that may make alerts; then deliver, if this monitor does, also where the plan failed midway."""
        try:
            result = self._run(plan)
        except Exception:
            self._deliver_due()
            raise
        self._deliver_due()
        return result

    def _deliver_due(self) -> None:
        """Deliver what is due, if this monitor does: also reminders, repeats, and what a silence held back."""
        if self._patience is None:
            return
        try:
            self._dispatcher.round(self._patience, thorough=next(self._rounds) % worker.THOROUGH_EVERY == 0)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged
            # The alert is stored, and whoever evaluated is to learn of it; the outbox keeps the rest.
            _log.exception("what is due could not be delivered; the next evaluation tries again")
