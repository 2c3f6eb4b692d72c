"""Telling people: from the outbox to the channels."""

from f1mon_core.delivery.worker import (
    CLOSING_SECONDS,
    THOROUGH_EVERY,
    AsyncDispatcher,
    DeliveryReport,
    Dispatcher,
    Enrich,
    Outcome,
    Pending,
    Policy,
    attempt,
    beside,
    dead,
    due,
    pending,
    retry_dead,
    serve,
)

__all__ = [
    "CLOSING_SECONDS",
    "THOROUGH_EVERY",
    "AsyncDispatcher",
    "DeliveryReport",
    "Dispatcher",
    "Enrich",
    "Outcome",
    "Pending",
    "Policy",
    "attempt",
    "beside",
    "dead",
    "due",
    "pending",
    "retry_dead",
    "serve",
]
