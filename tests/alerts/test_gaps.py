"""`for_minutes` over gaps and missing data; and the table of cooldown and reminders in the documentation, replayed."""

import math
import re
from pathlib import Path

import pytest

from f1mon_core import AlertRule

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"


def rule(**changes):
    fields = {"for_minutes": 30, "channels": ("spy",), **changes}
    return AlertRule("r", "accuracy", "threshold", 0.8, "<", "warning", "c", scope="rule", **fields)


def fired(monitor, clock, samples, **changes):
    """The minutes at which a rule fired that saw these values."""
    made, last, found = rule(**changes), 0, []
    for minute, value in samples:
        clock.forward(minute - last)
        last = minute
        if monitor.evaluate_rule(made, value, "a") is not None:
            found.append(minute)
    return found


GAPS = {
    "two breaches eight hours apart": ([(0, 0.5), (480, 0.5)], {}, []),
    "and half an hour later": ([(0, 0.5), (480, 0.5), (510, 0.5)], {}, [510]),
    "without a gap": ([(0, 0.5), (10, 0.5), (20, 0.5), (30, 0.5)], {}, [30]),
    "evaluated each hour": ([(0, 0.5), (60, 0.5)], {}, [60]),
    "nothing but NaN between": ([(0, 0.5), *((n, math.nan) for n in range(10, 480, 10)), (480, 0.5)], {}, []),
    "a little NaN between": ([(0, 0.5), (10, math.nan), (20, None), (30, 0.5)], {}, [30]),
    "as old as the rule allows": ([(0, 0.5), (480, 0.5)], {"sample_minutes": 480}, [480]),
    "a minute older": ([(0, 0.5), (481, 0.5)], {"sample_minutes": 480}, []),
    "stricter than usual": ([(0, 0.5), (20, 0.5), (35, 0.5)], {"sample_minutes": 10}, []),
    "no data that is a breach": ([(0, 0.5), (25, None), (50, 0.5)], {"on_no_data": "fire"}, [50]),
    "no wait, no gap": ([(0, 0.9), (480, 0.5)], {"for_minutes": 0}, [480]),
    "firing already": ([(0, 0.5), (30, 0.5), (600, 0.5)], {}, [30, 600]),
}


@pytest.mark.parametrize(("samples", "changes", "minutes"), GAPS.values(), ids=GAPS)
def test_a_breach_lasts_only_as_far_as_somebody_looked(monitor, clock, samples, changes, minutes):
    assert fired(monitor, clock, samples, **changes) == minutes


def test_a_count_that_begins_anew_says_so(monitor, clock):
    monitor.add_rule(rule())
    for forward in (0, 480):
        clock.forward(forward)
        monitor.evaluate_rule("r", 0.5, "a")
    (standing,) = monitor.standings()
    assert (standing.phase, standing.reason.endswith("anew: the breach before is too old")) == ("pending", True)


def rows():
    """The rows of the table of cooldown and reminders."""
    section = PAGE.read_text(encoding="utf-8").partition("## Cooldown and reminders, minute by minute")[2]
    table = section.partition("\n## ")[0]
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\| \d.*\|$", table, re.MULTILINE)
    ]


def test_the_table_of_cooldown_and_reminders_is_what_happens(monitor, clock, spy):
    monitor.add_rule(
        rule(
            for_minutes=0,
            cooldown_minutes=60,
            remind_minutes=25,
            notify_resolved=True,
            escalation={"critical": 0.5},
        )
    )
    alert, last, told = None, 0, 0
    assert len(rows()) == 15
    for minute, value, phase, gets, why in rows():
        clock.forward(int(minute) - last)
        last = int(minute)
        if value == "acknowledge":
            monitor.acknowledge(alert.alert_id, "ada")
        elif value == "resolve":
            monitor.resolve(alert.incident_id, "by hand")
        else:
            alert = monitor.evaluate_rule("r", float(value), "a") or alert
        monitor.deliver()
        got = [f"{one.alert.severity} {one.purpose}" for one in spy.messages[told:]]
        told = len(spy.messages)
        assert (got or ["nothing"]) == [gets], (minute, why)
        assert monitor.standings()[0].phase == phase, (minute, why)
