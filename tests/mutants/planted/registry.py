"""The table of faults: each has a name in words, the law that must catch it, and a way to open the broken store."""

import importlib
import tempfile
import time
import types
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs

from f1mon_core.storage.registry import Backend, load_backend
from f1mon_core.testing.location import Location
from f1mon_jsonl import jsonl_exists

ROOMS = (
    *("appending", "telling", "listing", "tallying", "changing", "pruning", "carrying"),
    *("sharing", "sql", "lasting", "competing"),
    *("remembering", "edging", "meanwhile", "keyed"),
)
"""The modules of this package that plant faults."""
BLUNDERS = (NameError, ImportError, SyntaxError, RecursionError)
"""What would say that a fault itself is wrong, not the store it was planted in."""


@attrs.frozen
class Over:
    """A store that faults are planted in.

    Attributes:
        options: The options that open it in a fresh directory; of a server's, in a fresh place of that.
        server: The family of the server it is on; None for one that lies in a directory.
        exists: What tells whether it is there; None where nothing does.
    """

    name: str
    options: Callable[[str], dict[str, Any]]
    durable: bool = True
    shared: bool = True
    server: str | None = None
    exists: Callable[..., bool] | None = None

    @contextmanager
    def place(self):
        """The options of a fresh place."""
        if self.server is None:
            with tempfile.TemporaryDirectory(prefix="f1mon-planted-") as directory:
                yield self.options(directory)
        else:
            from tests.servers import ready  # noqa: PLC0415 - only where a server is asked for

            with ready(self.server) as url:
                yield self.options(url)

    def backend(self, name, opener, exists):
        """The record of a store that makes this one's claims."""
        return Backend(name=name, open=opener, exists=exists, durable=self.durable, shared=self.shared)

    @contextmanager
    def location(self):
        """A fresh place of the sound store."""
        backend = self.backend(self.name, partial(open_sound, self.name), self.exists)
        with self.place() as options:
            yield Location(backend, **options)


OVER = {
    over.name: over
    for over in (
        Over("memory", lambda _: {}, durable=False, shared=False),
        Over("memory by address", lambda _: {"url": "memory://ada:swordfish@notebook"}, durable=False, shared=False),
        Over("memory among handles", lambda _: {"name": uuid.uuid4().hex}, durable=False),
        Over("keys", lambda _: {}, durable=False, shared=False),
        Over("onefile", lambda directory: {"path": f"{directory}/store.db"}),
        Over("onefile alone", lambda directory: {"path": f"{directory}/store.db"}, shared=False),
        Over("jsonl", lambda directory: {"path": f"{directory}/store"}, exists=jsonl_exists),
        Over("sql", lambda directory: {"url": f"sqlite:///{directory}/store.db"}),
        Over("sql on postgresql", lambda url: {"url": url}, server="postgresql"),
    )
}


def open_sound(name, /, **options):
    """Open a store without a fault; importable, so that another process can."""
    if name.startswith("onefile"):
        from planted.guide import onefile  # noqa: PLC0415 - compiled for those who ask

        return onefile().open_onefile(**options)
    if name == "keys":
        from planted.keyed import Keys  # noqa: PLC0415 - as above

        return Keys(**options)
    if name == "memory among handles":
        from planted.meanwhile import Among  # noqa: PLC0415 - as above

        return Among(**options)
    return load_backend(name.partition(" ")[0]).open(**options)


@attrs.frozen
class Fault:
    """One planted fault.

    Attributes:
        name: What is wrong with the store, in words.
        law: The law of the kit that must fail on it.
        open: Opens the broken store.
        over: What it is planted in.
        room: The module that plants it.
    """

    name: str
    law: str
    open: Callable[..., Any]
    over: Over
    room: str

    @contextmanager
    def location(self):
        """A fresh place of the broken store."""
        exists = getattr(self.open, "exists", self.over.exists)
        backend = self.over.backend(self.name, partial(open_broken, self.name), exists)
        with self.over.place() as options:
            yield Location(backend, **options)


_faults: dict[str, Fault] = {}


def faults() -> dict[str, Fault]:
    """All faults by their name."""
    for room in ROOMS:
        importlib.import_module(f"planted.{room}")
    return dict(_faults)


def open_broken(name, /, **options):
    """Open the store with the fault of this name; importable, so that another process can."""
    return faults()[name].open(**options)


def fault(name: str, *, caught_by: str, over: str = "memory"):
    """Register a broken store class as a fault."""

    def registered(opened):
        if name in _faults:
            message = f"there is a fault {name!r} already"
            raise ValueError(message)
        _faults[name] = Fault(name, caught_by, opened, OVER[over], opened.__module__.partition(".")[2])
        return opened

    return registered


def dawdling(step):
    """A step that takes a moment after it has read, as on a loaded machine: what is not locked shows in every run."""

    def slow(state, now):
        change = step(state, now)
        time.sleep(0.002)
        return change

    return slow


def rewired(function, **names):
    """A copy of a function in which names of its module mean something else; no other caller sees it."""
    copied = types.FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def altered(module, **names):
    """A stand-in for a module with some of its names replaced."""
    return types.SimpleNamespace(**{**vars(module), **names})
