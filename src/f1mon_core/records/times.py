"""Instants: aware UTC datetimes at the edge, integer microseconds since 1970 in every store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Anything that answers the present as an aware datetime. A clock handed to a store is picklable."""
AsyncClock: TypeAlias = Callable[[], datetime | Awaitable[datetime]]
"""What stamps an async store: a clock, or one that is a server's and has to be awaited."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
"""The first instant a clock may show; a store keeps none before `EPOCH`."""
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def host_clock() -> datetime:
    """The host's present, in UTC."""
    return datetime.now(UTC)


def to_micros(instant: datetime) -> int:
    """Whole microseconds from 1970-01-01T00:00:00Z to an aware `instant`; exact, unlike `timestamp()`."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """The aware UTC datetime `micros` microseconds after 1970-01-01T00:00:00Z."""
    return EPOCH + timedelta(0, 0, micros)


def shifted(instant: datetime, by: timedelta) -> datetime:
    """An instant so much later, or earlier; the first or the last of the calendar where it would lie beyond."""
    try:
        return instant + by
    except OverflowError:
        return LATEST if by > timedelta(0) else EARLIEST


def duration_micros(duration: timedelta) -> int:
    """The whole microseconds of a duration."""
    return duration // MICROSECOND
