"""The dashboard on a port of its own, by uvicorn."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from f1mon_core.errors import ConfigurationError, StorageError
from f1mon_core.web.guard import LOOPBACK

__all__ = ["LOOPBACK", "bound", "check_host", "is_loopback", "serve"]


Begun: TypeAlias = Callable[[Callable[[], None]], None]
"""Told when it can be asked, and how to stop it, from any thread."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can ask there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, *, read_only: bool, user_header: str | None) -> None:
    """Refuse to let others in where nobody says who they are. Raises `ConfigurationError`."""
    if not is_loopback(host) and not read_only and user_header is None:
        raise ConfigurationError(
            f"--host {host} lets others acknowledge and silence without a name: give --read-only, or --user-header "
            "and --trust-proxy for a proxy that logs them in"
        )


def bound(host: str, port: int) -> socket.socket:
    """A socket to listen on, before anything is opened: a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StorageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listening


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    root_path: str = "",
    begun: Begun,
    beside: tuple[ASGIApp, socket.socket] | None = None,
) -> None:
    """Answer until interrupted or told to stop; also with another application on a port of its own.

    Whoever asks is who the connection says: no header of a proxy is believed for that.
    """
    server = _Server(_config(_under(root_path, app)), begun)
    if beside is None:
        await server.serve(sockets=[listening])
        return
    other = _Beside(_config(beside[0]))
    serving = asyncio.ensure_future(other.serve(sockets=[beside[1]]))
    try:
        await server.serve(sockets=[listening])
    finally:
        other.should_exit = True
        await serving


def _config(app: ASGIApp) -> uvicorn.Config:
    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "lifespan": "off"}
    return uvicorn.Config(app, proxy_headers=False, timeout_graceful_shutdown=3, **options)


def _under(root_path: str, app: ASGIApp) -> ASGIApp:
    """The application under a path, whether or not the proxy before it leaves the path in what it asks for."""
    if not root_path:
        return app

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if path != root_path and not path.startswith(f"{root_path}/"):
            path = root_path + path
        await app({**scope, "path": path, "root_path": root_path}, receive, send)

    return prefixed


class _Server(uvicorn.Server):
    """A server that says when it can be asked."""

    def __init__(self, config: uvicorn.Config, begun: Begun) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun(self._stop)

    def _stop(self) -> None:
        self.should_exit = True


class _Beside(uvicorn.Server):
    """A server that ends with another, to which the signals belong."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
