"""Webhooks that want headers or a signature, and the commands that list and try channels."""

import base64
import hashlib
import hmac
import json
import time

import attrs
import pytest
from click.testing import CliRunner
from werkzeug import Response

from f1mon_core.cli import f1mon
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.channels.webhook import WebhookChannel, signature
from f1mon_core.delivery.messages import rendered
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Alert

CANARY = "geheim-4711"


@pytest.fixture
def message():
    return rendered(Alert("a-1", "info", "t", "m", "accuracy", "c", "model"), "alert", "a-1")


def configured(url):
    by_hash = f"{url}#header=Authorization: Bearer {CANARY}&header=X-Team: ops&secret={CANARY}"
    return {
        "settings": Channels(
            {
                "ops": {
                    "url": url,
                    "headers": {"Authorization": f"Bearer {CANARY}", "X-Team": "ops"},
                    "secret": CANARY,
                }
            },
            environ={},
        ),
        "environment": Channels(
            environ={
                "F1MON_CHANNEL_OPS": url,
                "F1MON_CHANNEL_OPS_HEADERS": f"Authorization: Bearer {CANARY}\nX-Team: ops\n",
                "F1MON_CHANNEL_OPS_SECRET": CANARY,
            }
        ),
        "address": Channels(environ={"F1MON_CHANNEL_OPS": by_hash}),
    }


@pytest.mark.parametrize("how", ["settings", "environment", "address"])
def test_a_webhook_is_sent_its_headers_and_a_signature(httpserver, message, how):
    httpserver.expect_request("/hook").respond_with_data("ok")
    channels = configured(httpserver.url_for("/hook"))[how]
    assert channels.names() == ["console", "file", "ops"]
    channel = channels.get("ops")
    channel.send(message)
    ((request, _),) = httpserver.log
    assert (request.headers["Authorization"], request.headers["X-Team"]) == (f"Bearer {CANARY}", "ops")
    assert request.headers["Idempotency-Key"] == request.headers["Webhook-Id"] == "a-1"
    at = request.headers["Webhook-Timestamp"]
    assert abs(int(at) - time.time()) < 60
    signed = hmac.new(CANARY.encode(), f"a-1.{at}.".encode() + request.data, hashlib.sha256).digest()
    assert request.headers["Webhook-Signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert CANARY not in repr(channel) + repr(channels)
    assert json.loads(request.data)["alert_id"] == "a-1"


def test_the_signature_is_that_of_the_standard():
    # The example of https://github.com/standard-webhooks/standard-webhooks, with its secret.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert WebhookChannel("http://h/", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").secret == secret
    headers = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["Webhook-Signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"headers": {"X Bad": CANARY}}, "none that HTTP knows"),
        ({"headers": {"X": f"{CANARY}\r\nBcc: x"}}, "printable ASCII"),
        ({"headers": {"Webhook-Signature": CANARY}}, "not ours to set"),
        ({"headers": CANARY}, "lines of the form"),
        ({"secret": f"whsec_{CANARY}!"}, "base64"),
        ({"token": CANARY}, "no token"),
    ],
)
def test_a_webhook_that_is_wrongly_configured_says_why_and_shows_no_secret(more, told):
    channels = Channels({"ops": {"url": "http://127.0.0.1/", **more}}, environ={})
    problem = channels.problems(["ops"])["ops"]
    assert told in problem
    assert CANARY not in problem


def test_only_a_webhook_is_signed():
    environ = {"F1MON_CHANNEL_OPS": "file:///tmp/log.txt", "F1MON_CHANNEL_OPS_SECRET": CANARY}
    assert "only a webhook" in Channels(environ=environ).problems(["ops"])["ops"]
    assert "a_secret" in Channels(environ={"F1MON_CHANNEL_A_SECRET": "file:///tmp/log.txt"}).names()


# Commands -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    for name in ("F1MON_BACKEND", "F1MON_URL", "MONITORING_DB_URL"):
        monkeypatch.delenv(name, raising=False)
    Monitor.open("jsonl", path=tmp_path / "store").close()

    def command(*arguments, code=0):
        done = CliRunner().invoke(f1mon, ["--path", str(tmp_path / "store"), *arguments])
        assert done.exit_code == code, done.output
        return done

    return command


def test_a_channel_is_tried_with_a_message(httpserver, command, monkeypatch):
    httpserver.expect_request("/hook").respond_with_data("ok")
    monkeypatch.setenv("F1MON_CHANNEL_OPS", httpserver.url_for("/hook"))
    assert "channel ops accepted the test message" in command("channels", "test", "ops").stderr
    body = json.loads(httpserver.log[0][0].data)
    assert (body["purpose"], body["subject"]) == ("test", "[INFO] Test of the channel ops")
    assert "To take it on" not in body["text"]


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_channel_that_refuses_the_test_is_an_error(httpserver, command, monkeypatch, status):
    httpserver.expect_request("/hook").respond_with_response(Response("", status))
    monkeypatch.setenv("F1MON_CHANNEL_OPS", httpserver.url_for(f"/hook?token={CANARY}"))
    assert f"channel ops: HTTP {status}" in command("channels", "test", "ops", code=1).stderr
    assert len(httpserver.log) == 1


def test_a_channel_that_is_not_there_or_does_not_hold_up_is_an_error(command, monkeypatch):
    assert "nothing is configured" in command("channels", "test", "pager", code=1).stderr
    monkeypatch.setenv("F1MON_CHANNEL_OPS", f"smtp://{CANARY}@h/")
    done = command("channels", "test", "ops", code=2)
    assert CANARY not in done.output


def test_the_list_says_who_is_ready_who_rests_and_who_is_missing(
    tmp_path, httpserver, command, monkeypatch, accuracy_low
):
    httpserver.expect_request("/hook").respond_with_response(Response("", 429, {"Retry-After": "600"}))
    monkeypatch.setenv("F1MON_CHANNEL_SPY", httpserver.url_for(f"/hook?token={CANARY}"))
    monkeypatch.setenv("F1MON_CHANNEL_SPY_SECRET", CANARY)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        monitor.add_rule(accuracy_low)
        monitor.create_alert("info", "t", "m", "accuracy", 0.5, 0.8, "c", "m", ["spy"])
        monitor.add_rule(attrs.evolve(accuracy_low, rule_id="other", channels=("pager",)))
    command("deliver")
    done = command("channels", "list")
    assert CANARY not in done.output
    found = {one["channel"]: one for one in json.loads(command("channels", "list", "--json").stdout)}
    assert (found["console"]["state"], found["console"]["kind"]) == ("ready", "console")
    assert found["spy"]["state"].startswith("rests until 20")
    assert (found["spy"]["kind"], found["spy"]["problem"], found["spy"]["rules"]) == (
        "webhook",
        "HTTP 429",
        ["accuracy-low"],
    )
    assert found["pager"]["state"] == "unusable"
    assert "nothing is configured" in found["pager"]["problem"]
