"""Random histories of several models, text labels, segments, prunes and copies: every answer is the naive model's."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core.errors import F1monError, PrunedError
from f1mon_core.records.kinds import Alert, Outcome, Prediction
from f1mon_core.storage import dumping
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.model import Model, Refused, disagreement
from f1mon_sql import SQLStorage

from ..servers import FRESH

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LABELS = [0, 1, "1", "Ünï"]
NAMES = ["c", "t", "'; DROP TABLE f1mon_predictions; --", "$.a[0]\\"]
VALUES = [1, "1", "de", 0, '"', ""]


class History:
    """One seed's life of a store and of the model beside it."""

    def __init__(self, url, seed):
        self.random = random.Random(seed)
        self.now = START + 10 * DAY
        self.store = SQLStorage(url, clock=lambda: self.now, synchronous="NORMAL")
        self.model = Model()

    def at(self, hours):
        return self.random.choice([None, START + HOUR * self.random.randint(0, hours)])

    def prediction(self):
        r = self.random
        return Prediction(
            prediction_id=f"i{r.randint(0, 8)}",
            model_version=r.choice("ab"),
            predicted_outcome=r.choice(LABELS),
            confidence=r.choice([0.1, 0.5, 0.93, r.random()]),
            at=self.at(300),
            features=r.choice([{}, {}, {"x": 1}]),
            segments={name: r.choice(VALUES) for name in r.sample(NAMES, r.choice([0, 1, 2]))},
        )

    def outcome(self):
        r = self.random
        return Outcome(prediction_id=f"i{r.randint(0, 8)}", actual_outcome=r.choice(LABELS), at=self.at(320))

    def alert(self):
        r = self.random
        made = {"severity": "info", "title": "t", "metric_name": "m", "component": "c", "model_version": "a"}
        return Alert(alert_id=f"a{r.randint(0, 3)}", message=r.choice("mn"), at=self.at(300), **made)

    def step(self, *, alerts=True):
        self.now += timedelta(minutes=self.random.randint(1, 300))
        if self.random.random() < 0.1:
            before = START + timedelta(minutes=self.random.randint(0, 300 * 60))
            keep = () if alerts else ("alert",)  # of other kinds a copy keeps what its source prunes later
            assert dict(self.store.prune(before, keep).removed) == self.model.prune(before, keep)
            return
        made = self.random.choice([[self.prediction], [self.outcome], [self.prediction, self.outcome, self.alert]])
        batch = [self.random.choice(made)() for _ in range(self.random.randint(1, 4))]
        told = self.answer(self.store.append, batch)
        expected = self.answer(self.model.append, batch, self.now)
        if isinstance(expected, Refused):
            assert isinstance(told, tuple(expected.reasons)), (told, expected)
            return
        for name in ("new", "repeated", "prelabelled", "unmatched"):
            assert getattr(told, name) == getattr(expected, name), (name, told, expected)

    @staticmethod
    def answer(verb, *arguments):
        try:
            return verb(*arguments)
        except (F1monError, Refused) as error:
            return error

    def query(self):
        r = self.random
        hours = [None, START + DAY * r.randint(0, 12), START + HOUR * r.randint(0, 300)]
        name = r.choice(NAMES)
        return TallyQuery(
            model_version=r.choice([None, "a"]),
            since=r.choice(hours),
            until=r.choice([None, START + DAY * r.randint(0, 14)]),
            basis=r.choice(["prediction", "outcome"]),
            as_of=r.choice([None, None, None, START + DAY * r.randint(0, 14)]),
            as_recorded=r.choice([None, None, None, START + DAY * r.randint(9, 14)]),
            bins=r.choice([10, 10, 10, 7, "exact"]),
            bucket=r.choice([None, HOUR, DAY]),
            delay=r.choice([None, None, DAY]),
            by=r.choice([(), (name,), ("c", NAMES[2])]),
            where=r.choice([{}, {}, {name: "1"}, {"c": [1, None]}, {"t": []}]),
        )

    def ask(self):
        query = self.query()
        told, expected = self.answer(self.store.tally, query), self.answer(self.model.tally, query)
        if isinstance(expected, Refused):
            assert isinstance(told, PrunedError), query
            return
        assert (wrong := disagreement(told, expected)) is None, (query, wrong)

    def compare_listings(self, store):
        for kind in ("prediction", "outcome", "alert"):
            own = [(one.key, one) for one in self.model.find(Select(kind))]
            assert [(one.key, one) for one in store.find(Select(kind))] == own
            for other in ("outcome", "prediction", "acknowledgement"):
                for how in ("having", "lacking"):
                    select = Select(kind, **{how: other})
                    assert [one.key for one in store.find(select)] == [one.key for one in self.model.find(select)]
        for name in LABELS:
            for select in (
                Select("prediction", where={"predicted_outcome": name}),
                Select("outcome", where={"actual_outcome": [name, 1]}),
            ):
                assert [one.key for one in store.find(select)] == [one.key for one in self.model.find(select)]
        by = ("model_version", "predicted_outcome")
        assert store.count(Select("prediction"), by) == self.model.count(Select("prediction"), by)


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_the_models(family, url, seed, monkeypatch):
    history = History(url, f"{family} {seed}")
    store = history.store
    try:
        for _ in range(15):
            history.step()
            for _ in range(3):
                history.ask()
        history.compare_listings(store)
        store.transition("k/Ünï", lambda state, now: Change({"due": 7}, result=[1]), operation_id="1")
        report = store.check()
        assert report.ok, report.problems
        with FRESH[family]() as other:
            copied(history, SQLStorage(other, clock=lambda: history.now), monkeypatch)
    finally:
        store.close()


def copied(history, other, monkeypatch):
    """A copy, made page by page and once more after the source went on, is the store it was made from."""
    monkeypatch.setattr(dumping, "page", lambda source, after, page=dumping.page: page(source, after, limit=7))
    for _ in range(2):
        for _ in range(4):
            history.step(alerts=False)
        carry(history.store, other)
        assert snapshot(other) == snapshot(history.store)
        assert other.check().ok, other.check().problems
        history.compare_listings(other)
        original, history.store = history.store, other
        for _ in range(6):
            history.ask()
        history.store = original
    assert other.transition("k/Ünï", None, operation_id="1") == [1]
    other.close()


def carry(source, target):
    after = None
    while True:
        page = source.dump(after)
        target.restore(page.records)
        if (after := page.after) is None:
            return


def snapshot(store):
    """All that a dump holds, apart from what store it is of."""
    records, after = [], None
    while True:
        page = store.dump(after)
        records += [one for one in page.records if one["record"] not in ("store", "documents")]
        if (after := page.after) is None:
            return sorted(map(repr, records))
