"""Finding and opening backends: by entry-point name, by address, or from the environment.

Only the entry point that is asked for is loaded, so one broken plugin never breaks another; and a backend that cannot
be opened is an error, never a silent fall-back to another.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import attrs

from f1mon_core.errors import (
    BrokenBackendError,
    ConfigurationError,
    DuplicateBackendError,
    MissingExtraError,
    NotFoundError,
    OutdatedBackendError,
    UnknownBackendError,
    shown,
)
from f1mon_core.storage.address import masked, scheme_of
from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.dumping import CONTRACT
from f1mon_core.storage.environment import DATABASE_BACKEND, DEFAULT_DIRECTORY, from_environment, from_monitoring_db
from f1mon_core.text import closest

BACKENDS_GROUP = "f1mon.backends"
SCHEMES_GROUP = "f1mon.schemes"

_log = logging.getLogger("f1mon.backends")


@attrs.frozen
class Backend:
    """What a backend registers under its entry-point name.

    Attributes:
        name: The entry-point name.
        open: Opens a `Storage`; takes `url=` (where it has addresses), `clock=` and its own options, by keyword.
        open_async: Opens a native `AsyncStorage` with the same options, or None to be offloaded to threads. May be a
            coroutine function, and may return None for options it would rather see offloaded.
        upgrade: Brings the schema of an existing place up to date, creating it if there is none; takes the options of
            `open`. None for a backend without a schema.
        fresh: A context manager for those who try a backend out: takes the options of `open`, yields options that
            open an empty place of its own beside the one they name, and takes that away again. None for a backend
            that offers none.
        exists: Says whether there is a store where its options name one, and makes none; takes the options of `open`.
            None for a backend that cannot tell.
        durable: Claims that what was appended survives the handle and the process.
        shared: Claims that several processes may work on one place at once.
        contract: The contract it was written for, as `f1mon_core.storage.CONTRACT`; one of another is refused by name.
    """

    name: str
    open: Callable[..., Storage]
    open_async: Callable[..., Any] | None = None
    upgrade: Callable[..., Any] | None = None
    fresh: Callable[..., AbstractContextManager[Mapping[str, Any]]] | None = None
    exists: Callable[..., bool] | None = None
    durable: bool = True
    shared: bool = True
    contract: int = 1


def backend_names() -> dict[str, list[str]]:
    """Every registered backend name with the distributions that register it, sorted; loads none of them."""
    found: dict[str, list[str]] = {}
    for point in _points(BACKENDS_GROUP):
        found.setdefault(point.name, []).append(_distribution(point))
    return dict(sorted(found.items()))


def _points(group: str) -> list[EntryPoint]:
    return list(_points_on(tuple(sys.path), group))


@lru_cache(16)
def _points_on(path: tuple[str, ...], group: str) -> tuple[EntryPoint, ...]:
    # What is installed is read once: to look through all distributions takes longer than to open most stores.
    del path
    return tuple(entry_points(group=group))


def load_backend(name: str) -> Backend:
    """The backend registered under `name`.

    Raises:
        UnknownBackendError: If nothing is registered under it.
        DuplicateBackendError: If two distributions register it.
        MissingExtraError: If a library of its extra is not installed.
        BrokenBackendError: If its own code does not load.
    """
    return _load(_only(name, _points(BACKENDS_GROUP)))


def open_storage(backend: str | None = None, /, **options: Any) -> Storage:
    """Open a store by backend name or address; with neither, as the environment or the default says.

    Args:
        backend: An entry-point name ("jsonl", "sql", "memory", …) or an address ("sqlite:///f1mon.db").
        **options: The backend's own; `url` alone also says which backend. `clock` overrides all time.
    """
    chosen, options = resolve(backend, options)
    check_options(chosen.name, chosen.open, options)
    return chosen.open(**options)


def open_existing_storage(backend: str | None = None, /, **options: Any) -> Storage:
    """Open a store as `open_storage`, for who only reads: one that is not there is not made.

    Raises:
        NotFoundError: If there is none, where the backend can tell.
    """
    chosen, options = resolve(backend, options)
    check_options(chosen.name, chosen.open, options)
    require_existing(chosen, options)
    return chosen.open(**options)


def require_existing(backend: Backend, options: Mapping[str, Any]) -> None:
    """Raise `NotFoundError` if there is no store where a backend's options name one, where the backend can tell."""
    if backend.exists is not None and not backend.exists(**options):
        place = masked(str(options.get("url") or options.get("path") or f"the default place of {backend.name}"))
        raise NotFoundError(f"there is no store at {place}; whoever records something there first makes it")


async def open_async_storage(backend: str | None = None, /, **options: Any) -> AsyncStorage:
    """Open a store for an event loop, as `open_storage`; offloaded to threads where the backend has no native one."""
    chosen, options = resolve(backend, options)
    if chosen.open_async is not None:
        check_options(chosen.name, chosen.open_async, options)
        opened = chosen.open_async(**options)
        if inspect.isawaitable(opened):
            opened = await opened
        if opened is not None:
            return cast("AsyncStorage", opened)
    from f1mon_core.storage.offload import OffloadedStorage  # noqa: PLC0415 - asyncio only for those who ask for it

    check_options(chosen.name, chosen.open, options)
    return await OffloadedStorage.opened(lambda: chosen.open(**options))


def upgrade_storage(backend: str | None = None, /, **options: Any) -> None:
    """Bring the schema of the store that `open_storage` would open up to date; a no-op where it has none."""
    chosen, options = resolve(backend, options)
    if chosen.upgrade is not None:
        check_options(chosen.name, chosen.open, options)
        chosen.upgrade(**options)


def resolve(backend: str | None, options: Mapping[str, Any]) -> tuple[Backend, dict[str, Any]]:
    """The backend and the options that arguments and environment come to: argument, `F1MON_*`, `MONITORING_DB_*`,
    default, in this order. A backend that is named without a place gets the one the environment has for it.
    """
    settled = dict(options)
    if backend is not None and not isinstance(backend, str):
        raise ConfigurationError(f"backend must be a name or an address, got {shown(backend)}")
    if backend is None and "url" not in settled:
        backend, found = from_environment(os.environ)
        settled = {**found, **settled}
    if backend is not None and "://" in backend:
        if "url" in settled:
            raise ConfigurationError("give the address once: as the first argument or as url=")
        settled["url"], backend = backend, None
    if backend is not None:
        if not {"url", "path"} & set(settled):
            settled = {**_environment_of(backend, os.environ), **settled}
        return load_backend(backend), settled
    url = settled["url"]
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("url must be an address such as sqlite:///f1mon.db, or name the backend too")
    return _backend_of_scheme(url), settled


def _backend_of_scheme(url: str) -> Backend:
    points = _points(SCHEMES_GROUP)
    return _load(_only(scheme_of(url), points, what="address scheme"))


def _schemes_of(backend: str) -> list[str]:
    """The schemes of the addresses that a registered backend takes."""
    values = {point.value for point in _points(BACKENDS_GROUP) if point.name == backend}
    return sorted({point.name for point in _points(SCHEMES_GROUP) if point.value in values})


def _only(name: str, points: list[EntryPoint], what: str = "backend") -> EntryPoint:
    claiming = [point for point in points if point.name == name]
    if len(claiming) == 1:  # whose distribution nobody needs to know, and it is parsed anew each time
        return claiming[0]
    named = {(point.value, _distribution(point)): point for point in claiming}
    if len(named) > 1:
        claims = " and ".join(sorted(f"{distribution} ({value})" for value, distribution in named))
        raise DuplicateBackendError(f"{what} {name!r} is registered twice, by {claims}: uninstall one of them")
    if not named:
        known = sorted({point.name for point in points})
        hint = closest(name, known) or "."
        # What holds such a sign is no name but a mistyped address, which may hold a password.
        shown = "***" if re.search(r"[:@/\\=?&]", name) else name
        raise UnknownBackendError(f"no {what} {shown!r} is installed{hint} Installed: {', '.join(known) or 'none'}")
    return next(iter(named.values()))


def _load(point: EntryPoint) -> Backend:
    try:
        loaded = point.load()
    except ImportError as error:
        name = backend_name_of(point)
        if (missing := missing_extra(point, f"backend {name!r}", error)) is not None:
            raise missing from error
        raise BrokenBackendError(
            f"backend {name!r} of {_distribution(point)} does not load: {error}", name=error.name
        ) from error
    except Exception as error:
        raise BrokenBackendError(f"backend {point.name!r} of {_distribution(point)} does not load: {error}") from error
    if not isinstance(loaded, Backend):
        raise BrokenBackendError(
            f"{point.value} of {_distribution(point)} is not a Backend but {type(loaded).__name__}"
        )
    if loaded.contract != CONTRACT:
        do = (
            "update f1mon"
            if loaded.contract > CONTRACT
            else f"update {_distribution(point)}, or see its authors' guide"
        )
        raise OutdatedBackendError(
            f"backend {point.name!r} of {_distribution(point)} is written for contract {loaded.contract}, this f1mon "
            f"asks for contract {CONTRACT}: {do} (docs/write-a-backend.md)"
        )
    return loaded


def missing_extra(point: EntryPoint, needing: str, error: ImportError) -> MissingExtraError | None:
    """What to install where an entry point does not load for want of a library of its backend's extra; else None.

    Args:
        point: The entry point.
        needing: What it stands for, as the message begins.
        error: Why it does not load.
    """
    extra = backend_name_of(point)
    library = (error.name or "").partition(".")[0]
    if not library or _canonical(library) not in _extra_requirements(point, extra):
        return None
    return MissingExtraError(
        f"{needing} needs {error.name!r}, which is not installed: pip install '{_distribution(point)}[{extra}]'",
        name=error.name,
    )


def backend_name_of(point: EntryPoint) -> str:
    """The name of the backend that an entry point is of: the one with the same value, or of the same package."""
    backends = _points(BACKENDS_GROUP)
    for belongs in (_value, _package):
        for other in backends:
            if belongs(other) == belongs(point):
                return other.name
    return point.name


def _value(point: EntryPoint) -> str:
    return point.value


def _package(point: EntryPoint) -> str:
    return point.value.partition(":")[0].partition(".")[0]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def _extra_requirements(point: EntryPoint, extra: str) -> set[str]:
    """The canonical names of the distributions that an extra of the entry point's distribution asks for."""
    found: set[str] = set()
    for requirement in (point.dist.requires if point.dist is not None else None) or ():
        named, _, marker = requirement.partition(";")
        if re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker) and (
            match := re.match(r"[A-Za-z0-9._-]+", named)
        ):
            found.add(_canonical(match[0]))
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_options(name: str, opener: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse, before anything is opened, an option the backend does not take and the lack of one that it needs."""
    signature = inspect.signature(opener)
    if lacking := [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.default is parameter.empty
        and parameter.name not in options
    ]:
        schemes = [f"{scheme}://" for scheme in _schemes_of(name)] if "url" in lacking else []
        begins = " or ".join(filter(None, [", ".join(schemes[:-1]), *schemes[-1:]]))
        hint = f": give an address that begins with {begins}, or set F1MON_URL" if begins else ""
        raise ConfigurationError(f"backend {name!r} needs {', '.join(lacking)}{hint}")
    if (clock := options.get("clock")) is not None and not callable(clock):
        raise ConfigurationError(f"clock must be a function that answers the present, got {shown(clock)}")
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return
    if unknown := sorted(set(options) - set(signature.parameters)):
        raise ConfigurationError(
            f"backend {name!r} has no option {', '.join(unknown)}{closest(unknown[0], signature.parameters)}; it takes"
            f" {', '.join(sorted(signature.parameters))}"
        )


def _environment_of(backend: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that environment variables have for a backend that was named without a place."""
    if url := environ.get("F1MON_URL"):
        if scheme_of(url) in _schemes_of(backend):
            return {"url": url}
        _log.warning("F1MON_URL names a store of another backend; the argument %r wins", backend)
        return {}
    if backend == DATABASE_BACKEND:
        name, options = from_monitoring_db(environ, DEFAULT_DIRECTORY) or (None, {})
        return options if name == DATABASE_BACKEND else {}
    return {}
