"""What reached a channel, asked for by alert."""

from datetime import UTC, datetime, timedelta

from f1mon_core import Monitor
from f1mon_core.delivery.channels import CallbackChannel, Channels
from f1mon_core.errors import DeliveryError


def refuse(_message):
    raise DeliveryError("no", retry=False)


def test_what_was_delivered_is_told_by_alert_and_nothing_else_is():
    now = datetime(2026, 5, 4, tzinfo=UTC)
    channels = Channels({"ears": CallbackChannel(lambda _message: None), "wall": CallbackChannel(refuse)})
    with Monitor.open("memory", channels=channels, clock=lambda: now) as monitor:
        fields = ("info", "title", "message", "accuracy", 0.5, 0.7, "people", "m")
        first, second = (monitor.create_alert(*fields, channels=["ears", "wall"]) for _ in range(2))
        assert monitor.delivered([first.alert_id]) == []
        monitor.deliver()
        (told,) = monitor.delivered([first.alert_id])
        assert (told.alert_id, told.channel, told.attempts) == (first.alert_id, "ears", 1)
        assert now <= told.at <= now + timedelta(seconds=1)
        assert len(monitor.delivered([first.alert_id, second.alert_id])) == 2
        assert monitor.delivered([]) == []


def test_any_number_of_alerts_may_be_asked_about():
    with Monitor.open("memory") as monitor:
        assert monitor.delivered(str(number) for number in range(1_201)) == []
