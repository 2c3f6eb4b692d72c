"""Two models on the items both predicted: what one gets right and the other does not, and nothing else.

Two samples of a whole window differ by who was asked what, and by whose labels came. On common items both are the
same, so a difference that the unpaired interval cannot see is seen, and one that is not there is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, cast

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics import rows, shown
from f1mon_core.metrics.formula import FORMULAS
from f1mon_core.metrics.intervals import binomial_tail, paired_difference
from f1mon_core.metrics.label_delay import QUANTILES, UNIT, delay_of
from f1mon_core.metrics.metric import NO_LABELS
from f1mon_core.metrics.performance import Measures, Performance, PerformanceOptions
from f1mon_core.metrics.trends import Difference
from f1mon_core.metrics.windows import Window, WindowRequest, minus
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import CellKey, Moments, Tally, bucket_of
from f1mon_core.text import printable

MIN_COVERAGE = 0.9
"""Below this labelled share of the common items no verdict is given."""
SIGNIFICANCE = 0.05

Verdict: TypeAlias = Literal["first", "second", "none"]

OF_CONFIDENCE = "of the second model only its answers are read here: ask `performance` for it"
NO_COMMON_ITEMS = "no item was predicted by both"


@attrs.frozen
class PairedComparison:
    """Two model versions on the items both predicted.

    Attributes:
        first, second: Their performances on these items; metrics that rest on the confidence are None there.
        items: How many items both predicted.
        labelled: Those whose outcome is known; the next four are over them.
        both_right, first_only, second_only, both_wrong: Items by which of the two was right.
        difference: The second's accuracy minus the first's, with Newcombe's interval for paired proportions (R. G.
            Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10); None where there is no verdict to be had.
        p_value: McNemar's mid-p value of the two being right equally often (Q. McNemar, Psychometrika 12 (1947)
            153-157; M. W. Fagerland, S. Lydersen and P. Laake, BMC Medical Research Methodology 13 (2013) 91).
        exact_p_value: The same without the mid-p correction: conservative.
        min_coverage: The labelled share below which there is no verdict.
        horizon: The age at which an item counted as matured; None where the basis was the time of prediction.
    """

    first: Performance
    second: Performance
    items: int
    both_right: int
    first_only: int
    second_only: int
    both_wrong: int
    difference: Difference
    p_value: float | None
    exact_p_value: float | None
    min_coverage: float
    horizon: timedelta | None

    @property
    def labelled(self) -> int:
        """The common items whose outcome is known."""
        return self.both_right + self.first_only + self.second_only + self.both_wrong

    @property
    def coverage(self) -> float | None:
        """The labelled share of the common items; None without any."""
        return self.labelled / self.items if self.items else None

    @property
    def no_verdict(self) -> str | None:
        """Why there is no verdict; None where there is one."""
        if self.coverage is None:
            return NO_COMMON_ITEMS
        if not self.labelled:
            return NO_LABELS
        if self.coverage < self.min_coverage:
            return (
                f"{self.labelled} of {self.items} common items are labelled, {self.coverage:.1%}: below "
                f"{self.min_coverage:.0%} two equal models can look unequal, by whose labels came first"
            )
        return None

    @property
    def verdict(self) -> Verdict | None:
        """Which of the two is right more often ("none": no difference is shown); None where there is no verdict."""
        if self.no_verdict is not None or self.p_value is None:
            return None
        if self.p_value >= SIGNIFICANCE:
            return "none"
        return "second" if self.second_only > self.first_only else "first"

    def __str__(self) -> str:
        one, other = self.first.model_version, self.second.model_version
        said = self.no_verdict
        if said is None:
            better = {"first": f"{one} is better", "second": f"{other} is better", "none": "no difference is shown"}
            said = better[cast("Verdict", self.verdict)]
        else:
            said = f"no verdict: {said}"
        numbers = f"{self.items} common items, {self.labelled} labelled"
        return printable(f"{one} and {other}, {numbers}: {said}")

    def to_dict(self) -> Document:
        """As a JSON object; the horizon in seconds."""
        names = ("items", "labelled", "coverage", "both_right", "first_only", "second_only", "both_wrong")
        more = ("p_value", "exact_p_value", "min_coverage", "verdict", "no_verdict")
        return {
            "paired": True,
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            **{name: getattr(self, name) for name in (*names, *more)},
            "difference": self.difference.to_dict(),
            "horizon": None if self.horizon is None else self.horizon.total_seconds(),
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library with one row; what is missing is null.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        return frame_of(shown.paired_columns(self), library)

    def _repr_html_(self) -> str:
        return shown.paired_html(self)


def paired(
    request: WindowRequest,
    other_version: str,
    measures: Measures,
    min_coverage: float = MIN_COVERAGE,
    *,
    mature: bool = True,
) -> Plan[PairedComparison]:
    """Compare the request's model version with another one on the items both predicted.

    With `mature` only items count that are as old as the horizon which the delays of their own labels suggest. Where no
    label has come there is none, and all count: their coverage says so.
    """
    _check(request, other_version, min_coverage)
    window = yield from request.resolve()
    if not mature:
        counted = _counts((yield from _tally(window, other_version)))
        return of_counts(counted, window, other_version, measures, min_coverage)
    present = yield from request.present()
    # The newest stretch of time ends at the horizon, which is learnt from what came before it too.
    whole = window if request.last is None else attrs.evolve(window, since=None)
    tally = yield from _tally(whole, other_version, UNIT)
    horizon = delay_of(tally, present, QUANTILES, UNIT).suggested_horizon
    if request.last is not None:
        if horizon is not None:
            window = yield from attrs.evolve(request, basis="matured", horizon=horizon).resolve()
        tally = yield from _tally(window, other_version)
    elif horizon is not None:
        window, tally = _matured(window, tally, present, horizon)
    return of_counts(_counts(tally), window, other_version, measures, min_coverage)


def is_to_mature(options: PerformanceOptions) -> bool:
    """Whether matured items are to be asked for by a horizon that nobody gave."""
    return "basis" not in options and options.get("horizon") is None


def matured_at(options: PerformanceOptions) -> PerformanceOptions:
    """A caller's options; where a horizon is given and no basis, it is that of matured items."""
    return {**options, "basis": "matured"} if "basis" not in options and options.get("horizon") is not None else options


def check_whole(by: object) -> None:
    """Refuse a `by`, which pairs are not told apart by."""
    if by is not None:
        raise InvalidQueryError("paired is of all common items, or of some by where=; it is not told apart by=")


def _check(request: WindowRequest, other_version: Any, min_coverage: Any) -> None:
    if request.model_version is None or other_version is None:
        raise InvalidQueryError("compare takes two model versions")
    if request.model_version == other_version:
        raise InvalidQueryError(f"compare takes two model versions, got {other_version!r:.80} twice")
    if request.basis == "outcome":
        raise InvalidQueryError(
            "paired compares by prediction time: by outcome time every item is labelled, and nothing says whose labels "
            "are still to come"
        )
    if isinstance(min_coverage, bool) or not isinstance(min_coverage, float | int) or not 0 <= min_coverage <= 1:
        raise InvalidQueryError(f"min_coverage is a share from 0 to 1, got {min_coverage!r:.80}")


def _matured(window: Window, tally: Tally, present: datetime, horizon: timedelta) -> tuple[Window, Tally]:
    """The items that are older than a horizon, to the full unit, of a tally of these units; and their window."""
    end = bucket_of(to_micros(minus(present, horizon)), UNIT) or 0
    until = from_micros(max(0, end))
    if window.until is not None:
        until = min(until, window.until)
    since = None if window.since is None else min(window.since, until)
    kept = {key: moments for key, moments in tally.cells.items() if (key.bucket or 0) < end}
    matured = attrs.evolve(window, basis="matured", horizon=horizon, since=since, until=until)
    return matured, attrs.evolve(tally, cells=kept)


Counts: TypeAlias = Mapping[tuple[ClassLabel, ClassLabel, ClassLabel | None], int]
"""How many common items have each answer of the first, answer of the second, and outcome."""


def _tally(window: Window, other_version: str, unit: timedelta | None = None) -> Plan[Tally]:
    """The common items, by what was answered and what came true: counted by the store, or read where it does not."""
    query = attrs.evolve(window.query(1, bucket=unit, delay=unit), beside=other_version)
    tally = yield from rows.tally(query)
    if any(len(key.segments) != 1 for key in tally.cells):
        tally = yield from rows.folded(query)  # the store leaves `beside` out
    return tally


def _counts(tally: Tally) -> Counts:
    counted: Counter[tuple[ClassLabel, ClassLabel, ClassLabel | None]] = Counter()
    for key, moments in tally.cells.items():
        counted[key.predicted, cast("ClassLabel", key.segments[-1]), key.actual] += moments.n
    return counted


def of_counts(
    counted: Counts, window: Window, other_version: str, measures: Measures, min_coverage: float = MIN_COVERAGE
) -> PairedComparison:
    """The comparison that counts of common items come to."""
    table: Counter[tuple[bool, bool]] = Counter()
    for (one, other, actual), n in counted.items():
        if actual is not None:
            table[one == actual, other == actual] += n
    right = (table[True, True], table[True, False], table[False, True], table[False, False])
    sides = (window, attrs.evolve(window, model_version=other_version))
    measures = attrs.evolve(measures.with_names({"accuracy"}), n_bins=1)
    first, second = (_performance(counted, side, one, measures) for side, one in enumerate(sides))
    exact, mid = mcnemar(*right[1:3])
    labelled = sum(right)
    return PairedComparison(
        first,
        second,
        sum(counted.values()),
        *right,
        difference=_difference(first.metrics["accuracy"].reason, right),
        p_value=mid if labelled else None,
        exact_p_value=exact if labelled else None,
        min_coverage=min_coverage,
        horizon=window.horizon,
    )


def _performance(counted: Counts, side: int, window: Window, measures: Measures) -> Performance:
    """How one of the two does on the common items; nothing is said of its confidences."""
    cells: Counter[tuple[ClassLabel, ClassLabel | None]] = Counter()
    for (*answers, truth), n in counted.items():
        cells[answers[side], truth] += n
    model = window.model_version or ""
    tally = Tally(
        1, {CellKey(model, answer, truth, 0): Moments(n, 0.5, 0.5, 0.0, 0.0) for (answer, truth), n in cells.items()}
    )
    unknown = dict.fromkeys((name for name in FORMULAS if name not in OF_LABELS), OF_CONFIDENCE)
    return attrs.evolve(measures.of(tally, window, unknown), bins=())


OF_LABELS = frozenset(
    {"num_predictions", "num_labelled", "coverage", "accuracy"}
    | {name for name in FORMULAS if name.startswith(("precision", "recall", "f1_score"))}
)
"""The metrics that rest on labels alone."""


def _difference(reason: str | None, right: Sequence[int]) -> Difference:
    if not sum(right):
        return Difference("accuracy", None, reason=reason)
    both, first_only, second_only, neither = right
    low, high = paired_difference(both, second_only, first_only, neither)
    return Difference("accuracy", (second_only - first_only) / sum(right), low, high)


def mcnemar(first_only: int, second_only: int) -> tuple[float, float]:
    """McNemar's exact and mid-p values, two-sided, of the discordant pairs; 1 without any.

    The exact test is the binomial one of the smaller of the two against 1/2; mid-p counts what was observed by half.
    """
    n, least = first_only + second_only, min(first_only, second_only)
    if not n:
        return 1.0, 1.0
    mass, tail = binomial_tail(least, n)
    return min(1.0, 2 * tail), min(1.0, 2 * tail - mass)
