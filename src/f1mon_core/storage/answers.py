"""The defaults: listings, counts, tallies and kept cells folded over facts, for a backend with no cleverer way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage.select import Scalar, Select, alternatives, check_attributes, have_in_common, kind_of
from f1mon_core.storage.tally import (
    CellKey,
    Moments,
    Tally,
    TallyQuery,
    answered,
    bin_of,
    bucket_of,
    midpoint,
    moments_of,
    segments_of,
)


def check_count(select: Select, by: Sequence[str]) -> None:
    """Refuse what `Storage.count` refuses."""
    if select.limit is not None or select.after is not None:
        raise InvalidQueryError("count answers for all facts selected: give no limit and no after")
    check_attributes(kind_of(select.kind), by)


def fold_find(
    facts: Iterable[Fact], select: Select, keys_of: Callable[[str], Collection[tuple[str, ...]]]
) -> list[Fact]:
    """The facts selected out of all facts of the kind, in the order and to the number asked for.

    Args:
        facts: Every stored fact of `select.kind`, in any order.
        select: Which to find.
        keys_of: The keys stored of another kind, for `having` and `lacking`.
    """
    found = list(filter(matcher(select), facts))
    for other, wanted in ((select.having, True), (select.lacking, False)):
        if other is not None:
            present = {key[0] for key in keys_of(other)} if have_in_common(select.kind, other) else set()
            found = [fact for fact in found if (fact.key[0] in present) is wanted]
    found.sort(key=lambda fact: fact.cursor, reverse=select.descending)
    if (after := select.after) is not None:
        found = [fact for fact in found if (fact.cursor < after if select.descending else fact.cursor > after)]
    return found[: select.limit]


def fold_count(facts: Iterable[Fact], by: Sequence[str]) -> dict[tuple[Scalar, ...], int]:
    """Facts counted by the values of their attributes."""
    return dict(Counter(tuple(getattr(fact, name) for name in by) for fact in facts))


def matcher(select: Select) -> Callable[[Fact], bool]:
    """What says whether a fact is in the window of a select, of its model, and has the attributes asked for."""
    choices = {name: _choices(wanted) for name, wanted in select.where.items()}

    def matches(fact: Fact) -> bool:
        if select.since is not None and fact.instant < select.since:
            return False
        if select.until is not None and fact.instant >= select.until:
            return False
        if select.model_version is not None and cast("Any", fact).model_version != select.model_version:
            return False
        return all((type(value := getattr(fact, name)), value) in wanted for name, wanted in choices.items())

    return matches


def _choices(wanted: Scalar | Collection[Scalar]) -> frozenset[tuple[type, Scalar]]:
    """The values of a `where` entry with their types, because 1 is not True."""
    choices = alternatives(wanted)
    return frozenset((type(choice), choice) for choice in ([cast("Scalar", wanted)] if choices is None else choices))


def fold_tally(
    predictions: Iterable[Prediction], outcomes: Mapping[str, Sequence[Outcome]], query: TallyQuery
) -> Tally:
    """The tally of predictions, as `fold_cells` counts them."""
    return answered(query, fold_cells(predictions, outcomes, query))


def fold_cells(
    predictions: Iterable[Prediction], outcomes: Mapping[str, Sequence[Outcome]], query: TallyQuery
) -> Iterator[tuple[CellKey, Moments]]:
    """Predictions counted into cells, each by itself.

    Args:
        predictions: All that the query may count, those of the model `beside` too; those outside its window or
            knowledge are passed over.
        outcomes: The outcomes of each item, in any order.
        query: Which to count, into which cells.
    """
    unit = None if query.delay is None else duration_micros(query.delay)
    others: dict[str, Prediction] | None = None
    if query.beside is not None:
        predictions = list(predictions)
        others = _others(predictions, query)
    for made in predictions:
        if query.model_version is not None and made.model_version != query.model_version:
            continue
        if not _known(made, query):
            continue
        known = sorted((one for one in outcomes.get(made.prediction_id, ()) if _known(one, query)), key=_instant)
        other = made if others is None else others.get(made.prediction_id)
        stands_at = None if other is None else min(made.instant, other.instant)
        if query.basis == "outcome":
            stands_at = max(made.instant, known[0].instant) if known else None
        if other is None or stands_at is None or not within(stands_at, query.since, query.until):
            continue
        if (group := segments_of(query, made.segments)) is None:
            continue
        index = bin_of(made.confidence, query.bins)
        delay = None
        if unit is not None and known:
            since = made.instant if others is None else stands_at
            delay = (to_micros(known[0].instant) - to_micros(since)) // unit
        key = CellKey(
            made.model_version,
            made.predicted_outcome,
            known[-1].actual_outcome if known else None,
            index,
            bucket_of(to_micros(stands_at), query.bucket),
            delay,
            group if others is None else (*group, other.predicted_outcome),
        )
        yield key, moments_of(made.confidence, midpoint(index, query.bins))


def _others(predictions: Iterable[Prediction], query: TallyQuery) -> dict[str, Prediction]:
    """What the model beside which is counted answered about each item, as far as it is known."""
    return {one.prediction_id: one for one in predictions if one.model_version == query.beside and _known(one, query)}


def _instant(fact: Fact) -> datetime:
    return fact.instant


def within(instant: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Whether an instant lies in the half-open window; None is unbounded."""
    return (since is None or instant >= since) and (until is None or instant < until)


def _known(fact: Fact, query: TallyQuery) -> bool:
    """Whether a fact had happened by the query's `as_of` and was recorded by its `as_recorded`."""
    if query.as_of is not None and fact.instant > query.as_of:
        return False
    recorded = fact.recorded_at
    return query.as_recorded is None or (recorded is not None and recorded <= query.as_recorded)
