"""The outbox: what is on its way to a channel, as state documents and the steps that move them.

A delivery waits in the document `delivery/<alert_id>/<name>`, made in the commit of its alert. Its `due` says when a
worker may take it; taking it moves `due` to the end of the lease. It leaves the outbox as a `Delivery` fact when it
arrived, or for `dead/<alert_id>/<name>` when it never will. Both hold their alert against pruning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from f1mon_core.errors import CorruptStoreError
from f1mon_core.records.fields import MAX_ID_CHARACTERS, Document
from f1mon_core.records.kinds import Delivery, Fact
from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.entries import text_of, whole_of
from f1mon_core.storage.plans import Plan

Purpose: TypeAlias = Literal["alert", "reminder", "resolved"]

WAITING = state_prefix("delivery")
DEAD = state_prefix("dead")

_OF_LEASE = frozenset({"token", "look_again"})
_OF_WAITING = _OF_LEASE | {"due", "set_at"}
_TEXTS = ("alert_id", "channel", "name", "purpose")
_NUMBERS = ("created", "attempts", "failures")


def waiting(
    alert_id: str,
    channels: Iterable[str],
    now: datetime,
    purpose: Purpose = "alert",
    number: int = 0,
    said: Document | None = None,
) -> dict[str, Document]:
    """The documents that put an alert on its way to its channels, for `Change.also`.

    Args:
        alert_id: The alert.
        channels: Names of channels; the same name twice is one delivery.
        now: The instant of the commit.
        purpose: What is told: the alert itself, a reminder of it, or that it resolved.
        number: Which reminder it is.
        said: What else the documents say: "severity", by which the most urgent are served first; what `grouping.said`
            says; of an end its "end".
    """
    documents: dict[str, Document] = {}
    for channel in dict.fromkeys(channels):
        name = channel if purpose == "alert" else f"{channel}#{purpose}{number or ''}"
        documents[state_key("delivery", alert_id, name)] = {
            "alert_id": alert_id,
            "channel": channel,
            "name": name,
            "purpose": purpose,
            "created": to_micros(now),
            "due": to_micros(now),
            "set_at": to_micros(now),
            "attempts": 0,
            "failures": 0,
            "holds": [alert_id],
            **(said or {}),
        }
    return documents


def flaw(document: Document, *, is_dead: bool = False) -> str | None:
    """What a delivery's document lacks without which nobody can be told by it; None where it lacks nothing."""
    try:
        for name in _TEXTS:
            text_of(document, name)
        for name in _NUMBERS if is_dead else (*_NUMBERS, "due", "set_at"):
            whole_of(document, name)
    except CorruptStoreError as error:
        return str(error)
    return None


def sound(documents: Mapping[str, Document], *, is_dead: bool = False) -> dict[str, Document]:
    """Those without a `flaw`. The others stay where they are, for `Monitor.check` to name."""
    return {key: one for key, one in documents.items() if flaw(one, is_dead=is_dead) is None}


def dead_letters() -> Plan[dict[str, Document]]:
    """The dead letters, by their keys and oldest first."""
    return sound((yield from plans.state(DEAD)), is_dead=True)


def is_due(document: Document, now: datetime) -> bool:
    """Whether a worker may take a delivery: its time has come, or the clock was set back behind when it was set."""
    due, set_at, present = document.get("due"), document.get("set_at"), to_micros(now)
    return isinstance(due, int) and isinstance(set_at, int) and (due <= present or present < set_at)


def lease(token: str, duration: timedelta) -> Step:
    """Take a delivery for a while. The result is its document with the token, or None if it is not to be had."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or not is_due(document, now):
            return Change(document)
        taken = _taken(document, token, now, to_micros(now) + duration_micros(duration))
        return Change(taken, result=taken)

    return step


def lease_together(token: str, until: int, batch: str) -> Step:
    """Take a delivery that is told in one message with others, all until the same instant; else as `lease`.

    Whatever becomes of them, they come back at one instant, so that nobody takes a part of them.
    """

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or not is_due(document, now) or document.get("batch") not in (None, batch):
            return Change(document)
        taken: Document = {**_taken(document, token, now, until), "batch": batch}
        return Change(taken, result=taken)

    return step


def _taken(document: Document, token: str, now: datetime, until: int) -> Document:
    kept = {name: value for name, value in document.items() if name not in _OF_LEASE}
    if (inhibited := kept.pop("inhibited", None)) is not None:
        kept["was_inhibited"] = inhibited
    attempts = whole_of(document, "attempts") + 1
    return {**kept, "token": token, "attempts": attempts, "due": until, "set_at": to_micros(now)}


def inhibit(by: str, noted: Callable[[datetime], Fact | None]) -> Step:
    """Write down by which rule a delivery that nobody holds is inhibited, with a line in the incident's history."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or not is_due(document, now) or inhibited_by(document) == by:
            return Change(document)
        fact = noted(now)
        marked: Document = {**document, "inhibited": {"by": by, "since": to_micros(now)}}
        return Change(marked, [] if fact is None else [fact])

    return step


def inhibited_by(document: Document, mark: str = "inhibited") -> str | None:
    """The rule that a delivery is inhibited by, as far as it was written down."""
    found = document.get(mark)
    return str(found["by"]) if isinstance(found, dict) else None


def keep_payload(token: str, payload: Document) -> Step:
    """Keep what was rendered, so that every later attempt sends the same. The result says whether the lease held."""

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        if document is None or document.get("token") != token:
            return Change(document, result=False)
        return Change({**document, "payload": payload}, result=True)

    return step


def complete(token: str, details: Document | None = None) -> Step:
    """Write down that a delivery arrived, if the lease still holds. The result says whether it did."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document, result=False)
        fact = Delivery(
            alert_id=text_of(document, "alert_id"),
            channel=_fitting(text_of(document, "name")),
            attempts=whole_of(document, "attempts"),
            details=details or {},
            at=now,
            at_given=False,
        )
        return Change(None, [fact], result=True)

    return step


def _fitting(name: str) -> str:
    """The name of a delivery as a fact may bear it: that of the longest channel with its purpose behind is too long."""
    if len(name) <= MAX_ID_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[: MAX_ID_CHARACTERS - len(digest) - 1]}~{digest}"


def put_off(token: str, wait: timedelta, *, silenced: bool = False, marks: Document | None = None) -> Step:
    """Give a delivery back, to be taken again after `wait`. The result says whether the lease still held.

    It leaves the message it was to share with others. `marks` is what else its document says from now on.
    """
    more = marks

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document, result=False)
        document = alone(document)
        marks: Document = {**(more or {}), **({"silenced": True} if silenced else {})}
        if silenced and document.get("look_again"):
            return Change({**_given_back(document, now, timedelta(0)), **marks}, result=True)
        return Change({**_given_back(document, now, wait), **marks}, result=True)

    return step


def alone(document: Document) -> Document:
    """A delivery that shares no message with others any more."""
    if "batch" not in document:
        return document
    return {name: value for name, value in document.items() if name not in {"batch", "payload"}}


def hasten() -> Step:
    """Let a delivery that a silence holds back, or that a worker is about to put off for it, be looked at now."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None:
            return Change(None)
        if "token" in document:
            # Its worker may have looked at the silences before this one was lifted.
            return Change({**document, "look_again": True})
        if not document.get("silenced"):
            return Change(document)
        return Change({**document, "due": to_micros(now), "set_at": to_micros(now)})

    return step


def fail(
    token: str,
    wait: timedelta,
    error: str,
    give_up: timedelta,
    least_failures: int,
    *,
    of_channel: bool = False,
    marks: Document | None = None,
    until: int | None = None,
) -> Step:
    """Give a delivery back after a failure, or bury it once it is too old and failed often enough.

    It is tried again after `wait`, or at the instant `until`. With `of_channel` it was the channel that failed, and
    the delivery keeps its place before the repeats. `marks` is what else its document says from now on. The result is
    None if the lease was lost, else whether it was buried.
    """

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document)
        document = {**document, **(marks or {})}
        failures = whole_of(document, "failures") + 1
        if failures >= least_failures and _age(document, now) >= duration_micros(give_up):
            return Change(None, also=_buried(document, now, error), result=True)
        if of_channel:
            document["of_channel"] = channel_failures(document) + 1
        again: Document = {**_given_back(document, now, wait), "error": error, "failures": failures}
        return Change(again if until is None else {**again, "due": until}, result=False)

    return step


def told(document: Document) -> list[str]:
    """Who of several a delivery has reached already."""
    return [one for one in found if isinstance(one, str)] if isinstance(found := document.get("told"), list) else []


def refused(document: Document) -> dict[str, str]:
    """Who of several it will not reach, and what was said."""
    found = document.get("refused")
    return {who: str(why) for who, why in found.items()} if isinstance(found, dict) else {}


def put_off_people(document: Document) -> list[str]:
    """Who of several was put off at the last attempt."""
    return [*found] if isinstance(found := document.get("put_off"), dict) else []


def channel_failures(document: Document) -> int:
    """How many of a delivery's failures were its channel's."""
    return whole_of(document, "of_channel") if "of_channel" in document else 0


def abandon(error: str, give_up: timedelta) -> Step:
    """Bury a delivery that nobody holds and that is too old. The result says whether it was buried."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or not is_due(document, now) or _age(document, now) < duration_micros(give_up):
            return Change(document, result=False)
        return Change(None, also=_buried(document, now, error), result=True)

    return step


def _age(document: Document, now: datetime) -> int:
    return abs(to_micros(now) - whole_of(document, "created"))


def _given_back(document: Document, now: datetime, wait: timedelta) -> Document:
    kept = {name: value for name, value in document.items() if name not in _OF_LEASE}
    return {**kept, "due": to_micros(now) + duration_micros(wait), "set_at": to_micros(now)}


def drop(token: str, noted: Callable[[datetime], Fact | None] | None = None) -> Step:
    """Take a delivery out of the outbox, because there is nothing to tell any more; `noted` is what is left of it."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document, result=False)
        fact = None if noted is None else noted(now)
        return Change(None, [] if fact is None else [fact], result=True)

    return step


def bury(token: str, error: str, marks: Document | None = None) -> Step:
    """Move a delivery to the dead letters. The result says whether the lease still held.

    `marks` is what else its document says from now on.
    """

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document, result=False)
        return Change(None, also=_buried({**document, **(marks or {})}, now, error), result=True)

    return step


def _buried(document: Document, now: datetime, error: str) -> dict[str, Document]:
    dead: Document = {
        name: value for name, value in document.items() if name not in {"token", "look_again", "due", "set_at"}
    }
    dead |= {"error": error, "failures": whole_of(document, "failures") + 1, "died": to_micros(now)}
    return {dead_key(document): dead}


def revive() -> Step:
    """Put a dead letter back on its way, with its failures forgotten. The result says whether there was one."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None:
            return Change(None, result=False)
        # Rendered anew: its incident may have ended meanwhile, and others it is told with may not be dead.
        forgotten = {"died", "error", "of_channel", "refused", "put_off", "batch", "payload"}
        again: Document = {name: value for name, value in document.items() if name not in forgotten}
        again |= {"failures": 0, "created": to_micros(now), "due": to_micros(now), "set_at": to_micros(now)}
        return Change(None, also={waiting_key(document): again}, result=True)

    return step


def waiting_key(document: Document) -> str:
    """Where a delivery waits."""
    return state_key("delivery", *_names(document))


def dead_key(document: Document) -> str:
    """Where a dead letter lies."""
    return state_key("dead", *_names(document))


def _names(document: Document) -> tuple[str, str]:
    return text_of(document, "alert_id"), text_of(document, "name")
