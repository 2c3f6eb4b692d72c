"""What the command line says of segments and classes."""

import json
from datetime import timedelta

import pytest

from f1mon_core import AlertRule, Monitor


class Spy:
    """A channel that keeps what it is told."""

    def __init__(self, told):
        self.told = told

    def send(self, message):
        self.told.append(message)


STORE = ("--path", "store")


@pytest.fixture
def store():
    """A binary model by country, another on the same items, and one of three classes."""
    with Monitor.open("jsonl", path="store") as monitor:
        for number in range(40):
            country = {"country": ("DE", "FR")[number % 2], "tier": number % 4 // 2}
            segments = country if number < 36 else {}
            features = {"features": {"grid": number % 3}}
            for model in ("podium-1", "podium-2"):
                answer = 1 if model == "podium-2" or number % 4 else 0
                monitor.record_prediction(f"p{number}", model, answer, 0.9, segments=segments, **features)
            monitor.record_outcome(f"p{number}", 1)
            monitor.record_prediction(f"q{number}", "classes", ("a", "b", "c")[number % 3], 0.9)
            monitor.record_outcome(f"q{number}", ("a", "b", "c")[number % 3 - number % 2])
    return STORE


def test_status_by_country_shows_each_slice_and_the_whole(run, store):
    shown = run(*store, "status", "--by", "country", "--model-version", "podium-1")
    lines = shown.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "podium-1", "podium-1, country=DE", "podium-1, country=FR", "podium-1, without country",
    ]  # fmt: skip
    assert lines[2].split()[2:4] == ["18", "18"]
    assert "3 slices with a label" in shown.stderr


def test_the_worst_slices_as_json(run, store):
    shown = json.loads(run(*store, "status", "--by", "country", "--worst", "1", "--json").stdout)
    found = shown["models"]["podium-1"]
    assert [one["segments"] for one in found["slices"]] == [{"country": "DE"}]
    assert (found["left_out"], found["looks"], found["whole"]["total"]) == (2, 3, 40)
    assert found["slices"][0]["metrics"]["accuracy"]["value"] == 0.5
    run(*store, "status", "--worst", "1", code=2)


def test_where_takes_a_number_for_a_number_or_a_text(run, store):
    def total(*arguments):
        shown = json.loads(run(*store, "status", "--model-version", "podium-1", "--json", *arguments).stdout)
        return shown["models"].get("podium-1", {"total": 0})["total"]

    assert total("--where", "country=DE") == 18
    assert total("--where", "country=DE", "--where", "country=FR") == 36
    assert total("--where", "tier=1", "--where", "country=DE") == 9
    assert total("--where", "tier=0") == total("--where", "tier=1") == 18
    assert total("--where", 'tier="1"') == 0
    assert total("--without", "country") == 4
    assert total("--where", "features.grid=0") == 14
    run(*store, "status", "--where", "country", code=2)


def test_it_says_that_it_read_predictions(run, store):
    shown = run(*store, "status", "--by", "features.grid", "--model-version", "podium-1")
    assert "podium-1: read 40 predictions, for what is no segment of them" in shown.stderr
    assert "podium-1, features.grid=2" in shown.stdout


def test_more_than_two_classes_are_shown_as_such(run, store):
    lines = run(*store, "status").stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("classes"))
    assert row.count(" macro") == 2
    (row,) = (line for line in lines if line.startswith("podium-1"))
    assert "macro" not in row
    lines = run(*store, "status", "--positive", "b").stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("classes"))
    assert row.count(" of b") == 2


def test_texts_of_two_classes_ask_for_the_positive_one(run):
    with Monitor.open("jsonl", path="store") as monitor:
        for number in range(10):
            monitor.record_prediction(f"p{number}", "m", ("benign", "malignant")[number % 2], 0.9)
            monitor.record_outcome(f"p{number}", ("benign", "malignant")[number % 2])
    assert (
        "m: the labels are texts (benign, malignant): name the positive class by --positive"
        in run(*STORE, "status").stderr
    )
    shown = run(*STORE, "status", "--positive", "malignant")
    assert shown.stdout.count("1.000 of malignant") == 2
    assert "the labels are texts" not in shown.stderr


def test_compare_side_by_side_by_segment_and_paired(run, store):
    shown = run(*store, "compare", "podium-1", "podium-2").stdout
    assert "accuracy" in shown
    assert "+0.2500" in shown
    assert "precision of 1" not in shown
    assert "DE" in run(*store, "compare", "podium-1", "podium-2", "--by", "country").stdout
    paired = ("compare", "podium-1", "podium-2", "--paired", "--horizon", "1m", "--json")
    assert json.loads(run(*store, *paired).stdout)["no_verdict"] == "no item was predicted by both"
    run(*store, "compare", "podium-1", "podium-2", "--paired", "--by", "country", code=2)


def test_compare_paired_says_coverage_test_and_verdict(run):
    with Monitor.open("jsonl", path="store") as monitor:
        at = monitor.now() - timedelta(days=10)
        for number in range(100):
            for model in ("a", "b"):
                monitor.record_prediction(f"p{number}", model, int(model == "b" or number % 4 > 0), 0.9, at=at)
            if number < 95:
                monitor.record_outcome(f"p{number}", 1, known_at=at + timedelta(days=1))
    shown = run(*STORE, "compare", "a", "b", "--paired", "--horizon", "2d").stdout
    assert "common items: 100, 95 labelled (coverage 95.0%)" in shown
    assert "both right 71, only a 0, only b 24, neither 0" in shown
    assert "McNemar: mid-p 5.96e-08, exact 1.192e-07" in shown
    assert "b is better" in shown
    found = json.loads(run(*STORE, "compare", "a", "b", "--paired", "--horizon", "2d", "--json").stdout)
    assert (found["verdict"], found["coverage"], found["items"]) == ("second", 0.95, 100)
    shown = run(*STORE, "compare", "a", "b", "--paired", "--horizon", "2d", "--min-coverage", "0.99").stdout
    assert "no verdict: 95 of 100 common items are labelled, 95.0%: below 99%" in shown


def test_a_rule_by_segment_from_a_file_to_retirement(run, store, tmp_path):
    (tmp_path / "r.toml").write_text(
        '[[rules]]\nrule_id = "low"\nmetric_name = "accuracy"\nthreshold = 0.8\ncomparison = "<"\nseverity = "info"\n'
        'component = "c"\nby = "country"\nmax_instances = 2\n'
    )
    run(*store, "rules", "apply", "r.toml")
    fired = run(*store, "evaluate", "--model-version", "podium-1", "--explain", code=3)
    assert "podium-1, country=DE" in fired.stdout
    assert "warning: rule low: instances left out: 1 of podium-1; max_instances is 2" in fired.stderr
    assert "instances left out: 1 of podium-1" in run(*store, "rules", "list").stdout
    assert "podium-1, country=DE" in run(*store, "incidents").stdout
    assert "podium-1, country=DE" in run(*store, "alerts").stdout
    run(*store, "silence", "add", "--for", "1h", "--where", "country=DE")
    assert "country=DE" in run(*store, "silence", "list").stdout
    assert "1 incidents ended" in run(*store, "models", "retire", "podium-1", "--segment", "country=DE").stderr
    assert run(*store, "incidents").stdout.count("country") == 0
    assert "podium-1, country=DE" in run(*store, "models", "list").stdout
    run(*store, "models", "unretire", "podium-1", "--segment", "country=DE")
    run(*store, "models", "unretire", "podium-1", "--segment", "country=DE", code=1)


def test_a_snapshot_of_a_segment_stands_beside_those_of_the_whole(run, store):
    run(*store, "snapshot", "--model-version", "podium-1", "--where", "country=DE")
    run(*store, "snapshot", "--model-version", "podium-1")
    with Monitor.open("jsonl", path="store") as monitor:
        (whole,) = monitor.health("podium-1")
        (part,) = monitor.health("podium-1", where={"country": ["DE"]})
        assert whole.trend is None
        assert (whole.metrics["num_predictions"]["value"], part.metrics["num_predictions"]["value"]) == (40, 18)
        assert len(monitor.health("podium-1", where=None)) == 2


def test_behind_a_prune_segments_are_shown_by_full_days(run, store):
    with Monitor.open("jsonl", path="store") as monitor:
        at = monitor.now() - timedelta(days=9, minutes=7)
        for number in range(4):
            monitor.record_prediction(f"old{number}", "podium-1", 1, 0.9, segments={"country": "DE"}, at=at)
        monitor.prune(monitor.now() - timedelta(days=2))
    shown = run(*store, "status", "--by", "country", "--window", "9d", "--model-version", "podium-1")
    assert "predictions that old are pruned to full days: since " in shown.stderr
    assert "podium-1, country=DE" in shown.stdout
    assert (
        "features.grid is read from the predictions"
        in run(
            *store, "status", "--by", "features.grid", "--window", "20d", "--model-version", "podium-1", code=1
        ).stderr
    )


def test_a_message_names_the_segment():
    with Monitor.open("memory") as monitor:
        told = []
        monitor.channels.register("spy", Spy(told))
        fields = {"channels": ("spy",), "by": "country"}
        monitor.add_rule(AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "c", **fields))
        for number in range(20):
            monitor.record_prediction(f"p{number}", "m", 1, 0.9, segments={"country": "DE"} if number % 2 else {})
            monitor.record_outcome(f"p{number}", 0)
        monitor.evaluate()
        monitor.deliver()
    subjects = sorted(one.subject for one in told)
    assert [one.rpartition(", m, ")[2] for one in subjects] == ["country=DE", "without country"]
    assert all("Window: basis=prediction, where=(" in one.text for one in told)
