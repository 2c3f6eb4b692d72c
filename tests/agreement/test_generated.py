"""Rows that hypothesis makes, through every backend: each metric is scikit-learn's, each cell that of the facts."""

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.model import Model, disagreement

from ..oracle import assert_equal, expected_metrics
from .test_edges import EDGES

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# One store serves all examples of a test, each under a model of its own.
on_one_store = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
fresh_models = map("model-{}".format, count())

confidences = st.one_of(st.sampled_from(EDGES), st.floats(0, 1))
hours = st.integers(0, 60).map(lambda quarters: NOON - quarters * HOUR / 4)


def rows(labels):
    return st.lists(st.tuples(labels, confidences, st.none() | labels), max_size=40)


def record(monitor, model, data):
    monitor.record_predictions(
        {
            "prediction_id": f"{model}/{i}",
            "model_version": model,
            "predicted_outcome": predicted,
            "confidence": confidence,
            "at": NOON,
        }
        for i, (predicted, confidence, _) in enumerate(data)
    )
    monitor.record_outcomes((f"{model}/{i}", actual) for i, (*_, actual) in enumerate(data) if actual is not None)


@on_one_store
@given(data=rows(st.integers(0, 1)), n_bins=st.sampled_from([1, 7, 10, 100]))
def test_two_classes_are_scikit_learns_in_every_store(monitor, data, n_bins):
    model = next(fresh_models)
    record(monitor, model, data)
    assert_equal(monitor.performance(model, n_bins=n_bins), expected_metrics(data, n_bins=n_bins))


@on_one_store
@given(data=rows(st.sampled_from([-3, 0, 1, 2**62])), positive=st.sampled_from([1, 2**62]))
def test_many_classes_are_scikit_learns_in_every_store(monitor, data, positive):
    model = next(fresh_models)
    record(monitor, model, data)
    assert_equal(monitor.performance(model, positive=positive), expected_metrics(data, positive=positive))


histories = st.lists(
    st.tuples(st.integers(0, 2), confidences, hours, st.dictionaries(hours, st.integers(0, 2), max_size=3)),
    max_size=20,
)
queries = st.fixed_dictionaries(
    {"bins": st.sampled_from([1, 3, 7, 10, 49, 100, 1_000, "exact"])},
    optional={
        "since": hours,
        "until": hours,
        "as_of": hours,
        "basis": st.sampled_from(["prediction", "outcome"]),
        "bucket": st.sampled_from([HOUR, 7 * HOUR]),
        "delay": st.just(HOUR),
    },
)


@on_one_store
@given(history=histories, asked=st.lists(queries, min_size=1, max_size=4))
def test_each_cell_is_that_of_the_facts_in_every_store(monitor, history, asked):
    name = next(fresh_models)
    facts = []
    for number, (predicted, confidence, at, outcomes) in enumerate(history):
        made = {"prediction_id": f"{name}/{number}", "at": at}
        facts.append(Prediction(model_version=name, predicted_outcome=predicted, confidence=confidence, **made))
        facts += [
            Outcome(prediction_id=f"{name}/{number}", actual_outcome=actual, at=known_at)
            for known_at, actual in outcomes.items()
        ]
    model = Model()
    model.append(facts, NOON)
    monitor.storage.append(facts)
    for one in asked:
        query = TallyQuery(model_version=name, **one)
        assert disagreement(monitor.storage.tally(query), model.tally(query)) is None, query
