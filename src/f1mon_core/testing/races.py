"""Real processes: forked together from this warm one, made to meet, and killed."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import multiprocessing
import os
import pickle
import selectors
import signal
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from mmap import mmap
from threading import BrokenBarrierError
from typing import Any, Protocol, TypeAlias

import attrs

from f1mon_core.storage.contract import Storage
from f1mon_core.testing.bridge import PATIENCE
from f1mon_core.testing.clocks import words
from f1mon_core.testing.location import Place

_TIMED = 5


class Barrier(Protocol):
    """What processes wait at until all have come."""

    def wait(self) -> int:
        """Wait for the others."""
        ...


@attrs.frozen
class Member:
    """One process of a crew, as its work sees it.

    Attributes:
        number: 0 for the first.
        place: The place under test, without anybody's handles.
        barrier: Where the whole crew meets.
    """

    number: int
    place: Place
    barrier: Barrier


class CrewFailed(AssertionError):
    """A process of a crew raised, died or did not come home."""


def fork(work: Callable[[], Any]) -> tuple[int, int]:
    """Fork this process for `work`; the child's id and a pipe that ends in its pickled answer."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # The child goes straight to its own work and never touches a thread of its parent.
        warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
        child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 1
    try:
        os.close(reading)
        try:
            answer = pickle.dumps((True, work()))
        except BaseException:  # noqa: BLE001 - whatever it was, the parent tells
            answer = pickle.dumps((False, traceback.format_exc()))
        with open(writing, "wb") as pipe:  # noqa: PTH123 - a descriptor, not a path
            pipe.write(answer)
        status = 0
    finally:
        os._exit(status)


def crew(
    place: Place, number: int, work: Callable[[Member], Any], *, at_barrier: Callable[[], Any] | None = None
) -> list[Any]:
    """Run `work` in so many processes at once and answer what each returned, in order.

    Args:
        place: Where they work; each opens its own handles.
        number: How many.
        work: Gets its `Member`; what it returns is pickled.
        at_barrier: Called by one of them each time all have come to the barrier, before any goes on.

    Raises:
        CrewFailed: If one raised, died, or neither came home nor to the barrier for `PATIENCE`; the others are killed.
    """
    met = Slots(1)

    def meet() -> None:
        met[0] += 1
        if at_barrier is not None:
            at_barrier()

    barrier = multiprocessing.get_context("fork").Barrier(number, meet, PATIENCE)

    def serve(own: int) -> Any:
        place.abandon()
        try:
            answer = work(Member(own, place, barrier))
        except BrokenBarrierError:
            return None  # the one that broke it says why
        except BaseException:
            barrier.abort()
            raise
        place.close()
        return answer

    children = [fork(lambda own=own: serve(own)) for own in range(number)]  # type: ignore[misc]
    answers = _gathered(children, lambda: met[0])
    failed = [answer for fine, answer in answers if not fine]
    if failed:
        raise CrewFailed(f"{len(failed)} of {number} processes failed; the first:\n{failed[0]}")
    return [answer for _, answer in answers]


def _gathered(children: list[tuple[int, int]], come: Callable[[], int] = lambda: 0) -> list[tuple[bool, Any]]:
    """What every child answered or why it did not; all are waited for, and killed where time is up."""
    told, late = _told(children, come)
    silent = (False, "it did not come home" if late else "it died without a word")
    return [pickle.loads(answer) if answer else silent for answer in told]  # noqa: S301 - our own


def _told(children: list[tuple[int, int]], come: Callable[[], int] = lambda: 0) -> tuple[list[bytes], bool]:
    """What every child wrote into its pipe, and whether one was killed because time was up.

    It is up after `PATIENCE` in which `come`, how far they have come together, told no more than before.
    """
    received: dict[int, bytes] = {pipe: b"" for _, pipe in children}
    deadline, before = time.monotonic() + PATIENCE, come()
    with selectors.DefaultSelector() as selector:
        for pipe in received:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            if (now := time.monotonic()) >= deadline:
                if (so_far := come()) == before:
                    break
                deadline, before = now + PATIENCE, so_far
            for ready, _ in selector.select(deadline - now):
                if chunk := os.read(ready.fd, 1 << 16):
                    received[ready.fd] += chunk
                else:
                    selector.unregister(ready.fd)
        late = bool(selector.get_map())
    for child, pipe in children:
        if late:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pipe)
    return [received[pipe] for _, pipe in children], late


def fork_and_wait(work: Callable[[], Any]) -> Any:
    """What `work` returns in one forked child. Raises `CrewFailed` if it raised."""
    ((fine, answer),) = _gathered([fork(work)])
    if not fine:
        raise CrewFailed(f"the forked process failed:\n{answer}")
    return answer


def fork_beside(work: Callable[[], Any], own: Callable[[], Any]) -> tuple[Any, Any]:
    """What `work` returns in a forked child and `own` meanwhile here. Raises `CrewFailed` if `work` raised."""
    child = fork(work)
    try:
        mine = own()
    finally:
        ((fine, answer),) = _gathered([child])
    if not fine:
        raise CrewFailed(f"the forked process failed:\n{answer}")
    return answer, mine


def fork_and_kill(place: Place, work: Callable[[Storage], Any]) -> None:
    """Do `work` in one forked child, with a handle of its own, which is killed before it can close it.

    Raises:
        CrewFailed: If `work` raised, or had not ended after `PATIENCE`.
    """

    def deadly() -> None:
        place.abandon()
        work(place.open())
        os.kill(os.getpid(), signal.SIGKILL)

    (said,), late = _told([fork(deadly)])
    if late:
        raise CrewFailed("a process that was to be killed did not come to it")
    if said:
        raise CrewFailed(f"the forked process failed:\n{pickle.loads(said)[1]}")  # noqa: S301 - our own


Begun: TypeAlias = Callable[[], object]
"""What the work of a process calls where it comes to the part that it is to be killed in."""


def killed_in_turn(place: Place, number: int, work: Callable[[Storage, int, Begun], Any]) -> Iterator[int]:
    """Kill so many processes, the first as soon as its work calls `begun` and the last about when it has ended.

    Nothing but the moments differs. Half of the processes are killed at a moment, which may lie within a call into C;
    the others after the call that the fastest of the first few was in at that moment: the same point under any load,
    so that what lies between two commits is met in every run.

    Args:
        place: Where they work, each on a handle of its own; nobody else has one open meanwhile.
        number: How many are killed.
        work: Gets a handle, the number of its process and `begun`.

    Yields:
        The number of each process when it is dead; of the first few, too, which only show how long it takes.
    """

    def timed(own: int) -> list[float]:
        moments: list[float] = []
        place.abandon()
        work(place.open(), own, lambda: at_calls(lambda: moments.append(time.monotonic())))
        sys.setprofile(None)
        return moments

    def killed_at_time(store: Storage, own: int, part: float) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends a process as SIGKILL does, at a moment set ahead
        work(store, own, lambda: signal.setitimer(signal.ITIMER_REAL, max(longest * part, 1e-6)))

    def killed_at_call(store: Storage, own: int, part: float) -> None:
        left = itertools.count(bisect.bisect(calls, calls[0] + part * (calls[-1] - calls[0])), -1)

        def kill() -> None:
            if next(left) <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        work(store, own, lambda: at_calls(kill))

    numbers = itertools.count()
    runs = []
    for own in itertools.islice(numbers, _TIMED):
        runs.append(fork_and_wait(partial(timed, own)))
        yield own
    longest = 1.25 * statistics.median(calls[-1] - calls[0] for calls in runs)
    calls = min(runs, key=lambda calls: calls[-1] - calls[0])
    for turn, own in enumerate(itertools.islice(numbers, number)):
        kill = killed_at_time if turn % 2 else killed_at_call
        fork_and_kill(place, partial(kill, own=own, part=turn / number))
        yield own


def at_calls(do: Callable[[], object]) -> None:
    """From now on `do` so before each call of this thread into C."""
    sys.setprofile(lambda _, event, __: do() if event == "c_call" else None)


def spawned(work: Callable[[Place], Any], place: Place) -> Any:
    """Run an importable function in a fresh interpreter that gets the place by pickle."""
    # The path first: what is unpickled after it may be importable from there only.
    program = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    program += "work, place = pickle.load(sys.stdin.buffer); "
    program += "answer = work(place); place.close(); sys.stdout.buffer.write(pickle.dumps(answer))"
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program],
        input=pickle.dumps(sys.path) + pickle.dumps((work, place)),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise CrewFailed(f"a spawned process failed:\n{done.stderr.decode()}")
    return pickle.loads(done.stdout)  # noqa: S301 - our own


@attrs.define
class Slots:
    """Integers that forked processes share."""

    number: int
    _memory: memoryview = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._memory = words(mmap(-1, 8 * self.number))

    def __getitem__(self, slot: int) -> int:
        return self._memory[slot]

    def __setitem__(self, slot: int, value: int) -> None:
        self._memory[slot] = value

    def await_positive(self, slot: int) -> None:
        """Wait until an integer is above 0. Raises `CrewFailed` if nobody sets it so within `PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while self[slot] <= 0:
            if time.monotonic() > deadline:
                raise CrewFailed("a process did not come to what it was to do")
            time.sleep(0.0005)


@attrs.define
class Prey:
    """Processes that work until they are killed, each replaced by a new one forked from this process.

    Attributes:
        work: Called in each process with the place and how many were born before it; it should never return.
        number: How many are alive at once; the n-th to be born lives in slot n modulo this, if they die in turn.
    """

    place: Place
    work: Callable[[Place, int], Any]
    number: int
    alive: dict[int, tuple[int, int]] = attrs.field(factory=dict, init=False)
    born: int = attrs.field(default=0, init=False)

    def replace(self, slot: int) -> None:
        """Fork a process into a slot."""
        born, self.born = self.born, self.born + 1

        def serve() -> None:
            self.place.abandon()
            self.work(self.place, born)

        self.alive[slot] = fork(serve)

    def await_death(self, slot: int) -> None:
        """Wait until the process in a slot has killed itself, or ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.alive[slot][1], selectors.EVENT_READ)
            if not selector.select(PATIENCE):
                raise CrewFailed("a process that was to kill itself did not come to it")

    def kill(self, slot: int) -> None:
        """Kill the process in a slot, if it has not killed itself."""
        child, pipe = self.alive.pop(slot)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(pipe, "rb") as answer:  # noqa: PTH123 - a descriptor, not a path
            if said := answer.read():
                fine, what = pickle.loads(said)  # noqa: S301 - our own
                raise CrewFailed(f"an evaluator ended by itself: {what}" if fine else str(what))

    @classmethod
    @contextlib.contextmanager
    def hunted(cls, place: Place, number: int, work: Callable[[Place, int], Any]) -> Iterator[Prey]:
        """So many processes; all dead when the block ends."""
        prey = cls(place, work, number)
        try:
            for slot in range(number):
                prey.replace(slot)
            yield prey
        finally:
            for slot in list(prey.alive):
                prey.kill(slot)
