"""`f1mon dashboard`, `f1mon report` and `f1mon demo --dashboard`: how they begin, what they refuse, how they end."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from f1mon_core import Monitor
from f1mon_core.cli import dashboard as command
from f1mon_core.cli import demo as demonstration

SCRIPT = "import sys; from f1mon_core.cli import main; sys.argv[0] = 'f1mon'; main()"


@pytest.fixture
def place(tmp_path):
    with Monitor.open("jsonl", path=str(tmp_path / "store")) as monitor:
        monitor.record_prediction("one", "m", predicted_outcome=1, confidence=0.9)
        monitor.record_outcome("one", 1)
    return ("--path", str(tmp_path / "store"))


def asked(address):
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def test_it_serves_until_it_is_interrupted(place):
    arguments = [sys.executable, "-c", SCRIPT, *place, "dashboard", "--port", "0", "--root-path", "/f1mon"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        try:
            address = re.search(r"(http://127\.0\.0\.1:\d+/f1mon/) shows jsonl:", line)[1]
            assert "1 of 1 labelled" in asked(address)
            assert 'href="/f1mon/alerts"' in asked(address.removesuffix("f1mon/"))  # of a proxy that cuts the path off
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait(20) in {0, 130, -signal.SIGINT}
    assert "Traceback" not in line + rest


def test_prometheus_has_a_port_of_its_own_where_pages_ask_for_a_user(place):
    proxied = ("--user-header", "X-User", "--trust-proxy", "127.0.0.1", "--metrics-port", "0")
    arguments = [sys.executable, "-c", SCRIPT, *place, "dashboard", "--port", "0", *proxied]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        pages = re.search(r"(http://127\.0\.0\.1:\d+/) shows", process.stderr.readline())[1]
        metrics = re.search(r"(http://127\.0\.0\.1:\d+/metrics) ", process.stderr.readline())[1]
        try:
            found = {family.name: family for family in text_string_to_metric_families(asked(metrics))}
            assert [one.value for one in found["f1mon_accuracy_ratio"].samples] == [1.0]
            for elsewhere in (pages, f"{pages}metrics", metrics.replace("/metrics", "/alerts")):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    asked(elsewhere)
                with refused.value as answer:
                    assert answer.code in {403, 404}
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait(20) in {0, 130, -signal.SIGINT}
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "--read-only"),
        (("--user-header", "X-User"), "trust_proxy"),
        (("--trust-proxy", "10.0.0.1"), "user_header"),
        (("--user-header", "X-User", "--trust-proxy", "proxy"), "IP addresses"),
        (("--root-path", "f1mon"), "slash"),
        (("--root-path", "/f1mon/"), "slash"),
    ],
)
def test_what_would_let_others_in_is_refused(run, place, options, said):
    assert said in run(*place, "dashboard", "--port", "0", *options, code=2).stderr


def test_a_port_that_is_taken_is_said(run, place):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in run(*place, "dashboard", "--port", str(port), code=1).stderr


@pytest.mark.parametrize("arguments", [("dashboard",), ("report", "out.html"), ("demo", "fresh", "--dashboard")])
def test_a_missing_extra_is_named(run, place, monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "f1mon_core.web", None)
    where = () if arguments[0] == "demo" else place
    assert "pip install 'f1mon[dashboard]'" in run(*where, *arguments, code=2).stderr


def test_a_report_is_written(run, place, tmp_path):
    said = run(*place, "report", "out.html", "--window", "all", "--model-version", "m").stderr
    assert "KiB" in said
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert '<data value="1">1</data> with an outcome' in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("out.html", "--window", "1y"), 2, "365d"),
        (("out.html", "--model-version", "x"), 1, "'x'"),
        (("no/where/out.html",), 1, "No such file"),
    ],
)
def test_a_report_that_cannot_be_made_is_an_error(run, place, arguments, code, said):
    assert said in run(*place, "report", *arguments, code=code).stderr


def test_the_demonstration_ends_with_its_pages(run, monkeypatch):
    shown = []
    monkeypatch.setattr(demonstration, "show", lambda monitor, **options: shown.append((monitor.now(), options)))
    run("demo", "season", "--dashboard", "--port", "0")
    ((now, options),) = shown
    assert now.year == 2025  # by the season's clock, not today's
    assert options == {"port": 0, "opened": True}


def test_a_browser_that_cannot_be_opened_is_said(place, monkeypatch, capsys):
    monkeypatch.setattr("webbrowser.open", lambda _address: False)
    monkeypatch.setattr("f1mon_core.web.serving.serve", _begin)
    with Monitor.open("jsonl", path=place[1]) as monitor:
        command.show(monitor, port=0, opened=True)
    assert "no browser" in capsys.readouterr().err


async def _begin(_app, _listening, *, root_path, begun, beside):
    assert beside is None
    begun(lambda: None)
    assert not root_path
