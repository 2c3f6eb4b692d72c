"""Threads of one process that meet in an empty database."""

import threading
from contextlib import closing

import pytest

from f1mon_core import open_storage


@pytest.mark.races
def test_threads_open_an_empty_database_at_once(tmp_path):
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def run(number: int) -> None:
        try:
            start.wait()
            # Eight databases between four threads: their migrations run at once, each database's by itself.
            for database in range(8):
                open_storage("sql", url=f"sqlite:///{tmp_path / f'{(database + number) % 8}.db'}").close()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for database in range(8):
        with closing(open_storage("sql", url=f"sqlite:///{tmp_path / f'{database}.db'}")) as storage:
            assert storage.check().ok
