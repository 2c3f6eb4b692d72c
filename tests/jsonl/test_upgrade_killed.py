"""A journal full of what contract 1 wrote, upgraded by the first write to it, and killed five times on the way."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.records.times import to_micros
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import sealed

KILLS = 5
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW = Prediction(prediction_id="new", model_version="m-9", predicted_outcome=1, confidence=0.5, at=BEGAN)


def facts_of(number):
    """A prediction with its outcomes: four in five have one, and one in fifty a correction."""
    item, at = f"req-{number:07d}", BEGAN + number * timedelta(seconds=7)
    made = {"model_version": f"m-{number % 3}", "predicted_outcome": number % 2, "confidence": number % 1000 / 999}
    features = {"grid": number % 20, "speed": number / 7, "wet": None}
    yield Prediction(prediction_id=item, features=features, metadata={"note": "ü"}, at=at, **made)
    if number % 10 < 8:
        yield Outcome(prediction_id=item, actual_outcome=number % 3 % 2, at=at + 5 * HOUR)
    if number % 50 == 0:
        yield Outcome(prediction_id=item, actual_outcome=1, at=at + 9 * HOUR)


def written(fact):
    """A fact as format 1 has it."""
    common = {"kind": fact.kind, "v": 1, "at": to_micros(fact.at), "recorded_at": to_micros(fact.at)}
    if isinstance(fact, Outcome):
        return common | {"prediction_id": fact.prediction_id, "actual_outcome": fact.actual_outcome}
    names = ("prediction_id", "model_version", "predicted_outcome", "confidence", "features", "metadata")
    return common | {name: getattr(fact, name) for name in names}


def fill(directory, size):
    """Write a journal of format 1 with so many predictions."""
    directory.mkdir()
    end = 0
    with (directory / "journal.jsonl").open("wb") as journal:
        header = {"f1mon": "journal", "format": 1, "store": "a" * 32, "generation": 1}
        end += journal.write(sealed(json.dumps(header, separators=(",", ":"))[:-1].encode()))
        for line, start in enumerate(range(0, size, 1_000), 1):
            facts = [written(fact) for number in range(start, min(size, start + 1_000)) for fact in facts_of(number)]
            body = json.dumps({"n": line, "synced": end, "facts": facts}, separators=(",", ":"))
            end += journal.write(sealed(body[:-1].encode()))


def digest(directory, size):
    """What stands in the lines of a journal of the facts that `fill` wrote, whatever its format."""
    seen, found = hashlib.sha256(), 0
    with (directory / "journal.jsonl").open("rb") as journal:
        for line in journal:
            for fact in msgspec.json.decode(line).get("facts", ()):
                if fact["prediction_id"] != "new":
                    seen.update(repr(sorted(fact.items())).encode())
                    found += 1
    assert found == sum(len([*facts_of(number)]) for number in range(50)) * size // 50
    return seen.hexdigest()


def assert_intact(directory, size):
    """Check answers against what was written, and that the first write is there once."""
    with_new = Counter({("m-9", 1, None): 1})
    wanted = with_new.copy()
    for number in range(size):
        made, *known = facts_of(number)
        wanted[made.model_version, made.predicted_outcome, known[-1].actual_outcome if known else None] += 1
    store = JSONLStorage(directory)
    assert store.append([NEW, *facts_of(50)]).new == 0
    found = Counter()
    for key, cell in store.tally(TallyQuery()).cells.items():
        found[key.model_version, key.predicted, key.actual] += cell.n
    assert found == wanted
    made = store.find(Select("prediction", since=BEGAN + timedelta(seconds=7 * (size - 3))))
    assert [one.features["speed"] for one in made] == [number / 7 for number in range(size - 3, size)]
    assert store.check().ok
    store.close()


class Killed(Files):
    """Files of a process that is killed before a call of them."""

    left = 0

    def __getattribute__(self, name):
        if name != "left" and not name.startswith("__"):
            Killed.left -= 1
            if Killed.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def killed_at(directory, calls):
    """Write for the first time in a forked process that is killed before so many calls of files; how it ended."""
    child = os.fork()
    if not child:
        try:
            Killed.left = calls
            JSONLStorage(directory, _files=Killed()).append([NEW])
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.faults
def test_an_upgrade_killed_at_any_call_loses_nothing(tmp_path):
    directory = tmp_path / "store"
    fill(directory, 300)
    before, calls = digest(directory, 300), 0
    while killed_at(directory, calls) == -signal.SIGKILL:
        assert digest(directory, 300) == before, calls
        calls += 7
    assert calls > 7 * KILLS
    assert b'"format":2' in (directory / "journal.jsonl").read_bytes()[:100]
    assert_intact(directory, 300)
    assert digest(directory, 300) == before


WRITES = """
import logging, resource, sys, time
sys.path.insert(0, sys.argv[2])
from f1mon_jsonl import JSONLStorage
from test_upgrade_killed import NEW
class Said(logging.Handler):
    def emit(self, record):
        if "rewriting" in record.getMessage():
            print(record.getMessage(), flush=True)
logging.getLogger("f1mon.jsonl").addHandler(Said())
logging.getLogger("f1mon.jsonl").setLevel(logging.INFO)
store = JSONLStorage(sys.argv[1])
store.append([NEW])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
"""


def upgraded(directory, after=None):
    """Write for the first time in a process that is killed so many seconds after it announced what it does."""
    program = [sys.executable, "-c", WRITES, str(directory), os.path.dirname(__file__)]  # noqa: PTH120
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        said = child.stdout.readline()
        assert "from format 1 to 2" in said, said
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            child.kill()
        rest, status = child.stdout.read(), child.wait()
    assert status in {0, -signal.SIGKILL}
    return (said, time.monotonic() - began, int(rest)) if status == 0 else None


@pytest.mark.soak
def test_a_journal_of_a_million_predictions_is_upgraded_through_five_kills(tmp_path):
    size, first, directory = 1_000_000, tmp_path / "first", tmp_path / "second"
    for one in (first, directory):
        fill(one, size)
    before = digest(first, size)
    said, seconds, peak = upgraded(first)
    rng, kills = random.Random(size), []
    while len(kills) < KILLS:
        moment = rng.uniform(0.02, 0.7) * seconds
        if upgraded(directory, moment) is not None:
            break  # it was done before its time: the machine is quicker than it was
        kills.append(moment)
    JSONLStorage(directory).append([NEW])
    assert digest(directory, size) == digest(first, size) == before
    assert_intact(directory, size)
    print(f"{said}{seconds:.1f} s; peak {peak} MiB; killed after {kills} s")  # noqa: T201 - shown by -rP
    assert len(kills) == KILLS
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20
