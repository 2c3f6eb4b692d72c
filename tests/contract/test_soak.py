"""The same laws for hours: random sequences without end, and as many kills as a year brings."""

import pytest

from f1mon_core.testing import run_law

from . import test_backends as colours
from .test_backends import JSONL, SQL, MariaDB, Memory, PostgreSQL

STORES = {"memory": Memory, "jsonl": JSONL, "sqlite": SQL}

ASYNCHRONOUS = {
    "aiosqlite": colours.TestAiosqlite,
    "postgresql": pytest.param(colours.TestPostgreSQLAsync, marks=pytest.mark.servers),
    "mariadb": pytest.param(colours.TestMariaDBAsync, marks=pytest.mark.servers),
}

SHARED = {
    "jsonl": JSONL,
    "sqlite": SQL,
    "postgresql": pytest.param(PostgreSQL, marks=pytest.mark.servers),
    "mariadb": pytest.param(MariaDB, marks=pytest.mark.servers),
}


@pytest.mark.soak
@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_twenty_thousand_sequences_of_verbs_agree_with_the_model(store):
    law = "any_sequence_of_verbs_agrees_with_the_model"
    verdict = run_law(store().location, law, sequences=20_000, steps=50, derandomize=False)
    assert verdict.status == "pass", verdict.trace


@pytest.mark.soak
@pytest.mark.parametrize("store", SHARED.values(), ids=SHARED)
def test_five_hundred_killed_evaluators_never_fire_twice(store):
    law = "killed_evaluators_never_fire_twice_in_a_cooldown_nor_leave_half_a_claim"
    verdict = run_law(store().location, law, kills=500)
    assert verdict.status == "pass", verdict.trace


@pytest.mark.soak
@pytest.mark.parametrize("store", SHARED.values(), ids=SHARED)
def test_eight_processes_meet_at_a_thousand_items(store):
    law = "two_models_an_outcome_its_correction_and_a_contradiction_meet_at_one_item"
    verdict = run_law(store().location, law, items=1_000)
    assert verdict.status == "pass", verdict.trace


@pytest.mark.soak
@pytest.mark.parametrize("store", ASYNCHRONOUS.values(), ids=ASYNCHRONOUS)
@pytest.mark.parametrize(
    ("law", "size"),
    [
        ("processes_that_evaluate_one_rule_fire_once_in_each_cooldown", {"windows": 1_000}),
        ("processes_that_evaluate_rules_that_never_fired_fire_each_once", {"fresh_rules": 200}),
    ],
    ids=["a thousand cooldowns", "two hundred rules"],
)
def test_event_loops_of_eight_processes_fire_as_often_as_threads_do(store, law, size):
    verdict = run_law(store().location, law, colour="async", **size)
    assert verdict.status == "pass", verdict.trace
