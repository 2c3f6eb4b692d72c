"""Telling people: from the outbox to the channels."""

from f1mon_core.delivery.attempts import Enrich, Outcome, Policy, attempt
from f1mon_core.delivery.report import DeliveryReport, Pending, dead, pending, retry_dead
from f1mon_core.delivery.worker import CLOSING_SECONDS, THOROUGH_EVERY, AsyncDispatcher, Dispatcher, beside, due, serve

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
