"""The guide to writing a backend: a project built from its text alone passes the kit, and its lines bear the load."""

import re
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import pytest
from planted.guide import blocks, load_bearing_lines, module_of, module_text
from planted.registry import OVER

from f1mon_core.testing import LAWS, Location, run_law
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws

pytestmark = pytest.mark.planted
KIT = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_onefile.py")
SLOW = [name for owner in (RaceLaws, KillLaws) for name in vars(owner) if name.startswith("test_")]
FEW = """
from test_onefile import TestOneFile as OneFile

class TestFew(OneFile):
    windows, fresh_rules, meetings, items, kills, writer_kills = 20, 10, 100, 60, 12, 12
"""
LINES = load_bearing_lines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the project of the guide as `pip install --target` leaves it: built, and unpacked."""
    project, target = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("installed")
    (project / "pyproject.toml").write_text(blocks("toml", of="The project")[0], encoding="utf-8")
    (project / "f1mon_onefile.py").write_text(module_text(), encoding="utf-8")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(project)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = project.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    (target / "test_onefile.py").write_text(blocks("python", of="Proving it")[0], encoding="utf-8")
    (target / "using.py").write_text(blocks("python", of="Using it")[0], encoding="utf-8")
    return target


def run_in(folder, *command):
    return subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)


def test_the_project_of_the_guide_passes_the_kit_through_its_entry_point(installed):
    done = run_in(installed, *KIT, "-k", f"TestOneFile and not Offloaded and not ({' or '.join(SLOW)})")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    assert "skipped" not in done.stdout


@pytest.mark.races
def test_the_project_of_the_guide_passes_the_rest_of_the_kit(installed):
    (installed / "test_few.py").write_text(FEW, encoding="utf-8")
    done = run_in(installed, *KIT, "test_few.py", "-k", f"(few and ({' or '.join(SLOW)})) or (Offloaded and append)")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_backend_opens_by_its_name(installed):
    done = run_in(installed, "using.py")
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr


def test_the_report_tells_how_the_installed_backend_stands_a_law(installed):
    path = str(installed / "{fresh}.db")
    done = run_in(installed, "-m", "f1mon_core.testing", "onefile", "--law", "half open", "--path", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass        a window is half open\n" in done.stdout


@pytest.mark.parametrize(
    ("line", "instead", "law"), LINES, ids=[f"{law}-{number}" for number, (*_, law) in enumerate(LINES)]
)
def test_a_line_that_bears_the_load_cannot_be_changed(line, instead, law):
    text = module_text()
    assert text.count(line) == 1, f"the guide names a line that stands {text.count(line)} times in its module"
    module = module_of(text.replace(line, instead), f"f1mon_onefile_broken_{LINES.index((line, instead, law))}")

    @contextmanager
    def location():
        with OVER["onefile"].location() as sound:
            yield Location(module.backend, **sound.options)

    verdict = run_law(location, law)
    assert verdict.status == "fail", f"{instead!r} survives {law!r}"
    assert not isinstance(verdict.error, NameError | SyntaxError), verdict.trace


@pytest.mark.parametrize("law", sorted({law for *_, law in LINES}))
def test_the_store_of_the_guide_keeps_the_laws_it_names(law):
    assert law in LAWS
    verdict = run_law(OVER["onefile"].location, law)
    assert verdict.status == "pass", verdict.trace
