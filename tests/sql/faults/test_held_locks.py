"""Someone holds a lock and does nothing: a typed timeout, and then all goes on."""

import os
import signal
import threading
import time
from contextlib import closing
from multiprocessing import get_context
from typing import Any

import pytest

from f1mon_core import open_storage
from f1mon_core.errors import LockTimeoutError, NotWritten
from f1mon_core.storage.change import Change

from .workload import COUNTER, one_more

pytestmark = [pytest.mark.faults]

IDLE = 1.0
"""Seconds after which a server ends a transaction whose owner does nothing."""


def counted(storage: Any, name: str) -> Any:
    return storage.transition(COUNTER, one_more, operation_id=name)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.servers),
        pytest.param("mysql", marks=pytest.mark.servers),
    ]
)
def place(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'f1mon.db'}"
    return request.getfixturevalue(f"{'postgres' if request.param == 'postgresql' else 'mysql'}_url")


def hold_in_step(url: str, holding: Any) -> None:
    """Claim, and never come back from `step`."""

    def step(document: Any, now: Any) -> Change:
        del now
        holding.set()
        time.sleep(600)
        return Change(document)

    open_storage("sql", url=url, idle_timeout=600).transition(COUNTER, step, operation_id="holder")


def test_a_stopped_holder_gives_others_a_typed_timeout_until_it_dies(place):
    with closing(open_storage("sql", url=place, lock_timeout=1.0)) as storage:
        assert counted(storage, "first") == 1
        context = get_context("fork")
        holding = context.Event()
        holder = context.Process(target=hold_in_step, args=(place, holding))
        holder.start()
        try:
            assert holding.wait(30)
            os.kill(holder.pid, signal.SIGSTOP)
            before = time.monotonic()
            with pytest.raises(LockTimeoutError):
                counted(storage, "second")
            assert time.monotonic() - before < 20
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.join()
        # A server hears of the death when it reads from the connection again, or when it writes to it.
        until = time.monotonic() + 30
        while True:
            try:
                assert counted(storage, "second") == 2
                break
            except LockTimeoutError:
                assert time.monotonic() < until


@pytest.mark.servers
def test_an_idle_claimer_is_ended_by_postgresql_and_the_next_one_goes_on(postgres_url):
    idle_claimer_is_ended(postgres_url)


@pytest.mark.servers
def test_an_idle_claimer_is_ended_by_mariadb_and_the_next_one_goes_on(mysql_url):
    idle_claimer_is_ended(mysql_url)


def idle_claimer_is_ended(url: str) -> None:
    claimed, refused = threading.Event(), []

    def sleeping(document: Any, now: Any) -> Change:
        claimed.set()
        time.sleep(4 * IDLE)
        return one_more(document, now)

    def claim(storage: Any) -> None:
        try:
            storage.transition(COUNTER, sleeping, operation_id="sleeper")
        except NotWritten as error:
            refused.append(error)

    with (
        closing(open_storage("sql", url=url, idle_timeout=IDLE)) as idler,
        closing(open_storage("sql", url=url, lock_timeout=30)) as other,
    ):
        thread = threading.Thread(target=claim, args=(idler,))
        thread.start()
        assert claimed.wait(30)
        assert counted(other, "next") == 1
        assert thread.is_alive(), "the next one must not have waited for the sleeper to wake"
        thread.join()
        assert len(refused) == 1
        assert counted(idler, "again") == 2
