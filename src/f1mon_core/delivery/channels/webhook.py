"""Webhooks and Slack over HTTP, by the standard library: Apprise says neither the status nor Retry-After."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import attrs

from f1mon_core._version import __version__
from f1mon_core.delivery.channels.deadline import Deadline
from f1mon_core.delivery.messages import Message
from f1mon_core.errors import ConfigurationError, DeliveryError
from f1mon_core.records.fields import Document
from f1mon_core.text import discreet, one_line

TIMEOUT_SECONDS = 10.0
TOTAL_SECONDS = 45.0
"""However a server answers, a send ends before a worker's lease does."""
RETRIED_STATUSES = frozenset({408, 425, 429})
STATUSES_OF_CHANNEL = frozenset({429, 503})
"""They say that the server is busy, whatever it is sent; every other status is about the message."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "content-type", "idempotency-key", "webhook-id",
        "webhook-timestamp", "webhook-signature",
    }
)  # fmt: skip
_ENCODED = "whsec_"
_LONGEST_WAIT = 24 * 3600.0
_SUCCESS, _FIRST_REDIRECT = 200, 300
_FIRST_SERVER_ERROR = 500


def _web_address(url: str) -> str:
    # The messages are fixed texts: whatever stands in the address may be a secret.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError("a webhook's address is printable ASCII without blanks; percent-encode the rest")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            "a webhook's address has no valid host and port; percent-encode / ? # [ ] in a password"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("a webhook's address starts with http:// or https:// and names a host")
    if port == 0:
        raise ConfigurationError("a webhook's port is from 1 to 65535")
    return url


def _apart(url: str) -> tuple[str, dict[str, str]]:
    """An address without the account before its host, and the header that carries the account instead."""
    parts: SplitResult = urlsplit(url)
    account, _, place = parts.netloc.rpartition("@")
    if not account:
        return url, {}
    user, _, password = account.partition(":")
    basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=place)), {"Authorization": f"Basic {basic}"}


def _web_headers(given: Mapping[str, Any]) -> dict[str, str]:
    # Fixed texts again: a header's value is a token, more often than not.
    found = {str(name): str(value) for name, value in given.items()}
    for name, value in found.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise ConfigurationError("a webhook's header has a name that is not ours to set, or none that HTTP knows")
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError("a webhook's header has a value of printable ASCII")
    return found


def _secret(given: str | bytes | None) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given or None
    if not given.startswith(_ENCODED):
        return given.encode() or None
    try:
        return base64.b64decode(given.removeprefix(_ENCODED), validate=True)
    except ValueError:
        raise ConfigurationError(f"a webhook's secret that starts with {_ENCODED} goes on in base64") from None


def signature(secret: bytes, key: str, at: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows that a body came from who shares the secret, and when.

    They are those of https://www.standardwebhooks.com, which has libraries that verify them: the signature is HMAC
    SHA-256 in base64 of `<id>.<seconds since 1970>.<body>`.
    """
    signed = hmac.new(secret, f"{key}.{at}.".encode() + body, "sha256").digest()
    return {
        "Webhook-Id": key,
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": f"v1,{base64.b64encode(signed).decode()}",
    }


@attrs.define
class WebhookChannel:
    """Posts each message as JSON, with its key as `Idempotency-Key`.

    An account in the address, `https://user:password@host/…`, goes into the header `Authorization` (Basic).

    Attributes:
        timeout: Seconds the server may let anything wait.
        total: Seconds the whole may take.
        headers: Sent with each message.
        secret: Signs each message as `signature` says, so that the receiver knows who sent it, and when.
    """

    url: str = attrs.field(repr=False, converter=_web_address)
    timeout: float = TIMEOUT_SECONDS
    total: float = TOTAL_SECONDS
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, converter=_web_headers, kw_only=True)
    secret: bytes | None = attrs.field(default=None, repr=False, converter=_secret, kw_only=True)

    def send(self, message: Message) -> None:
        """Post it. Raises `DeliveryError` unless the answer is a 2xx."""
        body = json.dumps(self.payload(message)).encode()
        key = message.key.encode("ascii", "backslashreplace").decode()
        headers = {**self.headers, "Content-Type": "application/json", "Idempotency-Key": key}
        if self.secret is not None:
            headers |= signature(self.secret, key, int(time.time()), body)
        post(self.url, body, headers, self.timeout, self.total)

    def payload(self, message: Message) -> Document:
        """The JSON body."""
        return message.data()


class _Accepted(Exception):
    """The server said 2xx; what it said behind that could not be read, and does not matter."""


class _Answer(http.client.HTTPResponse):
    """An answer that counts from its status line on."""

    def begin(self) -> None:
        try:
            super().begin()
        except (OSError, http.client.HTTPException) as error:
            status: object = self.status  # no number before its line is read
            if isinstance(status, int) and _SUCCESS <= status < _FIRST_REDIRECT:
                raise _Accepted from error
            raise


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A redirected POST would arrive as a GET, somewhere nobody configured."""


class _Watched(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Connections that a deadline watches from their first moment."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Any, req: urllib.request.Request, **arguments: Any) -> http.client.HTTPResponse:
        def connecting(host: str, **more: Any) -> http.client.HTTPConnection:
            made: Any = http_class(host, **more)
            made.response_class = _Answer
            connect = made._create_connection  # noqa: SLF001 - where both kinds make their socket
            made._create_connection = lambda *given: self._deadline.watch(connect(*given))  # noqa: SLF001
            return cast("http.client.HTTPConnection", made)

        return super().do_open(cast("Any", connecting), req, **arguments)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float, total: float = TOTAL_SECONDS) -> None:
    """Post a body.

    Raises:
        DeliveryError: To be retried after a network error, 408, 425, 429 or 5xx; for good after any other status.
    """
    address, account = _apart(url)
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked when the channel was made
        address,
        body,
        {"User-Agent": f"f1mon/{__version__}", **account, **headers},
    )
    with Deadline(total) as deadline:
        try:
            with contextlib.suppress(_Accepted):
                urllib.request.build_opener(_NoRedirect, _Watched(deadline)).open(request, timeout=timeout).close()
        except urllib.error.HTTPError as error:
            with error:
                raise refused(error.code, error.headers.get("Retry-After")) from None
        except (http.client.InvalidURL, UnicodeError):
            raise DeliveryError("the webhook's address cannot be requested", retry=False) from None
        except (OSError, http.client.HTTPException) as error:
            if deadline.passed:
                raise DeliveryError(f"network error: not done after {total:g} seconds", channel=True) from None
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise DeliveryError(f"network error: {_told(reason)}", channel=True) from None


def refused(status: int, retry_after: str | None = None) -> DeliveryError:
    """What an HTTP status that is no success means for a delivery."""
    retry = status in RETRIED_STATUSES or status >= _FIRST_SERVER_ERROR
    after = wait_of(retry_after) if retry else None
    channel = after is not None or status in STATUSES_OF_CHANNEL
    return DeliveryError(f"HTTP {status}", retry=retry, after=after, channel=channel)


def wait_of(retry_after: str | None) -> float | None:
    """The seconds a Retry-After header asks for, given as a number or a date; None if it says neither."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(until - time.time(), 0.0), _LONGEST_WAIT)


def _told(reason: object) -> str:
    # The reason of an OSError names hosts and errno; those of http.client repeat what was asked for or answered.
    if isinstance(reason, Exception):
        told = f": {reason}" if isinstance(reason, OSError) else ""
        return one_line(f"{type(reason).__name__}{discreet(told)}", 200)
    return one_line(discreet(str(reason)), 200)
