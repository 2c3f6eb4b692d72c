"""Every error f1mon raises. Each is an `F1monError` and also the built-in that people already catch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from f1mon_core.records.kinds import Alert, Fact

_SHOWN = 80
"""How many characters of a refused value a message repeats."""
_NAMED = 3
"""How many failures a message names."""


class F1monError(Exception):
    """The base of every error this distribution raises on purpose."""


class InvalidRecordError(F1monError, ValueError):
    """A value was refused at the door; nothing of its batch was stored.

    Attributes:
        field: The name of the field that was refused, with the path in it: `features.grid[3]`.
        value: The value as it was given.
        reason: What a valid value would be.
        record: The record it is of, as in `prediction 'order-7'`; None where it has no id to be named by.
        where: Where the record stands in what was given, as in `record 12` (from 0) or `line 14 of facts.csv`; None
            where it was given alone.
    """

    def __init__(
        self, field: str, value: Any, reason: str, *, record: str | None = None, where: str | None = None
    ) -> None:
        super().__init__(field, value, reason)
        self.field = field
        self.value = value
        self.reason = reason
        self.record = record
        self.where = where

    def __str__(self) -> str:
        of = ", ".join(filter(None, (self.record, self.where)))
        return f"{self.field}: {self.reason}, got {shown(self.value)}{f' ({of})' if of else ''}"

    def __repr__(self) -> str:
        # Event loops and loggers take the repr of what went by, and the refused value's own may raise.
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The refused value may itself refuse to be pickled; the message must still cross a process boundary.
        value = self.value if isinstance(self.value, str | int | float | bool | type(None)) else shown(self.value)
        place = {"record": self.record, "where": self.where}
        return (type(self), (self.field, value, self.reason), place)


class NotANumberError(InvalidRecordError, TypeError):
    """A metric's value is no number at all: a bool, a str, an object."""


class InvalidQueryError(F1monError, ValueError):
    """A question that cannot be asked: an attribute the kind does not declare, a negative limit, zero bins."""


class ConflictError(F1monError, ValueError):
    """A different fact is already stored under the same key; nothing of the batch was written.

    Attributes:
        stored: The fact the store holds.
        offered: The fact that was refused.
    """

    def __init__(self, stored: Fact, offered: Fact) -> None:
        super().__init__(stored, offered)
        self.stored = stored
        self.offered = offered

    def __str__(self) -> str:
        differing = ", ".join(_differing(self.stored, self.offered))
        return (
            f"a different {self.stored.kind} is already stored under {self.stored.key!r} (they differ in "
            f"{differing}); facts are never overwritten: append a correction under a new key"
        )


def _differing(stored: Fact, offered: Fact) -> list[str]:
    """The names of the fields that make two facts under one key different ones."""
    stamps = {"at_given", "recorded_at"} if stored.at_given and offered.at_given else {"at", "at_given", "recorded_at"}
    names = [field.name for field in attrs.fields(type(stored)) if field.name not in stamps]
    return [name for name in names if _spelled(getattr(stored, name)) != _spelled(getattr(offered, name, None))]


def _spelled(value: Any) -> str:
    """A value as a text in which 1, 1.0 and true differ and the order of names does not count."""
    return json.dumps(value, sort_keys=True, default=repr)


class PrunedError(F1monError, LookupError):
    """The request reaches behind the prune horizon, where only final tallies are kept.

    Attributes:
        since: For a tally, the start of a window from which on the store can answer the same question; else None.
    """

    def __init__(self, message: str, *, since: datetime | None = None) -> None:
        super().__init__(message)
        self.since = since


class NotFoundError(F1monError, LookupError):
    """No alert, rule or delivery is stored under that id, or there is no store at that place."""


class ConfigurationError(F1monError, ValueError):
    """An option, an environment variable or a configuration file says something f1mon cannot do."""


class DeliveryError(F1monError):
    """A channel could not deliver a message.

    Attributes:
        retry: Whether a later attempt may succeed.
        after: Seconds the other side asked to wait before it.
        channel: Whether the channel failed and not this message, so that nothing is sent through it until it has
            rested; if not said, whether the other side asked to wait.
    """

    def __init__(
        self, message: str, *, retry: bool = True, after: float | None = None, channel: bool | None = None
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.after = after
        self.channel = after is not None if channel is None else channel


class EvaluationError(F1monError):
    """Some rules could not be evaluated. The others were: what fired of them is stored, and delivered as ever.

    Attributes:
        fired: The alerts that fired, as the evaluation would have returned them.
        failures: What went wrong, by the id of the rule; the first of them is also the `__cause__`.
    """

    def __init__(self, fired: Sequence[Alert], failures: Mapping[str, Exception]) -> None:
        super().__init__(fired, failures)
        self.fired = list(fired)
        self.failures = dict(failures)

    def __str__(self) -> str:
        told = [f"{rule_id}: {type(error).__name__}: {error}" for rule_id, error in self.failures.items()]
        if len(told) > _NAMED:
            told = [*told[:_NAMED], f"and {len(told) - _NAMED} more"]
        return f"rules that could not be evaluated: {'; '.join(told)} ({len(self.fired)} fired of the others)"


class UnknownBackendError(F1monError, LookupError):
    """No installed distribution registers a backend under that name or for that address."""


class MissingExtraError(F1monError, ImportError):
    """The backend is registered, but the libraries of its extra are not installed."""


class DuplicateBackendError(F1monError, LookupError):
    """Two distributions register the same backend name, and f1mon does not guess."""


class BrokenBackendError(F1monError, ImportError):
    """The backend's own code failed to load; the reason travels as `__cause__`."""


class OutdatedBackendError(BrokenBackendError):
    """The backend was written for another contract than this f1mon's."""


class StorageError(F1monError):
    """The store could not do what it was asked to."""


class NotWritten(StorageError):
    """Nothing of the operation was stored; it is safe to repeat."""


class LockTimeoutError(NotWritten, TimeoutError):
    """Another writer held the lock for longer than the timeout; nothing was written."""


class ConnectTimeoutError(NotWritten, TimeoutError):
    """A server accepted a connection, or nothing refused it, and no answer came in time; nothing was written."""


class ReadOnlyError(NotWritten):
    """The store takes no writes where it is connected: a standby, a demoted primary, a read-only role or disk.

    Nothing was written. Repeating helps when that has changed, as it does at the end of a failover; the message says
    where it is connected.
    """


class RefusedError(StorageError):
    """The store refuses it, and to repeat does not help until what the message says is changed.

    Nothing of the operation was stored.
    """


class AccessDeniedError(RefusedError, PermissionError):
    """The account or the process may not do it: a missing grant, a wrong password, the mode of a file."""


class NoSpaceError(RefusedError, OSError):
    """There is no room for it: a full disk, a quota, a full table."""


class TooLargeError(RefusedError, ValueError):
    """A value, or what is sent at once, is larger than the store takes."""


class OutcomeUnknown(StorageError):
    """The commit was sent and its answer was lost: it may or may not be stored.

    Repeat the same call: facts are idempotent by their key and transitions by their operation id, so a repeat
    never duplicates, and tells which of the two it was.
    """


class RestoreError(StorageError):
    """Records of one store were offered to another that holds something else; nothing was written."""


class CorruptStoreError(StorageError):
    """What lies in the store is not what f1mon wrote; `check()` says where."""


class DamagedStoreWarning(UserWarning):
    """An answer rests on a store of which a part cannot be read any more: what is left of it is answered.

    `check()` and `f1mon check` list what is damaged. Turned into an error by
    `warnings.simplefilter("error", DamagedStoreWarning)` it refuses such answers, as `f1mon --strict` does.
    """


class SchemaError(StorageError):
    """The store's schema is older or newer than this f1mon; the message says what to run."""


class ClosedError(StorageError, ValueError):
    """The store was closed; open it again."""


def shown(value: Any) -> str:
    """The start of a value's repr, for a value of any size or shape."""
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}… ({len(value)} long)"
    if isinstance(value, dict | list | tuple | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a hostile __repr__ must not hide the refusal it is part of
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    text = " ".join(text.split()) if "\n" in text else text  # a table's repr has lines
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
