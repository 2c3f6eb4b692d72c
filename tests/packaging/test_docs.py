"""The documents keep their word: what they name is there, and what is generated is what its source says."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import f1mon_core
from f1mon_core import Monitor

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")], key=str)
OPEN_TO = {
    "write-a-backend.md": {"f1mon_core", "f1mon_core.storage", "f1mon_core.records", "f1mon_core.errors"}
    | {"f1mon_core.testing"},
    "backend-on-keys.md": {"f1mon_core.storage", "f1mon_core.storage.keyvalue", "f1mon_core.errors"},
    "backend-on-redis.md": {"f1mon_core.storage", "f1mon_core.storage.keyvalue", "f1mon_core.errors"},
    "dashboard.md": {"f1mon_core", "f1mon_core.web"},
    "migrating.md": {"f1mon_core", "f1mon_core.legacy"},
    "sql.md": {"f1mon_core", "f1mon_sql"},
}
"""The doors that a page shows its readers; every other page shows the one."""


def read(path):
    return path.read_text(encoding="utf-8")


def named(page):
    return pytest.mark.parametrize("page", page, ids=[str(one.relative_to(ROOT)) for one in page])


def test_the_api_is_what_the_docstrings_say():
    command = [sys.executable, str(ROOT / "tools" / "generate_api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_api_shows_every_name_of_the_door_and_every_method_of_monitor():
    headings = set(re.findall(r"^###+ (\S+)$", read(DOCS / "api.md"), re.MULTILINE))
    methods = {name for name, _ in inspect.getmembers(Monitor, callable) if not name.startswith("_")}
    wanted = {name for name in f1mon_core.__all__ if not name.startswith("_")} | {f"Monitor.{name}" for name in methods}
    assert wanted - headings == set()


@named(PAGES)
def test_what_a_page_links_to_is_there(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", read(page))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@named(PAGES)
def test_a_page_imports_from_the_doors_meant_for_its_readers(page):
    imported = set(re.findall(r"^\s*from (f1mon_\w+(?:\.\w+)*) import", read(page), re.MULTILINE))
    assert imported <= OPEN_TO.get(page.name, {"f1mon_core"})


def rows_under(heading):
    """The rows of the first table under a heading of the architecture."""
    section = read(DOCS / "architecture.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [row.strip("|").split("|") for row in re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]]


def test_ten_questions_are_answered_by_files_that_are_there():
    answers = {question.strip(): re.findall(r"`(.+?)`", files) for question, files in rows_under("Where is …?")}
    assert len(answers) == 10
    assert all(answers.values())
    assert [file for files in answers.values() for file in files if not (ROOT / "src" / file).is_file()] == []


def test_the_picture_of_the_floors_is_the_contract_of_the_linter():
    contracts = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (floors,) = [one["layers"] for one in contracts if one.get("containers") == ["f1mon_core"]]
    picture = read(DOCS / "architecture.md").partition("```text\nf1mon_core\n")[2].partition("\n     ^")[0]
    drawn = [line.split() for line in picture.splitlines() if line.startswith("  ")]
    assert [words[0] for words in drawn[:-1]] == floors[:-1]
    lowest = {name.strip() for name in floors[-1].split(":")}
    assert {name for name in lowest if not name.startswith("_")} <= {word.strip(",:") for word in drawn[-1]}


def test_files_the_architecture_names_are_there():
    files = [str(path.relative_to(ROOT)) for top in ("src", "tools") for path in (ROOT / top).rglob("*.py")]
    wanted = set(re.findall(r"`([\w/]+\.py)`", read(DOCS / "architecture.md") + read(ROOT / "CONTRIBUTING.md")))
    missing = {name for name in wanted if not any(file == name or file.endswith(f"/{name}") for file in files)}
    assert missing == set()


def test_every_note_of_the_news_is_one_that_a_release_finds():
    types = [one["directory"] for one in tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["towncrier"]["type"]]
    names = [path.name for path in (ROOT / "news").iterdir() if path.name != "README.md"]
    assert [name for name in names if not re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(types)})\.md", name)] == []
