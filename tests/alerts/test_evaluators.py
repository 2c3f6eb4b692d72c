"""Evaluators that race and are killed: the engine of rules under the laws that the kit holds its own small step to."""

from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

from f1mon_core.alerts import evaluate_rule, watch
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.storage import plans
from f1mon_core.testing import Location, run_law
from f1mon_core.testing.engine import Engine

from ..servers import FRESH, families


class RulesAndIncidents(Engine):
    """A breach under a rule with a cooldown of one hour, and one channel."""

    def key(self, rule_id):
        return watch.rule_key(rule_id)

    def fires(self, store, rule_id):
        rule = AlertRule(rule_id, "accuracy", "threshold", 0.7, "<", "critical", "model", cooldown_minutes=60)
        return plans.run(evaluate_rule.evaluate_rule(rule, 0.5, "podium-1"), store) is not None

    def last_fired(self, store, rule_id):
        return watch.read(store.state(self.key(rule_id))[self.key(rule_id)]).last_fired


def location(backend):
    @contextmanager
    def fresh():
        if backend == "jsonl":
            with TemporaryDirectory(prefix="f1mon-jsonl-") as directory:
                yield Location("jsonl", path=f"{directory}/store")
        else:
            with FRESH[backend]() as url:
                yield Location("sql", url=url)

    return fresh


LAWS = {
    "processes_that_evaluate_one_rule_fire_once_in_each_cooldown": pytest.mark.races,
    "processes_that_evaluate_rules_that_never_fired_fire_each_once": pytest.mark.races,
    "claimers_blocked_for_longer_than_the_cooldown_fire_once": pytest.mark.races,
    "killed_evaluators_never_fire_twice_in_a_cooldown_nor_leave_half_a_claim": pytest.mark.faults,
}


@pytest.mark.parametrize("backend", ["jsonl", *families()])
@pytest.mark.parametrize("law", [pytest.param(law, marks=mark) for law, mark in LAWS.items()])
def test_evaluators_keep_the_laws_of_the_kit(backend, law):
    verdict = run_law(location(backend), law, engine=RulesAndIncidents())
    assert verdict.status == "pass", verdict.trace
