"""Pruning: the journal is rewritten without what is old; cells stay, and horizons."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import attrs

from f1mon_core.records.json_text import encoded
from f1mon_core.records.times import to_micros
from f1mon_core.storage import retention
from f1mon_core.storage.contract import Pruned
from f1mon_core.storage.retention import LASTING_KINDS, held_by
from f1mon_jsonl.format import decode_document
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.compaction import Rewrite
from f1mon_jsonl.verbs import tally
from f1mon_jsonl.writer import Session, Writer


def prune(writer: Writer, session: Session, horizon: datetime, keep: Collection[str]) -> Pruned:
    """See `Storage.prune`; the horizon is a whole hour already."""

    def planned() -> Rewrite:
        return _planned(session, horizon, keep)

    change = planned()
    if change.removed:
        change = writer.rewrite(session, change, planned)
    else:
        session.members.append(("horizons", encoded(change.horizons)))  # type: ignore[arg-type]
    return Pruned(horizon, change.removed)


def _planned(session: Session, before: datetime, keep: Collection[str]) -> Rewrite:
    """What pruning removes, and what it leaves instead."""
    change, index = Rewrite(), session.view.index
    horizon = to_micros(before)
    if "prediction" not in keep:
        _drop_predictions(change, index, horizon)
        if change.pruned:
            cells = tally.of_rows(index, session.view.cells, retention.kept_query(before))
            change.added = [attrs.evolve(fact, recorded_at=session.now) for fact in retention.kept_facts(cells)]
    held = held_by(decode_document(text) for text in index.state.documents.values())
    for name, kind in index.kinds.items():
        if name in {*LASTING_KINDS, *keep}:
            continue
        for entry in kind.ordered:
            if entry.at >= horizon:
                break
            if entry.key[0] not in held:
                change.drop(name, entry.spot)
    for name in retention.prunable_kinds(keep):
        change.horizons[name] = max(horizon, index.horizons.get(name, horizon))
    return change


def _drop_predictions(change: Rewrite, index: Index, horizon: int) -> None:
    table, links = index.predictions, index.outcomes
    order = index.by_prediction
    _, end = order.window(None, horizon)
    firsts = [] if index.outcomes_until is None else [index.outcomes_until]
    for row in order.rows[:end]:
        change.drop("prediction", (table.line[row], table.item[row]))
        change.pruned.append(table.ids[row])
        for link in index.chain(row):
            change.drop("outcome", (links.line[link], links.item[link]))
        if table.outcome[row] != NONE:
            firsts.append(table.first_known[row])
    change.outcomes_until = max(firsts, default=None)
