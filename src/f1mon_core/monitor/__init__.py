"""What users hold: `Monitor` and `AsyncMonitor`."""

from typing import TYPE_CHECKING

from f1mon_core import late
from f1mon_core.monitor._sync.monitor import Monitor

if TYPE_CHECKING:
    from f1mon_core.monitor._async.monitor import AsyncMonitor
else:
    __getattr__ = late.names(__name__, AsyncMonitor="f1mon_core.monitor._async.monitor")

__all__ = ["AsyncMonitor", "Monitor"]
