"""Who works on a store is killed, interrupted and cut off; what they were told is held against what is there."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import attrs

from f1mon_core import Monitor
from f1mon_core.storage import Select

from .proxy import Proxy
from .stores import by_door
from .worker import SIZE

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 3600


@attrs.define
class Account:
    """What the attacked were told, and what is wrong with it.

    Attributes:
        kills, interrupts, cuts: How often somebody was struck.
        acknowledged: How many calls were.
        refused: How many answered by a typed error.
        lost: What was acknowledged and is not there.
        half: What is there in parts, or more than once.
        left: Locks, descriptors, threads and connections that nobody needs any more.
        wrong: Errors that are not promised, and a store that is not sound.
    """

    kills: int = 0
    interrupts: int = 0
    cuts: int = 0
    acknowledged: int = 0
    refused: int = 0
    lost: list = attrs.field(factory=list)
    half: list = attrs.field(factory=list)
    left: list = attrs.field(factory=list)
    wrong: list = attrs.field(factory=list)

    @property
    def faults(self):
        """All that should not be, a few of each kind."""
        kinds = ("lost", "half", "left", "wrong")
        return {kind: (len(found), found[:5]) for kind in kinds if (found := getattr(self, kind))}


def attacked(place, directory, *, kills, interrupts, cuts, seed=0, fault=""):
    """Attack one store, and say what came of it."""
    log = Path(directory) / f"{place.name}.log"
    end = log.with_suffix(".end")
    proxy = Proxy(*place.server, seed) if place.server and cuts else None
    words = [place.address, place.colour, str(log), str(kills), str(interrupts), str(seed), fault]
    if proxy:
        words += [place.through(proxy.port), str(end)]
    account = Account()
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), *words], stdout=errors, stderr=errors, start_new_session=True
        )
        try:
            account.cuts = _cut(proxy, cuts, worker, log, seed) if proxy else 0
            end.touch()
            worker.wait(PATIENCE)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
            if proxy:
                proxy.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    _judge(account, place, log)
    if worker.returncode != 0:
        account.wrong.append(f"the worker ended with {worker.returncode}: {said[-2000:]}")
    return account


def _cut(proxy, wanted, worker, log, seed):
    chosen, done = random.Random(seed), 0
    while worker.poll() is None and (not log.exists() or b"\ncut-me " not in log.read_bytes()):
        time.sleep(0.05)
    until = time.monotonic() + 2 * wanted + 60
    while done < wanted and worker.poll() is None and time.monotonic() < until:
        time.sleep(chosen.uniform(0, 0.05))
        done += proxy.cut()
    return done


def _judge(account, place, log):
    words = Counter()
    tried, acknowledged, numbers = set(), set(), {}
    for line in log.read_text().splitlines():
        word, _, about = line.partition(" ")
        words[word] += 1
        kind, _, rest = about.partition(" ")
        name, _, answer = rest.partition(" ")
        if word == "try":
            tried.add((kind, name))
        elif word == "ack":
            acknowledged.add((kind, name))
            if kind == "claim":
                numbers[name] = int(answer)
        elif word in ("left", "wrong"):
            getattr(account, word).append(about)
    account.kills, account.interrupts = words["killed"], words["interrupted"]
    account.acknowledged, account.refused = words["ack"], words["not"]
    account.left += place.held()
    with Monitor.open(place.address) as monitor:
        door = by_door(monitor, Select)
        report = monitor.check()
    account.wrong += [f"check: {one}" for one in report.problems if one.severity == "error"]
    account.left += place.held()
    for how, found in (("raw", place.raw()), ("door", door)):
        _hold(account, how, found, tried, acknowledged, numbers)


def _hold(account, how, found, tried, acknowledged, numbers):
    for kind, there in (("predictions", found.predictions), ("outcomes", found.outcomes)):
        whole = Counter(name.rpartition("/")[0] for name in there)
        account.half += [f"{how}: {kind} {name} has {n} of {SIZE}" for name, n in whole.items() if n != SIZE]
        account.half += [f"{how}: {kind} {name} is there {n} times" for name, n in there.items() if n != 1]
        account.lost += [f"{how}: {kind} {name}" for what, name in acknowledged if what == kind and name not in whole]
        account.wrong += [f"{how}: nobody wrote {kind} {name}" for name in whole if (kind, name) not in tried]
    account.lost += [
        f"{how}: claim {name}" for what, name in acknowledged if what == "claim" and name not in found.claims
    ]
    account.half += [
        f"{how}: {name} was told number {number} and has {found.claims[name]}"
        for name, number in numbers.items()
        if found.claims.get(name, number) != number
    ]
    if sorted(found.claims.values()) != list(range(1, found.claimed + 1)):
        account.half.append(f"{how}: {found.claimed} claimed, and {len(found.claims)} of them noted")


def side_by_side(attacks):
    """Run attacks, each a function, on a thread of its own; their accounts by name."""
    accounts = {}

    def run(name, attack):
        try:
            accounts[name] = attack()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            accounts[name] = Account(wrong=[repr(error)])

    threads = [threading.Thread(target=run, args=pair) for pair in attacks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accounts
