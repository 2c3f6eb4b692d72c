"""What a store must answer, worked out the slow way: lists, loops and comparisons, and no line of any store's code."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import isclose
from typing import Any

import attrs

from f1mon_core.errors import ConflictError, F1monError, PrunedError
from f1mon_core.records.kinds import KINDS, Fact, Outcome, Prediction
from f1mon_core.storage.change import Change, Step
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import Tally, TallyQuery

_HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = _EPOCH - timedelta(days=3)
_DAY = timedelta(days=1)
_NEVER_PRUNED = ("rule_revision", "kept_tally", "kept_cells")
_VALUES_KEPT = 256

Value = int | str | None
CellOf = tuple[str, int | str, Value, int | float, int | None, int | None, tuple[Value, ...]]


def written(fact: Fact, *, stamps: bool = True) -> str:
    """A fact spelled out so that 1, 1.0, true, 0.0 and -0.0 differ."""
    fields = {field.name: getattr(fact, field.name) for field in attrs.fields(type(fact))}
    if not stamps:
        for name in ("at", "at_given", "recorded_at"):
            del fields[name]
    return f"{fact.kind} " + json.dumps(fields, sort_keys=True, default=datetime.isoformat)


def same_facts(found: Iterable[Fact], wanted: Iterable[Fact]) -> bool:
    """Whether two listings agree, fact by fact, field by field, type by type."""
    return [written(one) for one in found] == [written(one) for one in wanted]


def place_of(fact: Fact) -> tuple[Any, ...]:
    """Where a stored fact stands in a listing: its time, then the values of its key."""
    return (fact.at, *(getattr(fact, name) for name in type(fact).key_fields))


def identity(fact: Fact) -> tuple[Any, ...]:
    """Kind and key values of a fact."""
    return (fact.kind, *(getattr(fact, name) for name in type(fact).key_fields))


@attrs.define
class Refused(Exception):
    """The model refuses, for one of these reasons."""

    reasons: set[type[F1monError]]


@attrs.define
class Model:
    """A store as lists. Every verb takes the instant the store's clock shows."""

    facts: list[Fact] = attrs.field(factory=list)
    documents: dict[str, Any] = attrs.field(factory=dict)
    answered: dict[tuple[str, str], Any] = attrs.field(factory=dict)
    pruned_before: dict[str, datetime] = attrs.field(factory=dict)
    gone: list[tuple[Prediction, list[Outcome]]] = attrs.field(factory=list)
    crowded: list[tuple[str, str, str, datetime]] = attrs.field(factory=list)
    """Model and name of segments that a prune could not keep, with order and time of each prediction that went."""

    # Facts ----------------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Fact], now: datetime) -> Appended:
        """See `Storage.append`. Raises `Refused` with what the first contradiction is, in the order of the batch."""
        kept = list(self.facts)
        new = 0
        for offered in batch:
            fact = offered
            if fact.at is None and isinstance(fact, Outcome):
                known = [one for one in kept if isinstance(one, Outcome) and one.prediction_id == fact.prediction_id]
                newest = max((one.instant for one in known), default=None)
                if newest is not None:
                    current = next(one for one in known if one.at == newest)
                    if current.actual_outcome == fact.actual_outcome:
                        continue
                    later = newest + timedelta(microseconds=1)
                    fact = attrs.evolve(fact, at=max(now, later), at_given=False)
            if fact.at is None:
                fact = attrs.evolve(fact, at=now, at_given=False)
            rivals = [one for one in kept if identity(one) == identity(fact)]
            if rivals:
                (rival,) = rivals
                times_differ = rival.at_given and fact.at_given and rival.at != fact.at
                if times_differ or written(rival, stamps=False) != written(fact, stamps=False):
                    raise Refused({ConflictError})
                continue
            if self._is_pruned(fact, kept):
                raise Refused({PrunedError})
            kept.append(attrs.evolve(fact, recorded_at=now))
            new += 1
        appeared = kept[len(self.facts) :]
        self.facts = kept
        return Appended(new, len(batch) - new, self._prelabelled(appeared), self._unmatched(appeared))

    def _prelabelled(self, appeared: Sequence[Fact]) -> int:
        return sum(
            any(one.instant < made.instant - _DAY for one in self._outcomes_of(made.prediction_id))
            for made in appeared
            if isinstance(made, Prediction)
        )

    def _unmatched(self, appeared: Sequence[Fact]) -> int:
        items = [fact.prediction_id for fact in self.facts if isinstance(fact, Prediction)]
        return sum(isinstance(one, Outcome) and one.prediction_id not in items for one in appeared)

    def _outcomes_of(self, item: str) -> list[Outcome]:
        return [one for one in self.facts if isinstance(one, Outcome) and one.prediction_id == item]

    def _is_pruned(self, fact: Fact, kept: Sequence[Fact]) -> bool:
        if isinstance(fact, Prediction) and any(identity(made) == identity(fact) for made, _ in self.gone):
            return True
        if isinstance(fact, Outcome) and any(made.prediction_id == fact.prediction_id for made, _ in self.gone):
            return not any(isinstance(one, Prediction) and one.prediction_id == fact.prediction_id for one in kept)
        horizon = self.pruned_before.get(fact.kind)
        final = fact.at_given or isinstance(fact, Prediction)
        return horizon is not None and final and fact.instant < horizon

    def find(self, select: Select) -> list[Fact]:
        """See `Storage.find`."""
        found = []
        for fact in self.facts:
            if fact.kind != select.kind:
                continue
            if select.since is not None and fact.instant < select.since:
                continue
            if select.until is not None and not fact.instant < select.until:
                continue
            if select.model_version is not None and getattr(fact, "model_version", None) != select.model_version:
                continue
            if not all(_wanted(getattr(fact, name), value) for name, value in select.where.items()):
                continue
            if select.having is not None and not self._has(fact, select.having):
                continue
            if select.lacking is not None and self._has(fact, select.lacking):
                continue
            found.append(fact)
        found.sort(key=place_of, reverse=select.descending)
        if select.after is not None:
            behind = (select.after.at, select.after.key)
            found = [
                fact
                for fact in found
                if ((fact.at, fact.key) < behind if select.descending else (fact.at, fact.key) > behind)
            ]
        return found if select.limit is None else found[: select.limit]

    def _has(self, fact: Fact, kind: str) -> bool:
        if KINDS[kind].key_fields[0] != type(fact).key_fields[0]:
            return False
        return any(other.kind == kind and other.key[0] == fact.key[0] for other in self.facts)

    def count(self, select: Select, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        """See `Storage.count`."""
        counted: dict[tuple[Any, ...], int] = {}
        for fact in self.find(select):
            group = tuple(getattr(fact, name) for name in by)
            counted[group] = counted.get(group, 0) + 1
        return counted

    # Tallies --------------------------------------------------------------------------------------------------------

    def tally(self, query: TallyQuery) -> dict[CellOf, list[float]]:
        """See `Storage.tally`: the confidences of each cell. Raises `Refused` behind the prune horizon."""
        predictions = [
            (fact, self._outcomes_of(fact.prediction_id)) for fact in self.facts if isinstance(fact, Prediction)
        ]
        if self._reaches_behind(query):
            predictions += self.gone
        cells: dict[CellOf, list[float]] = {}
        if query.beside is not None:
            return self._tally_beside(query)
        for made, outcomes in predictions:
            if (cell := _cell(made, outcomes, query)) is not None:
                cells.setdefault(cell, []).append(made.confidence)
        return cells

    def _tally_beside(self, query: TallyQuery) -> dict[CellOf, list[float]]:
        """Of items that two models predicted; looked for pair by pair."""
        cells: dict[CellOf, list[float]] = {}
        predictions = [fact for fact in self.facts if isinstance(fact, Prediction)]
        anywhere = attrs.evolve(query, since=None, until=None, beside=None)
        for made in predictions:
            for other in predictions:
                if other.prediction_id != made.prediction_id or other.model_version != query.beside:
                    continue
                outcomes = self._outcomes_of(made.prediction_id)
                earlier = min(made.instant, other.instant)
                cell = _cell(attrs.evolve(made, at=earlier), outcomes, anywhere)
                seen = TallyQuery(as_of=query.as_of, as_recorded=query.as_recorded)
                both_known = _cell(made, outcomes, seen) is not None and _cell(other, outcomes, seen) is not None
                within = (query.since is None or query.since <= earlier) and (
                    query.until is None or earlier < query.until
                )
                if cell is not None and both_known and within:
                    joined = (*cell[:6], (*cell[6], other.predicted_outcome))
                    cells.setdefault(joined, []).append(made.confidence)
        return cells

    def _reaches_behind(self, query: TallyQuery) -> bool:
        end = self.pruned_before.get("prediction")
        if query.basis == "outcome":
            stood = [max(made.instant, min(one.instant for one in known)) for made, known in self.gone if known]
            end = max(stood) + timedelta(microseconds=1) if stood else None
        if end is None or (query.since is not None and query.since >= end):
            return False
        names = {*query.by, *query.where}
        step = _DAY if names else _HOUR
        edges = [edge for edge in (query.since, query.until) if edge is not None and edge < end]
        if (
            query.beside is not None  # what is kept is of each model alone
            or query.bins != 10  # the bins that are kept
            or query.as_of is not None
            or query.as_recorded is not None
            or query.delay is not None
            or (query.bucket is not None and query.bucket % step)
            or any((edge - _EPOCH) % step for edge in edges)
            or len(names) > 1
            or (query.by and query.where)
            or any(self._is_crowded(name, query) for name in names)
        ):
            raise Refused({PrunedError})
        return True

    def _is_crowded(self, name: str, query: TallyQuery) -> bool:
        """Whether a day that the query reaches holds predictions of which a segment could not be kept."""
        return any(
            one == name
            and query.model_version in (None, model)
            and (query.since is None or stood - (stood - _EPOCH) % _DAY >= query.since)
            and (query.until is None or stood - (stood - _EPOCH) % _DAY < query.until)
            for model, one, order, stood in self.crowded
            if order == query.basis
        )

    # State ----------------------------------------------------------------------------------------------------------

    def transition(self, key: str, step: Step, operation_id: str, now: datetime) -> Any:
        """See `Storage.transition`."""
        if (key, operation_id) in self.answered:
            return self.answered[key, operation_id]
        change: Change = step(_copied(self.documents.get(key)), now)
        self.append(change.facts, now)
        if change.state is None:
            self.documents.pop(key, None)
        else:
            self.documents[key] = _copied(change.state)
        for other, document in change.also.items():
            if other not in self.documents:
                self.documents[other] = _copied(document)
        self.answered[key, operation_id] = _copied(change.result)
        return self.answered[key, operation_id]

    def state(
        self, prefix: str, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """See `Storage.state`."""
        found: dict[str, Any] = {}
        for key in sorted(self.documents):
            if limit is not None and len(found) == limit:
                break
            if key[: len(prefix)] != prefix or (after is not None and key <= after):
                continue
            due = self.documents[key].get("due")
            if due_before is not None and not (
                type(due) is int and due < (due_before - _EPOCH) // timedelta(microseconds=1)
            ):
                continue
            found[key] = self.documents[key]
        return found

    def prune(self, before: datetime, keep: Collection[str]) -> dict[str, int]:
        """See `Storage.prune`: how many facts of each kind went."""
        horizon = before - (before - _EPOCH) % _HOUR
        held = [held for document in self.documents.values() for held in document.get("holds", ())]
        removed: dict[str, int] = {}
        remaining: list[Fact] = []
        dropped = [
            fact
            for fact in self.facts
            if isinstance(fact, Prediction) and fact.instant < horizon and "prediction" not in keep
        ]
        dropped_ids = [made.prediction_id for made in dropped]
        staying = [
            fact.prediction_id for fact in self.facts if isinstance(fact, Prediction) and not _among(fact, dropped)
        ]
        going = [(made, self._outcomes_of(made.prediction_id)) for made in dropped]
        self.gone += going
        self._lose_crowded(going)
        for fact in self.facts:
            if isinstance(fact, Prediction):
                goes = _among(fact, dropped)
            elif isinstance(fact, Outcome):
                goes = fact.prediction_id in dropped_ids and fact.prediction_id not in staying
            else:
                goes = (
                    fact.instant < horizon
                    and fact.kind not in keep
                    and fact.kind not in _NEVER_PRUNED
                    and fact.key[0] not in held
                )
            if goes:
                removed[fact.kind] = removed.get(fact.kind, 0) + 1
            else:
                remaining.append(fact)
        self.facts = remaining
        for kind in KINDS:
            if kind not in {*keep, *_NEVER_PRUNED, "outcome"}:
                self.pruned_before[kind] = max(horizon, self.pruned_before.get(kind, horizon))
        return removed

    def _lose_crowded(self, going: Sequence[tuple[Prediction, list[Outcome]]]) -> None:
        values: dict[tuple[str, str], set[str]] = {}
        for made, _ in going:
            for name, value in made.segments.items():
                values.setdefault((made.model_version, name), set()).add(repr(value))
        for (model, name), found in values.items():
            if len(found) <= _VALUES_KEPT:
                continue
            for made, known in going:
                if made.model_version != model:
                    continue
                self.crowded.append((model, name, "prediction", made.instant))
                if known:
                    first = min(one.instant for one in known)
                    self.crowded.append((model, name, "outcome", max(made.instant, first)))


def _among(fact: Fact, others: Iterable[Fact]) -> bool:
    return any(identity(fact) == identity(other) for other in others)


def _wanted(value: Any, wanted: Any) -> bool:
    choices = [wanted] if wanted is None or isinstance(wanted, str | int) else list(wanted)
    return any(type(choice) is type(value) and choice == value for choice in choices)


def _was_known(fact: Fact, query: TallyQuery) -> bool:
    if query.as_of is not None and fact.instant > query.as_of:
        return False
    return query.as_recorded is None or (fact.recorded_at is not None and fact.recorded_at <= query.as_recorded)


def _cell(made: Prediction, outcomes: list[Outcome], query: TallyQuery) -> CellOf | None:
    if query.model_version is not None and made.model_version != query.model_version:
        return None
    if not _was_known(made, query):
        return None
    known = sorted((one for one in outcomes if _was_known(one, query)), key=lambda one: one.instant)
    stands = made.instant
    if query.basis == "outcome":
        if not known:
            return None
        stands = max(stands, known[0].instant)
    for name, wanted in query.where.items():
        if not _wanted(made.segments.get(name), wanted):
            return None
    if (query.since is not None and stands < query.since) or (query.until is not None and stands >= query.until):
        return None
    return (
        made.model_version,
        made.predicted_outcome,
        known[-1].actual_outcome if known else None,
        _bin(made.confidence, query.bins),
        _bucket(stands, query.bucket),
        (known[0].instant - made.instant) // query.delay if query.delay is not None and known else None,
        tuple(made.segments.get(name) for name in query.by),
    )


def _bin(confidence: float, bins: int | str) -> int | float:
    if not isinstance(bins, int):
        return confidence
    for index in range(bins - 1):
        if index / bins <= confidence < (index + 1) / bins:
            return index
    return bins - 1


def _bucket(instant: datetime, width: timedelta | None) -> int | None:
    if width is None:
        return None
    start = _MONDAY + (instant - _MONDAY) // width * width
    return (start - _EPOCH) // timedelta(microseconds=1)


def _copied(document: Any) -> Any:
    return json.loads(json.dumps(document))


def disagreement(tally: Tally, cells: Mapping[CellOf, Sequence[float]]) -> str | None:
    """The first thing in which a store's tally differs from the confidences of each cell; None if they agree."""
    found = {tuple(key): cell for key, cell in tally.cells.items()}
    if set(found) != set(cells):
        return f"cells {sorted(map(repr, found))} where the facts make {sorted(map(repr, cells))}"
    for key, confidences in cells.items():
        cell = found[key]
        exact = tally.bins == "exact"
        middle = Fraction(key[3]) if exact else Fraction((2 * key[3] + 1) / (2 * int(tally.bins)))
        deviations = [Fraction(one) - middle for one in confidences]
        alike = [one for other, others in cells.items() if _same_but_outcome(key, other) for one in others]
        if (cell.n, cell.minimum, cell.maximum) != (len(confidences), min(alike), max(alike)):
            return f"cell {key}: {cell} for the confidences {confidences}"
        for name, got, wanted in (
            ("total", cell.total, sum(deviations)),
            ("squares", cell.squares, sum(one * one for one in deviations)),
        ):
            if not isclose(got, float(wanted), rel_tol=0.0, abs_tol=1e-12 * len(confidences)):
                return f"cell {key}: {name} {got} where it is {float(wanted)}"
    return None


def _same_but_outcome(one: CellOf, other: CellOf) -> bool:
    """Whether two cells differ in nothing but the outcome and its delay."""
    return (*one[:2], *one[3:5], one[6]) == (*other[:2], *other[3:5], other[6])
