"""Each verb of the contract as a call: what to do inside a transaction, and of which sort. Both colours make them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock
from f1mon_core.storage.change import Step, check_state_key
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_sql.connect.engine import Place, Settings
from f1mon_sql.schema import versions
from f1mon_sql.transactions import Transactions
from f1mon_sql.verbs.transition import Operations, check_state

R = TypeVar("R")

FORGET_EVERY = 200
"""The results of long past transitions are dropped once in so many."""


class Call(NamedTuple, Generic[R]):
    """Work for one transaction.

    Attributes:
        work: What is done with its connection.
        write: Whether it writes.
        snapshot: Whether its statements must read one state of the database.
    """

    work: Callable[[Connection], R]
    write: bool = False
    snapshot: bool = False


class Verbs:
    """The verbs of a store at a place."""

    def __init__(self, place: Place, settings: Settings, clock: Clock | None, *, shared: bool = False) -> None:
        self.place = place
        self.settings = settings
        self.transactions = Transactions(place, settings, shared=shared)
        self.operations = Operations(self.transactions.dialect, clock)
        self._guard = threading.Lock()
        # Begun anywhere, so that handles that live for a few transitions have their share of it too.
        self._transitions = random.randrange(FORGET_EVERY)  # noqa: S311 - only to spread it

    def run(self, connection: Connection, call: Call[R]) -> R:
        """Run a call on a connection."""
        return self.transactions.run(connection, call.work, write=call.write, snapshot=call.snapshot)

    def now(self) -> Call[datetime]:
        """The clock that facts are stamped with."""
        return Call(self.operations.now)

    def append(self, facts: Iterable[Fact]) -> Call[Appended]:
        """See `Storage.append`."""
        batch = list(facts)
        return Call(lambda connection: self.operations.append(connection, batch), write=True)

    def find(self, select: Select) -> Call[Sequence[Fact]]:
        """See `Storage.find`."""
        return Call(lambda connection: self.operations.find(connection, select))

    def count(self, select: Select, by: Sequence[str]) -> Call[Mapping[tuple[Scalar, ...], int]]:
        """See `Storage.count`."""
        return Call(lambda connection: self.operations.count(connection, select, by))

    def tally(self, query: TallyQuery) -> Call[Tally]:
        """See `Storage.tally`."""
        return Call(lambda connection: self.operations.tally(connection, query), snapshot=True)

    def transition(self, key: str, step: Step, operation_id: str) -> Call[Json]:
        """See `Storage.transition`."""
        check_state_key(key)
        return Call(lambda connection: self.operations.transition(connection, key, step, operation_id), write=True)

    def forget(self) -> Call[None] | None:
        """The call that drops old results of transitions, once in `FORGET_EVERY` times."""
        with self._guard:
            self._transitions += 1
            due = self._transitions % FORGET_EVERY == 0
        return Call(self.operations.forget_operations, write=True) if due else None

    def state(
        self, prefix: str, due_before: datetime | None, limit: int | None, after: str | None
    ) -> Call[Mapping[str, Document]]:
        """See `Storage.state`."""
        check_state(prefix, due_before)
        return Call(lambda connection: self.operations.state(connection, prefix, due_before, limit, after))

    def prune(self, before: datetime, keep: Collection[str]) -> Call[Pruned]:
        """See `Storage.prune`."""
        return Call(lambda connection: self.operations.prune(connection, before, keep), write=True)

    def check(self) -> Call[CheckReport]:
        """See `Storage.check`."""
        return Call(self.operations.check, snapshot=True)

    # Schema ---------------------------------------------------------------------------------------------------------

    def revision(self) -> Call[str | None]:
        """The schema's revision; None where f1mon has no tables."""
        return Call(versions.stored_revision)

    def created(self, revision: str | None) -> Call[None] | None:
        """The call that creates the schema, None if it is there; an error if it is not the one of this f1mon."""
        version = versions.version_of(revision)
        if version is versions.Version.CURRENT:
            return None
        if version is versions.Version.NEWER:
            raise versions.refusal(revision, self.place.address)
        # An older one may be a creation under way, which MariaDB shows step by step; so it is looked at again, alone.

        def create(connection: Connection) -> None:
            dialect, timeout = self.transactions.dialect, self.settings.lock_timeout
            with versions.alone(connection, dialect, timeout):
                versions.ensure(connection, self.place.address)

        return Call(create, write=True)
