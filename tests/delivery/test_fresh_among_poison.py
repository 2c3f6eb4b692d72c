"""`f1mon deliver --watch` amid thousands that wait and a third of which no server takes: what is fresh goes first."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from f1mon_core import Monitor
from f1mon_core.alerts import outbox
from f1mon_core.records.kinds import Alert
from f1mon_core.storage.change import Change

from ..servers import fresh_sqlite

AT_ONCE = 500
POISON_OF_TEN = 3


@pytest.fixture
def hook():
    """A server that answers 500 to what is poison, and when it was first sent each key."""
    first = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            first.setdefault(body["key"], time.monotonic())
            self.send_response(500 if body["title"] == "poison" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url, server.first = f"http://127.0.0.1:{server.server_port}/hook", first
    yield server
    server.shutdown()
    server.server_close()


def filled(monitor, waiting):
    """So many alerts on their way, of which three in ten are poison; in few commits."""
    for begin in range(0, waiting, AT_ONCE):

        def step(document, now, begin=begin):
            facts, also = [], {}
            for number in range(begin, min(begin + AT_ONCE, waiting)):
                title = "poison" if number % 10 < POISON_OF_TEN else "healthy"
                one = Alert(f"{number:08}", "warning", title, "m", "accuracy", "c", "m", at=now, at_given=False)
                facts.append(one)
                also |= outbox.waiting(one.alert_id, ["hook"], now, said={"severity": "warning"})
            return Change(document, facts, also)

        monitor.storage.transition("filled", step, operation_id=f"filled {begin}")


def tried_after(address, hook, waiting, fresh_ones):
    """How long after it was made each fresh critical alert was tried, while the others were under way."""
    with Monitor.open(address) as monitor:
        filled(monitor, waiting)
        environ = {**os.environ, "F1MON_CHANNEL_HOOK": hook.url, "F1MON_URL": address}
        command = [sys.executable, "-c", "from f1mon_core.cli import main; main()", "deliver", "--watch"]
        worker = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        try:
            took = []
            for number in range(fresh_ones):
                begun = time.monotonic()
                while len(hook.first) < 10 * (number + 1) and time.monotonic() < begun + 60:
                    time.sleep(0.01)
                fresh = monitor.create_alert("critical", "fresh", "m", "accuracy", 0.5, 0.8, "c", "m", ["hook"])
                begun = time.monotonic()
                while fresh.alert_id not in hook.first and time.monotonic() < begun + 60:
                    time.sleep(0.01)
                took.append(hook.first[fresh.alert_id] - begun)
            left = waiting + fresh_ones - len(hook.first)
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    return took, left


def address_of(kind, tmp_path):
    return f"jsonl://{tmp_path}/store" if kind == "jsonl" else None


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_what_is_fresh_overtakes_hundreds(kind, tmp_path, hook):
    with fresh_sqlite() as sqlite:
        _, left = tried_after(address_of(kind, tmp_path) or sqlite, hook, 300, 1)
    assert left > 0  # it did not wait for the others


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_what_is_fresh_is_tried_within_two_seconds_amid_ten_thousand(kind, tmp_path, hook):
    with fresh_sqlite() as sqlite:
        took, left = tried_after(address_of(kind, tmp_path) or sqlite, hook, 10_000, 5)
    print(f"{kind}: tried after {', '.join(f'{one:.2f}' for one in took)} s; {left} were still waiting")  # noqa: T201
    assert left > 0
    assert max(took) < 2
