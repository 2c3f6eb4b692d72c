"""SQLStorage: the storage contract over SQLite, PostgreSQL, MariaDB or MySQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.engine import URL, Engine

from f1mon_core.errors import ClosedError, F1monError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock, host_clock
from f1mon_core.storage.change import Step
from f1mon_core.storage.contract import Appended, CheckReport, Pruned
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.grouping import Groups
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_sql.connect.engine import make_engine, remake_after_fork
from f1mon_sql.connect.errors import CONNECTING, cause_of, unreachable
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.statements import is_interrupted, letting_go
from f1mon_sql.connect.target import target_of, target_of_engine
from f1mon_sql.verbs.calls import Call, Verbs

R = TypeVar("R")


class SQLStorage:
    """A database as a store. Threads may share it; a forked child gets connections of its own; pickled by address."""

    def __init__(self, place: str | URL | Engine, *, clock: Clock | None = None, **settings: Any) -> None:
        """Open a database, and create f1mon's tables where there are none.

        Args:
            place: An address (`sqlite:///f1mon.db`, `postgresql://…`, `mysql://…`), or an application's own `Engine`,
                which is used as it is and never disposed.
            clock: Overrides all time, the server's too; picklable.
            **settings: See `Settings`; an application's `Engine` keeps its own pool and sessions.

        Raises:
            ConfigurationError: If the address or a setting says something f1mon cannot do.
            SchemaError: If the schema is older (the message has the command) or newer than this f1mon.
            NotWritten: If the database cannot be reached.
        """
        self._given = place
        self._options = settings
        self._clock = clock
        self._own = not isinstance(place, Engine)
        target = target_of_engine(place) if isinstance(place, Engine) else target_of(place)
        self._verbs = Verbs(target, Settings.of(settings), clock, shared=not self._own)
        engine = place if isinstance(place, Engine) else make_engine(target, self._verbs.settings)
        remake_after_fork(engine)
        self._engine: Engine | None = engine
        self._groups = Groups(lambda batch: self._call(self._verbs.append(batch)), self.append_each)
        try:
            creation = self._verbs.created(self._call(self._verbs.revision()))
            if creation is not None:
                self._call(creation)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"SQLStorage({self.address!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._own or self._verbs.target.in_memory:
            message = "only a store opened by the address of a file or a server can be pickled"
            raise TypeError(message)
        return (_reopened, (self._given, self._clock, self._options))

    @property
    def clock(self) -> Clock:
        """See `Storage.clock`. Where none was given, a server is asked for its own."""
        if self._clock is not None:
            return self._clock
        if self._verbs.dialect.server_clock is None:
            return host_clock
        return lambda: self._call(self._verbs.now())

    @property
    def address(self) -> str:
        """See `Storage.address`."""
        return self._verbs.target.address

    @property
    def read_only(self) -> str | None:
        """Why nothing may be written to it by this process, as known since it was opened; None if something may."""
        return self._verbs.transactions.read_only

    @property
    def concurrency(self) -> int:
        """How many verbs it runs at once."""
        return 1 if self._verbs.target.in_memory else self._verbs.settings.pool_size

    def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        return self._groups.append(list(facts))

    def append_each(self, batches: Sequence[Sequence[Fact]]) -> Sequence[Appended]:
        """Append several batches in one transaction, or raise one of `grouping.APART` and store nothing."""
        return self._call(self._verbs.append_each(batches))

    def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        return self._call(self._verbs.find(select))

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        return self._call(self._verbs.count(select, by))

    def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        return self._call(self._verbs.tally(query))

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        if (forgetting := self._verbs.forget()) is not None:
            self._call(forgetting)
        return self._call(self._verbs.transition(key, step, operation_id))

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        return self._call(self._verbs.state(prefix, due_before, limit, after))

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        return self._call(self._verbs.prune(before, keep))

    def dump(self, after: str | None = None) -> Dumped:
        """See `Storage.dump`."""
        return self._call(self._verbs.dump(after))

    def restore(self, records: Iterable[Document]) -> Appended:
        """See `Storage.restore`."""
        return self._call(self._verbs.restore(records))

    def check(self) -> CheckReport:
        """See `Storage.check`."""
        return self._call(self._verbs.check())

    def close(self) -> None:
        """See `Storage.close`. An application's own engine goes on."""
        engine, self._engine = self._engine, None
        if engine is not None and self._own:
            engine.dispose()
        self._verbs.transactions.close()

    def _call(self, call: Call[R]) -> R:
        if (engine := self._engine) is None:
            raise ClosedError("this store is closed; open it again")
        try:
            with letting_go():
                return self._called(engine, call)
        except BaseException as error:
            if self._own and not self._verbs.target.in_memory and is_interrupted(error):
                # Interrupted between two steps of the pool, a connection counts as taken for ever: it gets a new pool.
                engine.dispose()
            raise

    def _called(self, engine: Engine, call: Call[R]) -> R:
        try:
            connection = engine.connect()
        except F1monError:
            raise
        except CONNECTING as error:
            raise unreachable(error, self._verbs.target.secrets) from cause_of(error, self._verbs.target.secrets)
        with connection:
            return self._verbs.run(connection, call)


def _reopened(place: str | URL, clock: Clock | None, settings: Mapping[str, Any]) -> SQLStorage:
    return SQLStorage(place, clock=clock, **settings)
