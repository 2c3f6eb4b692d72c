"""The dashboard for Grafana: every query answers on every family, and no password is in a file."""

import json
import re
from datetime import timedelta

import pytest

from f1mon_core import Monitor
from f1mon_core.cli import f1mon
from f1mon_core.errors import ConfigurationError
from f1mon_sql import grafana
from f1mon_sql.connect.target import target_of

from .test_views import NOON, noon, rows

DAY = timedelta(days=1)


@pytest.fixture
def filled(url):
    """Two days of labelled predictions with segments and labels that are texts, one open, and an alert."""
    with Monitor.open("sql", url=url, clock=noon) as monitor:
        for number in range(10):
            country = "MC" if number % 2 else "D'E"
            options = {"at": NOON - DAY, "segments": {"country": country}}
            monitor.record_prediction(str(number), "podium-1", "yes", 0.75, **options)
            monitor.record_outcome(str(number), "yes" if number < 8 else "no")
        monitor.record_prediction("open", "podium-1", "no", 0.5)
        monitor.record_prediction("other", "podium-2", 1, 0.5)
        monitor.create_alert("critical", "t", "m", "accuracy", 0.5, 0.8, "c", "podium-1")
    return url


def asked(family, query):
    """A query with Grafana's macros and variables as Grafana would fill them in."""
    form = "%Y-%m-%dT%H:%M:%S" if family == "mysql" else "%Y-%m-%dT%H:%M:%SZ"
    window = f"BETWEEN '{NOON - 3 * DAY:{form}}' AND '{NOON + DAY:{form}}'"
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 {window}", query)
    query = query.replace("$__from", f"{(NOON - 3 * DAY).timestamp() * 1000:.0f}")
    query = query.replace("$__to", f"{(NOON + DAY).timestamp() * 1000:.0f}")
    query = query.replace("${model:sqlstring}", "'podium-1'").replace("${segment:sqlstring}", "'country'")
    assert "${" not in query
    return query


def test_every_query_answers(family, filled):
    found = {name: rows(filled, asked(family, query)) for name, query in grafana.queries(family).items()}
    with Monitor.open("sql", url=filled, clock=noon) as monitor:
        measured = monitor.performance("podium-1")
    (day,) = found["accuracy"]
    accuracy = (measured.accuracy.value, measured.accuracy.low, measured.accuracy.high)
    assert tuple(float(day[name]) for name in ("accuracy", "low", "high")) == pytest.approx(accuracy, rel=1e-9)
    assert [float(one["labelled"]) for one in found["coverage"]] == [1.0, 0.0]
    assert [one["predictions"] for one in found["predictions"]] == [10, 1]
    labels = [(one["predicted_outcome"], one["actual_outcome"] or "", one["predictions"]) for one in found["labels"]]
    assert sorted(labels) == [("no", "", 1), ("yes", "no", 2), ("yes", "yes", 8)]
    segments = {one["value"]: (one["labelled"], float(one["accuracy"] or 0)) for one in found["segments"]}
    assert segments == {"MC": (5, 0.8), "D'E": (5, 0.8), None: (0, 0.0)}
    assert [one["severity"] for one in found["alerts"]] == ["critical"]
    assert [one["tags"] for one in found["annotations"]] == ["critical"]
    assert [one["model_version"] for one in found["models"]] == ["podium-1", "podium-2"]


def test_what_pruning_kept_is_in_the_days(family, filled):
    with Monitor.open("sql", url=filled, clock=noon) as monitor:
        for number, label in enumerate(["1", 1, "YES"]):
            monitor.record_prediction(f"t{number}", "podium-1", label, 0.9, at=NOON - DAY + timedelta(hours=2))
            monitor.record_outcome(f"t{number}", "1" if number < 2 else "yes")
    names = ("accuracy", "coverage", "predictions", "models")
    before = {name: rows(filled, asked(family, grafana.queries(family)[name])) for name in names}
    assert [float(one["predictions"]) for one in before["predictions"]] == [13, 1]
    with Monitor.open("sql", url=filled, clock=noon) as monitor:
        assert monitor.prune(NOON - DAY + timedelta(hours=1)).removed["prediction"] == 10
        assert {name: rows(filled, asked(family, grafana.queries(family)[name])) for name in names} == before
        assert monitor.prune(NOON - DAY + timedelta(hours=3)).removed["prediction"] == 3
    assert {name: rows(filled, asked(family, grafana.queries(family)[name])) for name in names} == before


def test_every_panel_asks_its_own_query_of_the_one_source(family):
    made = grafana.dashboard(family)
    asked = grafana.queries(family)
    said = {one["id"]: one["targets"][0] for one in made["panels"]}
    assert len(said) == len(made["panels"]) == len(asked) - 2
    for panel in made["panels"]:
        assert panel["datasource"]["uid"] == grafana.UID
        target = panel["targets"][0]
        query = target.get("rawSql", target.get("rawQueryText"))
        assert query in {" ".join(one.split()) for one in asked.values()}
        assert panel["title"]
        assert panel["description"]
    ends = [one["fieldConfig"]["defaults"] for one in made["panels"] if "percentunit" in json.dumps(one)]
    assert all((one["min"], one["max"]) == (0, 1) for one in ends)
    assert made["timezone"] == "utc"


def test_no_password_is_written_and_a_dollar_is_a_dollar():
    target = target_of("postgresql://us$er:s3cret@db.example/mon?sslmode=verify-full&options=-csearch_path%3Dmy%22s")
    content = grafana.files(target, "/srv/$x/dashboards")
    text = json.dumps(content)
    assert "s3cret" not in text
    (source,) = content["provisioning/datasources/f1mon.yaml"]["datasources"]
    assert (source["url"], source["user"]) == ("db.example:5432", "us$$er")
    assert source["jsonData"] == {"database": "mon", "sslmode": "verify-full"}
    assert source["secureJsonData"] == {"password": "${F1MON_GRAFANA_PASSWORD}"}
    (provider,) = content["provisioning/dashboards/f1mon.yaml"]["providers"]
    assert provider["options"]["path"] == "/srv/$$x/dashboards"
    asks = content["dashboards/f1mon.json"]["panels"][0]["targets"][0]["rawSql"]
    assert 'FROM "my""s".f1mon_daily_accuracy_v' in asks
    mysql = grafana.data_source(target_of("mysql://root@[::1]:3307/test"), "reader")
    assert (mysql["url"], mysql["user"], mysql["type"]) == ("[::1]:3307", "reader", "mysql")
    with pytest.raises(ConfigurationError, match="names none"):
        grafana.data_source(target_of("sqlite://"))


def test_one_command_writes_all_of_it(tmp_path, sqlite_url, capsys):
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            f1mon.main(["--url", sqlite_url, "grafana", str(tmp_path), "--at", "/etc/grafana/f1mon"], prog_name="f1mon")
        assert not ended.value.code
    names = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert names >= {
        "provisioning/datasources/f1mon.yaml",
        "provisioning/dashboards/f1mon.yaml",
        "dashboards/f1mon.json",
    }
    assert "dashboards/f1mon.json" in capsys.readouterr().out
    provider = json.loads((tmp_path / "provisioning/dashboards/f1mon.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/f1mon/dashboards"
