"""What was recorded and can hardly be meant: facts that nothing refuses, and that make numbers wrong silently."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import attrs

from f1mon_core.errors import PrunedError
from f1mon_core.metrics.label_delay import QUANTILES, delay_of, is_prelabelled
from f1mon_core.metrics.windows import minus
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.records.times import LATEST, MICROSECOND
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import KEPT_BINS, Tally, TallyQuery

About: TypeAlias = Literal[
    "probability", "label_types", "early_outcomes", "prelabelled", "future", "unmatched", "late_recording"
]
DAY = timedelta(days=1)
_SHARE_BELOW_HALF = 0.1
"""Of a two-class model's confidences, more than this below 0.5 are asked about: argmax has none there."""
_LOOKED_AT = 1_000
"""How many of the newest outcomes tell how late they are recorded."""


@attrs.frozen
class DataDoubt:
    """Something that was recorded and can hardly be meant.

    Attributes:
        about: "probability" for confidences that look like those of the positive class; "label_types" for a model whose
            labels come as int and as str; "early_outcomes" for outcomes known before their prediction was made, and
            "prelabelled" for those known more than a day before; "future" for facts more than a day ahead of the
            store's clock; "unmatched" for outcomes known for longer than the horizon of labels, whose item nobody
            predicted; "late_recording" for outcomes recorded long after the known_at they were given.
        where: "model NAME", "predictions" or "outcomes".
        model_version: The model; None where it is none's.
        count, of: How many, of how many.
        message: What it is, and what to do.
    """

    about: About
    where: str
    model_version: str | None
    count: int
    of: int
    message: str

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "about": self.about,
            "where": self.where,
            "model_version": self.model_version,
            "count": self.count,
            "of": self.of,
            "message": self.message,
        }

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def data_doubts(model_version: str | None, since: datetime | None) -> Plan[list[DataDoubt]]:
    """All of them, those of models first, by name."""
    present = yield from plans.now()
    query = TallyQuery(model_version=model_version, since=since, bins=KEPT_BINS)
    confidences = yield from _answered(query)
    delays = yield from _answered(attrs.evolve(query, bins=1, bucket=DAY, delay=DAY))
    found = [*_of_confidences(confidences), *_of_delays(delays)]
    found.sort(key=lambda one: one.where)
    found += yield from _ahead(model_version, present)
    if model_version is None:
        found += yield from _unmatched(delays, present)
        found += yield from _late()
    return found


def _answered(query: TallyQuery) -> Plan[Tally]:
    """The tally of a window, or of what a prune left of it."""
    try:
        return (yield from plans.tally(query))
    except PrunedError as error:
        if error.since is None:
            raise
        return (yield from plans.tally(attrs.evolve(query, since=error.since)))


def _of_confidences(tally: Tally) -> Iterator[DataDoubt]:
    classes: dict[str, set[ClassLabel]] = defaultdict(set)
    made: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for key, moments in tally.cells.items():
        classes[key.model_version] |= {key.predicted} if key.actual is None else {key.predicted, key.actual}
        made[key.model_version] += moments.n
        below[key.model_version] += moments.n if key.bin < KEPT_BINS // 2 else 0
    for model, labels in classes.items():
        count, of = below[model], made[model]
        if len({type(one) for one in labels}) > 1:
            told = "its labels come as int and as str, which never agree ('1' is not 1): record one of the two"
            yield DataDoubt("label_types", f"model {model}", model, of, of, told)
        elif len(labels) == 2 and count > _SHARE_BELOW_HALF * of:  # noqa: PLR2004 - two classes
            told = (
                f"{count} of {of} confidences of this model of two classes lie below 0.5: are they P(positive)? "
                "confidence= is of the predicted class; probability= takes that of the positive one"
            )
            yield DataDoubt("probability", f"model {model}", model, count, of, told)


def _of_delays(tally: Tally) -> Iterator[DataDoubt]:
    labelled: Counter[str] = Counter()
    early: Counter[str] = Counter()
    prelabelled: Counter[str] = Counter()
    for key, moments in tally.cells.items():
        if key.delay is None:
            continue
        labelled[key.model_version] += moments.n
        early[key.model_version] += moments.n if key.delay < 0 else 0
        prelabelled[key.model_version] += moments.n if is_prelabelled(key.delay, DAY) else 0
    for model, count in early.items():
        of = labelled[model]
        if count:
            told = f"{count} of {of} labelled predictions were made after their outcome was known: are the times right?"
            yield DataDoubt("early_outcomes", f"model {model}", model, count, of, told)
        if before := prelabelled[model]:
            told = (
                f"{before} of {of} labelled predictions are of items labelled more than a day before: were they made "
                "afterwards (a backfill), or are ids given out anew?"
            )
            yield DataDoubt("prelabelled", f"model {model}", model, before, of, told)


def _ahead(model_version: str | None, present: datetime) -> Plan[list[DataDoubt]]:
    found: list[DataDoubt] = []
    kinds: list[tuple[type[Fact], str | None]] = [(Prediction, model_version)]
    if model_version is None:
        kinds.append((Outcome, None))
    for kind, model in kinds:
        if LATEST - present <= DAY:
            break
        since = present + DAY + MICROSECOND
        count = (yield from plans.count(Select.of(kind, since, None, model))).get((), 0)
        if count:
            every = (yield from plans.count(Select.of(kind, model_version=model))).get((), 0)
            told = f"{count} lie more than a day ahead of the store's clock: is their time in another zone or unit?"
            found.append(DataDoubt("future", f"{kind.kind}s", model, count, every, told))
    return found


def _unmatched(delays: Tally, present: datetime) -> Plan[list[DataDoubt]]:
    delay = delay_of(delays, present, QUANTILES, DAY)
    horizon = delay.suggested_horizon or DAY
    waiting = Select.of(Outcome, None, minus(present, horizon), lacking=Prediction)
    count = (yield from plans.count(waiting)).get((), 0)
    if not count:
        return []
    every = (yield from plans.count(Select.of(Outcome))).get((), 0)
    (first,) = yield from plans.find(attrs.evolve(waiting, limit=1))
    told = (
        f"{count} have waited for their prediction longer than {horizon.days} days, such as that of "
        f"{first.key[0]!r:.80}: do the ids agree with those of the predictions?"
    )
    return [DataDoubt("unmatched", "outcomes", None, count, every, told)]


def _late() -> Plan[list[DataDoubt]]:
    newest = yield from plans.find(Select.of(Outcome, descending=True, limit=_LOOKED_AT))
    lags = sorted(one.recorded_at - one.instant for one in newest if one.at_given and one.recorded_at is not None)
    if not lags or (middle := lags[len(lags) // 2]) <= DAY:
        return []
    most = lags[min(len(lags) - 1, len(lags) * 95 // 100)]
    late = sum(lag > DAY for lag in lags)
    told = (
        f"{late} of the newest {len(lags)} were recorded more than a day after their known_at (the median "
        f"{_days(middle)}, 95 % within {_days(most)}): known_at is when the label was known, not when the event was; "
        "with event times as_of answers what nobody knew then"
    )
    return [DataDoubt("late_recording", "outcomes", None, late, len(lags), told)]


def _days(lag: timedelta) -> str:
    return f"{lag / DAY:.1f} days"
