"""The old name of `f1mon_core.delivery.heartbeat`, which a monitor needs too; until 1.0."""

from f1mon_core.delivery.heartbeat import _PAUSE_SECONDS, TIMEOUT_SECONDS, TRIES, checked, ping

__all__ = ["TIMEOUT_SECONDS", "TRIES", "_PAUSE_SECONDS", "checked", "ping"]
