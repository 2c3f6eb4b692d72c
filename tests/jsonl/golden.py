"""What is in the journals of `tests/assets/jsonl`, and how they were made.

`python -m tests.jsonl.golden` makes those of today's format: `plain-0002`, lines as they were appended, `pruned-0002`,
which was pruned, compacted and written on, and `restored-0002`, to which the pages of that one were carried; beside
each a JSON file of what it must read as. It is to be run with the version whose format the name bears. Journals of an
old format are never made again: what they are for is that every later version reads what an old one wrote. Those of
format 1 hold nothing of what `record_several` adds, and are not asked `QUERIES_OF_SEVERAL`.
"""

import json
import random
import secrets
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.delivery.channels import CallbackChannel, Channels
from f1mon_core.errors import DeliveryError
from f1mon_core.monitor import Monitor
from f1mon_core.records.documents import to_document
from f1mon_core.records.kinds import (
    KINDS,
    AccuracyEstimate,
    DegradationAnalysis,
    DriftResult,
    FeatureImportance,
    HealthSnapshot,
    MetricSnapshot,
    Outcome,
    Prediction,
)
from f1mon_core.records.times import to_micros
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_jsonl import JSONLStorage

ASSETS = Path(__file__).parents[1] / "assets" / "jsonl"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HORIZON = NOON - 2 * HOUR
END = NOON + HOUR
"""Before which all was written."""

PRUNED_IDS = ["old-0", "old-1", "old-2", "old-3", "old/é"]
REPEATED = {"season/2026": ("op-2", {"races": 2}), "season/gone": ("op-4", "went")}
"""Operations that are still known, and what they answered."""

QUERIES = [
    TallyQuery(),
    TallyQuery(model_version="podium-1"),
    TallyQuery(bucket=HOUR),
    TallyQuery(until=NOON),
    TallyQuery(since=HORIZON, bins=5),
    TallyQuery(since=HORIZON, bins="exact"),
    TallyQuery(since=HORIZON, bins=100, delay=MINUTE),
    TallyQuery(since=HORIZON, basis="outcome"),
    TallyQuery(since=HORIZON, as_of=NOON),
    TallyQuery(since=HORIZON, as_recorded=NOON + MINUTE),
]

DAY = timedelta(days=1)
QUERIES_OF_SEVERAL = [
    TallyQuery(basis="outcome"),
    TallyQuery(basis="outcome", bucket=HOUR, model_version="country-1"),
    TallyQuery(by=("track",)),
    TallyQuery(by=("wet",), basis="outcome", bucket=DAY),
    TallyQuery(where={"track": ("Spa", None)}),
    TallyQuery(since=HORIZON, by=("track", "wet")),
    TallyQuery(since=HORIZON, by=("wet",), where={"track": "Ünï"}),
]


def as_read(store, queries=QUERIES):
    """All that a store holds, as JSON."""
    return {
        "facts": {kind: [to_document(fact) for fact in store.find(Select(kind))] for kind in KINDS},
        "counts": {kind: store.count(Select(kind))[()] for kind in KINDS if store.count(Select(kind))},
        "state": dict(store.state("")),
        "tallies": [as_rows(store.tally(query)) for query in queries],
    }


def as_rows(tally):
    """Cells in an order of their own; sums to nine digits, since they depend on the order they are added in."""
    rows = [[*key, *cell[:3], *(round(total, 9) for total in cell[3:])] for key, cell in tally.cells.items()]
    return sorted(rows, key=repr)


class Told:
    """A clock that shows what it was told."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def wait(self, duration=MINUTE):
        self.now += duration


def make(directory, *, pruned):
    clock = Told()
    with Monitor(JSONLStorage(directory, clock=clock), channels=channels(), enrich=None) as monitor:
        record(monitor.storage, clock)
        record_several(monitor.storage)
        operate(monitor.storage)
        alert(monitor, clock)
        if pruned:
            monitor.storage.prune(HORIZON + 10 * MINUTE, keep=["health_snapshot"])
            monitor.storage.compact()
            clock.wait()
            written_on(monitor.storage)
        assert clock.now < END
        return as_read(monitor.storage, QUERIES + QUERIES_OF_SEVERAL)


def carry(source, directory):
    """Restore a store elsewhere, page by page, and compact it half-way: it holds lines of both kinds."""
    with (
        closing(JSONLStorage(source, clock=lambda: END)) as store,
        closing(JSONLStorage(directory, clock=lambda: END)) as other,
    ):
        page = store.dump()
        other.restore(page.records[:40])
        other.compact()
        other.restore(page.records)
        return as_read(other, QUERIES + QUERIES_OF_SEVERAL)


def record(store, clock):
    old = [prediction(name, hours, confidence=0.29 + hours / 100) for hours, name in enumerate(PRUNED_IDS, 3)]
    recent = [prediction(f"race-{n}", n / 4, predicted_outcome=n % 3, confidence=n / 7) for n in range(8)]
    store.append([*old, *recent[:5], Prediction("unstamped", "podium-2", 1, 0.5)])
    store.append(
        Prediction(f"rich-{n}", "podium-2", 1, 1.0, {"grid": n, "wet": None, "Ünï": [0.1, "☃"]}, {"note": "\0"})
        for n in range(2)
    )
    clock.wait()
    store.append([Outcome(one.prediction_id, 1, at=one.at + 30 * MINUTE) for one in (*old[:4], *recent[:3])])
    store.append([Outcome("unstamped", 0), Outcome("race-6", 2), Outcome("never", 1)])
    clock.wait()
    # Corrections, one of them known before what it is a correction of; and predictions whose outcome came first.
    store.append([Outcome("old-1", 0), Outcome("race-1", 0), Outcome("race-2", 0, at=recent[2].at + MINUTE)])
    store.append(recent[5:])
    stamps = {"model_version": "podium-1", "metadata": {"by": "ci"}}
    for at in (NOON - 5 * HOUR, None):
        name = "now" if at is None else "then"
        store.append(
            [
                HealthSnapshot(metrics={"accuracy": 0.5}, window_start=HORIZON, snapshot_id=name, at=at, **stamps),
                MetricSnapshot(metric_name="latency", value=0.25, snapshot_id=name, at=at, **stamps),
                DriftResult(feature="grid", detected=True, p_value=0.01, drift_id=name, at=at, **stamps),
                FeatureImportance(feature="grid", importance=-0.5, rank=1, importance_id=name, at=at, **stamps),
                DegradationAnalysis(metric_name="f1_score", degraded=False, analysis_id=name, at=at, **stamps),
                AccuracyEstimate(value=0.75, n=8, calibration={"map": [[0.5, 0.6]]}, estimate_id=name, at=at, **stamps),
            ]
        )


def record_several(store):
    """Labels that are texts, segments, and models that predicted what others had, before and after it was labelled."""
    store.append(
        Prediction(
            prediction_id=f"country-{n}",
            model_version="country-1",
            predicted_outcome=["DE", "IT", 1, "1"][n % 4],
            confidence=n / 9,
            segments={"track": ["Spa", "Ünï", ""][n % 3], **({"wet": n % 2} if n % 5 else {})},
            at=NOON - n * HOUR,
        )
        for n in range(9)
    )
    store.append([Outcome(f"country-{n}", ["DE", 1, "1"][n % 3], at=NOON - n * MINUTE) for n in range(7)])
    store.append(
        prediction(name, hours, model_version="podium-1b", confidence=0.4, segments={"track": "Spa"})
        for name, hours in (("old-0", 3), ("old-1", 1), ("race-0", 0.5), ("race-1", 4), ("never", 0.25))
    )


def prediction(name, hours, **fields):
    settled = {"model_version": "podium-1", "predicted_outcome": 1, "at": NOON - hours * HOUR, **fields}
    return Prediction(prediction_id=name, **settled)


def operate(store):
    for number, races in enumerate((1, 2), 1):
        change = Change({"races": races, "due": to_micros(END)}, result={"races": races})
        store.transition("season/2026", lambda *_, change=change: change, operation_id=f"op-{number}")
    store.transition("season/gone", lambda *_: Change({"n": 1}, also={"season/other": {"n": 2}}), operation_id="op-3")
    store.transition("season/gone", lambda *_: Change(None, result="went"), operation_id="op-4")


def channels():
    def refuse(_):
        raise DeliveryError("no such pager", retry=False)

    def break_down(_):
        raise DeliveryError("busy", after=3600.0)

    made = Channels({}, environ={})
    for name, callback in {"team": lambda _: None, "pager": refuse, "mail": break_down}.items():
        made.register(name, CallbackChannel(callback))
    return made


def alert(monitor, clock):
    """A rule that fires, is acknowledged and resolves; two that fire on, untold; one that is silenced; one removed."""
    for name, fields in {
        "resolved": {"cooldown_minutes": 0.0, "channels": ["team"]},
        "dead": {"channels": ["pager"], "scope": "instance"},
        "late": {"channels": ["mail"], "escalation": {"critical": 0.1}},
        "silenced": {"channels": ["team"], "for_minutes": 1.0},
        "removed": {},
    }.items():
        monitor.add_rule(AlertRule(name, "accuracy", "threshold", 0.7, "<", "warning", "model", **fields))
    monitor.remove_rule("removed")
    monitor.silence(END, rule_id="silenced", by="ada", comment="the track is wet")
    for value, rules in {
        0.6: ["resolved", "dead", "late", "silenced"],
        0.5: ["dead", "silenced"],
        0.9: ["resolved"],
    }.items():
        clock.wait()
        for rule in rules:
            monitor.evaluate_rule(rule, value, "podium-1", labels={"track": "Spa"}, context={"n": 8})
            monitor.deliver()  # one channel at a time, so in one order
        for one in monitor.alerts(rule_id="resolved", acknowledged=False):
            monitor.acknowledge(one.alert_id, "kim", "seen")
    monitor.create_alert("info", "Rain", "It rains.", "weather", None, None, "track", "podium-1")


def written_on(store):
    store.append([prediction("after", 0.1, confidence=1.0), Outcome("after", 1), Outcome("race-1", 2)])
    store.transition("season/other", lambda document, _: Change({**document, "n": 3}), operation_id="op-5")


def main():
    """Make every journal anew, the same to the byte each time."""
    for name in ("plain", "pruned", "restored"):
        place = ASSETS / f"{name}-0002"
        shutil.rmtree(place, ignore_errors=True)
        chance = random.Random(1 if name != "restored" else 2)
        random.seed(1)
        secrets.token_bytes = lambda count=32, chance=chance: chance.randbytes(count)
        secrets.token_hex = lambda count=32: secrets.token_bytes(count).hex()
        found = carry(ASSETS / "pruned-0002", place) if name == "restored" else make(place, pruned=name == "pruned")
        place.with_suffix(".json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
