"""f1mon: predictions, the outcomes that arrive late, and the alerts about them."""

import logging

from f1mon_core._version import __version__
from f1mon_core.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    CorruptStoreError,
    DeliveryError,
    DuplicateBackendError,
    EvaluationError,
    F1monError,
    InvalidQueryError,
    InvalidRecordError,
    LockTimeoutError,
    MissingExtraError,
    NotANumberError,
    NotFoundError,
    NotWritten,
    OutcomeUnknown,
    PrunedError,
    SchemaError,
    StorageError,
    UnknownBackendError,
)
from f1mon_core.storage.registry import Backend, open_async_storage, open_storage

__all__ = [
    "Backend",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "CorruptStoreError",
    "DeliveryError",
    "DuplicateBackendError",
    "EvaluationError",
    "F1monError",
    "InvalidQueryError",
    "InvalidRecordError",
    "LockTimeoutError",
    "MissingExtraError",
    "NotANumberError",
    "NotFoundError",
    "NotWritten",
    "OutcomeUnknown",
    "PrunedError",
    "SchemaError",
    "StorageError",
    "UnknownBackendError",
    "__version__",
    "open_async_storage",
    "open_storage",
]

logging.getLogger("f1mon").addHandler(logging.NullHandler())
