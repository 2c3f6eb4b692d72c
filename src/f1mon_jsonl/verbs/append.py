"""What a batch comes to: which of its facts are new, and that nothing forbids them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from f1mon_core.errors import ConflictError
from f1mon_core.records import documents
from f1mon_core.records.fields import Json
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Fact, Outcome, Prediction, same
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import stamping
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.grouping import shares
from f1mon_jsonl.index.codes import NONE
from f1mon_jsonl.index.kinds import FactKey
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.writer import Session


def append(session: Session, batch: Sequence[Fact]) -> Appended:
    """See `Storage.append`.

    Raises:
        ConflictError: If a different fact is stored, or offered earlier in the batch, under a fact's key.
        PrunedError: If a fact would change what was pruned.
    """
    batch_of = _Batch(session.view.index, session.loader(), session.now)
    for fact in batch:
        batch_of.take(fact)
    if batch_of.new:
        session.members.append(("facts", encoded(batch_of.documents())))
    return batch_of.appended()


def append_each(session: Session, whole: Sequence[Fact], batches: Sequence[Sequence[Fact]]) -> Sequence[Appended]:
    """Append the facts of several batches; see `grouping.Groups`. Raises as `append`, and `ApartError`."""
    found = append(session, whole)
    return shares(found, batches)  # raised here, it leaves the line unwritten


class _Batch:
    """A batch on its way into a store."""

    def __init__(self, index: Index, loader: Loader, now: datetime) -> None:
        self._index = index
        self._loader = loader
        self._now = now
        self._repeated = 0
        self._outcomes: dict[str, list[Outcome]] = {}
        """The new ones, by item."""
        self._made: list[Prediction] = []
        self._items: set[str] = set()
        """Of which there is a new prediction."""
        self.new: dict[tuple[str, FactKey], Fact] = {}

    def take(self, offered: Fact) -> None:
        """Take one fact in, as new or as a repetition, or refuse it."""
        fact = stamping.timed(offered, self._now, self._newest(offered))
        if fact is None:
            self._repeated += 1
            return
        name = (fact.kind, fact.key)
        stored = self.new.get(name) or stored_fact(self._index, self._loader, fact)
        if stored is not None:
            if not same(stored, fact):
                raise ConflictError(stored, offered)
            self._repeated += 1
            return
        horizon = self._index.horizons.get(fact.kind)
        stamping.refuse_pruned(fact, None if horizon is None else from_micros(horizon), pruned=self._is_pruned(fact))
        self.new[name] = fact
        if isinstance(fact, Outcome):
            self._outcomes.setdefault(fact.prediction_id, []).append(fact)
        elif isinstance(fact, Prediction):
            self._made.append(fact)
            self._items.add(fact.prediction_id)

    def _is_pruned(self, fact: Fact) -> bool:
        index = self._index
        if not len(index.pruned):
            return False
        if isinstance(fact, Prediction):
            return not {fact.model_version, None}.isdisjoint(index.pruned.models(fact.prediction_id))
        if isinstance(fact, Outcome):
            item = fact.prediction_id
            return item in index.pruned and item not in self._items and not index.predictions.is_predicted(item)
        return False

    def _newest(self, offered: Fact) -> Outcome | None:
        """The outcome with the newest known_at of an outcome's item."""
        if not isinstance(offered, Outcome) or offered.at is not None:
            return None
        here = max(self._outcomes.get(offered.prediction_id, ()), key=_instant, default=None)
        links = self._index.outcomes
        link = max(self._index.links(offered.prediction_id), key=links.known.__getitem__, default=NONE)
        if link == NONE:
            return here
        known = from_micros(links.known[link])
        if here is not None and here.instant > known:
            return here
        label = self._index.labels.values[links.actual[link]]
        return Outcome(prediction_id=offered.prediction_id, actual_outcome=label, at=known)

    def documents(self) -> list[Json]:
        """The new facts as they are written."""
        recorded = to_micros(self._now)
        written: list[Json] = []
        for fact in self.new.values():
            document = documents.to_document(fact)
            document["recorded_at"] = recorded
            written.append(document)
        return written

    def appended(self) -> Appended:
        """What came of it."""
        table = self._index.predictions
        unmatched = sum(
            len(found)
            for item, found in self._outcomes.items()
            if item not in self._items and not table.is_predicted(item)
        )
        return Appended(len(self.new), self._repeated, sum(map(self._is_prelabelled, self._made)), unmatched)

    def _is_prelabelled(self, made: Prediction) -> bool:
        known = [one.instant for one in self._outcomes.get(made.prediction_id, ())]
        table = self._index.predictions
        row = table.rows.get(made.prediction_id, NONE)
        if row != NONE and table.first_known[row] != NONE:
            known.append(from_micros(table.first_known[row]))
        return bool(known) and stamping.is_prelabelled(made, min(known))


def _instant(fact: Fact) -> datetime:
    return fact.instant


def stored_fact(index: Index, loader: Loader, fact: Fact) -> Fact | None:
    """The fact that is stored under a fact's key."""
    if isinstance(fact, Prediction):
        table = index.predictions
        row = index.find(fact.prediction_id, fact.model_version)
        return None if row == NONE else loader.fact((table.line[row], table.item[row]))
    if isinstance(fact, Outcome):
        link, links = index.find_outcome(fact.prediction_id, to_micros(fact.instant)), index.outcomes
        return None if link == NONE else loader.fact((links.line[link], links.item[link]))
    if fact.kind not in index.kinds or (entry := index.kinds[fact.kind].entries.get(fact.key)) is None:
        return None
    return loader.fact(entry.spot)
