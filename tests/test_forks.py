"""What belongs to one process starts anew in a forked child."""

import os

from f1mon_core import forks


class Thing:
    def __init__(self, renew=None):
        self.process = os.getpid()
        forks.start_anew(self, renew or Thing.start_anew)

    def start_anew(self):
        self.process = os.getpid()


def in_a_child(told):
    """What a forked child answers."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, repr(told()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_a_child_starts_anew_and_its_parent_goes_on():
    thing = Thing()
    assert in_a_child(lambda: thing.process == os.getpid()) == "True"
    assert thing.process == os.getpid()


def test_what_fails_for_one_keeps_no_other_from_starting_anew():
    def fail(_):
        raise RuntimeError("no")

    first, failing, last = Thing(), Thing(fail), Thing()
    assert in_a_child(lambda: first.process == last.process == os.getpid() != failing.process) == "True"


def test_nothing_is_kept_alive_for_it():
    before = len(forks._renewed)
    thing = Thing()
    assert len(forks._renewed) == before + 1
    del thing
    assert len(forks._renewed) == before
