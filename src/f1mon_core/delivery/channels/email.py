"""Email over SMTP, by the standard library: the text part is ours, and the server's codes decide about a retry."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, localtime

import attrs

from f1mon_core.delivery.channels.deadline import Deadline
from f1mon_core.delivery.messages import Message
from f1mon_core.errors import ConfigurationError, DeliveryError
from f1mon_core.text import one_line

TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 90.0
"""However a server answers, a send ends before a worker's lease does."""
SMTPS_PORT = 465
SUBMISSION_PORT = 587
SECURITIES = ("auto", "starttls", "tls", "none")
_FIRST_PERMANENT = 500


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
    return found


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
        """Hand the mail to the server.

        Raises:
            DeliveryError: To be retried unless the server answered with a permanent (5xx) code.
        """
        with Deadline(self.total) as deadline:
            self._send(message, deadline)

    def _send(self, message: Message, deadline: Deadline) -> None:
        try:
            with self._connected(deadline) as server:
                refused = server.send_message(self.mail(message))
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused(max(code for code, _ in error.recipients.values()), "recipients refused") from None
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, type(error).__name__) from None
        except (OSError, smtplib.SMTPException) as error:
            if deadline.passed:
                raise DeliveryError(f"network error: not done after {self.total:g} seconds") from None
            raise DeliveryError(f"network error: {one_line(f'{type(error).__name__}: {error}', 200)}") from None
        if refused:
            # The others have it; sending again would reach them twice, so this is said and not repeated.
            raise DeliveryError(f"{len(refused)} of {len(self.recipients)} recipients were refused", retry=False)

    def _connected(self, deadline: Deadline) -> smtplib.SMTP:
        if self.security == "tls" or (self.security == "auto" and self.port == SMTPS_PORT):
            server: smtplib.SMTP = _WatchedTLS(deadline, self.host, self.port, self.timeout)
        else:
            server = _Watched(deadline, self.host, self.port, self.timeout)
        try:
            self._secure(server)
        except BaseException:
            server.close()
            raise
        return server

    def _secure(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        encrypted = isinstance(server, _WatchedTLS)
        offered = server.has_extn("starttls")
        if not encrypted and (self.security == "starttls" or (self.security == "auto" and offered)):
            server.starttls(context=ssl.create_default_context())
            encrypted = True
        if self.user is not None and self.password is not None:
            if not encrypted and self.security != "none":
                reason = "the server offers no STARTTLS, and a password is not sent in the clear"
                raise DeliveryError(f"{reason} (security=none allows it)", retry=False)
            server.login(self.user, self.password)

    def mail(self, message: Message) -> EmailMessage:
        """The mail of a message: both parts, and an id that repeats with the message."""
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"] = self.sender
        mail["To"] = self.recipients
        mail["Date"] = format_datetime(localtime())
        local = "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "_" for c in message.key)
        mail["Message-ID"] = f"<{local}@f1mon.invalid>"
        mail["X-F1mon-Alert"] = one_line(message.alert.alert_id)
        mail.set_content(message.text)
        mail.add_alternative(message.html, subtype="html")
        return mail


def _refused(code: int, what: str) -> DeliveryError:
    return DeliveryError(f"SMTP {code}: {what}", retry=code < _FIRST_PERMANENT)
