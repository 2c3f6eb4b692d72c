"""Operations that think once for both sides: generators that yield what they ask of a store.

A plan yields requests, functions of a store, and is sent their answers; `run` drives it over a `Storage`, `run_async`
over an `AsyncStorage`. No thinking is written twice, and none of it knows whether it waits.

A generator is sent answers of one type, and requests have many: `ask` gives each answer the type of its request, and
is the only place that takes one on trust.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

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
F = TypeVar("F", bound=Fact)

Request: TypeAlias = Callable[[Storage], object]
"""A verb with its arguments. Over an `AsyncStorage`, which has the same verbs, it answers what is to be awaited."""
Plan: TypeAlias = Generator[Request, Any, R]

TRIES = 4
"""How often `settle` tries a transition before its failure is the caller's."""


@attrs.frozen
class Outside:
    """A request that is not the store's: blocking work, which the async driver does on a thread."""

    call: Callable[[], object]

    def __call__(self, storage: Storage) -> object:  # noqa: ARG002 - the shape of a request
        """Do the work here and now."""
        return self.call()


def run(plan: Plan[R], storage: Storage) -> R:
    """Drive a plan over a store."""
    answer: object = None
    failure: Exception | None = None
    while True:
        try:
            request = plan.send(answer) if failure is None else plan.throw(failure)
        except StopIteration as done:
            result: R = done.value
            return result
        answer, failure = None, None
        try:
            answer = request(storage)
        except Exception as error:  # noqa: BLE001 - the plan decides what the failure means
            failure = error


async def run_async(
    plan: Plan[R],
    storage: AsyncStorage,
    aside: Callable[[Callable[[], object]], Awaitable[object]] | None = None,
) -> R:
    """Drive a plan over an async store; `aside` does blocking work on another thread, `asyncio.to_thread` if None."""
    if aside is None:
        from asyncio import to_thread  # noqa: PLC0415 - here is an event loop

        aside = to_thread
    answer: object = None
    failure: Exception | None = None
    while True:
        try:
            request = plan.send(answer) if failure is None else plan.throw(failure)
        except StopIteration as done:
            result: R = done.value
            return result
        answer, failure = None, None
        try:
            if isinstance(request, Outside):
                answer = await aside(request.call)
            else:
                answer = request(cast("Storage", storage))
                if inspect.isawaitable(answer):
                    answer = await answer
        except Exception as error:  # noqa: BLE001 - the plan decides what the failure means
            failure = error


def ask(request: Callable[[Storage], R]) -> Plan[R]:
    """Ask one thing of the store."""
    answer: R = yield request
    return answer


def now() -> Plan[datetime]:
    """The present by the store's clock, for windows; whoever decides reads the clock inside a transition."""
    return (yield from ask(lambda storage: storage.clock()))


def append(facts: Iterable[Fact]) -> Plan[Appended]:
    """`Storage.append`."""
    return (yield from ask(lambda storage: storage.append(facts)))


def find(select: Select[F]) -> Plan[Sequence[F]]:
    """`Storage.find`: the facts that `select` selects, of the class that it is of."""
    answer: Sequence[F] = yield lambda storage: storage.find(select)
    return answer


def count(select: Select, by: Sequence[str] = ()) -> Plan[Mapping[tuple[Scalar, ...], int]]:
    """`Storage.count`."""
    return (yield from ask(lambda storage: storage.count(select, by)))


def tally(query: TallyQuery) -> Plan[Tally]:
    """`Storage.tally`."""
    return (yield from ask(lambda storage: storage.tally(query)))


def transition(key: str, step: Step, *, operation_id: str) -> Plan[Json]:
    """`Storage.transition`."""
    return (yield from ask(lambda storage: storage.transition(key, step, operation_id=operation_id)))


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
    answer: R = yield Outside(call)
    return answer


def document(key: str) -> Plan[Document | None]:
    """The one state document of a key."""
    return (yield from state(key, limit=1)).get(key)


def state(
    prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
) -> Plan[Mapping[str, Document]]:
    """`Storage.state`."""
    return (yield from ask(lambda storage: storage.state(prefix, due_before=due_before, limit=limit, after=after)))


def prune(before: datetime, keep: Collection[str] = ()) -> Plan[Pruned]:
    """`Storage.prune`."""
    return (yield from ask(lambda storage: storage.prune(before, keep)))


def check() -> Plan[CheckReport]:
    """`Storage.check`."""
    return (yield from ask(lambda storage: storage.check()))
