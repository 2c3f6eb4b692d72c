"""Views for dashboards: readable instants, and the numbers of the tally."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Acknowledgement, Alert
from f1mon_sql.connect.target import target_of

NOON = datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)
DOCS = Path(__file__).parents[3] / "docs" / "sql.md"


def noon():
    return NOON


@pytest.fixture
def filled(url):
    """Two predictions, one of them labelled, and two alerts, one of them acknowledged."""
    with Monitor.open("sql", url=url, clock=noon) as monitor:
        monitor.record_prediction("right", "podium-1", 1, 0.75, at=NOON - timedelta(days=1))
        monitor.record_prediction("wrong", "podium-1", 0, 0.25, at=NOON - timedelta(days=1))
        monitor.record_prediction("open", "podium-1", 0, 0.25)
        monitor.record_outcomes([("right", 1), ("wrong", 1), ("early", 1)])
        alert = {"severity": "critical", "message": "m", "metric_name": "accuracy", "component": "c"}
        monitor.storage.append(
            [
                Alert(alert_id="a", title="zero \0 and \\u0000", model_version="podium-1", **alert),
                Alert(alert_id="b", title="b", model_version="podium-1", **alert),
                Acknowledgement(alert_id="b", by="kim"),
            ]
        )
    return url


def rows(url, query):
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def instant(value):
    """An instant as each database writes it."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def test_predictions_are_readable(filled):
    found = rows(filled, "SELECT * FROM f1mon_predictions_v ORDER BY prediction_id")
    assert [(one["prediction_id"], one["correct"]) for one in found] == [("open", None), ("right", 1), ("wrong", 0)]
    assert instant(found[0]["predicted_at"]) == NOON
    assert instant(found[1]["known_at"]) == NOON
    assert found[0]["known_at"] is None


def test_alerts_are_readable_with_who_took_them_on(filled):
    found = rows(filled, "SELECT * FROM f1mon_alerts_v ORDER BY alert_id")
    assert [(one["alert_id"], one["acknowledged_by"]) for one in found] == [("a", None), ("b", "kim")]
    assert instant(found[1]["acknowledged_at"]) == instant(found[1]["at"]) == NOON
    assert found[0]["title"].startswith("zero ")


def test_daily_accuracy_is_the_tally_by_day(filled):
    found = rows(filled, "SELECT * FROM f1mon_daily_accuracy_v ORDER BY day")
    days = [date.fromisoformat(str(one["day"])) for one in found]
    assert days == [date(2026, 4, 30), date(2026, 5, 1)]
    assert [(one["predictions"], one["labelled"], int(one["correct"])) for one in found] == [(2, 2, 1), (1, 0, 0)]
    assert [one["accuracy"] for one in found] == [0.5, None]


GRAFANA = {
    "f1mon_daily_accuracy_v": ("accuracy", {0.5, None}),
    "f1mon_predictions_v": ("confidence", {0.25, 0.75}),
    "f1mon_alerts_v": ("tags", {"critical"}),
}
"""What the documented query on each view answers: a column, and its values."""


def test_the_documented_grafana_queries_answer(family, filled):
    """Each family's queries in docs/sql.md, with Grafana's macros as Grafana would fill them in."""
    queries = re.findall(rf"<!-- grafana {family} -->\n```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    window = (
        f"BETWEEN '{NOON - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}' AND '{NOON + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}'"
    )
    window = window.replace("Z'", "'") if family == "mysql" else window
    asked = set()
    for text in queries:
        query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 {window}", text)
        query = query.replace("$__from", "0").replace("$__to", "4102444800000")
        (view,) = (name for name in GRAFANA if name in query)
        column, values = GRAFANA[view]
        found = rows(filled, query)
        assert {one[column] for one in found} == values
        assert all(one["time"] for one in found)
        asked.add(view)
    assert asked == set(GRAFANA)
