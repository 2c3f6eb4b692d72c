"""What users hold: `Monitor` and `AsyncMonitor`."""

from f1mon_core.monitor.monitor import (
    AsyncMonitor,
    Monitor,
)

__all__ = [
    "AsyncMonitor",
    "Monitor",
]
