"""Which models a store knows, and how much of each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import attrs

from f1mon_core.errors import PrunedError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Fact, KeptTally, Outcome, Prediction
from f1mon_core.records.times import LATEST, MICROSECOND
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import KEPT_BINS, TallyQuery, bucket_start

_WIDTHS = (timedelta(days=1), timedelta(minutes=1), MICROSECOND)
"""Buckets in which the newest label is looked for, each within the one before: few cells, and exact in the end."""

LABELS_LOOKED_AT = 500
"""So many of the newest outcomes tell `glance` of each model's last label."""


@attrs.frozen
class ModelSummary:
    """One model as the store has it.

    Attributes:
        name: Its `model_version`.
        predictions: How many it made, those that were pruned too.
        labelled: Those whose outcome is known.
        first_prediction, last_prediction: When the oldest and the newest were made; of what was pruned, the full hour.
        last_label: When an outcome last became known for the first time. None where none did; and where none did after
            the newest outcome of any pruned prediction, because up to there windows by outcome time are not answered.
    """

    name: str
    predictions: int
    labelled: int
    first_prediction: datetime
    last_prediction: datetime
    last_label: datetime | None

    def to_dict(self) -> Document:
        """As a JSON object; times in ISO 8601."""
        return {
            "name": self.name,
            "predictions": self.predictions,
            "labelled": self.labelled,
            "first_prediction": self.first_prediction.isoformat(),
            "last_prediction": self.last_prediction.isoformat(),
            "last_label": None if self.last_label is None else self.last_label.isoformat(),
        }


@attrs.frozen
class ModelGlance:
    """One model, as far as it can be told at once, however much is stored.

    Attributes:
        name: Its `model_version`.
        stored: How many of its predictions are stored; those that were pruned are not among them.
        pruned: Whether there are such.
        last_prediction: When the newest that is stored was made.
        last_label: When an outcome of it was last known, as far as the newest `LABELS_LOOKED_AT` outcomes tell; None
            where these are all of other models.
    """

    name: str
    stored: int
    pruned: bool
    last_prediction: datetime | None
    last_label: datetime | None


def glance() -> Plan[list[ModelGlance]]:
    """Every model that ever predicted, by name: counted by the store, and looked up in what is newest."""
    stored = yield from plans.count(Select.of(Prediction), ("model_version",))
    kept = yield from plans.count(Select.of(KeptTally), ("model_version",))
    labels = yield from _labels_of_newest()
    found: list[ModelGlance] = []
    for name in sorted({str(name) for (name,) in (*stored, *kept)}):
        select = Select.of(Prediction, model_version=name, descending=True, limit=1)
        newest = next((one.instant for one in (yield from plans.find(select))), None)
        found.append(ModelGlance(name, stored.get((name,), 0), (name,) in kept, newest, labels.get(name)))
    return found


def _labels_of_newest() -> Plan[dict[str, datetime]]:
    """The newest label of each model that the newest outcomes are of."""
    known: dict[str, datetime] = {}
    for one in (yield from plans.find(Select.of(Outcome, descending=True, limit=LABELS_LOOKED_AT))):
        known.setdefault(one.prediction_id, one.instant)
    newest: dict[str, datetime] = {}
    if known:
        for made in (yield from plans.find(Select.of(Prediction, where={"prediction_id": list(known)}))):
            at = known[made.prediction_id]
            newest[made.model_version] = max(at, newest.get(made.model_version, at))
    return newest


def models() -> Plan[list[ModelSummary]]:
    """Every model that ever predicted, by name."""
    made: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for key, moments in (yield from plans.tally(TallyQuery(bins=KEPT_BINS))).cells.items():
        made[key.model_version] += moments.n
        labelled[key.model_version] += 0 if key.actual is None else moments.n
    newest = yield from _newest_labels(TallyQuery(bins=1, basis="outcome"), _WIDTHS[0])
    found: list[ModelSummary] = []
    for name in sorted(made):
        first = yield from _edge(name, descending=False)
        last = yield from _edge(name, descending=True)
        if first is not None and last is not None:
            label = yield from _last_label(name, newest.get(name))
            found.append(ModelSummary(name, made[name], labelled[name], first, last, label))
    return found


def _edge(name: str, *, descending: bool) -> Plan[datetime | None]:
    """When a model's first or last prediction was made, or its hour if that was pruned."""
    kinds: tuple[type[Fact], ...] = (Prediction, KeptTally)
    instants: list[datetime] = []
    for kind in kinds:
        select = Select.of(kind, model_version=name, descending=descending, limit=1)
        instants += [one.instant for one in (yield from plans.find(select))]
    return (max if descending else min)(instants, default=None)


def _last_label(name: str, day: datetime | None) -> Plan[datetime | None]:
    """When a model's newest label became known, given the day."""
    newest, within = day, _WIDTHS[0]
    for width in _WIDTHS[1:]:
        if newest is None:
            return None
        until = newest + within if newest <= LATEST - within else None
        query = TallyQuery(model_version=name, since=newest, until=until, bins=1, basis="outcome")
        newest, within = (yield from _newest_labels(query, width)).get(name), width
    return newest


def _newest_labels(query: TallyQuery, width: timedelta) -> Plan[dict[str, datetime]]:
    """The start of the newest bucket in which a label became known, of each model; behind a prune, of what is left."""
    query = attrs.evolve(query, bucket=width)
    try:
        tally = yield from plans.tally(query)
    except PrunedError as error:
        tally = yield from plans.tally(attrs.evolve(query, since=error.since))
    newest: dict[str, datetime] = {}
    for key in tally.cells:
        if (start := bucket_start(key)) is not None:
            newest[key.model_version] = max(start, newest.get(key.model_version, start))
    return newest
