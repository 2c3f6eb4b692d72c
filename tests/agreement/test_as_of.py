"""Accuracy as of each race day equals a straight recomputation from the outcomes known by then."""

import random
from datetime import timedelta

MICROSECOND = timedelta(microseconds=1)


def accuracy_as_of(predictions, outcomes, instant):
    """(correct, labelled, made) by the outcomes with the newest known_at up to an instant.

    The outcomes are in order of known_at.
    """
    known = {prediction_id: actual for prediction_id, actual, known_at in outcomes if known_at <= instant}
    made = [one for one in predictions if one.at <= instant]
    labelled = [one for one in made if one.prediction_id in known]
    correct = sum(one.predicted_outcome == known[one.prediction_id] for one in labelled)
    return correct, len(labelled), len(made)


def assert_replayed(monitor, predictions, outcomes, instants):
    in_order = sorted(outcomes, key=lambda one: one[2])
    for instant in instants:
        correct, labelled, made = accuracy_as_of(predictions, in_order, instant)
        accuracy = monitor.performance(as_of=instant, metrics=["accuracy"]).accuracy
        assert (accuracy.labelled, accuracy.total) == (labelled, made), instant
        assert accuracy.value == (correct / labelled if labelled else None), instant


def corrections_of(race_log, count, seed):
    """Random corrections, some of them of the same prediction, up to two years late."""
    generator = random.Random(seed)
    for number in range(count):
        prediction_id, actual, known_at = generator.choice(race_log.outcomes)
        late = timedelta(seconds=generator.randrange(1, 2 * 365 * 86_400), microseconds=number)
        yield prediction_id, actual ^ generator.randint(0, 1), known_at + late


def test_each_race_day_is_replayed_also_after_a_thousand_corrections(race_log, monitor):
    race_days = sorted({known_at for _, _, known_at in race_log.outcomes})
    instants = [race_days[0] - MICROSECOND, *race_days]
    if monitor.storage.address.startswith(("memory", "mysql")):
        instants = instants[::10]  # the slow ones: the plainest store reads everything every time
    monitor.record_predictions(race_log.predictions)
    monitor.record_outcomes(race_log.outcomes)
    assert_replayed(monitor, race_log.predictions, race_log.outcomes, instants)
    corrections = list(corrections_of(race_log, 1_000, seed=2026))
    monitor.record_outcomes(corrections)
    known = [*race_log.outcomes, *corrections]
    assert_replayed(monitor, race_log.predictions, known, [*instants[::4], race_days[-1] + timedelta(days=800)])
