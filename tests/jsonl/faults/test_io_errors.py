"""Errors of the operating system, injected at every call and provoked for real: typed, harmless, and over once over."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from f1mon_core.errors import CorruptStoreError, NotWritten
from f1mon_core.storage.select import Select
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.disk.files import Files

from .io_errors import Errors, LyingDisk
from .planted import no_taking_over
from .scenarios import COMPACTION, FIRST_LINES, OUTCOMES, PLAIN, SINGLES, TRANSITIONS, TWO_HANDLES, prediction
from .verdict import scratch, shared_out

pytestmark = pytest.mark.faults


def test_every_injected_error_is_typed_and_loses_nothing(counted):
    findings = shared_out([Errors(scenario, first, 4) for scenario in PLAIN for first in range(4)], processes=2)
    counted("injected errors", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried >= 1_000


def test_what_a_failed_sync_lost_is_written_again_before_anything_is_acknowledged(counted):
    scenarios = (SINGLES, OUTCOMES, TRANSITIONS, COMPACTION, TWO_HANDLES, FIRST_LINES)
    findings = shared_out([LyingDisk(scenario, most=4) for scenario in scenarios], processes=2)
    counted("states after a failed sync and a power loss", findings.tried, len(findings.violations))
    assert findings.violations == []
    assert findings.tried >= 500


def test_the_harness_notices_a_store_that_trusts_a_sync_after_one_that_failed():
    with scratch() as home, no_taking_over():
        assert LyingDisk(SINGLES, most=4)(Path(home)).violations


class OntoAFullDevice(Files):
    """Every write goes to /dev/full, so that the error is the kernel's own."""

    def pwrite(self, _, data, offset):
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            return os.pwrite(full, data, offset)
        finally:
            os.close(full)


def test_a_full_device_is_typed_and_loses_nothing(tmp_path):
    if not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full here")
    store = JSONLStorage(tmp_path)
    store.append([prediction("before")])
    full = JSONLStorage(tmp_path, _files=OntoAFullDevice())
    for call in (lambda: full.append([prediction("p")]), full.compact):
        with pytest.raises(NotWritten, match="No space left"):
            call()
        assert [one.prediction_id for one in full.find(Select("prediction"))] == ["before"]
    store.append([prediction("p")])
    assert store.check().problems == []
    assert len(full.find(Select("prediction"))) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["journal.jsonl", "LOCK"])
def test_a_device_in_the_place_of_a_file_is_refused(tmp_path, name):
    """Before anything is written to it: what a full one answers is another test."""
    try:
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, Path("/dev/full").stat().st_rdev)
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    if name == "LOCK":  # nothing is read from or written to it
        JSONLStorage(tmp_path).close()
        return
    with pytest.raises(CorruptStoreError):
        JSONLStorage(tmp_path)


WORKER = """
import sys
from f1mon_core.errors import NotWritten, OutcomeUnknown
from f1mon_core.records import Prediction
from f1mon_jsonl import JSONLStorage

store = JSONLStorage(sys.argv[1])
for number in range(4):
    try:
        store.append([Prediction(prediction_id=f"p{number}", model_version="m", predicted_outcome=1, confidence=0.5)])
        print("acknowledged", f"p{number}")
    except (NotWritten, OutcomeUnknown) as error:
        print(type(error).__name__, f"p{number}")
"""


@pytest.mark.parametrize(
    ("injected", "said"),
    [
        ("fdatasync:error=EIO:when=3", "OutcomeUnknown"),
        ("pwrite64:error=ENOSPC:when=3", "NotWritten"),
    ],
)
def test_errors_of_the_system_calls_themselves(tmp_path, injected, said):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    call = injected.partition(":")[0]
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={injected}",
            sys.executable,
            "-c",
            WORKER,
            str(tmp_path),
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert said in {word for word, _ in lines}
    store = JSONLStorage(tmp_path)
    assert {name for word, name in lines if word == "acknowledged"} <= {
        one.prediction_id for one in store.find(Select("prediction"))
    }
    store.append([prediction("after")])
    store.close()
