"""One delivery: taken under a lease, sent or put off, and what came of it written down."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias, cast

import attrs

from f1mon_core.alerts import outbox, silences
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.incident import note_of
from f1mon_core.alerts.inhibition import Inhibitors
from f1mon_core.alerts.rules import rank
from f1mon_core.delivery import rests
from f1mon_core.delivery.channels import Channel, Channels
from f1mon_core.delivery.channels.protocol import Reached, SeveralChannel
from f1mon_core.delivery.messages import Message, Section, rendered
from f1mon_core.errors import DeliveryError, F1monError, NotFoundError
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Acknowledgement, Alert, Delivery, IncidentEvent
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import state_prefix
from f1mon_core.storage.entries import text_of, whole_of
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.text import discreet, one_line

_log = logging.getLogger("f1mon.delivery")

Outcome: TypeAlias = Literal[
    "delivered", "failed", "dead", "silenced", "dropped", "lost", "waiting", "grouped", "inhibited"
]
INHIBITED_SECONDS = 15.0
"""How long a delivery that turns out to be inhibited when it is taken is left alone."""


class Enrich(Protocol):
    """What is said beside an alert: a function of the alert, or a plan where it asks the store.

    It is called once for each message, on the thread that sends it, when the message is rendered; every later attempt
    sends the same. Whatever it raises is logged, and the alert is sent without it.
    """

    def __call__(self, alert: Alert, /) -> Sequence[Section] | Plan[Sequence[Section]]:
        """The sections to add, none for nothing to say; their text may be hostile."""
        ...


@attrs.frozen(kw_only=True)
class Policy:
    """How patient a worker is.

    Attributes:
        lease: How long a delivery belongs to the worker that took it; longer than any channel takes to send.
        base, cap: The n-th repeat waits a random time of up to min(cap, base * 2**n) (full jitter).
        trial: A channel that has rested is tried out by one worker, which the others wait for so long.
        give_up: A delivery that still fails at this age becomes a dead letter.
        least_failures: But not before it failed so often.
        unknown_grace: A name nothing is configured for may be another process's callback: this long it is left alone.
    """

    lease: timedelta = timedelta(seconds=120)
    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=15)
    trial: timedelta = timedelta(seconds=15)
    give_up: timedelta = timedelta(hours=24)
    least_failures: int = 8
    unknown_grace: timedelta = timedelta(minutes=1)

    def wait(self, failures: int, after: float | None = None) -> timedelta:
        """How long to wait after the failure of this number, counted from 0; at least what the other side asked."""
        longest = min(self.cap, self.base * 2 ** min(failures, 30))
        jittered = random.uniform(0, longest.total_seconds())  # noqa: S311 - jitter
        return max(timedelta(seconds=jittered), timedelta(seconds=after or 0.0))


def attempt(
    key: str, channels: Channels, policy: Policy, enrich: Enrich | None = None, trial: str = rests.OPEN
) -> Plan[Outcome]:
    """Take one delivery, send it, and write down what came of it; `trial` is what `rests.admission` answered."""
    token = new_operation_id()
    taken: Any = yield from plans.settle(key, outbox.lease(token, policy.lease), operation_id=token)
    if taken is None:
        return "lost"
    held = _Held(key, token, taken, policy, trial)
    found = yield from plans.find(Select.of(Alert, where={"alert_id": taken["alert_id"]}))
    if not found:
        return (yield from held.bury("the alert was pruned"))
    return (yield from told_alone(held, found[0], channels, enrich))


def told_alone(  # noqa: PLR0911 - one for each way a delivery ends
    held: _Held, alert: Alert, channels: Channels, enrich: Enrich | None
) -> Plan[Outcome]:
    """Send what is held, unless it is not to be sent now, and write down what came of it."""
    settled = yield from _not_now(held, alert)
    if settled is not None:
        return settled
    policy, taken = held.policy, held.document
    try:
        channel = yield from plans.outside(lambda: channels.get(text_of(taken, "channel")))
    except NotFoundError as error:
        now = yield from plans.now()
        if abs(now - from_micros(whole_of(taken, "created"))) < policy.unknown_grace:
            return (yield from held.put_off("waiting", policy.unknown_grace / 4))
        return (yield from held.bury(str(error)))
    except F1monError as error:
        return (yield from held.bury(str(error)))
    except Exception as error:  # noqa: BLE001 - a channel that cannot be made is a failed attempt too
        return (yield from held.failed(error))
    message = yield from _message(held, alert, enrich)
    if message is None:
        return "lost"
    try:
        reached = yield from plans.outside(lambda: _send(channel, message, held.settled))
    except Exception as error:  # noqa: BLE001 - whatever a channel raises is a failed attempt, logged and counted
        return (yield from held.failed(error))
    return (yield from held.reached(reached))


def _send(channel: Channel, message: Message, settled: Collection[str]) -> Reached:
    try:
        if isinstance(channel, SeveralChannel):
            return channel.send_to_rest(message, settled)
        channel.send(message)
    except Exception:
        raise
    except BaseException as error:
        # `sys.exit()` in a callback ends the callback, neither the worker nor whoever waits for it.
        raise DeliveryError(f"the channel raised {type(error).__name__}") from error
    return Reached()


def _not_now(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What became of a delivery that is not to be sent now; None if it is."""
    for unless in (_unless_inhibited, _unless_out_of_turn, _unless_silenced):
        if (settled := (yield from unless(held, alert))) is not None:
            return settled
    return None


def _unless_out_of_turn(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What becomes of a reminder or a "resolved" that is not to be sent now; None if it is.

    It waits until the alerts of its incident have left the channel's queue; but whoever has them is told the end while
    others, who were put off, are still to be told that it fired. A reminder has nothing to say once somebody took the
    alert on, a "resolved" where nobody was told that it fired.
    """
    purpose, channel = held.document["purpose"], text_of(held.document, "channel")
    if purpose == "alert" or alert.incident_id is None:
        return None
    if purpose == "reminder" and ((yield from _taken_on(alert)) or (yield from _was_closed(alert.incident_id))):
        return (yield from held.drop())
    of_incident = {one.alert_id for one in (yield from _alerts_of(alert.incident_id))}
    # In this order: what arrives between the two looks is seen by the second, and what was told is never overlooked.
    ahead = yield from _ahead(of_incident, channel)
    told = yield from _told(of_incident, channel)
    waits = [one for one in ahead if purpose == "reminder" or not _is_told_past(one, told=told)]
    now = yield from plans.now()
    if waits:
        return (yield from held.put_off("waiting", _until_due(waits[0], now, held.policy)))
    if purpose == "resolved":
        told_some = any(outbox.told(one) for one in ahead)
        if not held.document.get("silenced") and not told and not told_some:
            if (yield from _letters(of_incident, channel)):
                return (yield from held.bury("the alert that this resolves did not arrive"))
            return (yield from held.drop())
        held.later = frozenset(who for one in ahead for who in outbox.put_off_people(one))
        held.wait = max((_until_due(one, now, held.policy) for one in ahead), default=held.policy.base)
    return None


def _ahead(alert_ids: Collection[str], channel: str) -> Plan[list[Document]]:
    """What a channel is still to be told of these alerts."""
    found: list[Document] = []
    for alert_id in sorted(alert_ids):
        of_alert = outbox.sound((yield from plans.state(state_prefix("delivery", alert_id)))).values()
        waiting = [one for one in of_alert if one["alert_id"] == alert_id and one["channel"] == channel]
        found += [one for one in waiting if one["purpose"] == "alert"]
    return found


def _is_told_past(document: Document, *, told: bool) -> bool:
    """Whether the end may be told before an alert arrived: somebody has it, or an earlier one while it fails."""
    return bool(outbox.told(document)) or (told and whole_of(document, "failures") > 0 and "token" not in document)


def _until_due(document: Document, now: datetime, policy: Policy) -> timedelta:
    until = from_micros(whole_of(document, "due")) if "token" not in document else now
    return max(until - now, policy.base)


def _unless_inhibited(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What becomes of a delivery that another rule inhibits, or did until now; None if it is to be sent.

    What ends is told to whoever was told that it fired, whatever fires beside it.
    """
    if held.document["purpose"] == "resolved":
        return None
    if (by := (yield from Inhibitors().of_delivery(held.document))) is not None:
        if held.document["purpose"] == "reminder":
            return (yield from held.drop())
        return (yield from held.inhibited(by))
    was = outbox.inhibited_by(held.document, "was_inhibited")
    if was is not None and not (yield from _still_worth_telling(held, alert)):
        why = f"inhibited by {was} until now; it has ended meanwhile, or was told by another alert"
        _log.info("delivery %s is dropped: %s", held.key, why, extra={"delivery": held.key})
        return (yield from held.drop(alert, why))
    return None


def _was_closed(incident_id: str) -> Plan[bool]:
    """Whether an edit of its rule ended an incident."""
    where = {"incident_id": incident_id, "event": "closed"}
    return bool((yield from plans.find(Select.of(IncidentEvent, where=where, limit=1))))


def _taken_on(alert: Alert) -> Plan[bool]:
    """Whether somebody acknowledged an alert, or its incident since."""
    acknowledged = Select.of(Acknowledgement, where={"alert_id": alert.alert_id}, limit=1)
    if (yield from plans.find(acknowledged)):
        return True
    incident = watches.read((yield from plans.document(watches.alert_key(alert)))).incident
    same = incident is not None and incident.incident_id == alert.incident_id
    return same and incident is not None and incident.acknowledged is not None


def _unless_silenced(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What a silence makes of a delivery; None if it is to be sent."""
    now = yield from plans.now()
    purpose = held.document["purpose"]
    silence = yield from silences.covering(alert, now)
    if silence is not None:
        if purpose == "reminder":
            return (yield from held.drop())
        return (yield from held.put_off("silenced", silence.end - now, silenced=True))
    if held.document.get("silenced") and not (yield from _still_worth_telling(held, alert)):
        return (yield from held.drop())
    return None


def _still_worth_telling(held: _Held, alert: Alert) -> Plan[bool]:
    """Whether what a silence held back is still to be told: once, if it still fires and nobody was told of it.

    An alert that no rule made has nothing that could have ended, and is told. That an incident resolved is told to
    those who were told that it fired.
    """
    if alert.incident_id is None:
        return True
    of_incident = yield from _alerts_of(alert.incident_id)
    channel = text_of(held.document, "channel")
    if held.document["purpose"] == "resolved":
        return (yield from _told([one.alert_id for one in of_incident], channel))
    # Whoever knows of a warning does not know that it became critical.
    as_severe = [one.alert_id for one in of_incident if rank(one.severity) >= rank(alert.severity)]
    told = yield from _told(as_severe, channel)
    watch = watches.read((yield from plans.document(watches.alert_key(alert))))
    current = watch.incident
    fires = watch.phase == "firing" and current is not None and current.incident_id == alert.incident_id
    return fires and not told and current is not None and current.alerts[-1] == alert.alert_id


def _alerts_of(incident_id: str) -> Plan[Sequence[Alert]]:
    return (yield from plans.find(Select.of(Alert, where={"incident_id": incident_id})))


def _told(alert_ids: Collection[str], channel: str) -> Plan[bool]:
    """Whether a channel told anybody of one of these alerts."""
    select = Select.of(Delivery, where={"alert_id": list(alert_ids), "channel": channel}, limit=1)
    if (yield from plans.find(select)):
        return True
    return any(outbox.told(letter) for letter in (yield from _letters(alert_ids, channel)))


def _letters(alert_ids: Collection[str], channel: str) -> Plan[list[Document]]:
    """The dead letters of a channel that are of these alerts."""
    letters = (yield from outbox.dead_letters()).values()
    return [one for one in letters if one["channel"] == channel and one["alert_id"] in alert_ids]


def _message(held: _Held, alert: Alert, enrich: Enrich | None) -> Plan[Message | None]:
    """The message, rendered once and kept; None if the lease was lost meanwhile.

    Only what an incident's end makes untrue is rendered again: then it says that it has ended.
    """
    end = yield from end_of(held.document, alert)
    message = None if (kept := held.document.get("payload")) is None else Message.of_document(kept, alert)
    if message is not None and (message.end is not None or end is None):
        return message
    purpose = cast("outbox.Purpose", held.document["purpose"])
    name, channel = text_of(held.document, "name"), text_of(held.document, "channel")
    key = alert.alert_id + name.removeprefix(channel)
    store = yield from plans.ask(lambda storage: storage.address)
    late = whole_of(held.document, "attempts") > 1
    message = rendered(alert, purpose, key, end=end, store=store, late=late)
    if enrich is not None:
        try:
            added = yield from plans.outside(lambda: enrich(alert))
            sections = (yield from added) if isinstance(added, Generator) else added
            message = rendered(alert, purpose, key, sections, end=end, store=store, late=late)
        except Exception:  # noqa: BLE001 - the alert matters more than what would have been said beside it
            _log.exception("the enrichment of alert %s failed", alert.alert_id, extra={"alert_id": alert.alert_id})
    step = outbox.keep_payload(held.token, message.to_document())
    kept_whole = yield from plans.settle(held.key, step, operation_id=new_operation_id())
    return message if kept_whole else None


def end_of(document: Document, alert: Alert) -> Plan[Document | None]:
    """How what is told ended: of "resolved", and of an alert whose incident has ended before it was told."""
    found = document.get("end")
    if isinstance(found, dict) or alert.incident_id is None:
        return found if isinstance(found, dict) else None
    incident = watches.read((yield from plans.document(watches.alert_key(alert)))).incident
    if incident is not None and incident.incident_id == alert.incident_id:
        return None
    events = yield from plans.find(Select.of(IncidentEvent, where={"incident_id": alert.incident_id}))
    ends = [one for one in events if one.event in ("resolved", "closed")]
    if not ends:
        return None
    last, value = ends[-1], ends[-1].details.get("value")
    reason = f"by {last.details.get('by') or 'hand'}: {last.reason}" if last.details.get("by_hand") else last.reason
    opened, at = to_micros(events[0].instant), to_micros(last.instant)
    return {"event": last.event, "reason": reason, "value": value, "opened": opened, "at": at}


@attrs.define
class _Held:
    """A delivery under lease, and the ways to end the lease.

    Attributes:
        later: Who of several is told this only after an alert that they are still to be told.
        wait: How long those of `later` wait.
        until: When it is tried again if it fails; None for what the policy says.
    """

    key: str
    token: str
    document: Document
    policy: Policy
    trial: str = rests.OPEN
    later: frozenset[str] = frozenset()
    wait: timedelta = timedelta(0)
    until: int | None = None

    def _end(self, step: Any, outcome: Outcome) -> Plan[Outcome]:
        held = yield from plans.settle(self.key, step, operation_id=new_operation_id())
        return outcome if held else "lost"

    def _answered(self) -> Plan[None]:
        """The channel works, whatever it said of this message: whoever tried it out ends its rest."""
        if self.trial != rests.OPEN:
            key = rests.rest_key(text_of(self.document, "channel"))
            yield from plans.settle(key, rests.ending(self.trial), operation_id=new_operation_id())

    @property
    def settled(self) -> list[str]:
        """Who of several needs no further attempt."""
        return [*outbox.told(self.document), *outbox.refused(self.document), *self.later]

    def reached(self, reached: Reached) -> Plan[Outcome]:
        """Everybody has it, or those who do not are tried again, or named in a dead letter."""
        yield from self._answered()
        told = list(dict.fromkeys([*outbox.told(self.document), *reached.told]))
        refused = {**outbox.refused(self.document), **_shown(reached.refused)}
        whole = attrs.evolve(reached, told=told, refused=refused, put_off=_shown(reached.put_off))
        marks: Document = {"told": [*told], "refused": {**refused}, "put_off": {**whole.put_off}}
        if reached.put_off:
            return (yield from self.again(whole.reason(), marks=marks))
        if self.later:
            return (yield from self.put_off("waiting", self.wait, marks=marks))
        if refused:
            return (yield from self.bury(whole.reason(), marks))
        details: Document | None = {"told": [*told]} if len(told) > len(reached.told) else None
        return (yield from self._end(outbox.complete(self.token, details), "delivered"))

    def drop(self, alert: Alert | None = None, why: str = "") -> Plan[Outcome]:
        """Nothing is to be told any more; where an alert is given, the history of its incident says why."""
        noted = None if alert is None else self._noted(alert, "dropped", why)
        return (yield from self._end(outbox.drop(self.token, noted), "dropped"))

    def put_off(
        self, outcome: Outcome, duration: timedelta, *, silenced: bool = False, marks: Document | None = None
    ) -> Plan[Outcome]:
        return (yield from self._end(outbox.put_off(self.token, duration, silenced=silenced, marks=marks), outcome))

    def inhibited(self, by: str) -> Plan[Outcome]:
        _log.info("delivery %s is inhibited by %s", self.key, by, extra={"delivery": self.key})
        now = yield from plans.now()
        marks: Document = {"inhibited": {"by": by, "since": to_micros(now)}}
        return (yield from self.put_off("inhibited", timedelta(seconds=INHIBITED_SECONDS), marks=marks))

    def _noted(self, alert: Alert, event: str, why: str) -> Callable[[datetime], IncidentEvent | None]:
        details: Document = {"channel": self.document["channel"]}
        seed = f"{self.key}/{self.token}"
        return lambda now: note_of(alert, event, why, now, seed, details)

    def bury(self, reason: str, marks: Document | None = None) -> Plan[Outcome]:
        _log.error("delivery %s is dead: %s", self.key, reason, extra={"delivery": self.key})
        return (yield from self._end(outbox.bury(self.token, one_line(reason), marks), "dead"))

    def failed(self, error: Exception, *, first: bool = True) -> Plan[Outcome]:
        """What a failed attempt means; of several in one message the `first` speaks for the channel."""
        reason = str(error) if isinstance(error, F1monError) else f"{type(error).__name__}: {error}"
        reason = one_line(discreet(reason))
        if isinstance(error, DeliveryError) and not error.retry:
            yield from self._answered()
            return (yield from self.bury(reason))
        after = error.after if isinstance(error, DeliveryError) else None
        of_channel = _is_the_channels(error)
        if not of_channel:
            yield from self._answered()
        elif first:
            yield from self._let_rest(reason, after)
        return (yield from self.again(reason, after, of_channel=of_channel))

    def again(
        self, reason: str, after: float | None = None, *, of_channel: bool = False, marks: Document | None = None
    ) -> Plan[Outcome]:
        _log.warning("delivery %s failed: %s", self.key, reason, extra={"delivery": self.key})
        duration = self.policy.wait(whole_of(self.document, "failures"), after)
        give_up, least = self.policy.give_up, self.policy.least_failures
        step = outbox.fail(
            self.token, duration, reason, give_up, least, of_channel=of_channel, marks=marks, until=self.until
        )
        dead = yield from plans.settle(self.key, step, operation_id=new_operation_id())
        return "lost" if dead is None else "dead" if dead else "failed"

    def _let_rest(self, reason: str, after: float | None) -> Plan[None]:
        channel = text_of(self.document, "channel")
        rest = yield from rests.rest_of(channel)
        wait = self.policy.wait(0 if rest is None else whole_of(rest, "failures"), after)
        step = rests.resting(channel, wait, reason)
        yield from plans.settle(rests.rest_key(channel), step, operation_id=new_operation_id())
        _log.warning(
            "channel %s rests for %.1f seconds: %s", channel, wait.total_seconds(), reason, extra={"channel": channel}
        )


def _shown(people: Mapping[str, str]) -> dict[str, str]:
    return {one_line(who): one_line(discreet(why)) for who, why in people.items()}


def _is_the_channels(error: Exception) -> bool:
    """Whether a failure says that no other message would have gone through either."""
    return error.channel if isinstance(error, DeliveryError) else isinstance(error, ConnectionError | TimeoutError)
