"""Drift on the real log: the same from every backend, and of the years of new rules what the tests say, not more."""

from datetime import UTC, datetime, timedelta

import pytest

from .conftest import opened


def year(number):
    return datetime(number, 1, 1, tzinfo=UTC)


def against_the_year_before(monitor, model, number, **options):
    return monitor.drift(
        model, reference=(year(number - 1), year(number)), since=year(number), until=year(number + 1), **options
    )


SAID = {
    # The cars became wider: what moved is how many there are, 22 and then 20, for a team had gone.
    2017: ["field"],
    2018: [],
    2019: [],
    2020: [],
    2021: [],
    # Ground effect: the order of the teams changed, and so the form that the model is told.
    2022: ["constructor_form"],
    2023: ["constructor_form"],
    2024: [],
    2025: [],
    # New engines, and a new team: 22 cars again.
    2026: ["field"],
}


@pytest.mark.parametrize("model", ["podium-gb-2", "podium-lr-1"])
def test_the_years_of_new_rules_are_what_the_tests_say(memory_monitor, model):
    found = {number: against_the_year_before(memory_monitor, model, number) for number in SAID}
    assert {number: one.drifted for number, one in found.items()} == SAID
    assert all(list(one)[2:] == ["constructor_form", "driver_form", "field", "grid_n"] for one in found.values())
    # The stability index says what part of it a sample size explains.
    for number in (2017, 2026):
        field = found[number]["field"]
        assert field.psi > field.psi_threshold


def test_every_backend_says_the_same(log_monitor, memory_monitor):
    for options in ({}, {"features": ()}):
        found = against_the_year_before(log_monitor, "podium-gb-2", 2022, **options)
        assert found == against_the_year_before(memory_monitor, "podium-gb-2", 2022, **options)


def test_a_stored_reference_says_what_the_window_it_was_made_of_says(race_log, tmp_path):
    with opened("jsonl", tmp_path) as monitor:
        monitor.record_predictions(race_log.predictions)
        trained = [one for one in race_log.predictions if one.at.year == 2021 and one.model_version == "podium-gb-2"]
        monitor.record_reference("podium-gb-2", [one.features for one in trained])
        found = monitor.drift("podium-gb-2", reference="training", since=year(2022), until=year(2023))
        window = against_the_year_before(monitor, "podium-gb-2", 2022)
        for name, one in found.items():
            expected = window[name]
            assert (one.psi, one.distance) == pytest.approx((expected.psi, expected.distance))
            assert [test.statistic for test in one.tests] == pytest.approx([test.statistic for test in expected.tests])
        monitor.prune(year(2022) + timedelta(days=3))
        with pytest.raises(LookupError):
            monitor.drift("podium-gb-2", reference="gone", since=year(2023), until=year(2024))
        assert monitor.drift("podium-gb-2", reference="training", since=year(2023), until=year(2024)).read
