"""Whatever somebody types for a store: it is one, or a typed error, in one line and without a password in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from f1mon_core import AlertRule, Monitor
from f1mon_core.errors import F1monError

from .odd import (
    CANARY,
    COMMANDS,
    ENVIRONMENT,
    FAMILIES,
    addresses,
    commanded,
    environment,
    harmless,
    opened,
    option_values,
    shows,
    told_by,
)

DOORS = ["argument", "url", "sql", "jsonl", "async", "environment"]
FORMS = [
    "--url {} C",
    "--url={} C",
    "--backend {} C",
    "--path {} C",
    "C --url {}",
    "C {}",
    "{} C",
    "C --window={}",
    "{}",
]
DEEP = pytest.param(10_000, marks=pytest.mark.soak, id="deep")


def tried(count):
    """So many examples; they share the test's working directory."""
    # The small ones are the same each time, so that nobody's change is red for what another's left; `soak` searches.
    same = count < 1_000
    return settings(max_examples=count, derandomize=same, suppress_health_check=list(HealthCheck), database=None)


def assert_told(said, *, found=(0,)):
    """A command ended as documented: by its exit code, with what went wrong in one line, and discreetly."""
    assert said.code in (*found, 1, 2), said
    assert not shows(said.stderr), said
    if said.code in (1, 2):
        wrong = [line for line in said.stderr.splitlines() if not line.startswith("f1mon: warning: ")]
        assert len(wrong) == 1, said
        assert wrong[0].startswith("Error: "), said
        assert wrong[0].isprintable(), said


@pytest.mark.parametrize("count", [60, DEEP])
def test_a_library_opens_it_or_says_why_not(count, caplog):
    @tried(count)
    @given(addresses(), st.sampled_from(DOORS))
    @example(f"jsonl://u:{CANARY}@h/d?x=1", "url")
    @example(f"postgresql://u@127.0.0.1:1/d?password=p&{CANARY}", "argument")
    @example(f"postgresql://u@127.0.0.1:1/d?password=p&{CANARY}=x", "async")
    @example(f"mysql://u:p%ff{CANARY}@127.0.0.1:1/d", "argument")
    @example(f"mysql://u:p%ff{CANARY}@127.0.0.1:1/d", "async")
    @example(f"postgresql://u:{CANARY}@a..b:1/d", "argument")
    @example(f"postgresql://u:{CANARY}@{'x' * 70}:1/d", "async")
    @example(f"sqlite://u:{CANARY}@h/d", "sql")
    @example(f"sqlite:///u{CANARY}%00", "argument")
    @example(f"postgresql://u@127.0.0.1:1/d?passwort={CANARY}", "url")
    def holds(address, door):
        assume(harmless(address))
        variables = {"F1MON_URL": address.replace("\0", "").replace("\ud800", "?")} if door == "environment" else {}
        with environment(variables):
            error = opened(door, address)
        assert error is None or isinstance(error, F1monError)
        assert error is None or not shows(told_by(error))
        assert not shows(caplog.text)
        caplog.clear()

    holds()


@pytest.mark.parametrize("count", [80, DEEP])
def test_the_command_line_works_on_it_or_says_why_not(count):
    @tried(count)
    @given(addresses(), st.sampled_from(COMMANDS), st.sampled_from(FORMS))
    @example(f"nonsense:/u:p;{CANARY}", ("check",), "C {}")
    @example(f'mysql+://u:p"{CANARY}:p"{CANARY}@h/d?user:password=p"{CANARY}', ("status",), "C {}")
    @example(f"jdbc:postgresql://u:p\n{CANARY}@h/d", ("channels", "list"), "C {}")
    @example(f"memory://u:{CANARY}@@h/d?pass_word=p#{CANARY}", ("status",), "--path {} C")
    @example(f"postgresql://u%3A{CANARY}@h/d", ("check",), "--path {} C")
    @example(f"mysql//u:p[{CANARY}", ("snapshot",), "C {}")
    def holds(address, command, form):
        address = address.replace("\0", "")
        assume(harmless(address) and ("--path" not in form or "://" in address))  # else a directory may be meant
        parts = [command if part == "C" else [part.replace("{}", address)] for part in form.split(" ")]
        with environment({}):
            said = commanded([word for part in parts for word in part])
        assert_told(said)
        assert not shows(said.stdout), said

    holds()


@pytest.mark.parametrize("count", [50, DEEP])
def test_an_environment_names_one_or_it_is_said_why_not(count):
    @tried(count)
    @given(ENVIRONMENT, st.sampled_from(COMMANDS), st.booleans())
    @example({"PGPORT": "port"}, ("status",), True)
    @example({"PGCONNECT_TIMEOUT": "soon"}, ("status",), True)
    @example({"PGSERVICE": "nowhere"}, ("db", "current"), True)
    @example({"PGCHANNELBINDING": "yes"}, ("status",), True)
    @example({"MONITORING_DB_ENABLED": "true", "MONITORING_DB_POOL_SIZE": f"memory://u:p;{CANARY}"}, ("status",), False)
    @example({"F1MON_BACKEND": f"u:{CANARY}@h", "F1MON_URL": f"jsonl://u:{CANARY}@h"}, ("status",), False)
    def holds(variables, command, libpq):
        assume(harmless(variables.get("F1MON_URL", "")) and not variables.get("MONITORING_DB_PATH", "").startswith("/"))
        words = ["--url", "postgresql://u@/d", *command] if libpq and "PGHOST" in variables else command
        with environment({"PGHOST": "127.0.0.1", **variables}):
            assert_told(commanded(words))

    holds()


@pytest.mark.parametrize(
    "variables",
    [
        {"PGPORT": "port"},
        {"PGCONNECT_TIMEOUT": "soon"},
        {"PGSERVICE": "nowhere"},
        {"PGSSLMODE": "on"},
        {"PGREQUIREAUTH": "x"},
    ],
)
def test_a_variable_that_libpq_cannot_use_is_a_wrong_configuration(variables):
    with environment({"PGHOST": "127.0.0.1", **variables}):
        said = commanded(["--url", "postgresql://u@/d", "status"])
    assert (said.code, said.stderr.count("\n")) == (2, 1)
    assert "to repeat is safe" not in said.stderr


@pytest.fixture
def store():
    """A small store in the working directory, and a file of rules."""
    with Monitor.open("jsonl", path="store") as monitor:
        monitor.record_prediction("p0", "m", 1, 0.9)
        monitor.record_outcome("p0", 1)
        monitor.add_rule(AlertRule("low", "accuracy", "threshold", 0.5, "<", "warning", "c"))
    Path("rules.toml").write_text('[[rules]]\nrule_id = "low"\n', encoding="utf-8")
    return ["--path", "store"]


@pytest.mark.parametrize("count", [80, DEEP])
def test_an_option_is_obeyed_or_it_is_said_why_not(count, store):
    @tried(count)
    @given(option_values())
    @example(["db", "upgrade", "--url", "sqlite:///d.db", "--timeout", "nan"])
    @example(["db", "upgrade", "--url", "sqlite:///d.db", "--revision", "\x1b[2J"])
    def holds(words):
        with environment({"F1MON_URL": "sqlite:///d.db"} if words[0] == "db" else {}):
            assert_told(commanded([*(() if words[0] == "db" else store), *words]), found=(0, 3, 4, 5))

    holds()


PROCESSES = [
    (["--url", f"postgresql:/u:{CANARY}@h/d", "status"], {}),
    (["status", f"postgresql://u:{CANARY}@h/d"], {}),
    (["status"], {"F1MON_URL": f"mysql://u:p%ff{CANARY}@127.0.0.1:1/d"}),
    (["db", "current"], {"F1MON_URL": f"sqlite:///d?password={CANARY}"}),
]


@pytest.mark.parametrize(("words", "variables"), PROCESSES)
def test_a_process_ends_so_too(words, variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FAMILIES)}
    command = [sys.executable, "-c", "from f1mon_core.cli import main; main()", *words]
    done = subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("Error: ")
    assert not shows(done.stderr)
