"""`f1mon trend`, `segments`, `settling`: the API's numbers, gaps with their reason, and charts where a terminal is."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import Monitor
from f1mon_core.cli import charts
from f1mon_core.cli.charts import Axis

DAY = timedelta(days=1)
PLACE = ("--path", "store")


@pytest.fixture
def store(tmp_path):
    """Eight days of `m` in `store`, none on the fifth; 9 of 10 are right in MC, 5 elsewhere; labels take days."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for day in (8, 7, 6, 4, 3, 2, 1):
            for number in range(20):
                country, at = ("MC", "DE")[number % 2], midnight - day * DAY + timedelta(hours=number % 3)
                item, right = f"{day}-{number}", number // 2 < (9, 5)[number % 2]
                monitor.record_prediction(item, "m", 1, 0.8, at=at, segments={"country": country})
                if day > 1:
                    monitor.record_outcome(item, int(right), known_at=at + DAY / 2 * (1 + number % 4))
    return midnight


@pytest.mark.usefixtures("store")
def test_a_trend_shows_each_day_and_why_one_has_no_value(run, store, tmp_path):
    shown = run(*PLACE, "trend", "m", "--window", "9d")
    header, *rows = shown.stdout.splitlines()
    assert header.split()[:6] == ["since", "labelled", "of", "coverage", "accuracy", "interval"]
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        expected = monitor.trend("m", every="day", since=store - 8 * DAY, until=store)
    told = {row.split()[0]: row.split()[1:] for row in rows}
    for one in expected:
        counts = told[f"{one.window.since:%Y-%m-%dT%H:%M:%SZ}"]
        assert counts[:2] == [str(one.labelled), str(one.total)]
        if one.accuracy.value is not None:
            assert counts[3:6] == [
                f"{one.accuracy.value:.4f}",
                f"[{one.accuracy.low:.4f},",
                f"{one.accuracy.high:.4f}]",
            ]
    assert "no predictions" in next(row for row in rows if row.startswith(f"{store - 5 * DAY:%Y-%m-%d}"))
    assert "no labelled predictions" in next(row for row in rows if row.startswith(f"{store - DAY:%Y-%m-%d}"))


@pytest.mark.usefixtures("store")
def test_a_trend_by_segment_and_as_json(run):
    shown = run(*PLACE, "trend", "m", "--by", "country", "--every", "week", "--metric", "avg_confidence")
    assert {row.split()[0] for row in shown.stdout.splitlines()[1:]} == {"country=DE", "country=MC"}
    assert "hold together in 95 %" in shown.stderr
    buckets = json.loads(run(*PLACE, "trend", "m", "--json").stdout)
    assert sum(one["total"] for one in buckets) == 140
    by = json.loads(run(*PLACE, "trend", "m", "--json", "--by", "country").stdout)
    assert [one["segments"] for one in by] == [{"country": "DE"}, {"country": "MC"}]
    assert "no predictions in this window" in run(*PLACE, "trend", "nobody").stderr
    assert "is no length of time" in run(*PLACE, "trend", "m", "--every", "moon", code=2).stderr


@pytest.mark.usefixtures("store")
def test_segments_show_the_worst_first(run):
    shown = run(*PLACE, "segments", "m", "country", "--window", "30d")
    rows = [row.split() for row in shown.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["all", "country=DE", "country=MC"]
    assert rows[1][1] == "worse"
    assert "2 segments with a label" in shown.stderr
    assert "1 segments less bad are left out" in run(*PLACE, "segments", "m", "country", "--worst", "1").stderr
    assert json.loads(run(*PLACE, "segments", "m", "country", "--json").stdout)["looks"] == 2
    assert "read 140 predictions" in run(*PLACE, "segments", "m", "features.grid").stderr
    assert "has no worse side" in run(*PLACE, "segments", "m", "country", "--metric", "avg_confidence", code=2).stderr


def test_a_window_settles_while_its_labels_come(run, store):
    since, until = (f"{store - days * DAY:%Y-%m-%d}" for days in (8, 7))
    shown = run(*PLACE, "settling", "m", "--between", since, until, "--every", "12h")
    labelled = [int(row.split()[1]) for row in shown.stdout.splitlines()[1:]]
    assert labelled[:4] == sorted(labelled[:4])
    assert (labelled[0], labelled[-1]) == (6, 20)
    assert "20 of 20 labelled" in shown.stderr
    assert "labels: 50% within" in shown.stderr
    found = json.loads(run(*PLACE, "settling", "m", "--window", "4d", "--json").stdout)
    assert len(found["points"]) == 13
    assert found["delay"]["labelled"]


def test_settling_is_a_question_of_the_api_too(store, tmp_path):
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        found = monitor.settling("m", since=store - 8 * DAY, until=store - 7 * DAY, every=DAY)
        last = found.points[-1]
        assert last.metrics == monitor.performance("m", since=store - 8 * DAY, until=store - 7 * DAY).metrics
        assert [one.labelled for one in found.points][:2] == [6, 17]
        assert str(found).endswith("now, 20 of 20 labelled")
        assert list(found.to_frame()["labelled"])[:2] == [6, 17]
        assert found._repr_html_().count("<tr>") == len(found.points) + 1
        assert len(monitor.settling("m", last=DAY).points) == 1
        with pytest.raises(ValueError, match="at most 1000"):
            monitor.settling("m", since=store - 8 * DAY, until=store - 7 * DAY, every=timedelta(minutes=1))
        with pytest.raises(ValueError, match="by prediction time"):
            monitor.settling("m", last=DAY, basis="outcome")


@pytest.mark.usefixtures("store")
def test_a_chart_is_where_a_terminal_is(run, monkeypatch):
    plain = run(*PLACE, "trend", "m")
    assert "●" not in plain.stdout
    charted = run(*PLACE, "trend", "m", "--chart").stdout
    assert "├" in charted
    assert charted.splitlines()[0].rstrip().endswith("1")
    assert "●" in run(*PLACE, "segments", "m", "country", "--chart").stdout
    assert "●" in run(*PLACE, "settling", "m", "--window", "4d", "--chart").stdout
    monkeypatch.setattr(charts.sys, "stdout", type("Terminal", (), {"isatty": lambda _: True, "encoding": "ascii"})())
    assert charts.is_charted(None)
    assert not charts.is_charted(asked=False)


def test_a_value_is_drawn_where_it_stands_on_a_fixed_axis(monkeypatch):
    assert Axis().header == "0" + " " * 29 + "1"
    assert Axis().drawn(0.5, 0.2, 0.8) == "      ├────────●────────┤"
    assert Axis().drawn(1.0) == " " * 30 + "●"
    assert Axis().drawn(None) == ""
    assert Axis().drawn(2.0, -1.0, 3.0)[0] == "├"
    difference = charts.around_zero([-0.25, 0.5])
    assert (difference.low, difference.high) == (-0.5, 0.5)
    assert difference.drawn(0.25, 0.1, 0.5)[15] == ":"
    monkeypatch.setattr(charts, "_is_unicode", lambda: False)
    assert Axis().drawn(0.5, 0.2, 0.8) == "      |--------o--------|"


def test_a_comparison_is_drawn_around_zero(run, tmp_path):
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        for number in range(40):
            for model, right in (("a", 20), ("b", 35)):
                monitor.record_prediction(str(number), model, int(number < right), 0.8)
            monitor.record_outcome(str(number), 1)
    row = next(
        line for line in run(*PLACE, "compare", "a", "b", "--chart").stdout.splitlines() if line.startswith("accuracy")
    )
    drawn = row[-31:]
    assert drawn.index(":") < drawn.index("├") < drawn.index("●")
