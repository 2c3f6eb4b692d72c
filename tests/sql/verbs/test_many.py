"""What grows with the data: statements with more values than a database takes parameters."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import sqlalchemy as sa

from f1mon_core.records.kinds import Acknowledgement, Alert, Prediction
from f1mon_core.storage.select import Select
from f1mon_sql import SQLStorage
from f1mon_sql.connect.target import target_of
from f1mon_sql.verbs import find

from ...factories import raised

AT = datetime(2026, 5, 1, tzinfo=UTC)
MANY = {"sqlite": 300_000, "postgresql": 70_000, "mysql": 70_000}


def made_of(name, **fields):
    usual = {"model_version": "m", "predicted_outcome": 1, "confidence": 0.5, "at": AT}
    return Prediction(prediction_id=name, **usual | fields)


def hold(url, ids):
    """A document that holds alerts, past the limits of one that a step may make."""
    document = json.dumps({"holds": [*ids, "nul\0"]})
    engine = sa.create_engine(target_of(url).url)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO f1mon_state (state_key, document) VALUES ('k', :d)"), {"d": document})
    engine.dispose()


@pytest.mark.parametrize("more", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_a_prune_keeps_any_number_of_held_alerts(url, family, more):
    """The issue's example: 66,000 of them made a prune fail for good."""
    held = [f"h{number:07}" for number in range(MANY[family] * more)]
    there = [*held[::997], "a", "h0000003x", "z", "\N{GRINNING FACE}"]
    with closing(SQLStorage(url)) as store:
        alerts = [Alert(**raised(alert_id=one, at=AT)) for one in there]
        store.append([*alerts, *(Acknowledgement(alert_id=one.alert_id, at=AT) for one in alerts)])
        hold(url, held)
        removed = store.prune(AT + timedelta(days=1)).removed
        assert removed == {"alert": 4, "acknowledgement": 4}
        assert {one.alert_id for one in store.find(Select.of(Alert))} == {*held[::997]}
        assert {one.alert_id for one in store.find(Select.of(Acknowledgement))} == {*held[::997]}


@pytest.mark.parametrize("more", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_any_number_of_values_may_be_asked_for(url, more):
    wanted = [f"p{number:07}" for number in range(70_000 * more)]
    with closing(SQLStorage(url)) as store:
        made = [
            Prediction(
                prediction_id=one, model_version="m", predicted_outcome=1, confidence=0.5, at=AT + timedelta(0, n)
            )
            for n, one in enumerate([*wanted[::9973], "other"])
        ]
        store.append(made)
        where = {"prediction_id": wanted}
        assert store.find(Select.of(Prediction, where=where)) == [*store.find(Select.of(Prediction))][:-1]


def test_where_one_statement_takes_too_few_several_answer_as_one(mysql_url, monkeypatch):
    with closing(SQLStorage(mysql_url)) as store:
        store.append([made_of(f"{n}", predicted_outcome=n % 3) for n in range(40)])
        asked = Select.of(
            Prediction,
            where={"prediction_id": ["7", "7", *map(str, range(30, 5, -1))], "predicted_outcome": [1, 2]},
        )
        newest = attrs.evolve(asked, descending=True, limit=9)

        def answers():
            return store.find(asked), store.find(newest), store.count(asked, by=["predicted_outcome"])

        whole = answers()
        monkeypatch.setattr(find, "IN_CHUNK", 1)
        dialect = store._verbs.dialect
        monkeypatch.setattr(
            type(dialect), "portions", lambda self, values: [values[i : i + 4] for i in range(0, len(values), 4)]
        )
        monkeypatch.setattr(type(dialect), "portions", lambda self, values: [values[:1], values[1:]])
        assert len(find.split(dialect, asked)) > 20
        assert answers() == whole
        assert len(whole[1]) == 9
