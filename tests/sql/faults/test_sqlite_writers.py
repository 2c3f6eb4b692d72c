"""Many processes read, modify and write one SQLite file."""

from contextlib import closing
from multiprocessing import get_context
from typing import Any

import pytest

from f1mon_core import open_storage

from .workload import COUNTER, one_more

pytestmark = [pytest.mark.races]

PROCESSES, EACH = 8, 100


def count(options: dict[str, Any], number: int, start: Any) -> None:
    with closing(open_storage("sql", **options)) as storage:
        start.wait()
        for lap in range(EACH):
            storage.transition(COUNTER, one_more, operation_id=f"{number}-{lap}")


@pytest.mark.parametrize("take_turns", [True, False])
def test_800_concurrent_changes_are_all_there_and_none_was_locked_out(tmp_path, take_turns):
    options = {"url": f"sqlite:///{tmp_path / 'f1mon.db'}", "take_turns": take_turns}
    context = get_context("fork")
    start = context.Barrier(PROCESSES)
    workers = [context.Process(target=count, args=(options, number, start)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    with closing(open_storage("sql", **options)) as storage:
        assert storage.state(COUNTER)[COUNTER] == {"laps": PROCESSES * EACH}
