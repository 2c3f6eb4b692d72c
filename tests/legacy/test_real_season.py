"""Twelve seasons of the old system: its files adopted, every outcome recorded, the accuracy true, on both backends."""

import csv
import json
import os
import shutil
import tempfile
from collections import defaultdict
from itertools import product
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score

from f1mon_core.legacy import AlertingSystem, ModelPerformanceTracker

pytestmark = pytest.mark.seasons

EMBEDDED = ("jsonl", "sqlite")
ALL = 60 * 24 * 366 * 20
MODELS = ("podium-gb-2", "podium-lr-1")


@pytest.fixture(scope="module")
def played(shared_data, tmp_path_factory, deploy):
    """What each backend answers once every outcome is recorded by a durable call of its own; worked out once."""
    answers: dict[str, dict[str, object]] = {}
    # The 10,700 commits of each backend need not wait for a disk: what a sync keeps is shown elsewhere.
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(dir=memory)) if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("played")

    def answer(backend: str) -> dict[str, object]:
        if backend not in answers:
            answers[backend] = _played(deploy, backend, base / backend, shared_data)
        return answers[backend]

    yield answer
    shutil.rmtree(base)


def _played(deploy, backend: str, directory: Path, shared_data: Path) -> dict[str, object]:
    shutil.copytree(shared_data / "legacy", directory / "monitoring")
    deployment = deploy(backend, directory / "monitoring")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployment.environment.items():
            patch.setenv(name, value)
        with AlertingSystem(deployment.data_dir) as alerting:
            found: dict[str, object] = {
                "statistics": alerting.get_alert_statistics(),
                "alerts": [one.to_dict() for one in alerting.get_alerts(limit=None)],
                "rules": [rule.rule_id for rule in alerting.monitor.rules()],
            }
        with ModelPerformanceTracker(deployment.data_dir) as tracker:
            found["unlabelled"] = [tracker.calculate_accuracy(model, ALL) for model in MODELS]
            with (shared_data / "f1_outcomes.csv").open(newline="") as file:
                told = [
                    tracker.record_actual_outcome(row["prediction_id"], int(row["actual_outcome"]))
                    for row in csv.DictReader(file)
                ]
            found["told"] = [one and {k: v for k, v in one.items() if k != "timestamp"} for one in told]
            found["accuracy"] = {model: tracker.calculate_accuracy(model, ALL) for model in MODELS}
            found["metrics"] = {model: tracker.get_performance_metrics(model, ALL) for model in MODELS}
            found["calibration"] = {model: tracker.calculate_calibration_metrics(model) for model in MODELS}
            found["snapshots"] = [one.to_dict() for one in tracker.get_recent_health_snapshots(limit=None)]
    found["bytes"] = {
        path.name: (deployment.data_dir / path.name).read_bytes() for path in (shared_data / "legacy").iterdir()
    }
    return found


@pytest.fixture(params=EMBEDDED)
def answers(request, played):
    return played(request.param)


def old_lines(shared_data: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (shared_data / "legacy" / name).read_text().splitlines()]


def test_all_51_alerts_are_there_and_17_of_them_acknowledged(answers, shared_data):
    old = old_lines(shared_data, "alerts.jsonl")
    assert answers["statistics"]["total_alerts"] == len(old) == 51
    assert answers["statistics"]["unacknowledged"] == 34
    assert len({one["alert_id"] for one in answers["alerts"]}) == 51

    def said(alert):
        return sorted((name, str(value)) for name, value in alert.items() if name != "alert_id")

    assert sorted(map(said, answers["alerts"])) == sorted(map(said, old))
    assert answers["rules"] == ["accuracy-critical", "accuracy-low", "ece-high"]


def test_accuracy_is_what_scikit_learn_says_of_the_two_files_for_each_model(answers, shared_data):
    with (shared_data / "f1_outcomes.csv").open(newline="") as file:
        actual = {row["prediction_id"]: int(row["actual_outcome"]) for row in csv.DictReader(file)}
    pairs = defaultdict(list)
    for line in old_lines(shared_data, "predictions.jsonl"):
        pairs[line["model_version"]].append((actual[line["prediction_id"]], line["predicted_outcome"]))
    expected = {model: accuracy_score(*zip(*pairs[model], strict=True)) for model in MODELS}
    assert answers["unlabelled"] == [None, None]
    assert answers["accuracy"] == expected
    mean_confidence = {model: answers["metrics"][model]["avg_confidence"] for model in MODELS}
    assert all(abs(mean_confidence[model] - expected[model]) > 0.001 for model in MODELS)


def test_every_outcome_was_of_a_known_prediction(answers):
    assert len(answers["told"]) == 10_700
    assert None not in answers["told"]


def test_the_old_files_are_byte_for_byte_what_they_were(answers, shared_data):
    assert answers["bytes"] == {path.name: path.read_bytes() for path in (shared_data / "legacy").iterdir()}


def test_the_backends_agree_exactly_on_all_that_is_counted_and_to_rounding_on_sums(played):
    one, *others = map(played, EMBEDDED)
    for other in others:
        for name in ("statistics", "alerts", "rules", "told", "accuracy", "snapshots"):
            assert one[name] == other[name], name
        for name, model in product(("metrics", "calibration"), MODELS):
            assert flat(one[name][model]) == {
                key: pytest.approx(value, rel=1e-12, abs=1e-12) if isinstance(value, float) else value
                for key, value in flat(other[name][model]).items()
            }


def flat(answer: object, where: str = "") -> dict[str, object]:
    if isinstance(answer, dict):
        return {key: value for name, one in answer.items() for key, value in flat(one, f"{where}.{name}").items()}
    if isinstance(answer, list):
        return {key: value for n, one in enumerate(answer) for key, value in flat(one, f"{where}[{n}]").items()}
    return {where: answer}
