"""The Formula 1 log by constructor and grand prix: every store's cells are what pandas groups, also behind a prune."""

import csv
from datetime import UTC, datetime, timedelta

import attrs
import pandas as pd
import pytest

from f1mon_core import PrunedError
from f1mon_core.storage.tally import TallyQuery

from .conftest import BACKENDS, opened

pytestmark = pytest.mark.seasons

DAY = timedelta(days=1)
PRUNED = datetime(2021, 1, 1, tzinfo=UTC)
"""The seasons of 2014 to 2020 lie before it."""
SEGMENTS = ("constructor", "grand_prix")
COUNTED = ["model_version", "predicted", "actual"]


@pytest.fixture(scope="module")
def frame(race_log, shared_data):
    """A row for each prediction of the log, with what the race results say of its driver."""
    with (shared_data / "f1_race_results.csv").open(newline="") as lines:
        results = {(row["season"], row["round"], row["driver"]): row for row in csv.DictReader(lines)}
    actual = {prediction_id: (outcome, known_at) for prediction_id, outcome, known_at in race_log.outcomes}
    rows = []
    for made in race_log.predictions:
        _, race, driver = made.prediction_id.split("/")
        season, _, number = race.partition("-")
        result = results[season, str(int(number)), driver]
        outcome, known_at = actual.get(made.prediction_id, (None, None))
        rows.append(
            {
                "model_version": made.model_version,
                "predicted": made.predicted_outcome,
                "actual": outcome,
                "confidence": made.confidence,
                "at": made.at,
                "known_at": None if known_at is None else max(made.at, known_at),
                **{name: result[name] for name in SEGMENTS},
            }
        )
    return pd.DataFrame(rows).astype({"actual": object})


@pytest.fixture(scope="module", params=BACKENDS)
def storage(request, tmp_path_factory, race_log, frame):
    """Each store with the log and its segments."""
    with opened(request.param, tmp_path_factory.mktemp("segments")) as monitor:
        told_apart = frame[list(SEGMENTS)].to_dict("records")
        monitor.record_predictions(
            attrs.evolve(made, segments=segments)
            for made, segments in zip(race_log.predictions, told_apart, strict=True)
        )
        monitor.record_outcomes(race_log.outcomes)
        yield monitor.storage


def grouped(frame, *names):
    """(model, predicted, actual, segments) to how many there are and the sum of their confidences, by pandas."""
    groups = frame.groupby([*COUNTED, *names], dropna=False)["confidence"].agg(["count", "sum"])
    return {
        (*key[:2], None if pd.isna(key[2]) else key[2], key[3:]): (int(n), total)
        for key, n, total in groups.itertuples()
    }


def answered(storage, query):
    """The same of a store."""
    found = {}
    for key, cell in storage.tally(query).cells.items():
        group = (key.model_version, key.predicted, key.actual, key.segments)
        n, total = found.get(group, (0, 0.0))
        middle = (2 * key.bin + 1) / (2 * query.bins)
        found[group] = (n + cell.n, total + cell.n * middle + cell.total)
    return found


def assert_grouped(storage, frame, query):
    """A store counts what pandas counts, and its sums are pandas'."""
    expected = grouped(frame, *query.by)
    found = answered(storage, query)
    assert {group: n for group, (n, _) in found.items()} == {group: n for group, (n, _) in expected.items()}
    for group, (_, total) in expected.items():
        assert found[group][1] == pytest.approx(total, rel=1e-12, abs=1e-12), group


def assert_grouped_by_one_name(storage, frame):
    for name in SEGMENTS:
        assert_grouped(storage, frame, TallyQuery(by=(name,)))
        assert_grouped(storage, frame[frame["known_at"].notna()], TallyQuery(by=(name,), basis="outcome"))
    since = datetime(2019, 1, 1, tzinfo=UTC)
    assert_grouped(storage, frame[frame["at"] >= since], TallyQuery(by=("constructor",), since=since))
    for value in ("ferrari", "williams"):
        chosen = frame[frame["constructor"] == value]
        assert_grouped(storage, chosen, TallyQuery(where={"constructor": value}))
        assert_grouped(storage, chosen, TallyQuery(where={"constructor": [value]}, until=PRUNED + 3650 * DAY))


def test_segments_are_what_pandas_groups_before_and_after_the_old_seasons_are_pruned(storage, frame):
    assert len(frame["constructor"].unique()) > 10
    assert_grouped(storage, frame, TallyQuery(by=SEGMENTS))
    assert_grouped_by_one_name(storage, frame)

    gone = storage.prune(PRUNED).removed
    assert gone["prediction"] == int((frame["at"] < PRUNED).sum())
    assert_grouped_by_one_name(storage, frame)
    assert_grouped(storage, frame[frame["at"] >= PRUNED], TallyQuery(by=SEGMENTS, since=PRUNED))
    with pytest.raises(PrunedError, match="constructor with grand_prix"):
        storage.tally(TallyQuery(by=SEGMENTS))
