"""The clock that processes share is never seen between two instants."""

import os
from datetime import UTC, datetime, timedelta

from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.races import Slots, fork

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
INSTANTS = (NOON, NOON + timedelta(days=7_777, microseconds=7))


def test_a_shared_clock_is_read_whole_while_another_process_sets_it(tmp_path):
    clock, done = SharedClock.made(tmp_path / "clock", NOON), Slots(1)

    def tick():
        for number in range(100_000):
            clock.set(INSTANTS[number % 2])
        done[0] = 1

    child, pipe = fork(tick)
    seen = {clock()}
    while not done[0]:
        seen.add(clock())
    os.close(pipe)
    os.waitpid(child, 0)
    assert seen <= set(INSTANTS)
