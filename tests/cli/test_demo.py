"""The demo tells its whole story, on every embedded backend, and the other commands answer for what it left."""

import json
import re
from pathlib import Path

import pytest

from f1mon_core.cli import demo
from f1mon_core.cli.place import Place

PLACES = {"jsonl": ("--path", "season"), "sqlite": ("--url", "sqlite:///season.db")}


@pytest.fixture(params=PLACES)
def season(request, run) -> tuple[tuple[str, ...], str]:
    """The options that name a store with a demo season in it, and what the demo said."""
    place = PLACES[request.param]
    return place, run(*place, "demo").stdout


def test_the_alert_fires_once_a_cooldown_although_the_store_is_reopened_and_is_acknowledged_once(season):
    _, said = season
    races = [line for line in said.splitlines() if re.match(r" +\d+ +\d+ of ", line)]
    told = ["FIRED" if "FIRED" in line else "silent" if "silent" in line else "" for line in races]
    assert told == [""] * 8 + ["FIRED", "silent", "silent", "FIRED", "silent", "silent"]
    assert "acknowledged by race engineer" in said
    assert "2 alerts, 1 open" in said


def test_status_says_what_the_numbers_rest_on(season, run):
    place, _ = season
    result = run(*place, "status", "--window", "all", "--json")
    (measured,) = json.loads(result.stdout)["models"].values()
    assert (measured["total"], measured["labelled"], measured["coverage"]) == (280, 280, 1.0)
    assert measured["metrics"]["accuracy"]["value"] == 0.6642857142857143
    assert json.loads(result.stdout)["alerts"]["unacknowledged"] == 1
    table = run(*place, "status", "--window", "all")
    assert table.stdout.splitlines()[1].split()[:5] == ["points-2025", "280", "280", "100.0%", "0.664"]
    assert "all time" in table.stderr


def test_a_window_without_predictions_is_empty_and_says_where_they_are(season, run):
    place, _ = season
    result = run(*place, "status", "--window", "90m")
    assert "no predictions in this window; the newest was made 2025-09-13T14:00:00Z" in result.stderr
    assert json.loads(run(*place, "status", "--json").stdout)["models"] == {}
    other = run(*place, "status", "--window", "all", "--model-version", "none")
    assert "none is stored" in other.stderr


def test_alerts_lists_them_newest_first_and_ack_takes_one_on_for_ever(season, run):
    place, _ = season
    newest, oldest = json.loads(run(*place, "alerts", "--json").stdout)
    assert newest["at"] == "2025-08-17T17:00:00Z"
    assert newest["acknowledgement"] is None
    assert oldest["acknowledgement"]["by"] == "race engineer"
    assert newest["alert_id"] in run(*place, "alerts", "--open").stdout
    assert oldest["alert_id"] not in run(*place, "alerts", "--open").stdout
    assert "1 shown of 2, 1 open" in run(*place, "alerts", "--limit", "1").stderr
    assert json.loads(run(*place, "alerts", "--severity", "critical", "--json").stdout) == []
    assert "acknowledged by me at" in run(*place, "ack", newest["alert_id"], "--by", "me", "--note", "seen").stdout
    assert "was already acknowledged by me" in run(*place, "ack", newest["alert_id"], "--by", "you").stdout
    assert "0 open" in run(*place, "alerts").stderr


def test_ack_of_an_unknown_alert_is_one_line_and_exit_code_1(season, run):
    place, _ = season
    result = run(*place, "ack", "nothing", "--by", "me", code=1)
    assert result.stderr.splitlines() == ["Error: no alert 'nothing' is stored"]


def test_check_finds_the_season_sound(season, run):
    place, _ = season
    report = json.loads(run(*place, "check", "--json").stdout)
    assert report["ok"]
    assert report["facts"]["prediction"] == 280


def test_a_second_demo_in_the_same_store_is_refused(season, run):
    place, _ = season
    assert "holds predictions already" in run(*place, "demo", code=1).stderr


def test_without_a_place_the_demo_finds_a_fresh_directory_whatever_the_environment_names(run, monkeypatch):
    monkeypatch.setenv("F1MON_URL", "nowhere://production")
    assert "--path f1mon-demo status" in run("demo").stdout
    assert "--path f1mon-demo-1 status" in run("demo").stdout
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["f1mon-demo", "f1mon-demo-1"]
    assert "not empty" in run("demo", "f1mon-demo", code=1).stderr
    assert "not both" in run("--path", "x", "demo", "y", code=2).stderr


def test_the_commands_it_suggests_hold_no_password_and_a_place_of_any_name(capsys):
    secret = Place(backend="sql", url="postgresql://monitor:canary@db/f1?sslpassword=canary")
    demo._end(secret)
    said = capsys.readouterr().out
    assert "canary" not in said + repr(secret)
    assert "f1mon --backend sql --url 'postgresql://monitor:***@db/f1?sslpassword=***' alerts" in said
    demo._end(Place(path="a season; here"))
    assert "f1mon --path 'a season; here' check" in capsys.readouterr().out


@pytest.mark.parametrize("window", ["0h", "h", "1.5h", "24", "1y", "-3d", "9999999d"])
def test_a_window_that_is_none_is_refused(run, window):
    assert "is no length of time" in run("--backend", "memory", "status", "--window", window, code=2).stderr
