"""What a channel is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from f1mon_core.delivery.messages import Message
from f1mon_core.errors import DeliveryError


@runtime_checkable
class Channel(Protocol):
    """Something that can be told of an alert."""

    def send(self, message: Message) -> None:
        """Deliver one message; called on a worker's thread, never inside a transaction.

        It may come more than once: `message.key` says which are the same. Whatever it raises is a failed attempt that
        is repeated, except a `DeliveryError` with `retry=False`.
        """
        ...


@attrs.frozen
class Reached:
    """What became of the people a message was for, by what the channel calls each of them.

    Attributes:
        told: Who has it.
        put_off: Who may get it by a later attempt, and what was said of that.
        refused: Who never will, and why.
    """

    told: Sequence[str] = ()
    put_off: Mapping[str, str] = attrs.field(factory=dict)
    refused: Mapping[str, str] = attrs.field(factory=dict)

    def expect_all(self) -> None:
        """Raise the `DeliveryError` of those who do not have it."""
        if self.put_off or self.refused:
            raise DeliveryError(self.reason(), retry=bool(self.put_off))

    def reason(self) -> str:
        """Who does not have it, and why."""
        listed = (("refused", self.refused), ("put off", self.put_off))
        return "; ".join(
            f"{state}: {', '.join(f'{who}: {why}' for who, why in people.items())}"
            for state, people in listed
            if people
        )


@runtime_checkable
class SeveralChannel(Channel, Protocol):
    """A channel that tells several people, some of whom may be reached where others are not.

    Of one of these the outbox remembers who has the message, and sends it again to the others only.
    """

    def send_to_rest(self, message: Message, settled: Collection[str]) -> Reached:
        """Deliver one message to everybody but those who are settled already; as `send`, what it raises is of all."""
        ...
