"""A process that works on one store by f1mon's public doors while it is attacked, and notes in a log what it was told.

`python worker.py ADDRESS COLOUR LOG KILLS INTERRUPTS SEED FAULT`, and for a store on a server the address through a
proxy and a file whose appearance ends that phase. A line of the log is a word and what it is about: `try`, `ack`, `not`
(a typed error: the same again may help), `wrong` (any other), and what is counted: `killed`, `interrupted`, `left`.
"""

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from f1mon_core import AsyncMonitor, Monitor, Outcome, Prediction
from f1mon_core.errors import NotWritten, OutcomeUnknown
from f1mon_core.storage import Change

SIZE = 3
"""How many facts an append has."""
FURTHER = 1.1
"""How much later the next strike may come where one hit, and earlier where it came too late: about half of them hit."""
KEPT = 40
"""How many errors, with all that their tracebacks hold, a worker keeps alive."""


class Log:
    """Lines that are in the file when the call returns, whoever is killed then."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, word, about):
        os.write(self._file, f"{word} {about}\n".encode())


def predicted(name):
    return [
        Prediction(
            prediction_id=f"{name}/{n}", model_version="m", predicted_outcome=1, confidence=0.5, features={"n": n}
        )
        for n in range(SIZE)
    ]


def happened(name):
    return [Outcome(prediction_id=f"{name}/{n}", actual_outcome=n % 2) for n in range(SIZE)]


def claiming(name):
    """A step that takes the next number, once, and notes by a fact who has it."""

    def step(document, _now):
        number = (document or {"claimed": 0})["claimed"] + 1
        fact = Prediction(
            prediction_id=f"{name}/claim", model_version=f"claim-{number}", predicted_outcome=1, confidence=0.5
        )
        return Change({"claimed": number}, facts=[fact], result=number)

    return step


def calls(monitor, name):
    """What a round asks for: pairs of a name and a call, which may be repeated."""
    return [
        (f"predictions {name}", lambda: monitor.record_predictions(predicted(name))),
        (f"outcomes {name}", lambda: monitor.record_outcomes(happened(name))),
        (f"claim {name}", lambda: monitor.storage.transition("attacked", claiming(name), operation_id=name)),
    ]


def _where(error):
    """Where it was raised, on one line."""
    return " < ".join(
        f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)[:-9:-1]
    )


def told(about, answer):
    return f"{about} {answer}" if about.startswith("claim") else about


# Sync ---------------------------------------------------------------------------------------------------------------


class Interrupts:
    """Ctrl-C at a random moment of a call, as often as wanted."""

    def __init__(self, wanted, chosen):
        self.left, self._chosen, self._armed, self.reach = wanted, chosen, False, 0.005
        if wanted:
            signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, *_):
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt

    def call(self, call):
        if self.left <= 0:
            return call()
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, self._chosen.uniform(1e-5, self.reach))
            answer = call()
            self._armed = False
        except KeyboardInterrupt:
            self.reach *= FURTHER
            raise
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.reach /= FURTHER
        return answer


def work(monitor, log, names, interrupts, chosen, kept):
    """Rounds until there are no more names; what failed is repeated, and what was interrupted perhaps."""
    for name in names:
        for about, call in calls(monitor, name):
            log("try", about)
            until = time.monotonic() + 60
            while True:
                try:
                    log("ack", told(about, interrupts.call(call)))
                except KeyboardInterrupt as error:
                    interrupts.left -= 1
                    log("interrupted", about)
                    kept.append(error)
                    del kept[:-KEPT]
                    if chosen.random() < 0.5:
                        break
                    continue
                except (NotWritten, OutcomeUnknown) as error:
                    log("not", f"{about} {type(error).__name__} {' '.join(str(error).split())}")
                    kept.append(error)
                    del kept[:-KEPT]
                    if time.monotonic() < until:
                        time.sleep(0.01)
                        continue
                    log("wrong", f"{about} has not succeeded for 60 s: {error}")
                except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer that was promised
                    log("wrong", f"{about} {error!r} {_where(error)}")
                break


def interrupted(opened, log, wanted, chosen, name):
    """Interrupt calls; then look what the process still has of the store."""
    before = held()
    monitor, kept, interrupts = opened(), [], Interrupts(0, chosen)
    work(monitor, log, [f"{name}w"], interrupts, chosen, kept)
    interrupts = Interrupts(wanted, chosen)

    def names():
        number = 0
        while interrupts.left > 0:
            yield f"{name}i{number}"
            number += 1

    work(monitor, log, names(), interrupts, chosen, kept)
    log("look", name)
    work(monitor, log, [f"{name}e{n}" for n in range(3)], Interrupts(0, chosen), chosen, kept)
    monitor.close()
    leave(log, before, kept)


# Async --------------------------------------------------------------------------------------------------------------


async def work_async(monitor, log, names, cancels, chosen, kept):
    """As `work`; a call is cancelled at a random moment while any of `cancels` is left."""
    reach = 0.005
    for name in names:
        for about, call in calls(monitor, name):
            log("try", about)
            until = time.monotonic() + 60
            while True:
                task = asyncio.ensure_future(call())
                if cancels[0] > 0:
                    await _strike(task, chosen.uniform(0, reach), chosen.randint(1, 3))
                try:
                    log("ack", told(about, await task))
                    reach /= FURTHER
                except asyncio.CancelledError as error:
                    cancels[0] -= 1
                    reach *= FURTHER
                    log("interrupted", about)
                    kept.append(error)
                    del kept[:-KEPT]
                    if chosen.random() < 0.5:
                        break
                    continue
                except (NotWritten, OutcomeUnknown) as error:
                    log("not", f"{about} {type(error).__name__} {' '.join(str(error).split())}")
                    kept.append(error)
                    del kept[:-KEPT]
                    if time.monotonic() < until:
                        await asyncio.sleep(0.01)
                        continue
                    log("wrong", f"{about} has not succeeded for 60 s: {error}")
                except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer that was promised
                    log("wrong", f"{about} {error!r} {_where(error)}")
                break


async def _strike(task, after, times):
    await asyncio.wait([task], timeout=after)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)


async def cancelled(opened, log, wanted, chosen, name):
    """As `interrupted`."""
    before = held()
    monitor, kept, cancels = await opened(), [], [0]
    await work_async(monitor, log, [f"{name}w"], cancels, chosen, kept)
    cancels[0] = wanted

    async def some(lane):
        def names():
            number = 0
            while cancels[0] > 0:
                yield f"{name}i{lane}-{number}"
                number += 1

        await work_async(monitor, log, names(), cancels, chosen, kept)

    await asyncio.gather(some(0), some(1))
    log("look", name)
    await work_async(monitor, log, [f"{name}e{n}" for n in range(3)], [0], chosen, kept)
    await monitor.close()
    await asyncio.sleep(0.1)
    leave(log, before, kept)


# What is left -------------------------------------------------------------------------------------------------------


def held():
    """The process's descriptors, by what they lead to, and its threads."""
    gc.collect()
    descriptors = []
    for one in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        with contextlib.suppress(OSError):
            descriptors.append(str(Path(f"/proc/self/fd/{one}").readlink()))
    return sorted(descriptors), sorted(thread.name for thread in threading.enumerate())


def leave(log, before, kept):
    kept.clear()
    until = time.monotonic() + 5
    while (now := held()) != before and time.monotonic() < until:
        time.sleep(0.05)
    for what, had, has in zip(("descriptor", "thread"), before, now, strict=True):
        kinds = [[one.partition(":[")[0] for one in side] for side in (had, has)]
        if len(has) > len(had):
            log("left", f"{what}s: {len(has)} instead of {len(had)}: {sorted(set(kinds[1]))}")
    log("ended", len(before[0]))


# Phases -------------------------------------------------------------------------------------------------------------


def forked(run):
    if (child := os.fork()) == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return child


def endless(name):
    number = 0
    while True:
        yield f"{name}-{number}"
        number += 1


def works(opened, colour, log, names, seed):
    """Open the store and work, without an attacker inside."""
    chosen = random.Random(seed)
    if colour == "async":

        async def run():
            monitor = await opened()
            await work_async(monitor, log, names, [0], chosen, [])
            await monitor.close()

        asyncio.run(run())
        return
    monitor = opened()
    work(monitor, log, names, Interrupts(0, chosen), chosen, [])
    monitor.close()


def kills(opened, colour, log, wanted, chosen):
    """Two at work at a time; one is killed, early or late, and another takes its place."""
    living = []
    for number in range(wanted + 1):
        name = f"k{number}"
        reading, writing = os.pipe()

        def run(name=name, writing=writing):
            def names():
                for one in endless(name):
                    os.write(writing, b".")
                    yield one

            works(opened, colour, log, names(), name)

        living.append((forked(run), reading))
        os.close(writing)
        if len(living) > 1:
            child, heard = living.pop(chosen.randrange(2))
            if chosen.random() < 0.9:  # else perhaps while it opens the store
                os.read(heard, 1)
            time.sleep(chosen.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(heard)
            log("killed", number)
    for child, heard in living:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(heard)


def until_told(name, end):
    number = 0
    while not end.exists():
        yield f"{name}-{number}"
        number += 1


async def _opened(address):
    while True:
        try:
            return await AsyncMonitor.open(address)
        except NotWritten:
            await asyncio.sleep(0.01)


def opener(address, colour, fault):
    """What opens the store, however often its connections are cut meanwhile."""
    if colour == "async":
        return lambda: _opened(address)
    if fault is None:

        def opened():
            while True:
                try:
                    return Monitor.open(address)
                except NotWritten:
                    time.sleep(0.01)

        return opened
    from planted import FAULTS  # noqa: PLC0415 - only where one is planted

    return lambda: Monitor(FAULTS[fault](address))


def phases(address, colour, log, killed, struck, seed, fault, cutting):
    chosen = random.Random(seed)
    opened = opener(address, colour, fault)
    # In this process, so that what is imported on the way need not be by each that is forked.
    works(opened, colour, log, ["first"], seed)
    kills(opened, colour, log, killed, chosen)
    if struck:
        run = (
            (lambda: asyncio.run(cancelled(opened, log, struck, chosen, "c")))
            if colour == "async"
            else (lambda: interrupted(opened, log, struck, chosen, "c"))
        )
        _ended(forked(run), log)
    if cutting:
        proxied, end = cutting
        through = opener(proxied, colour, fault)
        log("cut-me", os.getpid())
        names = [until_told(f"x{n}", Path(end)) for n in range(2)]
        for child in [forked(lambda its=its: works(through, colour, log, its, seed)) for its in names]:
            _ended(child, log)
    log("done", os.getpid())


def _ended(child, log):
    _, status = os.waitpid(child, 0)
    if status != 0:
        log("wrong", f"a process ended with status {status}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    where, hue, file, number_killed, number_struck, drawn, planted, *more = sys.argv[1:]
    phases(where, hue, Log(file), int(number_killed), int(number_struck), int(drawn), planted or None, more)
