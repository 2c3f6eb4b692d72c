"""Where a store under test lives, and handles on it in either colour."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias, cast

import attrs

from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.registry import Backend, load_backend
from f1mon_core.testing.bridge import BridgedStorage
from f1mon_core.testing.clocks import SharedClock

Colour: TypeAlias = Literal["sync", "async", "offloaded"]
"""How a store is held: its sync handle, its native async one, or the sync one offloaded to threads."""


@attrs.frozen(init=False)
class Location:
    """A fresh, empty place: the backend and the options that open it; picklable.

    `Location("jsonl", path="/tmp/x")` names a registered backend; a backend that is not registered is given as its
    `Backend` record, whose functions must then be importable.
    """

    backend: str | Backend
    options: dict[str, Any]

    def __init__(self, backend: str | Backend, /, **options: Any) -> None:
        self.__attrs_init__(backend, options)

    @property
    def record(self) -> Backend:
        """The backend's own record, with its claims."""
        return _loaded(self.backend) if isinstance(self.backend, str) else self.backend

    def __reduce__(self) -> tuple[Any, ...]:
        return (_located, (self.backend, self.options))


_loaded = cache(load_backend)  # reading the entry points takes longer than most laws


def _located(backend: str | Backend, options: dict[str, Any]) -> Location:
    return Location(backend, **options)


@attrs.define
class Place:
    """A location with its clock; opens handles on it and closes them in the end. A pickled one has no handles."""

    location: Location
    colour: Colour
    clock: SharedClock
    _handles: list[Storage] = attrs.field(factory=list, init=False)

    @property
    def record(self) -> Backend:
        """The backend's own record, with its claims."""
        return self.location.record

    @property
    def twin(self) -> Colour:
        """The other colour this place can be opened in."""
        if self.colour != "sync":
            return "sync"
        return "offloaded" if self.record.open_async is None else "async"

    def open(self, colour: Colour | None = None) -> Storage:
        """A new handle, closed with the place; an async one behind a bridge."""
        opened = self._opened(colour or self.colour)
        self._handles.append(opened)
        return opened

    def _opened(self, colour: Colour) -> Storage:
        record = self.record
        options = {**self.location.options, "clock": self.clock}
        if colour == "sync":
            return record.open(**options)
        if colour == "offloaded":
            return BridgedStorage(lambda: OffloadedStorage.opened(lambda: record.open(**options)))
        if record.open_async is None:
            raise ValueError(f"backend {record.name!r} has no native async store to test")
        return BridgedStorage(lambda: _natively(record, options, asked=colour == self.colour))

    def reopened(self, store: Storage) -> Storage:
        """Close a handle and open another one."""
        self.release(store)
        return self.open()

    def release(self, store: Storage) -> None:
        """Close a handle for good."""
        if store in self._handles:
            self._handles.remove(store)
        store.release() if isinstance(store, BridgedStorage) else store.close()

    def abandon(self) -> None:
        """Forget the handles without closing them: they are another process's."""
        self._handles.clear()

    def close(self) -> None:
        """Close every handle that is still open."""
        while self._handles:
            self.release(self._handles[-1])

    @contextmanager
    def handle(self, colour: Colour | None = None) -> Iterator[Storage]:
        """A handle for the length of a block."""
        opened = self.open(colour)
        try:
            yield opened
        finally:
            self.release(opened)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.location, self.colour, self.clock))


async def _natively(record: Backend, options: dict[str, Any], *, asked: bool) -> AsyncStorage:
    opened = None if record.open_async is None else record.open_async(**options)
    if inspect.isawaitable(opened):
        opened = await opened
    if opened is None:
        if asked:
            raise ValueError("the backend would rather be offloaded for these options: test colour = 'offloaded'")
        return await OffloadedStorage.opened(lambda: record.open(**options))
    return cast("AsyncStorage", opened)
