"""Accuracy as of each race day equals a straight recomputation from the outcomes known by then."""

import random
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import attrs
import pytest

pytestmark = pytest.mark.seasons

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


def corrections_of(race_log, count, seed):
    """Random corrections, some of them of the same prediction, up to two years late; each changes the label it meets.

    They come in no order.
    """
    generator = random.Random(seed)
    chosen = []
    for number in range(count):
        prediction_id, _, known_at = generator.choice(race_log.outcomes)
        late = timedelta(seconds=generator.randrange(1, 2 * 365 * 86_400), microseconds=number)
        chosen.append((known_at + late, prediction_id))
    current = {prediction_id: actual for prediction_id, actual, _ in race_log.outcomes}
    corrections = []
    for known_at, prediction_id in sorted(chosen):
        current[prediction_id] = 1 - current[prediction_id]
        corrections.append((prediction_id, current[prediction_id], known_at))
    generator.shuffle(corrections)
    return corrections


@attrs.frozen
class Replay:
    """What was known on each race day, computed once for all backends.

    Attributes:
        corrections: Outcomes that came after those of the log.
        before, after: `(instant, (correct, labelled, made))`, without and with the corrections.
    """

    corrections: list
    before: list
    after: list


@pytest.fixture(scope="session")
def replay(race_log):
    """Every race day of the log, the instant before the first, and a day when every correction has come."""
    days = sorted({known_at for _, _, known_at in race_log.outcomes})
    instants = [days[0] - MICROSECOND, *days, days[-1] + timedelta(days=800)]
    corrections = corrections_of(race_log, 1_000, seed=2026)

    def replayed(outcomes):
        in_order = sorted(outcomes, key=lambda one: one[2])
        return [(instant, accuracy_as_of(race_log.predictions, in_order, instant)) for instant in instants]

    return Replay(corrections, replayed(race_log.outcomes), replayed([*race_log.outcomes, *corrections]))


def assert_replayed(monitor, expected):
    for instant, (correct, labelled, made) in expected:
        accuracy = monitor.performance(as_of=instant, metrics=["accuracy"]).accuracy
        assert (accuracy.labelled, accuracy.total) == (labelled, made), instant
        assert accuracy.value == (correct / labelled if labelled else None), instant


def test_every_correction_changes_the_label_it_meets(race_log, replay):
    histories = {prediction_id: [(known_at, actual)] for prediction_id, actual, known_at in race_log.outcomes}
    for prediction_id, actual, known_at in replay.corrections:
        histories[prediction_id].append((known_at, actual))
    labels = [[actual for _, actual in sorted(history)] for history in histories.values()]
    changes = sum(before != after for one in labels for before, after in pairwise(one))
    assert changes == len(replay.corrections) == 1_000
    assert max(Counter(prediction_id for prediction_id, *_ in replay.corrections).values()) > 1
    assert replay.before[-1] != replay.after[-1]


def test_each_race_day_is_replayed_also_after_a_thousand_corrections(race_log, replay, monitor):
    # Each answer reads all there is: the plainest stores are asked about every fourth race day, the others about half.
    step = 4 if monitor.storage.address.startswith(("memory", "mysql")) else 2
    monitor.record_predictions(race_log.predictions)
    monitor.record_outcomes(race_log.outcomes)
    assert_replayed(monitor, replay.before[::step])
    monitor.record_outcomes(replay.corrections)
    assert_replayed(monitor, replay.after[::step])
