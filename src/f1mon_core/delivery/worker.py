"""Delivery: from the outbox to the channels, at least once.

A crash between sending and writing that down sends again; none loses. Each channel is served on a thread of its own,
so one that hangs holds up neither the others nor whoever evaluates.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

import attrs

from f1mon_core.alerts import incident as incidents
from f1mon_core.alerts import outbox, silences
from f1mon_core.delivery.channels import Channel, Channels
from f1mon_core.delivery.messages import Message, Section, rendered
from f1mon_core.errors import DeliveryError, F1monError, NotFoundError
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import MICROSECOND, from_micros
from f1mon_core.storage import plans
from f1mon_core.storage.contract import AsyncStorage, Select, Storage
from f1mon_core.storage.plans import Plan
from f1mon_core.text import discreet, one_line

Outcome: TypeAlias = Literal["delivered", "failed", "dead", "silenced", "dropped", "lost", "waiting"]

THOROUGH_EVERY = 60
"""Every so many rounds a watching worker looks at everything that waits."""
CLOSING_SECONDS = 15.0
"""How long closing waits for what is being sent."""

R = TypeVar("R")


class Enrich(Protocol):
    """What is said beside an alert: a function of the alert, or a plan where it asks the store.

    It is called once for each message, on the thread that sends it, when the message is rendered; every later attempt
    sends the same. Whatever it raises is logged, and the alert is sent without it.
    """

    def __call__(self, alert: Alert, /) -> Sequence[Section] | Plan[Sequence[Section]]:
        """The sections to add, none for nothing to say; their text may be hostile."""
        ...


_log = logging.getLogger("f1mon.delivery")


@attrs.frozen(kw_only=True)
class Policy:
    """How patient a worker is.

    Attributes:
        lease: How long a delivery belongs to the worker that took it; longer than any channel takes to send.
        base, cap: The n-th repeat waits a random time of up to min(cap, base * 2**n) (full jitter).
        give_up: A delivery that still fails at this age becomes a dead letter.
        least_failures: But not before it failed so often.
        unknown_grace: A name nothing is configured for may be another process's callback: this long it is left alone.
    """

    lease: timedelta = timedelta(seconds=120)
    base: timedelta = timedelta(seconds=2)
    cap: timedelta = timedelta(minutes=15)
    give_up: timedelta = timedelta(hours=24)
    least_failures: int = 8
    unknown_grace: timedelta = timedelta(minutes=1)

    def wait(self, failures: int, after: float | None = None) -> timedelta:
        """How long to wait after the failure of this number, counted from 0; at least what the other side asked."""
        longest = min(self.cap, self.base * 2 ** min(failures, 30))
        jittered = random.uniform(0, longest.total_seconds())  # noqa: S311 - jitter
        return max(timedelta(seconds=jittered), timedelta(seconds=after or 0.0))


@attrs.frozen
class DeliveryReport:
    """What one round came to.

    Attributes:
        outcomes: How many deliveries came to what: "delivered", "failed" (to be repeated), "dead", "silenced",
            "dropped" (nothing to tell any more), "lost" (another worker took it), "waiting" (nobody here knows it).
        unfinished: Channels that were still busy when the time to wait was over.
    """

    outcomes: Mapping[str, int] = attrs.field(factory=dict)
    unfinished: tuple[str, ...] = ()

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes.get(outcome, 0)

    @property
    def delivered(self) -> int:
        """How many arrived."""
        return self["delivered"]


@attrs.frozen
class Pending:
    """A delivery on its way, or a dead letter.

    Attributes:
        due: When it is tried next; None for a dead letter.
        attempts, failures: How often it was taken, and how often it was reported to have failed.
        error: The last failure.
    """

    alert_id: str
    channel: str
    name: str
    purpose: str
    created: int
    due: int | None
    attempts: int
    failures: int
    error: str | None

    @classmethod
    def of(cls, document: Document) -> Pending:
        """What a state document of the outbox says."""
        return cls(**{field.name: cast("Any", document.get(field.name)) for field in attrs.fields(cls)})


# Plans --------------------------------------------------------------------------------------------------------------


def due(*, thorough: bool = True) -> Plan[dict[str, list[str]]]:
    """The keys of the deliveries that may be taken now, oldest first, by channel.

    Args:
        thorough: Look at everything that waits where nothing is due: a clock that was set back leaves deliveries due
            in what is now the future.
    """
    now = yield from plans.now()
    found = yield from plans.state(outbox.WAITING, due_before=now + MICROSECOND)
    if not found and thorough:
        found = yield from plans.state(outbox.WAITING)
    by_channel: dict[str, list[str]] = {}
    for key, document in found.items():
        if outbox.is_due(document, now):
            by_channel.setdefault(cast("str", document["channel"]), []).append(key)
    return by_channel


def attempt(  # noqa: PLR0911 - one for each way a delivery ends
    key: str, channels: Channels, policy: Policy, enrich: Enrich | None = None
) -> Plan[Outcome]:
    """Take one delivery, send it, and write down what came of it."""
    token = new_operation_id()
    taken: Any = yield from plans.settle(key, outbox.lease(token, policy.lease), operation_id=token)
    if taken is None:
        return "lost"
    held = _Held(key, token, taken, policy)
    found = cast("Sequence[Alert]", (yield from plans.find(Select("alert", where={"alert_id": taken["alert_id"]}))))
    if not found:
        return (yield from held.bury("the alert was pruned"))
    alert = found[0]
    settled = yield from _not_now(held, alert)
    if settled is not None:
        return settled
    try:
        channel = yield from plans.outside(lambda: channels.get(taken["channel"]))
    except NotFoundError as error:
        now = yield from plans.now()
        if abs(now - from_micros(taken["created"])) < policy.unknown_grace:
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
        yield from plans.outside(lambda: _send(channel, message))
    except Exception as error:  # noqa: BLE001 - whatever a channel raises is a failed attempt, logged and counted
        return (yield from held.failed(error))
    return (yield from held.delivered())


def _send(channel: Channel, message: Message) -> None:
    try:
        channel.send(message)
    except Exception:
        raise
    except BaseException as error:
        # `sys.exit()` in a callback ends the callback, neither the worker nor whoever waits for it.
        raise DeliveryError(f"the channel raised {type(error).__name__}") from error


def _not_now(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What became of a delivery that is not to be sent now; None if it is."""
    settled = yield from _unless_out_of_turn(held, alert)
    return settled if settled is not None else (yield from _unless_silenced(held, alert))


def _unless_out_of_turn(held: _Held, alert: Alert) -> Plan[Outcome | None]:
    """What becomes of a reminder or a "resolved" that is not to be sent now; None if it is.

    It waits until the alerts of its incident have left the channel's queue. A reminder has nothing to say once somebody
    took the alert on, a "resolved" where nobody was told that it fired.
    """
    purpose, channel = held.document["purpose"], cast("str", held.document["channel"])
    if purpose == "alert" or alert.incident_id is None:
        return None
    if purpose == "reminder" and (yield from _taken_on(alert)):
        return (yield from held.drop())
    of_incident = yield from _alert_ids(alert.incident_id)
    now = yield from plans.now()
    for document in (yield from plans.state(outbox.WAITING)).values():
        if document["channel"] == channel and document["purpose"] == "alert" and document["alert_id"] in of_incident:
            until = from_micros(cast("int", document["due"])) if "token" not in document else now
            return (yield from held.put_off("waiting", max(until - now, held.policy.base)))
    if purpose == "resolved" and not held.document.get("silenced") and not (yield from _told(of_incident, channel)):
        if (yield from _is_dead(of_incident, channel)):
            return (yield from held.bury("the alert that this resolves did not arrive"))
        return (yield from held.drop())
    return None


def _taken_on(alert: Alert) -> Plan[bool]:
    """Whether somebody acknowledged an alert, or its incident since."""
    acknowledged = Select("acknowledgement", where={"alert_id": alert.alert_id}, limit=1)
    if (yield from plans.find(acknowledged)):
        return True
    incident = incidents.read((yield from plans.document(incidents.alert_key(alert)))).incident
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
    told = yield from _told((yield from _alert_ids(alert.incident_id)), cast("str", held.document["channel"]))
    if held.document["purpose"] == "resolved":
        return told
    watch = incidents.read((yield from plans.document(incidents.alert_key(alert))))
    current = watch.incident
    fires = watch.phase == "firing" and current is not None and current.incident_id == alert.incident_id
    return fires and not told and current is not None and current.alerts[-1] == alert.alert_id


def _alert_ids(incident_id: str) -> Plan[set[str]]:
    found = cast("Sequence[Alert]", (yield from plans.find(Select("alert", where={"incident_id": incident_id}))))
    return {one.alert_id for one in found}


def _told(alert_ids: Collection[str], channel: str) -> Plan[bool]:
    """Whether a channel was told of one of these alerts."""
    select = Select("delivery", where={"alert_id": list(alert_ids), "channel": channel}, limit=1)
    return bool((yield from plans.find(select)))


def _is_dead(alert_ids: Collection[str], channel: str) -> Plan[bool]:
    """Whether one of these alerts is a dead letter of a channel."""
    letters = (yield from plans.state(outbox.DEAD)).values()
    return any(one["channel"] == channel and one["alert_id"] in alert_ids for one in letters)


def _message(held: _Held, alert: Alert, enrich: Enrich | None) -> Plan[Message | None]:
    """The message, rendered once and kept; None if the lease was lost meanwhile."""
    if (kept := held.document.get("payload")) is not None and (message := Message.of_document(kept, alert)) is not None:
        return message
    purpose = cast("outbox.Purpose", held.document["purpose"])
    name, channel = cast("str", held.document["name"]), cast("str", held.document["channel"])
    key = alert.alert_id + name.removeprefix(channel)
    message = rendered(alert, purpose, key)
    if enrich is not None:
        try:
            added = yield from plans.outside(lambda: enrich(alert))
            sections = (yield from added) if isinstance(added, Generator) else added
            message = rendered(alert, purpose, key, sections)
        except Exception:  # noqa: BLE001 - the alert matters more than what would have been said beside it
            _log.exception("the enrichment of alert %s failed", alert.alert_id, extra={"alert_id": alert.alert_id})
    step = outbox.keep_payload(held.token, message.to_document())
    kept_whole = yield from plans.settle(held.key, step, operation_id=new_operation_id())
    return message if kept_whole else None


@attrs.frozen
class _Held:
    """A delivery under lease, and the ways to end the lease."""

    key: str
    token: str
    document: Document
    policy: Policy

    def _end(self, step: Any, outcome: Outcome) -> Plan[Outcome]:
        held = yield from plans.settle(self.key, step, operation_id=new_operation_id())
        return outcome if held else "lost"

    def delivered(self) -> Plan[Outcome]:
        return (yield from self._end(outbox.complete(self.token), "delivered"))

    def drop(self) -> Plan[Outcome]:
        return (yield from self._end(outbox.drop(self.token), "dropped"))

    def put_off(self, outcome: Outcome, duration: timedelta, *, silenced: bool = False) -> Plan[Outcome]:
        return (yield from self._end(outbox.put_off(self.token, duration, silenced=silenced), outcome))

    def bury(self, reason: str) -> Plan[Outcome]:
        _log.error("delivery %s is dead: %s", self.key, reason, extra={"delivery": self.key})
        return (yield from self._end(outbox.bury(self.token, one_line(reason)), "dead"))

    def failed(self, error: Exception) -> Plan[Outcome]:
        reason = str(error) if isinstance(error, F1monError) else f"{type(error).__name__}: {error}"
        reason = one_line(discreet(reason))
        if isinstance(error, DeliveryError) and not error.retry:
            return (yield from self.bury(reason))
        _log.warning("delivery %s failed: %s", self.key, reason, extra={"delivery": self.key})
        failures = cast("int", self.document["failures"])
        after = error.after if isinstance(error, DeliveryError) else None
        duration = self.policy.wait(failures, after)
        step = outbox.fail(self.token, duration, reason, self.policy.give_up, self.policy.least_failures)
        dead = yield from plans.settle(self.key, step, operation_id=new_operation_id())
        return "lost" if dead is None else "dead" if dead else "failed"


def serve(
    channel: str, keys: Sequence[str], channels: Channels, policy: Policy, enrich: Enrich | None
) -> Plan[Counter[str]]:
    """Attempt the deliveries of one channel in turn, until one fails: what is broken is given a rest."""
    outcomes: Counter[str] = Counter()
    for key in keys:
        outcome = yield from attempt(key, channels, policy, enrich)
        outcomes[outcome] += 1
        if outcome == "failed":
            _log.info("channel %s rests until the next round", channel, extra={"channel": channel})
            break
    return outcomes


def pending() -> Plan[list[Pending]]:
    """What is on its way, oldest first."""
    return [Pending.of(document) for document in (yield from plans.state(outbox.WAITING)).values()]


def dead() -> Plan[list[Pending]]:
    """The dead letters, oldest first."""
    return [Pending.of(document) for document in (yield from plans.state(outbox.DEAD)).values()]


def retry_dead(alert_id: str | None = None, channel: str | None = None) -> Plan[int]:
    """Put dead letters back on their way: all, those of an alert, or of a channel. Returns how many."""
    revived = 0
    for key, document in (yield from plans.state(outbox.DEAD)).items():
        if alert_id in (None, document["alert_id"]) and channel in (None, document["channel"]):
            revived += bool((yield from plans.settle(key, outbox.revive(), operation_id=new_operation_id())))
    return revived


# Drivers ------------------------------------------------------------------------------------------------------------

F = TypeVar("F", Future[Counter[str]], asyncio.Task[Counter[str]])


class _Channels(Generic[F]):
    """What both drivers know of the channels they serve: who is busy since when, and for whom more came meanwhile."""

    def __init__(self, channels: Channels, policy: Policy | None, enrich: Enrich | None) -> None:
        self.channels = channels
        self._policy, self._enrich = policy or Policy(), enrich
        self._forget()
        _drivers.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, tuple[F, float]] = {}
        self._again: set[str] = set()

    def _start(
        self,
        by_channel: Mapping[str, Sequence[str]],
        patience: float | None,
        begin: Callable[[str, Plan[Counter[str]]], F],
    ) -> dict[str, F]:
        """The channels worth waiting for: those begun now, and busy ones that have not used up their patience."""
        worth: dict[str, F] = {}
        now = time.monotonic()
        with self._lock:
            for channel, keys in by_channel.items():
                running, since = self._running.get(channel, (None, now))
                if running is not None and self._goes_on(running):
                    self._again.add(channel)
                    if patience is None or now - since < patience:
                        worth[channel] = running
                    continue
                worth[channel] = begin(channel, self._served(channel, keys))
                self._running[channel] = (worth[channel], now)
        return worth

    def _served(self, channel: str, keys: Sequence[str]) -> Plan[Counter[str]]:
        """Serve a channel, and again if more came for it meanwhile."""
        outcomes: Counter[str] = Counter()
        try:
            while True:
                served = yield from serve(channel, keys, self.channels, self._policy, self._enrich)
                outcomes += served
                with self._lock:
                    if channel not in self._again or served["failed"]:
                        self._again.discard(channel)
                        self._running.pop(channel, None)
                        return outcomes
                    self._again.discard(channel)
                keys = (yield from due()).get(channel, [])
        except Exception:
            _log.exception("channel %s could not be served", channel, extra={"channel": channel})
            raise

    def _report(self, done: Iterable[F]) -> DeliveryReport:
        outcomes: Counter[str] = Counter()
        for served in done:
            outcomes += served.result()
        return DeliveryReport(dict(outcomes), tuple(sorted(self._busy())))

    def _busy(self) -> dict[str, F]:
        with self._lock:
            return {channel: running for channel, (running, _) in self._running.items() if self._goes_on(running)}

    def _goes_on(self, running: F) -> bool:
        return not running.done()

    def _leave(self, busy: Iterable[str]) -> None:
        for channel in busy:
            _log.warning("channel %s is still busy; what it was sending stays in the outbox", channel)
            with self._lock:
                self._running.pop(channel, None)


_drivers: weakref.WeakSet[_Channels[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    # The threads that served the channels stayed with the parent, and a lock may have been held by one of them.
    for driver in _drivers:
        driver._forget()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Dispatcher(_Channels[Future[Counter[str]]]):
    """Serves every channel of a store on a thread of its own."""

    def __init__(
        self, storage: Storage, channels: Channels, policy: Policy | None = None, enrich: Enrich | None = None
    ) -> None:
        super().__init__(channels, policy, enrich)
        self._storage = storage

    def round(self, patience: float | None = None, *, thorough: bool = True) -> DeliveryReport:
        """Attempt what is due, every channel beside the others.

        Args:
            patience: Seconds a channel is waited for; None waits for all. What is not done then goes on behind.
            thorough: See `due`.
        """
        started = self._start(plans.run(due(thorough=thorough), self._storage), patience, self._begin)
        done, _ = wait(started.values(), timeout=patience)
        return self._report(done)

    def _begin(self, channel: str, plan: Plan[Counter[str]]) -> Future[Counter[str]]:
        return beside(lambda: plans.run(plan, self._storage), f"f1mon-{channel}")

    def watch(self, stop: threading.Event, interval: float = 1.0) -> None:
        """Serve the channels until `stop` is set; a channel that hangs is not waited for."""
        for number in itertools.count():
            if stop.is_set():
                return
            try:
                self.round(patience=0, thorough=number % THOROUGH_EVERY == 0)
            except Exception:  # noqa: BLE001 - a worker goes on; what fails is logged
                _log.exception("the outbox could not be served; it is tried again")
            stop.wait(interval)

    def close(self, patience: float | None = None) -> None:
        """Wait for what is being sent, but for no channel that hangs; the rest stays in the outbox.

        Args:
            patience: Seconds to wait; `CLOSING_SECONDS` if None.
        """
        wait(self._busy().values(), timeout=CLOSING_SECONDS if patience is None else patience)
        self._leave(self._busy())


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


def beside(call: Callable[[], R], name: str) -> Future[R]:
    """Do something on a thread that ends with the process, however long it takes."""
    future: Future[R] = Future()

    def work() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


@atexit.register
def _finish() -> None:
    """Give what is being sent a little time when the process ends: nobody may be there to send it again soon."""
    busy = [running for driver in list(_drivers) for running in driver._busy().values()]  # noqa: SLF001 - as above
    wait([running for running in busy if isinstance(running, Future)], timeout=CLOSING_SECONDS)
