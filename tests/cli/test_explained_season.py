"""`f1mon evaluate --explain` on the Formula 1 log says what the documentation prints."""

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from f1mon_core import AlertRule, Monitor

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
RULES = [
    AlertRule("accuracy-low", "accuracy", "threshold", 0.905, "<", "warning", "performance"),
    AlertRule("accuracy-surely-low", "accuracy", "threshold", 0.905, "<", "warning", "performance", gate="interval"),
    AlertRule("overconfident", "expected_calibration_error", "threshold", 0.01, ">", "warning", "calibration",
              scope="rule", for_minutes=60),
    AlertRule("pit-stops", "acuracy", "threshold", 0.5, "<", "warning", "performance", scope="rule"),
]  # fmt: skip


def cells(line):
    """The columns of a line, but for when it was evaluated."""
    return re.split(r" {2,}", line.strip())[:-1]


def test_the_formula_1_log_is_explained_as_the_documentation_prints_it(run, shared_data):
    with (shared_data / "f1_outcomes.csv").open(newline="") as lines:
        known = {row["prediction_id"]: row for row in csv.DictReader(lines)}
    log = (shared_data / "legacy" / "predictions.jsonl").read_text().splitlines()
    made = [json.loads(line) for line in log]
    with Monitor.open("jsonl", path="store", durability="os") as monitor:
        monitor.record_predictions(
            {**{name: value for name, value in one.items() if name != "timestamp"}, "at": at(one["timestamp"])}
            for one in made
        )
        monitor.record_outcomes((key, int(row["actual_outcome"]), at(row["known_at"])) for key, row in known.items())
        for rule in RULES:
            monitor.add_rule(rule)
    told = run("--path", "store", "evaluate", "--window", "20000d", "--explain", code=3)
    assert "pit-stops: metric_name: 'acuracy' is neither computed nor recorded so far; did you mean 'accuracy'?" in (
        told.stderr
    )
    explained = told.stdout[told.stdout.index("rule  ") :].splitlines()
    printed = [line for line in PAGE.read_text().splitlines() if line.startswith("    ") and line.endswith("Z")]
    assert [cells(line) for line in explained[1:]] == [cells(line) for line in printed]
    assert len(printed) == 6


def at(seconds):
    return datetime.fromtimestamp(float(seconds), UTC)
