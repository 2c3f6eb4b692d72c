"""What users hold: `Monitor` and `AsyncMonitor`."""

from f1mon_core.monitor._async.monitor import AsyncMonitor
from f1mon_core.monitor._sync.monitor import Monitor

__all__ = ["AsyncMonitor", "Monitor"]
