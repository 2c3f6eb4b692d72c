"""Real servers on this machine receive what is sent, and what they answer means what the design says."""

import contextlib
import email
import io
import json
import logging
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.policy import default
from email.utils import format_datetime
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest
from aiosmtpd.controller import Controller
from werkzeug import Response

from f1mon_core import ConfigurationError, DeliveryError, NotFoundError
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import (
    Channels,
    ConsoleChannel,
    FileChannel,
    Section,
    settings,
    webhook,
)
from f1mon_core.delivery.channels import (
    email as _mail,
)
from f1mon_core.delivery.channels.email import EmailChannel
from f1mon_core.delivery.channels.slack import SlackChannel
from f1mon_core.delivery.channels.webhook import WebhookChannel, wait_of
from f1mon_core.delivery.messages import rendered
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Alert
from f1mon_core.storage.memory import MemoryStorage

HOSTILE = (
    "Down\r\nBcc: victim@example.com\x1b[2J\x1b]0;owned\x07 "
    "<!channel> <script>alert(1)</script> \u202egnp.exe\u2028x\x00y"
)

APPRISE_IMPORTS_IMGHDR = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def alert():
    return Alert(
        alert_id="019b76db-0000-7000-8000-000000000001",
        severity="critical",
        title="PERFORMANCE: accuracy Alert",
        message="accuracy is 0.5000 (< 0.8000)",
        metric_name="accuracy",
        metric_value=0.5,
        threshold=0.8,
        component="performance",
        model_version="podium-gb-2",
        rule_id="accuracy-low",
        rule={"comparison": "<"},
        context={"n": 220, "coverage": 0.75, "low": 0.43, "high": 0.57},
        at=datetime(2026, 5, 1, 12, tzinfo=UTC),
    )


@pytest.fixture
def message(alert):
    return rendered(alert, "alert", alert.alert_id, [Section("Worst slices", ["track = spa: accuracy 0.1 of 20"])])


def hostile(alert):
    return rendered(attrs.evolve(alert, title=HOSTILE, message=HOSTILE, model_version="m\n<b>"), "alert", "key")


@pytest.fixture
def mailbox():
    """A real SMTP server; every envelope it accepted."""

    class Handler:
        envelopes: list = []  # noqa: RUF012 - one handler for each test

        async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - aiosmtpd's name
            self.envelopes.append(envelope)
            return self.answer

        answer = "250 OK"

    handler = Handler()
    handler.envelopes = []
    handler.port = free_port()  # the controller cannot be asked for one of its own
    controller = Controller(handler, hostname="127.0.0.1", port=handler.port, ready_timeout=10)
    controller.start()
    yield handler
    controller.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def mail_channel(mailbox, **more):
    options = {
        "host": "127.0.0.1",
        "port": mailbox.port,
        "from": "f1mon@example.com",
        "to": "ada@example.com, bob@example.com",
    }
    return Channels({"email": {**options, **more}}, environ={}).get("email")


class Text(HTMLParser):
    def __init__(self, markup):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):  # noqa: ARG002 - the parser's signature
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += f"{data}\n"


def test_an_email_arrives_with_both_parts(mailbox, message):
    mail_channel(mailbox).send(message)
    (envelope,) = mailbox.envelopes
    assert envelope.rcpt_tos == ["ada@example.com", "bob@example.com"]
    parsed = email.message_from_bytes(envelope.content, policy=default)
    assert parsed["Subject"] == "[CRITICAL] accuracy-low: accuracy 0.5 (< 0.8), podium-gb-2"
    assert parsed["From"] == "f1mon@example.com"
    assert message.alert.alert_id in parsed["Message-ID"]
    text = parsed.get_body(("plain",)).get_content()
    markup = Text(parsed.get_body(("html",)).get_content())
    for said in (
        "accuracy is 0.5000 (< 0.8000)",
        "podium-gb-2",
        "n = 220, coverage = 75.0%",
        "< 0.8",
        "0.43 to 0.57",
        f"f1mon ack {message.alert.alert_id} --by NAME",
        "track = spa: accuracy 0.1 of 20",
    ):
        assert said in text
        assert said in markup.text


def test_a_hostile_title_arrives_harmless_by_mail(mailbox, alert):
    mail_channel(mailbox).send(hostile(alert))
    (envelope,) = mailbox.envelopes
    parsed = email.message_from_bytes(envelope.content, policy=default)
    assert envelope.rcpt_tos == ["ada@example.com", "bob@example.com"]
    assert parsed["Bcc"] is None
    assert parsed["Subject"].startswith("[CRITICAL] Down Bcc: victim@example.com\\x1b[2J")
    for part in ("plain", "html"):
        content = parsed.get_body((part,)).get_content()
        assert not set(content) & set("\x1b\x07\x00\u202e\u2028")
    markup = Text(parsed.get_body(("html",)).get_content())
    assert "script" not in markup.tags
    assert "<script>alert(1)</script>" in markup.text


@pytest.mark.parametrize(("answer", "retry"), [("451 later", True), ("554 never", False)])
def test_the_servers_code_decides_about_a_retry(mailbox, message, answer, retry):
    mailbox.answer = answer
    with pytest.raises(DeliveryError, match=answer[:3]) as failed:
        mail_channel(mailbox).send(message)
    assert failed.value.retry is retry


def test_a_password_is_not_sent_in_the_clear(mailbox, message):
    with pytest.raises(DeliveryError, match="in the clear") as failed:
        mail_channel(mailbox, user="ada", password="geheim").send(message)
    assert not failed.value.retry
    assert "geheim" not in repr(mail_channel(mailbox, user="ada", password="geheim"))


def test_no_server_is_a_network_error(message):
    channel = Channels({"email": f"smtp://127.0.0.1:{free_port()}/?from=a@example.com&to=b@example.com"}, environ={})
    with pytest.raises(DeliveryError, match="network error") as failed:
        channel.get("email").send(message)
    assert failed.value.retry


def test_a_webhook_receives_the_alert_and_its_key(httpserver, message):
    httpserver.expect_request("/hook", method="POST").respond_with_data("ok")
    Channels({"ops": httpserver.url_for("/hook?token=geheim")}, environ={}).get("ops").send(message)
    request, _ = httpserver.log[0]
    body = json.loads(request.data)
    assert request.headers["Idempotency-Key"] == message.alert.alert_id == body["key"] == body["alert_id"]
    assert (body["severity"], body["metric_value"], body["threshold"]) == ("critical", 0.5, 0.8)
    assert body["context"]["n"] == 220


def test_a_webhook_receives_nothing_hostile(httpserver, alert):
    httpserver.expect_request("/hook", method="POST").respond_with_data("ok")
    texts = ("title", "message", "component", "model_version", "metric_name", "rule_id", "incident_id")
    text = HOSTILE.replace("\0", "")  # which no id may hold
    nasty = attrs.evolve(alert, context={"reason": text, "labels": {text: [text]}}, **dict.fromkeys(texts, text))
    channel = Channels({"ops": httpserver.url_for("/hook")}, environ={}).get("ops")
    channel.send(rendered(nasty, "alert", "key", [Section(text, [text])]))
    body = json.loads(httpserver.log[0][0].data)

    def every(value):
        if isinstance(value, dict):
            return [text for pair in value.items() for one in pair for text in every(one)]
        return [text for one in value for text in every(one)] if isinstance(value, list) else [value]

    for one in every({name: value for name, value in body.items() if name != "text"}):
        assert not isinstance(one, str) or one.isprintable()
    assert all(line.isprintable() for line in body["text"].split("\n"))
    assert "<!channel>" not in json.dumps(body)
    assert {body[name] for name in texts} == {body["title"]}
    assert body["title"].startswith("Down Bcc: victim@example.com\\x1b[2J")


def test_slack_receives_the_command_however_long_the_text(alert):
    long = attrs.evolve(alert, message="x " * 490, component="c" * 250, model_version="m" * 250)
    sections = [Section("Worst slices", ["track = " + "t" * 900] * 3)]
    for message in (rendered(long, "alert", "key", sections), rendered(long, "resolved", "key", sections)):
        text = SlackChannel("http://127.0.0.1/").payload(message)["blocks"][1]["text"]["text"]
        assert len(message.text) > 3000
        assert len(text) <= 2900
        assert text.endswith(message.text.strip()[-10:])
        assert ("f1mon ack" in text) is (message.purpose == "alert")


def test_slack_receives_text_that_addresses_nobody(httpserver, alert):
    httpserver.expect_request("/services/T/B/x", method="POST").respond_with_data("ok")
    environ = {"ALERT_SLACK_WEBHOOK_URL": httpserver.url_for("/services/T/B/x")}
    Channels(environ=environ).get("slack").send(hostile(alert))
    body = json.loads(httpserver.log[0][0].data)
    assert "<!channel>" not in body["text"]
    assert "&lt;!channel&gt;" in body["text"]
    assert {block["text"]["type"] for block in body["blocks"]} == {"plain_text"}
    assert len(body["blocks"][0]["text"]["text"]) <= 150
    assert "f1mon ack" in body["blocks"][1]["text"]["text"]


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        *((status, False) for status in (302, 400, 401, 404, 410)),
        *((status, True) for status in (408, 425, 429, 500, 502, 503)),
    ],
)
def test_what_a_status_means(httpserver, message, status, retry):
    httpserver.expect_request("/hook").respond_with_response(Response("no", status, {"Location": "/elsewhere"}))
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as failed:
        WebhookChannel(httpserver.url_for("/hook")).send(message)
    assert failed.value.retry is retry
    assert len(httpserver.log) == 1


def test_retry_after_is_honoured_as_seconds_and_as_a_date(httpserver, message):
    httpserver.expect_request("/hook").respond_with_response(Response("slow", 429, {"Retry-After": "1234"}))
    with pytest.raises(DeliveryError) as failed:
        WebhookChannel(httpserver.url_for("/hook")).send(message)
    assert failed.value.after == 1234
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < wait_of(in_an_hour) <= 3600
    assert wait_of(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)) == 0
    assert (wait_of(None), wait_of("soon"), wait_of("-5"), wait_of("9" * 400)) == (None, None, None, 86_400)


def test_a_server_that_hangs_or_hangs_up_is_a_network_error(message):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/hook?token=geheim"
        began = time.monotonic()
        with pytest.raises(DeliveryError, match=r"network error.*timed out") as failed:
            WebhookChannel(url, timeout=0.2).send(message)
        assert failed.value.retry
        assert time.monotonic() - began < 5
        server.accept()[0].close()

        def hang_up():
            connection, _ = server.accept()
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DeliveryError, match="network error") as failed:
            WebhookChannel(url, timeout=5).send(message)
        thread.join()
        assert failed.value.retry
        assert "geheim" not in str(failed.value) + repr(WebhookChannel(url))


@pytest.fixture
def dripping():
    """Ports of servers of HTTP, of HTTP that has said 200, and of SMTP, that never come to the end of an answer."""
    ended = threading.Event()

    def drip(connection, greeting, line):
        with connection, contextlib.suppress(OSError):
            connection.sendall(greeting)
            while not ended.wait(0.1):
                connection.sendall(line)

    def accept(server, *said):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=drip, args=(connection, *said), daemon=True).start()

    with contextlib.ExitStack() as servers:
        ports = []
        for said in (
            (b"HTTP/1.1 2", b"0"),
            (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
            (b"220-hello\r\n", b"220-wait\r\n"),
        ):
            server = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=accept, args=(server, *said), daemon=True).start()
            servers.callback(server.shutdown, socket.SHUT_RDWR)
            ports.append(server.getsockname()[1])
        yield ports
        ended.set()


def test_a_server_that_drips_ends_a_send_no_later_than_one_that_hangs(dripping, message):
    http, accepted, smtp = dripping
    for channel in (
        WebhookChannel(f"http://127.0.0.1:{http}/", timeout=5, total=0.5),
        WebhookChannel(f"https://127.0.0.1:{http}/", timeout=5, total=0.5),
        EmailChannel(host="127.0.0.1", port=smtp, timeout=5, total=0.5, sender="a@b.c", recipients="d@e.f"),
        EmailChannel(
            host="127.0.0.1", port=smtp, timeout=5, total=0.5, sender="a@b.c", recipients="d@e.f", security="tls"
        ),
    ):
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="network error") as failed:
            channel.send(message)
        assert failed.value.retry
        assert time.monotonic() - began < 4
    began = time.monotonic()
    WebhookChannel(f"http://127.0.0.1:{accepted}/", timeout=5, total=0.5).send(message)
    assert time.monotonic() - began < 4


def test_no_channel_of_ours_takes_longer_than_a_lease():
    longest = max(webhook.TOTAL_SECONDS + webhook.TIMEOUT_SECONDS, _mail.TOTAL_SECONDS + _mail.TIMEOUT_SECONDS)
    assert longest < Policy().lease.total_seconds()


def test_the_whole_way_from_a_429_to_the_arrival(httpserver, clock, accuracy_low, channels):
    httpserver.expect_ordered_request("/hook").respond_with_response(Response("", 429, {"Retry-After": "600"}))
    httpserver.expect_ordered_request("/hook").respond_with_data("ok")
    channels.register("spy", WebhookChannel(httpserver.url_for("/hook")))
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        monitor.evaluate_rule(accuracy_low, 0.5, "m")
        assert monitor.deliver().outcomes == {"failed": 1}
        clock.forward(9.9)
        assert monitor.deliver().outcomes == {}
        clock.forward(0.1)
        assert monitor.deliver().outcomes == {"delivered": 1}
    first, second = (request.data for request, _ in httpserver.log)
    assert first == second


@APPRISE_IMPORTS_IMGHDR
def test_apprise_serves_what_it_knows(httpserver, message):
    httpserver.expect_request("/json").respond_with_data("ok")
    httpserver.expect_request("/gone").respond_with_data("gone", status=404)
    httpserver.expect_request("/busy").respond_with_data("busy", status=503)
    host = f"json://127.0.0.1:{httpserver.port}"
    channels = Channels({"team": f"{host}/json", "gone": f"{host}/gone", "busy": f"{host}/busy"}, environ={})
    channels.get("team").send(message)
    body = json.loads(httpserver.log[0][0].data)
    assert body["title"] == message.subject
    assert "f1mon ack" in body["message"]
    for name, retry in (("gone", False), ("busy", True)):
        with pytest.raises(DeliveryError) as failed:
            channels.get(name).send(message)
        assert failed.value.retry is retry


@APPRISE_IMPORTS_IMGHDR
def test_apprise_services_at_the_same_time_do_not_take_each_others_status(clock, accuracy_low):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/gone":
                time.sleep(0.1)
                self.send_error(404)
            else:
                time.sleep(0.5)  # and hangs up, when the other one's status has been said

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"json://127.0.0.1:{server.server_port}"
        channels = Channels({"gone": f"{host}/gone", "busy": f"{host}/busy"}, environ={})
        for name in ("gone", "busy"):
            channels.get(name)
        with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
            monitor.evaluate_rule(attrs.evolve(accuracy_low, channels=("busy", "gone")), 0.5, "m")
            assert monitor.deliver().outcomes == {"failed": 1, "dead": 1}
            assert [(one.channel, one.error) for one in monitor.dead_letters()] == [("gone", "HTTP 404")]
            assert [one.channel for one in monitor.deliveries()] == ["busy"]
        server.shutdown()


def test_the_log_file_has_one_line_for_each_alert(tmp_path, alert, message):
    channel = Channels(directory=tmp_path / "new", environ={}).get("file")
    channel.send(message)
    channel.send(hostile(alert))
    lines = (tmp_path / "new" / "alert_log.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "2026-05-01T12:00:00+00:00 | [CRITICAL] accuracy-low: accuracy 0.5 (< 0.8), podium-gb-2 | "
    )
    assert all(line.isprintable() for line in lines)


def test_the_log_file_is_not_written_through_a_symlink(tmp_path, message):
    (tmp_path / "target").write_text("")
    (tmp_path / "alert_log.txt").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        FileChannel(tmp_path / "alert_log.txt").send(message)
    assert (tmp_path / "target").read_text() == ""


def test_a_console_that_cannot_encode_a_character_does_not_crash(alert):
    for encoding in ("ascii", "latin-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        ConsoleChannel(stream).send(hostile(attrs.evolve(alert, title="Überhitzt 🏎", component="部")))
        assert b"[CRITICAL]" in stream.buffer.getvalue()


def test_the_console_is_stderr_as_it_is_when_the_alert_comes(message, monkeypatch):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        Channels(environ={}).get("console").send(message)
    assert message.alert.alert_id in told.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(DeliveryError, match="no console"):
        ConsoleChannel().send(message)


@pytest.mark.parametrize("host", ["ALERT_EMAIL_HOST", "ALERT_EMAIL_SMTP_SERVER", "ALERT_EMAIL_SMTP_HOST"])
@pytest.mark.parametrize("recipients", ["ALERT_EMAIL_TO", "ALERT_EMAIL_RECIPIENTS", "ALERT_EMAIL_TO_ADDRESSES"])
def test_the_variables_of_old_deployments_keep_working(host, recipients):
    environ = {
        host: "mail.example.com",
        "ALERT_EMAIL_PORT": "2525",
        "ALERT_EMAIL_USER": "ada@example.com",
        "ALERT_EMAIL_PASSWORD": "geheim",
        recipients: "bob@example.com;carl@example.com",
    }
    channel = Channels(environ=environ).get("email")
    assert (channel.host, channel.port, channel.user, channel.password) == (
        "mail.example.com",
        2525,
        "ada@example.com",
        "geheim",
    )
    assert [str(one) for one in channel.recipients] == ["bob@example.com", "carl@example.com"]
    assert str(channel.sender) == "ada@example.com"


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ("a@b.c", ["a@b.c"]),
        (" Ada <a@b.c> ", ["Ada <a@b.c>"]),
        ('"Lovelace, Ada" <a@b.c>; b@b.c,<c@b.c>', ['"Lovelace, Ada" <a@b.c>', "b@b.c", "c@b.c"]),
        ("Jürgen Müller <j@b.c>", ["Jürgen Müller <j@b.c>"]),
    ],
)
def test_addresses_with_names(given, addresses, mailbox, message):
    channel = mail_channel(mailbox, **{"from": "F1 Alerts <f1@example.com>", "to": given})
    assert [str(one) for one in channel.recipients] == addresses
    channel.send(message)
    (envelope,) = mailbox.envelopes
    assert envelope.mail_from == "f1@example.com"
    assert envelope.rcpt_tos == [one.addr_spec for one in channel.recipients]
    assert email.message_from_bytes(envelope.content, policy=default)["From"] == "F1 Alerts <f1@example.com>"


@pytest.mark.parametrize(
    "address",
    ["@b.c", "a@b@c", "[a@b.c]", "a@", "<>", "Ada <@b.c>", "a b@c.d", "Ada <a@b.c", "a@b.c>", "a@b.c\r\nBcc: x@y.z",
     "Ada\r\nBcc: x <a@b.c>", '["a@b.c"]', "a@b.c (ada)", '"', "a\x00@b.c"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["ALERT_EMAIL_TO", "ALERT_EMAIL_FROM"])
def test_what_is_no_email_address_is_told_and_nothing_else(address, variable):
    environ = {"ALERT_EMAIL_HOST": "h", "ALERT_EMAIL_TO": "a@b.c", "ALERT_EMAIL_FROM": "a@b.c", variable: address}
    assert "is no email address" in Channels(environ=environ).problems(["email"])["email"]


@pytest.mark.parametrize(
    ("name", "environ", "told"),
    [
        ("email", {"ALERT_EMAIL_HOST": "h"}, "ALERT_EMAIL_TO is missing"),
        ("email", {"ALERT_EMAIL_TO": "a@b.c"}, "ALERT_EMAIL_HOST is missing"),
        ("email", {"ALERT_EMAIL_HOST": "h", "ALERT_EMAIL_TO": "a@b.c"}, "ALERT_EMAIL_FROM is missing"),
        ("email", {"ALERT_EMAIL_HOST": "h", "ALERT_EMAIL_TO": "a b", "ALERT_EMAIL_FROM": "a@b.c"}, "no email address"),
        (
            "email",
            {"ALERT_EMAIL_HOST": "h", "ALERT_EMAIL_PORT": "x", "ALERT_EMAIL_TO": "a@b.c", "ALERT_EMAIL_FROM": "a@b.c"},
            "PORT",
        ),
        ("slack", {"ALERT_SLACK_WEBHOOK_URL": "hooks.slack.com/geheim"}, "starts with http"),
        ("ops", {"F1MON_CHANNEL_OPS": "geheim"}, "F1MON_CHANNEL_OPS: an address starts"),
        ("ops", {"F1MON_CHANNEL_OPS": "nonsense://geheim"}, "F1MON_CHANNEL_OPS: Apprise does not understand"),
        ("ops", {"F1MON_CHANNEL_OPS": "smtp://u:geheim@h/?to=a@b.c"}, "from="),
        ("ops", {"F1MON_CHANNEL_OPS": "smtp://u:geheim@h/?to=a@b.c&from=a@b.c&port=3"}, "not 'port'"),
        ("ops", {"F1MON_CHANNEL_OPS": "smtp://u:geheim@h/?to=a@b.c&from=a@b.c&security=maybe"}, "security"),
    ],
)
@APPRISE_IMPORTS_IMGHDR
def test_a_configuration_that_does_not_hold_up_says_why_and_tells_no_secret(name, environ, told):
    channels = Channels(environ=environ)
    with pytest.raises(ConfigurationError, match=told) as refused:
        channels.get(name)
    assert "geheim" not in str(refused.value)
    assert told in channels.problems([name, "console"])[name]


CANARY = "geheim"
ADDRESSES_WITH_A_SECRET = [
    "https://ada:geheim@127.0.0.1:1/hook",
    "https://geheim@127.0.0.1:1/hook",
    "http://127.0.0.1:1/hook?token=geheim x",
    "http://127.0.0.1:1/hook?token=geheimä",
    "http://127.0.0.1:1/hook?k=geheim\r\n",
    "https://127.0.0.1:geheim/hook",
    "https://127.0.0.1:0/geheim",
    "https://u:geheim/x@mail/",
    "https://[::1/geheim",
    "slack+https://[::1/geheim",
    "http://ada:geheim@[::1]:1/geheim",
    "smtp://u:geheim/x@mail/?from=a@b.c&to=d@e.f",
    "smtp://u:geheim@[::1/?from=a@b.c&to=d@e.f",
    "smtp://u:geheim@127.0.0.1:1/?from=a@b.c&to=d@e.f",
    "smtp://u:geheim@127.0.0.1/?from=a@b.c&to=d@e.f&security=geheim",
    "slack://geheim",
    "pagerduty://geheim",
    "nonsense://geheim",
    "tgram://123geheim/",
    "json://u:geheim@127.0.0.1:1/x?token=geheim",
]


@APPRISE_IMPORTS_IMGHDR
@pytest.mark.parametrize("address", ADDRESSES_WITH_A_SECRET)
def test_no_address_is_told_to_anybody(address, clock, accuracy_low, caplog, capsys):
    caplog.set_level(logging.DEBUG, logger="f1mon")
    channels = Channels(environ={"F1MON_CHANNEL_SPY": address})
    problems = channels.problems(["spy"])
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        monitor.evaluate_rule(accuracy_low, 0.5, "m")
        outcomes = monitor.deliver().outcomes
        assert outcomes == ({"dead": 1} if problems else {"failed": 1})
        stored = str(monitor.storage.state(""))
    said = f"{problems} {stored} {caplog.text} {channels!r} {capsys.readouterr()}"
    assert CANARY not in said


@pytest.mark.parametrize(
    "said",
    [
        "POST https://ada:geheim@host/hook?token=geheim failed",
        "no answer from 'https://hooks.slack.com/services/T0/B0/geheim'",
        "401 for {'password': 'geheim'}",
        "Authorization: Bearer geheim",
        "api_key=geheim&x=1",
    ],
)
def test_what_a_channel_of_others_raises_is_kept_without_its_secrets(said, clock, accuracy_low, caplog):
    def third(_alert):
        raise RuntimeError(said)

    channels = Channels({"spy": third}, environ={})
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        monitor.evaluate_rule(accuracy_low, 0.5, "m")
        assert monitor.deliver().outcomes == {"failed": 1}
        (waiting,) = monitor.deliveries()
    assert waiting.error.startswith("RuntimeError: ")
    assert CANARY not in waiting.error + caplog.text


def test_an_account_in_a_webhooks_address_becomes_a_header(httpserver, message):
    httpserver.expect_request("/hook").respond_with_data("ok")
    address = httpserver.url_for("/hook?x=1").replace("://", "://ada:s%2Fecret@")
    Channels({"ops": address}, environ={}).get("ops").send(message)
    request, _ = httpserver.log[0]
    assert (request.authorization.username, request.authorization.password) == ("ada", "s/ecret")
    assert request.query_string == b"x=1"


def test_nothing_configured_says_what_to_set():
    for name, environ in (("pager-1", {}), ("email", {}), ("slack", {"ALERT_SLACK_ENABLED": "false"})):
        with pytest.raises(NotFoundError, match=f"F1MON_CHANNEL_{name.upper().replace('-', '_')}"):
            Channels(environ=environ).get(name)


def test_a_channel_that_takes_long_to_be_made_holds_up_no_other(monkeypatch):
    made, begun = threading.Event(), threading.Event()

    def slowly(_given, _prefix):
        begun.set()
        assert made.wait(30)
        return ConsoleChannel()

    monkeypatch.setitem(settings.OWN, "email", slowly)
    channels = Channels({"email": {}, "fast": print}, environ={})
    maker = threading.Thread(target=channels.get, args=("email",))
    maker.start()
    assert begun.wait(30)
    other = threading.Thread(target=lambda: channels.get("fast"), daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive()
    made.set()
    maker.join()
    assert channels.get("email") is channels.get("email")


def test_a_channel_of_another_distribution_is_found_by_its_entry_point(tmp_path, monkeypatch, message):
    (tmp_path / "their_channel.py").write_text(
        "sent = []\n"
        "class Theirs:\n"
        "    def __init__(self, address): self.address = address\n"
        "    def send(self, message): sent.append((self.address, message.key))\n"
        "def broken(address): raise RuntimeError(address)\n"
    )
    metadata = tmp_path / "their_channel-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-channel\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[f1mon.channels]\nsms = their_channel:Theirs\nbad = their_channel:broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    channels = Channels({"oncall": "sms://+491"}, environ={})
    channels.get("oncall").send(message)
    channels.get("sms").send(message)
    import their_channel  # noqa: PLC0415 - made above

    assert their_channel.sent == [("sms://+491", message.key), (None, message.key)]
    assert "sms" in channels.names()
    with pytest.raises(ConfigurationError, match="their_channel:broken failed: RuntimeError"):
        channels.get("bad")


@pytest.mark.parametrize("name", ["a b", "50%25", "season?#1", "größe"])
def test_the_channel_file_logs_into_the_directory_of_the_store_whatever_its_name(tmp_path, message, name):
    with Monitor.open("jsonl", path=tmp_path / name) as monitor:
        monitor.channels.get("file").send(message)
    assert (tmp_path / name / "alert_log.txt").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
