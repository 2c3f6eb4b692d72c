"""Email over SMTP, by the standard library: the text part is ours, and the server's codes decide about a retry."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Collection, Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime

import attrs

from f1mon_core.delivery.channels.deadline import Deadline
from f1mon_core.delivery.channels.protocol import Reached
from f1mon_core.delivery.messages import Message
from f1mon_core.errors import ConfigurationError, DeliveryError
from f1mon_core.text import discreet, one_line

TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 90.0
"""However a server answers, a send ends before a worker's lease does."""
SMTPS_PORT = 465
SUBMISSION_PORT = 587
SECURITIES = ("auto", "starttls", "tls", "none")
_FIRST_SUCCESS = 200
_FIRST_TEMPORARY = 400
_FIRST_PERMANENT = 500
_CLOSING = 421
_HUNG_UP = -1
"""What smtplib answers where the server said nothing."""
_GOODBYE_SECONDS = 1.0


class _Watched(smtplib.SMTP):
    """A connection that a deadline watches from its first moment."""

    def __init__(self, deadline: Deadline, host: str, port: int, timeout: float) -> None:
        self._deadline = deadline
        super().__init__(host, port, timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._deadline.watch(socket.create_connection((host, port), timeout))


class _WatchedTLS(_Watched):
    """The same, with TLS from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


_NAMED = re.compile(r'\s*(?:"(?P<quoted>[^"<>]*)"|(?P<name>[^"<>]*?))\s*<(?P<address>[^<>]*)>\s*')
_BETWEEN = re.compile(r'[,;](?=(?:[^"]*"[^"]*")*[^"]*$)')


def _address(text: str) -> Address:
    """An address, with or without a name: `ada@example.com`, `Ada <ada@example.com>`."""
    named = _NAMED.fullmatch(text)
    name, plain = ("", text.strip()) if named is None else (named["quoted"] or named["name"] or "", named["address"])
    try:
        found = Address(name.strip(), addr_spec=plain.strip())
    except (ValueError, IndexError, AttributeError, MessageError) as error:
        raise ConfigurationError(f"{text.strip()!r} is no email address") from error
    if not found.username or found.addr_spec != plain.strip():
        raise ConfigurationError(f"{text.strip()!r} is no email address")
    try:
        domain = found.domain.encode("idna").decode()
    except UnicodeError as error:
        raise ConfigurationError(f"{text.strip()!r} is no email address") from error
    return found if domain == found.domain else Address(found.display_name, found.username, domain)


def _addresses(given: str | Sequence[str]) -> tuple[Address, ...]:
    listed = _BETWEEN.split(given) if isinstance(given, str) else given
    found = tuple(_address(one) for one in listed if one.strip())
    if not found:
        raise ConfigurationError("an email channel needs at least one recipient")
    return found


@attrs.define(kw_only=True)
class EmailChannel:
    """Sends each message as text and HTML to the same recipients.

    Attributes:
        security: "starttls", "tls" (from the first byte), "none", or "auto": TLS on port 465, STARTTLS elsewhere if
            the server offers it, and always before a password is sent.
        timeout: Seconds the server may let anything wait.
        total: Seconds the whole may take.
    """

    host: str
    port: int = SUBMISSION_PORT
    sender: Address = attrs.field(converter=_address)
    recipients: tuple[Address, ...] = attrs.field(converter=_addresses)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    security: str = attrs.field(default="auto", validator=attrs.validators.in_(SECURITIES))
    timeout: float = TIMEOUT_SECONDS
    total: float = TOTAL_SECONDS

    def send(self, message: Message) -> None:
        """Hand the mail to the server for everybody.

        Raises:
            DeliveryError: Unless everybody is reached; to be retried if anybody was put off.
        """
        self.send_to_rest(message, ()).expect_all()

    def send_to_rest(self, message: Message, settled: Collection[str]) -> Reached:
        """Hand the mail to the server for those who are not settled; see `SeveralChannel`.

        Raises:
            DeliveryError: For good if the server refused the sender or this mail as such (5xx); as the channel's if
                the connection failed or something before MAIL did.
        """
        rest = [one for one in self.recipients if one.addr_spec not in settled]
        if not rest:
            return Reached()
        with Deadline(self.total) as deadline:
            try:
                server = self._connected(deadline)
                try:
                    return self._handed_over(server, message, rest)
                finally:
                    _leave(server)
            except smtplib.SMTPResponseException as error:
                what = f"SMTP {error.smtp_code}: {type(error).__name__}{_said(error.smtp_error)}"
                raise DeliveryError(what, channel=True) from None
            except (OSError, smtplib.SMTPException) as error:
                if deadline.passed:
                    raise DeliveryError(f"network error: not done after {self.total:g} seconds", channel=True) from None
                told = one_line(f"{type(error).__name__}: {error}", 200)
                raise DeliveryError(f"network error: {told}", channel=True) from None

    def _handed_over(self, server: smtplib.SMTP, message: Message, recipients: Sequence[Address]) -> Reached:
        """From MAIL to the answer to the mail's end, which is the last that matters."""
        _taken(*server.mail(self.sender.addr_spec), "sender refused")
        accepted: list[Address] = []
        put_off: dict[str, str] = {}
        refused: dict[str, str] = {}
        for one in recipients:
            code, said = _answer(*server.rcpt(one.addr_spec))
            if code < _FIRST_TEMPORARY:
                accepted.append(one)
            else:
                (refused if code >= _FIRST_PERMANENT else put_off)[one.addr_spec] = f"SMTP {code}{_said(said)}"
        if not accepted:
            return Reached((), put_off, refused)
        try:
            code, said = _answer(*server.data(self.mail(message).as_bytes()))
        except smtplib.SMTPDataError as error:
            code, said = _answer(error.smtp_code, error.smtp_error)
        if code < _FIRST_TEMPORARY:
            return Reached([one.addr_spec for one in accepted], put_off, refused)
        outcome = refused if code >= _FIRST_PERMANENT else put_off
        outcome |= {one.addr_spec: f"SMTP {code}{_said(said)}" for one in accepted}
        return Reached((), put_off, refused)

    def _connected(self, deadline: Deadline) -> smtplib.SMTP:
        try:
            return self._greeted(deadline)
        except smtplib.SMTPServerDisconnected:
            # Servers from before ESMTP hang up at EHLO.
            return self._greeted(deadline, old=True)

    def _greeted(self, deadline: Deadline, *, old: bool = False) -> smtplib.SMTP:
        if self.security == "tls" or (self.security == "auto" and self.port == SMTPS_PORT):
            server: smtplib.SMTP = _WatchedTLS(deadline, self.host, self.port, self.timeout)
        else:
            server = _Watched(deadline, self.host, self.port, self.timeout)
        try:
            self._secure(server, old=old)
        except BaseException:
            server.close()
            raise
        return server

    def _secure(self, server: smtplib.SMTP, *, old: bool) -> None:
        _greet(server, old=old)
        encrypted = isinstance(server, _WatchedTLS)
        offered = server.has_extn("starttls")
        if not encrypted and (self.security == "starttls" or (self.security == "auto" and offered)):
            code, said = server.starttls(context=ssl.create_default_context())
            if code >= _FIRST_TEMPORARY:
                raise smtplib.SMTPResponseException(code, said)
            _greet(server)
            encrypted = True
        if self.user is not None and self.password is not None:
            if not encrypted and self.security != "none":
                reason = "the server offers no STARTTLS, and a password is not sent in the clear"
                raise DeliveryError(f"{reason} (security=none allows it)", retry=False)
            server.login(self.user, self.password)

    def mail(self, message: Message) -> EmailMessage:
        """The mail of a message: both parts, and an id that repeats with the message."""
        # Seven bits: a server without 8BITMIME, or one further on, may refuse or maim any others.
        mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
        mail["Subject"] = message.subject
        mail["From"] = self.sender
        mail["To"] = self.recipients
        mail["Auto-Submitted"] = "auto-generated"  # so that no absence notice answers it (RFC 3834)
        mail["Date"] = format_datetime(localtime())
        local = "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "_" for c in message.key)
        mail["Message-ID"] = f"<{local}@f1mon.invalid>"
        mail["X-F1mon-Alert"] = one_line(message.alert.alert_id)
        mail.set_content(message.text)
        mail.add_alternative(message.html, subtype="html")
        return mail


def _greet(server: smtplib.SMTP, *, old: bool = False) -> None:
    code, said = server.helo() if old else server.ehlo()
    if code >= _FIRST_PERMANENT and not old:
        code, said = server.helo()
    if code >= _FIRST_TEMPORARY or code < _FIRST_SUCCESS:
        if code == _HUNG_UP:
            raise smtplib.SMTPServerDisconnected("the server hung up at the greeting")
        raise smtplib.SMTPHeloError(code, said)


def _answer(code: int, said: bytes | str) -> tuple[int, bytes | str]:
    """What a server answered to a command. 421 is no answer to it: the server is about to close the connection."""
    if code == _CLOSING:
        raise smtplib.SMTPResponseException(code, said)
    if code == _HUNG_UP:
        raise smtplib.SMTPServerDisconnected("the server hung up")
    return code, said


def _taken(code: int, said: bytes | str, what: str) -> None:
    _answer(code, said)
    if code >= _FIRST_TEMPORARY:
        raise DeliveryError(f"SMTP {code}: {what}{_said(said)}", retry=code < _FIRST_PERMANENT)


def _said(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return f" ({one_line(discreet(text), 100)})" if text.strip() else ""


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye. The mail is accepted or not by now, whatever the server says to that."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        if server.sock is not None:
            server.sock.settimeout(_GOODBYE_SECONDS)
        server.quit()
    server.close()
