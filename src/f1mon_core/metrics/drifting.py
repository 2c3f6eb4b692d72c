"""The plan that computes drift: it reads the features of two windows, or of one and a reference, and their cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.metrics import drift_tests, references, rows
from f1mon_core.metrics.drifted import ALPHA, CONFIDENCE, PREDICTION, Compared, Drift, judged
from f1mon_core.metrics.references import Reference
from f1mon_core.metrics.samples import Categories, Gathered, Sample
from f1mon_core.metrics.windows import Window, WindowRequest, minus
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import KEPT_BINS, check_collection, check_flag, check_id, check_instant, chosen

ReferenceChoice: TypeAlias = tuple[datetime | None, datetime | None] | str | None
"""A window `(since, until)`, the name of a stored reference, or None for the window of the same length before."""

_PAGE = 2_000


@attrs.frozen(kw_only=True)
class DriftQuestion:
    """What is asked of a window.

    Attributes:
        reference: What it is held against.
        features: Only these; () for none, so that nothing but cells is read; None for all.
        alpha: The chance of any false alarm where nothing changed.
    """

    reference: ReferenceChoice = None
    features: tuple[str, ...] | None = None
    alpha: float = ALPHA

    @classmethod
    def of(cls, reference: Any, features: Collection[str] | None, alpha: Any) -> DriftQuestion:
        """As a caller asks. Raises `InvalidQueryError`."""
        if isinstance(alpha, bool) or not isinstance(alpha, float | int) or not 0 < alpha < 1:
            raise InvalidQueryError(f"alpha is a chance between 0 and 1, got {shown(alpha)}")
        names = None if features is None else tuple(check_collection("features", features, "names"))
        for name in names or ():
            if not isinstance(name, str):
                raise InvalidQueryError(f"features must be names, got {shown(name)}")
        if isinstance(reference, str):
            check_id("reference", reference)
        elif reference is not None:
            if not isinstance(reference, tuple) or len(reference) != 2:  # noqa: PLR2004 - a pair
                raise InvalidQueryError(f"reference is (since, until) or a name, got {shown(reference)}")
            for one in reference:
                check_instant("reference", one)
        return cls(reference=reference, features=names, alpha=float(alpha))


def drift(request: WindowRequest, question: DriftQuestion, *, keep: bool) -> Plan[Drift]:
    """Hold a window against a reference, and keep what came of it where that is asked."""
    if request.model_version is None:
        raise InvalidQueryError("model_version must be given: drift is of one model")
    if check_flag("keep", keep) and request.where:
        raise InvalidQueryError("kept drift results are of the whole model, as rules read them: ask without keep=True")
    drift_tests.scipy_stats()  # before a store is read
    window = yield from request.resolve_closed()
    against = yield from _against(window, question.reference, request.last)
    compared, read, left_out = yield from _compared(window, against, question.features)
    answer = yield from plans.outside(lambda: judged(compared, question.alpha))
    found = Drift(window, against, answer[0], question.alpha, answer[1], read, left_out)
    if not keep or not found.looks:
        return found
    now = yield from plans.now()
    results = found.results(now, new_operation_id())
    return attrs.evolve(found, kept=tuple((yield from recording.all_kept(results))))


def _against(window: Window, given: ReferenceChoice, last: timedelta | None) -> Plan[Window | Reference]:
    """What a window is held against. Raises `InvalidQueryError` for a window that overlaps it."""
    if isinstance(given, str):
        return (yield from references.stored(str(window.model_version), given))
    if given is not None:
        since, until = given
        if since is not None and until is not None and since > until:
            raise InvalidQueryError(f"the reference's since {since.isoformat()} lies after {until.isoformat()}")
    elif window.since is None or window.until is None:
        raise InvalidQueryError("drift needs a reference=, or a window with a beginning: since= or last=")
    else:
        # The newest stretch of time includes its end, so its window is longer by a microsecond.
        since, until = minus(window.since, last or window.until - window.since), window.since
    if _begins_before(since, window.until) and _begins_before(window.since, until):
        raise InvalidQueryError(
            f"the reference ({_iso(since)} to {_iso(until)}) and the window ({_iso(window.since)} to "
            f"{_iso(window.until)}) overlap: what is in both would be held against itself"
        )
    return attrs.evolve(window, since=since, until=until)


def _begins_before(since: datetime | None, until: datetime | None) -> bool:
    return since is None or until is None or since < until


def _iso(instant: datetime | None) -> str:
    return "open" if instant is None else instant.isoformat()


def _compared(
    window: Window, against: Window | Reference, wanted: tuple[str, ...] | None
) -> Plan[tuple[list[Compared], int, dict[str, str]]]:
    """The pairs of samples to be tested, how many predictions were read for them, and what there is no pair of."""
    if isinstance(against, Window):
        left_out: dict[str, str] = {}
        before, now = (yield from _answers(against)), (yield from _answers(window))
        compared = [
            Compared(PREDICTION, "prediction", before[0], now[0]),
            Compared(CONFIDENCE, "confidence", before[1], now[1]),
        ]
    else:
        left_out = {"predictions": "a stored reference holds features alone: the model's own answers were not compared"}
        compared = []
    if wanted == ():
        return compared, 0, left_out
    current, total, read = yield from _features(window, wanted)
    if isinstance(against, Window):
        earlier, total_before, read_before = yield from _features(against, wanted)
        read += read_before
        known = yield from plans.outside(lambda: _samples(earlier, total_before))
    else:
        known = {**dict.fromkeys(against.left_out), **against.features}
    pairs = yield from plans.outside(lambda: _pairs(known, current, total, wanted, left_out))
    return [*compared, *pairs], read, left_out


def _samples(found: Mapping[str, Gathered], total: int) -> dict[str, Sample | None]:
    return {name: None if one.sort is None else one.sample(one.sort, total) for name, one in found.items()}


def _pairs(
    known: Mapping[str, Sample | None],
    current: Mapping[str, Gathered],
    total: int,
    wanted: tuple[str, ...] | None,
    left_out: dict[str, str],
) -> list[Compared]:
    """The features that both sides have; why the others are left out goes into `left_out`."""
    pairs: list[Compared] = []
    for name in sorted({*known, *current} if wanted is None else wanted):
        held, before = current.get(name, Gathered()), known.get(name)
        if before is None:
            left_out[name] = _why_not(name, known, held)
            continue
        label = f"features.{name}" if name in {PREDICTION, CONFIDENCE} else name
        pairs.append(Compared(label, before.sort, before, held.sample(before.sort, total)))
    return pairs


def _why_not(name: str, known: Mapping[str, Sample | None], held: Gathered) -> str:
    if name in known:
        return "the reference holds lists or objects there, or nothing but null"
    if held.sort is None and not held.other:
        return "neither the reference nor the window has it"
    return "the reference does not have it"


def _answers(window: Window) -> Plan[tuple[Categories, Categories]]:
    """The predicted classes of a window, and the bins of their confidences: from cells."""
    tally = yield from rows.tally(window.query(KEPT_BINS))
    classes: Counter[str] = Counter()
    bins: Counter[str] = Counter()
    for key, moments in tally.cells.items():
        classes[canonical(key.predicted)] += moments.n
        bins[f"[{cast('int', key.bin) / KEPT_BINS:g}, {(cast('int', key.bin) + 1) / KEPT_BINS:g})"] += moments.n
    return Categories(dict(classes)), Categories(dict(bins))


def _features(window: Window, wanted: tuple[str, ...] | None) -> Plan[tuple[dict[str, Gathered], int, int]]:
    """The features of a window's predictions, page by page, how many those are, and how many were read for them."""
    paths = rows.undeclared(window.where)
    query = window.query(1)
    yield from rows.check_stored(query, ["features"])
    found: dict[str, Gathered] = {name: Gathered() for name in wanted or ()}
    total = read = 0
    select = Select.of(Prediction, window.since, window.until, window.model_version, limit=_PAGE)
    while True:
        page = yield from plans.find(select)
        read += len(page)
        for made in page:
            if window.where and not _is_chosen(made, window, paths):
                continue
            total += 1
            for name, value in made.features.items():
                if wanted is None or name in found:
                    found.setdefault(name, Gathered()).take(value)
        if len(page) < _PAGE:
            break
        select = attrs.evolve(select, after=page[-1].cursor)
    yield from rows.check_stored(query, ["features"])  # a prune between two pages took what was to be read
    return found, total, read


def _is_chosen(made: Prediction, window: Window, paths: list[str]) -> bool:
    return chosen(window.where, {**made.segments, **{path: rows.at_path(made, path) for path in paths}})
