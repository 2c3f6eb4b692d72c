"""Metrics too dear for a large window: named on stderr, and computed with `--exact`."""

import json

import pytest

from f1mon_core.metrics import performance
from f1mon_core.monitor import Monitor

PLACE = ("--path", "store")
SAID = "left out, dear in so large a window: log_loss, roc_auc (--exact computes them)"


@pytest.fixture(autouse=True)
def _two_models(tmp_path, monkeypatch):
    """Twelve predictions of each of two models, more than a small window has here."""
    monkeypatch.setattr(performance, "SMALL_WINDOW", 10)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for model in ("m", "n"):
            for number in range(12):
                monitor.record_prediction(f"{model}-{number}", model, number % 2, 0.6 + number / 100)
                monitor.record_outcome(f"{model}-{number}", int(number % 3 == 0))


def test_compare_shows_the_bounds_and_with_exact_the_value(run):
    shown = run(*PLACE, "compare", "m", "n")
    assert SAID in shown.stderr
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("roc_auc")]
    assert " to " in line
    exact = run(*PLACE, "compare", "m", "n", "--exact")
    assert "left out" not in exact.stderr
    (line,) = [line for line in exact.stdout.splitlines() if line.startswith("roc_auc")]
    assert " to " not in line


@pytest.mark.parametrize("exact", [False, True])
def test_json_lists_them(run, exact):
    flags = ("--exact",) if exact else ()
    told = run(*PLACE, "status", "--json", *flags)
    (m, n) = json.loads(told.stdout)["models"].values()
    assert set(m["left_out"]) == set(n["left_out"]) == (set() if exact else {"log_loss", "roc_auc"})
    assert (SAID in told.stderr) is not exact


def test_a_snapshot_says_it_too(run):
    assert SAID in run(*PLACE, "snapshot").stderr
    assert "left out" not in run(*PLACE, "snapshot", "--exact").stderr
