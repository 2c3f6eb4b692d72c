"""`f1mon snapshot` computes, keeps, and judges."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core.monitor import Monitor

DAY = timedelta(days=1)
PLACE = ("--path", "store")


@pytest.fixture
def now(tmp_path):
    """The present, with a fortnight of predictions before it in `store`: 90 % right in the first week, then 50 %."""
    present = datetime.now(UTC)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        ages = [DAY * (day + 1 / 2) for day in range(14) for _ in range(40)]
        rows = [
            {"prediction_id": str(i), "model_version": "m", "predicted_outcome": 1, "confidence": 0.9}
            for i in range(len(ages))
        ]
        monitor.record_predictions({**row, "at": present - age} for row, age in zip(rows, ages, strict=True))
        monitor.record_outcomes(
            (str(i), int(i % 10 < (5 if age < 7 * DAY else 9)), present - age + timedelta(hours=1))
            for i, age in enumerate(ages)
        )
    return present


@pytest.mark.usefixtures("now")
def test_a_worse_week_is_degraded_and_kept(run):
    table = run(*PLACE, "snapshot", "--window", "7d")
    assert table.stdout.splitlines()[1].split() == ["m", "280", "of", "280", "100.0%", "0.500", "0.442", "-", "0.558",
                                                    "-", "yes"]  # fmt: skip
    assert "m: kept " in table.stderr
    (again,) = json.loads(run(*PLACE, "snapshot", "--window", "7d", "--json").stdout)
    assert (again["degradation_detected"], again["trend"]) == (True, 0.0)
    assert again["metrics"]["accuracy"]["labelled"] == 280
    with Monitor.open("jsonl", path="store") as monitor:
        assert [one.degradation_detected for one in monitor.health("m")] == [True, True]


def test_a_horizon_moves_the_window_and_a_baseline_is_named(now, run):
    since, until = (f"{now - age:%Y-%m-%dT%H:%M:%S%z}" for age in (7 * DAY, 0 * DAY))
    (kept,) = json.loads(
        run(*PLACE, "snapshot", "--window", "7d", "--horizon", "7d", "--baseline", since, until, "--json").stdout
    )
    assert kept["metrics"]["accuracy"]["value"] == 0.9
    assert kept["degradation_detected"] is False
    degradation = kept["metadata"]["f1mon"]["degradation"]
    assert degradation["baseline"]["value"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.usefixtures("now")
def test_nothing_in_the_window_keeps_nothing(run):
    assert "nothing kept" in run(*PLACE, "snapshot", "--window", "5m").stderr
    assert json.loads(run(*PLACE, "snapshot", "--window", "5m", "--json").stdout) == []
    (empty,) = json.loads(run(*PLACE, "snapshot", "--window", "5m", "--model-version", "m", "--json").stdout)
    assert empty["metrics"]["accuracy"]["reason"] == "no predictions"
