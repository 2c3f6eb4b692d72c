"""What a channel is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from f1mon_core.delivery.messages import Message


@runtime_checkable
class Channel(Protocol):
    """Something that can be told of an alert."""

    def send(self, message: Message) -> None:
        """Deliver one message; called on a worker's thread, never inside a transaction.

        It may come more than once: `message.key` says which are the same. Whatever it raises is a failed attempt that
        is repeated, except a `DeliveryError` with `retry=False`.
        """
        ...
