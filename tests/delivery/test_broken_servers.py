"""Servers that refuse, hang or hang up, through the outbox: each ends as designed, and none delays another."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest

from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage

BROKEN = {"500": "failed", "404": "dead", "hang": "failed", "reset": "failed", "ok": "delivered"}
PATIENT, IMPATIENT = 20, 3


class Broken(ThreadingHTTPServer):
    """Breaks at each path in its way, once all of them are asked for at the same moment; until it is healed."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.together = threading.Barrier(len(BROKEN))
        self.over = threading.Event()
        self.healed = False
        self.arrived = Counter()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        server, how = self.server, self.path.strip("/")
        if not server.healed:
            server.together.wait(PATIENT)
            if how == "hang":
                server.over.wait(60)
                return
            if how == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                self.connection.close()
                return
            if how.isdigit():
                self.send_error(int(how))
                return
        server.arrived[how] += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def broken():
    with Broken() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def webhooks(server):
    return {
        how: WebhookChannel(
            f"http://127.0.0.1:{server.server_port}/{how}", timeout=IMPATIENT if how == "hang" else PATIENT
        )
        for how in BROKEN
    }


def apprise_services(server):
    pytest.importorskip("apprise", reason="the extra for Apprise is not installed")
    return {
        how: f"json://127.0.0.1:{server.server_port}/{how}?rto={IMPATIENT if how == 'hang' else PATIENT}"
        for how in BROKEN
    }


class Awaited:
    """An AsyncMonitor whose methods are called as a Monitor's, each in an event loop of its own."""

    def __init__(self, monitor):
        self._monitor = monitor

    def __getattr__(self, name):
        return lambda *given, **named: asyncio.run(getattr(self._monitor, name)(*given, **named))


@pytest.fixture(params=["sync", "async"])
def opened(request, clock):
    def opened(channels):
        storage = MemoryStorage(clock=clock)
        if request.param == "sync":
            return Monitor(storage, channels=channels)
        return Awaited(AsyncMonitor(OffloadedStorage(storage), channels=channels))

    return opened


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("made", [webhooks, apprise_services])
def test_each_failure_ends_as_designed_and_delays_no_other(broken, opened, clock, accuracy_low, made):
    with contextlib.closing(opened(Channels(made(broken), environ={}))) as monitor:
        monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=tuple(BROKEN)), 0.5, "m")
        assert monitor.deliver().outcomes == Counter(BROKEN.values())
        assert broken.arrived == {"ok": 1}
        assert {one.channel for one in monitor.deliveries()} == {"500", "hang", "reset"}
        (letter,) = monitor.dead_letters()
        assert (letter.channel, letter.error) == ("404", "HTTP 404")
        broken.healed = True
        assert monitor.retry_dead_letters() == 1
        clock.forward(1)
        assert monitor.deliver().outcomes == {"delivered": 4}
        assert monitor.deliveries() == monitor.dead_letters() == []
    assert broken.arrived == dict.fromkeys(BROKEN, 1)
