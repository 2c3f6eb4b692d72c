"""What a transition decides: `Change`, its documents, and the keys of state, built, read and checked here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import attrs

from f1mon_core.errors import InvalidQueryError, InvalidRecordError, shown
from f1mon_core.records import fields, json_text
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.storage.select import check_limit
from f1mon_core.storage.tally import check_instant

MAX_STATE_KEY_CHARACTERS = 700
MAX_STATE_KEY_BYTES = 2640
"""Of UTF-8; PostgreSQL takes 2,704 into an index, its own included. No key that f1mon makes itself comes near it."""

_CUT = "~"
_HEX = frozenset("0123456789abcdef")
_UNCUT_CHARACTERS = MAX_STATE_KEY_CHARACTERS - len(_CUT) - 64
"""What an overlong key keeps of its beginning, before the digest."""


@attrs.frozen
class Change:
    """What a `step` decides; committed as one.

    Attributes:
        state: The document to store; None deletes it.
        facts: Facts to append, under the laws of `append`.
        also: Other documents, stored only where their key is absent.
        result: What `transition` returns, and returns again when the operation id is repeated. JSON.
    """

    state: Document | None
    facts: Sequence[Fact] = ()
    also: Mapping[str, Document] = attrs.field(factory=dict)
    result: Json = None


Step: TypeAlias = Callable[[Document | None, datetime], Change]
"""A pure function of the stored document (a copy, None if absent) and the instant; it may be called again."""


def state_key(*parts: str) -> str:
    """A state key of parts that may hold any character: `/` and `%` are escaped, an overlong key ends in a digest.

    No two lists of parts have one key: what would look as if it had been cut is cut too.
    """
    key = _joined(parts)
    if len(key) <= MAX_STATE_KEY_CHARACTERS and _bytes(key) <= MAX_STATE_KEY_BYTES and not _is_cut(key):
        return key
    return key[:_UNCUT_CHARACTERS] + _CUT + hashlib.sha256(key.encode()).hexdigest()


def state_prefix(*parts: str) -> str:
    """What every key of these parts and at least one more begins with.

    It ends where overlong keys are cut, and then keys of other parts may begin with it too: `key_parts` tells them
    apart as far as a key goes, beyond that only what stands in the document does.
    """
    return (_joined(parts) + "/")[:_UNCUT_CHARACTERS]


def key_parts(key: str) -> tuple[str, ...]:
    """The parts that a key was made of; of one that was cut, those that stand in it whole."""
    parts = key[:_UNCUT_CHARACTERS].split("/")[:-1] if _is_cut(key) else key.split("/")
    return tuple(part.replace("%2F", "/").replace("%25", "%") for part in parts)


def _joined(parts: Sequence[str]) -> str:
    for part in parts:
        if not isinstance(part, str):
            raise InvalidQueryError(f"what names a document must be a str, got {shown(part)}")
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _bytes(key: str) -> int:
    return len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))


def _is_cut(key: str) -> bool:
    """Whether a key ends as one that was too long does."""
    return (
        len(key) == MAX_STATE_KEY_CHARACTERS
        and key[_UNCUT_CHARACTERS] == _CUT
        and _HEX.issuperset(key[_UNCUT_CHARACTERS + 1 :])
    )


def check_state_key(key: Any, *, prefix: bool = False) -> str:
    """Refuse what no state key (or prefix of one) can be. Raises `InvalidQueryError`."""
    if not isinstance(key, str) or len(key) > MAX_STATE_KEY_CHARACTERS or (not key and not prefix):
        raise InvalidQueryError(f"a state key is a str of 1 to {MAX_STATE_KEY_CHARACTERS} characters, got {shown(key)}")
    if "\0" in key or not key.isascii():
        if "\0" in key:
            raise InvalidQueryError("a state key must not hold a NUL character")
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            raise InvalidQueryError("a state key must not hold a lone surrogate") from None
        if size > MAX_STATE_KEY_BYTES:
            raise InvalidQueryError(f"a state key has at most {MAX_STATE_KEY_BYTES} bytes, got {shown(key)}")
    return key


def check_state(prefix: Any, due_before: Any, limit: Any, after: Any) -> None:
    """Refuse what `Storage.state` refuses. Raises `InvalidQueryError`."""
    check_state_key(prefix, prefix=True)
    check_instant("due_before", due_before)
    check_limit(limit)
    if after is not None:
        check_state_key(after, prefix=True)


def check_operation_id(operation_id: Any) -> str:
    """Refuse what no operation id can be: anything but 1 to 255 characters without NUL or lone surrogate."""
    try:
        return fields.identifier(operation_id, "operation_id")
    except InvalidRecordError as error:
        raise InvalidQueryError(str(error)) from error


def operation_digest(key: str, operation_id: str) -> str:
    """Under what a store keeps the result of an operation on a key, in every store the same: it can be carried away."""
    # The canonical text of the list of both: of a text alone the standard library makes it in a fifth of the time.
    text = f"[{json_text.canonical(key)},{json_text.canonical(operation_id)}]"
    return hashlib.sha256(text.encode()).hexdigest()


def checked_change(change: Any) -> Change:
    """A step's change with its documents copied and checked, as a backend stores it.

    Raises:
        InvalidRecordError: If a document or the result is not JSON within the limits of `records.fields`.
        TypeError: If `step` returned something else than a `Change`.
    """
    if not isinstance(change, Change):
        message = f"a step returns a Change, not {type(change).__name__}"
        raise TypeError(message)
    return Change(
        state=None if change.state is None else fields.json_object(change.state, "state"),
        facts=tuple(change.facts),
        also={check_state_key(key): fields.json_object(value, "also") for key, value in change.also.items()},
        result=fields.json_value(change.result, "result"),
    )


def due_of(document: Document) -> int | None:
    """When a document asks to be looked at, in microseconds since 1970; None if it does not."""
    due = document.get("due")
    return due if type(due) is int else None
