"""Bins, buckets and the law that tallies add."""

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage.tally import (
    MAX_BINS,
    CellKey,
    Tally,
    TallyQuery,
    bin_of,
    bucket_of,
    merge_cells,
    midpoint,
    moments_of,
)


@given(st.floats(0, 1), st.integers(1, MAX_BINS))
def test_a_bin_holds_what_lies_between_its_edges(confidence, bins):
    index = bin_of(confidence, bins)
    assert 0 <= index < bins
    assert confidence >= index / bins
    assert confidence < (index + 1) / bins or index == bins - 1


@given(st.integers(1, MAX_BINS), st.data())
def test_an_edge_opens_its_bin_and_the_double_below_closes_the_one_before(bins, data):
    index = data.draw(st.integers(1, bins - 1) if bins > 1 else st.just(0))
    assert bin_of(index / bins, bins) == index
    if index:
        assert bin_of(math.nextafter(index / bins, 0), bins) == index - 1
    assert bin_of(1.0, bins) == bins - 1
    assert bin_of(0.0, bins) == 0


def test_multiplying_alone_would_be_wrong():
    assert int(0.29 * 100) == 28
    assert bin_of(0.29, 100) == 29


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 20))
def test_moments_are_those_around_the_midpoint(confidences, bins):
    key = CellKey("m", 1, None, 0)
    middle = midpoint(0, bins)
    cell = merge_cells((key, moments_of(c, middle)) for c in confidences)[key]
    exact = [Fraction(c) - Fraction(middle) for c in confidences]
    assert (cell.n, cell.minimum, cell.maximum) == (len(confidences), min(confidences), max(confidences))
    assert math.isclose(cell.total, float(sum(exact)), rel_tol=1e-12, abs_tol=1e-15)
    assert math.isclose(cell.squares, float(sum(d * d for d in exact)), rel_tol=1e-12, abs_tol=1e-15)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1)), max_size=40), st.integers(0, 40))
def test_tallies_add(predictions, cut):
    def tally(part):
        return Tally(10, merge_cells((CellKey(m, 1, None, 0), moments_of(c, 0.05)) for m, c in part))

    whole, parts = tally(predictions), tally(predictions[:cut]) + tally(predictions[cut:])
    assert parts.cells.keys() == whole.cells.keys()
    assert parts.count == whole.count == len(predictions)
    for key, cell in whole.cells.items():
        assert parts.cells[key][:3] == cell[:3]
        assert math.isclose(parts.cells[key].total, cell.total, rel_tol=1e-12, abs_tol=1e-15)


def test_tallies_of_different_bins_do_not_add():
    with pytest.raises(InvalidQueryError, match="do not add"):
        Tally(10) + Tally(20)


@pytest.mark.parametrize("bins", [0, -1, True, 1.5, "ten", None, MAX_BINS + 1])
def test_impossible_bins_are_refused(bins):
    with pytest.raises(InvalidQueryError, match="bins"):
        TallyQuery(bins=bins)


@pytest.mark.parametrize(
    "query",
    [
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"bucket": timedelta(0)},
        {"delay": -timedelta(hours=1)},
        {"basis": "matured"},
        {"model_version": ""},
    ],
)
def test_impossible_queries_are_refused(query):
    with pytest.raises(InvalidQueryError, match=next(iter(query))):
        TallyQuery(**query)


def test_days_start_at_midnight_and_weeks_on_monday_also_before_1970_had_one():
    friday = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    starts = [from_micros(bucket_of(to_micros(friday), timedelta(**{unit: 1}))) for unit in ("hours", "days", "weeks")]
    assert [start.isoformat()[:16] for start in starts] == ["2026-05-01T12:00", "2026-05-01T00:00", "2026-04-27T00:00"]
    assert bucket_of(0, timedelta(weeks=1)) == -3 * 86_400_000_000
