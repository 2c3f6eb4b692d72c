"""What every law stands on: a fresh place, its clock, and the claims of its backend."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import pytest

from f1mon_core.storage.contract import Storage
from f1mon_core.testing.bridge import BridgedStorage, Call, together
from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.facts import NOON
from f1mon_core.testing.location import Colour, Location, Place

Claim: TypeAlias = Literal["durable", "shared"]

CLAIMS: dict[str, str] = {
    "durable": "durable: what was appended survives the handle and the process",
    "shared": "shared: several handles and processes work on one place at once",
}

LawsT = TypeVar("LawsT", bound="Laws")


class Laws:
    """Laws are methods named `test_…` that take nothing but `self`.

    Attributes:
        colour: How the store is held: "sync", "async" (its native async store) or "offloaded".
        examples: How many examples a law that searches tries.
        unclaimed: Whether a law was skipped because the backend does not claim what it is about; any other skip is the
            doing of `location`.
    """

    colour: ClassVar[Colour] = "sync"
    examples: ClassVar[int] = 15

    unclaimed: bool = False

    _demanded: tuple[Claim, ...] = ()
    _law: str = ""

    def location(self) -> AbstractContextManager[Location]:
        """A context manager that yields a fresh, empty place and takes it away afterwards. Override this."""
        raise NotImplementedError

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A fresh place with a clock of its own, which shows `facts.NOON`; its handles are closed in the end."""
        with self.location() as location, tempfile.TemporaryDirectory(prefix="f1mon-clock-") as directory:
            for claim in self._demanded:
                if not getattr(location.record, claim):
                    self.unclaimed = True
                    pytest.skip(f"not claimed ({CLAIMS[claim]}): {self._law}")
            place = Place(location, self.colour, SharedClock.made(Path(directory) / "clock", NOON))
            try:
                yield place
            finally:
                place.close()

    @contextmanager
    def store(self) -> Iterator[Storage]:
        """One handle on a fresh place."""
        with self.place() as place:
            yield place.open()


def during(place: Place, store: Storage, first: Call, second: Call, inside: threading.Event) -> list[Any]:
    """What two calls answer, the second made on another handle of the place once the first has set `inside`.

    Where a backend claims no other handles both are calls of one, on threads or as tasks.
    """
    if place.record.shared:
        other = place.open()
        other.state("")  # what a first call costs is paid before

        def elsewhere() -> Any:
            inside.wait(10)
            return second(other)

        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(elsewhere)
            return [first(store), answer.result()]

    def later(own: Any) -> Any:
        inside.wait(10)
        return second(own)

    async def later_task(own: Any) -> Any:
        while not inside.is_set():  # noqa: ASYNC110 - it is set from a thread
            await asyncio.sleep(0.001)
        return await second(own)

    return together(store, [first, later_task if isinstance(store, BridgedStorage) else later])


def demands(*claims: Claim) -> Callable[[Callable[[LawsT], None]], Callable[[LawsT], None]]:
    """Mark a law as one about claims; where a backend does not make them it is reported as not claimed."""

    def mark(law: Callable[[LawsT], None]) -> Callable[[LawsT], None]:
        @wraps(law)
        def judged(self: LawsT) -> None:
            self._demanded, self._law = claims, law.__name__.removeprefix("test_").replace("_", " ")
            law(self)

        judged.claims = claims  # type: ignore[attr-defined]
        return judged

    return mark


def claims_of(law: Any) -> tuple[Claim, ...]:
    """The claims a law is about."""
    return getattr(law, "claims", ())
