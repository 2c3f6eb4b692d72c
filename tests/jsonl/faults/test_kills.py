"""Whatever a writer is doing when it is killed, nothing acknowledged is lost, doubled or half there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def kill_points(*arguments: str) -> dict[str, object]:
    """Run the campaign in a small warm process of its own; forking this one would cost six times as much."""
    # By its path: a distribution that brings a package named `tests` along would be taken for this folder.
    run = (
        "import runpy, sys, types; tests = sys.modules['tests'] = types.ModuleType('tests');"
        f" tests.__path__ = [{str(ROOT / 'tests')!r}];"
        f" runpy.run_module({f'{__package__}.kills'!r}, run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", run, *arguments], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.faults
def test_nothing_acknowledged_is_lost_wherever_a_writer_is_killed(counted):
    found = kill_points()
    counted("kill points", found["kill_points"], len(found["violations"]))
    assert found["violations"] == []
    assert found["kill_points"] >= 4_000


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_wherever_a_writer_and_its_successor_are_killed(counted):
    found = kill_points("--deep")
    counted("kill points", found["kill_points"], len(found["violations"]))
    assert found["violations"] == []
    assert found["kill_points"] >= 60_000
