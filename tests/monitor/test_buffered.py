"""The buffered recorder: what it accepts it stores, refuses at the door, drops and says so, or keeps on disk."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core import AsyncMonitor, Monitor
from f1mon_core.errors import ClosedError, ConfigurationError, InvalidRecordError, NotWritten, StorageError
from f1mon_core.recording.buffer import _stamped
from f1mon_core.recording.spill import SET_ASIDE
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.stamping import timed

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def monitor():
    with Monitor.open("memory") as monitor:
        yield monitor


@pytest.fixture
def here(tmp_path):
    return tmp_path / "buffer"


class Gate:
    """A store whose appends wait, or fail, until it is opened."""

    def __init__(self, monitor, monkeypatch, error=None):
        self.open = threading.Event()
        self.entered = threading.Event()
        inner = monitor.storage.append

        def append(facts):
            self.entered.set()
            if error is None:
                assert self.open.wait(10)
            elif not self.open.is_set():
                raise error
            return inner(facts)

        monkeypatch.setattr(monitor.storage, "append", append, raising=False)


def record(recorder, *numbers):
    for number in numbers:
        recorder.record_prediction(f"p{number}", "m", 1, 0.9)


def stored(monitor):
    return {one.prediction_id for one in monitor.predictions()}


def test_what_is_accepted_is_stored_soon_with_the_hosts_time(monitor, here):
    before = datetime.now(UTC)
    with monitor.buffered(seconds=0.02, directory=here) as recorder:
        record(recorder, 1)
        recorder.record_outcome("p1", 1)
        deadline = time.monotonic() + 5
        while recorder.state.depth and time.monotonic() < deadline:
            time.sleep(0.01)
        assert recorder.state.stored == 2
    (made,) = monitor.predictions()
    assert before <= made.instant <= datetime.now(UTC)
    assert monitor.performance().accuracy.value == 1.0
    assert not here.exists()


@pytest.mark.parametrize(
    "fact",
    [
        Prediction(
            prediction_id="p",
            model_version="m",
            predicted_outcome="x",
            confidence=0.5,
            features={"a": [1]},
            segments={"country": "DE"},
        ),
        Outcome(prediction_id="p", actual_outcome=1),
    ],
)
def test_a_fact_is_stamped_as_a_store_would(fact):
    assert _stamped(fact, NOW) == timed(fact, NOW)
    assert fact.at is None


def test_close_flushes_and_accepts_no_more(monitor, here):
    recorder = monitor.buffered(seconds=100, directory=here)
    record(recorder, *range(30))
    recorder.close()
    assert len(stored(monitor)) == 30
    with pytest.raises(ClosedError):
        record(recorder, 31)
    recorder.close()


def test_what_is_wrong_is_refused_at_the_door(monitor, here):
    with monitor.buffered(directory=here) as recorder:
        with pytest.raises(InvalidRecordError):
            recorder.record_prediction("p", "m", 1, 1.5)
        assert recorder.record_prediction("p", "m", 1, 0.5, {"x": float("nan")}).nulled == 1
        assert recorder.state.accepted == 1


def test_what_the_caller_changes_afterwards_does_not_count(monitor, here):
    features = {"x": [1]}
    with monitor.buffered(seconds=100, directory=here) as recorder:
        recorder.record_prediction("p", "m", 1, 0.5, features)
        features["x"].append(2)
    (made,) = monitor.predictions()
    assert made.features == {"x": [1]}


def test_a_full_queue_blocks_until_there_is_room(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch)
    with monitor.buffered(capacity=2, batch=1, seconds=0.01, directory=here) as recorder:
        writer = threading.Thread(target=record, args=(recorder, 1, 2, 3, 4))
        writer.start()
        assert gate.entered.wait(5)
        writer.join(0.3)
        assert writer.is_alive()
        assert recorder.state.depth == 2
        gate.open.set()
        writer.join(5)
        assert not writer.is_alive()
    assert len(stored(monitor)) == 4


def test_a_batch_larger_than_the_queue_is_accepted_bit_by_bit(monitor, here):
    with monitor.buffered(capacity=3, batch=2, seconds=0.01, directory=here) as recorder:
        recorder.record_predictions(
            {"prediction_id": str(one), "model_version": "m", "predicted_outcome": 1, "confidence": 0.5}
            for one in range(20)
        )
    assert len(stored(monitor)) == 20


def test_what_is_dropped_is_counted(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch)
    with monitor.buffered(capacity=2, batch=1, seconds=0.01, when_full="drop", directory=here) as recorder:
        record(recorder, 1)
        assert gate.entered.wait(5)
        record(recorder, 2, 3, 4, 5)
        state = recorder.state
        assert (state.accepted, state.dropped) == (2, 3)
        assert "dropped=3" in repr(recorder)
        gate.open.set()
    assert len(stored(monitor)) == 2


def test_spilled_when_full_is_stored_too(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch)
    with monitor.buffered(capacity=2, batch=1, seconds=0.01, spill="full", directory=here) as recorder:
        record(recorder, 1)
        assert gate.entered.wait(5)
        record(recorder, 2, 3, 4, 5)
        assert (recorder.state.depth, recorder.state.spilled) == (5, 3)
        gate.open.set()
    assert len(stored(monitor)) == 5
    assert list(here.iterdir()) == []


def test_always_spilled_is_on_disk_before_it_is_accepted(monitor, here):
    recorder = monitor.buffered(seconds=100, spill="always", directory=here)
    record(recorder, 1, 2)
    (file,) = here.iterdir()
    assert len(file.read_bytes().splitlines()) == 2
    recorder.close()
    assert len(stored(monitor)) == 2
    assert list(here.iterdir()) == []


def test_a_store_that_fails_for_a_while_is_tried_again(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch, NotWritten("down"))
    with monitor.buffered(seconds=0.01, directory=here) as recorder:
        record(recorder, 1, 2)
        assert gate.entered.wait(5)
        assert not recorder.flush(0.2)
        assert recorder.state.error == "NotWritten: down"
        gate.open.set()
    assert len(stored(monitor)) == 2
    assert recorder.state.error is None


def test_what_is_on_its_way_when_it_is_closed_is_left_too(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch)
    recorder = monitor.buffered(seconds=0.01, directory=here)
    record(recorder, 1, 2)
    assert gate.entered.wait(5)
    record(recorder, 3)
    with pytest.raises(StorageError, match="3 accepted facts are not stored yet"):
        recorder.close(0.1)
    (file,) = here.iterdir()
    assert len(file.read_bytes().splitlines()) == 3
    gate.open.set()
    with monitor.buffered(seconds=0.01, directory=here) as following:
        record(following, 4)
    assert stored(monitor) == {"p1", "p2", "p3", "p4"}
    assert list(here.iterdir()) == []


def test_what_the_store_never_took_is_left_to_the_next_recorder(monitor, here, monkeypatch):
    gate = Gate(monitor, monkeypatch, NotWritten("down"))
    recorder = monitor.buffered(seconds=0.01, directory=here)
    record(recorder, 1, 2, 3)
    with pytest.raises(StorageError, match="3 accepted facts are not stored yet"):
        recorder.close(0.3)
    gate.open.set()
    with monitor.buffered(seconds=0.01, directory=here) as following:
        record(following, 4)
        deadline = time.monotonic() + 5
        while following.state.stored < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stored(monitor) == {"p1", "p2", "p3", "p4"}


def test_what_the_store_refuses_is_set_aside_and_holds_up_nothing(monitor, here):
    monitor.record_prediction("p5", "m", 0, 0.1, at=NOW)
    with monitor.buffered(directory=here) as recorder:
        record(recorder, *range(10))
    assert recorder.state.refused == 1
    assert len(stored(monitor)) == 10
    (line,) = (here / SET_ASIDE).read_text().splitlines()
    told = json.loads(line)
    assert told["reason"] == "ConflictError"
    assert "p5" in json.dumps(told["fact"])


def test_a_damaged_line_of_a_spill_is_set_aside(monitor, here):
    first = monitor.buffered(seconds=100, spill="always", directory=here)
    record(first, 1, 2)
    (file,) = here.iterdir()
    file.write_bytes(file.read_bytes().replace(b"p1", b"pX") + b"torn")
    first.close()
    assert stored(monitor) == {"p2"}
    assert first.state.refused == 1
    assert json.loads((here / SET_ASIDE).read_text())["reason"] == "damaged"


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"capacity": True},
        {"batch": 0},
        {"seconds": 0},
        {"seconds": "1"},
        {"when_full": "wait"},
        {"spill": "never"},
    ],
)
def test_what_is_no_option_is_refused(monitor, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        monitor.buffered(**options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_with_an_empty_queue(monitor, here):
    recorder = monitor.buffered(seconds=100, directory=here)
    record(recorder, 1)
    if (child := os.fork()) == 0:
        os._exit(recorder.state.depth)
    assert os.waitpid(child, 0)[1] == 0
    recorder.close()
    assert len(stored(monitor)) == 1


# Event loops ----------------------------------------------------------------------------------------------------------


def run(story):
    return asyncio.run(asyncio.wait_for(story, 20))


def test_an_event_loop_has_it_too(here):
    async def story():
        async with await AsyncMonitor.open("memory") as monitor:
            async with await monitor.buffered(capacity=7, batch=3, seconds=0.01, directory=here) as recorder:
                await asyncio.gather(*(recorder.record_prediction(f"p{one}", "m", 1, 0.9) for one in range(40)))
                await recorder.record_outcome("p0", 1)
                assert await recorder.flush(5)
                assert recorder.state.stored == 41
            with pytest.raises(ClosedError):
                await recorder.record_outcome("p1", 1)
            return len(await monitor.predictions())

    assert run(story()) == 40


def test_a_task_that_waits_for_room_is_let_in(here, monkeypatch):
    async def story():
        async with await AsyncMonitor.open("memory") as monitor:
            opened, inner = asyncio.Event(), monitor.storage.append

            async def append(facts):
                await opened.wait()
                return await inner(facts)

            monkeypatch.setattr(monitor.storage, "append", append)
            async with await monitor.buffered(capacity=1, batch=1, seconds=0.01, directory=here) as recorder:
                await recorder.record_prediction("p0", "m", 1, 0.9)
                waiting = asyncio.create_task(recorder.record_prediction("p1", "m", 1, 0.9))
                await asyncio.sleep(0.05)
                assert not waiting.done()
                opened.set()
                await waiting
            return len(await monitor.predictions())

    assert run(story()) == 2


def test_a_store_that_stays_away_leaves_it_on_disk(here, monkeypatch):
    async def story():
        async with await AsyncMonitor.open("memory") as monitor:

            async def append(facts):
                raise NotWritten("down")

            inner = monitor.storage.append
            monkeypatch.setattr(monitor.storage, "append", append)
            recorder = await monitor.buffered(seconds=0.01, directory=here)
            await recorder.record_prediction("p0", "m", 1, 0.9)
            with pytest.raises(StorageError, match="1 accepted facts"):
                await recorder.close(0.2)
            monkeypatch.setattr(monitor.storage, "append", inner)
            async with await monitor.buffered(seconds=0.01, directory=here) as following:
                await following.record_prediction("p1", "m", 1, 0.9)
                while following.state.stored < 2:  # noqa: ASYNC110 - the recorder tells nobody
                    await asyncio.sleep(0.01)
            return len(await monitor.predictions())

    assert run(story()) == 2


# Kills ----------------------------------------------------------------------------------------------------------------

_VICTIM = """
import sys
from f1mon_core import Monitor
address, directory, spill, capacity = sys.argv[1:]
monitor = Monitor.open(address)
options = {} if spill == "none" else {"spill": spill}
recorder = monitor.buffered(capacity=int(capacity), batch=20, seconds=0.005, directory=directory, **options)
for number in range(10**9):
    recorder.record_prediction(f"p{number}", "m", 1, 0.9)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def lost_after_a_kill(tmp_path, spill, capacity, after):
    """How many predictions that were accepted are nowhere, after a kill and the next recorder's life."""
    address, directory = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "spill"
    command = [sys.executable, "-c", _VICTIM, address, str(directory), spill, str(capacity)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        accepted = [int(victim.stdout.readline())]
        threading.Timer(after, victim.kill).start()
        accepted += [int(line) for line in victim.stdout if line.endswith("\n")]
    with Monitor.open(address) as monitor:
        with monitor.buffered(seconds=0.01, directory=directory) as recorder:
            recorder.record_outcome("another", 1)
            deadline = time.monotonic() + 20
            while (recorder.state.depth or list(directory.glob("*.spill"))) and time.monotonic() < deadline:
                time.sleep(0.01)
        return len({f"p{one}" for one in accepted} - stored(monitor))


@pytest.mark.parametrize(("spill", "may_lose"), [("none", 50), ("full", 50), ("always", 0)])
def test_a_kill_loses_at_most_what_the_mode_says(tmp_path, spill, may_lose):
    for turn in range(2):
        place = tmp_path / str(turn)
        place.mkdir()
        assert lost_after_a_kill(place, spill, 50, random.Random(turn).uniform(0.02, 0.3)) <= may_lose


@pytest.mark.soak
@pytest.mark.parametrize(("spill", "may_lose"), [("none", 50), ("full", 50), ("always", 0)])
def test_two_hundred_kills(tmp_path, spill, may_lose):
    for turn in range(67):
        place = tmp_path / str(turn)
        place.mkdir()
        assert lost_after_a_kill(place, spill, 50, random.Random(turn).uniform(0.0, 0.6)) <= may_lose


def test_sigterm_flushes_where_that_was_asked_for_and_the_handler_before_is_called(tmp_path):
    address = f"sqlite:///{tmp_path / 'store.db'}"
    program = f"""
import signal, sys, time
from f1mon_core import Monitor
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
monitor = Monitor.open({address!r})
recorder = monitor.buffered(seconds=100, directory={str(tmp_path / "b")!r}, install_signal_handler=True)
recorder.record_prediction("p", "m", 1, 0.9)
print("ready", flush=True)
time.sleep(30)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 7
    with Monitor.open(address) as monitor:
        assert stored(monitor) == {"p"}


def test_the_end_of_the_process_flushes(tmp_path):
    address = f"sqlite:///{tmp_path / 'store.db'}"
    program = f"""
from f1mon_core import Monitor
recorder = Monitor.open({address!r}).buffered(seconds=100, directory={str(tmp_path / "b")!r})
recorder.record_prediction("p", "m", 1, 0.9)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with Monitor.open(address) as monitor:
        assert stored(monitor) == {"p"}
        assert monitor.predictions()[0].instant > datetime.now(UTC) - timedelta(minutes=5)
