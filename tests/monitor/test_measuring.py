"""What one colour measures the other does too, and neither needs numpy for it."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from f1mon_core.monitor import AsyncMonitor, Monitor
from f1mon_core.records.kinds import Fact
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.offload import OffloadedStorage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

CALLS = [
    ("models", (), {}),
    ("performance", ("a",), {"last": 9 * DAY, "interval": "clopper-pearson"}),
    ("label_delay", ("a",), {}),
    ("trend", ("a",), {"every": "day"}),
    ("compare", ("a", "b"), {"basis": "matured", "horizon": DAY}),
    ("capture_health", ("a",), {"last": 2 * DAY, "snapshot_id": "s"}),
    ("health", (), {}),
    ("record_metric", ("a", "latency", 1.5), {"snapshot_id": "s"}),
    ("metric_snapshots", (), {}),
    ("analyze_degradation", ("a",), {"last": 2 * DAY}),
    ("degradation_analyses", (), {"degraded": False}),
    ("record_drift", (0.5, "a", "grid"), {"threshold": 0.1}),
    ("drift_results", (), {"detected": True}),
    ("record_importances", ("a", {"grid": 0.5, "form": 0.25}), {}),
    ("importance_trend", ("a", "grid"), {}),
    ("latest_importances", ("a",), {}),
    ("estimate_accuracy", ("a",), {"last": 3 * DAY, "horizon": 2 * DAY}),
    ("accuracy_estimates", (), {}),
]


def filled():
    storage = MemoryStorage(clock=lambda: NOON)
    with_monitor = Monitor(storage)
    for i in range(60):
        at = NOON - i * DAY / 4
        with_monitor.record_prediction(str(i), "ab"[i % 2], i % 3 % 2, 0.5 + i / 150, at=at)
        if i % 5:
            with_monitor.record_outcome(str(i), i % 2, known_at=at + DAY / 2)
    return storage


def comparable(answer):
    """An answer without what every run makes anew: ids and the facts' own keys."""
    if isinstance(answer, Fact):
        ids = dict.fromkeys(answer.key_fields, "")
        return attrs.evolve(answer, **{name: f"the {name}" for name in ids})
    if isinstance(answer, list | tuple):
        return [comparable(one) for one in answer]
    if isinstance(answer, dict):
        return {name: comparable(one) for name, one in answer.items()}
    if hasattr(answer, "estimate"):
        return comparable(answer.estimate), answer.expected, answer.truth
    return answer


def test_both_colours_measure_the_same():
    monitor, storage = Monitor(filled()), filled()

    async def awaited():
        async with AsyncMonitor(OffloadedStorage(storage)) as other:
            return [await getattr(other, name)(*arguments, **options) for name, arguments, options in CALLS]

    expected = [getattr(monitor, name)(*arguments, **options) for name, arguments, options in CALLS]
    for (name, *_), found, one in zip(CALLS, asyncio.run(awaited()), expected, strict=True):
        if name in ("record_drift", "drift_results", "record_importances", "importance_trend"):
            assert len(found) == len(one) > 0
        assert comparable(found) == comparable(one), name


MEASURE = """
import sys
from f1mon_core.monitor import Monitor
with Monitor.open("memory") as monitor:
    monitor.record_prediction("a", "m", 1, 0.9)
    monitor.record_outcome("a", 1)
    monitor.performance(interval="clopper-pearson")
    monitor.capture_health("m")
print(sorted({"numpy", "pandas", "scipy", "narwhals", "sqlalchemy", "statistics"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("code", "loaded"), [("import sys, f1mon_core.monitor\n", "[]"), (MEASURE, "['statistics']")])
def test_measuring_needs_the_standard_library_alone(code, loaded):
    shown = code if code is MEASURE else code + MEASURE.splitlines()[-1]
    ran = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == loaded


def test_a_glance_knows_every_model_at_once():
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    with Monitor.open("memory", clock=lambda: now) as monitor:
        assert monitor.glance() == []
        for number in range(3):
            monitor.record_prediction(f"a-{number}", "a", 1, 0.9, at=now - timedelta(hours=number))
        monitor.record_prediction("a-0", "b", 1, 0.9, at=now - timedelta(days=2))
        monitor.record_outcome("a-1", 1, known_at=now - timedelta(minutes=5))
        first, second = monitor.glance()
        assert (first.name, first.stored, first.pruned, first.last_prediction) == ("a", 3, False, now)
        assert first.last_label == now - timedelta(minutes=5)
        assert (second.stored, second.last_label) == (1, None)
        monitor.prune(now - timedelta(days=1))
        assert [(one.name, one.stored, one.pruned) for one in monitor.glance()] == [("a", 3, False), ("b", 0, True)]
        assert [one.name for one in monitor.glance()] == [one.name for one in monitor.models()]
