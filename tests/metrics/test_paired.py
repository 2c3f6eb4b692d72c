"""Two models on common items: McNemar's and Newcombe's numbers, and no verdict while labels are late."""

import asyncio
from datetime import UTC, datetime, timedelta

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference
from statsmodels.stats.proportion import proportion_confint

from f1mon_core import AsyncMonitor, InvalidQueryError, Monitor
from f1mon_core.metrics.intervals import paired_difference
from f1mon_core.metrics.paired import mcnemar

from ..oracle import expected_metrics

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def method_10(both, first_only, second_only, neither):
    """Newcombe's method 10 by numpy, of arrays: the first's proportion minus the second's."""
    both, first_only, second_only, neither = (
        np.asarray(one, dtype=float) for one in (both, first_only, second_only, neither)
    )
    n = both + first_only + second_only + neither
    p1, p2 = (both + first_only) / n, (both + second_only) / n
    l1, u1 = proportion_confint(both + first_only, n, method="wilson")
    l2, u2 = proportion_confint(both + second_only, n, method="wilson")
    a = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    b = both * neither - first_only * second_only
    c = np.where(b > n / 2, b - n / 2, np.where(b >= 0, 0.0, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.where(a > 0, c / np.sqrt(a), 0.0)
    down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    up = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    return p1 - p2 - np.sqrt(np.maximum(down, 0)), p1 - p2 + np.sqrt(np.maximum(up, 0))


counts = st.integers(0, 5_000)


@given(st.tuples(counts, counts, counts, counts))
def test_the_paired_interval_is_an_independent_implementations(table):
    if sum(table):
        low, high = paired_difference(*table)
        expected = method_10(*table)
        assert (low, high) == pytest.approx((max(-1, expected[0]), min(1, expected[1])), rel=1e-12, abs=1e-12)


def test_the_paired_interval_is_the_one_that_was_published():
    """R. G. Newcombe (1998), table II: 36, 12, 2, 0 by method 10."""
    assert paired_difference(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@pytest.mark.parametrize(("n", "shares"), [(60, (0.6, 0.2, 0.1, 0.1)), (400, (0.85, 0.06, 0.04, 0.05))])
def test_the_paired_interval_covers_what_it_promises(n, shares):
    tables = np.random.default_rng(3).multinomial(n, shares, size=20_000)
    low, high = method_10(*tables.T)
    covered = np.mean((low <= shares[1] - shares[2]) & (shares[1] - shares[2] <= high))
    assert 0.94 < covered < 0.975


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_statsmodels(first_only, second_only):
    exact, mid = mcnemar(first_only, second_only)
    expected = reference([[7, first_only], [second_only, 3]], exact=True).pvalue if first_only + second_only else 1.0
    assert exact == pytest.approx(expected, rel=1e-10)
    least, n = min(first_only, second_only), first_only + second_only
    if n:
        assert mid == pytest.approx(min(1.0, 2 * stats.binom.cdf(least, n, 0.5) - stats.binom.pmf(least, n, 0.5)))


def test_mcnemar_holds_at_a_million_pairs():
    for least in (499_000, 500_000, 1_000):
        exact, mid = mcnemar(least, 1_000_000 - least)
        assert exact == pytest.approx(min(1.0, 2 * stats.binom.cdf(least, 10**6, 0.5)), rel=1e-8)
        assert 0 <= mid <= exact <= 1


def season(items=10_000, first=0.80, second=0.82, seed=7):
    """A champion and a challenger that answered the same items, and some that only one answered."""
    chance = np.random.default_rng(seed)
    truth = chance.random(items) < 0.4
    answers = {
        name: np.where(chance.random(items) < share, truth, ~truth) for name, share in (("a", first), ("b", second))
    }
    return truth.astype(int), {name: given.astype(int) for name, given in answers.items()}


def recorded(monitor_type, truth, answers, known=None):
    monitor = monitor_type.open("memory", clock=lambda: NOW)
    rows = [
        {"prediction_id": f"p-{n}", "model_version": name, "predicted_outcome": int(given[n]), "confidence": 0.8,
         "at": NOW - 60 * DAY + n * timedelta(minutes=1)}
        for name, given in answers.items() for n in range(len(truth))
    ]  # fmt: skip
    rows += [{**row, "prediction_id": f"only-{row['model_version']}-{n}"} for n, row in enumerate(rows[::50])]
    outcomes = [
        (f"p-{n}", int(one), NOW - 45 * DAY if known is None else known[n])
        for n, one in enumerate(truth)
        if known is None or known[n] <= NOW
    ]
    return monitor, rows, outcomes


def test_both_metrics_of_ten_thousand_common_items_are_right():
    truth, answers = season()
    monitor, rows, outcomes = recorded(Monitor, truth, answers)
    monitor.record_predictions(rows)
    monitor.record_outcomes(outcomes)
    found = monitor.compare("a", "b", paired=True)
    right = {name: given == truth for name, given in answers.items()}
    a, b = right["a"], right["b"]
    table = [int(np.sum(one)) for one in (a & b, a & ~b, ~a & b, ~a & ~b)]
    assert [found.both_right, found.first_only, found.second_only, found.both_wrong] == table
    assert (found.items, found.labelled, found.coverage) == (10_000, 10_000, 1.0)
    for side, name in ((found.first, "a"), (found.second, "b")):
        expected = expected_metrics(
            [(int(one), 0.8, int(actual)) for one, actual in zip(answers[name], truth, strict=True)]
        )
        for metric in ("accuracy", "precision", "recall", "f1_score", "f1_score_macro"):
            assert side[metric].value == pytest.approx(expected[metric], rel=1e-12), metric
        assert side["roc_auc"].reason.startswith("of the second model only")
    assert found.exact_p_value == pytest.approx(reference(np.reshape(table, (2, 2)), exact=True).pvalue, rel=1e-9)
    low, high = method_10(*table)
    assert (found.difference.low, found.difference.high) == pytest.approx((-high, -low), rel=1e-12)
    assert found.verdict == "second"
    assert str(found).endswith("b is better")
    mirrored = monitor.compare("b", "a", paired=True)
    assert mirrored.verdict == "first"
    assert mirrored.p_value == found.p_value
    assert mirrored.difference.value == -found.difference.value
    assert found.to_dict()["coverage"] == 1.0


def test_two_equal_models_with_the_labels_of_one_class_late_get_no_verdict():
    """One errs on either class alone: while the labels of one class are out, one of the two looks perfect."""
    chance = np.random.default_rng(5)
    truth = (chance.random(3_000) < 0.5).astype(int)
    wrong = chance.random(3_000) < 0.3
    answers = {"a": np.where(wrong & (truth == 1), 0, truth), "b": np.where(wrong & (truth == 0), 1, truth)}
    late = [NOW + DAY if one and number % 3 else NOW - 50 * DAY for number, one in enumerate(truth)]
    monitor, rows, outcomes = recorded(Monitor, truth, answers, late)
    monitor.record_predictions(rows)
    monitor.record_outcomes(outcomes)
    found = monitor.compare("a", "b", paired=True)
    assert found.p_value < 1e-9
    assert found.coverage < 0.9
    assert found.verdict is None
    assert "no verdict: " in str(found)
    assert found.no_verdict in str(found)
    assert monitor.compare("a", "b", paired=True, min_coverage=0.5).verdict == "first"


def test_only_matured_items_count_unless_asked_otherwise():
    truth, answers = season(200)
    monitor, rows, outcomes = recorded(Monitor, truth, answers)
    monitor.record_predictions(rows)
    monitor.record_outcomes(outcomes)
    young = {"predicted_outcome": 1, "confidence": 0.8, "at": NOW - DAY}
    monitor.record_predictions({"prediction_id": "young", "model_version": name, **young} for name in "ab")
    assert monitor.compare("a", "b", paired=True).items == 200
    assert monitor.compare("a", "b", paired=True).horizon >= DAY
    assert monitor.compare("a", "b", paired=True, last=40 * DAY).items == 0
    assert monitor.compare("a", "b", paired=True, last=50 * DAY).items == 200
    assert monitor.compare("a", "b", paired=True, basis="prediction").items == 201
    assert monitor.compare("a", "b", paired=True, horizon=timedelta(hours=1)).items == 201
    assert monitor.compare("a", "b", paired=True, last=2 * DAY, basis="prediction").items == 1
    assert monitor.compare("a", "b", paired=True, basis="prediction", as_of=NOW - 50 * DAY).labelled == 0


def test_a_store_that_leaves_pairs_out_is_read(monkeypatch):
    """An older backend answers a tally beside another model as one without; `find` has the rest."""
    truth, answers = season(300)
    monitor, rows, outcomes = recorded(Monitor, truth, answers)
    monitor.record_predictions(rows)
    monitor.record_outcomes(outcomes)
    asked = [{}, {"basis": "prediction"}, {"basis": "prediction", "until": NOW - 60 * DAY + timedelta(hours=2)},
             {"horizon": 59 * DAY + timedelta(hours=21)}]  # fmt: skip
    expected = [monitor.compare("a", "b", paired=True, **options) for options in asked]
    assert [one.items for one in expected] == [300, 300, 120, 181]
    whole = type(monitor.storage).tally

    def unaware(storage, query):
        return whole(storage, attrs.evolve(query, beside=None))

    monkeypatch.setattr(type(monitor.storage), "tally", unaware)
    monkeypatch.setattr("f1mon_core.metrics.rows._PAGE", 70)
    assert [monitor.compare("a", "b", paired=True, **options) for options in asked] == expected


def test_an_async_monitor_answers_the_same():
    asyncio.run(_answers_the_same())


async def _answers_the_same():
    truth, answers = season(300)
    monitor, rows, outcomes = recorded(Monitor, truth, answers)
    monitor.record_predictions(rows)
    monitor.record_outcomes(outcomes)
    async with await AsyncMonitor.open("memory", clock=lambda: NOW) as other:
        await other.record_predictions(rows)
        await other.record_outcomes(outcomes)
        assert await other.compare("a", "b", paired=True) == monitor.compare("a", "b", paired=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"basis": "outcome"}, "by outcome time every item is labelled"),
        ({"by": "country"}, "not told apart"),
        ({"min_coverage": 2}, "min_coverage"),
        ({"version_b": "a"}, "twice"),
    ],
)
def test_what_cannot_be_paired_is_refused(options, said):
    with pytest.raises(InvalidQueryError, match=said):
        Monitor.open("memory").compare("a", paired=True, **{"version_b": "b", **options})


def test_nothing_in_common_is_no_verdict():
    found = Monitor.open("memory").compare("a", "b", paired=True)
    assert (found.items, found.verdict, found.no_verdict) == (0, None, "no item was predicted by both")
    assert found.difference.value is None
