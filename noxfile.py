"""The checks of f1mon. `nox` runs all that a change must pass; `nox -s quick`, `kit`, `bench` and `soak` are asked for.

Faults are planted by a session of its own, `mutants`, which `nox` adds where what they are planted in has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]
QUICK = "not planted and not races and not faults and not servers and not seasons and not soak"
"""What also runs on the newest Python; races, faults, servers and whole seasons run once, on the oldest."""
PLANTED_IN = [
    *(f"src/f1mon_core/{room}/**/*.py" for room in ("records", "storage", "testing")),
    *("tests/mutants/**/*.py", "docs/write-a-backend.md"),
]
"""What decides whether a planted fault is caught: the kit, what it judges by, the faults, and the guide's backend."""
CAUGHT = ROOT / "tests" / "mutants" / "caught.sha256"
"""The state of `PLANTED_IN` in which every fault was last caught. To be committed; a wrong one only costs time."""
PARALLEL = ("-n", "2", "--dist", "loadscope")
"""A module, a class or a page stays with one worker: the examples of a page build on each other."""
COVERAGE = ("--cov", "--cov-report=term:skip-covered")
"""Branches, with the floor that `pyproject.toml` sets."""

# Interpreters that pyenv keeps off the PATH.
_PYENV = sorted(Path.home().glob(".pyenv/versions/3.1*/bin"))
os.environ["PATH"] = os.pathsep.join([*map(str, _PYENV), os.environ["PATH"]])
# To compile all it imports, each of the many processes that tests start would take twice as long to begin.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The heaps that threads get for themselves are memory that every fork copies the tables of.
os.environ["MALLOC_ARENA_MAX"] = "1"

for _version in PYTHONS:
    if shutil.which(f"python{_version}") is None:
        print(f"NOTE: there is no python{_version} on this machine; what needs it is left out", file=sys.stderr)

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
# On a continuous-integration machine (`CI` is set) a missing interpreter is red; elsewhere it is named above and below.
nox.options.error_on_missing_interpreters = "CI" in os.environ
nox.options.sessions = ["lint", "typing", "wheel", "minimums", *(f"tests-{version}" for version in reversed(PYTHONS))]


def _planted_in() -> str:
    """A hash of `PLANTED_IN`: of the files, for a shallow clone or an archive has no history to compare with."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in PLANTED_IN for path in ROOT.glob(pattern)}):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


if CAUGHT.exists() and CAUGHT.read_text().strip() == _planted_in():
    print("NOTE: no fault is planted: all were caught in what is here (nox -s mutants plants them)", file=sys.stderr)
else:
    nox.options.sessions = [*nox.options.sessions, "mutants"]


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Ruff, every rule on; and the floors of the house."""
    session.install("--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("python", "tools/generate_async.py", "--check")
    # It reads the packages where they lie, and runs nothing of them.
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "src"})
    session.run("python", "tools/generate_api.py", "--check")
    session.run("towncrier", "build", "--draft", "--version", "unreleased", silent=True)


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Mypy, strict, over the three packages; and what a user's checker makes of them."""
    session.install("-e", ".", "--group", "typing")
    session.run("mypy")
    session.run("mypy", "tests/typing")


@nox.session(python=OLDEST)
def wheel(session: nox.Session) -> None:
    """The main job and its tests against the built wheel, in a fresh environment."""
    built = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run("uv", "build", "--quiet", "--out-dir", str(built), external=True)
    (wheel,) = built.glob("*.whl")
    packed = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    if packed != {"f1mon_core", "f1mon_jsonl", "f1mon_sql", f"{wheel.name.rpartition('-py3')[0]}.dist-info"}:
        session.error(f"the wheel holds {sorted(packed)}")
    outside = session.create_tmp()
    # Core alone: a backend whose extra is missing says so, and the command line works.
    session.install(f"f1mon @ {wheel.as_uri()}")
    with session.chdir(outside):
        session.run("f1mon", "backends")
        session.run("f1mon", "--url", "sqlite:///none.db", "check", success_codes=[2])
        session.run("f1mon", "db", "upgrade", "--url", "sqlite:///none.db", success_codes=[2])
        session.run("f1mon", "report", "none.html", success_codes=[2])
        session.install(f"f1mon[all] @ {wheel.as_uri()}")
        shutil.rmtree("season", ignore_errors=True)
        session.run("f1mon", "demo", "season")
        session.run("f1mon", "--path", "season", "check")
        session.run("f1mon", "--path", "season", "report", "season.html")  # templates and style sheet are in the wheel
    session.install("--group", "test", f"f1mon[all,testing] @ {wheel.as_uri()}")
    session.run("pytest", *PARALLEL, "-m", QUICK, "tests/packaging", "tests/cli", "tests/legacy", *session.posargs)


@nox.session(python=OLDEST)
def minimums(session: nox.Session) -> None:
    """The quick tests with the oldest version of everything that `pyproject.toml` allows."""
    # Named one by one: a bound counts as direct only where its extra is asked for.
    extras = ",".join(sorted(nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]))
    session.install("--resolution", "lowest-direct", "-e", f".[{extras}]", "--group", "test")
    _quick(session)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite on the oldest Python, its branches counted; less on the newest; what a version could break between."""
    session.install("-e", ".", "--group", "test")
    if session.posargs:
        session.run("pytest", *session.posargs)
    elif session.python == OLDEST:
        hard = ["-m", "(races or faults) and not planted and not soak"]
        kit, on_servers = [*hard, "tests/contract"], "MariaDB or PostgreSQL"
        kits = [*kit, "-k", on_servers], [*kit, "-k", f"not ({on_servers})"]
        _side_by_side(session, *kits, [*hard, "tests", "--ignore=tests/contract"])
        easy = ["-m", "not planted and not races and not faults and not soak"]
        seasons = ("alerts/test_replay.py", "legacy/test_real_season.py")
        many = [f"tests/{place}" for place in ("agreement", "contract", "mutants", *seasons)]
        session.run("pytest", *PARALLEL, *easy, *many)
        # Counting doubles what Python itself takes, so those that do the same for many rows and stores are not counted.
        session.run("pytest", *PARALLEL, *COVERAGE, *easy, *(f"--ignore={place}" for place in many))
    elif session.python == NEWEST:
        _quick(session)
    else:
        # What fails between two versions that pass fails where something is imported, parsed, stored or printed.
        rooms = [f"tests/{room}" for room in ("packaging", "records", "storage", "jsonl", "sql", "cli")]
        session.run("pytest", *PARALLEL, "-m", QUICK, *rooms)


@nox.session(python=OLDEST)
def quick(session: nox.Session) -> None:
    """What a developer wants to know before the next line: meant to take 4 minutes at most."""
    session.install("-e", ".", "--group", "test")
    _quick(session)


@nox.session(python=OLDEST)
def mutants(session: nox.Session) -> None:
    """Plant every fault; when all are caught, note the state in which they were."""
    session.install("-e", ".", "--group", "test")
    planted, hard = ["tests/mutants", *session.posargs], "planted and (races or faults)"
    before = _planted_in()
    _side_by_side(
        session,
        [*planted, "-m", hard],
        [*planted, "-m", "planted and not races and not faults", *PARALLEL],
    )
    if not session.posargs:
        CAUGHT.write_text(f"{before}\n")


@nox.session(python=OLDEST)
def kit(session: nox.Session) -> None:
    """The contract kit alone, over every backend in every colour: meant to take 6 minutes; nox says what it took."""
    session.install("-e", ".", "--group", "test")
    every, servers = ["tests/contract/test_backends.py", *session.posargs], ("MariaDB", "PostgreSQL")
    shares = ["Offloaded", *(f"{name} and not Offloaded" for name in servers)]
    shares.append(f"not (Offloaded or {' or '.join(servers)})")
    _side_by_side(session, *([*every, "-k", share] for share in shares))


@nox.session(python=OLDEST)
def soak(session: nox.Session) -> None:
    """The long fault sessions and deep searches, and every planted fault; hours."""
    session.notify("mutants")
    session.install("-e", ".", "--group", "test")
    session.run("pytest", "-m", "soak", "--timeout", "0", *session.posargs)


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """Every script in `benchmarks/`: ratios against a baseline measured in the same run."""
    session.install("-e", ".", "--group", "test")
    wanted = [ROOT / "benchmarks" / f"{name}.py" for name in session.posargs]
    for script in wanted or sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        session.run("python", str(script))


def _side_by_side(session: nox.Session, *selections: list[str]) -> None:
    """Run each selection in a process of pytest of its own: what forks or kills wants no thread of a runner in it.

    Races and faults wait for disks, servers and each other, which is time for those beside them.
    """
    pytest = [str(Path(session.bin) / "pytest"), "-p", "no:cacheprovider"]
    # Not in the session's own directory: nox would make that the tests' TMPDIR, too long a path for a server's socket.
    logs = [Path(tempfile.mkdtemp(prefix="f1mon-nox-")) / "pytest.log" for _ in selections]
    environment = {**os.environ, **{name: value for name, value in session.env.items() if value is not None}}
    running = []
    for selection, log in zip(selections, logs, strict=True):
        session.log(f"pytest {' '.join(selection)}, into {log}")
        with log.open("wb") as output:
            command = [*pytest, *selection]
            running.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment))
    codes = [process.wait() for process in running]
    for log in logs:
        print(log.read_text(errors="replace"), flush=True)
    if any(codes):
        session.error(f"pytest ended with {codes}")


def _quick(session: nox.Session) -> None:
    session.log(f"Python {session.python}: without races, faults, servers and seasons, which run on Python {OLDEST}")
    session.run("pytest", *PARALLEL, "-m", QUICK, *session.posargs)
