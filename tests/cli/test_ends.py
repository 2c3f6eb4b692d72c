"""How a command ends: by the exit code of what happened, in a line, whatever became of stdout."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from f1mon_core import AlertRule, Monitor

from ..servers import admin, postgresql_server

ACCURACY_LOW = AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "c", cooldown_minutes=0)
RULE = '[[rules]]\nrule_id = "low"\nmetric_name = "accuracy"\nthreshold = 0.8\ncomparison = "<"\nseverity = "info"\n'
RULES = f'{RULE}component = "c"\n'


COMMAND = f'f1mon() {{ "{sys.executable}" -c "from f1mon_core.cli import main; main()" "$@"; }}'


def ended(*arguments, shell='f1mon "$@"', environ=None):
    """Run the command in a shell; its exit code and what it said."""
    command = ["bash", "-c", f"{COMMAND}; {shell}", "bash", *arguments]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **(environ or {})}, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.fixture
def store():
    """A store with a rule that fires at each evaluation."""
    with Monitor.open("jsonl", path="store") as monitor:
        for number in range(20):
            monitor.record_prediction(f"p{number}", "podium-1", 1, 0.9)
            monitor.record_outcome(f"p{number}", number % 2)
        monitor.add_rule(ACCURACY_LOW)
    return ("--path", "store")


GONE = {
    "full": ('f1mon "$@" > /dev/full', "No space left on device"),
    "a closed pipe": ('f1mon "$@" | true; exit ${PIPESTATUS[0]}', "Broken pipe"),
    "closed": ('f1mon "$@" >&-', "Bad file descriptor"),
}


@pytest.mark.parametrize(("shell", "said"), GONE.values(), ids=GONE)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("evaluate",), 3),
        (("evaluate", "--exit-zero"), 1),
        (("alerts", "--json"), 1),
        (("incident", "nothing"), 1),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_an_alert_that_fired_is_3_also_where_stdout_is_gone(store, shell, said, command, code):
    got, stdout, stderr = ended(*store, *command, shell=shell)
    assert (got, stdout) == (code, "")
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert errors == (["Error: no alert 'nothing' is stored"] if "incident" in command else [f"Error: stdout: {said}"])
    with Monitor.open("jsonl", path="store") as monitor:
        assert len(monitor.alerts()) == ("evaluate" in command)


@pytest.mark.parametrize("stderr", ["2> /dev/full", "2>&-", ">&- 2>&-"])
def test_so_it_is_where_stderr_is_gone(store, stderr):
    assert ended(*store, "evaluate", shell=f'f1mon "$@" {stderr}')[0] == 3
    assert ended(*store, "evaluate", "--rule", "nothing", shell=f'f1mon "$@" {stderr}')[0] == 1
    assert ended("--sideways", shell=f'f1mon "$@" {stderr}')[0] == 2


NOT_TEXT = {
    "a path": (("--path", b"st\xff", "status"), {}),
    "a path that would be made": (("--path", b"st\xff", "rules", "apply", "r.toml"), {}),
    "an address": (("--url", b"sqlite:///st\xff.db", "status"), {}),
    "an address of db": (("--url", b"sqlite:///st\xff.db", "db", "current"), {}),
    "a variable": (("status",), {"F1MON_URL": b"sqlite:///st\xff.db"}),
}


@pytest.mark.parametrize(("arguments", "environ"), NOT_TEXT.values(), ids=NOT_TEXT)
def test_a_place_that_is_not_utf_8_is_wrong_usage_and_nothing_is_made(arguments, environ, tmp_path):
    (tmp_path / "r.toml").write_text(RULES)
    code, stdout, stderr = ended(*arguments, environ=environ)
    assert (code, stdout, len(stderr.splitlines())) == (2, "", 1)
    assert stderr.startswith("Error: ")
    assert "is not UTF-8" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (RULES.encode() + b'description = "\xe4"\n', "not UTF-8, by the byte 0xe4 at position "),
        (RULES.encode("utf-16"), "not UTF-8, by the byte 0xff at position 0"),
        (RULES.encode("utf-8-sig"), "begins with a byte order mark"),
        (b"rules = " + b"[" * 5000, "nested too deeply"),
        (b"\0", "r.toml: "),
    ],
)
def test_a_file_that_is_no_toml_is_wrong_configuration_in_a_line(run, tmp_path, written, said):
    (tmp_path / "r.toml").write_bytes(written)
    result = run("--path", "store", "rules", "apply", "r.toml", code=2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


def test_an_unset_slack_variable_is_no_damage(run, store, monkeypatch):
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(AlertRule("told", "accuracy", "threshold", 0.8, "<", "info", "c", channels=("slack", "pager")))
    result = run(*store, "check", "--json", code=2)
    problems = json.loads(result.stdout)["problems"]
    assert [(one["about"], one["severity"], one["where"]) for one in problems] == [
        ("setup", "error", "channel pager"),
        ("setup", "error", "channel slack"),
    ]
    assert "sound, but not set up" in run(*store, "check", code=2).stderr
    run(*store, "check", "--exit-zero")
    monkeypatch.setenv("F1MON_CHANNEL_PAGER", "file:///tmp/pager")
    monkeypatch.setenv("ALERT_SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
    assert run(*store, "check").stderr.endswith("sound\n")


def test_damage_is_4_whatever_else_is_not_set_up(run, store):
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(AlertRule("told", "accuracy", "threshold", 0.8, "<", "info", "c", channels=("slack",)))
    journal = max(Path("store").rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    content = journal.read_bytes()
    journal.write_bytes(content[:400] + b"#" + content[401:])
    result = run(*store, "check", code=4)
    assert "error: channel slack: " in result.stderr
    assert "damaged" in result.stderr


def test_quiet_says_only_what_is_wrong(run, store):
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(attrs.evolve(ACCURACY_LOW, threshold=0.1))
    assert run(*store, "-q", "evaluate") == ("", "")
    assert run(*store, "evaluate", "--quiet") == ("", "")
    assert run(*store, "check", "--quiet").stderr == ""
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.add_rule(ACCURACY_LOW)
    assert run(*store, "-q", "incident", "nothing", code=1).stderr == "Error: no alert 'nothing' is stored\n"
    fired = run(*store, "evaluate", "--quiet", "--exit-zero")
    assert fired.stderr == ""
    assert len(fired.stdout.splitlines()) == 2


def test_a_command_that_could_not_do_it_fails_also_with_exit_zero(run, store):
    run(*store, "evaluate", "--exit-zero", "--rule", "nothing", code=1)
    run("--path", "elsewhere", "check", "--exit-zero", code=1)
    run("--backend", "nothing", "evaluate", "--exit-zero", code=2)


def test_what_a_command_returns_is_no_exit_code(install_distribution, tmp_path):
    source = "import click\n\n@click.command\ndef command():\n    return 7\n"
    install_distribution("seven", source, group={"f1mon.commands": "seven = seven:command"})
    assert ended("seven", environ={"PYTHONPATH": str(tmp_path)}) == (0, "", "")


READING = ("status", "alerts", "check", "evaluate", "deliver", "deliveries list", "rules list", "silence list")


def tables(url):
    driver = "postgresql+psycopg" if url.startswith("postgresql") else "mysql+pymysql"
    engine = sa.create_engine(sa.make_url(url).set(drivername=driver))
    try:
        return sa.inspect(engine).get_table_names()
    finally:
        engine.dispose()


@pytest.mark.parametrize("family", ["postgresql", "mysql"])
def test_reading_commands_make_no_tables_on_a_server(run, request, family):
    url = request.getfixturevalue(f"{family}_url")
    for command in READING:
        result = run("--url", url, *command.split(), code=1)
        assert "there is no store at" in result.stderr
    assert "none" in run("--url", url, "db", "current", code=1).stdout
    run("--url", url, "check", code=1)
    assert tables(url) == []
    run("--url", url, "silence", "add", "--for", "1h", "--component", "x")
    run("--url", url, "status")


def test_an_empty_file_is_no_database_to_read(run, tmp_path):
    (tmp_path / "empty.db").touch()
    run("--url", "sqlite:///empty.db", "status", code=1)
    assert (tmp_path / "empty.db").read_bytes() == b""


@contextlib.contextmanager
def watching(url):
    """A worker of its own process; its log."""
    main = "from f1mon_core.cli import main; main()"
    command = [sys.executable, "-c", main, "--url", url, "deliver", "--watch", "--interval", "0.1"]
    with Path("log").open("wb") as log, subprocess.Popen(command, stderr=log) as worker:
        try:
            yield Path("log")
        finally:
            worker.send_signal(signal.SIGTERM)
    assert worker.returncode == 0


def until(log, wanted):
    end = time.monotonic() + 30
    while wanted not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def test_a_worker_says_why_it_cannot_reach_its_database():
    server, reason = postgresql_server()
    if server is None:
        pytest.skip(reason)
    name = f"f1mon_test_{os.getpid()}_{time.monotonic_ns()}"
    admin(server, f"CREATE DATABASE {name}")
    gone = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    try:
        with watching(server.set(database=name).render_as_string(hide_password=False)) as log:
            until(log, "delivering until interrupted")
            admin(server, gone)
            until(log, "the outbox could not be served; it is tried again: ConfigurationError: ")
            until(log, f'database "{name}" does not exist')
    finally:
        admin(server, gone)
    assert "Traceback" not in Path("log").read_text()
