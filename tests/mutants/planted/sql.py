"""Faults of SQLAlchemy's own transactions, over the SQL store on SQLite; and of locks, over that on PostgreSQL."""

import time
from functools import partial

from f1mon_sql import SQLStorage
from f1mon_sql.dialects.sqlite import Sqlite
from f1mon_sql.verbs.append import Appending, append
from f1mon_sql.verbs.calls import Call
from f1mon_sql.verbs.stored import _ITEM_ROWS, Stored
from planted.registry import dawdling, fault, rewired


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


class _OfTheLockingStatement(Stored):
    """Takes what stands under an item from the statement that waited for it, as of before the wait."""

    def lock(self, predictions, outcomes):
        self.are_locked = self.are_locked or bool(predictions)
        items = {item for item, _ in predictions} | {*outcomes}
        self.dialect.make_stubs(self.connection, sorted(items))
        rows, self.server = self.dialect.locked(self.connection, f"{_ITEM_ROWS} prediction_id", items)
        self._take_rows(rows)
        time.sleep(0.02)  # so that whoever comes meanwhile begins to wait
        self._read_predictions([key for key in predictions if key[1] in self.items[key[0]].models])


class _AppendingAtOnce(Appending):
    __init__ = rewired(Appending.__init__, Stored=_OfTheLockingStatement)


@fault(
    "the ordinal is taken from the locking statement",
    caught_by="models_that_come_to_one_item_at_once_are_all_kept",
    over="sql on postgresql",
)
class OrdinalOfTheLockingStatement(SQLStorage):
    def __init__(self, *, url, clock=None):
        super().__init__(url, clock=clock)

    def append(self, facts):
        batch, verbs = list(facts), self._verbs
        appending = rewired(append, Appending=_AppendingAtOnce)
        return self._call(Call(lambda on: appending(on, verbs.dialect, partial(verbs._now, on), batch), write=True))
