"""Every backend that is installed, filled with the same facts."""

import csv
import json
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import attrs
import pytest

from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Prediction

from ..servers import FRESH, families

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def clock():
    """The one present of these tests."""
    return NOW


@attrs.frozen
class RaceLog:
    """The Formula 1 log: who a model expected on the podium, and who stood there.

    Attributes:
        predictions: As they were made.
        outcomes: `(prediction_id, actual, known_at)`.
    """

    predictions: list[Prediction]
    outcomes: list[tuple[str, int, datetime]]

    def seasons(self):
        """The first instant of each season and of the one after."""
        years = sorted({one.at.year for one in self.predictions})
        return [(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)) for year in years]

    def models(self):
        """The model versions."""
        return sorted({one.model_version for one in self.predictions})


@pytest.fixture(scope="session")
def race_log(shared_data):
    """The real log."""
    with (shared_data / "legacy" / "predictions.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    predictions = [Prediction(at=datetime.fromtimestamp(row.pop("timestamp"), UTC), **row) for row in rows]
    with (shared_data / "f1_outcomes.csv").open(newline="") as lines:
        outcomes = [
            (row["prediction_id"], int(row["actual_outcome"]), datetime.fromtimestamp(float(row["known_at"]), UTC))
            for row in csv.DictReader(lines)
        ]
    return RaceLog(predictions, outcomes)


BACKENDS = ["memory", "jsonl", *families()]


@contextmanager
def opened(name, directory):
    """An empty store of a backend."""
    with ExitStack() as places:
        if name == "jsonl":
            monitor = Monitor.open("jsonl", path=directory / "journal", clock=clock)
        elif name in FRESH:
            monitor = Monitor.open("sql", url=places.enter_context(FRESH[name]()), clock=clock)
        else:
            monitor = Monitor.open(name, clock=clock)
        with monitor:
            yield monitor


@pytest.fixture(params=BACKENDS)
def monitor(request, tmp_path):
    """An empty store of each backend."""
    with opened(request.param, tmp_path) as monitor:
        yield monitor


@pytest.fixture(scope="module", params=BACKENDS)
def log_monitor(request, tmp_path_factory, race_log):
    """Each backend with the whole Formula 1 log."""
    with opened(request.param, tmp_path_factory.mktemp("log")) as monitor:
        monitor.record_predictions(race_log.predictions)
        monitor.record_outcomes(race_log.outcomes)
        yield monitor


@pytest.fixture(scope="session")
def memory_monitor(race_log):
    """The plainest store with the whole log, with which the others are compared."""
    with Monitor.open("memory", clock=clock) as monitor:
        monitor.record_predictions(race_log.predictions)
        monitor.record_outcomes(race_log.outcomes)
        yield monitor
