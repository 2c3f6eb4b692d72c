"""What was recorded and can hardly be meant is told by `data_doubts`, `status` and `check`; what can be, is not."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import CorruptStoreError, Monitor
from f1mon_core.cli import f1mon

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def monitor():
    with Monitor.open("memory", clock=lambda: NOON) as opened:
        yield opened


def told(monitor, about, *arguments, **options):
    return [(one.where, one.count, one.of) for one in monitor.data_doubts(*arguments, **options) if one.about == about]


def predict(monitor, confidences, label=lambda n: n % 2, model="m", at=lambda n: NOON - 10 * DAY + n * HOUR):
    monitor.record_predictions(
        {
            "prediction_id": f"p{number}",
            "model_version": model,
            "predicted_outcome": label(number),
            "confidence": confidence,
            "at": at(number),
        }
        for number, confidence in enumerate(confidences)
    )


@pytest.mark.parametrize(
    ("confidences", "label", "count"),
    [
        ([0.1, 0.9] * 10, lambda n: n % 2, 10),
        ([0.4, 0.4, 0.4] + [0.9] * 17, lambda n: n % 2, 3),
        ([0.4, 0.4] + [0.9] * 18, lambda n: n % 2, 0),  # a tenth and no more: some thresholds are not one half
        ([0.5, 0.9] * 10, lambda n: n % 2, 0),
        ([0.1, 0.9] * 10, lambda n: ("well", "ill")[n % 2], 10),
        ([0.1, 0.9] * 10, lambda n: n % 3, 0),  # of three classes any confidence may be
        ([0.1, 0.9] * 10, lambda n: 1, 0),  # nobody knows yet how many classes there are
    ],
)
def test_confidences_below_one_half_of_a_model_of_two_classes_are_asked_about(monitor, confidences, label, count):
    predict(monitor, confidences, label)
    assert told(monitor, "probability") == ([("model m", count, 20)] if count else [])


def test_the_second_class_may_be_one_that_only_came_true(monitor):
    predict(monitor, [0.1] * 10, lambda n: 1)
    monitor.record_outcome("p0", 0)
    assert told(monitor, "probability") == [("model m", 10, 10)]
    assert told(monitor, "probability", "other") == []
    assert told(monitor, "probability", since=NOON) == []


def test_labels_of_two_types_are_told(monitor):
    predict(monitor, [0.9] * 4)
    assert told(monitor, "label_types") == []
    monitor.record_outcome("p0", "1")
    assert told(monitor, "label_types") == [("model m", 4, 4)]


def test_outcomes_known_before_their_prediction_are_told_and_those_of_a_day_before_apart(monitor):
    predict(monitor, [0.9] * 5, at=lambda n: NOON)
    for number, before in enumerate((timedelta(0), timedelta(microseconds=1), DAY, DAY + timedelta(microseconds=1))):
        monitor.record_outcome(f"p{number}", 1, known_at=NOON - before)
    assert told(monitor, "early_outcomes") == [("model m", 3, 4)]
    assert told(monitor, "prelabelled") == [("model m", 1, 4)]
    delay = monitor.label_delay()
    assert (delay.labelled, delay.pending) == (3, 1)  # nobody waited for the prelabelled one


def test_facts_of_the_future_are_told(monitor):
    predict(monitor, [0.9] * 3, at=lambda n: NOON + n * DAY)  # a clock may be a day off
    assert told(monitor, "future") == [("predictions", 1, 3)]
    monitor.record_outcome("p0", 1, known_at=NOON + 2 * DAY)
    assert told(monitor, "future") == [("predictions", 1, 3), ("outcomes", 1, 1)]
    assert told(monitor, "future", "other") == []


def test_outcomes_that_nobody_predicted_are_told_once_they_are_older_than_labels_take(monitor):
    predict(monitor, [0.9] * 8, at=lambda n: NOON - 40 * DAY)
    monitor.record_outcome("P-0", 1, known_at=NOON - HOUR)
    assert told(monitor, "unmatched") == []
    monitor.record_outcome("P-1", 1, known_at=NOON - 2 * DAY)
    assert told(monitor, "unmatched") == [("outcomes", 1, 2)]  # no label came: a day is long
    for number in range(8):
        monitor.record_outcome(f"p{number}", 1, known_at=NOON - 35 * DAY)
    assert told(monitor, "unmatched") == []  # labels take five days
    monitor.record_outcome("P-2", 1, known_at=NOON - 9 * DAY)
    (doubt,) = [one for one in monitor.data_doubts() if one.about == "unmatched"]
    assert (doubt.count, doubt.of) == (1, 11)
    assert "'P-2'" in doubt.message


def test_event_times_given_as_known_times_are_told_by_how_late_outcomes_are_recorded(monitor):
    for number in range(3):
        monitor.record_outcome(f"p{number}", 1, known_at=NOON - HOUR)
    monitor.record_outcome("own", 1)
    assert told(monitor, "late_recording") == []
    for number in range(3, 8):
        monitor.record_outcome(f"p{number}", 1, known_at=NOON - 30 * DAY)
    (doubt,) = [one for one in monitor.data_doubts() if one.about == "late_recording"]
    assert (doubt.count, doubt.of) == (5, 8)
    assert "the median 30.0 days" in doubt.message


def test_a_pruned_store_is_asked_about_what_is_left(monitor):
    predict(monitor, [0.1, 0.9] * 10)
    monitor.record_outcome("p0", 0, known_at=NOON - 9 * DAY)
    monitor.prune(NOON - 9 * DAY)
    assert told(monitor, "probability") == [("model m", 10, 20)]
    assert told(monitor, "early_outcomes") == []


def test_status_and_check_say_it_and_no_exit_code_does(tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            f1mon.main(["--path", str(tmp_path / "store"), *arguments], prog_name="f1mon")
        assert not ended.value.code
        return capsys.readouterr()

    now = datetime.now(UTC)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for number in range(20):
            monitor.record_prediction(f"p{number}", "m", number % 2, (0.2, 0.8)[number % 2], at=now - HOUR)
    asked = "10 of 20 confidences of this model of two classes lie below 0.5: are they P(positive)?"
    assert asked in run("status").err
    assert [one["about"] for one in json.loads(run("status", "--json").out)["doubts"]] == ["probability"]
    assert f"warning: model m: {asked}" in run("check").err
    (problem,) = json.loads(run("check", "--json").out)["problems"]
    assert (problem["about"], problem["severity"], problem["where"]) == ("data", "warning", "model m")


def test_a_precision_is_shown_with_the_class_it_is_of(tmp_path, capsys):
    now = datetime.now(UTC)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for model, labels in {"two": (0, 1), "texts": ("ill", "well"), "ten": tuple(range(10))}.items():
            for number in range(20):
                label = labels[number % len(labels)]
                monitor.record_prediction(f"{model}{number}", model, label, 0.9, at=now - HOUR)
                monitor.record_outcome(f"{model}{number}", labels[0] if number in {1, 3} else label, known_at=now)

    def rows(*options):
        with pytest.raises(SystemExit):
            f1mon.main(["--path", str(tmp_path / "store"), "status", *options], prog_name="f1mon")
        lines = [re.split("  +", line.strip()) for line in capsys.readouterr().out.splitlines()[:4]]
        first = lines[0].index("precision")
        return {line[0]: line[first : first + 2] for line in lines[1:]}

    assert rows() == {
        "ten": ["0.900 macro", "0.950 macro"],  # the mean over classes, and said to be
        "texts": ["-", "-"],
        "two": ["0.800", "1.000"],
    }
    assert rows("--positive", "ill")["texts"] == ["1.000 of ill", "0.833 of ill"]
    assert rows("--positive", "0")["ten"] == ["1.000 of 0", "0.500 of 0"]


def test_a_damaged_fact_keeps_neither_status_nor_check_from_saying_the_rest(tmp_path, capsys, monkeypatch):
    def damaged(self, *arguments, **options):
        raise CorruptStoreError("outcome 'p' holds what no outcome can")

    monkeypatch.setattr(Monitor, "data_doubts", damaged)
    Monitor.open("jsonl", path=tmp_path / "store").close()
    for command, code in (("status", 0), ("check", 4)):
        with pytest.raises(SystemExit) as ended:
            f1mon.main(["--path", str(tmp_path / "store"), command], prog_name="f1mon")
        assert (ended.value.code or 0) == code
        assert "holds what no outcome can" in capsys.readouterr().err
