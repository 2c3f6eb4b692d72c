"""The Formula 1 log replayed race by race: what fires is what a straight recomputation of the rules names.

The oracle reads the files itself, knows neither windows, tallies, metrics nor incidents of the library, and is
written the other way round: it first lists every value of a rule, then walks along them.
"""

import csv
import json
import math
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from f1mon_core import open_storage
from f1mon_core.monitor import Monitor

from ..factories import rule

pytestmark = pytest.mark.seasons

DAY = 86_400.0
MINUTES = 24 * 60
AFTER_THE_RACE = 3_600.0

RULES = [
    rule(rule_id="low", threshold=0.85, cooldown_minutes=7 * MINUTES,
         scope="instance", window_minutes=1 * MINUTES),
    rule(rule_id="worse", threshold=0.88, cooldown_minutes=45 * MINUTES,
         scope="instance", window_minutes=60 * MINUTES, escalation={"critical": 0.85}, recover_threshold=0.89),
    rule(rule_id="lasting", threshold=0.92, severity="critical", cooldown_minutes=60 * MINUTES,
         model_version="podium-gb-2", window_minutes=1 * MINUTES, for_minutes=20 * MINUTES, min_samples=21),
    rule(rule_id="sure", threshold=0.9, severity="info", cooldown_minutes=20 * MINUTES,
         scope="instance", window_minutes=60 * MINUTES, gate="interval", keep_firing_minutes=30 * MINUTES),
    rule(rule_id="ece", metric_name="expected_calibration_error", threshold=0.05, comparison=">",
         component="calibration", cooldown_minutes=0, window_minutes=30 * MINUTES),
]  # fmt: skip


class Season:
    """The log as plain rows, and the instants right after each race."""

    def __init__(self, folder):
        with (folder / "f1_outcomes.csv").open(newline="") as lines:
            known = {row["prediction_id"]: row for row in csv.DictReader(lines)}
        self.rows = []
        for line in (folder / "legacy" / "predictions.jsonl").read_text().splitlines():
            made = json.loads(line)
            outcome = known[made["prediction_id"]]
            self.rows.append((made, int(outcome["actual_outcome"]), float(outcome["known_at"])))
        self.evaluations = sorted({known_at + AFTER_THE_RACE for _, _, known_at in self.rows})

    def window(self, model, until, days):
        """`(predicted, confidence, actual)` of what was made in the days up to and including an instant."""
        return [
            (made["predicted_outcome"], made["confidence"], actual)
            for made, actual, known_at in self.rows
            if until - days * DAY < made["timestamp"] <= until
            and known_at <= until
            and model in (None, made["model_version"])
        ]


def accuracy(window):
    return sum(predicted == actual for predicted, _, actual in window) / len(window)


def wilson_high(window):
    p, n, z = accuracy(window), len(window), 1.959963984540054
    return (p + z * z / (2 * n) + z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def calibration_error(window):
    binned = sorted(
        (min(int(confidence * 10), 9), confidence, predicted == actual) for predicted, confidence, actual in window
    )
    error = 0.0
    for _, members in groupby(binned, key=lambda one: one[0]):
        inside = list(members)
        error += abs(sum(right for _, _, right in inside) - sum(confidence for _, confidence, _ in inside))
    return error / len(window)


def fires_low(season, model):
    last = -math.inf
    for until in season.evaluations:
        window = season.window(model, until, 1)
        if window and accuracy(window) < 0.85 and until - last >= 7 * DAY:
            last = until
            yield until, "warning"


def fires_worse(season, model):
    last, last_severity, in_incident = -math.inf, None, set()
    for until in season.evaluations:
        if not (window := season.window(model, until, 60)):
            continue
        value = accuracy(window)
        if value >= 0.89 or (value >= 0.88 and not in_incident):
            in_incident = set()
        if value >= 0.88:
            continue
        severity = "critical" if value < 0.85 else "warning"
        through = severity == "critical" and last_severity == "warning" and "critical" not in in_incident
        if until - last >= 45 * DAY or through:
            last, last_severity = until, severity
            in_incident.add(severity)
            yield until, severity


def fires_lasting(season, model):
    last, since, before = -math.inf, None, None
    firing = False
    for until in season.evaluations:
        window = season.window(model, until, 1)
        if len(window) < 21:
            continue
        if accuracy(window) >= 0.92:
            since, firing = None, False
            continue
        if since is None or (not firing and until - before > 2 * 20 * DAY):
            since = until  # nobody saw what happened in the winter
        before = until
        if (firing or until - since >= 20 * DAY) and until - last >= 60 * DAY:
            last, firing = until, True
            yield until, "critical"


def fires_sure(season, model):
    last = -math.inf
    for until in season.evaluations:
        window = season.window(model, until, 60)
        if window and wilson_high(window) < 0.9 and until - last >= 20 * DAY:
            last = until
            yield until, "info"


def fires_ece(season, model):
    for until in season.evaluations:
        window = season.window(model, until, 30)
        if window and calibration_error(window) > 0.05:
            yield until, "warning"


MODELS = ("podium-gb-2", "podium-lr-1")
EXPECTED = {
    "low": (fires_low, MODELS),
    "worse": (fires_worse, MODELS),
    "lasting": (fires_lasting, ("podium-gb-2",)),
    "sure": (fires_sure, MODELS),
    "ece": (fires_ece, (None,)),
}


def instant(seconds):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def season(shared_data):
    return Season(shared_data)


def storage_at(family, path, clock):
    # The thousands of commits need not wait for a disk: what a sync keeps is shown elsewhere.
    backend, options = {
        "jsonl": ("jsonl", {"path": path, "durability": "os"}),
        "sqlite": ("sql", {"url": f"sqlite:///{path}/f1mon.db", "synchronous": "NORMAL"}),
    }[family]
    return open_storage(backend, clock=clock, **options)


@pytest.fixture(scope="module", params=["jsonl", "sqlite"])
def fired(request, season, tmp_path_factory):
    """What fires when the log comes in race by race, by rule: `(seconds, severity, model)`."""
    now = [season.rows[0][2]]
    storage = storage_at(request.param, tmp_path_factory.mktemp("replay"), lambda: instant(now[0]))
    by_race = groupby(sorted(season.rows, key=lambda row: row[2]), key=lambda row: row[2])
    with Monitor(storage) as monitor:
        for rule in RULES:
            monitor.add_rule(rule)
        for known_at, rows in by_race:
            race = [({**made, "timestamp": instant(made["timestamp"])}, actual) for made, actual, _ in rows]
            now[0] = known_at
            monitor.record_predictions(
                {
                    **{name: value for name, value in made.items() if name != "timestamp"},
                    "at": made["timestamp"],
                }
                for made, _ in race
            )
            monitor.record_outcomes((made["prediction_id"], actual, instant(known_at)) for made, actual in race)
            now[0] = known_at + AFTER_THE_RACE
            monitor.evaluate()
            assert monitor.evaluate(rule_id="low") == []
        alerts = monitor.alerts(descending=False)
    found = {rule.rule_id: [] for rule in RULES}
    for alert in alerts:
        found[alert.rule_id].append((alert.at.timestamp(), alert.severity, alert.model_version))
    return found


@pytest.mark.parametrize("rule_id", [rule.rule_id for rule in RULES])
def test_what_fires_is_what_a_recomputation_names(season, fired, rule_id):
    fires, models = EXPECTED[rule_id]
    expected = sorted((until, severity, model or "all") for model in models for until, severity in fires(season, model))
    assert sorted(fired[rule_id]) == expected
    assert 0 < len(expected) < len(season.evaluations) * len(models)  # neither never nor always
