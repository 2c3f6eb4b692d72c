"""`f1mon drift` says what moved, keeps it for the rules, and ends with 3."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import AlertRule, Monitor

DAY = timedelta(days=1)
PLACE = ("--path", "store")


@pytest.fixture
def store(tmp_path):
    """A fortnight of two models in `store`; in the second week the grid of `moved` is another."""
    present, generator = datetime.now(UTC), random.Random(1)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        monitor.record_predictions(
            {
                "prediction_id": f"{model}-{number}",
                "model_version": model,
                "predicted_outcome": number % 2,
                "confidence": generator.uniform(0.5, 1),
                "features": {"grid": generator.gauss(3 if model == "moved" and number < 140 else 0, 1)},
                "at": present - DAY * (0.05 + number / 20),
            }
            for model in ("moved", "same")
            for number in range(279)
        )
        monitor.record_reference("same", {"grid": [generator.gauss(0, 1) for _ in range(500)]})
        monitor.add_rule(AlertRule("drift", "drifted_features", "threshold", 1, ">=", "warning", "data"))


@pytest.mark.usefixtures("store")
def test_what_moved_is_said_kept_and_the_exit_code(run):
    shown = run(*PLACE, "drift", code=3)
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [(row[0], row[1], row[2], row[3]) for row in rows[1:]] == [
        ("moved", "predicted_outcome", "no", "chi2"),
        ("moved", "confidence", "no", "chi2"),
        ("moved", "grid", "yes", "ks"),
        ("same", "predicted_outcome", "no", "chi2"),
        ("same", "confidence", "no", "chi2"),
        ("same", "grid", "no", "ks"),
    ]
    assert "1 of 3 features drifted: grid (Holm over 3 tests, alpha 0.05)" in shown.stderr
    assert "moved: 3 results kept" in shown.stderr
    assert run(*PLACE, "-q", "evaluate", code=3).stdout.count("drifted_features") == 1


@pytest.mark.usefixtures("store")
def test_only_what_is_asked_for(run):
    (found,) = json.loads(run(*PLACE, "drift", "--json", "--model-version", "moved", "--exit-zero").stdout)
    assert (found["drifted"], len(found["kept"]), found["read"]) == (["grid"], 3, 279)
    (found,) = json.loads(run(*PLACE, "drift", "--json", "--model-version", "moved", "--answers").stdout)
    assert (found["drifted"], found["read"], found["looks"]) == ([], 0, 2)
    dry = run(*PLACE, "drift", "--dry-run", "--feature", "grid", code=3)
    assert "kept" not in dry.stderr
    before, after = (f"{datetime.now(UTC) - days * DAY:%Y-%m-%d}" for days in (13, 8))
    shown = run(*PLACE, "drift", "--model-version", "same", "--window", "3d", "--baseline", before, after)
    assert f"against [{before} 00:00, {after} 00:00) UTC" in shown.stderr


@pytest.mark.usefixtures("store")
def test_a_model_without_the_reference_stops_no_other(run):
    shown = run(*PLACE, "drift", "--reference", "training", code=1)
    assert "warning: moved: no reference 'training' of 'moved' is stored" in shown.stderr
    assert [line.split()[:4] for line in shown.stdout.splitlines()[1:]] == [["same", "grid", "no", "ks"]]
    assert "predictions left out: a stored reference holds features alone" in shown.stderr


@pytest.mark.usefixtures("store")
def test_what_contradicts_itself_is_refused(run):
    assert "--answers reads no feature" in run(*PLACE, "drift", "--answers", "--feature", "x", code=2).stderr
    assert "two ways to say against what" in run(
        *PLACE, "drift", "--reference", "x", "--baseline", "2026-01-01", "2026-01-02", code=2
    ).stderr  # fmt: skip
    whole = run(*PLACE, "drift", "--window", "all", code=2)
    assert "drift needs a reference=" in whole.stderr
    assert "nothing was compared" not in whole.stderr


@pytest.mark.usefixtures("store")
def test_a_window_of_nothing_is_said(run):
    assert "nothing was compared" in run(*PLACE, "drift", "--window", "1m").stderr
    untested = run(*PLACE, "-q", "drift", "--window", "3d", "--baseline", "2020-01-01", "2020-01-02")
    assert untested.stderr.count("nothing could be tested") == 2


@pytest.mark.usefixtures("store")
def test_a_training_file_is_kept_listed_held_against_and_removed(run, tmp_path):
    generator = random.Random(2)
    rows = [f"{generator.gauss(0, 1)},{generator.choice('xy')},00{number % 3}" for number in range(300)]
    (tmp_path / "train.csv").write_text("\n".join(["grid,tyre,code", *rows, ",,"]))
    kept = run(*PLACE, "reference", "add", "moved", "train.csv", "--text", "tyre")
    assert "reference training of moved: 301 rows, 3 features" in kept.stderr
    listed = json.loads(run(*PLACE, "reference", "list", "--json").stdout)
    (told,) = (one for one in listed if one["model_version"] == "moved")
    assert told["features"] == {"grid": "number", "tyre": "category", "code": "category"}
    (found,) = json.loads(
        run(*PLACE, "drift", "--model-version", "moved", "--reference", "training", "--json", code=3).stdout
    )
    assert "grid" in found["drifted"]
    again = run(*PLACE, "reference", "add", "moved", "train.csv", "--feature", "grid", "--name", "g")
    assert "reference g of moved: 301 rows, 1 features" in again.stderr
    merged = run(*PLACE, "reference", "add", "moved", "train.csv", "--feature", "grid", "--name", "g", "--merge")
    assert "602 rows" in merged.stderr
    refused = run(*PLACE, "reference", "add", "moved", "train.csv", "--feature", "grd", code=2)
    assert "train.csv has no column 'grd'; did you mean 'grid'?" in refused.stderr
    (tmp_path / "broken.jsonl").write_text('{"grid": 1}\nno json\n')
    assert "broken.jsonl, line 2" in run(*PLACE, "reference", "add", "moved", "broken.jsonl", code=1).stderr
    assert run(*PLACE, "reference", "list").stdout.count("moved") == 2
    run(*PLACE, "reference", "remove", "moved", "--name", "g")
    assert "no reference 'g'" in run(*PLACE, "reference", "remove", "moved", "--name", "g", code=1).stderr
