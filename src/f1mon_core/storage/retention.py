"""What pruning takes, and what it keeps.

Of predictions made before the instant a prune is given, their keys stay known and their cells stay answered: by the
hour in which they were made (`KeptTally`), and, as `KeptCells`, by the hour in which they stand by outcome time, and
by the day, in both orders, for each segment. Joint cells of several segments would not compress: there are almost as
many as predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import attrs

from f1mon_core.errors import InvalidQueryError, PrunedError, shown
from f1mon_core.records import fields
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import KINDS, Fact, KeptCells, KeptTally, Outcome, Prediction
from f1mon_core.records.times import MICROSECOND, duration_micros, from_micros, shifted, to_micros
from f1mon_core.storage import answers
from f1mon_core.storage.answers import within
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import (
    KEPT_BINS,
    KEPT_BUCKET,
    KEPT_SEGMENT_BUCKET,
    KEPT_VALUES,
    Basis,
    CellKey,
    Moments,
    Tally,
    TallyQuery,
    bucket_of,
    check_collection,
    check_instant,
    segments_of,
)
from f1mon_core.text import is_one_of

LASTING_KINDS = frozenset({"rule_revision", "kept_tally", "kept_cells"})
"""Kinds that are never pruned: they say what older facts meant."""

_ROWS = 2_000
"""How many cells one `KeptCells` holds at most."""


def held_by(documents: Iterable[Document]) -> frozenset[str]:
    """The keys that state documents hold against pruning: their lists under `holds`."""
    return frozenset(
        held
        for document in documents
        if isinstance(holds := document.get("holds"), list)
        for held in holds
        if isinstance(held, str)
    )


def prune_horizon(before: datetime) -> datetime:
    """`before`, floored to the resolution of kept cells. Raises `InvalidQueryError` for what is no instant."""
    if before is None:
        raise InvalidQueryError("before must be the instant to prune before, got None")
    check_instant("before", before)
    floored = bucket_of(to_micros(fields.instant(before, "before")), KEPT_BUCKET)
    return from_micros(max(0, floored or 0))


def prunable_kinds(keep: Collection[str] = ()) -> list[str]:
    """The kinds that a prune moves `pruned_before` of: all but the lasting, the kept, and outcomes, which go along."""
    kept = check_collection("keep", keep, "kinds")
    for kind in kept:
        if not is_one_of(kind, KINDS):
            raise InvalidQueryError(f"keep: no fact kind {shown(kind)}; the kinds are {', '.join(sorted(KINDS))}")
    return [kind for kind in KINDS if kind not in {"outcome", *LASTING_KINDS, *kept}]


# What a prune leaves behind -------------------------------------------------------------------------------------------


def kept_queries(segments: Mapping[str, Collection[str]]) -> Iterator[TallyQuery]:
    """The tallies, each over exactly the predictions that a prune takes, of which `kept_facts` makes what stays.

    Args:
        segments: The names of segments that stay, by model version: those with at most `KEPT_VALUES` values among the
            predictions that go.
    """
    for basis in _ORDERS:
        yield TallyQuery(basis=basis, bins=KEPT_BINS, bucket=KEPT_BUCKET)
        yield TallyQuery(basis=basis, bins=KEPT_BINS, bucket=KEPT_SEGMENT_BUCKET)
        for model, names in sorted(segments.items()):
            for name in sorted(names):
                yield TallyQuery(
                    model_version=model, basis=basis, bins=KEPT_BINS, bucket=KEPT_SEGMENT_BUCKET, by=(name,)
                )


def kept_facts(
    tallies: Iterable[tuple[TallyQuery, Tally]], before: datetime, crowded: Mapping[str, Collection[str]]
) -> list[Fact]:
    """The facts that keep the answers to `kept_queries`.

    Args:
        tallies: Each query with its answer.
        before: The instant before which was pruned, as `prune_horizon` answers it.
        crowded: The names of segments with more than `KEPT_VALUES` values, by model version.
    """
    facts: list[Fact] = []
    for query, tally in tallies:
        grouped: dict[tuple[str, int], list[Any]] = {}
        hours_of_predictions = query.basis == "prediction" and query.bucket == KEPT_BUCKET
        for key, moments in sorted(tally.cells.items(), key=repr):
            row = [key.predicted, key.actual, key.bin, *moments]
            if not hours_of_predictions:
                row = [*(key.segments or (None,)), *row]
            grouped.setdefault((key.model_version, max(0, key.bucket or 0)), []).append(row)
        for (model, start), rows in sorted(grouped.items()):
            at = from_micros(start)
            if hours_of_predictions:
                facts.append(KeptTally(model_version=model, cells=rows, cut=True, at=at))
                continue
            cut = _Cut(model, before, query.basis, _EVERY[cast("timedelta", query.bucket)], *query.by)
            facts += [cut.kept(at, rows[part : part + _ROWS], part) for part in range(0, len(rows), _ROWS)]
            if cut.every == "day" and cut.segment is None:
                facts += [attrs.evolve(cut, segment=name).lost(at) for name in sorted(crowded.get(model, ()))]
    return facts


def fold_kept(gone: Collection[Prediction], outcomes: Mapping[str, Sequence[Outcome]], before: datetime) -> list[Fact]:
    """What stays of predictions that a prune takes, folded over them.

    Args:
        gone: The predictions.
        outcomes: The outcomes of each item, in any order.
        before: The instant before which is pruned, as `prune_horizon` answers it.
    """
    values: dict[tuple[str, str], set[int | str]] = {}
    for made in gone:
        for name, value in made.segments.items():
            values.setdefault((made.model_version, name), set()).add(value)
    kept, crowded = sorted_out({key: len(found) for key, found in values.items()})
    tallies = [(query, answers.fold_tally(gone, outcomes, query)) for query in kept_queries(kept)]
    return kept_facts(tallies, before, crowded)


def sorted_out(values: Mapping[tuple[str, str], int]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The segments that a prune keeps, and those with too many values, each by model version.

    Args:
        values: How many values each segment of each model version has among the predictions that go.
    """
    kept: dict[str, set[str]] = {}
    crowded: dict[str, set[str]] = {}
    for (model, name), number in values.items():
        (kept if number <= KEPT_VALUES else crowded).setdefault(model, set()).add(name)
    return kept, crowded


_ORDERS: tuple[Basis, ...] = ("prediction", "outcome")
_EVERY = {KEPT_BUCKET: "hour", KEPT_SEGMENT_BUCKET: "day"}


@attrs.frozen
class _Cut:
    """One way in which the cells of one model are cut by a prune."""

    model: str
    before: datetime
    order: Basis
    every: str
    segment: str | None = None

    def kept(self, at: datetime, rows: list[Any], part: int = 0, *, whole: bool = True) -> KeptCells:
        micros = (to_micros(self.before), to_micros(at), part)
        return KeptCells(
            model_version=self.model,
            series="/".join([self.order, self.every, *(f"{one:020d}" for one in micros), self.segment or ""]),
            before=self.before,
            order=self.order,
            every=self.every,
            segment=self.segment,
            whole=whole,
            cells=rows,
            at=at,
        )

    def lost(self, at: datetime) -> KeptCells:
        return self.kept(at, [], whole=False)


# What a question behind it is answered from ---------------------------------------------------------------------------


def check_kept(
    query: TallyQuery,
    pruned_before: datetime | None,
    outcomes_until: datetime | None = None,
    stands_until: datetime | None = None,
) -> bool:
    """Whether a tally reaches behind the instant before which was pruned, and so adds the kept cells.

    Args:
        query: The tally asked for.
        pruned_before: Before which predictions were pruned; None if none were.
        outcomes_until: The newest first known_at of a prediction that contract 1 pruned; it kept no cells by it.
        stands_until: The latest time, by outcome, at which a pruned prediction stands.

    Raises:
        PrunedError: If it does, and kept cells cannot answer it.
    """
    if pruned_before is None:
        return False
    if query.basis == "outcome":
        if outcomes_until is not None and (query.since is None or query.since <= outcomes_until):
            raise PrunedError(
                f"outcomes up to {outcomes_until.isoformat()} belong to predictions that an earlier f1mon pruned, of "
                "which only cells by prediction time are kept: ask for a later window or for basis='prediction'",
                since=shifted(outcomes_until, MICROSECOND),
            )
        if stands_until is None:
            return False
        end = shifted(stands_until, MICROSECOND)
        behind = query.since is not None and query.since > stands_until
    else:
        end = pruned_before
        behind = query.since is not None and query.since >= end
    if behind:
        return False
    names = {*query.by, *query.where}
    if query.beside is not None:
        raise PrunedError(
            f"predictions made before {pruned_before.isoformat()} are pruned; kept of them are cells of each model, "
            "and not which items two models predicted: ask for a later window",
            since=end,
        )
    if len(names) > 1 or (query.by and query.where):
        raise PrunedError(
            f"predictions made before {pruned_before.isoformat()} are pruned; kept of them are cells of one segment at "
            f"a time, and none of {' with '.join(sorted(names))} together: ask for a later window, or for one alone",
            since=end,
        )
    step, full = (KEPT_SEGMENT_BUCKET, "day") if names else (KEPT_BUCKET, "hour")
    answerable = (
        query.bins == KEPT_BINS
        and query.as_of is None
        and query.as_recorded is None
        and query.delay is None
        and (query.bucket is None or query.bucket % step == timedelta(0))
        and all(edge is None or edge >= end or _starts(edge, step) for edge in (query.since, query.until))
    )
    if not answerable:
        raise PrunedError(
            f"predictions made before {pruned_before.isoformat()} are pruned; kept of them are final cells of "
            f"{KEPT_BINS} bins per full {full}{f' by {names.pop()}' if names else ''}: "
            "ask for a later window, or for those",
            since=end,
        )
    return True


def _starts(edge: datetime, step: timedelta) -> bool:
    return to_micros(edge) % duration_micros(step) == 0


def kept_selects(query: TallyQuery) -> list[Select]:
    """Which kept facts a query that `check_kept` found answerable is answered from, besides its rows."""
    window = (query.since, query.until, query.model_version)
    names = {*query.by, *query.where}
    selects: list[Select] = []
    if query.basis == "prediction":
        selects.append(Select("kept_tally", *window))
    if names or query.basis == "outcome":
        where: dict[str, Scalar | Collection[Scalar]] = {
            "order": query.basis,
            "every": "day" if names else "hour",
            "segment": [*names, None],
        }
        selects.append(Select("kept_cells", *window, where))
    return selects


def kept_cells(facts: Iterable[Fact], query: TallyQuery) -> Iterator[tuple[CellKey, Moments]]:
    """The cells in the facts of `kept_selects`, as the query asks for them.

    Raises:
        PrunedError: If they hold none of a segment asked for, because it had too many values.
    """
    name = next(iter({*query.by, *query.where}), None)
    cuts: dict[tuple[Any, ...], list[KeptCells]] = {}
    for fact in facts:
        if not within(fact.instant, query.since, query.until) or query.model_version not in (None, _model(fact)):
            continue
        if isinstance(fact, KeptTally):
            if name is None or not fact.cut:  # else the cells of the day hold it
                yield from _cells(fact, [[None, *row] for row in cast("list[list[Any]]", fact.cells)], query, name)
        elif isinstance(fact, KeptCells):
            cuts.setdefault((fact.model_version, fact.before, fact.instant), []).append(fact)
    for found in cuts.values():
        # A day on which nobody named the segment has its total alone: all of it is without the name.
        for fact in [one for one in found if one.segment == name] or found:
            if not fact.whole:
                raise PrunedError(
                    f"the segment {name} of model {fact.model_version} has too many values to be kept behind "
                    f"{fact.before.isoformat()}: ask for a later window",
                    since=fact.before,
                )
            yield from _cells(fact, cast("list[list[Any]]", fact.cells), query, name)


def _cells(
    fact: KeptTally | KeptCells, rows: Iterable[list[Any]], query: TallyQuery, name: str | None
) -> Iterator[tuple[CellKey, Moments]]:
    bucket = bucket_of(to_micros(fact.instant), query.bucket)
    for value, predicted, actual, index, *moments in rows:
        group = segments_of(query, {} if name is None or value is None else {name: value})
        if group is not None:
            yield (
                CellKey(fact.model_version, predicted, actual, index, bucket, None, group),
                Moments(*moments),
            )


def _model(fact: Fact) -> str | None:
    return fact.model_version if isinstance(fact, KeptTally | KeptCells) else None
