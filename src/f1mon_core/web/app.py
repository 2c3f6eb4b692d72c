"""The dashboard as an ASGI application, to be served by `f1mon dashboard` or mounted in one's own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from f1mon_core.errors import (
    AccessDeniedError,
    ConfigurationError,
    F1monError,
    InvalidQueryError,
    InvalidRecordError,
    NotFoundError,
    PrunedError,
    ReadOnlyError,
    StorageError,
    shown,
)
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.records.ids import new_operation_id
from f1mon_core.text import discreet, one_line
from f1mon_core.web import actions, pages
from f1mon_core.web.asked import Query
from f1mon_core.web.guard import Guard, Policy, policy
from f1mon_core.web.screens import SCREENS, Screen
from f1mon_core.web.shared import Answers

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("f1mon.web")

_STATUS: Mapping[type[Exception], int] = {
    NotFoundError: 404,
    PrunedError: 410,
    InvalidQueryError: 400,
    InvalidRecordError: 400,
    ReadOnlyError: 403,
    AccessDeniedError: 503,
    StorageError: 503,
}
_HEADINGS = {
    400: "This cannot be asked",
    403: "This may not be done",
    404: "Not found",
    405: "This may not be done",
    410: "No longer stored",
    503: "The store does not answer",
}


def create_app(
    monitor: AsyncMonitor,
    *,
    read_only: bool = False,
    user_header: str | None = None,
    trust_proxy: Collection[str] = (),
    allow_hosts: Collection[str] | None = None,
    secret: bytes | None = None,
) -> ASGIApp:
    """The dashboard over a monitor, which stays the caller's to close. Needs the extra `dashboard`.

    Args:
        monitor: An `AsyncMonitor` over the store to be shown.
        read_only: Whether the routes that change something are left out.
        user_header: The header in which a proxy names who is logged in; whoever comes without it is refused.
        trust_proxy: The addresses or networks of the proxies that are believed that header.
        allow_hosts: The host names under which it may be asked for; those of loopback if None.
        secret: What forms are signed with; needed where several processes serve one dashboard, else made afresh.

    Raises:
        ConfigurationError: If `monitor` is no AsyncMonitor, or one of the headers and addresses is given without the
            other.
    """
    if not isinstance(monitor, AsyncMonitor):
        raise ConfigurationError(f"the dashboard needs an AsyncMonitor, got {shown(monitor)}")
    rules = policy(
        read_only=read_only or monitor.read_only is not None,
        user_header=user_header,
        trust_proxy=trust_proxy,
        allow_hosts=allow_hosts,
        secret=secret,
    )
    answers = Answers()
    routes = [Route(f"/{one.path}", _page(one, monitor, answers), methods=["GET"], name=one.name) for one in SCREENS]
    routes += [Route("/static/{name}", _asset, methods=["GET"]), Route("/health", _health(monitor), methods=["GET"])]
    if not rules.read_only:
        routes += [Route(f"/{path}", _action(one, monitor, answers), methods=["POST"]) for path, one in actions.ACTIONS]
    handlers: dict[Any, Any] = {F1monError: _failed, HTTPException: _http_error, Exception: _unexpected}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(_Caught(app), rules)


class _Caught:
    """Ends an error where the page said it: servers would log a second traceback, and test clients raise it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        begun = False

        async def sent(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            if not begun:
                raise


def _common(request: Request) -> dict[str, Any]:
    """What every page is told."""
    prefix = request.scope.get("root_path", "").rstrip("/")
    rules: Policy = request.state.policy
    return {
        "link": pages.links(prefix),
        "token": request.state.token,
        "actor": request.state.actor,
        "asks_name": rules.user_header is None,
        "writable": not rules.read_only,
        "here": request.scope["path"].removeprefix(request.scope.get("root_path", "")).strip("/") or "models",
        "report": False,
        "style": None,
    }


def _page(screen: Screen, monitor: AsyncMonitor, answers: Answers) -> Endpoint:
    async def page(request: Request) -> Response:
        common = _common(request)
        words = dict(request.query_params)
        link = common["link"]

        async def ask() -> dict[str, Any]:
            now = await monitor.now()
            found = await screen.find(monitor, Query(words), link)
            damage = monitor.damage
            return {"now": now, "address": monitor.address, "damage": None if damage is None else str(damage), **found}

        done = words.pop("done", None)
        question = (screen.name, request.scope.get("root_path", ""), tuple(sorted(words.items())))
        found = await answers.of(question, ask)
        return HTMLResponse(
            pages.render(screen.template, {**common, **found, "done": actions.DONE.get(done or ""), "words": words})
        )

    return page


def _action(act: actions.Action, monitor: AsyncMonitor, answers: Answers) -> Endpoint:
    async def action(request: Request) -> Response:
        common = _common(request)
        form = actions.Form(request.state.form, request.state.actor, named=not common["asks_name"])
        try:
            page, words = await act(monitor, form)
        finally:
            answers.forget()  # also where it is not known whether it was done
        return RedirectResponse(common["link"](page, **words), status_code=303)

    return action


async def _asset(request: Request) -> Response:
    kinds = {"f1mon.css": "text/css", "icon.svg": "image/svg+xml"}
    name = request.path_params["name"]
    if name not in kinds:
        raise HTTPException(404)
    return Response(pages.asset(name), media_type=kinds[name])


def _health(monitor: AsyncMonitor) -> Endpoint:
    async def health(_request: Request) -> Response:
        """Whether the store answers, for a load balancer: nothing of what it holds."""
        try:
            now = await monitor.now()
            await monitor.predictions(limit=1)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and told in one word
            _log.exception("the store does not answer")
            return JSONResponse({"status": "failed", "store": "does not answer"}, 503)
        damaged = monitor.damage is not None
        return JSONResponse({"status": "damaged" if damaged else "ok", "now": now.isoformat()})

    return health


# What went wrong ------------------------------------------------------------------------------------------------------


def _said(request: Request, status: int, words: str) -> Response:
    heading = _HEADINGS.get(status, "Something went wrong")
    return HTMLResponse(pages.render("error.html", {**_common(request), "heading": heading, "said": words}), status)


async def _failed(request: Request, error: F1monError) -> Response:
    status = next((known for kind, known in _STATUS.items() if isinstance(error, kind)), 500)
    if status >= 500:  # noqa: PLR2004 - ours, or the store's
        _log.error("%s: %s: %s", request.url.path, type(error).__name__, discreet(str(error)), exc_info=error)
    return _said(request, status, one_line(discreet(str(error)) or type(error).__name__))


async def _http_error(request: Request, error: HTTPException) -> Response:
    words = {404: "There is no such page.", 405: "This page is only read."}.get(error.status_code, str(error.detail))
    return _said(request, error.status_code, words)


async def _unexpected(request: Request, error: Exception) -> Response:
    reference = new_operation_id()[:12]
    _log.error("%s: reference %s", request.url.path, reference, exc_info=error)
    return _said(request, 500, f"Nothing more is told here; the log has the reason under {reference}.")
