"""What concerns the store as a whole is asked of the monitor, on either side."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import AsyncMonitor, Monitor, NotFoundError
from f1mon_core.records import HealthSnapshot

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def clock():
    return NOON


def fire(monitor):
    return monitor.create_alert("info", "t", "m", "accuracy", 0.1, 0.5, "c", "a", channels=["mine"])


def test_the_store_as_a_whole():
    with Monitor.open("memory", clock=clock) as monitor:
        monitor.record_prediction("old", "a", 1, 0.5, at=NOON - 9 * HOUR)
        monitor.record_prediction("new", "a", 1, 0.5)
        assert monitor.now() == NOON
        assert monitor.address == monitor.storage.address
        assert monitor.check().facts["prediction"] == 2
        assert monitor.prune(NOON).removed["prediction"] == 1
        assert monitor.prediction("new").at == NOON
        with pytest.raises(NotFoundError, match="'old'"):
            monitor.prediction("old")
        kept = monitor.record_health(HealthSnapshot(model_version="a"))
        assert monitor.health() == [kept]
        assert kept.at == NOON


def test_the_store_as_a_whole_awaited():
    async def story():
        async with await AsyncMonitor.open("memory", clock=clock) as monitor:
            await monitor.record_prediction("old", "a", 1, 0.5, at=NOON - 9 * HOUR)
            assert await monitor.now() == NOON
            assert monitor.address == monitor.storage.address
            assert (await monitor.check()).facts["prediction"] == 1
            assert (await monitor.prune(NOON)).removed["prediction"] == 1
            with pytest.raises(NotFoundError, match="'old'"):
                await monitor.prediction("old")

    asyncio.run(story())


def test_a_worker_delivers_until_it_is_stopped():
    stop, told = threading.Event(), []
    with Monitor.open("memory") as monitor:
        monitor.channels.register("mine", lambda alert: (told.append(alert), stop.set()))
        fire(monitor)
        monitor.deliver_until(stop, 0.01)
    assert len(told) == 1


def test_a_worker_of_an_event_loop_delivers_until_it_is_stopped():
    async def story():
        stop, told = asyncio.Event(), []
        loop = asyncio.get_running_loop()
        async with await AsyncMonitor.open("memory") as monitor:
            monitor.channels.register("mine", lambda alert: (told.append(alert), loop.call_soon_threadsafe(stop.set)))
            await fire(monitor)
            await asyncio.wait_for(monitor.deliver_until(stop, 0.01), 30)
        assert len(told) == 1

    asyncio.run(story())
