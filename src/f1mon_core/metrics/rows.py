"""Tallies told apart by what nobody declared: `features.<path>` and `metadata.<path>`, folded over the predictions.

A declared segment is answered by every store from its cells; what stands in features and metadata is read prediction by
prediction, page by page. So it costs what reading costs, and what is written meanwhile may be in one page and not in
another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core.errors import InvalidQueryError, PrunedError
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage import answers, plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import MAX_GROUPS, CellKey, Moments, Tally, TallyQuery, answered, merge_cells

DOCUMENTS = ("features", "metadata")
"""A name that begins with one of these and a dot is a path into that document, whatever segments are declared."""

_PAGE = 2_000
_IDS_PER_QUESTION = 500


@attrs.frozen
class RowsTally(Tally):
    """A tally that was folded over predictions; `read` is how many were read."""

    read: int = 0


@attrs.frozen
class _Told:
    """What a fold asks of a prediction, with what stands at the paths among its segments."""

    prediction_id: str
    model_version: str
    predicted_outcome: ClassLabel
    confidence: float
    instant: datetime
    recorded_at: datetime | None
    segments: Mapping[str, Any]


def undeclared(names: Iterable[str]) -> list[str]:
    """Those of some names that are paths into features or metadata."""
    return [name for name in names if name.partition(".")[0] in DOCUMENTS and name.partition(".")[2]]


def tally(query: TallyQuery) -> Plan[Tally]:
    """`Storage.tally`, also by and where of paths into features and metadata.

    Integral floats are ints there, booleans 0 or 1, and what is missing or null is None; other numbers are groups of
    their own.

    Raises:
        InvalidQueryError: If an array or object stands at a path, or there are more than `MAX_GROUPS` groups.
        PrunedError: If the window lies where predictions were pruned.
    """
    if not undeclared((*query.by, *query.where)):
        return (yield from plans.tally(query))
    return (yield from folded(query))


def folded(query: TallyQuery) -> Plan[RowsTally]:
    """The same, folded over the predictions whatever is asked. Raises as `tally`."""
    paths = undeclared(dict.fromkeys((*query.by, *query.where)))
    yield from check_stored(query, paths)
    cells: dict[CellKey, Moments] = {}
    read = 0
    seen: set[str] | None = None
    steps: list[_Step] = [_of_predictions]
    if query.beside is not None:
        steps, seen = [partial(_of_both, swapped=False), partial(_of_both, swapped=True)], set()
    elif query.basis == "outcome" and (query.since is not None or query.until is not None):
        steps, seen = [_of_predictions, _of_outcomes], set()
    for step in steps:
        after = None
        while True:
            page, after = yield from step(query, after)
            if seen is not None:
                page = [one for one in page if _seen(one, query) not in seen]
                seen.update(_seen(one, query) for one in page)
            outcomes = yield from _outcomes(page)
            made = [_told(one, paths) for one in page]
            found = answers.fold_cells(cast("list[Prediction]", made), outcomes, query)
            cells = merge_cells([*cells.items(), *found])
            _check_groups(query, cells)
            read += len(page)
            if after is None:
                break
    yield from check_stored(query, paths)  # a prune between two pages took what was to be read
    return RowsTally(query.bins, answered(query, cells.items()).cells, read)


_Step: TypeAlias = Callable[[TallyQuery, Any], Plan[tuple[Sequence[Prediction], Any]]]


def _seen(one: Prediction, query: TallyQuery) -> str:
    """By what a prediction is known that two pages may hold; of common items, the item."""
    return canonical([one.prediction_id, "" if query.beside is not None else one.model_version])


def _check_groups(query: TallyQuery, cells: Iterable[CellKey]) -> None:
    """Refuse more groups than are answered before all is read."""
    if query.by and len({key.segments for key in cells}) > MAX_GROUPS:
        raise InvalidQueryError(
            f"by {' and '.join(query.by)} makes more than the {MAX_GROUPS} groups that are answered: "
            "select some by where=, or ask for a shorter window"
        )


def check_stored(query: TallyQuery, paths: Sequence[str]) -> Plan[None]:
    """Raise `PrunedError` if predictions of the window were pruned: what stood in them is kept nowhere."""
    # Kept cells have ten bins: asked for one, a store says that they do not answer.
    probe = attrs.evolve(query, bins=1, bucket=None, delay=None, by=(), where={}, beside=None)
    try:
        yield from plans.tally(probe)
    except PrunedError as error:
        since = "" if error.since is None else f" from {error.since.isoformat()} on"
        if not paths:
            raise
        raise PrunedError(
            f"{' and '.join(paths)} is read from the predictions themselves, and part of the window was pruned: "
            f"ask for a window{since}, or record it as a segment, of which a prune keeps the cells",
            since=error.since,
        ) from error


def _of_predictions(query: TallyQuery, after: Any) -> Plan[tuple[Sequence[Prediction], Any]]:
    """A page of the predictions made in the window, and the cursor behind it; None behind the last."""
    window = (query.since, query.until, query.model_version)
    page = yield from plans.find(Select.of(Prediction, *window, limit=_PAGE, after=after))
    return page, page[-1].cursor if len(page) == _PAGE else None


def _of_outcomes(query: TallyQuery, after: Any) -> Plan[tuple[Sequence[Prediction], Any]]:
    """A page of the predictions of items of which some outcome became known in the window."""
    page = yield from plans.find(Select.of(Outcome, query.since, query.until, limit=_PAGE, after=after))
    found: list[Prediction] = []
    for ids in _parts([one.prediction_id for one in page]):
        select = Select.of(Prediction, model_version=query.model_version, where={"prediction_id": ids})
        found += yield from plans.find(select)
    return found, page[-1].cursor if len(page) == _PAGE else None


def _of_both(query: TallyQuery, after: Any, *, swapped: bool) -> Plan[tuple[Sequence[Prediction], Any]]:
    """A page of what one of two models predicted in the window, with the other's predictions of the same items."""
    one, other = (query.beside, query.model_version) if swapped else (query.model_version, query.beside)
    page = yield from plans.find(Select.of(Prediction, query.since, query.until, one, limit=_PAGE, after=after))
    found = list(page)
    for ids in _parts([made.prediction_id for made in page]):
        found += yield from plans.find(Select.of(Prediction, query.since, None, other, {"prediction_id": ids}))
    return found, page[-1].cursor if len(page) == _PAGE else None


def _outcomes(predictions: Sequence[Prediction]) -> Plan[dict[str, list[Outcome]]]:
    """The outcomes of each item."""
    found: dict[str, list[Outcome]] = {}
    for ids in _parts([one.prediction_id for one in predictions]):
        for outcome in (yield from plans.find(Select.of(Outcome, where={"prediction_id": ids}))):
            found.setdefault(outcome.prediction_id, []).append(outcome)
    return found


def _parts(ids: Sequence[str]) -> Iterable[list[str]]:
    once = list(dict.fromkeys(ids))
    return (once[begin : begin + _IDS_PER_QUESTION] for begin in range(0, len(once), _IDS_PER_QUESTION))


def _told(made: Prediction, paths: Sequence[str]) -> _Told:
    return _Told(
        made.prediction_id,
        made.model_version,
        made.predicted_outcome,
        made.confidence,
        made.instant,
        made.recorded_at,
        {**made.segments, **{path: at_path(made, path) for path in paths}},
    )


def at_path(made: Prediction, path: str) -> int | float | str | None:
    """What stands at a path, as a segment would hold it. Raises `InvalidQueryError` for an array or object."""
    document, _, rest = path.partition(".")
    value: Any = made.features if document == "features" else made.metadata
    while rest:
        if not isinstance(value, Mapping):
            return None
        if rest in value:  # a name may hold dots itself
            value, rest = value[rest], ""
        else:
            name, _, rest = rest.partition(".")
            value = value.get(name) if rest else None
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    what = "an array" if isinstance(value, list | tuple) else "an object"
    raise InvalidQueryError(
        f"{path} of prediction {made.prediction_id!r} is {what}, and tells no predictions apart: name a text or number"
    )
