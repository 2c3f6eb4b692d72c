"""Processes that a law starts are waited for as long as they come on, and no longer."""

import time

import pytest

from f1mon_core.testing import Location, SharedClock, races
from f1mon_core.testing.facts import NOON
from f1mon_core.testing.location import Place
from f1mon_core.testing.races import CrewFailed, crew

pytestmark = pytest.mark.races


@pytest.fixture
def place(tmp_path):
    return Place(Location("memory"), "sync", SharedClock.made(tmp_path / "clock", NOON))


def test_a_crew_that_keeps_meeting_may_take_longer_than_patience_lasts(place, monkeypatch):
    monkeypatch.setattr(races, "PATIENCE", 2.0)

    def work(member):
        for _ in range(5):
            time.sleep(0.6)
            member.barrier.wait()
        return member.number

    assert crew(place, 2, work) == [0, 1]


@pytest.mark.parametrize("meetings", [0, 3])
def test_a_crew_that_no_longer_meets_is_killed_when_patience_ends(place, monkeypatch, meetings):
    monkeypatch.setattr(races, "PATIENCE", 1.0)

    def work(member):
        for _ in range(meetings):
            member.barrier.wait()
        time.sleep(600)

    with pytest.raises(CrewFailed, match="did not come home"):
        crew(place, 2, work)
