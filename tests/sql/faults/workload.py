"""Writers that go on through every fault, and the account that must be right in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count, takewhile
from typing import Any, TypeVar

import attrs

from f1mon_core import open_storage
from f1mon_core.errors import NotWritten, OutcomeUnknown
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select

R = TypeVar("R")

AT = datetime(2026, 5, 1, tzinfo=UTC)
COUNTER = "count/laps"
PATIENCE = 60.0


def predicted(name: str) -> Prediction:
    return Prediction(prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.75, at=AT)


def labelled(name: str) -> Outcome:
    return Outcome(prediction_id=name, actual_outcome=1, at=AT)


def one_more(document: Any, _now: datetime) -> Change:
    count = (document or {"laps": 0})["laps"] + 1
    return Change({"laps": count}, facts=[predicted(f"lap-{count:06d}")], result=count)


@attrs.define
class Account:
    """What was acknowledged, and how often a call had to be repeated and why."""

    appended: set[str] = attrs.field(factory=set)
    counted: list[Any] = attrs.field(factory=list)
    not_written: int = 0
    unknown: int = 0
    wrongly_not_written: list[str] = attrs.field(factory=list)

    def settled(self, call: Callable[[], R], *, absent: Callable[[], bool] | None = None) -> R:
        """The answer of a call that is repeated until it has one, as the errors say it may be."""
        until = time.monotonic() + PATIENCE
        fate_open = False
        while True:
            try:
                return call()
            except NotWritten as error:
                self.not_written += 1
                # Once the fate of an earlier try is open, the fact may be there for that reason.
                if absent is not None and not fate_open and not absent():
                    self.wrongly_not_written.append(str(error))
                if time.monotonic() > until:
                    raise
            except OutcomeUnknown:
                self.unknown += 1
                fate_open = True
                if time.monotonic() > until:
                    raise
            time.sleep(0.01)


def write(storage: Storage, account: Account, names: Iterable[str], *, witness: Storage | None = None) -> None:
    """For every name: a prediction, its outcome, and one lap counted; each until it is acknowledged."""

    def absent(name: str) -> Callable[[], bool] | None:
        if witness is None:
            return None
        return lambda: not witness.find(Select("prediction", where={"prediction_id": name}))

    for name in names:
        account.settled(lambda name=name: storage.append([predicted(name)]), absent=absent(name))
        account.settled(lambda name=name: storage.append([labelled(name)]))
        account.appended.add(name)
        operation = new_operation_id()
        account.counted.append(
            account.settled(lambda operation=operation: storage.transition(COUNTER, one_more, operation_id=operation))
        )


def write_together(
    places: Iterable[dict[str, Any]],
    each: int,
    *,
    until: Callable[[], bool] = lambda: True,
    witness: Storage | None = None,
) -> Account:
    """One writing thread with a handle of its own for each place: `each` names, more while `until` does not hold."""
    account = Account()
    failures: list[BaseException] = []

    def run(number: int, options: dict[str, Any]) -> None:
        try:
            storage = account.settled(lambda: open_storage("sql", **options))
            try:
                laps = takewhile(lambda lap: lap < each or not until(), count())
                write(storage, account, (f"{number}-{lap}" for lap in laps), witness=witness)
            finally:
                storage.close()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread below
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return account


def assert_right(storage: Storage, account: Account, at_least: int) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and every repeat found out what had happened."""
    written = len(account.appended)
    assert written >= at_least
    stored = [fact.prediction_id for fact in storage.find(Select("prediction")) if "lap" not in fact.prediction_id]
    assert sorted(stored) == sorted(account.appended)
    outcomes = [fact.prediction_id for fact in storage.find(Select("outcome"))]
    assert sorted(outcomes) == sorted(account.appended)
    assert sorted(account.counted) == list(range(1, written + 1))
    assert storage.state(COUNTER)[COUNTER] == {"laps": written}
    laps = [fact.prediction_id for fact in storage.find(Select("prediction")) if "lap" in fact.prediction_id]
    assert laps == [f"lap-{number:06d}" for number in range(1, written + 1)]
    assert account.wrongly_not_written == []
