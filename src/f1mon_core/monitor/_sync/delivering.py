"""Alerts on their way to people."""

from __future__ import annotations

from collections.abc import Collection
from threading import Event

from f1mon_core.delivery import heartbeat, report, waits
from f1mon_core.delivery.report import DeliveryReport, Pending
from f1mon_core.monitor._sync.running import Running
from f1mon_core.records.kinds import Delivery


class Delivering(Running):
    """What is due is sent, now or after each evaluation; and what is on its way, or came to nothing."""

    def deliver(self, patience: float | None = None) -> DeliveryReport:
        """Send what is due in the outbox through the channels, each beside the others.

        Args:
            patience: Seconds a channel is waited for; what is not done by then goes on behind. None waits for all.
        """
        if patience is not None:
            waits.check_seconds("patience", patience)
        return self._dispatcher.round(patience)

    def deliver_until(self, stop: Event, interval: float = 1.0, *, ping: str | None = None) -> None:
        """Deliver what is due, round after round, until `stop` is set: what a worker does.

        A channel that hangs is not waited for, and what goes wrong is logged.

        Args:
            stop: Set by somebody else; what is being sent then is waited for by `close`.
            interval: Seconds between the rounds.
            ping: An address that is called after a round in which the outbox could be served, at most once a minute,
                for a service that misses the call; that of F1MON_DELIVER_PING if None, and "" for none.

        Raises:
            ConfigurationError: If `ping` is no address that can be called.
            InvalidQueryError: If `stop` is no event, or `interval` no number of seconds.
        """
        waits.check_stop(stop, f"{Event.__module__}.Event()")
        waits.check_seconds("interval", interval)
        address = heartbeat.named(ping, heartbeat.AFTER_DELIVERING)
        self._dispatcher.watch(stop, interval, ping=address)

    def deliver_after_commit(self, patience: float = 2.0) -> None:
        """From now on deliver in this process, after each evaluation: for those without a worker.

        What is due then is delivered, whatever made it: the alert that just fired, reminders, the end of an incident,
        repeats of what failed, and what a silence held back. So nothing is sent while nothing is evaluated. What goes
        wrong is logged, and never the failure of an evaluation.

        Args:
            patience: Seconds whoever evaluates waits for a channel; a slower one goes on behind.
        """
        waits.check_seconds("patience", patience)
        self._patience = patience

    def deliveries(self) -> list[Pending]:
        """What is on its way to a channel, oldest first."""
        return self._run(report.pending())

    def dead_letters(self) -> list[Pending]:
        """What could not be delivered and is not tried again, oldest first, each with its reason."""
        return self._run(report.dead())

    def delivered(self, alert_ids: Collection[str]) -> list[Delivery]:
        """What reached a channel of these alerts, oldest first: when, and at which attempt."""
        return self._run(report.delivered(alert_ids))

    def retry_dead_letters(self, alert_id: str | None = None, channel: str | None = None) -> int:
        """Put dead letters back on their way: all, those of one alert, or of one channel. Returns how many."""
        return self._run(report.retry_dead(alert_id, channel))
