"""Thirty days on a simulated clock: rules that fire and end, channels that fail in turns, workers that are killed."""

import contextlib
import json
import mmap
import os
import random
import signal
import struct
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from f1mon_core import AlertRule, DeliveryError, Monitor
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.worker import Dispatcher
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.select import Select

from ..servers import FRESH

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
A_ROUND = timedelta(hours=1)
WORKERS = 4
CHANNELS = ("pager", "chat", "log", "flaky-server", "flaky-messages")
QUIET_HOURS = 36
"""At the end, when nothing fires any more."""
ASKED_MINUTES = 90
"""What the server that is down asks to wait: longer than a round."""


@attrs.frozen
class Plan:
    """How long, how many rules, and how likely a worker is killed in a round."""

    hours: int
    rules: int
    kills: float
    seed: int = 5


class Shared:
    """What the processes share: the clock, the number of the round, and which each worker has done."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 8 * (2 + WORKERS))
        self.now = BEGIN

    def _get(self, place):
        return struct.unpack_from("q", self._memory, 8 * place)[0]

    def _set(self, place, value):
        struct.pack_into("q", self._memory, 8 * place, value)

    @property
    def now(self):
        return from_micros(self._get(0))

    @now.setter
    def now(self, instant):
        self._set(0, to_micros(instant))

    @property
    def number(self):
        return self._get(1)

    @number.setter
    def number(self, number):
        self._set(1, number)

    def done(self, worker):
        return self._get(2 + worker)

    def is_done(self, worker, number):
        self._set(2 + worker, number)


def is_down(channel, now):
    """Two channels fail in turns: a server that asks to wait, and one that takes some messages and others not."""
    day, hour = divmod(int((now - BEGIN) / timedelta(hours=1)), 24)
    if channel == "flaky-server":
        return day % 2 == 0 and 2 <= hour < 12
    return channel == "flaky-messages" and day % 2 == 1 and 2 <= hour < 12


@attrs.define
class Logged:
    """A channel that writes down each attempt, in one write, and whether it took the message."""

    name: str
    path: str
    shared: Shared

    def send(self, message):
        now = self.shared.now
        ids = sorted(one.alert_id for one in message.alerts or [message.alert])
        down = is_down(self.name, now) and (self.name == "flaky-server" or hash_of(ids[0]) % 2 == 0)
        told = {"channel": self.name, "purpose": message.purpose, "key": message.key, "ids": ids, "down": down}
        line = json.dumps({**told, "at": to_micros(now)}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        if down and self.name == "flaky-server":
            raise DeliveryError("HTTP 503", after=ASKED_MINUTES * 60.0, channel=True)
        if down:
            raise DeliveryError("HTTP 500")


def hash_of(alert_id):
    return int(alert_id.replace("-", "")[-4:], 16)


def channels_of(path, shared):
    made = Channels(environ={})
    for name in CHANNELS:
        made.register(name, Logged(name, path, shared))
    return made


def work_at(address, shared, path, worker):
    """What a worker does: its own handle, a round whenever there is another."""
    with Monitor.open(address, clock=lambda: shared.now, channels=channels_of(path, shared)) as monitor:
        dispatcher, done = Dispatcher(monitor.storage, monitor.channels, Policy()), shared.done(worker)
        while (number := shared.number) >= 0:
            if number == done:
                time.sleep(0.001)
                continue
            dispatcher.round()
            done = number
            shared.is_done(worker, number)


def begun(address, shared, path, worker):
    if pid := os.fork():
        return pid
    with contextlib.suppress(BaseException):
        work_at(address, shared, path, worker)
    os._exit(0)


def rules_of(plan):
    rng = random.Random(plan.seed)
    for number in range(plan.rules):
        chosen = tuple(rng.sample(CHANNELS, rng.choice((2, 3))))
        made = AlertRule(f"rule-{number:02}", "accuracy", "threshold", 0.8, "<", "warning", f"part-{number % 3}")
        grouped = {"group_by": ("component",), "group_wait_minutes": 0, "group_interval_minutes": 120}
        yield attrs.evolve(
            made,
            channels=chosen,
            scope="instance" if number % 2 else "rule",
            escalation={"critical": 0.5},
            cooldown_minutes=rng.choice((120, 360)),
            notify_resolved=True,
            **(grouped if number % 5 == 0 else {}),
        )


def simulated(address, plan, path):
    """Run it; the attempts as they were written down, and how many workers were killed."""
    rng = random.Random(plan.seed + 1)
    shared = Shared()
    Monitor.open(address, clock=lambda: shared.now).close()
    pids = [begun(address, shared, path, worker) for worker in range(WORKERS)]
    killed, bad, victim = 0, set(), None
    with Monitor.open(address, clock=lambda: shared.now) as monitor, contextlib.ExitStack() as leaving:
        leaving.callback(lambda: setattr(shared, "number", -1))
        rules = list(rules_of(plan))
        for rule in rules:
            monitor.add_rule(rule)
        for hour in range(plan.hours + QUIET_HOURS):
            for rule in rules:
                ends = hour >= plan.hours or (rule.rule_id in bad and rng.random() < 0.15)
                if ends:
                    bad.discard(rule.rule_id)
                elif rng.random() < 0.02:
                    bad.add(rule.rule_id)
                value = rng.choice((0.7, 0.7, 0.7, 0.4)) if rule.rule_id in bad else 0.9
                monitor.evaluate_rule(rule.rule_id, value, "m")
            shared.number += 1
            if hour < plan.hours and rng.random() < plan.kills:
                victim = rng.randrange(WORKERS)
                time.sleep(rng.uniform(0, 0.03))
                os.kill(pids[victim], signal.SIGKILL)
                killed += os.WIFSIGNALED(os.waitpid(pids[victim], 0)[1])
            finished(shared, [worker for worker in range(WORKERS) if worker != victim])
            if victim is not None:
                shared.is_done(victim, shared.number)
                pids[victim] = begun(address, shared, path, victim)
                victim = None
            shared.now += A_ROUND
    for pid in pids:
        os.waitpid(pid, 0)
    with open(path) as lines:  # noqa: PTH123 - a str
        return [json.loads(line) for line in lines], killed


def finished(shared, workers):
    deadline = time.monotonic() + 120
    while any(shared.done(worker) != shared.number for worker in workers):
        assert time.monotonic() < deadline, "a round does not end"
        time.sleep(0.001)


def judged(monitor, attempts, killed):
    """What has to be so at the end, whatever was killed; what it came to, in numbers."""
    alerts = {one.alert_id: one for one in monitor.alerts()}
    deliveries = {(one.alert_id, one.channel) for one in monitor.storage.find(Select("delivery"))}
    accepted: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    failed: dict[str, list[int]] = defaultdict(list)
    messages: Counter[tuple[str, str]] = Counter()
    for one in attempts:
        if one["down"] and one["channel"] == "flaky-server":
            failed[one["channel"]].append(one["at"])
        elif not one["down"]:
            messages[one["channel"], one["key"]] += 1
        for alert_id in one["ids"]:
            if one["purpose"] == "alert":
                first.setdefault((alert_id, one["channel"]), one["at"])
            if not one["down"]:
                accepted[alert_id, one["channel"], one["purpose"]] += 1
    wanted = {(one.alert_id, channel) for one in alerts.values() for channel in one.rule["channels"]}
    # Nothing is lost: everything was taken, and written down as such.
    assert monitor.deliveries() == monitor.dead_letters() == []
    assert wanted <= deliveries
    assert {(alert_id, channel) for alert_id, channel, purpose in accepted if purpose == "alert"} == wanted
    # Copies are of kills.
    copies = sum(number - 1 for number in messages.values())
    assert copies <= killed
    # A first attempt comes within a round, plus the rest that the channel asked for, plus what a kill holds.
    late = Counter()
    for (alert_id, channel), at in first.items():
        made, rule = to_micros(alerts[alert_id].instant), alerts[alert_id].rule
        rounds = (at - made) // to_micros_of(A_ROUND)
        late[min(rounds, 3)] += 1
        rests = [until for until in failed[channel] if made - to_micros_of(timedelta(days=1)) <= until <= at]
        allowed = max([made, *(until + to_micros_of(timedelta(minutes=ASKED_MINUTES)) for until in rests)])
        allowed += to_micros_of(timedelta(minutes=rule["group_interval_minutes"] or 0)) + 2 * to_micros_of(A_ROUND)
        assert at <= allowed, (alert_id, channel, rounds)
    # Whoever was told of an incident is told its end.
    ended = {one.incident_id for one in monitor.storage.find(Select("incident_event")) if one.event == "resolved"}
    told = {(alerts[alert_id].incident_id, channel) for alert_id, channel, purpose in accepted if purpose == "alert"}
    ends = {(alerts[alert_id].incident_id, channel) for alert_id, channel, purpose in accepted if purpose == "resolved"}
    assert monitor.incidents() == []
    assert told == ends
    assert {incident_id for incident_id, _ in told} <= ended
    return (
        f"{len(alerts)} alerts of {len(ended)} incidents, {len(wanted)} deliveries, {len(ends)} ends, "
        f"{len(attempts)} attempts, {killed} killed, {copies} copies; "
        f"first attempts after rounds: {dict(sorted(late.items()))}"
    )


def to_micros_of(duration):
    return int(duration / timedelta(microseconds=1))


@contextlib.contextmanager
def address_of(kind, tmp_path):
    if kind == "jsonl":
        yield f"jsonl://{tmp_path}/store"
    else:
        with FRESH[kind]() as url:
            yield url


def lived(kind, tmp_path, plan):
    (path := tmp_path / "attempts").touch()
    with address_of(kind, tmp_path) as address:
        begin = time.monotonic()
        attempts, killed = simulated(address, plan, str(path))
        with Monitor.open(address) as monitor:
            told = judged(monitor, attempts, killed)
            assert monitor.storage.check().ok
    print(f"{kind}: {told}; {time.monotonic() - begin:.0f} s")  # noqa: T201 - shown by pytest -s
    return killed


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_two_days_of_kills_and_failing_channels(kind, tmp_path):
    assert lived(kind, tmp_path, Plan(hours=40, rules=5, kills=0.3)) > 3


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["jsonl", "sqlite", "postgresql"])
def test_thirty_days_of_kills_and_failing_channels(kind, tmp_path):
    assert lived(kind, tmp_path, Plan(hours=30 * 24, rules=20, kills=0.3)) > 100
