"""What an address asks for: the words of a query, read once, and the window they come to."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.metrics.metric import check_label
from f1mon_core.metrics.windows import minus
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Cursor, Prediction
from f1mon_core.records.times import LATEST, from_micros, to_micros
from f1mon_core.storage.tally import KEPT_BUCKET, KEPT_SEGMENT_BUCKET

WINDOWS: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "365d": timedelta(days=365),
}
ENOUGH = 300
"""So many of the newest predictions decide how long the window is that nobody asked for."""
BUCKETS = 80
_HOUR, _DAY, _WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
WIDTHS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
           _DAY, _WEEK, 2 * _WEEK, 4 * _WEEK, 8 * _WEEK, 26 * _WEEK, 52 * _WEEK)  # fmt: skip


@attrs.frozen(kw_only=True)
class Span:
    """A window of time.

    Attributes:
        since, until: The half-open window; a None is unbounded.
        name: What it is called: of `WINDOWS`, "all" or "given".
        chosen: Whether somebody asked for it.
        end: Its end, or the present.
        begin: Its beginning, or that of the oldest prediction; None where there is none.
    """

    since: datetime | None
    until: datetime | None
    name: str
    chosen: bool
    end: datetime
    begin: datetime | None

    @property
    def width(self) -> timedelta:
        """The width of the buckets of a picture: at most 80 of them."""
        length = self.end - (self.begin or self.end)
        return next((width for width in WIDTHS if length / width <= BUCKETS), 520 * _WEEK)


class Query:
    """The words of a query, each once. What is not understood is an `InvalidQueryError`, which names it."""

    def __init__(self, words: Mapping[str, str]) -> None:
        # Browsers send the line ends of a form as CR LF, whatever they were.
        self.words = {name: value.replace("\r\n", "\n") for name, value in words.items() if value != ""}

    def text(self, name: str) -> str | None:
        """A text; None if it is not there."""
        return self.words.get(name)

    def needed(self, name: str) -> str:
        """A text that must be there."""
        if (found := self.text(name)) is None:
            raise InvalidQueryError(f"the address lacks {name}=…")
        return found

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words, the first if nothing is said."""
        found = self.words.get(name, choices[0])
        if found not in choices:
            raise InvalidQueryError(f"{name}: there is no {shown(found)}; there are {', '.join(choices)}")
        return found

    def label(self, name: str) -> ClassLabel | None:
        """A class label: 1 is an integer, "1" in its quotes a text, and what is no JSON a text too."""
        if (given := self.text(name)) is None:
            return None
        return check_label(name, value(given))

    def where(self) -> dict[str, Any]:
        """The segments chosen: `where` is a JSON object."""
        if (given := self.text("where")) is None:
            return {}
        try:
            found = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise InvalidQueryError(f"where must be a JSON object, got {shown(given)}") from error
        if not isinstance(found, dict):
            raise InvalidQueryError(f"where must be a JSON object, got {shown(given)}")
        return found

    def instant(self, name: str) -> datetime | None:
        """An instant as browsers write it, in UTC."""
        if (given := self.text(name)) is None:
            return None
        try:
            found = datetime.fromisoformat(given)
        except ValueError as error:
            raise InvalidQueryError(f"{name} must be a date, or a date and time, in UTC, got {shown(given)}") from error
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found

    def days(self, name: str) -> timedelta | None:
        """A number of days."""
        if (given := self.text(name)) is None:
            return None
        try:
            return timedelta(days=float(given))
        except (ValueError, OverflowError) as error:
            raise InvalidQueryError(f"{name} must be a number of days, got {shown(given)}") from error

    def cursor(self, name: str) -> Cursor | None:
        """A place in a listing, as `cursor_text` wrote it."""
        if (given := self.text(name)) is None:
            return None
        try:
            at, *key = json.loads(base64.urlsafe_b64decode(given.encode()))
            return Cursor(from_micros(int(at)), tuple(map(str, key)))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidQueryError(f"{name} is no place in a list: {shown(given)}") from error


def value(given: str) -> Any:
    """A text as the JSON number or text it spells, else as itself."""
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        return given
    return found if isinstance(found, int | str) and not isinstance(found, bool) else given


def cursor_text(cursor: Cursor) -> str:
    """A place in a listing, fit for an address."""
    return base64.urlsafe_b64encode(json.dumps([to_micros(cursor.at), *cursor.key]).encode()).decode()


async def newest(monitor: AsyncMonitor, model_version: str | None) -> list[Prediction]:
    """The predictions by which a window is chosen, newest first."""
    return list(await monitor.predictions(model_version, descending=True, limit=ENOUGH))


async def span(monitor: AsyncMonitor, query: Query, model_version: str | None, recent: list[Prediction]) -> Span:
    """The window asked for; else the newest that holds data, as long as the newest `ENOUGH` predictions take.

    Its edges are full hours, or full days where segments are chosen: behind a prune nothing finer is kept.
    """
    now = await monitor.now()
    since, until, name = query.instant("since"), query.instant("until"), query.text("window")
    if since is not None or until is not None:
        begin = since or await _oldest(monitor, model_version)
        return Span(since=since, until=until, name="given", chosen=True, end=until or now, begin=begin)
    if name not in (None, "all", *WINDOWS):
        raise InvalidQueryError(f"window: there is no {shown(name)}; there are {', '.join(WINDOWS)} and all")
    last = recent[0].instant if recent else now
    if name is None:
        needed = last - recent[-1].instant if len(recent) == ENOUGH else None
        name = next((one for one, length in WINDOWS.items() if needed is not None and length >= needed), "all")
    if name == "all":
        begin = await _oldest(monitor, model_version)
        return Span(since=None, until=None, name="all", chosen="window" in query.words, end=max(now, last), begin=begin)
    length = WINDOWS[name]
    step = KEPT_SEGMENT_BUCKET if query.where() else KEPT_BUCKET
    until = None if now - last < length / 2 else _after(last, step)
    end = until or now
    return Span(
        since=_floored(minus(end, length), step),
        until=until,
        name=name,
        chosen="window" in query.words,
        end=end,
        begin=_floored(minus(end, length), step),
    )


async def _oldest(monitor: AsyncMonitor, model_version: str | None) -> datetime | None:
    found = await monitor.predictions(model_version, limit=1)
    return found[0].instant if found else None


def _floored(at: datetime, step: timedelta) -> datetime:
    width = step // timedelta(microseconds=1)
    return from_micros(to_micros(at) // width * width)


def _after(at: datetime, step: timedelta) -> datetime | None:
    """The full hour or day behind an instant."""
    floored = _floored(at, step)
    return None if LATEST - floored < step else floored + step
