"""What a store that was opened knows to be damaged, so that no answer rests on it in silence."""

from __future__ import annotations

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
