"""Faults that show when the process that works on a place dies."""

import json
import pickle
from functools import partial
from pathlib import Path

from f1mon_core.records import json_text
from f1mon_core.records.times import to_micros
from f1mon_core.storage.change import check_state_key, checked_change, operation_digest
from f1mon_core.storage.memory import MemoryStorage
from planted.guide import onefile
from planted.registry import fault
from planted.sharing import OneFile

_kept = {}


class _AtAPath(MemoryStorage):
    def __init__(self, *, path, clock=None):
        super().__init__(clock=clock)
        self._path = path


@fault(
    "what was appended is kept as long as the process lives",
    caught_by="what_a_process_was_told_is_stored_is_there_after_its_kill",
    over="onefile alone",
)
class ProcessWide(_AtAPath):
    def __init__(self, **options):
        super().__init__(**options)
        self._contents = _kept.setdefault(self._path, self._contents)


@fault(
    "what was appended is written when the handle is closed, by one process at a time",
    caught_by="what_a_process_was_told_is_stored_is_there_after_its_kill",
    over="onefile alone",
)
class PickledAtClose(_AtAPath):
    def __init__(self, **options):
        super().__init__(**options)
        if Path(self._path).exists():
            self._contents = pickle.loads(Path(self._path).read_bytes())

    def close(self):
        if self._contents is not None:
            Path(self._path).write_bytes(pickle.dumps(self._contents))
        super().close()


def _store_state(db, key, change):
    db.execute("DELETE FROM documents WHERE key = ?", (key,))
    if change.state is not None:
        onefile()._insert(db, "documents", key, json_text.encoded(change.state))


def _store_also(db, change):
    for other, document in change.also.items():
        db.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (other, json_text.encoded(document)))


class _InPieces(OneFile):
    """Stores a claim piece by piece: each commit is whole, the claim is not."""

    def __init__(self, *, path, clock=None):
        super().__init__(path, clock)

    def transition(self, key, step, *, operation_id):
        module = onefile()
        check_state_key(key)
        digest = operation_digest(key, operation_id)
        with self._commit() as db:
            now = self.clock()
            done = db.execute("SELECT result FROM operations WHERE digest = ?", (digest,))
            if (row := done.fetchone()) is not None:
                return json.loads(row[0])
            change = checked_change(step(module._documents(db).get(key), now))

            facts = partial(module._append, db, change.facts, now)
            state, also = partial(_store_state, db, key, change), partial(_store_also, db, change)
            done_with = digest, to_micros(now), json_text.encoded(change.result)
            operation = partial(module._insert, db, "operations", *done_with)
            db.execute("SAVEPOINT conflict")
            facts()  # a conflict leaves nothing, even here
            db.execute("ROLLBACK TO conflict")
            first, *later = self.pieces(facts, state, also, operation)
            for piece in first:
                piece()
            for pieces in later:
                db.execute("COMMIT")
                db.execute("BEGIN IMMEDIATE")
                for piece in pieces:
                    piece()
            return change.result


KILLED_CLAIM = "a_claim_killed_on_its_way_to_the_commit_is_stored_whole_or_not_at_all"


@fault("a claim commits its state and then its facts", caught_by=KILLED_CLAIM, over="onefile")
class StateFirst(_InPieces):
    def pieces(self, facts, state, also, operation):
        return (state, also, operation), (facts,)


@fault("a claim commits its facts and then its state", caught_by=KILLED_CLAIM, over="onefile")
class FactsFirst(_InPieces):
    def pieces(self, facts, state, also, operation):
        return (facts,), (state, also, operation)


@fault("a claim commits its deliveries last", caught_by=KILLED_CLAIM, over="onefile alone")
class DeliveriesLast(_InPieces):
    def pieces(self, facts, state, also, operation):
        return (facts, state, operation), (also,)


@fault("a claim commits its operation last", caught_by=KILLED_CLAIM, over="onefile alone")
class OperationLast(_InPieces):
    def pieces(self, facts, state, also, operation):
        return (facts, state, also), (operation,)


@fault(
    "a prune commits what it removes and then the cells it keeps",
    caught_by="a_prune_killed_on_its_way_to_the_commit_is_done_whole_or_not_at_all",
    over="onefile",
)
class CellsLast(OneFile):
    def __init__(self, *, path, clock=None):
        self._pruning = False
        super().__init__(path, clock)

    def prune(self, before, keep=()):
        self._pruning = True
        try:
            return super().prune(before, keep)
        finally:
            self._pruning = False

    def _end(self, db):
        if self._pruning:
            cells = db.execute("SELECT * FROM facts WHERE kind = 'kept_tally'").fetchall()
            db.execute("DELETE FROM facts WHERE kind = 'kept_tally'")
            db.execute("COMMIT")
            db.execute("BEGIN IMMEDIATE")
            for cell in cells:
                onefile()._insert(db, "facts", *cell)
        super()._end(db)
