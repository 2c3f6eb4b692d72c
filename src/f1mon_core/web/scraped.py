"""`/metrics`: the gauges for a Prometheus that asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from f1mon_core.errors import StorageError
from f1mon_core.exporting.prometheus import CONTENT_TYPE
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.text import discreet, one_line
from f1mon_core.web.guard import Guard, policy


def endpoint(monitor: AsyncMonitor) -> Callable[[Request], Awaitable[Response]]:
    """What answers a scrape; 503, with the reason in a line, where the store does not answer."""

    async def metrics(_request: Request) -> Response:
        try:
            said, status = await monitor.prometheus(), 200
        except StorageError as error:
            return PlainTextResponse(f"{one_line(discreet(str(error)))}\n", 503)
        return Response(said, status, media_type=CONTENT_TYPE)

    return metrics


def create_metrics_app(monitor: AsyncMonitor, *, allow_hosts: Collection[str] | None = None) -> ASGIApp:
    """`/metrics` and nothing else, for a port of its own where the pages ask for a user.

    Args:
        monitor: An `AsyncMonitor` over the store, which stays the caller's to close.
        allow_hosts: The host names under which it may be asked for; those of loopback if None.
    """
    rules = policy(read_only=True, user_header=None, trust_proxy=(), allow_hosts=allow_hosts, secret=None)
    return Guard(Starlette(routes=[Route("/metrics", endpoint(monitor), methods=["GET"])]), rules)
