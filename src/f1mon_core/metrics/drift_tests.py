"""Two samples of a feature held against each other: tests, distances, and what sample size alone would explain.

The tests are scipy's (extra `drift`), imported when one is asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from f1mon_core.errors import MissingExtraError
from f1mon_core.metrics.samples import Categories, Numbers, Sample

if TYPE_CHECKING:
    from types import ModuleType

PSI_BINS = 10
LEAST_EXPECTED = 5
"""A category of which fewer are expected in either sample is counted with other such (W. G. Cochran, Biometrics 10
(1954) 417-451)."""

_EXACT_UP_TO = 2_000
"""The Kolmogorov-Smirnov p-value of samples up to this size is computed exactly."""


@attrs.frozen
class Test:
    """What a test said of two samples: its name, its statistic, and its p-value before any adjustment."""

    __test__ = False  # no test of pytest's

    method: str
    statistic: float
    p_value: float


@attrs.frozen
class Change:
    """How far two samples are apart.

    Attributes:
        test: None where there is nothing to test, with the `reason`.
        psi: The population stability index; None without a value on either side.
        psi_bins: In how many bins it was computed.
        distance: Wasserstein's of numbers, in their unit; of categories the Jensen-Shannon distance, in [0, 1].
        reason: Why there is no test.
    """

    test: Test | None
    psi: float | None = None
    psi_bins: int = 0
    distance: float | None = None
    reason: str | None = None


def scipy_stats() -> ModuleType:
    """`scipy.stats`. Raises `MissingExtraError`."""
    try:
        from scipy import stats  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            "drift is computed by scipy, of the extra `drift`: pip install 'f1mon[drift]'"
        ) from error
    module: ModuleType = stats
    return module


def change(reference: Sample, current: Sample) -> Change:
    """How far the current sample is from the reference, both of one sort."""
    for which, one in (("reference", reference), ("window", current)):
        if not one.n:
            return Change(None, reason=f"no {'number' if one.sort == 'number' else 'value'} in the {which}")
    if isinstance(reference, Numbers) and isinstance(current, Numbers):
        return _of_numbers(reference, current)
    if isinstance(reference, Categories) and isinstance(current, Categories):
        return _of_categories(reference, current)
    raise AssertionError  # both were made of one sort


def missing(reference: Sample, current: Sample) -> Test | None:
    """R. A. Fisher's exact test that equally many values are missing; None where none is, or all are.

    The statistic is by how much the missing share grew.
    """
    table = [[one.missing, one.n] for one in (reference, current)]
    if not all(map(sum, table)) or not all(map(sum, zip(*table, strict=True))):
        return None
    shares = [row[0] / sum(row) for row in table]
    p_value = float(scipy_stats().fisher_exact(table)[1])
    return Test("missing_share", shares[1] - shares[0], min(1.0, max(0.0, p_value)))


# Numbers --------------------------------------------------------------------------------------------------------------


def _of_numbers(reference: Numbers, current: Numbers) -> Change:
    stats = scipy_stats()
    edges = psi_edges(reference)
    bins = zip(_binned(reference, edges), _binned(current, edges), strict=True)
    counts = [list(row) for row in zip(*(pair for pair in bins if any(pair)), strict=True)]
    distance = float(stats.wasserstein_distance(reference.points, current.points, reference.counts, current.counts))
    if reference.points[0] == reference.points[-1] == current.points[0] == current.points[-1]:
        return Change(None, psi(*counts), len(counts[0]), distance, "one value only")
    return Change(kolmogorov_smirnov(reference, current), psi(*counts), len(counts[0]), distance)


def kolmogorov_smirnov(reference: Numbers, current: Numbers) -> Test:
    """The two-sample test of A. N. Kolmogorov and N. V. Smirnov.

    Where only some ranks of a sample are kept, its statistic is the least that it can be, so the p-value is never too
    small for that.
    """
    stats = scipy_stats()
    if reference.is_exact and current.is_exact:
        method = "exact" if max(reference.n, current.n) <= _EXACT_UP_TO else "asymp"
        with warnings.catch_warnings():
            # Next to 1 its exact p-value can come out greater by rounding: it then says so, and takes the other.
            warnings.simplefilter("ignore", RuntimeWarning)
            found: Any = stats.ks_2samp(_all_of(reference), _all_of(current), method=method)
        return Test("ks", float(found.statistic), float(found.pvalue))
    statistic = least_distance(reference, current)
    pairs = reference.n * current.n / (reference.n + current.n)
    # As scipy does where it takes the asymptotic distribution.
    p_value = float(stats.kstwo.sf(statistic, max(1, round(pairs))))
    return Test("ks", statistic, min(1.0, max(0.0, p_value)))


def _all_of(numbers: Numbers) -> Any:
    import numpy as np  # noqa: PLC0415 - comes with scipy

    return np.repeat(np.asarray(numbers.points, dtype=float), numbers.counts)


def least_distance(one: Numbers, other: Numbers) -> float:
    """The least that the greatest distance between two distribution functions can be, by the ranks that are known.

    What is known of a function is constant between its points, so the greatest lies at one of them or just before it.
    """
    at = (one.at_most(value) / one.n - other.less_or_equal(value) / other.n for value in one.points)
    before = (other.less_at_least(value) / other.n - one.less(value) / one.n for value in one.points)
    return max(0.0, *at, *before)


def psi_edges(reference: Numbers) -> list[float]:
    """The ends of all bins but the last, which has none: the reference's deciles, where they differ.

    Where a tenth of it or more is its least or its greatest value, what lies beyond that is a bin of its own.
    """
    edges = list(dict.fromkeys(reference.quantile(step / PSI_BINS) for step in range(1, PSI_BINS)))
    least = reference.points[0]
    return [math.nextafter(least, -math.inf), *edges] if edges[0] == least else edges


def _binned(numbers: Numbers, edges: Sequence[float]) -> list[int]:
    """How many numbers lie in each bin: up to an edge, and behind the last."""
    return [end - start for start, end in pairwise((0, *map(numbers.at_most, edges), numbers.n))]


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """The population stability index of two rows of counts: the sum of (q - p) ln(q / p) over the bins.

    An empty bin counts half a value, else it would be infinite.
    """
    first, second = ([count or 0.5 for count in counts] for counts in (reference, current))
    of_first, of_second = sum(first), sum(second)
    return math.fsum(
        (q / of_second - p / of_first) * math.log((q / of_second) / (p / of_first))
        for p, q in zip(first, second, strict=True)
    )


def psi_threshold(n_reference: int, n_current: int, bins: int, alpha: float) -> float | None:
    """What the index exceeds with probability `alpha` where nothing changed; None for one bin.

    B. Yurdakul, "Statistical Properties of Population Stability Index" (Western Michigan University, 2018): over
    1/n + 1/m it is asymptotically chi-square with one degree of freedom less than there are bins. So 0.25 is nothing
    for fifty predictions, and a great deal for a million.
    """
    if bins < 2 or not n_reference or not n_current:  # noqa: PLR2004 - one bin cannot differ
        return None
    return (1 / n_reference + 1 / n_current) * float(scipy_stats().chi2.isf(alpha, bins - 1))


# Categories -----------------------------------------------------------------------------------------------------------


def _of_categories(reference: Categories, current: Categories) -> Change:
    from scipy.spatial.distance import jensenshannon  # noqa: PLC0415 - an extra; the caller has asked for it

    stats = scipy_stats()
    # In one order, so that sums come out the same to the last digit whatever store counted.
    names = sorted({*reference.counts, *current.counts})
    known = [name for name in names if name in reference.counts or not reference.rest]
    rows = [[one.counts.get(name, 0) for name in known] for one in (reference, current)]
    for row, one in zip(rows, (reference, current), strict=True):
        row.append(one.n - sum(row))
    apart = jensenshannon(*([count / sum(row) for count in row] for row in rows), base=2)
    distance = 0.0 if math.isnan(apart) else float(apart)
    table = pooled(*rows)
    if len(table[0]) == 1:
        return Change(None, 0.0, 1, distance, "one value only, or all of them too rare to be told apart")
    found: Any = stats.chi2_contingency(table, correction=False)
    test = Test("chi2", float(found.statistic), float(found.pvalue))
    return Change(test, psi(*table), len(table[0]), distance)


def pooled(reference: Sequence[int], current: Sequence[int]) -> tuple[list[int], list[int]]:
    """Two rows of counts with those columns in one in which fewer than `LEAST_EXPECTED` are expected in either."""
    whole = sum(reference) + sum(current)
    least = min(sum(reference), sum(current)) / whole
    columns = [pair for pair in zip(reference, current, strict=True) if any(pair)]
    common = [pair for pair in columns if sum(pair) * least >= LEAST_EXPECTED]
    rare = [pair for pair in columns if sum(pair) * least < LEAST_EXPECTED]
    if rare:
        together = (sum(one for one, _ in rare), sum(other for _, other in rare))
        if sum(together) * least < LEAST_EXPECTED and common:  # still too few: with the smallest of the others
            smallest = min(common, key=sum)
            common.remove(smallest)
            together = (together[0] + smallest[0], together[1] + smallest[1])
        common.append(together)
    first, second = zip(*common, strict=True)
    return list(first), list(second)


# Many of them ---------------------------------------------------------------------------------------------------------


def holm(p_values: Iterable[float]) -> list[float]:
    """P-values adjusted for how many there are, in their order (S. Holm, Scand. J. Statist. 6 (1979) 65-70).

    Where nothing changed, the chance that any of them lies below alpha is at most alpha, however the features hang
    together. Benjamini and Hochberg's would bound the share of false ones among those found, which is no promise about
    an alarm, and the features of one model are seldom independent.
    """
    given = list(p_values)
    adjusted = [1.0] * len(given)
    greatest = 0.0
    for rank, place in enumerate(sorted(range(len(given)), key=given.__getitem__)):
        greatest = max(greatest, min(1.0, (len(given) - rank) * given[place]))
        adjusted[place] = greatest
    return adjusted
