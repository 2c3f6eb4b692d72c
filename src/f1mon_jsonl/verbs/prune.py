"""Pruning: the journal is rewritten without what is old; cells stay, and keys, and horizons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import attrs

from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import to_micros
from f1mon_core.storage import retention
from f1mon_core.storage.contract import Pruned
from f1mon_core.storage.retention import LASTING_KINDS, held_by
from f1mon_core.storage.tally import answered
from f1mon_jsonl.format import decode_document
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.compaction import Rewrite, fact_lines, limit_members, pruned_lines
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
        session.members.append(("horizons", encoded({**_horizons(session.view.index, horizon, keep)})))
    return Pruned(horizon, change.removed)


def _horizons(index: Index, before: datetime, keep: Collection[str]) -> dict[str, int]:
    """The horizons of the kinds that are pruned."""
    horizon = to_micros(before)
    return {name: max(horizon, index.horizons.get(name, horizon)) for name in retention.prunable_kinds(keep)}


def _planned(session: Session, before: datetime, keep: Collection[str]) -> Rewrite:
    """What pruning removes, and what it leaves instead."""
    change, index = Rewrite(), session.view.index
    horizon = to_micros(before)
    stands_until = index.stands_until
    if "prediction" not in keep:
        _, end = index.by_prediction.window(None, horizon)
        gone = index.by_prediction.rows[:end].tolist()
        _drop(change, index, gone)
        labelled = (row for row in gone if index.predictions.first_known[row] != NONE)
        latest = max(map(index.stands.__getitem__, labelled), default=NONE)
        if latest != NONE:
            stands_until = latest if stands_until is None else max(latest, stands_until)
        kept = [attrs.evolve(fact, recorded_at=session.now) for fact in _kept(index, gone, before)]
        change.lines += fact_lines(kept)
    held = held_by(decode_document(text) for text in index.state.documents.values())
    for name, kind in index.kinds.items():
        if name in {*LASTING_KINDS, *keep}:
            continue
        for entry in kind.ordered:
            if entry.at >= horizon:
                break
            if entry.key[0] not in held:
                change.drop(name, entry.spot)
    change.lines.append(limit_members(_horizons(index, before, keep), None, stands_until))
    return change


def _drop(change: Rewrite, index: Index, gone: Sequence[int]) -> None:
    """Leave out predictions and the outcomes of items of which none stays; their keys stay known."""
    going = {*gone}
    links = index.outcomes
    for item in drop_predictions(change, index, gone):
        if going.issuperset(index.predictions.of_item(item)):
            for link in index.links(item):
                change.drop("outcome", (links.line[link], links.item[link]))
    keys: dict[str, list[str]] = {}
    for row in gone:
        item, model = index.prediction_key(row)
        keys.setdefault(model, []).append(item)
    for model, some in keys.items():
        change.lines += pruned_lines(model, some)


def drop_predictions(change: Rewrite, index: Index, gone: Iterable[int]) -> set[str]:
    """Leave out predictions; answers their items."""
    table = index.predictions
    for row in gone:
        change.drop("prediction", (table.line[row], table.item[row]))
    return {table.ids[row] for row in gone}


def _kept(index: Index, gone: Sequence[int], before: datetime) -> list[Fact]:
    """The facts that stay of predictions that go."""
    kept, crowded = retention.sorted_out(_numbers_of_values(index, gone))
    tallies = ((query, answered(query, tally.of_rows(index, query, gone))) for query in retention.kept_queries(kept))
    return retention.kept_facts(tallies, before, crowded)


def _numbers_of_values(index: Index, rows: Sequence[int]) -> dict[tuple[str, str], int]:
    """How many values each segment of each model has among some predictions."""
    numbers: dict[tuple[str, str], int] = {}
    models = index.predictions.model
    for name in index.segments.names:
        column = index.segments.of(name, len(models)).column
        found: dict[int, set[int]] = {}
        for row in rows:
            if column[row] != NONE:
                found.setdefault(models[row], set()).add(column[row])
        for model, values in found.items():
            numbers[index.models.values[model], name] = len(values)
    return numbers
