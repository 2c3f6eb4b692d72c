"""Drift results of scipy, Evidently and plain mappings; importances and their queries."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from f1mon_core.errors import InvalidRecordError
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import DriftResult

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)
EVIDENTLY = json.loads((Path(__file__).parents[1] / "assets" / "evidently.json").read_text())


@pytest.fixture
def monitor():
    with Monitor.open("memory", clock=lambda: MONDAY) as opened:
        yield opened


def samples():
    generator = np.random.default_rng(3)
    return generator.normal(0, 1, 200), generator.normal(1, 1, 200)


def chi2_contingency(*groups):
    return stats.chi2_contingency([np.histogram(one, [-9, 0, 9])[0] for one in groups])


SCIPY = {
    "KstestResult": stats.ks_2samp,
    "TtestResult": stats.ttest_ind,
    "MannwhitneyuResult": stats.mannwhitneyu,
    "CramerVonMisesResult": stats.cramervonmises_2samp,
    "Chi2ContingencyResult": chi2_contingency,
}


@pytest.mark.parametrize("method", SCIPY)
def test_scipy_results_are_kept_as_they_come(monitor, method):
    result = SCIPY[method](*samples())
    (kept,) = monitor.record_drift(result, "m", "grid", threshold=0.05)
    assert (kept.statistic, kept.p_value) == (float(result.statistic), float(result.pvalue))
    assert (kept.method, kept.detected, kept.threshold) == (method, True, 0.05)
    (stored,) = monitor.drift_results("m")
    assert stored.p_value == kept.p_value
    assert not monitor.record_drift(SCIPY[method](samples()[0], samples()[0]), "m", "grid", threshold=0.05)[0].detected


def test_a_distance_is_drift_from_its_threshold_on(monitor):
    distance = stats.wasserstein_distance(*samples())
    (kept,) = monitor.record_drift(distance, "m", "grid", method="wasserstein", threshold=distance)
    assert (kept.statistic, kept.p_value, kept.detected) == (float(distance), None, True)
    assert not monitor.record_drift(distance, "m", "grid", threshold=distance + 1e-9)[0].detected


def test_a_plain_mapping_is_kept_and_the_callers_word_goes_first(monitor):
    result = {"model_version": "m", "feature": "grid", "detected": True, "statistic": 2, "drift_id": "mine"}
    (kept,) = monitor.record_drift(result, feature="form", at=MONDAY - DAY, metadata={"run": 7})
    assert (kept.drift_id, kept.feature, kept.detected, kept.metadata) == ("mine", "form", True, {"run": 7})
    assert monitor.record_drift(kept) == [kept]
    assert len(monitor.drift_results()) == 1


class Report:
    """Stands where Evidently's object would: it makes a dictionary of itself."""

    def __init__(self, report, method):
        setattr(self, method, lambda: report)


@pytest.mark.parametrize(
    ("shape", "export", "distance"),
    [
        ("snapshot", "dict", "psi"),
        ("snapshot_with_tests", "dict", "psi"),
        ("report_before_0_6", "as_dict", "Wasserstein distance (normed)"),
    ],
)
def test_evidently_reports_are_kept_feature_by_feature(monitor, shape, export, distance):
    kept = monitor.record_drift(Report(EVIDENTLY[shape], export), "m")
    assert sorted((one.feature, one.method, one.detected, one.p_value is None) for one in kept) == [
        ("form", "K-S p_value", False, False),
        ("grid", "K-S p_value", True, False),
        ("grid", distance, True, True),
    ]
    assert len(monitor.record_drift(EVIDENTLY[shape], "another")) == len(kept)
    assert {one.feature for one in monitor.drift_results("m", detected=True)} == {"grid"}


def test_a_verdict_is_derived_from_evidentlys_threshold_where_no_test_ran(monitor):
    plain = monitor.record_drift(EVIDENTLY["snapshot"], "m")
    tested = monitor.record_drift(EVIDENTLY["snapshot_with_tests"], "m")
    assert [one.detected for one in plain] == [one.detected for one in tested]
    assert [one.statistic for one in plain] == [one.statistic for one in tested]


# evidently 0.7.23, evidently/legacy/calculations/stattests: (name, display name) of each
P_VALUES = [
    ("anderson", "Anderson-Darling"),
    ("chisquare", "chi-square p_value"),
    ("cramer_von_mises", "Cramer-von Mises"),
    ("empirical_mmd", "empirical_mmd"),
    ("es", "Epps-Singleton"),
    ("fisher_exact", "Fisher's Exact test"),
    ("g_test", "g_test"),
    ("ks", "K-S p_value"),
    ("mannw", "Mann-Whitney U-rank test"),
    ("t_test", "t_test"),
    ("TVD", "Total-Variation-Distance"),
    ("z", "Z-test p_value"),
]
DISTANCES = [
    ("abs_text_content_drift", "Absolute text content drift"),
    ("ed", "Energy-distance"),
    ("hellinger", "Hellinger distance"),
    ("jensenshannon", "Jensen-Shannon distance"),
    ("kl_div", "Kullback-Leibler divergence"),
    ("psi", "PSI"),
    ("wasserstein", "Wasserstein distance (normed)"),
]


def evidently_says(method, score=0.9, threshold=0.6, tested=None, columns=("grid",)):
    """A report as Evidently 0.7 makes it, of one method; `tested` is whether its tests failed."""
    metrics = [
        {
            "id": column,
            "metric_name": f"ValueDrift(column={column})",
            "config": {"column": column, "method": method, "threshold": threshold},
            "value": score,
        }
        for column in columns
    ]
    status = "FAIL" if tested else "SUCCESS"
    tests = [] if tested is None else [{"metric_config": {"metric_id": one}, "status": status} for one in columns]
    return {"metrics": metrics, "tests": tests}


@pytest.mark.parametrize("method", [name for pair in P_VALUES for name in pair])
def test_evidentlys_p_values_are_drift_below_the_threshold(monitor, method):
    (kept,) = monitor.record_drift(evidently_says(method, 0.9), "m")
    assert (kept.p_value, kept.statistic, kept.detected) == (0.9, None, False)
    assert monitor.record_drift(evidently_says(method, 0.5), "m")[0].detected


@pytest.mark.parametrize("method", [name for pair in DISTANCES for name in pair])
def test_evidentlys_distances_are_drift_from_the_threshold_on(monitor, method):
    (kept,) = monitor.record_drift(evidently_says(method, 0.9), "m")
    assert (kept.p_value, kept.statistic, kept.detected) == (None, 0.9, True)
    assert not monitor.record_drift(evidently_says(method, 0.5), "m")[0].detected


@pytest.mark.parametrize("method", ["perc_text_content_drift", "Percentile text content drift"])
def test_a_percentile_of_what_chance_scores_is_no_threshold_of_the_score(monitor, method):
    with pytest.raises(InvalidRecordError, match=r"for 'grid', .*include_tests=True"):
        monitor.record_drift(evidently_says(method, 0.7, 0.95), "m")
    (kept,) = monitor.record_drift(evidently_says(method, 0.7, 0.95, tested=True), "m")
    assert (kept.statistic, kept.threshold, kept.detected) == (0.7, None, True)
    assert kept.metadata == {"source": "evidently", "percentile": 0.95}
    assert monitor.record_drift(evidently_says(method, 0.7, 0.95), "m", threshold=0.6)[0].detected


def test_a_method_nobody_knows_takes_the_callers_verdict(monitor):
    (kept,) = monitor.record_drift(evidently_says("mine"), "m", detected=False)
    assert (kept.method, kept.statistic, kept.detected) == ("mine", 0.9, False)


def test_a_threshold_of_the_caller_goes_before_the_results_own_verdict(monitor):
    tested = evidently_says("psi", 0.9, 0.6, tested=True)
    assert monitor.record_drift(tested, "m")[0].detected
    (kept,) = monitor.record_drift(tested, "m", threshold=0.95)
    assert (kept.threshold, kept.detected) == (0.95, False)
    assert monitor.record_drift(tested, "m", threshold=0.95, detected=True)[0].detected
    mapping = {"feature": "grid", "p_value": 0.02, "threshold": 0.05, "detected": True}
    assert not monitor.record_drift(mapping, "m", threshold=0.01)[0].detected
    assert monitor.record_drift({"feature": "grid", "detected": True}, "m", threshold=0.01)[0].detected


@pytest.mark.parametrize("given", [{"detected": True}, {"feature": "grid"}])
def test_one_verdict_or_feature_for_several_is_refused(monitor, given):
    with pytest.raises(InvalidRecordError, match="of 2 features") as refused:
        monitor.record_drift(evidently_says("psi", columns=("grid", "form")), "m", **given)
    assert refused.value.field in given
    assert monitor.drift_results() == []


def test_numpys_bools_are_flags(monitor):
    for verdict in (np.True_, np.float64(0.5) < 0.1):
        (kept,) = monitor.record_drift({"feature": "grid", "detected": verdict}, "m")
        assert kept.detected is bool(verdict)
    for looks_like_one in (1, 0.0, "True", np.int64(1), None):
        with pytest.raises(InvalidRecordError):
            monitor.record_drift({"feature": "grid", "detected": looks_like_one}, "m")


def test_what_is_kept_comes_back_with_its_times(monitor):
    several = [f"column-{number}" for number in range(1_001)]
    kept = monitor.record_drift(evidently_says("psi", columns=several), "m")
    assert [one.feature for one in kept] == several
    assert sorted(kept, key=lambda one: one.cursor, reverse=True) == monitor.drift_results(limit=None)
    ranked = monitor.record_importances("m", {"grid": 0.5, "form": 0.25})
    assert {(one.at, one.recorded_at, one.at_given) for one in [*kept, *ranked]} == {(MONDAY, MONDAY, False)}
    assert [monitor.latest_importances("m")[one.feature] for one in ranked] == ranked


@pytest.mark.parametrize(
    ("result", "arguments", "field"),
    [
        ({"feature": "grid", "detected": True}, {}, "model_version"),
        ({"model_version": "m", "detected": True}, {}, "feature"),
        (3.5, {"model_version": "m", "feature": "grid"}, "detected"),
        ({"feature": "grid", "p_value": 0.5}, {"model_version": "m"}, "detected"),
        ({"feature": "grid", "p_value": float("nan"), "threshold": 0.1}, {"model_version": "m"}, "p_value"),
        (float("nan"), {"model_version": "m", "feature": "g", "detected": True}, "result"),
        ("drifted", {"model_version": "m"}, "result"),
        (None, {"model_version": "m"}, "result"),
        ({"metrics": []}, {"model_version": "m"}, "result"),
        (
            {"metrics": [{"metric_name": "ValueDrift(x)", "config": {"column": "a", "method": "mine"}, "value": 1}]},
            {"model_version": "m"},
            "method",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused_and_nothing_kept(monitor, result, arguments, field):
    with pytest.raises(InvalidRecordError) as refused:
        monitor.record_drift(result, **arguments)
    assert refused.value.field == field
    assert monitor.drift_results() == []


def test_an_unknown_field_of_a_mapping_is_refused(monitor):
    with pytest.raises(InvalidRecordError, match="colour"):
        monitor.record_drift({"feature": "grid", "detected": True, "colour": "red"}, "m")


def test_recent_results_by_feature_and_the_detected_ones(monitor):
    for day in range(6):
        monitor.record_drift(day / 10, "m", "grid" if day % 2 else "form", threshold=0.3, at=MONDAY - day * DAY)
    recent = monitor.drift_results("m", "grid", limit=2)
    assert [one.at for one in recent] == [MONDAY - DAY, MONDAY - 3 * DAY]
    assert {one.at for one in monitor.drift_results(detected=True)} == {MONDAY - n * DAY for n in (3, 4, 5)}
    following = monitor.drift_results("m", "grid", limit=2, after=recent[-1].cursor)
    assert [one.at for one in following] == [MONDAY - 5 * DAY]
    assert all(isinstance(one, DriftResult) for one in recent)


def test_importances_are_ranked_and_the_latest_of_each_feature_is_found(monitor):
    monitor.record_importances("m", {"grid": 0.5, "form": -0.7, "age": 0.5}, method="shap", at=MONDAY - 2 * DAY)
    monitor.record_importances("m", {"grid": 0.9, "form": 0.1}, method="shap", at=MONDAY - DAY)
    monitor.record_importances("m", {"grid": 77.0}, method="gain", at=MONDAY)
    shap = monitor.importance_trend("m", "grid", method="shap")
    assert [(one.importance, one.rank) for one in shap] == [(0.5, 2), (0.9, 1)]
    latest = monitor.latest_importances("m", method="shap")
    assert {feature: one.importance for feature, one in latest.items()} == {"grid": 0.9, "age": 0.5, "form": 0.1}
    assert list(latest) == ["grid", "age", "form"]
    assert monitor.latest_importances("m")["grid"].importance == 77.0
    assert monitor.latest_importances("m", until=MONDAY - DAY)["form"].rank == 1
    assert monitor.latest_importances("nobody") == {}


def test_importances_of_nothing_are_refused(monitor):
    with pytest.raises(InvalidRecordError):
        monitor.record_importances("m", {})
    with pytest.raises(InvalidRecordError):
        monitor.record_importances("m", {"grid": 0.5, "form": float("nan")})
    assert monitor.latest_importances("m") == {}
