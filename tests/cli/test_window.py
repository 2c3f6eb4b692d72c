"""The windows of `f1mon status` and `f1mon snapshot`: any length, and also where predictions were pruned."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core.monitor import Monitor

from ..factories import rule

DAY = timedelta(days=1)
PLACE = ("--path", "store")


@pytest.fixture
def now(tmp_path):
    """The present, what is older than 30 days pruned: the model "old" until 40 days ago, "new" for the last 60."""
    present = datetime.now(UTC)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for name, ages in {"old": range(40, 61), "new": range(61)}.items():
            for age in ages:
                at = present - age * DAY - timedelta(minutes=1)
                monitor.record_prediction(f"{name}-{age}", name, 1, 0.9, at=at)
                monitor.record_outcome(f"{name}-{age}", 1, known_at=at + timedelta(seconds=1))
        monitor.storage.prune(present - 30 * DAY)
    return present


def totals(output):
    return {name: one["total"] for name, one in json.loads(output)["models"].items()}


@pytest.mark.usefixtures("now")
def test_models_that_were_pruned_completely_are_still_shown_and_kept(run):
    assert totals(run(*PLACE, "status", "--window", "all", "--json").stdout) == {"new": 61, "old": 21}
    assert totals(run(*PLACE, "status", "--window", "20d", "--json").stdout) == {"new": 20}
    kept = json.loads(run(*PLACE, "snapshot", "--window", "all", "--json").stdout)
    assert [(one["model_version"], one["metrics"]["accuracy"]["total"]) for one in kept] == [("new", 61), ("old", 21)]
    assert totals(run(*PLACE, "status", "--window", "all", "--model-version", "old", "--json").stdout) == {"old": 21}


def test_a_window_that_begins_behind_the_horizon_begins_at_a_full_hour_and_says_so(now, run):
    begin = f"{now - 45 * DAY:%Y-%m-%dT%H:00:00Z}"
    status = run(*PLACE, "status", "--window", "45d", "--json")
    found = json.loads(status.stdout)["models"]
    assert {one["window"]["since"] for one in found.values()} == {begin.replace("Z", "+00:00")}
    assert found["new"]["total"] - found["old"]["total"] == 40  # those of the last 40 days
    assert f"pruned to full hours: since {begin}" in status.stderr
    snapshot = run(*PLACE, "snapshot", "--window", "45d")
    assert [line.split()[0] for line in snapshot.stdout.splitlines()] == ["model", "new", "old"]
    assert [line.split()[-1] for line in snapshot.stdout.splitlines()] == ["degraded", "-", "-"]
    assert f"since {begin}" in snapshot.stderr
    assert "pruned" not in run(*PLACE, "status", "--window", "20d").stderr


def test_a_matured_window_behind_the_horizon_ends_at_a_full_hour(now, run):
    result = run(*PLACE, "snapshot", "--window", "10d", "--horizon", "41d", "--json")
    until = now - 41 * DAY
    assert f"until {until:%Y-%m-%dT%H:00:00Z}" in result.stderr
    assert [one["model_version"] for one in json.loads(result.stdout)] == ["new", "old"]


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize("length", ["9999w", "999999w"])
def test_a_window_longer_than_time_itself_holds_everything(run, length):
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(rule(rule_id="none", metric_name="outcomes", metric_type="no_outcomes", threshold=1))
    assert totals(run(*PLACE, "status", "--window", length, "--json").stdout) == {"new": 61, "old": 21}
    assert len(json.loads(run(*PLACE, "snapshot", "--window", length, "--json").stdout)) == 2
    assert "nothing kept" in run(*PLACE, "snapshot", "--window", "7d", "--horizon", length).stderr
    run(*PLACE, "evaluate", "--window", length)


@pytest.mark.usefixtures("now")
def test_what_is_no_window_is_refused_before_anything_is_kept(run):
    assert "no length of time such as 90m, 24h, 7d, 2w" in run(*PLACE, "snapshot", "--horizon", "all", code=2).stderr
    backwards = run(*PLACE, "snapshot", "--baseline", "2026-05-02", "2026-05-01", code=2)
    assert "lies after its until" in backwards.stderr
    with Monitor.open("jsonl", path="store") as monitor:
        assert monitor.health() == []


@pytest.mark.usefixtures("now")
def test_there_is_no_verdict_without_a_baseline(run):
    lines = run(*PLACE, "snapshot", "--window", "all").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["degraded", "-", "-"]
    lines = run(*PLACE, "snapshot", "--window", "10d").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["degraded", "no"]
