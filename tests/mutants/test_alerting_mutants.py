"""Each law of alerting and delivery with a mutant that breaks it: the law's own test must fail."""

from pathlib import Path

import pytest

from f1mon_core import text as printing
from f1mon_core.alerts import cooldown, outbox, rule_edits, verdict, watch
from f1mon_core.alerts import incident as incidents
from f1mon_core.alerts.incident import _Turn
from f1mon_core.alerts.inhibition import Inhibitors
from f1mon_core.alerts.verdict import Verdict
from f1mon_core.delivery import attempts, groups, messages, rests, turns, worker
from f1mon_core.delivery.attempts import Policy
from f1mon_core.delivery.channels import email as mails
from f1mon_core.delivery.channels import slack, webhook
from f1mon_core.monitor import Monitor
from f1mon_core.storage.change import Change

TESTS = Path(__file__).parents[1]
OPTIONS = ("-q", "-p", "no:cacheprovider")


def moves_last_fired(turn, incident, severity, reason, _original=_Turn._suppress):
    _original(turn, incident, severity, reason)
    turn.watch.last_fired = turn.micros


def missing_is_good(rule, reading, _original=incidents.judged):
    verdict = _original(rule, reading)
    return Verdict("good", None, "") if verdict.kind == "no data" else verdict


def stepped_back_since_it_fired(rule, watch, now):
    return watch.last_fired is not None and watch.last_fired - now >= rule.cooldown


def complete_for_anyone(_token, details=None, _original=outbox.complete):
    return lambda document, now: _original(document["token"], details)(document, now)


def lease_for_everyone(token, duration, _original=outbox.lease):
    def step(document, now):
        return _original(token, duration)({**document, "due": 0}, now)

    return step


def hasten_what_nobody_holds(_original=outbox.hasten):
    return lambda document, now: Change(document) if "token" in document else _original()(document, now)


def waiting_without_a_hold(*given, _original=outbox.waiting, **said):
    return {key: {**document, "holds": []} for key, document in _original(*given, **said).items()}


def never_rests(_channel, _duration):
    return rests.OPEN
    yield  # a plan


def nobody_inhibits(*_):
    return None
    yield  # a plan


def never_ended(document, _alert):
    return document.get("end")
    yield  # a plan


def claimed_by_everybody(_token, _duration):
    return lambda document, _now: Change(document, result=True)


def always_in_turn(_held, _alert):
    return None
    yield  # a plan


def begins_nothing(asked, _original=incidents.evaluation):
    def step(document, now):
        begun = {"v": watch.DOCUMENT_VERSION} if document is None else document
        return _original(asked)(begun, now)

    return step


def forgets_the_outbox(turn, _original=_Turn.change):
    change = _original(turn)
    return Change(change.state, change.facts, {}, change.result)


def holds_nothing(watch, _original=watch.written):
    return {name: value for name, value in _original(watch).items() if name != "holds"}


MUTANTS = {
    "the cooldown is measured by the signed difference": (
        [(cooldown, "elapsed", lambda since, now: now - since), (cooldown, "stepped_back", lambda *_: False)],
        "alerts/test_clock.py::test_a_step_back_by_the_cooldown_or_more_fires_once_and_is_marked",
    ),
    "a step back is not noticed": (
        [(cooldown, "stepped_back", lambda *_: False)],
        "alerts/test_clock.py::test_a_step_back_by_the_cooldown_or_more_fires_once_and_is_marked",
    ),
    "a step back is never noticed": (
        [(cooldown, "stepped_back", lambda *_: False)],
        "alerts/test_clock.py::test_after_one_step_back_silence_lasts_at_most_twice_the_cooldown",
    ),
    "a step back is measured from when it fired": (
        [(cooldown, "stepped_back", stepped_back_since_it_fired)],
        "alerts/test_clock.py::test_after_one_step_back_silence_lasts_at_most_twice_the_cooldown",
    ),
    "suppression moves last_fired": (
        [(_Turn, "_suppress", moves_last_fired)],
        "alerts/test_incidents.py::test_a_breach_is_one_alert_until_its_cooldown_ends",
    ),
    "nothing is suppressed": (
        [(cooldown, "suppressed", lambda *_: False)],
        "alerts/test_incidents.py::test_the_cooldown_outlives_the_incident",
    ),
    "everything is suppressed": (
        [(cooldown, "suppressed", lambda _, watch, *__: watch.last_fired is not None)],
        "alerts/test_incidents.py::test_a_higher_severity_breaks_through_once_and_a_lower_one_never",
    ),
    "missing data resolves": (
        [(incidents, "judged", missing_is_good)],
        "alerts/test_incidents.py::test_missing_data_never_fires_and_never_resolves",
    ),
    "an incident holds no alerts": (
        [(incidents, "written", holds_nothing)],
        "alerts/test_incidents.py::test_an_open_incident_holds_its_alerts_against_pruning",
    ),
    "NaN is compared": (
        [(verdict.math, "isnan", lambda _: False), (verdict.math, "isinf", lambda _: False)],
        "alerts/test_rules.py::test_what_is_no_data_is_never_compared",
    ),
    "an alert without its deliveries": (
        [(_Turn, "change", forgets_the_outbox)],
        "delivery/test_delivery.py::test_an_alert_reaches_each_of_its_channels_once",
    ),
    "a lease that was lost completes": (
        [(outbox, "complete", complete_for_anyone)],
        "delivery/test_delivery.py::test_a_lease_belongs_to_one_worker_and_ends",
    ),
    "a lease for everyone": (
        [(outbox, "lease", lease_for_everyone)],
        "delivery/test_delivery.py::test_a_lease_belongs_to_one_worker_and_ends",
    ),
    "Retry-After is not heard": (
        [(Policy, "wait", lambda policy, _failures, _after=None: policy.base)],
        "delivery/test_delivery.py::test_what_the_other_side_asks_to_wait_is_waited",
    ),
    "a 404 is repeated": (
        [(webhook, "_FIRST_SERVER_ERROR", 400)],
        "delivery/test_channels.py::test_what_a_status_means",
    ),
    "text is shown as it came": (
        [(printing, "printable", str), (messages, "one_line", lambda text, *_: text)],
        "delivery/test_channels.py::test_a_hostile_title_arrives_harmless_by_mail",
    ),
    "a silence that is lifted passes over what is leased": (
        [(outbox, "hasten", hasten_what_nobody_holds)],
        "delivery/test_delivery.py::test_a_silence_lifted_while_a_worker_looks_at_it_holds_nothing_back",
    ),
    "an alert that waits is pruned": (
        [(outbox, "waiting", waiting_without_a_hold)],
        "delivery/test_delivery.py::test_what_was_not_delivered_holds_its_alert_against_pruning",
    ),
    "what follows an alert overtakes it": (
        [(attempts, "_unless_out_of_turn", always_in_turn)],
        "delivery/test_delivery.py::test_that_it_resolved_is_told_after_the_alert_and_never_instead",
    ),
    "a channel never rests": (
        [(rests, "admission", never_rests)],
        "delivery/test_poison.py::test_forty_alerts_and_a_server_that_asks_to_wait",
    ),
    "the urgent do not come first": (
        [(turns, "_rank", lambda _: 0)],
        "delivery/test_poison.py::test_the_order_of_turns",
    ),
    "what failed is tried before what is fresh": (
        [(worker, "is_first", lambda _: True)],
        "delivery/test_poison.py::test_more_poison_than_any_round_repeats_keeps_no_other_from_being_sent",
    ),
    "who has a mail already gets it again": (
        [(outbox, "told", lambda _: [])],
        "delivery/test_mail_servers.py::test_who_is_put_off_is_tried_again_and_nobody_else",
    ),
    "what is said to QUIT counts": (
        [(mails, "_leave", lambda server: server.quit() and server.docmd("NOOP"))],
        "delivery/test_mail_servers.py::test_what_is_said_to_quit_does_not_matter",
    ),
    "an edit ends in silence": (
        [(rule_edits, "ending", lambda *_: {})],
        "delivery/test_ends.py::test_whoever_was_told_is_told_that_an_edit_ended_it",
    ),
    "an instance fires at the first look": (
        [(incidents, "evaluation", begins_nothing)],
        "alerts/test_incidents.py::test_no_instance_is_evaluated_under_a_rule_after_its_edit",
    ),
    "a new revision reaches no instance": (
        [(rule_edits, "revising", lambda *_: lambda document, _now: Change(document))],
        "alerts/test_incidents.py::test_an_instance_that_fires_while_its_rule_is_edited_is_closed_by_the_edit",
    ),
    "the secrets in others' errors are kept": (
        [(attempts, "discreet", str)],
        "delivery/test_channels.py::test_what_a_channel_of_others_raises_is_kept_without_its_secrets",
    ),
    "a webhook's fields are sent as they came": (
        [(messages, "_harmless", lambda value: value)],
        "delivery/test_channels.py::test_a_webhook_receives_nothing_hostile",
    ),
    "nothing is delivered after an evaluation": (
        [(Monitor, "_deliver_due", lambda _: None)],
        "delivery/test_delivery.py::test_whoever_has_no_worker_is_told_everything_at_the_next_evaluation",
    ),
    "a group is told of by whoever looks": (
        [(groups, "_claiming", claimed_by_everybody)],
        "delivery/test_storms.py::test_the_first_waits_for_others_and_the_next_message_for_its_interval",
    ),
    "nothing inhibits": (
        [(Inhibitors, "of_rule", nobody_inhibits)],
        "delivery/test_storms.py::test_what_is_inhibited_is_kept_and_told_once_it_is_released",
    ),
    "what has ended is repeated as if it went on": (
        [(attempts, "end_of", never_ended)],
        "delivery/test_told_the_end.py::test_what_is_told_again_after_the_end_says_that_it_has_ended",
    ),
    "Slack marks go through": (
        [(slack, "slack_text", str)],
        "delivery/test_channels.py::test_slack_receives_text_that_addresses_nobody",
    ),
}


class Quiet:
    """Counts failures, and keeps the inner run out of the outer one's report."""

    failed = 0

    def pytest_runtest_logreport(self, report):
        self.failed += report.failed


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name, monkeypatch, capsys):
    planted, law = MUTANTS[name]
    for owner, attribute, mutant in planted:
        monkeypatch.setattr(owner, attribute, mutant)
    counter = Quiet()
    pytest.main([*OPTIONS, str(TESTS / law)], plugins=[counter])
    capsys.readouterr()
    assert counter.failed, f"{law} does not notice that {name}"


def test_the_laws_hold_without_a_mutant(capsys):
    counter = Quiet()
    laws = sorted({str(TESTS / law) for _, law in MUTANTS.values()})
    code = pytest.main([*OPTIONS, *laws], plugins=[counter])
    capsys.readouterr()
    assert (code, counter.failed) == (0, 0)
