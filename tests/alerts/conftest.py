"""A monitor on a clock set by hand, and the rule that most stories are about."""

from datetime import UTC, datetime, timedelta

import pytest

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.delivery.channels import Channels
from f1mon_core.monitor import Monitor
from f1mon_core.storage.memory import MemoryStorage


class Hands:
    """A clock set by hand."""

    def __init__(self):
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, minutes):
        self.now += timedelta(minutes=minutes)


class Recorder:
    """A channel that keeps what it was sent, or raises what it was told to."""

    def __init__(self, error=None):
        self.messages = []
        self.error = error

    def send(self, message):
        self.messages.append(message)
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def channels(tmp_path):
    return Channels(directory=tmp_path, environ={})


@pytest.fixture
def monitor(clock, channels):
    with Monitor(MemoryStorage(clock=clock), channels=channels) as opened:
        yield opened


@pytest.fixture
def accuracy_low():
    return AlertRule("accuracy-low", "accuracy", "threshold", 0.8, "<", "warning", "performance", channels=("spy",))


@pytest.fixture
def spy(channels):
    made = Recorder()
    channels.register("spy", made)
    return made
