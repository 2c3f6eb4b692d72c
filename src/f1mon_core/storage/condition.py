"""What a store that was opened knows of itself: what is damaged in it, and that it may only be read."""

from __future__ import annotations

import logging

import attrs

from f1mon_core.storage.async_contract import AsyncStorage
from f1mon_core.storage.contract import Storage


@attrs.frozen
class Damage:
    """What cannot be read of a store any more.

    Attributes:
        pieces: How many lines, gaps and files of lines set aside there are.
        where: Where the first of them is.
        reason: What is wrong with it.
    """

    pieces: int
    where: str
    reason: str

    def __str__(self) -> str:
        more = f", and {self.pieces - 1} more" if self.pieces > 1 else ""
        return f"damaged: {self.where}: {self.reason}{more}"


def damage_of(storage: Storage | AsyncStorage) -> Damage | None:
    """What a store knows to be damaged in it; None if nothing is, or if it cannot say without reading itself whole.

    A backend that can has an attribute `damage` of this type, and warns by `DamagedStoreWarning` at each answer.
    """
    found: Damage | None = getattr(storage, "damage", None)
    return found


# Only to be read ----------------------------------------------------------------------------------------------------

_log = logging.getLogger("f1mon.backends")


def why_only_read(storage: Storage | AsyncStorage) -> str | None:
    """Why a store that is open may only be read by this process, as far as it knows; None if it may be written.

    A backend that can tell has an attribute `read_only` with the reason, and says so once, when it is opened.
    """
    found: str | None = getattr(storage, "read_only", None)
    return found


def say_read_only(address: str, why: str | None) -> None:
    """Say in the log that a store may only be read; nothing without a reason."""
    if why is not None:
        _log.warning("%s may only be read: %s; what is asked is answered, and a write is refused", address, why)
