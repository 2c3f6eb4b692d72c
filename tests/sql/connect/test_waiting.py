"""No wait of opening goes on for ever: a server that accepts and never answers, or stops in the middle of it."""

import asyncio
import contextlib
import select
import socket
import threading
import time

import pytest
import sqlalchemy as sa

from f1mon_core import AsyncMonitor, Monitor
from f1mon_core.errors import ConfigurationError, ConnectTimeoutError, NotWritten
from f1mon_sql.connect.engine import make_engine
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import target_of
from f1mon_sql.connect.waiting import connect_arguments

from ...servers import FRESH, families

FAMILIES = ("postgresql", "mysql")


@contextlib.contextmanager
def silent():
    """The port of a server that accepts every connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held, ended = [], threading.Event()

        def accept():
            server.settimeout(0.05)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            for one in held:
                one.close()


@contextlib.contextmanager
def stopping(upstream, after, passed):
    """The port of a proxy that passes on so many bytes of the server's, and then stands still; `passed` is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended, open_ends = threading.Event(), []

        def serve():
            server.settimeout(0.05)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    near, far = server.accept()[0], socket.create_connection(upstream)
                    open_ends.extend((near, far))
                    threading.Thread(target=carry, args=(near, far), daemon=True).start()

        def carry(near, far):
            left = after
            while not ended.is_set():
                for ready in select.select([near, far], [], [], 0.05)[0]:
                    try:
                        data = ready.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    if ready is near:
                        far.sendall(data)
                    else:
                        near.sendall(data[:left])
                        passed.append(len(data))
                        left = max(0, left - len(data))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            for one in open_ends:
                one.close()


def opened(address, colour, **options):
    if colour == "sync":
        with Monitor.open(url=address, **options):
            return

    async def story():
        async with await AsyncMonitor.open(url=address, **options):
            pass

    asyncio.run(story())


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("said_by", ["option", "address"])
def test_a_server_that_never_answers_is_not_waited_for(family, colour, said_by):
    with silent() as port:
        address = f"{family}://user:hidden@127.0.0.1:{port}/db"
        options = {"connect_timeout": 2} if said_by == "option" else {}
        address += "" if options else "?connect_timeout=2"
        began = time.monotonic()
        with pytest.raises(ConnectTimeoutError, match=r"waited for .*greeting") as refused:
            opened(address, colour, **options)
    assert 1 < time.monotonic() - began < 6
    assert isinstance(refused.value, NotWritten)
    assert "hidden" not in str(refused.value)


def test_by_default_it_is_ten_seconds():
    assert Settings().connect_timeout == 10
    for address in ("postgresql://h/d", "mysql://h/d"):
        assert connect_arguments(target_of(address), Settings())["connect_timeout"] == 10


@pytest.mark.parametrize("seconds", [0, -1, None, True, "2"])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="connect_timeout"):
        Monitor.open(url="sqlite://", connect_timeout=seconds)


def test_what_libpq_is_told_by_the_environment_stands(monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    assert connect_arguments(target_of("postgresql://h/d"), Settings()) == {}


@pytest.fixture(params=[family for family in families() if family != "sqlite"])
def server(request):
    """The address of a store, where its server listens, and how many bytes it says until a session is set up."""
    with FRESH[request.param]() as address:
        Monitor.open(url=address).close()
        url = sa.make_url(address)
        place = url.host, url.port or {"postgresql": 5432}.get(request.param, 3306)
        passed = []
        with stopping(place, 10**9, passed) as port:
            engine = make_engine(target_of(url.set(host="127.0.0.1", port=port)), Settings())
            engine.connect().close()
            engine.dispose()
        yield address, place, sum(passed)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("after", [0.5])
def test_a_server_that_stops_while_a_session_is_set_up_is_not_waited_for(server, colour, after):
    address, (host, port), whole = server
    with stopping((host, port), int(after * whole), []) as shut:
        stalled = sa.make_url(address).set(host="127.0.0.1", port=shut).render_as_string(hide_password=False)
        began = time.monotonic()
        # asyncmy, cut off in the midst of SQLAlchemy's first questions, says no more than that it was
        with pytest.raises(ConnectTimeoutError if colour == "sync" or "postgresql" in address else NotWritten):
            opened(stalled, colour, connect_timeout=1 if "mysql" in address else 2)
    assert time.monotonic() - began < 7


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_session_that_is_set_up_waits_for_its_answers_as_ever(server, colour):
    address, _, _ = server
    if colour == "sync":
        with Monitor.open(url=address, connect_timeout=1) as monitor:
            assert slept(monitor.storage._engine.connect()) is not None
        return

    async def story():
        async with (
            await AsyncMonitor.open(url=address, connect_timeout=1) as monitor,
            monitor.storage._engines.engine() as engine,
            engine.connect() as connection,
        ):
            assert await connection.run_sync(slept) is not None

    asyncio.run(story())


def slept(connection):
    """Ask for what takes longer than the time for connecting."""
    text = "SELECT pg_sleep(1.5)::text" if connection.dialect.name == "postgresql" else "SELECT SLEEP(1.5)"
    found = connection.exec_driver_sql(text).scalar()
    connection.close()
    return found
