"""What an installer sees: the names, extras and entry points of the distribution, and nothing that is not meant."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import f1mon_core

ROOT = Path(__file__).parents[2]
PAGES = {".html", ".css", ".svg"}
PACKAGES = ("f1mon_core", "f1mon_jsonl", "f1mon_sql")


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_stands_in_one_file():
    assert distribution("f1mon").version == f1mon_core.__version__


def test_the_licence_is_apache():
    metadata = distribution("f1mon").metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_pythons_that_are_claimed_are_those_that_are_tested():
    claimed = [line.rpartition(" ")[2] for line in distribution("f1mon").metadata.get_all("Classifier") if "3." in line]
    assert claimed == ["3.11", "3.12", "3.13"]
    assert "nox.project.python_versions" in (ROOT / "noxfile.py").read_text()


def test_core_alone_needs_four_small_libraries():
    needed = {line.partition(">")[0] for line in distribution("f1mon").requires if "extra ==" not in line}
    assert needed == {"attrs", "cattrs", "click", "msgspec"}


def test_every_extra_but_testing_is_in_all_and_nothing_is_capped(project):
    extras = project["optional-dependencies"]
    assert extras["all"] == [f"f1mon[{','.join(name for name in extras if name not in ('all', 'testing'))}]"]
    assert not [line for lines in [project["dependencies"], *extras.values()] for line in lines if "<" in line]


def test_backends_are_entry_points_whose_name_is_their_extra(project):
    backends = {one.name for one in entry_points(group="f1mon.backends") if one.dist and one.dist.name == "f1mon"}
    assert backends == {"memory", "jsonl", "sql"}
    assert backends - {"memory"} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_carries_its_types(package):
    assert (Path(f1mon_core.__file__).parents[1] / package / "py.typed").exists()


def test_a_source_distribution_holds_all_that_its_tests_need(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    suffixes = {".py", ".md", ".json", ".jsonl", ".sql", ".db", ".mako", ".txt", ".typed", ".html", ".css", ".svg"}
    lying = [path for top in ("src", "tests", "docs") for path in (ROOT / top).rglob("*") if path.suffix in suffixes]
    needed = {str(path.relative_to(ROOT)) for path in [*lying, *ROOT.glob("*.py"), *ROOT.glob("*.md")]}
    assert {"conftest.py", "noxfile.py", "README.md"} <= needed
    assert needed - packed == set()


def test_the_commands_of_the_readme_are_those_that_work(project):
    readme = (ROOT / "README.md").read_text()
    assert "pip install '.[all]' && f1mon demo" in readme
    assert "pip install nox uv && nox" in readme
    assert project["scripts"]["f1mon"] == "f1mon_core.cli:main"


def test_a_wheel_holds_what_pages_are_made_of(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(built).namelist())
    web = ROOT / "src" / "f1mon_core" / "web"
    needed = {f"f1mon_core/web/{path.relative_to(web)}" for path in web.rglob("*") if path.suffix in PAGES}
    assert {"f1mon_core/web/templates/base.html", "f1mon_core/web/static/f1mon.css"} <= needed
    assert needed - packed == set()
