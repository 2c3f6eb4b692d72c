"""Plans that record facts and list them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar, cast

import attrs

from f1mon_core.errors import ConflictError, InvalidQueryError, InvalidRecordError, NotFoundError, shown
from f1mon_core.recording.chances import Chance
from f1mon_core.recording.given import LeftOut, outcome_of
from f1mon_core.recording.lists import LabelledPrediction, LabelledPredictions, Listed, Outcomes, Predictions
from f1mon_core.records.fields import ClassLabel, Document, Segments, instant
from f1mon_core.records.kinds import Cursor, Fact, Outcome, Prediction
from f1mon_core.records.values import nulls
from f1mon_core.storage import plans
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import check_flag, check_id, check_text

F = TypeVar("F", bound=Fact)

BATCH_SIZE = 5_000
_KEYS_PER_QUESTION = 500


def record(facts: Iterable[Fact], batch_size: int = BATCH_SIZE, left_out: LeftOut | None = None) -> Plan[Appended]:
    """Append facts batch by batch, each atomic; an error carries a note that names the first batch not written.

    Args:
        facts: May be made while they are asked for.
        batch_size: How many are one batch.
        left_out: What whoever makes the facts left out of them by then.
    """
    if type(batch_size) is not int or not 1 <= batch_size <= sys.maxsize:
        raise InvalidQueryError(f"batch_size must be an int of at least 1, got {shown(batch_size)}")
    remaining = iter(facts)
    total, number = Appended(unmatched=0), 0
    while True:
        begin = number * batch_size
        try:
            if not (batch := list(islice(remaining, batch_size))):
                return total if left_out is None else left_out.told(total)
            appended = yield from append(batch)
        except Exception as error:
            error.add_note(
                f"batch {number} (records {begin} to {begin + batch_size - 1}) is the first that was not written; "
                f"the {begin} records before it are stored"
            )
            raise
        total, number = total + appended, number + 1


def append(batch: Sequence[Fact]) -> Plan[Appended]:
    """Append a batch, and count the nulls that its predictions hold."""
    appended = yield from plans.append(batch)
    empty = sum(nulls(one.features) + nulls(one.metadata) for one in batch if isinstance(one, Prediction))
    return attrs.evolve(appended, nulled=empty) if empty else appended


def prediction(
    prediction_id: str,
    model_version: str,
    predicted_outcome: ClassLabel,
    features: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    segments: Mapping[str, Any] | None,
    at: datetime | None,
    chance: Chance,
) -> Plan[Appended]:
    """Append one prediction."""
    made = Prediction(
        prediction_id=prediction_id,
        model_version=model_version,
        predicted_outcome=predicted_outcome,
        confidence=chance.of(prediction_id, predicted_outcome),
        features={} if features is None else given(features),
        metadata={} if metadata is None else given(metadata),
        segments={} if segments is None else cast("Segments", segments),
        at=at,
    )
    return (yield from append([made]))


def given(content: Mapping[str, Any] | None) -> Document:
    """What a caller gave to be kept, or nothing; whether it is JSON is checked by the record it goes into."""
    return {} if content is None else cast("Document", content)


def outcome(prediction_id: str, actual_outcome: ClassLabel, known_at: datetime | None) -> Plan[Appended]:
    """Append one outcome."""
    known_at = None if known_at is None else instant(known_at, "known_at")
    return (yield from plans.append([outcome_of((prediction_id, actual_outcome, known_at))]))


def predictions(
    model_version: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    descending: bool,
    limit: int | None,
    after: Cursor | None,
) -> Plan[Predictions]:
    """Stored predictions in order of time."""
    select = Select.of(Prediction, since, until, model_version, descending=descending, limit=limit, after=after)
    return Predictions((yield from plans.find(select)))


def outcomes(
    since: datetime | None,
    until: datetime | None,
    *,
    prediction_id: str | None,
    descending: bool,
    limit: int | None,
    after: Cursor | None,
) -> Plan[Outcomes]:
    """Stored outcomes, every revision, in order of known_at."""
    check_id("prediction_id", prediction_id)
    where = {} if prediction_id is None else {"prediction_id": prediction_id}
    select = Select.of(Outcome, since, until, where=where, descending=descending, limit=limit, after=after)
    return Outcomes((yield from plans.find(select)))


def labelled(
    model_version: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    pending: bool,
    descending: bool,
    limit: int | None,
    after: Cursor | None,
) -> Plan[LabelledPredictions]:
    """Predictions with the outcome that is current for each, in order of their time."""
    having = None if check_flag("pending", pending) else Outcome
    found = yield from plans.find(
        Select.of(
            *(Prediction, since, until, model_version),
            having=having,
            descending=descending,
            limit=limit,
            after=after,
        )
    )
    current: dict[str, Outcome] = {}
    items = list(dict.fromkeys(one.prediction_id for one in found))
    for begin in range(0, len(items), _KEYS_PER_QUESTION):
        where = {"prediction_id": items[begin : begin + _KEYS_PER_QUESTION]}
        for one in (yield from plans.find(Select.of(Outcome, where=where))):  # in order, so the newest stays
            current[one.prediction_id] = one
    joined = [LabelledPrediction(one, current.get(one.prediction_id)) for one in found]
    return LabelledPredictions(one for one in joined if pending or one.outcome is not None)


def prediction_stored(prediction_id: str, model_version: str | None) -> Plan[Prediction]:
    """The prediction of an item, of several the one recorded first. Raises `NotFoundError`."""
    check_text("prediction_id", prediction_id)
    select = Select.of(Prediction, model_version=model_version, where={"prediction_id": prediction_id})
    found = yield from plans.find(select)
    if not found:
        of = "" if model_version is None else f" of {model_version!r}"
        raise NotFoundError(f"no prediction {prediction_id!r}{of} is stored")
    return min(found, key=lambda one: (one.recorded_at or one.instant, one.cursor))


def of_kind(given: Any, kind: type[F], field: str) -> F:
    """A record of the kind that is asked for. Raises `InvalidRecordError`."""
    if not isinstance(given, kind):
        raise InvalidRecordError(field, given, f"must be a {kind.__name__}")
    return given


def kept(fact: F) -> Plan[F]:
    """Append one fact and answer it as the store keeps it, with its times."""
    yield from plans.append([fact])
    key = {name: getattr(fact, name) for name in fact.key_fields}
    return (yield from plans.find(Select.of(type(fact), where=key)))[0]


def stored(kind: type[F], key: str) -> Plan[F | None]:
    """The stored fact of a kind whose key is one id; None where there is none."""
    (name,) = kind.key_fields
    found = yield from plans.find(Select.of(kind, where={name: key}))
    return found[0] if found else None


def kept_first(made: F, repeats: Callable[[F], bool]) -> Plan[F]:
    """As `kept`; but where another fact has that key, and `made` only repeats it at a later time, that one stands."""
    try:
        return (yield from kept(made))
    except ConflictError as error:
        first = error.stored
        if isinstance(first, type(made)) and repeats(first):
            return first
        raise


def all_kept(facts: Sequence[F]) -> Plan[list[F]]:
    """Append facts of one kind, all or none, and answer them as the store keeps them, with their times.

    Args:
        facts: At least one; each has a key of one part.
    """
    yield from plans.append(facts)
    kind, (name,) = type(facts[0]), facts[0].key_fields
    stored: dict[tuple[str, ...], F] = {}
    for begin in range(0, len(facts), _KEYS_PER_QUESTION):
        keys = [getattr(one, name) for one in facts[begin : begin + _KEYS_PER_QUESTION]]
        found = yield from plans.find(Select.of(kind, where={name: keys}))
        stored |= {one.key: one for one in found}
    return [stored[one.key] for one in facts]


def listing(
    kind: type[F],
    *,
    model_version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    where: Mapping[str, Scalar | Collection[Scalar] | None] | None = None,
    descending: bool = True,
    limit: int | None = None,
    after: Cursor | None = None,
) -> Plan[Listed[F]]:
    """Facts of one kind, newest first unless asked otherwise; a `where` entry of None selects everything."""
    wanted = {name: value for name, value in (where or {}).items() if value is not None}
    select = Select.of(kind, since, until, model_version, wanted, descending=descending, limit=limit, after=after)
    return Listed((yield from plans.find(select)))
