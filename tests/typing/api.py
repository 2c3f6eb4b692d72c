"""What a type checker makes of the public names: checked by `nox -s typing`, never run."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import assert_type

import attrs

from f1mon_core import (
    Alert,
    AsyncMonitor,
    Comparison,
    Grouped,
    Listed,
    ModelSummary,
    Monitor,
    PairedComparison,
    Performance,
    Prediction,
    Slices,
    Trend,
)
from f1mon_core.records import Clock, Document, Fact, Json, host_clock
from f1mon_core.storage import (
    Appended,
    AsyncStorage,
    CheckReport,
    Dumped,
    OffloadedStorage,
    Pruned,
    Scalar,
    Select,
    Step,
    Storage,
    Tally,
    TallyQuery,
    plans,
)
from f1mon_core.storage.memory import MemoryStorage


class Foreign:
    """A backend of a third party, which writes `Select` and knows nothing of its parameter."""

    @property
    def clock(self) -> Clock:
        return host_clock

    @property
    def address(self) -> str:
        return ""

    def append(self, facts: Iterable[Fact]) -> Appended:
        return Appended(len(list(facts)))

    def find(self, select: Select) -> Sequence[Fact]:
        assert_type(select, Select[Fact])
        assert_type(select.kind, str)
        return []

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        return {(select.kind, *by): 0}

    def tally(self, query: TallyQuery) -> Tally:
        return Tally(query.bins)

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        return [key, operation_id, step(None, datetime.now()).result]  # noqa: DTZ005 - never run

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        return {prefix: {"due": str(due_before), "limit": limit, "after": after}}

    def prune(self, before: datetime, keep: Iterable[str] = ()) -> Pruned:
        return Pruned(before, dict.fromkeys(keep, 0))

    def dump(self, after: str | None = None) -> Dumped:
        return Dumped([], after)

    def restore(self, records: Iterable[Document]) -> Appended:
        return Appended(len(list(records)))

    def check(self) -> CheckReport:
        return CheckReport()

    def close(self) -> None: ...


def selects(instant: datetime) -> None:
    assert_type(Select("alert", instant), Select[Fact])
    assert_type(Select.of(Alert, instant, having=Prediction), Select[Alert])
    assert_type(attrs.evolve(Select.of(Alert), limit=1), Select[Alert])
    wider: Select = Select.of(Alert)
    assert_type(plans.run(plans.find(wider), MemoryStorage()), Sequence[Fact])


def a_plan() -> plans.Plan[int]:
    alerts = yield from plans.find(Select.of(Alert))
    assert_type(alerts, Sequence[Alert])
    assert_type((yield from plans.find(Select("alert"))), Sequence[Fact])
    assert_type((yield from plans.now()), datetime)
    assert_type((yield from plans.outside(lambda: "answer")), str)
    appended = yield from plans.append(alerts)
    assert_type(appended, Appended)
    return appended.new


def both_sides(store: Storage) -> None:
    assert_type(plans.run(a_plan(), store), int)
    plans.run(a_plan(), Foreign())
    assert_type(Monitor(store).models(), Listed[ModelSummary])
    assert_type(store.clock(), datetime)


def labels_and_segments(monitor: Monitor) -> None:
    made = Prediction("a", "m", "malignant", 0.9, segments={"country": "DE", "tier": 1})
    assert_type(made.predicted_outcome, int | str)
    assert_type(made.segments, dict[str, int | str])
    monitor.record_prediction("a", "m", "malignant", 0.9, segments={"country": "DE"})
    monitor.record_outcome("a", "benign")
    monitor.performance(positive="malignant", labels=["malignant", "benign"])
    assert_type(monitor.performance("m", where={"country": ["DE", None]}), Performance)
    assert_type(monitor.performance("m", by="country", worst=5), Slices)
    assert_type(monitor.trend("m", every="day"), Trend)
    assert_type(monitor.trend("m", every="day", by=("country", "tier")), Grouped[Trend])
    assert_type(monitor.compare("a", "b"), Comparison)
    assert_type(monitor.compare("a", "b", by="country"), Grouped[Comparison])
    assert_type(monitor.compare("a", "b", paired=True, min_coverage=0.8), PairedComparison)
    TallyQuery(by=("country",), where={"country": ("DE", None), "tier": 1})


async def both_sides_awaited(store: AsyncStorage) -> None:
    assert_type(await plans.run_async(a_plan(), store), int)
    assert_type(await AsyncMonitor(OffloadedStorage(MemoryStorage())).models(), Listed[ModelSummary])
    assert_type(store.clock(), datetime | Awaitable[datetime])
