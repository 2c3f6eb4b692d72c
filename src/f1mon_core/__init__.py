"""f1mon: predictions, the outcomes that arrive late, and the alerts about them."""

import logging
from typing import TYPE_CHECKING

from f1mon_core import late
from f1mon_core._version import __version__
from f1mon_core.alerts.alerts import Acknowledged, AlertStatistics
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.silences import Silence
from f1mon_core.delivery.channels import CallbackChannel, Channel, Channels, ConsoleChannel, FileChannel
from f1mon_core.delivery.messages import Message, Section
from f1mon_core.delivery.report import DeliveryReport, Pending
from f1mon_core.errors import (
    AccessDeniedError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    ConnectTimeoutError,
    CorruptStoreError,
    DamagedStoreWarning,
    DeliveryError,
    DuplicateBackendError,
    EvaluationError,
    F1monError,
    InvalidQueryError,
    InvalidRecordError,
    LockTimeoutError,
    MissingExtraError,
    NoSpaceError,
    NotANumberError,
    NotFoundError,
    NotWritten,
    OutcomeUnknown,
    PrunedError,
    ReadOnlyError,
    RefusedError,
    RestoreError,
    SchemaError,
    StorageError,
    TooLargeError,
    UnknownBackendError,
)
from f1mon_core.metrics.data_doubts import DataDoubt
from f1mon_core.metrics.drifted import Drift, DriftTest, FeatureDrift
from f1mon_core.metrics.estimate import ScoredEstimate
from f1mon_core.metrics.label_delay import LabelDelay
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.models import ModelSummary
from f1mon_core.metrics.paired import PairedComparison
from f1mon_core.metrics.performance import Performance
from f1mon_core.metrics.references import Reference
from f1mon_core.metrics.settling import Settling
from f1mon_core.metrics.slices import Slices
from f1mon_core.metrics.tables import Grouped, Trend
from f1mon_core.metrics.trends import Comparison
from f1mon_core.monitor import Monitor
from f1mon_core.recording.lists import LabelledPrediction, LabelledPredictions, Listed, Outcomes, Predictions
from f1mon_core.records.kinds import (
    AccuracyEstimate,
    Acknowledgement,
    Alert,
    Cursor,
    DegradationAnalysis,
    Delivery,
    DriftResult,
    FeatureImportance,
    HealthSnapshot,
    IncidentEvent,
    MetricSnapshot,
    Outcome,
    Prediction,
    RuleRevision,
)
from f1mon_core.storage.registry import Backend, open_async_storage, open_storage

if TYPE_CHECKING:
    from f1mon_core.monitor import AsyncMonitor
else:
    __getattr__ = late.names(__name__, AsyncMonitor="f1mon_core.monitor")

__all__ = [
    "AccessDeniedError",
    "AccuracyEstimate",
    "Acknowledged",
    "Acknowledgement",
    "Alert",
    "AlertRule",
    "AlertStatistics",
    "AsyncMonitor",
    "Backend",
    "CallbackChannel",
    "Channel",
    "Channels",
    "ClosedError",
    "Comparison",
    "ConfigurationError",
    "ConflictError",
    "ConnectTimeoutError",
    "ConsoleChannel",
    "CorruptStoreError",
    "Cursor",
    "DamagedStoreWarning",
    "DataDoubt",
    "DegradationAnalysis",
    "Delivery",
    "DeliveryError",
    "DeliveryReport",
    "Drift",
    "DriftResult",
    "DriftTest",
    "DuplicateBackendError",
    "EvaluationError",
    "F1monError",
    "FeatureDrift",
    "FeatureImportance",
    "FileChannel",
    "Grouped",
    "HealthSnapshot",
    "IncidentEvent",
    "InvalidQueryError",
    "InvalidRecordError",
    "LabelDelay",
    "LabelledPrediction",
    "LabelledPredictions",
    "Listed",
    "LockTimeoutError",
    "Message",
    "Metric",
    "MetricSnapshot",
    "MissingExtraError",
    "ModelSummary",
    "Monitor",
    "NoSpaceError",
    "NotANumberError",
    "NotFoundError",
    "NotWritten",
    "Outcome",
    "OutcomeUnknown",
    "Outcomes",
    "PairedComparison",
    "Pending",
    "Performance",
    "Prediction",
    "Predictions",
    "PrunedError",
    "ReadOnlyError",
    "Reference",
    "RefusedError",
    "RestoreError",
    "RuleRevision",
    "SchemaError",
    "ScoredEstimate",
    "Section",
    "Settling",
    "Silence",
    "Slices",
    "StorageError",
    "TooLargeError",
    "Trend",
    "UnknownBackendError",
    "__version__",
    "open_async_storage",
    "open_storage",
]

logging.getLogger("f1mon").addHandler(logging.NullHandler())
