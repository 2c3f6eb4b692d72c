"""Whatever is done to the clock: a bounded silence, at most one early fire a step, and a history in order."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from f1mon_core.monitor import Monitor
from f1mon_core.storage.memory import MemoryStorage

from .. import factories

COOLDOWN = timedelta(minutes=60)
GAP = timedelta(minutes=20)
STEPS = st.one_of(
    st.timedeltas(min_value=timedelta(seconds=5), max_value=timedelta(hours=3)),
    st.timedeltas(min_value=timedelta(seconds=5), max_value=timedelta(days=365)),
    st.sampled_from([COOLDOWN, COOLDOWN - timedelta(microseconds=1), 2 * COOLDOWN - timedelta(microseconds=1)]),
)


class SteppedClock(RuleBasedStateMachine):
    """One rule, evaluated by a clock that somebody sets forward and back; `truth` is the time that really passes."""

    @initialize(
        for_minutes=st.sampled_from([0, 0, 30]),
        keep_firing=st.sampled_from([0, 30]),
        recover=st.sampled_from([None, 0.85]),
        on_no_data=st.sampled_from(["keep", "ok"]),
    )
    def begin(self, for_minutes, keep_firing, recover, on_no_data):
        self.truth = timedelta(0)
        self.offset = timedelta(0)
        self.rule = factories.rule(
            cooldown_minutes=COOLDOWN / timedelta(minutes=1),
            for_minutes=for_minutes,
            keep_firing_minutes=keep_firing,
            recover_threshold=recover,
            on_no_data=on_no_data,
        )
        self.monitor = Monitor(MemoryStorage(clock=self.now))
        self.fired = []
        self.last = None
        self.back_since = self.steps = self.early = 0
        self.unseen, self.steps_back = timedelta(0), []

    def now(self):
        return datetime(2026, 5, 1, tzinfo=UTC) + self.truth + self.offset

    def evaluate(self, value):
        alert = self.monitor.evaluate_rule(self.rule, value, "m")
        if alert is None:
            return None
        if self.last is not None and self.truth - self.last < COOLDOWN:
            self.early += 1
        self.last, self.back_since = self.truth, 0
        self.unseen, self.steps_back = timedelta(0), []
        self.fired.append(alert)
        return alert

    def stays_silent(self, value):
        """Evaluate a breach; whether nothing fired. Silence is bounded, unless the breach has to last first.

        A step is seen at the next evaluation, smaller by the time until then, so that time adds to the bound.
        """
        waiting = self.rule.for_minutes and self.phase() != "firing"
        self.unseen += sum((self.truth - at for at in self.steps_back), timedelta(0))
        self.steps_back.clear()
        if self.evaluate(value) is not None:
            return False
        if self.last is not None and not waiting:
            assert self.truth - self.last < (1 + self.back_since) * COOLDOWN + self.unseen
        return True

    def phase(self):
        document = self.monitor.storage.state("rule/").get("rule/r")
        return "inactive" if document is None else document["phase"]

    @rule(minutes=st.integers(1, GAP // timedelta(minutes=1)))
    def pass_time_in_breach(self, minutes):
        self.truth += timedelta(minutes=minutes)
        self.stays_silent(0.5)

    @rule()
    def a_breach_never_stays_silent(self):
        for _ in range(4 * (2 + self.back_since)):
            self.truth += GAP
            if not self.stays_silent(0.5):
                return
        raise AssertionError("it stayed silent")

    @rule(minutes=st.integers(1, 60))
    def pass_time_in_health(self, minutes):
        self.truth += timedelta(minutes=minutes)
        assert self.evaluate(0.9) is None

    @rule(value=st.sampled_from([None, math.nan, math.inf, -math.inf]))
    def miss_data(self, value):
        firing = self.phase() == "firing"
        assert self.evaluate(value) is None
        assert (self.phase() == "firing") is firing

    @precondition(lambda self: self.steps < 12)
    @rule(step=STEPS, forward=st.booleans())
    def set_the_clock(self, step, forward):
        self.evaluate(None)  # the step is measured from the last evaluation
        self.offset += step if forward else -step
        self.steps += 1
        if not forward:
            self.back_since += 1
            self.steps_back.append(self.truth)

    @invariant()
    def at_most_one_early_fire_a_step(self):
        if hasattr(self, "monitor"):
            assert self.early <= self.steps

    @invariant()
    def history_is_in_order(self):
        if not hasattr(self, "monitor"):
            return
        incidents = {}
        for event in self.monitor.incident_history():
            incidents.setdefault(event.incident_id, []).append(event)
        for events in incidents.values():
            names = [event.event for event in events]
            assert names[0] == "pending"
            if "resolved" in names:
                assert names.index("firing") < names.index("resolved") == len(names) - 1
            if "cleared" in names:
                assert names == ["pending", "cleared"]
        assert len({alert.alert_id for alert in self.fired}) == len(self.fired) == len(self.monitor.alerts())

    def teardown(self):
        if hasattr(self, "monitor"):
            self.monitor.close()


TestSteppedClock = SteppedClock.TestCase
TestSteppedClock.settings = settings(max_examples=150, stateful_step_count=40)


def breached_through(*moves):
    """Fire, then make moves of `("pass" | "set", minutes)` in breach; the truth in minutes at each later fire."""
    machine = SteppedClock()
    machine.begin(0, 0, None, "keep")
    machine.evaluate(0.5)
    fires = []
    for what, minutes in moves:
        if what == "set":
            machine.offset += timedelta(minutes=minutes)
        else:
            machine.truth += timedelta(minutes=minutes)
        if (alert := machine.evaluate(0.5)) is not None:
            fires.append((machine.truth / timedelta(minutes=1), "clock_stepped_back" in alert.context))
    machine.teardown()
    return fires


def test_the_cooldown_ends_on_its_minute():
    assert breached_through(("pass", 59.999), ("pass", 0.001)) == [(60, False)]


def test_a_small_step_back_prolongs_the_silence_by_itself():
    assert breached_through(("pass", 30), ("set", -45), ("pass", 60), ("pass", 15)) == [(105, False)]


def test_a_step_back_by_the_cooldown_or_more_fires_once_and_is_marked():
    year = 365 * 24 * 60
    assert breached_through(("pass", 30), ("set", -60), ("pass", 59)) == [(30, True)]
    assert breached_through(("pass", 59), ("set", -110), ("pass", 59), ("pass", 1)) == [(59, True), (119, False)]
    assert breached_through(("set", -year), ("pass", 59), ("set", year)) == [(0, True), (59, False)]


def silence_after(*steps):
    """Fire, then set the clock back, each time after so many minutes of breach; the minutes until it fires again."""
    machine = SteppedClock()
    machine.begin(0, 0, None, "keep")
    machine.evaluate(0.5)
    for after, back in (*steps, (60 * (2 + len(steps)), 0)):
        for _ in range(after):
            machine.truth += timedelta(minutes=1)
            if machine.evaluate(0.5) is not None:
                return machine.truth / timedelta(minutes=1)
        machine.offset -= timedelta(minutes=back)
    raise AssertionError("it stayed silent")


def test_after_one_step_back_silence_lasts_at_most_twice_the_cooldown():
    backs = (1, 30, 59, 60, 61, 89, 118, 119, 120, 180, 365 * 24 * 60)
    longest = max(silence_after((after, back)) for after in (0, 29, 59) for back in backs)
    assert 115 < longest <= 120


def test_after_two_steps_back_silence_lasts_at_most_thrice_the_cooldown():
    steps = [(after, back) for after in (0, 59) for back in (1, 59, 89, 118)]
    longest = max(silence_after(one, other) for one in steps for other in steps)
    assert 170 < longest <= 180


def test_many_small_steps_back_do_not_silence_for_longer_than_their_sum():
    assert breached_through(*[("set", -30), ("pass", 30)] * 4, ("pass", 60)) == [(180, False)]
