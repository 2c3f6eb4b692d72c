"""What a batch comes to: which of its facts are new, and that nothing forbids them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from f1mon_core.errors import ConflictError
from f1mon_core.records import documents
from f1mon_core.records.fields import Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact, Outcome, Prediction, same
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import stamping
from f1mon_core.storage.contract import Appended
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.kinds import FactKey
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.writer import Session

_OF_A_PREDICTION = (Prediction, Outcome)


def append(session: Session, batch: Sequence[Fact]) -> Appended:
    """See `Storage.append`.

    Raises:
        ConflictError: If a different fact is stored, or offered earlier in the batch, under a fact's key.
        PrunedError: If a fact lies behind the prune horizon, or belongs to a pruned prediction.
    """
    new, repeated = _new(session.view.index, session.loader(), batch, session.now)
    if new:
        session.members.append(("facts", encoded(new)))
    return Appended(len(new), repeated)


def _new(index: Index, loader: Loader, batch: Sequence[Fact], now: datetime) -> tuple[list[Json], int]:
    """The documents of the facts that are new, as they are written, and how many are not."""
    written: list[Json] = []
    repeated = 0
    recorded = to_micros(now)
    new: dict[tuple[str, FactKey], Fact] = {}
    newest: dict[str, Outcome] = {}
    for offered in batch:
        fact = stamping.timed(offered, now, _newest(offered, index, newest))
        if fact is None:
            repeated += 1
            continue
        name = (fact.kind, fact.key)
        stored = new.get(name) or _stored(index, loader, fact)
        if stored is not None:
            if not same(stored, fact):
                raise ConflictError(stored, offered)
            repeated += 1
            continue
        horizon = index.horizons.get(fact.kind)
        pruned = isinstance(fact, _OF_A_PREDICTION) and index.predictions.rows.get(fact.prediction_id) == NONE
        stamping.refuse_pruned(fact, None if horizon is None else from_micros(horizon), pruned=pruned)
        new[name] = fact
        if isinstance(fact, Outcome):
            here = newest.get(fact.prediction_id)
            if here is None or here.instant < fact.instant:
                newest[fact.prediction_id] = fact
        document = documents.to_document(fact)
        document["recorded_at"] = recorded
        written.append(document)
    return written, repeated


def _newest(offered: Fact, index: Index, staged: Mapping[str, Outcome]) -> Outcome | None:
    """The outcome with the newest known_at of an outcome's prediction."""
    if not isinstance(offered, Outcome) or offered.at is not None:
        return None
    row = index.predictions.rows.get(offered.prediction_id, NONE)
    here = staged.get(offered.prediction_id)
    if row == NONE or index.predictions.outcome[row] == NONE:
        return here
    links = index.outcomes
    link = max(index.chain(row), key=links.known.__getitem__)
    known = from_micros(links.known[link])
    if here is not None and here.instant > known:
        return here
    label = index.labels.values[links.actual[link]]
    return Outcome(prediction_id=offered.prediction_id, actual_outcome=label, at=known)


def _stored(index: Index, loader: Loader, fact: Fact) -> Fact | None:
    """The fact that is stored under a fact's key."""
    if isinstance(fact, Prediction):
        table = index.predictions
        row = table.rows.get(fact.prediction_id, NONE)
        if row == NONE or table.model[row] == NONE:
            return None
        return loader.fact((table.line[row], table.item[row]))
    if isinstance(fact, Outcome):
        row = index.predictions.rows.get(fact.prediction_id, NONE)
        if row == NONE:
            return None
        links, at = index.outcomes, to_micros(fact.instant)
        link = next((link for link in index.chain(row) if links.known[link] == at), NONE)
        return None if link == NONE else loader.fact((links.line[link], links.item[link]))
    if fact.kind not in index.kinds or (entry := index.kinds[fact.kind].entries.get(fact.key)) is None:
        return None
    return loader.fact(entry.spot)
