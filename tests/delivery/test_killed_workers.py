"""Workers killed with SIGKILL while they deliver to a real HTTP server: nothing lost, no more duplicates than kills."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.delivery.worker import Dispatcher
from f1mon_core.monitor import Monitor
from f1mon_core.storage.select import Select

from ..factories import raised

KILLS = 200
PATIENT = Policy(lease=timedelta(seconds=3), base=timedelta(milliseconds=10))


def forked(work):
    """Run work in a fork of this warm process; its pid."""
    if pid := os.fork():
        return pid
    with contextlib.suppress(BaseException):
        work()
    os._exit(0)


@pytest.fixture
def hook(tmp_path):
    """A real HTTP server in a process of its own, and the file of the ids it was sent, one a line."""
    received = tmp_path / "received"
    received.touch()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            poison = body["title"] == "poison"
            if not poison:
                with received.open("a") as log:
                    log.write(f"{body['key']}\n")
            self.send_response(500 if poison else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pid = forked(server.serve_forever)
    server.server_close()
    yield f"http://127.0.0.1:{server.server_port}/hook", received
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture(params=["jsonl", "sqlite"])
def address(request, tmp_path):
    found = f"jsonl://{tmp_path}/store" if request.param == "jsonl" else f"sqlite:///{tmp_path}/f1mon.db"
    Monitor.open(found).close()
    return found


def work_at(address, url, until=None):
    """What a worker does: its own handle, its own threads, until it is told or killed."""
    channels = Channels(environ={})
    channels.register("hook", WebhookChannel(url))
    with Monitor.open(address) as monitor:
        worker = Dispatcher(monitor.storage, channels, PATIENT)
        worker.watch(until or threading.Event(), 0.005)
        worker.close()


@pytest.mark.faults
def test_killed_workers_lose_nothing_and_repeat_at_most_once_a_kill(address, hook):
    url, received = hook
    rng = random.Random(7)
    made, killed = [], 0
    with Monitor.open(address) as monitor:
        while killed < KILLS:
            for _ in range(4):
                alert = monitor.create_alert(**raised(channels=["hook"]))
                made.append(alert.alert_id)
            pids = [forked(lambda: work_at(address, url)) for _ in range(2)]
            for pid in pids:
                time.sleep(rng.uniform(0.005, 0.06))
                os.kill(pid, signal.SIGKILL)
                killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    with Monitor.open(address) as monitor:
        stop = threading.Event()
        rest = threading.Thread(target=work_at, args=(address, url, stop))
        rest.start()
        deadline = time.monotonic() + 120
        while monitor.deliveries() and time.monotonic() < deadline:
            time.sleep(0.1)
        stop.set()
        rest.join()
        assert monitor.deliveries() == monitor.dead_letters() == []
        delivered = [fact.alert_id for fact in monitor.storage.find(Select("delivery"))]
        assert monitor.storage.check().ok
    times = Counter(received.read_text().split())
    assert set(made) == times.keys()
    assert sorted(delivered) == sorted(made)
    duplicates = sum(times.values()) - len(made)
    assert duplicates <= killed
    print(f"{killed} killed, {len(made)} alerts, {duplicates} arrived twice")  # noqa: T201 - shown by pytest -s


FRESH = 6
CROWD = 240
A_ROUND = 2.0


@pytest.mark.faults
def test_amid_poison_and_kills_what_is_fresh_is_tried_within_a_round(address, hook):
    """Three workers, one of them killed and replaced before each fresh critical alert; a third of a crowd is poison."""
    url, received = hook
    rng = random.Random(11)
    told = [address, url]
    with Monitor.open(address) as monitor:

        def make(severity, title):
            return monitor.create_alert(severity, title, "m", "accuracy", 0.5, 0.8, "c", "m", ["hook"]).alert_id

        poisoned = {make("warning", "poison") for _ in range(CROWD // 3)}
        healthy = [make("warning", "healthy") for _ in range(CROWD - CROWD // 3)]
        pids = [forked(lambda: work_at(*told)) for _ in range(3)]
        took, killed = [], 0
        for _ in range(FRESH):
            time.sleep(rng.uniform(0.05, 0.3))
            os.kill(victim := pids.pop(rng.randrange(3)), signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(victim, 0)[1])
            pids.append(forked(lambda: work_at(*told)))
            healthy.append(fresh := make("critical", "fresh"))
            begun = time.monotonic()
            while fresh not in received.read_text().split() and time.monotonic() < begun + 20:
                time.sleep(0.02)
            took.append(time.monotonic() - begun)
        deadline = time.monotonic() + 60
        while len(monitor.deliveries()) > len(poisoned) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        assert {one.alert_id for one in monitor.deliveries()} == poisoned
        assert monitor.storage.check().ok
    times = Counter(received.read_text().split())
    assert set(healthy) == times.keys()
    assert sum(times.values()) - len(healthy) <= killed
    # One that a killed worker held waits for the end of its lease besides.
    assert max(took) <= A_ROUND + PATIENT.lease.total_seconds()
    print(f"{killed} killed, tried after {', '.join(f'{one:.2f}' for one in took)} s")  # noqa: T201 - shown by pytest -s
