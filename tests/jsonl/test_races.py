"""Several real processes and threads at one directory."""

import os
import signal
import threading
import time

import pytest

from f1mon_core.records.kinds import Outcome
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, prediction

pytestmark = pytest.mark.races

WRITERS = 4
BATCHES = 24
SIZE = 5


def test_writers_compactors_and_tailing_readers(place):
    """No batch is seen in half, none is lost or seen twice, and what was once seen is seen for ever."""
    place.open()

    def write(writer):
        store = place.open()
        for batch in range(BATCHES):
            names = [f"{writer}-{batch}-{number}" for number in range(SIZE)]
            at = NOON + (batch * WRITERS + writer) * SECOND
            new = store.append([prediction(name, at=at) for name in names]).new
            assert new == SIZE
            known = [Outcome(prediction_id=name, actual_outcome=batch % 2, at=at + HOUR) for name in names]
            assert store.append(known).new == SIZE
            store.transition("count", lambda seen, _: Change({"n": (seen or {"n": 0})["n"] + 1}), operation_id=names[0])
            assert {name in place.ids(store) for name in names} == {True}

    def compact():
        store = place.open()
        for _ in range(12):
            store.compact()
            time.sleep(0.01)

    def tail():
        store = place.open()
        seen = set()
        while len(seen) < WRITERS * BATCHES * SIZE:
            now = place.ids(store)
            assert len(now) == len(set(now))
            assert len(now) % SIZE == 0
            assert seen <= set(now)
            seen = set(now)
            count = store.tally(TallyQuery()).count
            assert count % SIZE == 0
            assert count >= len(now)

    assert place.forked(*(lambda w=w: write(w) for w in range(WRITERS)), compact, compact, tail, tail)
    store = place.open()
    report = store.check()
    assert not report.problems
    assert report.facts == {"prediction": WRITERS * BATCHES * SIZE, "outcome": WRITERS * BATCHES * SIZE}
    assert store.state("") == {"count": {"n": WRITERS * BATCHES}}
    assert {key.actual: cell.n for key, cell in store.tally(TallyQuery(bins=1)).cells.items()} == {
        0: WRITERS * BATCHES * SIZE // 2,
        1: WRITERS * BATCHES * SIZE // 2,
    }


def test_writers_and_pruners(place):
    """Every prediction is counted exactly once, as a row or in a kept cell."""
    place.open()

    def write(writer):
        store = place.open()
        for number in range(100):
            made = prediction(f"{writer}-{number}", at=NOON + (number * 3) * MINUTE)
            try:
                store.append([made])
            except LookupError:  # already behind the horizon
                store.append([prediction(f"{writer}-{number}-late", at=NOON + 100 * HOUR)])

    def prune():
        store = place.open()
        for hour in range(1, 6):
            store.prune(NOON + hour * HOUR)
            time.sleep(0.03)

    assert place.forked(*(lambda w=w: write(w) for w in range(3)), prune, prune)
    store = place.open()
    assert store.tally(TallyQuery()).count == 300
    assert store.check().ok
    # None is left where the writers were done before the last pruning.
    assert [one for one in store.find(Select("prediction")) if one.at < NOON + 5 * HOUR] == []


def test_threads_of_one_handle(place):
    store = place.open()

    def work(name):
        for number in range(40):
            store.append([prediction(f"{name}-{number}")])
            assert f"{name}-{number}" in place.ids(store)
            store.transition(
                "k", lambda seen, _: Change({"n": (seen or {"n": 0})["n"] + 1}), operation_id=f"{name}{number}"
            )
            if number % 10 == 0:
                store.compact()

    failures = []

    def guarded(name):
        try:
            work(name)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(place.ids()) == 160
    assert place.open().state("") == {"k": {"n": 160}}
    assert not store.check().problems


def test_a_forked_process_and_its_siblings_race_for_the_first_write(place):
    """Eight processes open a directory that is not there yet."""

    def work(number):
        place.open().append([prediction(str(number))])

    for _ in range(5):
        assert place.forked(*(lambda n=n: work(n) for n in range(8)))
        assert sorted(place.ids()) == list("01234567")
        assert not place.open().check().problems
        for path in place.directory.iterdir():
            path.unlink()
        place.directory.rmdir()


@pytest.mark.faults
def test_killed_writers_leave_whole_batches_and_a_free_lock(place):
    """SIGKILL at any moment: what was acknowledged is there, what is there is whole, and the next writer goes on."""
    acknowledged = set()
    place.open()
    for round_ in range(60):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                store = place.open()
                batch = 0
                while True:
                    name = f"{round_}-{batch}"
                    store.append([prediction(f"{name}-{part}", features={"x": "y" * 3_000}) for part in range(3)])
                    os.write(writing, f"{name}\n".encode())
                    if batch % 7 == 3:
                        store.compact()
                    batch += 1
            finally:
                os._exit(1)
        os.close(writing)
        time.sleep(0.02 + 0.0007 * round_)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reading) as told:
            acknowledged |= {line.strip() for line in told if line.endswith("\n")}
        if round_ % 10 == 0:
            place.open(lock_timeout=5).append([prediction(f"after-{round_}")])
    names = place.ids()
    assert len(names) == len(set(names))
    parts = [name.rpartition("-")[0] for name in names if not name.startswith("after")]
    assert all(parts.count(name) == 3 for name in set(parts))
    assert acknowledged <= set(parts)
    assert len(acknowledged) > 60
    assert place.open().check().ok
