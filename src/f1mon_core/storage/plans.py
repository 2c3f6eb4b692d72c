"""Operations that think once for both colours: generators that yield what they ask of a store.

A plan yields requests, functions of a store, and is sent their answers; `run` drives it over a `Storage`, `run_async`
over an `AsyncStorage`. No thinking is written twice, and none of it knows whether it waits.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar

import attrs

from f1mon_core.errors import LockTimeoutError, NotWritten, OutcomeUnknown
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.change import Step
from f1mon_core.storage.contract import Appended, CheckReport, Pruned, Storage
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery

R = TypeVar("R")

Request: TypeAlias = Callable[[Any], Any]
Plan: TypeAlias = Generator[Request, Any, R]

TRIES = 4
"""How often `settle` tries a transition before its failure is the caller's."""


@attrs.frozen
class Outside:
    """A request that is not the store's: blocking work, which the async driver does on a thread."""

    call: Callable[[], Any]

    def __call__(self, storage: Any) -> Any:  # noqa: ARG002 - the shape of a request
        """Do the work here and now."""
        return self.call()


def run(plan: Plan[R], storage: Storage) -> R:
    """Drive a plan over a store."""
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            request = plan.send(answer) if failure is None else plan.throw(failure)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer, failure = None, None
        try:
            answer = request(storage)
        except Exception as error:  # noqa: BLE001 - the plan decides what the failure means
            failure = error


async def run_async(
    plan: Plan[R],
    storage: AsyncStorage,
    aside: Callable[[Callable[[], Any]], Awaitable[Any]] = asyncio.to_thread,
) -> R:
    """Drive a plan over an async store; `aside` does blocking work on another thread."""
    answer: Any = None
    failure: Exception | None = None
    while True:
        try:
            request = plan.send(answer) if failure is None else plan.throw(failure)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer, failure = None, None
        try:
            if isinstance(request, Outside):
                answer = await aside(request.call)
            else:
                answer = request(storage)
                if inspect.isawaitable(answer):
                    answer = await answer
        except Exception as error:  # noqa: BLE001 - the plan decides what the failure means
            failure = error


def now() -> Plan[datetime]:
    """The present by the store's clock, for windows; whoever decides reads the clock inside a transition."""
    return (yield lambda storage: storage.clock())  # type: ignore[no-any-return]


def append(facts: Iterable[Fact]) -> Plan[Appended]:
    """`Storage.append`."""
    return (yield lambda storage: storage.append(facts))  # type: ignore[no-any-return]


def find(select: Select) -> Plan[Sequence[Any]]:
    """`Storage.find`."""
    return (yield lambda storage: storage.find(select))  # type: ignore[no-any-return]


def count(select: Select, by: Sequence[str] = ()) -> Plan[Mapping[tuple[Scalar, ...], int]]:
    """`Storage.count`."""
    return (yield lambda storage: storage.count(select, by))  # type: ignore[no-any-return]


def tally(query: TallyQuery) -> Plan[Tally]:
    """`Storage.tally`."""
    return (yield lambda storage: storage.tally(query))  # type: ignore[no-any-return]


def transition(key: str, step: Step, *, operation_id: str) -> Plan[Json]:
    """`Storage.transition`."""
    return (yield lambda storage: storage.transition(key, step, operation_id=operation_id))  # type: ignore[no-any-return]


def settle(key: str, step: Step, *, operation_id: str) -> Plan[Json]:
    """`Storage.transition`, repeated under the same operation id while its commit failed or its fate is unknown.

    A `LockTimeoutError` has waited long enough and is not repeated.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return (yield from transition(key, step, operation_id=operation_id))
        except LockTimeoutError:
            raise
        except (NotWritten, OutcomeUnknown):
            if attempt == TRIES:
                raise
        yield from outside(partial(time.sleep, random.uniform(0, 0.05 * 2**attempt)))  # noqa: S311 - jitter
    raise AssertionError  # unreachable: the last try returns or raises


def outside(call: Callable[[], R]) -> Plan[R]:
    """Do blocking work that is not the store's: on this thread, or beside an event loop on another."""
    return (yield Outside(call))  # type: ignore[no-any-return]


def document(key: str) -> Plan[Document | None]:
    """The one state document of a key."""
    return (yield from state(key, limit=1)).get(key)


def state(
    prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
) -> Plan[Mapping[str, Document]]:
    """`Storage.state`."""
    return (yield lambda storage: storage.state(prefix, due_before=due_before, limit=limit, after=after))  # type: ignore[no-any-return]


def prune(before: datetime, keep: Collection[str] = ()) -> Plan[Pruned]:
    """`Storage.prune`."""
    return (yield lambda storage: storage.prune(before, keep))  # type: ignore[no-any-return]


def check() -> Plan[CheckReport]:
    """`Storage.check`."""
    return (yield lambda storage: storage.check())  # type: ignore[no-any-return]
