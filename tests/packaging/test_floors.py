"""The floors of the house run one way, and what watches over them notices a step the other way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"


@pytest.fixture
def copied(tmp_path):
    """The sources and the floors they stand on, to plant an import in."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def linted(directory):
    environ = {**os.environ, "PYTHONPATH": str(directory / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=directory, env=environ, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_every_module_stands_where_it_may(copied):
    status, said = linted(copied)
    assert status == 0, said


@pytest.mark.parametrize(
    ("module", "imported", "broken"),
    [
        ("f1mon_sql/sync.py", "f1mon_core.alerts", "A backend and the kit import nothing above storage"),
        ("f1mon_core/testing/laws/races.py", "f1mon_core.alerts.watch", "the kit import nothing above storage"),
        ("f1mon_core/metrics/measurement.py", "f1mon_core.alerts", "Floors run one way"),
        ("f1mon_sql/sync.py", "f1mon_jsonl", "know nothing of each other"),
    ],
)
def test_an_import_against_the_floors_is_noticed(copied, module, imported, broken):
    planted = copied / "src" / module
    planted.write_text(f"{planted.read_text(encoding='utf-8')}\nimport {imported}\n", encoding="utf-8")
    status, said = linted(copied)
    assert status == 1, said
    (red,) = [line for line in said.splitlines() if " BROKEN" in line]
    assert broken in red
