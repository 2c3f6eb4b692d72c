"""What the old system lost with its process: the cooldown, and everything that several processes did at once."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.legacy import AlertingSystem, adopt
from f1mon_core.monitor import Monitor
from f1mon_core.storage.select import Select

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROCESSES = 8

EVALUATE = dedent("""
    import json, sys
    from datetime import datetime
    from f1mon_core.monitor import Monitor
    from f1mon_core.rules import AlertRule

    backend, options, now, value = json.loads(sys.argv[1])
    clock = lambda: datetime.fromisoformat(now)
    with Monitor.open(backend, **options, clock=clock) as monitor:
        rule = AlertRule("low", "accuracy", "threshold", 0.8, "<", "warning", "performance", cooldown_minutes=60)
        alert = monitor.evaluate_rule(rule, value, "m")
        print("" if alert is None else alert.alert_id)
""")


def evaluated(deployment, now: datetime, value: float = 0.5) -> str:
    """The id of the alert that a process of its own got, "" if none."""
    asked = json.dumps([*deployment.url(), now.isoformat(), value])
    ran = subprocess.run([sys.executable, "-c", EVALUATE, asked], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_a_rule_fires_once_a_cooldown_also_when_every_evaluation_is_a_process_of_its_own(deployment):
    first = evaluated(deployment, NOON)
    assert first
    assert evaluated(deployment, NOON + timedelta(minutes=1)) == ""
    assert evaluated(deployment, NOON + timedelta(minutes=59, seconds=59)) == ""
    second = evaluated(deployment, NOON + timedelta(minutes=60))
    assert second not in ("", first)
    backend, options = deployment.url()
    with Monitor.open(backend, **options) as monitor:
        assert [alert.alert_id for alert in monitor.alerts()] == [second, first]


def forked(work, processes: int = PROCESSES) -> None:
    """Run `work(number)` in so many processes at once; each must end well."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(processes)

    def run(number: int) -> None:
        gate.wait()
        work(number)

    started = [context.Process(target=run, args=(number,)) for number in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * processes


@pytest.mark.races
def test_eight_processes_that_evaluate_one_breach_at_once_make_one_alert(deployment):
    backend, options = deployment.url()
    rules = [
        AlertRule(f"low-{n}", "accuracy", "threshold", 0.8, "<", "warning", "performance", cooldown_minutes=60)
        for n in range(20)
    ]
    with Monitor.open(backend, **options) as monitor:
        monitor.alerts()

    def work(_: int) -> None:
        with Monitor.open(backend, **options) as monitor:
            for rule in rules:
                monitor.evaluate_rule(rule, 0.5, "m")

    forked(work)
    with Monitor.open(backend, **options) as monitor:
        assert sorted(alert.rule_id for alert in monitor.alerts()) == sorted(rule.rule_id for rule in rules)


@pytest.mark.races
def test_eight_processes_that_start_at_once_adopt_the_same_facts_once(deployment, shared_data, tmp_path):
    shutil.copytree(shared_data / "legacy", deployment.data_dir)
    with (deployment.data_dir / "predictions.jsonl").open("ab") as file:
        line = json.loads((shared_data / "legacy" / "predictions.jsonl").read_text().splitlines()[0])
        file.write(json.dumps(line | {"confidence": 0.123}).encode() + b"\n{torn")
    counts = tmp_path / "counts"
    counts.mkdir()

    def work(number: int) -> None:
        with AlertingSystem(deployment.data_dir) as alerting:
            statistics = alerting.get_alert_statistics()
            (counts / str(number)).write_text(json.dumps(statistics))

    forked(work)
    assert {json.loads(path.read_text())["total_alerts"] for path in counts.iterdir()} == {51}
    assert len(list(deployment.data_dir.glob("f1mon-set-aside-*"))) == 1
    assert list(deployment.data_dir.glob(".f1mon*")) == []
    with AlertingSystem(deployment.data_dir) as alerting:
        storage = alerting.monitor.storage
        kinds = ("prediction", "health_snapshot", "alert", "acknowledgement", "rule_revision")
        assert [storage.count(Select(kind))[()] for kind in kinds] == [10_700, 526, 51, 17, 3]
        assert adopt(storage, deployment.data_dir).files == ()
