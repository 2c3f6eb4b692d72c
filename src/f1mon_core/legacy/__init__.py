"""Drop-in for code of the file-based system: the same classes, methods and return shapes, on any backend.

Change the imports; the rest of such code stays. The backend comes from the environment (see `docs/migrating.md`), and
the old files in `data_dir` are adopted once and left unchanged.
"""

from f1mon_core.legacy.adoption import Account, FileAccount, SetAside, adopt
from f1mon_core.legacy.alerting import AlertingSystem
from f1mon_core.legacy.database import DatabaseManager
from f1mon_core.legacy.records import Alert, AlertRule, ModelHealthSnapshot, PerformanceMetric, PredictionRecord
from f1mon_core.legacy.tracking import ModelPerformanceTracker

__all__ = [
    "Account",
    "Alert",
    "AlertRule",
    "AlertingSystem",
    "DatabaseManager",
    "FileAccount",
    "ModelHealthSnapshot",
    "ModelPerformanceTracker",
    "PerformanceMetric",
    "PredictionRecord",
    "SetAside",
    "adopt",
]
