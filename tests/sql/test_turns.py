"""The queue of writers beside an SQLite file: who has the turn, and what is left of it."""

import gc
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from f1mon_core import LockTimeoutError
from f1mon_sql.turns import Turns


def descriptors(path):
    """How many descriptors of this process lead to the lock files of a database, deleted ones included."""
    links = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(one.readlink()))
        except FileNotFoundError:  # the one that lists them
            continue
    return sum(link.startswith(f"{path}-f1mon-") for link in links)


def forked(work):
    """Whether work in a forked child ended well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def refused(turns):
    """Whether the turn is somebody else's."""
    try:
        with turns.turn(0.05, time.sleep):
            return False
    except LockTimeoutError:
        return True


@pytest.fixture
def database(tmp_path):
    return tmp_path / "f1mon.db"


@pytest.fixture
def turns(database):
    made = Turns(database)
    yield made
    made.close()


def test_one_has_the_turn_and_the_next_waits_for_it(turns, database):
    other = Turns(database)
    with turns.turn(1, time.sleep):
        assert refused(turns)
        assert refused(other)
    assert not refused(other)
    other.close()


def test_descriptors_are_kept_for_the_next_turn_and_closed_with_the_queue(turns, database):
    for _ in range(5):
        assert not refused(turns)
        assert descriptors(database) == 2
    turns.close()
    assert descriptors(database) == 0
    with turns.turn(1, time.sleep):
        assert descriptors(database) == 1
    assert descriptors(database) == 0


def test_a_queue_that_is_forgotten_leaves_no_descriptors(database):
    assert not refused(Turns(database))
    gc.collect()
    assert descriptors(database) == 0


@pytest.mark.parametrize("deleted", [["-f1mon-next"], ["-f1mon-turn"], ["-f1mon-next", "-f1mon-turn"]])
def test_lock_files_that_were_deleted_are_made_again(turns, database, deleted):
    assert not refused(turns)
    for name in deleted:
        Path(f"{database}{name}").unlink()
    other = Turns(database)
    with other.turn(1, time.sleep):
        assert refused(turns)
    assert not refused(turns)
    assert sorted(path.name for path in database.parent.iterdir()) == ["f1mon.db-f1mon-next", "f1mon.db-f1mon-turn"]
    other.close()
    assert descriptors(database) == 2


def test_descriptors_that_somebody_closed_are_opened_again(turns, database):
    assert not refused(turns)
    for (one,) in turns._idle.values():
        os.close(one)
    assert not refused(turns)
    assert descriptors(database) == 2


def test_a_turn_that_is_forgotten_is_over(turns):
    turn = turns.turn(1, time.sleep)
    turn.__enter__()
    assert refused(turns)
    del turn
    assert not refused(turns)


@pytest.mark.parametrize("step", range(4))
def test_an_interrupt_between_two_steps_leaves_nothing_held(turns, monkeypatch, step):
    calls = iter(range(100))

    def interrupted(name):
        original = getattr(Turns, name)

        def call(self, *arguments):
            if next(calls) == step:
                raise KeyboardInterrupt
            return original(self, *arguments)

        return call

    with monkeypatch.context() as patched:
        for name in ("taken", "put_back"):
            patched.setattr(Turns, name, interrupted(name))
        with pytest.raises(KeyboardInterrupt), turns.turn(1, time.sleep):
            pass
    assert not refused(turns)


def test_a_child_takes_nothing_of_its_parents_turn_with_it(turns, database):
    def work():
        assert descriptors(database) == 0
        assert refused(turns)

    with turns.turn(1, time.sleep):
        assert forked(work)
        assert refused(turns)
    assert not refused(turns)


def test_a_child_that_leaves_its_parents_turn_ends_none(turns):
    def leave():
        with turns.turn(1, time.sleep):  # whose descriptors have the numbers that the parent's had
            turn.__exit__()
            assert refused(turns)

    turn = turns.turn(1, time.sleep)
    with turn:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.read(reading, 1)  # until the parent's turn is over
                leave()
                status = 0
            finally:
                os._exit(status)
        assert refused(turns)
    os.write(writing, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert not refused(turns)
    os.close(reading)
    os.close(writing)


@pytest.mark.races
def test_children_forked_while_threads_take_turns_know_all_they_have(turns, database):
    """What a child had without knowing would hold its parent's turn when that is dead."""

    def take():
        while not done.is_set():
            with turns.turn(10, time.sleep):
                pass

    def work():
        assert descriptors(database) == 0

    done = threading.Event()
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert all(forked(work) for _ in range(150))
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_the_turn_of_a_killed_process_is_free(turns):
    def die():
        turns.turn(1, time.sleep).__enter__()
        os.kill(os.getpid(), signal.SIGKILL)

    assert not forked(die)
    assert not refused(turns)
