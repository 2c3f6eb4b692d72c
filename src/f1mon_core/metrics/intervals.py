"""Confidence intervals of proportions, in closed form or with the standard library alone.

Wilson: E. B. Wilson, JASA 22 (1927) 209-212. Clopper-Pearson: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934)
404-413. The difference of two: R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10. Never Wald, whose
interval for 10 of 10 is [1, 1].
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, TypeAlias, get_args

from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.text import is_one_of

Method: TypeAlias = Literal["wilson", "clopper-pearson"]

LEVEL = 0.95
"""The confidence level every metric is reported at."""

_STIRLING_TABLE_END = 16
_MAX_ITERATIONS = 10_000_000
_NEWTON_STEPS = 200
_TINY = 1e-300


def check_method(method: object) -> None:
    """Refuse anything but the name of an interval."""
    if not is_one_of(method, get_args(Method)):
        raise InvalidQueryError(f"interval must be one of {', '.join(get_args(Method))}, got {shown(method)}")


def proportion(successes: int, n: int, method: Method = "wilson", level: float = LEVEL) -> tuple[float, float]:
    """The two-sided interval of `successes` out of `n`, n at least 1."""
    return wilson(successes, n, level) if method == "wilson" else clopper_pearson(successes, n, level)


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval: the proportions a two-sided score test at `level` does not reject."""
    z = _normal_quantile(level)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The "exact" interval: its coverage is never below `level`; right to 1e-12."""
    tail = (1 - level) / 2
    return _lower_limit(successes, n, tail), 1 - _lower_limit(n - successes, n, tail)


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int, level: float = LEVEL
) -> tuple[float, float]:
    """The interval of the first's proportion minus the second's, both of the same items, at least one of them.

    R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10: Wilson's intervals of both, squared and
    added, with the correlation of the two, whose numerator is corrected for continuity.
    """
    n = both + first_only + second_only + neither
    wins_1, wins_2 = both + first_only, both + second_only
    share_1, share_2 = wins_1 / n, wins_2 / n
    low_1, high_1 = wilson(wins_1, n, level)
    low_2, high_2 = wilson(wins_2, n, level)
    margins = wins_1 * (n - wins_1) * wins_2 * (n - wins_2)
    product = both * neither - first_only * second_only
    correlation = (max(product - n / 2, 0.0) if product > 0 else product) / math.sqrt(margins) if margins else 0.0
    below_1, above_1, below_2, above_2 = share_1 - low_1, high_1 - share_1, share_2 - low_2, high_2 - share_2
    change = (first_only - second_only) / n
    low = change - math.sqrt(max(0.0, below_1**2 - 2 * correlation * below_1 * above_2 + above_2**2))
    high = change + math.sqrt(max(0.0, above_1**2 - 2 * correlation * above_1 * below_2 + below_2**2))
    return max(-1.0, low), min(1.0, high)


def binomial_tail(k: int, n: int) -> tuple[float, float]:
    """P(X = k) and P(X <= k) for X ~ Binomial(n, 1/2), k at most n / 2."""
    if k == 0:
        return 0.5**n, 0.5**n
    mass = binomial_mass(k, n, 0.5)
    return mass, mass * _tail_fraction(n - k, k + 1, 0.5)


def sidak(looks: int, level: float = LEVEL) -> float:
    """The confidence level of each of so many intervals at which all of them hold together at `level`.

    Z. Šidák, JASA 62 (1967) 626-633: 1 - (1 - a)^(1/m) for each of m, exact where they are independent.
    """
    return float(level ** (1 / max(1, looks)))


def difference(
    first: tuple[int, int], second: tuple[int, int], method: Method = "wilson", level: float = LEVEL
) -> tuple[float, float]:
    """Newcombe's hybrid interval of `second`'s proportion minus `first`'s, each given as (successes, n).

    The two samples are taken as independent; where both models answered the same items it is conservative.
    """
    share_1, share_2 = first[0] / first[1], second[0] / second[1]
    low_1, high_1 = proportion(*first, method, level)
    low_2, high_2 = proportion(*second, method, level)
    change = share_2 - share_1
    low = change - math.hypot(share_2 - low_2, high_1 - share_1)
    high = change + math.hypot(high_2 - share_2, share_1 - low_1)
    return max(-1.0, low), min(1.0, high)


@cache
def _normal_quantile(level: float) -> float:
    from statistics import NormalDist  # noqa: PLC0415 - a heavy module for one number

    return -NormalDist().inv_cdf((1 - level) / 2)


def _lower_limit(successes: int, n: int, tail: float) -> float:
    """The p at which P(X >= successes) = tail for X ~ Binomial(n, p): Newton, kept inside a shrinking bracket."""
    if successes == 0:
        return 0.0
    if successes == n:
        return float(tail ** (1 / n))
    a, b = successes, n - successes + 1
    low, high = 0.0, successes / n
    p = min(max(wilson(successes, n, 1 - 2 * tail)[0], high * 1e-3), high)
    for _ in range(_NEWTON_STEPS):
        density = a * binomial_mass(a, n, p) / p
        excess = density * p / a * _tail_fraction(a, b, p) - tail
        if excess > 0:
            high = p
        else:
            low = p
        step = excess / density if density > 0 else math.inf
        following = p - step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - p) <= 1e-16 + 4e-16 * p:
            return following
        p = following
    return p


def _tail_fraction(a: int, b: int, x: float) -> float:
    """P(X >= a) / P(X = a) for X ~ Binomial(a + b - 1, x), below its mean.

    That is the continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method, times (1 - x).
    """
    upper = 1.0
    lower = 1 - (a + b) * x / (a + 1)
    ratio = lower = 1 / (lower if abs(lower) > _TINY else _TINY)
    for m in range(1, _MAX_ITERATIONS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1 + term * lower
            upper = 1 + term / upper
            lower = 1 / (lower if abs(lower) > _TINY else _TINY)
            upper = upper if abs(upper) > _TINY else _TINY
            ratio *= lower * upper
        if abs(lower * upper - 1) < 1e-16:  # noqa: PLR2004 - the end of a double
            break
    return ratio * (1 - x)


def binomial_mass(k: int, n: int, p: float) -> float:
    """P(X = k) for X ~ Binomial(n, p), 0 < k < n, without the cancellation of log-gammas.

    C. Loader, "Fast and accurate computation of binomial probabilities" (2000).
    """
    exponent = (
        _stirling_error(n)
        - _stirling_error(k)
        - _stirling_error(n - k)
        - _deviance(k, n * p)
        - _deviance(n - k, n * (1 - p))
    )
    return math.exp(exponent) * math.sqrt(n / (2 * math.pi * k * (n - k)))


def _stirling_error(n: int) -> float:
    """log(n!) minus Stirling's formula."""
    if n < _STIRLING_TABLE_END:
        return math.log(math.factorial(n)) - ((n + 0.5) * math.log(n) - n + 0.5 * math.log(2 * math.pi))
    square = 1 / (n * n)
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - square / 1188) * square) * square) * square) / n


def _deviance(x: float, mean: float) -> float:
    """Deviance x log(x / mean) + mean - x, also where the two are close."""
    if abs(x - mean) < 0.1 * (x + mean):
        ratio = (x - mean) / (x + mean)
        total = (x - mean) * ratio
        term = 2 * x * ratio
        square = ratio * ratio
        for j in range(1, 1000):
            term *= square
            following = total + term / (2 * j + 1)
            if following == total:
                break
            total = following
        return total
    return x * math.log(x / mean) + mean - x
