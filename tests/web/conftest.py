"""Stores to be looked at, and who looks at them: by ASGI calls, and by a real browser."""

import asyncio
import json
import queue
import shutil
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import attrs
import pytest

from f1mon_core import AlertRule, AsyncMonitor, Monitor
from f1mon_core.delivery.channels import CallbackChannel, Channels
from f1mon_core.errors import DeliveryError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.offload import OffloadedStorage

NOW = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)

HOSTILE = "<script>alert(1)</script>/a?b=c#d&e=\"'%2F\u202eesrever\n{{7*7}}]]>"
"""An id that means something in HTML, an attribute, SVG, an address, a template and to the eye."""
PLAIN = "fraud-3"


class Clock:
    """A present that stands still."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


def refuse(_message):
    """A channel that takes nothing."""
    raise DeliveryError("the gateway <b>said</b> no", retry=False)


def season(monitor, model, segment):
    """Fifty days with a fortnight's gap, a label that comes a day late, two classes, and an alert that fires."""
    made, known = [], []
    for number in range(400):
        at = NOW - timedelta(days=50) + number * DAY / 8
        if 20 <= (at - NOW).days + 50 < 34:  # nothing is predicted for a fortnight
            continue
        name = f"{model}/{number}"
        right, confidence = number % 5 > 0 or number < 100, 0.5 + (number % 10) / 20
        made.append(
            Prediction(
                prediction_id=name,
                model_version=model,
                predicted_outcome=number % 2,
                confidence=confidence,
                segments={"country": segment if number % 3 else "DE"},
                features={"amount": number},
                at=at,
            )
        )
        if number % 7 and at + DAY < NOW:
            known.append(
                Outcome(prediction_id=name, actual_outcome=number % 2 if right else 1 - number % 2, at=at + DAY)
            )
    monitor.record_predictions(made)
    monitor.record_outcomes(known)
    fields = ("accuracy", "threshold", 0.99, "<", "critical", f"component {segment}"[:200], True, 60.0, ["broken"])
    rule = AlertRule(f"rule {model}"[:200], *fields, model_version=model, window_minutes=60 * 24 * 50)
    monitor.add_rule(rule)
    monitor.evaluate(rule_id=rule.rule_id)
    monitor.create_alert(
        "info", f"by hand {segment}", segment, "accuracy", 0.5, 0.7, "people", model, channels=["broken"]
    )
    done = monitor.create_alert("warning", "taken", segment, "latency", 0.5, 0.7, "people", model)
    monitor.acknowledge(done.alert_id, f"engineer {segment}"[:200], f"note {segment}")
    monitor.silence(NOW + DAY, rule_id=f"other {segment}"[:200], by="me", comment=f"why {segment}")
    for day in range(5):
        for feature in ("amount", segment[:200]):
            result = {"feature": feature, "detected": day > 2, "method": f"ks {segment}"[:200], "p_value": 0.01}
            monitor.record_drift(result, model, at=NOW - day * DAY)
    monitor.record_importances(model, {"amount": 0.7, segment[:200]: 0.1}, at=NOW)
    monitor.analyze_degradation(model, last=10 * DAY)
    monitor.capture_health(model, last=10 * DAY)


def filled(monitor, *names):
    """A store with a season of each model, and a dead letter of each alert that a channel refused."""
    for name in names:
        season(monitor, name, name[:200])
    monitor.deliver()
    return monitor


def opened(*where, **options):
    """A monitor whose channel refuses everything at once."""
    channels = Channels({"broken": CallbackChannel(refuse)})
    return Monitor.open(*where, channels=channels, clock=Clock(), **options)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A store with a model of a plain name and one of a hostile one."""
    with opened("jsonl", path=str(tmp_path_factory.mktemp("web") / "store")) as monitor:
        yield filled(monitor, PLAIN, HOSTILE)


@pytest.fixture
def writable(tmp_path):
    """A store of one model, to be changed."""
    with opened("jsonl", path=str(tmp_path / "store")) as monitor:
        yield filled(monitor, PLAIN)


def asynchronous(monitor):
    """The same store for an event loop."""
    return AsyncMonitor(OffloadedStorage(monitor.storage), channels=monitor.channels)


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


class Client:
    """Asks an ASGI application, as a browser that was on its pages does."""

    def __init__(self, app, runner, *, root="", peer="127.0.0.1"):
        self.app, self.runner, self.root, self.peer = app, runner, root, peer
        self.cookie = None

    def get(self, path, headers=None, **words):
        return self.ask("GET", path, {"host": "127.0.0.1:8321", **(headers or {})}, query=urlencode(words))

    def post(self, path, fields, headers=None, *, body=None):
        usual = {
            "host": "127.0.0.1:8321",
            "origin": "http://127.0.0.1:8321",
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
        }
        given = {**usual, **(headers or {})}
        return self.ask("POST", path, given, body=urlencode(fields).encode() if body is None else body)

    def ask(self, method, path, headers, *, query="", body=b""):
        sent = [
            (name.lower().encode(), str(value).encode("latin-1"))
            for name, value in headers.items()
            if value is not None
        ]
        if self.cookie is not None:
            sent.append((b"cookie", self.cookie.encode()))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": self.root + path, "raw_path": (self.root + path).encode(), "root_path": self.root,
            "query_string": query.encode(), "headers": sent, "client": (self.peer, 5), "server": ("127.0.0.1", 8321),
        }  # fmt: skip
        started, parts = {}, []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                parts.append(message.get("body", b""))

        self.runner.run(self.app(scope, receive, send))
        found = {name.decode(): value.decode() for name, value in started["headers"]}
        if "set-cookie" in found:
            self.cookie = found["set-cookie"].partition(";")[0]
        return Answer(started["status"], found, b"".join(parts).decode())


@pytest.fixture(scope="session")
def runner():
    """One event loop for all calls."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def client(runner):
    """Makes clients of an application over a monitor."""
    pytest.importorskip("starlette", reason="the extra dashboard is not installed")
    from f1mon_core.web import create_app  # noqa: PLC0415 - an extra

    def made(monitor, *, root="", peer="127.0.0.1", **options):
        return Client(create_app(asynchronous(monitor), **options), runner, root=root, peer=peer)

    return made


def addresses(monitor):
    """Every screen with what the store holds, as path and words."""
    found = [("", {}), ("compare", {}), ("silences", {}), ("deliveries", {}), ("alerts", {}), ("rules", {})]
    found += [("alerts", {"state": "open", "severity": "critical"}), ("silences", {"new": "1", "severity": "critical"})]
    for one in monitor.models():
        words = {"name": one.name}
        found += [(page, words) for page in ("model", "segments", "drift", "settling")]
        found += [("model", {**words, "window": "all", "basis": "matured", "metric": "recall", "positive": "1"})]
        found += [("model", {**words, "where": json.dumps({"country": one.name[:200]})})]
        found += [("segments", {**words, "by": "features.amount", "window": "24h"})]
    for alert in monitor.alerts(limit=20):
        found.append(("incident", {"id": alert.alert_id}))
    found += [("rules", {"id": one.rule_id}) for one in monitor.rules()]
    return found


# A browser ------------------------------------------------------------------------------------------------------------

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium; without it, or without Playwright, the tests that need it are left out, which is said.

    Of one module: while Playwright is there its loop runs in this thread, and no other may.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="LEFT OUT: Playwright is not installed")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("LEFT OUT: there is no Chromium here: apt-get install chromium (`.ci/run` does)")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The text of axe-core, fetched from the registry of npm for this run; left out where there is none."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("LEFT OUT: there is no npm here, so accessibility is not looked at")
    place = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@^4.10"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    script = place / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        pytest.skip(f"LEFT OUT: axe-core cannot be fetched from npm: {(done.stderr or done.stdout).strip()[:200]}")
    return script.read_text(encoding="utf-8")


@contextmanager
def served(monitor, *, root="", **options):
    """The dashboard of a monitor on a port of its own; yields its address."""
    from f1mon_core.web import create_app, serving  # noqa: PLC0415 - an extra

    app = create_app(asynchronous(monitor), **options)
    listening, begun = serving.bound("127.0.0.1", 0), queue.SimpleQueue()
    serving_it = serving.serve(app, listening, root_path=root, begun=begun.put)
    thread = threading.Thread(target=asyncio.run, args=(serving_it,), daemon=True)
    thread.start()
    stop = begun.get(timeout=20)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}{root}"
    finally:
        stop()
        thread.join(20)
        listening.close()
