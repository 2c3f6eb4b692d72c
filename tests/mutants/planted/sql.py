"""Faults of SQLAlchemy's own transactions, over the SQL store on SQLite."""

from f1mon_sql import SQLStorage
from f1mon_sql.dialects.sqlite import Sqlite
from planted.registry import dawdling, fault


class _AsTheDriverBegins(Sqlite):
    """Python's driver begins a transaction by itself, at the first write."""

    def begin(self, connection, *, write, snapshot):
        connection.connection.dbapi_connection.isolation_level = "" if write else None
        if not write:
            super().begin(connection, write=write, snapshot=snapshot)


@fault(
    "BEGIN IMMEDIATE is taken away, and SQLAlchemy's default left",
    caught_by="transitions_of_several_processes_lose_nothing",
    over="sql",
)
class WithoutBeginImmediate(SQLStorage):
    def __init__(self, *, url, clock=None):
        super().__init__(url, clock=clock, take_turns=False)
        self._verbs.transactions.dialect = _AsTheDriverBegins()

    def transition(self, key, step, *, operation_id):
        return super().transition(key, dawdling(step), operation_id=operation_id)


@fault(
    "the SQL store's clock is read before the lock",
    caught_by="the_clock_is_read_after_the_lock_among_processes",
    over="sql",
)
@fault(
    "the SQL store's clock is read before a wait that outlasts the cooldown",
    caught_by="claimers_blocked_for_longer_than_the_cooldown_fire_once",
    over="sql",
)
class ClockBeforeTheLock(SQLStorage):
    def __init__(self, *, url, clock=None):
        super().__init__(url, clock=clock)

    def transition(self, key, step, *, operation_id):
        before = self.clock()
        return super().transition(key, lambda state, _: step(state, before), operation_id=operation_id)


@fault(
    "the SQL store's documents are kept by the handle",
    caught_by="processes_that_evaluate_one_rule_fire_once_in_each_cooldown",
    over="sql",
)
class DocumentsOfTheHandle(SQLStorage):
    def __init__(self, *, url, clock=None):
        super().__init__(url, clock=clock)
        self._own_documents = {}

    def transition(self, key, step, *, operation_id):
        def remembered(_, now):
            change = step(self._own_documents.get(key), now)
            self._own_documents[key] = change.state
            return change

        return super().transition(key, remembered, operation_id=operation_id)
