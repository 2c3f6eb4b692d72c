"""Facts that were accepted and are not stored yet: a bounded queue, what becomes of more, and how it is drained.

Nothing here waits: who has threads (`Monitor.buffered`) and who has an event loop (`AsyncMonitor.buffered`) wait in
their own ways. What is asked of the store is a plan.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import attrs

from f1mon_core.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    F1monError,
    InvalidRecordError,
    PrunedError,
    RefusedError,
    shown,
)
from f1mon_core.recording.spill import Spill
from f1mon_core.records.documents import to_document
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock, host_clock
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.text import is_one_of

WhenFull: TypeAlias = Literal["block", "drop"]
SpillWhen: TypeAlias = Literal["full", "always"]

DIRECTORY = "f1mon-buffer"
LONGEST_PAUSE = 5.0
_REFUSALS = (ConflictError, PrunedError, InvalidRecordError, RefusedError)
"""What no repeat mends: such a fact is set aside, and the others of its batch are not held up by it."""


@attrs.frozen(kw_only=True)
class BufferOptions:
    """How a buffered recorder behaves.

    Attributes:
        capacity: How many accepted facts may wait in memory.
        batch: So many are stored at once, in one commit.
        seconds: How long a fact waits at most for others to be stored with.
        when_full: "block" waits for room, "drop" leaves the fact out and counts it.
        spill: "full" writes to a file instead, once the queue is full: what a kill of the process loses is at most the
            queue. "always" writes each fact to a file before it is accepted: a kill loses nothing accepted.
        directory: Where spill files and the set-aside file are; made when the first is written.
    """

    capacity: int = 10_000
    batch: int = 500
    seconds: float = 0.2
    when_full: WhenFull = "block"
    spill: SpillWhen | None = None
    directory: str | os.PathLike[str] = DIRECTORY

    def __attrs_post_init__(self) -> None:
        for name in ("capacity", "batch"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a whole number of at least 1, got {shown(value)}")
        seconds: object = self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**6:
            raise ConfigurationError(f"seconds must be a number above 0, got {shown(self.seconds)}")
        if not is_one_of(self.when_full, ("block", "drop")):
            raise ConfigurationError(f"when_full must be 'block' or 'drop', got {shown(self.when_full)}")
        if self.spill is not None and not is_one_of(self.spill, ("full", "always")):
            raise ConfigurationError(f"spill must be 'full', 'always' or None, got {shown(self.spill)}")
        directory: object = self.directory
        if not isinstance(directory, str | os.PathLike) or "\0" in str(directory) or not str(directory):
            raise ConfigurationError(f"directory must be a path, got {shown(self.directory)}")


@attrs.frozen
class BufferState:
    """What a buffered recorder has done and has to do.

    Attributes:
        depth: Facts that wait, spilled ones too.
        age: Seconds that the oldest of those in memory has waited; 0.0 without any.
        accepted: Facts accepted since it was made, or since its process was forked.
        stored: Those that the store has, repeats too; also what was taken over from a spill of before.
        dropped: Facts left out because the queue was full. They are lost.
        refused: Facts the store refused, in the set-aside file.
        spilled: Facts written to a spill file.
        failures: How often a batch could not be stored and is tried again.
        error: The last of these errors; None once a batch was stored.
    """

    depth: int = 0
    age: float = 0.0
    accepted: int = 0
    stored: int = 0
    dropped: int = 0
    refused: int = 0
    spilled: int = 0
    failures: int = 0
    error: str | None = None


class Buffer:
    """The queue and its counts; safe to share between threads."""

    def __init__(self, options: BufferOptions, clock: Clock = host_clock) -> None:
        self.options = options
        self.guard = threading.RLock()  # a signal's handler may come while it is held
        self._clock = clock
        self.start_anew()

    def start_anew(self) -> None:
        """Begin without anything, as in a forked child: what waits is the parent's to store."""
        self._queue: deque[tuple[float, Fact]] = deque()
        self._spill = Spill(self.options.directory)
        self._in_flight: list[tuple[float, Fact]] = []
        self._on_disk = 0
        self._counts: dict[str, int] = dict.fromkeys(
            ("accepted", "stored", "dropped", "refused", "spilled", "failures"), 0
        )
        self._error: str | None = None
        self._look_for_left = True  # the dead leave nothing later, so once is enough
        self.closed = False

    def forked(self) -> None:
        """In a forked child, begin without anything, and without a lock that a thread of the parent held."""
        self.guard = threading.RLock()
        self.start_anew()

    def offer(self, fact: Fact) -> bool:
        """Accept a fact, or count it as dropped; False if there is no room and the caller has to wait.

        A fact without a time gets the host's. Raises `ClosedError`, and `NotWritten` if it cannot be spilled.
        """
        if fact.at is None:
            fact = _stamped(fact, self._clock())
        options = self.options
        with self.guard:
            if self.closed:
                raise ClosedError("this buffered recorder is closed; nothing was accepted")
            if options.spill == "always" or (options.spill == "full" and self.is_full):
                self._spill.write([fact])
                self._on_disk += 1
                self._counts["spilled"] += 1
            elif self.is_full:
                if options.when_full == "block":
                    return False
                self._counts["dropped"] += 1
                return True
            else:
                self._queue.append((time.monotonic(), fact))
            self._counts["accepted"] += 1
            return True

    @property
    def is_full(self) -> bool:
        """Whether there is no room in memory."""
        return len(self._queue) + len(self._in_flight) >= self.options.capacity

    @property
    def depth(self) -> int:
        """How many facts wait."""
        return len(self._queue) + len(self._in_flight) + self._on_disk

    def has_work(self, *, draining: bool) -> bool:
        """Whether there is something to store yet; of a recorder that drains, also what another may have left."""
        return bool(self.depth) or (draining and self._look_for_left)

    @property
    def is_due(self) -> bool:
        """Whether a batch is full."""
        return len(self._queue) >= self.options.batch

    def state(self) -> BufferState:
        """What was done, and what is to do."""
        with self.guard:
            age = time.monotonic() - self._queue[0][0] if self._queue else 0.0
            return BufferState(depth=self.depth, age=age, error=self._error, **self._counts)

    # Draining -------------------------------------------------------------------------------------------------------

    def drain(self) -> Plan[bool]:
        """Store one batch of the queue, or else one spill file; whether there was anything.

        Raises what the store raises where a repeat may help; nothing is lost by it.
        """
        with self.guard:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self.options.batch))]
            self._in_flight = batch
        if batch:
            try:
                yield from self._stored([fact for _, fact in batch])
            except BaseException:
                with self.guard:
                    if self._in_flight is batch:  # else `close` left it in a spill file
                        self._queue.extendleft(reversed(batch))
                raise
            finally:
                with self.guard:
                    if self._in_flight is batch:
                        self._in_flight = []
            return True
        if not (self._on_disk or self._look_for_left):
            return False
        return (yield from self._drain_spill())

    def _drain_spill(self) -> Plan[bool]:
        with self.guard:
            taken = self._spill.taken()
        if taken is None:
            self._look_for_left = False
            self._on_disk = 0  # what was put back, another recorder has taken
            return False
        try:
            for begin in range(0, len(taken.facts), self.options.batch):
                yield from self._stored(taken.facts[begin : begin + self.options.batch])
        except BaseException:
            self._spill.put_back(taken)
            self._look_for_left = True
            raise
        self._spill.drained(taken)
        with self.guard:
            self._on_disk = max(0, self._on_disk - len(taken.facts) - len(taken.damaged))
            self._counts["refused"] += len(taken.damaged)
        return True

    def _stored(self, facts: Sequence[Fact]) -> Plan[None]:
        """Append facts; where the store refuses some, those are set aside and the others stored."""
        try:
            yield from plans.append(facts)
        except _REFUSALS as error:
            if len(facts) > 1:
                middle = len(facts) // 2
                yield from self._stored(facts[:middle])
                yield from self._stored(facts[middle:])
                return
            self._spill.set_aside([_told(facts[0], error)])
            with self.guard:
                self._counts["refused"] += 1
        else:
            with self.guard:
                self._counts["stored"] += len(facts)
                self._error = None

    def failed(self, error: Exception) -> float:
        """Note that a batch could not be stored; how many seconds to wait before the next try."""
        with self.guard:
            self._counts["failures"] += 1
            self._error = f"{type(error).__name__}: {error}"
            return min(LONGEST_PAUSE, 0.05 * float(2 ** min(10, self._counts["failures"])))

    def close(self) -> int:
        """Accept no more, and leave what waits in memory in a spill file; how many facts those are.

        So is what is on its way to the store: it may not arrive, and where it does, the next recorder's is a repeat.
        """
        with self.guard:
            self.closed = True
            left = [fact for _, fact in (*self._in_flight, *self._queue)]
            self._in_flight = []
            self._queue.clear()
            if left:
                self._spill.write(left)
                self._counts["spilled"] += len(left)
                self._on_disk += len(left)
            self._spill.close()
            return self._on_disk


def _stamped(fact: Fact, now: datetime) -> Fact:
    """A fact with a time. It was checked when it was made; `attrs.evolve` would check and copy all of it again."""
    made: Fact = object.__new__(type(fact))
    for one in attrs.fields(type(fact)):
        object.__setattr__(made, one.name, getattr(fact, one.name))
    object.__setattr__(made, "at", now)
    object.__setattr__(made, "at_given", False)
    return made


def _told(fact: Fact, error: F1monError) -> dict[str, Any]:
    return {"reason": type(error).__name__, "message": str(error), "fact": to_document(fact)}
