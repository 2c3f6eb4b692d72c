"""The command itself: its options, its errors, its exit codes, and the commands of other distributions."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from f1mon_core import __version__
from f1mon_core.cli.backends import backends
from f1mon_core.monitor import Monitor

from ..factories import raised


def test_the_version_is_said(run):
    assert run("--version").stdout == f"f1mon, version {__version__}\n"


def test_a_backend_is_verified_by_name(capfd):
    main = CliRunner()
    done = main.invoke(backends, ["--verify", "memory", "--law", "count has", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(capfd.readouterr().out)["counts"] == {"pass": 1}
    assert main.invoke(backends, ["--verify", "nothing"]).exit_code == 2
    assert main.invoke(backends, ["--law", "count has"]).exit_code == 2


def test_backends_lists_what_is_installed_and_whether_it_is_ready(run):
    listed = {one["backend"]: one for one in json.loads(run("backends", "--json").stdout)}
    assert {"jsonl", "memory", "sql"} <= set(listed)
    assert listed["memory"]["state"] == "ready"
    assert listed["memory"]["durable"] is False
    lines = run("backends").stdout.splitlines()
    assert lines[0].split()[:2] == ["backend", "distribution"]
    assert any(line.split()[:4] == ["memory", "f1mon", "no", "no"] for line in lines)


def test_check_of_a_sound_store_says_so_and_ends_with_0(run):
    result = run("--backend", "memory", "check", "--json")
    assert json.loads(result.stdout) == {"store": "memory://", "ok": True, "facts": {}, "problems": []}
    assert "sound" in run("--url", "memory://", "check").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backend", "memry", "check"), "did you mean 'memory'?"),
        (("--url", "nowhere://", "check"), "no address scheme 'nowhere'"),
        (("--backend", "memory", "--path", "x", "check"), "has no option path"),
        (("chekc",), "Did you mean 'check'?"),
        (("--sideways",), "--sideways"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_code_2(run, arguments, said):
    result = run(*arguments, code=2)
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


A_COMMAND = """
    import click
    from f1mon_core.cli.place import pass_place

    @click.command
    @pass_place
    def command(place):
        "Say hello."
        with place.open() as monitor:
            click.echo(f"hello {monitor.storage.address}")
"""


def test_another_distribution_adds_a_command_which_is_imported_when_it_is_called(run, install_distribution):
    install_distribution("hello-f1mon", A_COMMAND, group={"f1mon.commands": "hello = hello_f1mon:command"})
    run("--version")
    run("backends")
    assert "hello_f1mon" not in sys.modules
    assert run("--url", "memory://", "hello").stdout == "hello memory://\n"
    assert "Say hello." in run("--help").stdout


@pytest.mark.parametrize(
    ("source", "said"),
    [("1 / 0", "does not load: ZeroDivisionError"), ("command = 7", "is not a click command")],
)
def test_a_command_that_does_not_load_breaks_no_other_and_not_the_help(run, install_distribution, source, said):
    install_distribution("broken-one", source, group={"f1mon.commands": "broken = broken_one:command"})
    run("backends")
    assert "command 'broken' does not load" in run("--help").stdout
    assert said in run("broken", code=1).stderr


def test_a_command_whose_extra_is_not_installed_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['sqlalchemy'] = None; from f1mon_core.cli import main; main()"
    command = [sys.executable, "-c", code, "db", "upgrade", "--url", "sqlite:///x.db"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "which is not installed: pip install 'f1mon[sql]'" in line


def test_a_command_that_misses_no_library_of_an_extra_is_broken(run, install_distribution):
    group = {"f1mon.commands": "odd = odd_one:command"}
    install_distribution("odd-one", "import nonexistent_library", group=group, requires=("other; extra == 'odd'",))
    assert "does not load: ModuleNotFoundError" in run("odd", code=1).stderr


STORES = {
    "no address": ({"F1MON_BACKEND": "sql"}, ()),
    "no address in the arguments": ({}, ("--backend", "sql")),
    "a directory": ({}, ("--backend", "sql", "--path", "x")),
    "another's address": ({"F1MON_URL": "jsonl://x"}, ("--backend", "sql")),
}


@pytest.mark.parametrize(("environ", "arguments"), STORES.values(), ids=STORES)
def test_a_backend_without_what_it_needs_is_wrong_usage_in_one_line(environ, arguments, run, monkeypatch, tmp_path):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    *_, line = run(*arguments, "status", code=2).stderr.splitlines()
    assert line.startswith("Error: backend 'sql' needs url: give an address")
    assert not list(tmp_path.iterdir())


def test_a_backend_without_a_place_is_where_the_environment_says(run, monkeypatch):
    for name, backend in (("sqlite:///x.db", "sql"), ("jsonl://x", "jsonl")):
        monkeypatch.setenv("F1MON_URL", name)
        with Monitor.open() as monitor:
            monitor.create_alert(**raised(severity="info", title="here"))
        assert "here" in run("--backend", backend, "alerts").stdout


READING = (
    *("status", "alerts", "check", "snapshot", "evaluate", "deliver", "deliveries list", "rules list", "rules show r"),
    *("rules enable r", "rules apply r.toml --dry-run", "silence list", "ack a --by me", "db current", "db check"),
)


@pytest.mark.parametrize(
    ("command", "address"),
    [
        *((command, "sqlite:///no/such.db") for command in READING),
        *((command, "jsonl://no/such") for command in READING if not command.startswith("db ")),
    ],
)
def test_a_command_that_only_reads_makes_no_store_where_none_is(command, address, run, tmp_path):
    rules = tmp_path / "r.toml"
    rules.write_text("")
    said = run("--url", address, *command.split(), code=1)
    assert said.stderr.splitlines() == [
        f"Error: there is no store at {address}; whoever records something there first makes it"
    ]
    assert list(tmp_path.iterdir()) == [rules]


def test_a_directory_without_a_journal_is_no_store_to_read(run, tmp_path):
    (tmp_path / "data" / "monitoring").mkdir(parents=True)
    assert "no store at the default place of jsonl" in run("--backend", "jsonl", "status", code=1).stderr
    run("--backend", "jsonl", "silence", "add", "--for", "1h", "--component", "x")
    run("--backend", "jsonl", "status")


@pytest.mark.parametrize("command", ["silence add --for 1h --component x", "rules apply r.toml", "db upgrade"])
def test_a_command_that_writes_makes_the_database(command, run, tmp_path):
    (tmp_path / "r.toml").write_text("")
    run("--url", "sqlite:///some/new.db", *command.split())
    assert (tmp_path / "some/new.db").is_file()
    run("--url", "sqlite:///some/new.db", "status")


def test_a_backend_that_cannot_tell_whether_a_store_is_there_opens_it(run):
    run("--backend", "memory", "status")


def test_a_command_that_two_distributions_claim_names_both(run, install_distribution):
    for name in ("one-hello", "two-hello"):
        point = f"hello = {name.replace('-', '_')}:command"
        install_distribution(name, A_COMMAND, group={"f1mon.commands": point})
    message = run("hello", code=1).stderr
    assert "one-hello (one_hello:command) and two-hello (two_hello:command)" in message


def test_hostile_text_reaches_no_terminal(run):
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.create_alert(**raised(severity="info", title="a\x1b[2J", message="b\n\u202ec\r"))
    shown = run("--path", "store", "alerts").stdout
    assert len(shown.splitlines()) == 2
    assert all(character.isprintable() for character in shown.replace("\n", ""))
