"""Intervals against scipy and statsmodels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from f1mon_core.metrics.intervals import clopper_pearson, difference, wilson


@st.composite
def shares(draw, most=100_000):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@given(shares(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_statsmodels(share, level):
    expected = proportion_confint(*share, alpha=1 - level, method="wilson")
    assert wilson(*share, level) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(shares(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_clopper_pearson_is_scipys(share, level):
    expected = binomtest(*share).proportion_ci(level, method="exact")
    assert clopper_pearson(*share, level) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("share", [(1, 10**9), (5 * 10**8, 10**9), (10**9 - 1, 10**9), (3, 7_000_000)])
def test_clopper_pearson_holds_at_a_thousand_million(share):
    expected = proportion_confint(*share, method="beta")
    assert clopper_pearson(*share) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(shares(), shares())
def test_the_difference_is_newcombes(first, second):
    low, high = difference(first, second)
    expected = confint_proportions_2indep(second[0], second[1], first[0], first[1], method="newcomb", compare="diff")
    assert (low, high) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert -1 <= low <= second[0] / second[1] - first[0] / first[1] <= high <= 1


def test_ten_of_ten_is_not_certain():
    assert wilson(10, 10) == (pytest.approx(0.7224672), 1.0)
    assert clopper_pearson(10, 10) == (pytest.approx(0.6915029), 1.0)
