"""The documents keep their word: what they name is there, and what is generated is what its source says."""

import inspect
import re
import subprocess
import sys
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
    "migrating.md": {"f1mon_core", "f1mon_core.legacy"},
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
