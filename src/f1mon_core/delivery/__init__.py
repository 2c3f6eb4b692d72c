"""Telling people: from the outbox to the channels."""

from typing import TYPE_CHECKING

from f1mon_core import late
from f1mon_core.delivery.attempts import Enrich, Outcome, Policy, attempt
from f1mon_core.delivery.report import DeliveryReport, Pending, dead, pending, retry_dead
from f1mon_core.delivery.worker import CLOSING_SECONDS, THOROUGH_EVERY, Dispatcher, beside, due, serve

if TYPE_CHECKING:
    from f1mon_core.delivery.tasks import AsyncDispatcher
else:
    __getattr__ = late.names(__name__, AsyncDispatcher="f1mon_core.delivery.tasks")

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
