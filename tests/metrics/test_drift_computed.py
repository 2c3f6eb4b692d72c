"""Drift that is computed: against scipy and by hand, with false alarms within what is promised, sync and async."""

import asyncio
import math
import random
import sys
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from f1mon_core import (
    AlertRule,
    AsyncMonitor,
    InvalidQueryError,
    InvalidRecordError,
    MissingExtraError,
    Monitor,
    NotFoundError,
    PrunedError,
)
from f1mon_core.metrics import drift_tests
from f1mon_core.metrics.drifted import Compared, judged
from f1mon_core.metrics.samples import Categories, Numbers, from_dict

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)
BEFORE, NOW = MONDAY - 2 * DAY, MONDAY - DAY


def rows(features, at, begin=0, model="m"):
    """A prediction for each set of features."""
    for number, one in enumerate(features, begin):
        yield {
            "prediction_id": f"{at:%d}-{number}",
            "model_version": model,
            "predicted_outcome": number % 2,
            "confidence": 0.5 + number % 50 / 100,
            "features": one,
            "at": at,
        }


def grids(mean, seed, n=300):
    generator = random.Random(seed)
    return [
        {"grid": generator.gauss(mean, 3), "tyre": generator.choice(["soft", "hard"]), "wet": generator.random() < 0.2}
        for _ in range(n)
    ]


@pytest.fixture
def monitor():
    """Three hundred predictions of Saturday, and as many of Sunday, when the grid moved by three."""
    with Monitor.open("memory", clock=lambda: MONDAY) as opened:
        opened.record_predictions(rows(grids(10, 1), BEFORE))
        opened.record_predictions(rows(grids(13, 2), NOW))
        yield opened


# Against scipy --------------------------------------------------------------------------------------------------------


def values_of(monitor, name, at):
    return [one.features[name] for one in monitor.predictions("m", since=at, until=at + DAY)]


def test_numbers_are_what_scipy_says_of_them(monitor):
    found = monitor.drift("m", last=DAY)["grid"]
    old, new = (values_of(monitor, "grid", at) for at in (BEFORE, NOW))
    (test,) = found.tests
    expected = stats.ks_2samp(old, new)
    assert (test.statistic, test.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert found.distance == pytest.approx(stats.wasserstein_distance(old, new), rel=1e-12)
    assert found.distance_name == "wasserstein"
    assert found.drifted


def test_categories_are_what_scipy_says_of_them(monitor):
    found = monitor.drift("m", last=DAY)["tyre"]
    table = [[values_of(monitor, "tyre", at).count(one) for one in ("soft", "hard")] for at in (BEFORE, NOW)]
    expected = stats.chi2_contingency(table, correction=False)
    assert found.tests[0].statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.tests[0].p_value == pytest.approx(expected.pvalue, rel=1e-12)
    apart = jensenshannon(*([count / 300 for count in row] for row in table), base=2)
    assert found.distance == pytest.approx(apart, rel=1e-12)


def test_a_missing_share_is_what_fisher_says_of_it():
    reference, current = Numbers.of([1.0] * 90, 10), Numbers.of([1.0] * 70, 30)
    test = drift_tests.missing(reference, current)
    assert test.p_value == pytest.approx(stats.fisher_exact([[10, 90], [30, 70]]).pvalue, rel=1e-12)
    assert test.statistic == pytest.approx(0.2)
    assert drift_tests.missing(Numbers.of([1.0]), Numbers.of([2.0])) is None


@given(
    st.lists(st.integers(-30, 30), min_size=1, max_size=60),
    st.lists(st.integers(-30, 30), min_size=1, max_size=60),
)
def test_the_distance_of_ranks_is_the_statistic_where_all_are_known(one, other):
    ranks = [np.searchsorted(sorted(values), range(-31, 32), "right") / len(values) for values in (one, other)]
    expected = max(abs(ranks[0] - ranks[1]))
    assert drift_tests.least_distance(Numbers.of(one), Numbers.of(other)) == pytest.approx(expected, abs=1e-12)
    assert drift_tests.kolmogorov_smirnov(Numbers.of(one), Numbers.of(other)).statistic == pytest.approx(expected)


# By hand --------------------------------------------------------------------------------------------------------------


def test_the_stability_index_is_what_a_hand_computes():
    # shares 0.2, 0.3, 0.5 and 0.3, 0.3, 0.4: 0.1 ln 1.5 + 0 - 0.1 ln 0.8
    by_hand = 0.1 * math.log(1.5) - 0.1 * math.log(0.8)
    assert drift_tests.psi([20, 30, 50], [30, 30, 40]) == pytest.approx(by_hand, rel=1e-12)
    # an empty bin counts half a value: shares 0.5/100.5 and 10/100, 100/100.5 and 90/100
    p, q = 0.5 / 100.5, 0.1
    by_hand = (q - p) * math.log(q / p) + (0.9 - 100 / 100.5) * math.log(0.9 / (100 / 100.5))
    assert drift_tests.psi([0, 100], [10, 90]) == pytest.approx(by_hand, rel=1e-12)


def test_its_threshold_knows_how_many_there_are():
    # chi-square of 9 degrees of freedom exceeds 16.918978 in 5 %
    assert drift_tests.psi_threshold(100, 100, 10, 0.05) == pytest.approx(16.918977604620448 * 2 / 100, rel=1e-9)
    assert drift_tests.psi_threshold(10**6, 10**6, 10, 0.05) < 1e-4
    assert drift_tests.psi_threshold(100, 100, 1, 0.05) is None


def test_its_bins_are_deciles_of_the_reference():
    reference = Numbers.of(range(1, 101))
    assert drift_tests.psi_edges(reference) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert drift_tests.psi_edges(Numbers.of([1, 1, 1, 2])) == [math.nextafter(1, 0), 1, 2]
    assert drift_tests.change(reference, Numbers.of(range(1, 101))).psi == 0


def test_what_lies_beyond_a_constant_counts():
    same, other = Numbers.of([20] * 100), Numbers.of([22] * 100)
    assert drift_tests.change(same, same).psi == 0
    p, q = 100 / 100.5, 0.5 / 100.5
    assert drift_tests.change(same, other).psi == pytest.approx(2 * (p - q) * math.log(p / q), rel=1e-12)
    assert drift_tests.change(other, same).psi == drift_tests.change(same, other).psi


def test_holm_adjusts_step_by_step():
    assert drift_tests.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert drift_tests.holm([0.9, 0.8]) == [1.0, 1.0]
    assert drift_tests.holm([]) == []


def test_rare_categories_are_counted_together():
    assert drift_tests.pooled([50, 40, 3, 1], [50, 45, 1, 2]) == ([50, 44], [50, 48])
    assert drift_tests.pooled([50, 40, 9, 1], [50, 40, 9, 1]) == ([50, 40, 10], [50, 40, 10])
    assert drift_tests.pooled([1, 1], [1, 1]) == ([2], [2])


# False alarms ---------------------------------------------------------------------------------------------------------


def pair(generator, sort, n):
    if sort == "normal":
        return Numbers.of(generator.normal(size=n).tolist())
    if sort == "places":
        return Numbers.of(generator.integers(1, 21, size=n).tolist())
    absent = int(generator.binomial(n, 0.1))
    counts = generator.multinomial(n - absent, [0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
    return Categories({str(place): int(count) for place, count in enumerate(counts) if count}, 0, absent)


def test_a_thousand_pairs_of_one_distribution_alarm_no_more_often_than_promised():
    generator = np.random.default_rng(19)
    alarms = 0
    for _ in range(1_000):
        compared = [
            Compared("", "number", pair(generator, sort, 150), pair(generator, sort, 100))
            for sort in ("normal", "places", "classes", "normal")
        ]
        features, looks = judged([attrs.evolve(one, name=str(place)) for place, one in enumerate(compared)], 0.05)
        assert (len(features), looks) == (4, 5)
        alarms += any(one.drifted for one in features.values())
    # 0.05 of them, and three standard deviations of that
    assert alarms <= 50 + 3 * math.sqrt(1_000 * 0.05 * 0.95)
    assert alarms > 5  # else nothing was tested


def test_a_change_is_found_in_as_many_pairs():
    generator = np.random.default_rng(20)
    found = 0
    for _ in range(100):
        moved = Numbers.of(generator.normal(1, size=100).tolist())
        features, _ = judged([Compared("x", "number", pair(generator, "normal", 150), moved)], 0.05)
        found += features["x"].drifted
    assert found == 100


# Kept samples ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=300),
    st.lists(st.integers(0, 200), min_size=1, max_size=300),
    st.integers(2, 20),
)
def test_ranks_stay_bounds_whatever_was_left_out_and_added(one, other, points):
    together = (Numbers.of(one).kept(points) + Numbers.of(other).kept(points)).kept(points)
    assert len(together.points) <= points
    whole = [*one, *other]
    assert (together.n, together.points[0], together.points[-1]) == (len(whole), min(whole), max(whole))
    for value in range(-1, 202):
        assert together.at_most(value) <= sum(x <= value for x in whole) <= together.less_or_equal(value)
        assert together.less_at_least(value) <= sum(x < value for x in whole) <= together.less(value)
    again = from_dict(together.to_dict())
    assert (list(again.points), list(again.below)) == (list(together.points), list(together.below))


def test_a_kept_sample_knows_ranks_to_a_share_of_its_points():
    numbers = Numbers.of(np.random.default_rng(1).random(10_000).tolist())
    kept = numbers.kept(200)
    between = max(below - upto for below, upto in zip(kept.below[1:], kept.upto, strict=False))
    assert between <= 10_000 / 199 + 1


def test_the_statistic_of_a_kept_sample_is_never_greater_and_hardly_smaller():
    generator = np.random.default_rng(5)
    one, other = (Numbers.of(generator.normal(mean, size=5_000).tolist()) for mean in (0, 0.2))
    exact = drift_tests.kolmogorov_smirnov(one, other)
    kept = drift_tests.kolmogorov_smirnov(one.kept(500), other)
    assert exact.statistic - 2 / 500 <= kept.statistic <= exact.statistic
    assert kept.p_value >= exact.p_value


def test_categories_add_and_keep_the_most_frequent():
    added = Categories({"a": 5, "b": 1}, 0, 2) + Categories({"b": 7, "c": 1}, 1, 0)
    assert added == Categories({"a": 5, "b": 8, "c": 1}, 1, 2)
    assert added.kept(2) == Categories({"b": 8, "a": 5}, 2, 2)
    assert added.kept(2).n == added.n == 15


def test_what_a_kept_sample_does_not_name_is_counted_with_its_rest():
    reference, current = Categories({"a": 60}, 40), Categories({"a": 60, "b": 30, "c": 10})
    found = drift_tests.change(reference, current)
    assert (found.test.statistic, found.psi, found.distance) == (0, 0, 0)
    moved = drift_tests.change(reference, Categories({"a": 10, "new": 90}))
    assert moved.test.p_value < 1e-6


# A reference that is stored -------------------------------------------------------------------------------------------

TRAINED = {"grid": [float(place) for place in range(1, 21)] * 10, "tyre": ["soft", "hard"] * 100}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, dict, lambda columns: pl.DataFrame(columns).to_dicts()])
def test_a_training_sample_is_kept_and_held_against(monitor, make):
    kept = monitor.record_reference("m", make(TRAINED))
    assert str(kept) == "reference training of m: 200 rows, 2 features"
    assert monitor.references("m") == [kept]
    found = monitor.drift("m", last=DAY, reference="training")
    assert list(found) == ["grid", "tyre"]
    assert found["grid"].drifted
    assert not found["tyre"].drifted
    assert found.left_out == {
        "predictions": "a stored reference holds features alone: the model's own answers were not compared",
        "wet": "the reference does not have it",
    }
    monitor.remove_reference("m")
    assert monitor.references() == []
    with pytest.raises(NotFoundError, match=r"no reference 'training' of 'm' is stored; it has none"):
        monitor.drift("m", last=DAY, reference="training")


def test_parts_of_a_training_set_are_added(monitor):
    monitor.record_reference("m", {"x": [1, 2]})
    both = monitor.record_reference("m", {"x": [2, None, 3]}, add=True)
    (x,) = both.features.values()
    assert (both.rows, x.n, x.missing, list(x.points), list(x.upto)) == (5, 4, 1, [1, 2, 3], [1, 3, 4])
    with pytest.raises(InvalidRecordError, match="must have the features of the reference"):
        monitor.record_reference("m", {"y": [2]}, add=True)
    with pytest.raises(InvalidRecordError, match=r"sample\.x: must be of the reference's sort, number"):
        monitor.record_reference("m", {"x": ["a"]}, add=True)
    assert monitor.record_reference("m", {"y": [2]}).rows == 1


def test_a_reference_outlasts_a_prune(monitor):
    monitor.record_reference("m", TRAINED)
    monitor.prune(MONDAY)
    assert [one.name for one in monitor.references()] == ["training"]
    with pytest.raises(PrunedError, match="features is read from the predictions themselves"):
        monitor.drift("m", last=DAY, reference="training")


def test_what_is_no_sample_is_refused_by_its_name(monitor):
    with pytest.raises(InvalidRecordError, match="must be a frame, a mapping of columns, or rows"):
        monitor.record_reference("m", [1, 2])
    with pytest.raises(InvalidRecordError, match="at least one column and one row"):
        monitor.record_reference("m", {})
    with pytest.raises(InvalidRecordError, match="columns of one length"):
        monitor.record_reference("m", {"x": [1], "y": [1, 2]})
    with pytest.raises(InvalidRecordError, match=r"did you mean 'grid'"):
        monitor.record_reference("m", TRAINED, features=["grd"])
    with pytest.raises(InvalidRecordError, match="name fewer columns by features="):
        monitor.record_reference("m", {f"{number:0200}": [number] for number in range(6_000)})
    assert monitor.record_reference("m", {"x": [1], "y": [[1]]}).left_out == ("y",)


def test_a_thousand_features_of_many_values_fit(monitor):
    values = [number / 7 for number in range(100)]
    kept = monitor.record_reference("m", {f"f{number}": values for number in range(500)})
    assert len(kept.features) == 500
    assert len(kept.features["f1"].points) == 48


# Windows --------------------------------------------------------------------------------------------------------------


def test_answers_are_compared_by_cells_without_reading_a_feature(monitor, monkeypatch):
    monkeypatch.setattr(monitor.storage, "find", None)
    found = monitor.drift("m", last=DAY, features=())
    assert [(one.name, one.sort, one.drifted) for one in found.values()] == [
        ("predicted_outcome", "prediction", False),
        ("confidence", "confidence", False),
    ]
    assert found.read == 0


def test_answers_drift_too(monitor):
    monitor.record_predictions(
        {**one, "predicted_outcome": 1, "confidence": 0.95} for one in rows([{}] * 300, NOW, 300)
    )
    found = monitor.drift("m", last=DAY, features=())
    assert found.drifted == ["predicted_outcome", "confidence"]


def test_a_feature_named_as_an_answer_is_told_apart(monitor):
    monitor.record_predictions(rows([{"confidence": 1}] * 20, BEFORE, 300))
    monitor.record_predictions(rows([{"confidence": 1}] * 20, NOW, 300))
    found = monitor.drift("m", last=DAY, features=["confidence"])
    assert list(found) == ["predicted_outcome", "confidence", "features.confidence"]


def test_values_of_another_sort_are_missing(monitor):
    monitor.record_predictions(rows([{"grid": "pit lane"}] * 100, NOW, 300))
    grid = monitor.drift("m", last=DAY, features=["grid"])["grid"]
    assert (grid.current.n, grid.current.missing) == (300, 100)
    assert [one.method for one in grid.tests if one.drifted] == ["missing_share", "ks"]


def test_what_cannot_be_compared_says_why(monitor):
    monitor.record_predictions(rows([{"laps": [1, 2], "late": 1}], NOW, 300))
    found = monitor.drift("m", last=DAY, features=["grid", "laps", "late", "nothing"])
    assert found.left_out == {
        "laps": "the reference holds lists or objects there, or nothing but null",
        "late": "the reference holds lists or objects there, or nothing but null",
        "nothing": "the reference holds lists or objects there, or nothing but null",
    }
    empty = monitor.drift("m", reference=(MONDAY - 9 * DAY, MONDAY - 8 * DAY), last=DAY, features=())
    assert empty["confidence"].reason == "no value in the reference"
    assert (empty.looks, empty.drifted) == (0, [])
    assert "nothing could be tested" in str(empty)


def test_segments_narrow_both_windows(monitor):
    for at, begin in ((BEFORE, 300), (NOW, 600)):
        made = rows([{"grid": float(begin + number)} for number in range(20)], at, begin)
        monitor.record_predictions({**one, "segments": {"country": "MC"}} for one in made)
    found = monitor.drift("m", last=DAY, where={"country": "MC"}, features=["grid"])
    assert (found["grid"].reference.n, found["grid"].current.n, found["grid"].drifted) == (20, 20, True)
    assert found.read == 640
    assert "where country=MC" in str(found)
    with pytest.raises(InvalidQueryError, match="are of the whole model"):
        monitor.drift("m", last=DAY, where={"country": "MC"}, keep=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "a window with a beginning"),
        ({"last": DAY, "reference": (None, None)}, "overlap"),
        ({"last": DAY, "reference": (BEFORE, MONDAY)}, "overlap"),
        ({"last": DAY, "reference": (NOW, BEFORE)}, "lies after"),
        ({"last": DAY, "reference": 7}, "is \\(since, until\\) or a name"),
        ({"last": DAY, "alpha": 1}, "alpha is a chance"),
        ({"last": DAY, "features": "grid"}, "must be a collection of names"),
        ({"last": DAY, "keep": "yes"}, "keep"),
    ],
)
def test_what_cannot_be_asked_is_refused(monitor, options, said):
    with pytest.raises(InvalidQueryError, match=said):
        monitor.drift("m", **options)


def test_without_scipy_the_error_says_what_to_install(monitor, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'f1mon\[drift\]'"):
        monitor.drift("m", last=DAY)


# Facts and rules ------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_what_rules_go_by(monitor):
    monitor.record_predictions(rows([{"grid": None}] * 60, NOW, 300))
    found = monitor.drift("m", last=DAY, keep=True)
    assert [(one.feature, one.method, one.detected) for one in found.kept] == [
        ("predicted_outcome", "chi2", False),
        ("confidence", "chi2", False),
        ("grid", "missing_share", True),
        ("grid", "ks", True),
        ("tyre", "missing_share", True),
        ("tyre", "chi2", False),
        ("wet", "missing_share", True),
        ("wet", "chi2", False),
    ]
    assert sorted(monitor.drift_results("m"), key=lambda one: one.drift_id) == list(found.kept)
    monitor.add_rule(AlertRule("some", "drifted_features", "threshold", 3, ">=", "warning", "data"))
    monitor.add_rule(AlertRule("grid", "drift_p_value:grid", "threshold", 0.01, "<", "warning", "data"))
    monitor.add_rule(AlertRule("far", "drift_statistic:grid", "threshold", 0.2, ">", "warning", "data"))
    fired = {one.rule_id: one.metric_value for one in monitor.evaluate("m")}
    ks = found["grid"].tests[-1]
    assert fired == {"some": 3, "grid": ks.adjusted, "far": ks.statistic}
    assert monitor.drift("m", last=DAY).kept == ()
    monitor.record_reference("m", TRAINED)
    (fact, *_) = monitor.drift("m", last=DAY, reference="training", keep=True).kept
    assert fact.metadata["reference"] == {"name": "training", "rows": 200, "recorded_at": MONDAY.isoformat()}


def test_it_says_itself_in_every_form(monitor):
    found = monitor.drift("m", last=DAY)
    assert str(found).startswith("m, [2026-04-26 00:00, 2026-04-27 00:00) UTC against [2026-04-25 00:00, ")
    assert str(found).endswith(": 1 of 5 features drifted: grid (Holm over 5 tests, alpha 0.05)")
    frame = found.to_frame()
    assert list(frame["feature"]) == ["predicted_outcome", "confidence", "grid", "tyre", "wet"]
    assert list(frame["drifted"]) == [False, False, True, False, False]
    html = found._repr_html_()
    assert html.count("<tr>") == 6
    assert "alpha 0.05" in html


def test_a_hostile_name_is_text_in_html(monitor):
    monitor.record_predictions(rows([{"<script>": 1}] * 5, NOW, 300))
    monitor.record_predictions(rows([{"<script>": 2}] * 5, BEFORE, 300))
    assert "<script>" not in monitor.drift("m", last=DAY)._repr_html_()


def test_the_async_side_answers_the_same(monitor, tmp_path):
    async def asked():
        async with await AsyncMonitor.open("jsonl", path=tmp_path, clock=lambda: MONDAY) as other:
            await other.record_predictions(rows(grids(10, 1), BEFORE))
            await other.record_predictions(rows(grids(13, 2), NOW))
            await other.record_reference("m", TRAINED)
            return await other.drift("m", last=DAY), await other.drift("m", last=DAY, reference="training")

    monitor.record_reference("m", TRAINED)
    for found, same in zip(asyncio.run(asked()), ("", "training"), strict=True):
        expected = monitor.drift("m", last=DAY, reference=same or None)
        assert found.features == expected.features
