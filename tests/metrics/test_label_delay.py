"""Label delays against statsmodels' Kaplan-Meier estimate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics.label_delay import arrived_shares
from f1mon_core.monitor import Monitor
from f1mon_core.storage.tally import TallyQuery

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stream(labels, present):
    """A monitor of predictions at given hours, whose labels take given hours; None never comes."""
    monitor = Monitor.open("memory", clock=lambda: present)
    for i, (made, delay) in enumerate(labels):
        at = MONDAY + made * HOUR
        monitor.record_prediction(str(i), "m", 1, 0.5, at=at)
        if delay is not None and at + delay * HOUR <= present:
            monitor.record_outcome(str(i), 1, known_at=at + delay * HOUR)
    return monitor


@given(
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 20)), min_size=1, max_size=50),
    st.integers(1, 40),
)
def test_the_arrived_share_is_kaplan_and_meiers(labels, hours):
    present = MONDAY + hours * HOUR
    labels = [(made, delay) for made, delay in labels if made <= hours]
    with stream(labels, present) as monitor:
        tally = monitor.storage.tally(TallyQuery(bins=1, bucket=HOUR, delay=HOUR))
    shares = dict(arrived_shares(tally, present, HOUR))
    times, events = [], []
    for made, delay in labels:
        watched = max(0, hours - made - 1)
        came = delay is not None and delay < watched
        times.append(delay + 1 if came else watched + 0.5)  # a label of unit k is there at its end
        events.append(int(came))
    if not any(events):
        assert shares == {}
        return
    survival = SurvfuncRight(np.array(times), np.array(events))
    expected = {
        int(time) - 1: 1 - left
        for time, left, died in zip(survival.surv_times, survival.surv_prob, survival.n_events, strict=True)
        if died
    }
    assert shares == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_quantiles_and_the_suggested_horizon():
    labels = [(i % 500, float(i % 100)) for i in range(5_000)]  # delays spread evenly over 0 to 99 hours
    with stream(labels, MONDAY + 1_000 * HOUR) as monitor:
        delays = monitor.label_delay("m", quantiles=[0.25, 0.5, 1.0])
    assert delays.quantiles == {0.25: 25 * HOUR, 0.5: 50 * HOUR, 1.0: 100 * HOUR}
    assert delays.suggested_horizon == 95 * HOUR
    assert delays.expected_coverage == pytest.approx(1)
    assert delays.to_dict()["quantiles"]["0.5"] == 50 * 3600


def test_the_youngest_predictions_do_not_make_labels_look_quick():
    generator = np.random.default_rng(11)
    labels = [(float(made), float(delay)) for made, delay in generator.uniform(0, 200, (4_000, 2))]
    with stream(labels, MONDAY + 201 * HOUR) as monitor:
        delays = monitor.label_delay(quantiles=[0.5])
    seen = sorted(delay for made, delay in labels if made + delay <= 201)
    assert seen[len(seen) // 2] < 65  # what came so far has a median of 59 hours, half of it came within 100 in truth
    assert 90 * HOUR < delays.quantiles[0.5] < 110 * HOUR


def test_delays_that_cannot_be_known_say_why():
    with stream([], MONDAY) as monitor:
        assert monitor.label_delay().reason == "no predictions"
    with stream([(0, None)], MONDAY + 9 * HOUR) as monitor:
        assert monitor.label_delay().reason == "no labelled predictions"
    with stream([(0, 0)], MONDAY) as monitor:
        delays = monitor.label_delay()
        assert delays.reason.startswith("no label came to predictions old enough")
        assert (delays.suggested_horizon, delays.expected_coverage, delays.quantiles) == (None, None, {})


@pytest.mark.parametrize("share", [0, -1, 1.5, True, "0.5", float("nan")])
def test_a_quantile_that_is_none_is_refused(share):
    with Monitor.open("memory") as monitor, pytest.raises(InvalidQueryError):
        monitor.label_delay(quantiles=[share])


@pytest.mark.parametrize(
    "arguments", [{"quantiles": 0.5}, {"quantiles": None}, {"unit": "hour"}, {"unit": 5}, {"unit": timedelta.max}]
)
def test_what_is_no_quantile_or_unit_at_all_is_refused(arguments):
    with stream([(0, 0)], MONDAY + 9 * HOUR) as monitor, pytest.raises(InvalidQueryError):
        monitor.label_delay(**arguments)
