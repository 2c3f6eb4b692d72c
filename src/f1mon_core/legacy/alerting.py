"""AlertingSystem as code of the old system calls it: the cooldown and the acknowledgements live in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from f1mon_core.delivery.channels import Message
from f1mon_core.errors import NotFoundError
from f1mon_core.legacy.drop_in import DropIn
from f1mon_core.legacy.records import Alert, AlertRule, core_rule, legacy_alert, without_nan
from f1mon_core.records import kinds

_log = logging.getLogger("f1mon.legacy")

Callback = Callable[[Alert], Any]


@attrs.frozen
class _Callbacks:
    """A channel that is the functions registered under its name."""

    functions: list[Callback] = attrs.field(factory=list)

    def send(self, message: Message) -> None:
        """Call them all; then raise what the first broken one raised, so that the delivery is repeated."""
        if message.purpose == "resolved":
            return  # the old system told its callbacks of alerts only, and they would take this for another
        broken: Exception | None = None
        for function in list(self.functions):
            try:
                function(legacy_alert(message.alert, None))
            except Exception as error:  # noqa: BLE001 - one broken callback must not hold up the others
                broken = broken or error
        if broken is not None:
            raise broken


class AlertingSystem(DropIn):
    """Alert rules, alerts and their acknowledgement, under the method names of the old system."""

    def __init__(self, data_dir: Path | str = "data/monitoring", channel_config: Any = None) -> None:
        """Open the store and adopt the old files in `data_dir`; see `DropIn`.

        Args:
            data_dir: The directory; `alert_log.txt` of the channel "file" lives there too.
            channel_config: Channel name to its configuration (see `Channels`), or the old system's object with
                `email` and `slack`; None takes `ALERT_EMAIL_*` and `ALERT_SLACK_*`.
        """
        super().__init__(data_dir, _configuration(channel_config))
        self.channel_config = channel_config
        self.monitor.deliver_after_commit()
        self._callbacks: dict[str, _Callbacks] = {}

    def create_alert(
        self,
        severity: str,
        title: str,
        message: str,
        metric_name: str,
        metric_value: float,
        threshold: float,
        component: str,
        model_version: str,
    ) -> Alert:
        """Store an alert that no rule made, and call the callbacks.

        Raises:
            InvalidRecordError: If a value is refused.
        """
        made = self.monitor.create_alert(
            severity,
            title,
            message,
            metric_name,
            without_nan(metric_value, "metric_value", []),
            without_nan(threshold, "threshold", []),
            component,
            model_version,
        )
        return self._announced(made)

    def evaluate_rule(self, rule: AlertRule, metric_value: float, model_version: str) -> Alert | None:
        """Evaluate a rule against a value; the alert if it fired, of any number of processes in exactly one.

        It is delivered to the rule's channels after it is stored, at least once; one that fails is tried again with
        the next alert, or by `f1mon deliver`.

        A value that is not finite is no data, and never fires.

        Raises:
            InvalidRecordError: If the rule is refused, e.g. for an unknown comparison; the message names the field.
        """
        fired = self.monitor.evaluate_rule(core_rule(rule), metric_value, model_version)
        return None if fired is None else self._announced(fired)

    def add_rule(self, rule: AlertRule) -> None:
        """Store a rule; under an id that is stored it is an edit, which keeps the cooldown.

        Raises:
            InvalidRecordError: If the rule is refused.
        """
        self.monitor.add_rule(core_rule(rule))

    def get_alerts(self, limit: int | None = 100, severity: str | None = None) -> list[Alert]:
        """The newest alerts, newest first; None for all."""
        found = self.monitor.alerts(severity=severity, limit=limit)
        return self._with_acknowledgements(found)

    def acknowledge_alert(self, alert_id: str, acknowledged_by: str | None = None) -> bool:
        """Take an alert on; the first one does, for ever. False for an id that is not stored.

        Of several old alerts under one id, the first is meant.
        """
        try:
            self.monitor.acknowledge(alert_id, acknowledged_by)
        except NotFoundError:
            return False
        return True

    def get_alert_statistics(self) -> dict[str, Any]:
        """How many alerts are stored: total_alerts, unacknowledged, by_severity and by_component, without a cap."""
        statistics = self.monitor.alert_statistics()
        return {
            "total_alerts": statistics.total,
            "unacknowledged": statistics.unacknowledged,
            "by_severity": dict(statistics.by_severity),
            "by_component": dict(statistics.by_component),
        }

    def register_callback(self, channel: str, callback: Callback) -> None:
        """Call `callback` with every alert that this object makes, after it is stored.

        Under a name that nothing else is configured for, the callbacks are that channel: alerts of rules that name it
        are delivered to them as to any other, at least once, also those that another process made and could not
        deliver. One that raises is logged and called again later; it holds up nobody.
        """
        self._callbacks.setdefault(channel, _Callbacks()).functions.append(callback)
        try:
            self.monitor.channels.get(channel)
        except NotFoundError:
            self.monitor.channels.register(channel, self._callbacks[channel])
        except Exception:  # noqa: BLE001 - the channel's own failure is told by its deliveries
            _log.exception("channel %r cannot be made; its callbacks are called all the same", channel)

    def _announced(self, made: kinds.Alert) -> Alert:
        announced = legacy_alert(made, None)
        delivered = (made.rule or {}).get("channels")
        for channel, callbacks in self._callbacks.items():
            if isinstance(delivered, list) and channel in delivered and self._is_ours(channel):
                continue  # its delivery, which outlives this process, is what calls them
            for callback in list(callbacks.functions):
                try:
                    callback(announced)
                except Exception:  # noqa: BLE001 - one broken callback must not hold up the others
                    _log.exception("a callback of channel %r raised", channel, extra={"alert_id": made.alert_id})
        return announced

    def _is_ours(self, channel: str) -> bool:
        try:
            return self.monitor.channels.get(channel) is self._callbacks[channel]
        except Exception:  # noqa: BLE001 - a channel that cannot be made is none of ours
            return False

    def _with_acknowledgements(self, found: list[kinds.Alert]) -> list[Alert]:
        held = self.monitor.acknowledgements([one.alert_id for one in found])
        return [legacy_alert(one, held.get(one.alert_id)) for one in found]


_OLD_KEYS = {"sender_email": "from_email", "sender_password": "password"}


def _configuration(given: Any) -> Mapping[str, Any] | None:
    """A channel configuration as `Channels` takes it: what is enabled of the old system's object."""
    if given is None or isinstance(given, Mapping):
        return given
    found: dict[str, Any] = {}
    for name in ("email", "slack"):
        if (channel := getattr(given, name, None)) is not None and getattr(channel, "enabled", True):
            found[name] = {_OLD_KEYS.get(key, key): value for key, value in vars(channel).items()}
    return found
