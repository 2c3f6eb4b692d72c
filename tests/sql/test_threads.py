"""Threads of one process that meet in an empty database."""

import threading
from contextlib import closing

import pytest

from f1mon_core import open_storage
from f1mon_core.records import Prediction
from f1mon_core.storage import Select
from f1mon_core.testing.races import fork_and_wait


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


@pytest.mark.races
def test_a_process_forks_while_its_threads_read_and_write(tmp_path):
    """SQLite in the child takes the locks of the parent's threads for its own, and nobody would let go of them."""

    def made(name: str) -> Prediction:
        return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.5)

    def write(writer: int) -> None:
        number = 0
        while not done.is_set():
            storage.append([made(f"{writer}/{number}")])
            number += 1

    def read() -> None:
        while not done.is_set():
            storage.find(Select("prediction", limit=1_000))

    def work(child: int) -> int:
        storage.find(Select("prediction", limit=10))
        return storage.append([made(f"child/{child}")]).new

    done = threading.Event()
    with closing(open_storage("sql", url=f"sqlite:///{tmp_path / 'f1mon.db'}", lock_timeout=5.0)) as storage:
        storage.append([made(f"before/{number}") for number in range(1_000)])
        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        threads += [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for child in range(30):
                assert fork_and_wait(lambda child=child: work(child)) == 1
        finally:
            done.set()
            for thread in threads:
                thread.join()
        ids = {fact.key[0] for fact in storage.find(Select("prediction"))}
        assert {f"child/{child}" for child in range(30)} <= ids
