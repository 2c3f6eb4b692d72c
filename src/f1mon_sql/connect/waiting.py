"""No server is waited for longer than `connect_timeout` until a connection to it is set up.

What accepts and never answers, as a proxy without a server behind it does, held psycopg for 130 seconds and PyMySQL
for ever. The drivers bound different parts of it by themselves, so each is told in its own way.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.util import await_only

from f1mon_core.errors import ConnectTimeoutError
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import Target

R = TypeVar("R")

_CUT = "f1mon_cut"
_LONG = 10.0**6


def connect_arguments(target: Target, settings: Settings) -> dict[str, Any]:
    """What a driver is told of it; nothing of what the address or libpq's environment says."""
    whole = max(1, math.ceil(settings.connect_timeout))
    if target.family == "postgresql":
        said = "connect_timeout" in target.url.query or "PGCONNECT_TIMEOUT" in os.environ
        return {} if said else {"connect_timeout": whole}
    told = {"connect_timeout": target.arguments.get("connect_timeout", whole)}
    if target.url.drivername.endswith("+pymysql"):
        # It waits by this for the greeting too; `bound` puts back what the address says.
        told["read_timeout"] = min(told["connect_timeout"], target.arguments.get("read_timeout", math.inf))
    return told


def bound(engine: Engine, target: Target, settings: Settings, set_up: Callable[[Any, Any], None]) -> None:
    """Have each new connection of an engine made and set up in time."""
    bind = {"psycopg": _of_psycopg, "pymysql": _of_pymysql, "asyncmy": _of_asyncmy}[engine.dialect.driver]
    bind(engine, target, seconds_of(target, settings), set_up)


def seconds_of(target: Target, settings: Settings) -> float:
    """How long a server is waited for: what the address says, else the setting; libpq's 0 is for ever."""
    said = target.url.query.get("connect_timeout") or target.arguments.get("connect_timeout")
    return settings.connect_timeout if said is None else float(str(said)) or math.inf


def _of_psycopg(engine: Engine, target: Target, seconds: float, set_up: Callable[[Any, Any], None]) -> None:
    # The driver bounds the connecting; from there on each wait of it, also SQLAlchemy's first questions.

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        try:
            made = dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            if type(error).__name__ == "ConnectionTimeout":
                raise timed_out(target, seconds, "the server's greeting") from error
            raise
        driver = getattr(made, "driver_connection", made)
        driver.wait = _limited(driver, target, seconds)
        return made

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        set_up(connection, record)
        del getattr(connection, "driver_connection", connection).wait  # its class's own goes on


def _limited(driver: Any, target: Target, seconds: float) -> Callable[..., Any]:
    """A driver's way to wait, which gives up at a deadline; it looks up some ten times a second."""
    deadline, wait = time.monotonic() + seconds, driver.wait
    late = timed_out(target, seconds, "the answer to what a new connection is set up by")

    def ticking(asked: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        ready = None
        while True:
            try:
                wanted = asked.send(ready)
            except StopIteration as ended:
                return ended.value
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                driver.pgconn.finish()
                raise _LateError

    def waiting(asked: Generator[Any, Any, Any], *given: Any, **options: Any) -> Any:
        try:
            return wait(ticking(asked), *given, **options)
        except _LateError:
            raise late from None

    async def awaiting(asked: Generator[Any, Any, Any], *given: Any, **options: Any) -> Any:
        try:
            return await wait(ticking(asked), *given, **options)
        except _LateError:
            raise late from None

    return awaiting if inspect.iscoroutinefunction(wait) else waiting


class _LateError(Exception):
    """Raised through the driver, which takes a `TimeoutError` for a socket that was closed."""


def _of_pymysql(engine: Engine, target: Target, seconds: float, set_up: Callable[[Any, Any], None]) -> None:
    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        made = _typed(dialect.connect, target, seconds, "the server's greeting")(*arguments, **options)
        what = "the answer to what a new connection is set up by"
        made._read_bytes = _typed(made._read_bytes, target, seconds, what)  # noqa: SLF001 - there is no public way
        return made

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        set_up(connection, record)
        connection._read_timeout = target.arguments.get("read_timeout")  # noqa: SLF001
        del connection._read_bytes  # noqa: SLF001 - its class's own goes on


def _typed(work: Callable[..., R], target: Target, seconds: float, what: str) -> Callable[..., R]:
    """The same work of PyMySQL's, whose errors of time are f1mon's."""

    def typed(*given: Any, **options: Any) -> R:
        try:
            return work(*given, **options)
        except Exception as error:
            if _is_timeout(error):
                raise timed_out(target, seconds, what) from error
            raise

    return typed


def _of_asyncmy(engine: Engine, target: Target, seconds: float, set_up: Callable[[Any, Any], None]) -> None:
    what = "the answer to what a new connection is set up by"

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        made = _in_time(lambda: dialect.connect(*arguments, **options), target, seconds, "the server's greeting")
        # SQLAlchemy's first questions come before `connected`; cut off, they fail.
        cut = made.driver_connection._transport.abort  # noqa: SLF001 - there is no public way
        record.info[_CUT] = asyncio.get_running_loop().call_later(min(seconds, _LONG), cut)
        return made

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        record.info.pop(_CUT).cancel()
        try:
            _in_time(lambda: set_up(connection, record), target, seconds, what)
        except ConnectTimeoutError:
            connection.terminate()
            raise


def _in_time(work: Callable[[], R], target: Target, seconds: float, what: str) -> R:
    """Do what awaits by SQLAlchemy's greenlets, within a time."""
    limit = asyncio.timeout(seconds)
    await_only(limit.__aenter__())
    try:
        try:
            done = work()
        except BaseException as error:
            await_only(limit.__aexit__(type(error), error, error.__traceback__))
            raise
        await_only(limit.__aexit__(None, None, None))
    except TimeoutError as error:
        raise timed_out(target, seconds, what) from error
    return done


def _is_timeout(error: BaseException | None) -> bool:
    """Whether a driver's error came of a wait that took too long."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__
    return False


def timed_out(target: Target, seconds: float, what: str) -> ConnectTimeoutError:
    """The error for a server that did not answer in time."""
    return ConnectTimeoutError(
        f"{target.address} did not answer within {seconds:g} s: waited for {what}; nothing was written. Is it the"
        " server that listens there, and is it well? connect_timeout= sets how long to wait"
    )
