"""The storage contract: what a backend promises, verb by verb.

The docstrings here *are* the contract; `f1mon_core.testing` proves each of their sentences. Everything that thinks
lives in core; a backend stores, and does three things well: facts, tallies and transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records import fields as validation
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import KINDS, Cursor, Fact, key_text
from f1mon_core.records.times import Clock
from f1mon_core.storage.tally import Tally, TallyQuery, check_id, check_instant

Scalar: TypeAlias = str | int | bool | None

MAX_STATE_KEY_CHARACTERS = 700
OPERATION_HOURS = 24
"""A store answers a repeated operation id with the first result for at least this long."""

LASTING_KINDS = frozenset({"rule_revision", "kept_tally"})
"""Kinds that are never pruned: they say what older facts meant."""


def kind_of(name: str) -> type[Fact]:
    """The record class of a kind. Raises `InvalidQueryError` for an unknown one."""
    try:
        return KINDS[name]
    except (KeyError, TypeError):
        raise InvalidQueryError(f"no fact kind {name!r}; the kinds are {', '.join(sorted(KINDS))}") from None


@attrs.frozen
class Select:
    """Which facts of one kind, in which order.

    Attributes:
        kind: The kind's name, as in `records.KINDS`.
        since, until: The half-open window `[since, until)` over `at`; None is unbounded.
        model_version: Only facts of this model; refused for a kind that has no `model_version`.
        where: Attribute (or part of the key) to the value it has, or to a collection of values it may have. An empty
            collection selects nothing. Values compare with their type: 1 is not True.
        lacking, having: A kind of which no fact, or some fact, has a key that starts with this fact's key
            (an open alert lacks its acknowledgement).
        descending: Newest first.
        limit: At most so many; None for all, 0 for none.
        after: Continue strictly behind this cursor in the order asked for.
    """

    kind: str
    since: datetime | None = None
    until: datetime | None = None
    model_version: str | None = None
    where: Mapping[str, Scalar | Collection[Scalar]] = attrs.field(factory=dict)
    lacking: str | None = None
    having: str | None = None
    descending: bool = False
    limit: int | None = None
    after: Cursor | None = None

    def __attrs_post_init__(self) -> None:
        record = kind_of(self.kind)
        check_instant("since", self.since)
        check_instant("until", self.until)
        for other in (self.lacking, self.having):
            if other is not None:
                kind_of(other)
        if self.model_version is not None:
            check_id("model_version", self.model_version)
            if "model_version" not in (*record.attributes, *record.key_fields):
                raise InvalidQueryError(f"a {self.kind} has no model_version to select by")
        check_attributes(record, self.where)
        if self.limit is not None and (type(self.limit) is not int or self.limit < 0):
            raise InvalidQueryError(f"limit must be None or an int of at least 0, got {self.limit!r}")
        if self.after is not None:
            check_cursor(record, self.after)


def check_cursor(record: type[Fact], cursor: Any) -> None:
    """Refuse what could not be the cursor of a fact of this kind."""
    if not isinstance(cursor, Cursor):
        raise InvalidQueryError(f"after must be the cursor of a fact, got {cursor!r}")
    at, key = cast("tuple[Any, Any]", cursor)
    if at is None:
        raise InvalidQueryError("the fact of this cursor has not been stored yet, so it has no time")
    check_instant("after", at)
    if not isinstance(key, tuple) or len(key) != len(record.key_fields) or None in key:
        raise InvalidQueryError(f"the key of a {record.kind} is {' and '.join(record.key_fields)} as text, got {key!r}")
    for name, part in zip(record.key_fields, key, strict=True):
        check_id(f"after.{name}", part)
        if name == "at" and part != key_text(at):
            raise InvalidQueryError(f"the cursor of a {record.kind} has its time in its key too, got {part!r}")


def check_attributes(record: type[Fact], names: Iterable[str]) -> None:
    """Refuse names that are neither a declared attribute nor a part of the key (`at` apart)."""
    known = {*record.attributes, *record.key_fields} - {"at"}
    for name in names:
        if name not in known:
            raise InvalidQueryError(f"a {record.kind} is not indexed by {name!r}; it is by {', '.join(sorted(known))}")


def alternatives(wanted: Scalar | Collection[Scalar]) -> Sequence[Scalar] | None:
    """The values of a `where` entry that is a collection; None where it is a single value."""
    if wanted is None or isinstance(wanted, str | int):
        return None
    return list(wanted)


@attrs.frozen
class Appended:
    """How many facts of a batch were new, and how many repeated what was stored (or an earlier one of the batch)."""

    new: int = 0
    repeated: int = 0


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


@attrs.frozen
class Pruned:
    """What `prune` took away: facts by kind, and the horizon it stored."""

    before: datetime
    removed: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Problem:
    """Something `check` found.

    Attributes:
        severity: "error" for what is lost or wrong, "warning" for what wants attention.
        where: File and position, table and key, or setting.
    """

    severity: Literal["error", "warning"]
    where: str
    message: str


@attrs.frozen
class CheckReport:
    """What a store found when it read itself whole."""

    facts: Mapping[str, int] = attrs.field(factory=dict)
    problems: Sequence[Problem] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is lost or wrong; warnings may remain."""
        return not any(problem.severity == "error" for problem in self.problems)


@runtime_checkable
class Storage(Protocol):
    """A place where facts are kept. Every verb may be called from several threads.

    Every verb raises `ClosedError` after `close`, `NotWritten` where nothing was stored and a repeat is safe, and
    `OutcomeUnknown` where the fate of a commit is unknown and a repeat is safe too.
    """

    @property
    def clock(self) -> Clock:
        """The clock it was opened with, else the one it stamps with."""
        ...

    @property
    def address(self) -> str:
        """What it was opened on, fit to print: never with a password."""
        ...

    def append(self, facts: Iterable[Fact]) -> Appended:
        """Store facts; the batch is atomic, and whoever reads sees all of it or nothing.

        - A batch is taken in order: what its later facts repeat, correct or contradict may be its earlier ones.
        - A fact without a time gets the store's clock, read inside the critical section; `recorded_at` is always the
          store's.
        - The same fact again (`records.same`) is a no-op, within the batch too; the first stays as it is.
        - A different fact under the same key is a `ConflictError` and nothing of the batch is written.
        - An outcome without `known_at` that equals the current outcome of its prediction is a no-op; otherwise its
          known_at is max(now, newest known_at + 1 µs), or an `InvalidRecordError` where the calendar ends. An outcome
          may come before its prediction.
        - A prediction older than the prune horizon (by a time given or stamped: its hour is final) or whose id was
          pruned, an outcome of a pruned prediction, or another fact of a pruned kind whose *given* time lies before
          the horizon, is a `PrunedError` and nothing of the batch is written; unless the fact is still stored, which
          makes it a repeat or a conflict.
        - When it returns, the batch is visible to every handle, and durable if the backend claims so.
        """
        ...

    def find(self, select: Select) -> Sequence[Fact]:
        """All facts selected, whole, ordered by (at, key); no hidden limit.

        Keys order part by part, by code point. `after` continues strictly behind a cursor, also among equal times.
        """
        ...

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """How many facts are selected, grouped by the values of declared attributes; no empty groups.

        With no `by` the one group is `()`. A `limit` or `after` is an `InvalidQueryError`.
        """
        ...

    def tally(self, query: TallyQuery) -> Tally:
        """The cells of the predictions in a window, each with the outcome current for it.

        - Counted is every prediction in `[since, until)` by the query's basis, labelled or not.
        - The outcome of a prediction is the one with the newest known_at, among those known by `as_of` and recorded by
          `as_recorded` where given; predictions made or recorded later than those are not counted.
        - Bins are `tally.bin_of`, to the last float; moments are around `tally.midpoint`; buckets `tally.bucket_of`;
          a delay is (first known_at - at) // unit, floored, of the outcomes considered.
        - Counts, minima and maxima are exact, sums right to 1e-12 relative.
        - Windows behind the prune horizon are answered from the kept cells, or are a `PrunedError`; its `since`
          is the start from which on the same question is answered.
        """
        ...

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """Lock the document of `key`, read the clock *after* the lock, call `step`, commit its `Change` as one.

        - Of any number of concurrent transitions of one key each sees what the one before it stored, also when the
          document never existed.
        - A fact without a time gets the instant `step` was given.
        - State, facts and `also` are stored together or not at all; an exception raised by `step`, a `ConflictError`
          of its facts or an `InvalidRecordError` of a document leaves nothing.
        - A repeated `operation_id` of the same key returns the first result, for at least 24 hours, and does not call
          `step`.
        """
        ...

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """The documents whose key starts with `prefix`, ordered by key (code points).

        `due_before` keeps those with an integer `due` (microseconds since 1970) before it; `after` continues strictly
        behind a key. An empty prefix means all of them.
        """
        ...

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """Remove facts older than `before`, floored to the full hour, in one commit with the new horizon.

        - Predictions made before it go with their features and all their outcomes; their cells per hour stay as
          `kept_tally` facts and their ids stay known. Outcomes without a prediction stay.
        - Other facts with `at` before it go too, unless their kind is in `keep` or in `LASTING_KINDS`, or the first
          part of their key is listed under `holds` in some state document (an open incident holds its alerts).
        - Totals of windows the kept cells can answer are the same before and after.
        - A horizon never moves back: an earlier `before` removes nothing.
        - An unknown kind in `keep` is an `InvalidQueryError`, and nothing is removed.
        """
        ...

    def check(self) -> CheckReport:
        """Read the whole store and report what is damaged, lost, or set in a way that risks it."""
        ...

    def close(self) -> None:
        """Release what the handle holds; again is a no-op. What was appended stays."""
        ...


@runtime_checkable
class AsyncStorage(Protocol):
    """`Storage` for event loops: the same verbs under the same contract, awaited."""

    @property
    def clock(self) -> Clock:
        """The clock it was opened with, else the one it stamps with."""
        ...

    @property
    def address(self) -> str:
        """What it was opened on, fit to print: never with a password."""
        ...

    async def append(self, facts: Iterable[Fact]) -> Appended:
        """See `Storage.append`."""
        ...

    async def find(self, select: Select) -> Sequence[Fact]:
        """See `Storage.find`."""
        ...

    async def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """See `Storage.count`."""
        ...

    async def tally(self, query: TallyQuery) -> Tally:
        """See `Storage.tally`."""
        ...

    async def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """See `Storage.transition`."""
        ...

    async def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """See `Storage.state`."""
        ...

    async def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """See `Storage.prune`."""
        ...

    async def check(self) -> CheckReport:
        """See `Storage.check`."""
        ...

    async def close(self) -> None:
        """See `Storage.close`."""
        ...


def state_key(*parts: str) -> str:
    """A state key of parts that may hold any character: `/` and `%` are escaped, an overlong key ends in a digest."""
    key = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
    if len(key) <= MAX_STATE_KEY_CHARACTERS:
        return key
    import hashlib  # noqa: PLC0415 - hardly ever needed

    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: MAX_STATE_KEY_CHARACTERS - len(digest) - 1]}~{digest}"


def check_state_key(key: Any, *, prefix: bool = False) -> str:
    """Refuse what no state key (or prefix of one) can be. Raises `InvalidQueryError`."""
    if not isinstance(key, str) or len(key) > MAX_STATE_KEY_CHARACTERS or (not key and not prefix):
        raise InvalidQueryError(f"a state key is a str of 1 to {MAX_STATE_KEY_CHARACTERS} characters, got {key!r:.80}")
    if "\0" in key or not key.isascii():
        if "\0" in key:
            raise InvalidQueryError("a state key must not hold a NUL character")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidQueryError("a state key must not hold a lone surrogate") from None
    return key


def checked_change(change: Any) -> Change:
    """A step's change with its documents copied and checked, as a backend stores it.

    Raises:
        InvalidRecordError: If a document or the result is not JSON within the limits of `validation`.
        TypeError: If `step` returned something else than a `Change`.
    """
    if not isinstance(change, Change):
        message = f"a step returns a Change, not {type(change).__name__}"
        raise TypeError(message)
    return Change(
        state=None if change.state is None else validation.json_object(change.state, "state"),
        facts=tuple(change.facts),
        also={check_state_key(key): validation.json_object(value, "also") for key, value in change.also.items()},
        result=validation.json_value(change.result, "result"),
    )


def due_of(document: Document) -> int | None:
    """When a document asks to be looked at, in microseconds since 1970; None if it does not."""
    due = document.get("due")
    return due if type(due) is int else None


def held_by(documents: Iterable[Document]) -> frozenset[str]:
    """The keys that state documents hold against pruning: their lists under `holds`."""
    return frozenset(
        held
        for document in documents
        if isinstance(holds := document.get("holds"), list)
        for held in holds
        if isinstance(held, str)
    )
