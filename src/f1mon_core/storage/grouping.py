"""Group commit: appends that come while another is under way go together, in one transaction and one sync.

A group is offered to the store as one batch. What came of each call can be told from the sums, as long as nothing
repeats and nothing is refused, which is how most groups are; any other is rolled back and its calls go one by one, in
their order. So each call is atomic and counted by itself, and one alone goes as it always did.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from f1mon_core import forks
from f1mon_core.errors import (
    ConflictError,
    InvalidRecordError,
    PrunedError,
    RefusedError,
)
from f1mon_core.records.kinds import Fact, Outcome
from f1mon_core.storage.contract import Appended

MOST_FACTS = 500
"""In a group; a call of more goes alone."""
PATIENCE = 0.1
"""Seconds a call waits for the one under way, or a group for a lock, before it goes by itself."""

Batch: TypeAlias = Sequence[Fact]


class ApartError(Exception):
    """What came of each call of a group cannot be told from what came of all: they go one by one."""


class BlockedError(ApartError):
    """Another writer held a lock for longer than `PATIENCE`: the calls of a group go by themselves, all at once."""


APART = (ApartError, ConflictError, PrunedError, InvalidRecordError, RefusedError)
"""What takes a group apart, because of one call among it."""


def shares(whole: Appended, batches: Sequence[Batch]) -> list[Appended]:
    """What came of each call of a group. Raises `ApartError` where the sums do not say it."""
    if whole.repeated or whole.prelabelled:
        raise ApartError
    outcomes = [sum(isinstance(one, Outcome) for one in batch) for batch in batches]
    if whole.unmatched is None or whole.unmatched == 0:
        return [Appended(len(batch), 0, 0, whole.unmatched) for batch in batches]
    if whole.unmatched != sum(outcomes):
        raise ApartError
    return [Appended(len(batch), 0, 0, unmatched) for batch, unmatched in zip(batches, outcomes, strict=True)]


def taken(waiting: deque[Waiting]) -> list[Waiting]:
    """The next group: calls from the front, of `MOST_FACTS` facts at most."""
    group: list[Waiting] = []
    facts = 0
    while waiting and (not group or facts + len(waiting[0].batch) <= MOST_FACTS):
        group.append(waiting.popleft())
        facts += len(group[-1].batch)
    return group


@attrs.define(eq=False)
class Waiting:
    """A call that waits, and what came of it.

    Attributes:
        batch: Its facts.
        woken: Set when there is something to do or to tell.
        group: The calls it leads, its own first; none if another leads.
        alone: Whether it is to go by itself.
    """

    batch: Batch
    woken: threading.Event = attrs.field(factory=threading.Event)
    group: list[Waiting] = attrs.field(factory=list)
    alone: bool = False
    answer: Appended | None = None
    error: BaseException | None = None


class Groups:
    """The appends of one handle, by threads."""

    def __init__(
        self, alone: Callable[[Batch], Appended], together: Callable[[Sequence[Batch]], Sequence[Appended]]
    ) -> None:
        """Begin without any call.

        Args:
            alone: Appends one batch.
            together: Appends several in one transaction, or raises one of `APART` and stores nothing.
        """
        self._alone = alone
        self._together = together
        self._start_anew()
        forks.start_anew(self, Groups._start_anew)

    def _start_anew(self) -> None:
        self._guard = threading.RLock()  # a signal's handler may record too
        self._busy = False
        self._waiting: deque[Waiting] = deque()

    def append(self, batch: Batch) -> Appended:
        """Append a batch; together with others, if some are under way."""
        if len(batch) > MOST_FACTS:
            return self._alone(batch)
        mine: Waiting | None = None
        with self._guard:
            if self._busy:
                mine = Waiting(batch)
                self._waiting.append(mine)
            else:
                self._busy = True
        if mine is not None:
            return self._waited(mine)
        try:
            return self._alone(batch)
        finally:
            self._pass_on()

    def _waited(self, mine: Waiting) -> Appended:
        if not self._is_woken(mine):
            with self._guard:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    mine.alone = True
            if not mine.alone:
                mine.woken.wait()  # it is among a group that is under way
        if mine.group:
            self._lead(mine.group)
        if mine.error is not None:
            raise mine.error
        return self._alone(mine.batch) if mine.answer is None else mine.answer

    def _is_woken(self, mine: Waiting) -> bool:
        try:
            return mine.woken.wait(PATIENCE)
        except BaseException:
            with self._guard:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    raise
            if mine.woken.wait() and mine.group:  # it was to lead, and others wait for it
                self._leave(mine.group)
                self._pass_on()
            raise

    def _lead(self, group: list[Waiting]) -> None:
        try:
            settle(group, self._alone, self._together)
        finally:
            self._leave(group[1:])
            self._pass_on()

    def _leave(self, group: list[Waiting]) -> None:
        """Wake the calls of a group; those of which nothing came go by themselves."""
        for one in group:
            one.woken.set()

    def _pass_on(self) -> None:
        with self._guard:
            group = taken(self._waiting)
            if not group:
                self._busy = False
                return
            group[0].group = group
        group[0].woken.set()


def settle(
    group: list[Waiting],
    alone: Callable[[Batch], Appended],
    together: Callable[[Sequence[Batch]], Sequence[Appended]],
) -> None:
    """Append the calls of a group, and note what came of each; nothing of those that are to go by themselves."""
    if len(group) > 1:
        try:
            for one, answer in zip(group, together([one.batch for one in group]), strict=True):
                one.answer = answer
        except BlockedError:
            return  # none of them waits for what another one waits for
        except APART:
            pass
        except Exception as error:  # noqa: BLE001 - each of them raises it
            for one in group:
                one.error = told_again(error)
            return
        else:
            return
    for one in group:
        try:
            one.answer = alone(one.batch)
        except Exception as error:  # noqa: BLE001 - its caller raises it
            one.error = error


def told_again(error: Exception) -> Exception:
    """An error for one of several who raise it."""
    again = copy.copy(error)
    again.__cause__ = error
    return again
