"""Mail servers of every age and mood: what they say is the channel's, the message's or one person's."""

import contextlib
import email
import socket
import threading
import time
from email.policy import default

import attrs
import pytest

from f1mon_core import DeliveryError
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.channels import email as mails
from f1mon_core.delivery.channels.email import EmailChannel
from f1mon_core.delivery.channels.webhook import WebhookChannel
from f1mon_core.monitor import Monitor
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select

CUT = object()
"""Instead of an answer: the connection is closed."""


class Scripted:
    """A mail server that says what it is told to.

    `answers` has, by the beginning of a command, a list of answers, the last of which stands for ever. "DATA" is the
    answer to the command, "." the one to the mail's end, "" the greeting.
    """

    def __init__(self):
        self.answers, self.commands, self.mails = {}, [], []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _answer(self, line, default):
        for begin in sorted(self.answers, key=len, reverse=True):
            if (begin and line.upper().startswith(begin.upper())) or line == begin:
                scripted = self.answers[begin]
                return scripted.pop(0) if len(scripted) > 1 else scripted[0]
        return default

    def _converse(self, connection):
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            recipients = []
            self._say(connection, "", "220 here")
            for line in lines:
                command = line.decode().strip()
                self.commands.append(command)
                if command.upper() == "DATA":
                    if self._say(connection, "DATA", "354 go on").startswith("354"):
                        self._take(connection, b"".join(iter(lines.readline, b".\r\n")), recipients)
                elif self._say(connection, command, "250 well").startswith("25") and command.upper().startswith("RCPT"):
                    recipients.append(command.partition("<")[2].partition(">")[0])

    def _take(self, connection, content, recipients):
        if self._say(connection, ".", "250 accepted").startswith("250"):
            self.mails.append((tuple(recipients), content))
        if self.answers.get("after") == CUT:
            raise ConnectionResetError

    def _say(self, connection, line, default):
        answer = self._answer(line, default)
        if answer is CUT:
            raise ConnectionResetError
        connection.sendall(f"{answer}\r\n".encode())
        return answer

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("socket.getfqdn", lambda *_: "here.example")  # which may ask a resolver that is not there
    made = Scripted()
    yield made
    made.close()


def channel_of(server, recipients="ada@example.com, bob@example.com", **more):
    return EmailChannel(
        host="127.0.0.1", port=server.port, sender="f1mon@example.com", recipients=recipients, timeout=5, **more
    )


@pytest.fixture
def post(server, clock):
    """A monitor whose channel "mail" is that server, and what its rule tells it."""
    channels = Channels(environ={})
    channels.register("mail", channel_of(server))
    with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
        yield monitor


@pytest.fixture
def rule(accuracy_low):
    return attrs.evolve(accuracy_low, channels=("mail",), notify_resolved=True)


def received(server):
    return [recipients for recipients, _ in server.mails]


# Accepted is accepted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["451 not now", "500 what?", "421 closing", "garbage", CUT])
def test_what_is_said_to_quit_does_not_matter(server, post, clock, rule, answer):
    server.answers["QUIT"] = [answer]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}
    for _ in range(10):
        clock.forward(60)
        assert post.deliver().outcomes == {}
    assert received(server) == [("ada@example.com", "bob@example.com")]


def test_a_connection_that_is_cut_after_the_acceptance_does_not_matter(server, post, rule):
    server.answers["after"] = CUT
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}


def test_a_goodbye_that_never_comes_is_not_waited_for_long(server, post, rule, monkeypatch):
    monkeypatch.setattr(mails, "_GOODBYE_SECONDS", 0.1)
    server.answers["QUIT"] = ["221-wait"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}


def test_a_connection_that_is_cut_before_the_acceptance_is_tried_again(server, post, clock, rule):
    server.answers["."] = [CUT, "250 accepted"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    clock.forward(1)
    assert post.deliver().outcomes == {"delivered": 1}
    assert len(server.mails) == 1


# People -------------------------------------------------------------------------------------------------------------


def test_who_is_put_off_is_tried_again_and_nobody_else(server, post, clock, rule):
    server.answers["RCPT TO:<bob"] = ["450 greylisted", "450 greylisted", "250 well"]
    alert = post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    (waiting,) = post.deliveries()
    assert waiting.error == "put off: bob@example.com: SMTP 450 (greylisted)"
    clock.forward(1)
    assert post.deliver().outcomes == {"failed": 1}
    clock.forward(1)
    assert post.deliver().outcomes == {"delivered": 1}
    assert received(server) == [("ada@example.com",), ("bob@example.com",)]
    assert len([one for one in server.commands if "ada@" in one]) == 1
    assert post.storage.state("channel/") == {}
    (fact,) = post.storage.find(Select("delivery"))
    assert (fact.alert_id, fact.attempts) == (alert.alert_id, 3)


def test_who_is_refused_is_named_and_the_others_have_it(server, post, clock, rule):
    server.answers["RCPT TO:<bob"] = ["550 5.1.1 no such person"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"dead": 1}
    (letter,) = post.dead_letters()
    assert letter.error == "refused: bob@example.com: SMTP 550 (5.1.1 no such person)"
    assert received(server) == [("ada@example.com",)]
    post.evaluate_rule(rule, 0.9, "m")  # and whoever was told is told the end
    assert post.deliver().outcomes == {"dead": 1}
    assert received(server) == [("ada@example.com",)] * 2
    server.answers.clear()
    clock.forward(1)
    assert post.retry_dead_letters() == 2
    post.deliver()
    assert received(server)[2:] == [("bob@example.com",)] * 2


def test_one_is_refused_and_another_put_off(server, post, clock, rule):
    post.channels.register("mail", channel_of(server, "ada@example.com, bob@example.com, carl@example.com"))
    server.answers["RCPT TO:<bob"] = ["550 no"]
    server.answers["RCPT TO:<carl"] = ["452 mailbox full", "250 well"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    clock.forward(1)
    assert post.deliver().outcomes == {"dead": 1}
    assert post.dead_letters()[0].error == "refused: bob@example.com: SMTP 550 (no)"
    assert received(server) == [("ada@example.com",), ("carl@example.com",)]
    assert len([one for one in server.commands if "bob@" in one]) == 1


def test_who_is_put_off_for_a_day_is_named_in_a_dead_letter(server, post, clock, rule):
    server.answers["RCPT TO:<bob"] = ["450 greylisted"]
    post.evaluate_rule(rule, 0.5, "m")
    for _ in range(8):
        assert post.dead_letters() == []
        post.deliver()
        clock.forward(60 * 4)
    (letter,) = post.dead_letters()
    assert "bob@example.com" in letter.error
    assert received(server) == [("ada@example.com",)]


def test_nobody_is_accepted(server, post, rule):
    server.answers["RCPT"] = ["550 no"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"dead": 1}
    assert {"ada@example.com", "bob@example.com"} <= set(post.dead_letters()[0].error.replace(":", "").split())
    assert "DATA" not in map(str.upper, server.commands)


@pytest.mark.parametrize("answer", ["451 later", "452 no room"])
def test_a_mail_that_is_put_off_at_its_end_is_put_off_for_all(server, post, clock, rule, answer):
    server.answers["."] = [answer, "250 accepted"]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    assert post.storage.state("channel/") == {}  # the message's, not the channel's
    clock.forward(1)
    assert post.deliver().outcomes == {"delivered": 1}
    assert received(server) == [("ada@example.com", "bob@example.com")]


# Before MAIL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        {"EHLO": ["451 busy", "250 well"]},
        {"": ["421 too many connections", "220 here"]},
        {"": ["554 no service", "220 here"]},
        {"": [CUT, CUT, "220 here"]},
        {"EHLO": ["421 closing", "250 well"]},
        {"EHLO": ["500 what?"], "HELO": ["451 busy", "250 well"]},
        {"MAIL": ["421 closing", "250 well"]},
        {"RCPT": ["421 closing", "250 well"]},
        {"DATA": ["421 closing", "354 go on"]},
        {".": ["421 closing", "250 accepted"]},
        {"MAIL": [CUT, "250 well"]},
    ],
)
def test_what_is_the_channels(server, post, clock, rule, answers):
    server.answers |= answers
    for number in range(3):
        post.evaluate_rule(attrs.evolve(rule, rule_id=f"rule-{number}"), 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    assert list(post.storage.state("channel/")) == ["channel/mail"]
    assert server.mails == post.dead_letters() == []
    clock.forward(1)
    assert post.deliver().outcomes == {"delivered": 3}


@pytest.mark.parametrize(("answer", "outcome"), [("451 later", "failed"), ("550 not you", "dead")])
def test_what_is_said_to_mail_is_the_messages(server, post, rule, answer, outcome):
    server.answers["MAIL"] = [answer, "250 well"]
    post.evaluate_rule(rule, 0.5, "m")
    post.evaluate_rule(attrs.evolve(rule, rule_id="other"), 0.5, "m")
    assert post.deliver().outcomes == {outcome: 1, "delivered": 1}


@pytest.mark.parametrize("credentials", [{}, {"user": "ada", "password": "geheim", "security": "none"}])
def test_a_busy_greeting_is_no_dead_letter_where_a_password_is_sent_either(server, post, clock, rule, credentials):
    post.channels.register("mail", channel_of(server, **credentials))
    server.answers |= {"EHLO": ["451 busy", "250-here\r\n250 AUTH PLAIN"], "AUTH": ["454 later", "235 well"]}
    post.evaluate_rule(rule, 0.5, "m")
    for outcome in ("failed", *(["failed"] if credentials else [])):
        assert post.deliver().outcomes == {outcome: 1}
        clock.forward(1)
    assert post.deliver().outcomes == {"delivered": 1}


def test_a_wrong_password_is_the_channels_and_shown_to_nobody(server, post, rule):
    post.channels.register("mail", channel_of(server, user="ada", password="geheim", security="none"))
    server.answers |= {"EHLO": ["250-here\r\n250 AUTH PLAIN"], "AUTH": ["535 no"]}
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"failed": 1}
    assert "535" in post.deliveries()[0].error
    assert "geheim" not in str(post.storage.state(""))


@pytest.mark.parametrize("answer", ["500 what?", "502 not here", "504 no", "550 no", CUT])
def test_a_server_from_before_ehlo_takes_the_mail(server, post, rule, answer):
    server.answers["EHLO"] = [answer]
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}
    assert any(one.upper().startswith("HELO") for one in server.commands)


def test_text_of_eight_bits_goes_in_seven(server, post, rule):
    post.evaluate_rule(attrs.evolve(rule, component="Größe 部 🏎"), 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}
    ((_, content),) = server.mails
    assert content.isascii()
    parsed = email.message_from_bytes(content, policy=default)
    assert "Größe 部 🏎" in parsed.get_body(("plain",)).get_content()
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert all(len(line) <= 998 for line in content.splitlines())


def test_a_domain_in_letters_of_its_own_language(server, post, rule):
    post.channels.register("mail", channel_of(server, "Ada <ada@bücher.example>, bob@例え.example"))
    post.evaluate_rule(rule, 0.5, "m")
    assert post.deliver().outcomes == {"delivered": 1}
    assert received(server) == [("ada@xn--bcher-kva.example", "bob@xn--r8jz45g.example")]
    assert server.mails[0][1].isascii()


def test_a_mail_for_people_who_are_all_settled_is_not_sent(server):
    channel = channel_of(server)
    assert channel.send_to_rest(None, ["ada@example.com", "bob@example.com"]).told == ()
    assert server.commands == []
    with pytest.raises(DeliveryError, match="refused: a: no; put off: b: later") as failed:
        mails.Reached((), {"b": "later"}, {"a": "no"}).expect_all()
    assert failed.value.retry


# Over HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 204 No Content\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
@pytest.mark.parametrize("end", ["close", "reset", "hang"])
def test_a_webhook_that_said_2xx_has_it_whatever_follows(clock, accuracy_low, answer, end):
    asked, over = [], threading.Event()

    def serve(server):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                asked.append(connection.recv(65_536))
                connection.sendall(answer)
                if end == "hang":
                    over.wait(20)
                if end == "reset":
                    time.sleep(0.2)  # a reset takes away what was not read yet
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        channels = Channels(environ={})
        channels.register("spy", WebhookChannel(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=0.5))
        with Monitor(MemoryStorage(clock=clock), channels=channels) as monitor:
            monitor.evaluate_rule(accuracy_low, 0.5, "m")
            outcomes = monitor.deliver().outcomes
        over.set()
        server.shutdown(socket.SHUT_RDWR)
    assert outcomes == {"delivered": 1}
    assert len(asked) == 1
