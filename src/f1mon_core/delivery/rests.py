"""The rest of a channel that failed, kept in the store: one for every worker and every process.

The document `channel/<name>` is there from a failure of the channel until something goes through it again. When a rest
is over, one delivery tries the channel out, and all others wait for what comes of that.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.entries import text_of, whole_of
from f1mon_core.storage.plans import Plan

RESTS = state_prefix("channel")

OPEN = "open"
"""Instead of the token of whoever tries a channel out: it does not rest."""


def rest_key(channel: str) -> str:
    """Where the rest of a channel is kept."""
    return state_key("channel", channel)


def is_shut(document: Document, now: datetime) -> bool:
    """Whether nothing is to be sent yet; not where the clock was set back behind the beginning of the rest."""
    return whole_of(document, "set_at") <= to_micros(now) < whole_of(document, "until")


def has_failed_for(document: Document, now: datetime, duration: timedelta, least_failures: int) -> bool:
    """Whether a channel has failed for so long, and so often, without a success."""
    age = abs(to_micros(now) - whole_of(document, "since"))
    return whole_of(document, "failures") >= least_failures and age >= duration_micros(duration)


# Steps --------------------------------------------------------------------------------------------------------------


def trying_out(token: str, duration: timedelta) -> Step:
    """Be the one who tries a channel out, for so long. The result is `OPEN`, the token, or None: somebody else is."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None:
            return Change(None, result=OPEN)
        if is_shut(document, now):
            return Change(document)
        tried: Document = {**document, "token": token, **_until(now, duration)}
        return Change(tried, result=token)

    return step


def resting(channel: str, wait: timedelta, error: str) -> Step:
    """Let a channel rest. What was sent at the same moment and failed too prolongs the rest, but is no second one."""

    def step(document: Document | None, now: datetime) -> Change:
        rest: Document = {
            "channel": channel,
            "since": to_micros(now),
            "failures": 1,
            "error": error,
            **_until(now, wait),
        }
        if document is not None:
            rests = is_shut(document, now) and "token" not in document
            rest["since"] = min(whole_of(document, "since"), to_micros(now))
            rest["failures"] = whole_of(document, "failures") + (not rests)
            if rests:
                rest["until"] = max(whole_of(document, "until"), whole_of(rest, "until"))
        return Change(rest)

    return step


def ending(token: str) -> Step:
    """The channel answered whoever tried it out."""

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        return Change(None if document is not None and document.get("token") == token else document)

    return step


def giving_up(token: str) -> Step:
    """Whoever was to try the channel out had nothing to send; somebody else may."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is None or document.get("token") != token:
            return Change(document)
        kept: Document = {name: value for name, value in document.items() if name != "token"}
        return Change({**kept, **_until(now, timedelta(0))})

    return step


def _until(now: datetime, duration: timedelta) -> Document:
    return {"until": to_micros(now) + duration_micros(duration), "set_at": to_micros(now)}


# Plans --------------------------------------------------------------------------------------------------------------


def rest_of(channel: str) -> Plan[Document | None]:
    """The rest of a channel; None if it does not rest."""
    return (yield from plans.document(rest_key(channel)))


def all_rests() -> Plan[dict[str, Document]]:
    """The rests of all channels, by name."""
    return {text_of(one, "channel"): one for one in (yield from plans.state(RESTS)).values()}


def admission(channel: str, duration: timedelta) -> Plan[str | None]:
    """`OPEN`, the token by which to try a channel out, or None: it rests."""
    if (rest := (yield from rest_of(channel))) is None:
        return OPEN
    if is_shut(rest, (yield from plans.now())):
        return None
    token = new_operation_id()
    admitted = yield from plans.settle(rest_key(channel), trying_out(token, duration), operation_id=token)
    return admitted if isinstance(admitted, str) else None
