"""Batches that two handles write at once, and stores that are carried from one to the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import attrs

from f1mon_core.records.kinds import Fact
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.testing.model import Model, Refused

MOMENT = 0.02
"""Seconds for which a step holds the door open to a second writer, whom a sound store does not let in."""


class Interrupted(Exception):
    """What a step of the machine raises."""


@attrs.frozen
class Writing:
    """What one of two writers does.

    Attributes:
        batch: The facts it appends.
        key: The key of the transition they belong to, whose step counts; None for an append.
        operation_id: The transition's.
    """

    batch: Sequence[Fact]
    key: str | None
    operation_id: str

    def to(self, store: Storage, inside: Callable[[], Any]) -> Any:
        """Do it to a store, and call `inside` within the step."""
        if self.key is None:
            return store.append(self.batch)

        def step(document: Any, now: datetime) -> Change:
            inside()
            return self.step(document, now)

        return store.transition(self.key, step, operation_id=self.operation_id)

    def to_model(self, model: Model, now: datetime) -> Any:
        """Do it to the model; `Refused` is answered, not raised."""
        try:
            if self.key is None:
                return model.append(self.batch, now)
            return model.transition(self.key, self.step, self.operation_id, now)
        except Refused as refused:
            return refused

    def step(self, document: Any, now: datetime) -> Change:
        """Count one on."""
        seen = 1 + (document or {}).get("n", 0)
        return Change({"n": seen, "at": now.isoformat()}, self.batch, result=seen)


def meeting(first: tuple[Writing, Storage], second: tuple[Writing, Storage]) -> list[Any]:
    """What two writers are answered, or raised, of whom the second begins while the first is inside its step."""
    begun, met, done = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        if met.wait(MOMENT):
            # The store let the second in: where it may also end first, the same is lost in every run.
            done.wait(10 * MOMENT)

    def lead() -> Any:
        try:
            return first[0].to(first[1], hold)
        finally:
            begun.set()

    def follow() -> Any:
        begun.wait()
        try:
            return second[0].to(second[1], met.set)
        finally:
            done.set()
            met.set()

    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(lead), threads.submit(follow)]
        return [answer.exception() or answer.result() for answer in answers]


def carry(source: Storage, target: Storage) -> Appended:
    """Dump a store into another, page by page; what came of all pages."""
    came, after = Appended(unmatched=0), None
    while True:
        page = source.dump(after)
        came += target.restore(page.records)
        assert page.after is None or page.after != after, "the pages do not go on"
        after = page.after
        if after is None:
            return came
