"""What core itself wrote into a state document, read back with its type."""

from __future__ import annotations

from f1mon_core.errors import CorruptStoreError, shown
from f1mon_core.records.fields import Document


def text_of(document: Document, name: str) -> str:
    """A text of a document. Raises `CorruptStoreError` if there is none of that name."""
    if isinstance(value := document.get(name), str):
        return value
    raise CorruptStoreError(f"a state document has no text under {name!r}, but {shown(value)}")


def whole_of(document: Document, name: str) -> int:
    """A whole number of a document. Raises `CorruptStoreError` if there is none of that name."""
    if isinstance(value := document.get(name), int):
        return value
    raise CorruptStoreError(f"a state document has no whole number under {name!r}, but {shown(value)}")
