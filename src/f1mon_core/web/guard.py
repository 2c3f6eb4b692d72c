"""What stands before every page: who may ask, from where, how much, and what a browser may do with the answer."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import attrs
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from f1mon_core.errors import ConfigurationError, shown
from f1mon_core.text import one_line, printable

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BODY_LIMIT = 16_384
"""Bytes of a form: a note and an id are far below it."""
COOKIE = "f1mon_visit"
_FIELDS = 40
_NAME_LENGTH = 255

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Network: TypeAlias = IPv4Network | IPv6Network
_log = logging.getLogger("f1mon.web")


@attrs.frozen(kw_only=True)
class Policy:
    """Who may do what.

    Attributes:
        hosts: The names under which the pages may be asked for, without a port.
        read_only: Whether nothing may be changed.
        user_header: The header in which a proxy names the user; None where whoever asks is trusted.
        trusted: Where such a proxy may ask from.
        secret: What forms are signed with.
    """

    hosts: frozenset[str]
    read_only: bool = False
    user_header: str | None = None
    trusted: tuple[Network, ...] = ()
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self, visit: str, actor: str | None) -> str:
        """What a form of this visitor must bring back."""
        return hmac.new(self.secret, f"{visit}\n{actor or ''}".encode(), "sha256").hexdigest()


def policy(
    *, read_only: bool, user_header: str | None, trust_proxy: Collection[str], allow_hosts: Collection[str] | None,
    secret: bytes | None,
) -> Policy:  # fmt: skip
    """The policy of what a caller gave. Raises `ConfigurationError`."""
    if user_header is not None and not trust_proxy:
        raise ConfigurationError("user_header needs trust_proxy: the addresses of the proxies that may set it")
    if trust_proxy and user_header is None:
        raise ConfigurationError("trust_proxy needs user_header: the header in which the proxy names the user")
    if user_header is not None and not user_header.replace("-", "").isalnum():
        raise ConfigurationError(f"user_header must be the name of a header, got {shown(user_header)}")
    hosts = LOOPBACK if allow_hosts is None else frozenset(_host(name) for name in allow_hosts)
    return Policy(
        hosts=hosts,
        read_only=read_only,
        user_header=user_header,
        trusted=tuple(map(_network, trust_proxy)),
        **({} if secret is None else {"secret": secret}),
    )


def _network(given: str) -> Network:
    try:
        return ip_network(given, strict=False)
    except ValueError as error:
        raise ConfigurationError(f"trust_proxy must be IP addresses or networks, got {shown(given)}") from error


def _host(name: str) -> str:
    return name.strip().strip("[]").rstrip(".").lower()


class Guard:
    """Answers what is refused itself, and hands on the rest, with `actor`, `token`, `policy`, `form` in its state."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        known = _visit(request.headers)
        visit = known or secrets.token_urlsafe(24)
        try:
            scope.setdefault("state", {}).update(await self._admitted(request, visit, known=known is not None))
        except _RefusedError as refused:
            _log.warning("refused: %s %s: %s", request.method, printable(scope["path"]), refused)
            answer: ASGIApp = PlainTextResponse(f"{refused}\n", refused.status)
            await answer(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send, None if known else _cookie(scope, visit)))

    async def _admitted(self, request: Request, visit: str, *, known: bool) -> dict[str, object]:
        """What a page may rely on. Raises `_RefusedError`."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or _named(hosts[0]) not in self.policy.hosts:
            raise _RefusedError(421, "this host name is none that the dashboard answers to: add it by --allow-host")
        if request.method not in {"GET", "HEAD", "POST"}:
            raise _RefusedError(405, "there is GET, HEAD and POST")
        actor = self._actor(request)
        token = self.policy.token(visit, actor)
        form: Mapping[str, str] = {}
        if request.method == "POST":
            form = await self._form(request, token, known=known)
        return {"actor": actor, "token": token, "policy": self.policy, "form": form}

    def _actor(self, request: Request) -> str | None:
        """Who asks, as a trusted proxy says it; None where nobody need be named. Anybody may ask for the health."""
        name = self.policy.user_header
        if name is None or request.scope["path"].removeprefix(request.scope.get("root_path", "")) == "/health":
            return None
        peer = request.client.host if request.client else ""
        if not _is_within(peer, self.policy.trusted):
            raise _RefusedError(403, "the dashboard is behind a proxy, and this is not asked by one that is trusted")
        given = request.headers.getlist(name)
        said = _text(given[0]) if len(given) == 1 else ""
        if not said or len(said) > _NAME_LENGTH:
            raise _RefusedError(403, f"the proxy names no user in {name}")
        return said

    async def _form(self, request: Request, token: str, *, known: bool) -> Mapping[str, str]:
        """What a form brought, of a page of ours and of this visit."""
        if self.policy.read_only:
            raise _RefusedError(405, "the dashboard only reads")
        if not _is_own(request.headers):
            raise _RefusedError(403, "a form of another site: only the dashboard's own pages may send one")
        found = _fields(await _body(request))
        if not known or not hmac.compare_digest(found.pop("token", "").encode(), token.encode()):
            raise _RefusedError(403, "the form is too old, or of another visit: reload the page and send it again")
        return found


class _RefusedError(Exception):
    """What is not let in, and why."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def _with_headers(send: Send, cookie: str | None = None) -> Send:
    """Sends with what a browser may do with the answer; and with a cookie, unless the answer is a refusal."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if cookie is not None and message["status"] < 400:  # noqa: PLR2004 - an answer
                headers.append("Set-Cookie", cookie)
        await send(message)

    return sent


def _cookie(scope: Scope, visit: str) -> str:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{COOKIE}={visit}; Path={scope.get('root_path') or '/'}; HttpOnly; SameSite=Strict{secure}"


async def _body(request: Request) -> bytes:
    """The body of a form, read no further than it may be long."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise _RefusedError(415, "a form is application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise _RefusedError(413, f"a form has at most {BODY_LIMIT} bytes")
    return body


def _fields(body: bytes) -> dict[str, str]:
    try:
        found = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError as error:
        raise _RefusedError(400, "the form cannot be read") from error
    return {name: value.replace("\r\n", "\n") for name, value in found}


def _named(host: str) -> str:
    """The name of a Host header, without its port; nothing where it is more than a name and a port."""
    if set(host) & set("@/?#\\ "):
        return ""
    try:
        return _host(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return ""


def _is_own(headers: Headers) -> bool:
    """Whether a browser says that a form comes from the same origin; one that says nothing is not believed."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    return site is not None


def _is_within(peer: str, trusted: Iterable[Network]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in trusted)


def _visit(headers: Mapping[str, str]) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    value = "" if found is None else found.value
    return value if len(value) == 32 and value.replace("-", "").replace("_", "").isalnum() else None  # noqa: PLR2004


def _text(given: str) -> str:
    """A header as UTF-8, as proxies send names; headers are read as Latin-1."""
    try:
        return one_line(given.encode("latin-1").decode())
    except UnicodeDecodeError:
        return one_line(given)
