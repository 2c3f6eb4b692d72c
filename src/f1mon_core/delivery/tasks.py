"""Delivery for event loops: every channel is served in a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from f1mon_core.delivery.attempts import Enrich, Policy
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.report import DeliveryReport
from f1mon_core.delivery.worker import CLOSING_SECONDS, LOOKING_SHARE, THOROUGH_EVERY, _Channels, beside, due
from f1mon_core.storage import plans
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.plans import Plan

_log = logging.getLogger("f1mon.delivery")


class AsyncDispatcher(_Channels[asyncio.Task[Counter[str]]]):
    """`Dispatcher` for event loops: every channel in a task of its own, each send on a thread of its own."""

    def __init__(
        self, storage: AsyncStorage, channels: Channels, policy: Policy | None = None, enrich: Enrich | None = None
    ) -> None:
        super().__init__(channels, policy, enrich)
        self._storage = storage

    async def round(self, patience: float | None = None, *, thorough: bool = True) -> DeliveryReport:
        """See `Dispatcher.round`."""
        by_channel = await plans.run_async(due(thorough=thorough), self._storage)
        started = self._own(self._start(by_channel, patience, self._begin))
        if not started:
            return self._report([])
        done, _ = await asyncio.wait(started.values(), timeout=patience)
        return self._report(done)

    def _begin(self, channel: str, plan: Plan[Counter[str]]) -> asyncio.Task[Counter[str]]:
        async def aside(call: Callable[[], Any]) -> Any:
            # Never on the loop's own executor: a few channels that hang would take all its threads.
            return await asyncio.wrap_future(beside(call, f"f1mon-{channel}"))

        return asyncio.ensure_future(plans.run_async(plan, self._storage, aside))

    async def watch(self, stop: asyncio.Event, interval: float = 1.0, *, ping: str | None = None) -> None:
        """See `Dispatcher.watch`."""
        for number in itertools.count():
            if stop.is_set():
                return
            begun = time.monotonic()
            try:
                await self.round(patience=0, thorough=number % THOROUGH_EVERY == 0)
                self._beat(ping)
            except Exception:  # noqa: BLE001 - as in `Dispatcher.watch`
                _log.exception("the outbox could not be served; it is tried again")
            with contextlib.suppress(TimeoutError):
                pause = max(interval, LOOKING_SHARE * (time.monotonic() - begun))
                await asyncio.wait_for(stop.wait(), pause)

    @staticmethod
    def _own(tasks: Mapping[str, asyncio.Task[Counter[str]]]) -> dict[str, asyncio.Task[Counter[str]]]:
        """Those of this event loop; a monitor may serve several, and nobody waits for another's."""
        loop = asyncio.get_running_loop()
        return {channel: task for channel, task in tasks.items() if task.get_loop() is loop}

    async def close(self, patience: float | None = None) -> None:
        """See `Dispatcher.close`."""
        if busy := self._own(self._busy()):
            await asyncio.wait(busy.values(), timeout=CLOSING_SECONDS if patience is None else patience)
        self._leave(self._own(self._busy()))

    def _goes_on(self, running: asyncio.Task[Counter[str]]) -> bool:
        return not running.done() and not running.get_loop().is_closed()
