"""Delivery: from the outbox to the channels, at least once.

A crash between sending and writing that down sends again; none loses. Each channel is served on a thread of its own,
so one that hangs holds up neither the others nor whoever evaluates.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Generic, Protocol, TypeVar

from f1mon_core import forks
from f1mon_core.alerts import outbox
from f1mon_core.delivery import heartbeat, rests
from f1mon_core.delivery.attempts import Enrich, Policy, attempt
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.groups import attempt_group, gathered
from f1mon_core.delivery.report import DeliveryReport
from f1mon_core.delivery.turns import in_turn, is_first
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.times import MICROSECOND, shifted
from f1mon_core.storage import plans
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.entries import text_of
from f1mon_core.storage.plans import Plan

THOROUGH_EVERY = 60
"""Every so many rounds a watching worker looks at everything that waits."""
LOOK_AGAIN_SECONDS = 1.0
"""How long a channel with much to send is served before what came meanwhile is looked for."""
LOOKING_SHARE = 2
"""A watching worker pauses so many times longer than it looked: to look at many thousands takes from who sends them."""
ROUND_SECONDS = 60.0
"""How long a round repeats what failed; first attempts take the time they take."""
CLOSING_SECONDS = 15.0
"""How long closing waits for what is being sent."""

R = TypeVar("R")


_log = logging.getLogger("f1mon.delivery")


# Plans --------------------------------------------------------------------------------------------------------------


def due(*, thorough: bool = True) -> Plan[dict[str, dict[str, Document]]]:
    """The deliveries that may be taken now, by their keys and in the order of their turns, by channel.

    Args:
        thorough: Look at everything that waits where nothing is due: a clock that was set back leaves deliveries due
            in what is now the future.
    """
    now = yield from plans.now()
    found = yield from plans.state(outbox.WAITING, due_before=shifted(now, MICROSECOND))
    if not found and thorough:
        found = yield from plans.state(outbox.WAITING)
    by_channel: dict[str, dict[str, Document]] = {}
    for key, document in found.items():
        if (flaw := outbox.flaw(document)) is not None:
            # Left where it is, for `check` to name: it must not keep what is sound from its turn.
            _log.error("the delivery %r is damaged and tells nobody: %s", key, flaw, extra={"key": key})
        elif outbox.is_due(document, now):
            by_channel.setdefault(text_of(document, "channel"), {})[key] = document
    return {channel: _ordered(documents) for channel, documents in by_channel.items()}


def _ordered(documents: Mapping[str, Document]) -> dict[str, Document]:
    return {key: documents[key] for key in in_turn(documents)}


def serve(
    channel: str, keys: Mapping[str, Document], channels: Channels, policy: Policy, enrich: Enrich | None
) -> Plan[Counter[str]]:
    """Attempt the deliveries of one channel in turn, each once, until the channel is to rest.

    A delivery that fails holds up none behind it. What comes meanwhile is looked for now and then, and has its turn
    before the repeats; after a minute only what has never been answered is still served. What is told in one message,
    or kept for now, `groups.gathered` says.
    """
    outcomes: Counter[str] = Counter()
    begun = looked = time.monotonic()
    turns = yield from gathered(channel, keys, channels)
    outcomes.update(turns.kept)
    left, newest, late, groups = deque(turns.keys), max(keys, default=""), False, dict(turns.groups)
    while left:
        present = time.monotonic()
        if not late and present >= begun + ROUND_SECONDS:
            late, firsts = True, {key for key, one in (yield from _due_at(channel)).items() if is_first(one)}
            left = deque(key for key in left if key in firsts)
        if present >= looked + LOOK_AGAIN_SECONDS:
            fresh = yield from _due_at(channel, newest)
            more = yield from gathered(channel, fresh, channels)
            outcomes.update(more.kept)
            groups |= more.groups
            left.extendleft(reversed(more.keys))
            newest, looked = max(fresh, default=newest), time.monotonic()
        if not left:
            break
        trial = yield from rests.admission(channel, policy.trial)
        if trial is None:
            outcomes["dead"] += yield from _abandoned(channel, policy)
            break
        key = left.popleft()
        if (group := groups.pop(key, None)) is None:
            outcomes[(yield from attempt(key, channels, policy, enrich, trial))] += 1
        else:
            outcomes += yield from attempt_group(group, channels, policy, enrich, trial)
        if trial != rests.OPEN:
            giving_up = rests.giving_up(trial)
            yield from plans.settle(rests.rest_key(channel), giving_up, operation_id=new_operation_id())
    return +outcomes


def _due_at(channel: str, after: str | None = None) -> Plan[dict[str, Document]]:
    """The deliveries that are due at a channel; behind a key, which is to say: of alerts made later."""
    now = yield from plans.now()
    found = yield from plans.state(outbox.WAITING, due_before=shifted(now, MICROSECOND), after=after)
    return {key: one for key, one in outbox.sound(found).items() if one["channel"] == channel}


def _abandoned(channel: str, policy: Policy) -> Plan[int]:
    """Bury what a channel could not take since before it was too old. Returns how many."""
    rest = yield from rests.rest_of(channel)
    now = yield from plans.now()
    if rest is None or not rests.has_failed_for(rest, now, policy.give_up, policy.least_failures):
        return 0
    abandon = outbox.abandon(f"the channel has failed for too long: {text_of(rest, 'error')}", policy.give_up)
    buried = 0
    for key in (yield from _due_at(channel)):
        buried += bool((yield from plans.settle(key, abandon, operation_id=new_operation_id())))
    return buried


# Drivers ------------------------------------------------------------------------------------------------------------


class _Serving(Protocol):
    """A channel that is being served, on a thread or as a task."""

    def done(self) -> bool: ...

    def result(self) -> Counter[str]: ...


F = TypeVar("F", bound=_Serving)


class _Channels(Generic[F]):
    """What both drivers know of the channels they serve: who is busy since when, and for whom more came meanwhile."""

    def __init__(self, channels: Channels, policy: Policy | None, enrich: Enrich | None) -> None:
        self.channels = channels
        self._policy, self._enrich = policy or Policy(), enrich
        self._forget()
        forks.start_anew(self, _Channels._forget)  # the threads that serve the channels stay with the parent
        _drivers.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, tuple[F, float]] = {}
        self._again: set[str] = set()
        self._beaten: float | None = None

    def _start(
        self,
        by_channel: Mapping[str, Mapping[str, Document]],
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

    def _served(self, channel: str, keys: Mapping[str, Document]) -> Plan[Counter[str]]:
        """Serve a channel, and again if more came for it meanwhile."""
        outcomes: Counter[str] = Counter()
        try:
            while True:
                served = yield from serve(channel, keys, self.channels, self._policy, self._enrich)
                outcomes += served
                with self._lock:
                    if channel not in self._again:
                        self._again.discard(channel)
                        self._running.pop(channel, None)
                        return outcomes
                    self._again.discard(channel)
                keys = (yield from due()).get(channel, {})
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

    def _beat(self, ping: str | None) -> None:
        """Call an address beside what is served, unless it was called just now."""
        if ping is None or (self._beaten is not None and time.monotonic() < self._beaten + heartbeat.LEAST_SECONDS):
            return
        self._beaten = time.monotonic()
        beside(lambda: heartbeat.call(ping, "delivering"), "f1mon-ping")

    def _leave(self, busy: Iterable[str]) -> None:
        for channel in busy:
            _log.warning("channel %s is still busy; what it was sending stays in the outbox", channel)
            with self._lock:
                self._running.pop(channel, None)


_drivers: weakref.WeakSet[_Channels[Any]] = weakref.WeakSet()


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

    def watch(self, stop: threading.Event, interval: float = 1.0, *, ping: str | None = None) -> None:
        """Serve the channels until `stop` is set; a channel that hangs is not waited for.

        Args:
            stop: Set by somebody else.
            interval: Seconds between the rounds.
            ping: An address to call after a round, at most once a minute, on a thread of its own.
        """
        for number in itertools.count():
            if stop.is_set():
                return
            begun = time.monotonic()
            try:
                self.round(patience=0, thorough=number % THOROUGH_EVERY == 0)
                self._beat(ping)
            except Exception:  # noqa: BLE001 - a worker goes on; what fails is logged
                _log.exception("the outbox could not be served; it is tried again")
            stop.wait(max(interval, LOOKING_SHARE * (time.monotonic() - begun)))

    def close(self, patience: float | None = None) -> None:
        """Wait for what is being sent, but for no channel that hangs; the rest stays in the outbox.

        Args:
            patience: Seconds to wait; `CLOSING_SECONDS` if None.
        """
        wait(self._busy().values(), timeout=CLOSING_SECONDS if patience is None else patience)
        self._leave(self._busy())


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
