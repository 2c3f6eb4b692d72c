"""Connections that die at the worst moment: nothing acknowledged is lost, nothing repeated is there twice."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy.engine import make_url

from f1mon_core import open_storage

from .cutting_proxy import CuttingProxy
from .workload import Account, assert_right, write_together

pytestmark = [pytest.mark.faults, pytest.mark.servers]

WRITERS = 4


@contextmanager
def repeatedly(fault: Callable[[], object], pause: float) -> Iterator[list[object]]:
    """Cause a fault again and again, from a thread, until the block ends; yields what each came to."""
    over = threading.Event()
    caused: list[object] = []

    def run() -> None:
        while not over.wait(pause):
            caused.append(fault())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield caused
    finally:
        over.set()
        thread.join()


def written_through_proxy(url: str, each: int) -> tuple[Account, dict[str, int]]:
    target = make_url(url)
    with closing(open_storage("sql", url=url)) as witness:
        with CuttingProxy(target.host, target.port, rate=0.3, seed=each) as proxy:
            through = target.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            account = write_together([{"url": through}] * WRITERS, each, witness=witness)
            cuts = dict(proxy.cuts)
        assert_right(witness, account, WRITERS * each)
    return account, cuts


def test_the_answer_to_a_commit_is_lost_on_the_way_to_postgresql(postgres_url):
    account, cuts = written_through_proxy(postgres_url, 40)
    assert min(cuts.values()) > 10, "the proxy must have cut on both sides of the commit"
    # Sessions are set up with commits too, and those are merely not written; that the witness never found one so called
    # that had been stored is part of what is right.
    assert account.unknown > 10, "lost answers to writing commits leave their fate unknown"


def test_the_answer_to_a_commit_is_lost_on_the_way_to_mariadb(mysql_url):
    account, cuts = written_through_proxy(mysql_url, 40)
    assert min(cuts.values()) > 10
    assert account.unknown > 10


def test_backends_are_terminated_by_an_operator(postgres, postgres_url):
    database = make_url(postgres_url).database
    with psycopg.connect(postgres.url, autocommit=True) as operator:

        def terminate() -> int:
            ask = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
            return operator.execute(ask, [database]).fetchone()[0]

        open_storage("sql", url=postgres_url).close()  # no schema gets made in the time between two faults
        with repeatedly(terminate, 0.2) as ended:
            account = write_together([{"url": postgres_url}] * WRITERS, 60, until=lambda: sum(ended) > 5)
    assert sum(ended) > 5
    with closing(open_storage("sql", url=postgres_url)) as storage:
        assert_right(storage, account, WRITERS * 60)


def test_connections_are_killed_by_an_operator_of_mariadb(mysql_url):
    import pymysql  # noqa: PLC0415 - only where these tests run

    target = make_url(mysql_url)
    operator = pymysql.connect(host=target.host, port=target.port, user=target.username, password=target.password or "")
    with closing(operator):

        def kill() -> int:
            with operator.cursor() as cursor:
                cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [target.database])
                found = [row[0] for row in cursor.fetchall()]
                for one in found:
                    try:
                        cursor.execute(f"KILL {one}")
                    except pymysql.err.OperationalError as error:
                        if error.args[0] != 1094:  # it was gone already
                            raise
                return len(found)

        open_storage("sql", url=mysql_url).close()
        with repeatedly(kill, 0.2) as ended:
            account = write_together([{"url": mysql_url}] * WRITERS, 60, until=lambda: sum(ended) > 5)
    assert sum(ended) > 5
    with closing(open_storage("sql", url=mysql_url)) as storage:
        assert_right(storage, account, WRITERS * 60)


def test_a_backend_is_killed_with_sigkill(postgres, postgres_url):
    def kill() -> int:
        victims = postgres.backends()
        for victim in victims[:1]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                return 0  # it ended by itself
        postgres.wait_until_ready()
        return len(victims[:1])

    open_storage("sql", url=postgres_url).close()
    with repeatedly(kill, 0.4) as killed:
        account = write_together([{"url": postgres_url}] * WRITERS, 60, until=lambda: sum(killed) >= 2)
    assert sum(killed) >= 2
    postgres.wait_until_ready()
    with closing(open_storage("sql", url=postgres_url)) as storage:
        assert_right(storage, account, WRITERS * 60)


def test_the_server_is_stopped_at_once_and_started_again(postgres, postgres_url):
    def restart() -> int:
        postgres.stop("immediate")
        postgres.start()
        return 1

    open_storage("sql", url=postgres_url).close()
    with repeatedly(restart, 0.4) as restarted:
        account = write_together([{"url": postgres_url}] * WRITERS, 60, until=lambda: sum(restarted) >= 2)
    assert sum(restarted) >= 2
    with closing(open_storage("sql", url=postgres_url)) as storage:
        assert_right(storage, account, WRITERS * 60)
