"""Each verb of the contract as a call: what to do inside a transaction, and of which sort. Sync and async make them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock, from_micros, host_clock
from f1mon_core.storage.change import Step, check_operation_id, check_state, check_state_key
from f1mon_core.storage.condition import say_read_only
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.dumping import Dumped, restoring
from f1mon_core.storage.grouping import PATIENCE, shares
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import Target
from f1mon_sql.dialects import Dialect
from f1mon_sql.schema import versions
from f1mon_sql.transactions import Transactions
from f1mon_sql.verbs.append import append
from f1mon_sql.verbs.check import check
from f1mon_sql.verbs.dump import dump, restore
from f1mon_sql.verbs.find import count, find, split
from f1mon_sql.verbs.prune import prune
from f1mon_sql.verbs.tally import tally
from f1mon_sql.verbs.transition import forget, state, transition

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
    """The verbs of a store at a target."""

    def __init__(self, target: Target, settings: Settings, clock: Clock | None, *, shared: bool = False) -> None:
        self.target = target
        self.settings = settings
        self.transactions = Transactions(target, settings, shared=shared)
        self._clock = clock
        self._guard = threading.Lock()
        # Begun anywhere, so that handles that live for a few transitions have their share of it too.
        self._transitions = random.randrange(FORGET_EVERY)  # noqa: S311 - only to spread it

    @property
    def dialect(self) -> Dialect:
        """What its database says differently."""
        return self.transactions.dialect

    def run(self, connection: Connection, call: Call[R]) -> R:
        """Run a call on a connection."""
        return self.transactions.run(connection, call.work, write=call.write, snapshot=call.snapshot)

    # Clock ----------------------------------------------------------------------------------------------------------

    def now(self) -> Call[datetime]:
        """The clock that facts are stamped with."""
        return Call(self._now)

    def _now(self, connection: Connection, server: int | None = None) -> datetime:
        """The time of the given clock, else the server's, which may have said it already, else the host's."""
        if self._clock is not None:
            return self._clock()
        micros = self.dialect.now(connection) if server is None else server
        return host_clock() if micros is None else from_micros(micros)

    # Verbs ----------------------------------------------------------------------------------------------------------

    def append(self, facts: Iterable[Fact]) -> Call[Appended]:
        """See `Storage.append`."""
        batch = list(facts)
        return Call(lambda on: append(on, self.dialect, partial(self._now, on), batch), write=True)

    def append_each(self, batches: Sequence[Sequence[Fact]]) -> Call[Sequence[Appended]]:
        """Several appends in one transaction; see `grouping.Groups`."""
        whole = [fact for batch in batches for fact in batch]

        def work(on: Connection) -> Sequence[Appended]:
            with self.dialect.waiting_briefly(on, PATIENCE):
                return shares(append(on, self.dialect, partial(self._now, on), whole), batches)

        return Call(work, write=True)

    def find(self, select: Select) -> Call[Sequence[Fact]]:
        """See `Storage.find`."""
        return Call(lambda on: find(on, self.dialect, select), snapshot=self._is_split(select))

    def count(self, select: Select, by: Sequence[str]) -> Call[Mapping[tuple[Scalar, ...], int]]:
        """See `Storage.count`."""
        return Call(lambda on: count(on, self.dialect, select, by), snapshot=self._is_split(select))

    def _is_split(self, select: Select) -> bool:
        return bool(select.where) and len(split(self.dialect, select)) > 1

    def tally(self, query: TallyQuery) -> Call[Tally]:
        """See `Storage.tally`."""
        return Call(lambda on: tally(on, self.dialect, query), snapshot=True)

    def transition(self, key: str, step: Step, operation_id: str) -> Call[Json]:
        """See `Storage.transition`."""
        check_state_key(key)
        check_operation_id(operation_id)
        return Call(
            lambda on: transition(on, self.dialect, partial(self._now, on), key, step, operation_id), write=True
        )

    def forget(self) -> Call[None] | None:
        """The call that drops old results of transitions, once in `FORGET_EVERY` times."""
        with self._guard:
            self._transitions += 1
            due = self._transitions % FORGET_EVERY == 0
        return Call(lambda on: forget(on, self.dialect, self._now(on)), write=True) if due else None

    def state(
        self, prefix: str, due_before: datetime | None, limit: int | None, after: str | None
    ) -> Call[Mapping[str, Document]]:
        """See `Storage.state`."""
        check_state(prefix, due_before, limit, after)
        return Call(lambda on: state(on, self.dialect, prefix, due_before, limit, after))

    def prune(self, before: datetime, keep: Collection[str]) -> Call[Pruned]:
        """See `Storage.prune`."""
        return Call(lambda on: prune(on, self.dialect, partial(self._now, on), before, keep), write=True)

    def dump(self, after: str | None) -> Call[Dumped]:
        """See `Storage.dump`."""
        return Call(lambda on: dump(on, self.dialect, partial(self._now, on), after), snapshot=True)

    def restore(self, records: Iterable[Document]) -> Call[Appended]:
        """See `Storage.restore`."""
        offered = restoring(records)
        return Call(lambda on: restore(on, self.dialect, offered), write=True)

    def check(self) -> Call[CheckReport]:
        """See `Storage.check`."""
        return Call(lambda on: check(on, self.dialect), snapshot=True)

    # Schema ---------------------------------------------------------------------------------------------------------

    def revision(self) -> Call[str | None]:
        """The schema's revision; None where f1mon has no tables. It finds out too whether they may only be read."""
        return Call(self._revision)

    def _revision(self, connection: Connection) -> str | None:
        revision = versions.stored_revision(connection)
        if self.transactions.read_only is None and versions.version_of(revision) is versions.Version.CURRENT:
            self.transactions.read_only = self.dialect.why_only_read(connection)
        return revision

    def created(self, revision: str | None) -> Call[None] | None:
        """The call that creates the schema, None if it is there; an error if it is not the one of this f1mon."""
        version = versions.version_of(revision)
        if version is versions.Version.CURRENT:
            say_read_only(self.target.address, self.transactions.read_only)
            return None
        if version is versions.Version.NEWER:
            raise versions.refusal(revision, self.target.address)
        # An older one may be a creation under way, which MariaDB shows step by step; so it is looked at again, alone.

        def create(connection: Connection) -> None:
            with self.dialect.alone(connection, self.settings.lock_timeout):
                versions.ensure(connection, self.target.address)

        return Call(create, write=True)
