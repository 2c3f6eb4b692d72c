"""Numbers: pure functions of the cells a store answers with."""

from f1mon_core.metrics.measurement import (
    BINNED_METRICS,
    EXACT_METRICS,
    METRIC_NAMES,
    Measurement,
    check_names,
    rebinned,
)
from f1mon_core.metrics.metric import (
    NO_ACTUAL_POSITIVES,
    NO_LABELS,
    NO_POSITIVES,
    NO_PREDICTED_POSITIVES,
    NO_PREDICTIONS,
    ONE_CLASS,
    ONE_VALUE,
    ConfusionMatrix,
    LabelMetrics,
    Metric,
    ReliabilityBin,
    check_label,
    check_labels,
)

__all__ = [
    "BINNED_METRICS",
    "EXACT_METRICS",
    "METRIC_NAMES",
    "NO_ACTUAL_POSITIVES",
    "NO_LABELS",
    "NO_POSITIVES",
    "NO_PREDICTED_POSITIVES",
    "NO_PREDICTIONS",
    "ONE_CLASS",
    "ONE_VALUE",
    "ConfusionMatrix",
    "LabelMetrics",
    "Measurement",
    "Metric",
    "ReliabilityBin",
    "check_label",
    "check_labels",
    "check_names",
    "rebinned",
]
