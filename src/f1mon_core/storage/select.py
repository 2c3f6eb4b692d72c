"""Which facts are asked for: `Select`, and what it refuses."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import attrs

from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.records import fields
from f1mon_core.records.kinds import KINDS, Cursor, Fact, key_text
from f1mon_core.storage.tally import check_collection, check_flag, check_id, check_instant, take_instant

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    F_co = TypeVarWithDefault("F_co", bound=Fact, covariant=True, default=Fact)
else:
    F_co = TypeVar("F_co", covariant=True)
F = TypeVar("F", bound=Fact)

Scalar: TypeAlias = str | int | bool | None


def kind_of(name: str) -> type[Fact]:
    """The record class of a kind. Raises `InvalidQueryError` for an unknown one."""
    try:
        return KINDS[name]
    except (KeyError, TypeError):
        raise InvalidQueryError(f"no fact kind {name!r}; the kinds are {', '.join(sorted(KINDS))}") from None


@attrs.frozen
class Select(Generic[F_co]):
    """Which facts of one kind, in which order.

    `Select.of(Alert, …)` is what `Select("alert", …)` is; and a type checker knows that alerts are what is found.

    Attributes:
        kind: The kind's name, as in `records.KINDS`.
        since, until: The half-open window `[since, until)` over `at`; None is unbounded.
        model_version: Only facts of this model; refused for a kind that has no `model_version`.
        where: Attribute (or part of the key) to the value it has, or to a collection of values it may have. An empty
            collection selects nothing. Values compare with their type: 1 is not True.
        lacking, having: A kind of which no fact, or some fact, has the same first part of the key (an open alert lacks
            its acknowledgement). Kinds whose first key fields differ in name have none in common.
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

    @classmethod
    def of(
        cls,
        record: type[F],
        since: datetime | None = None,
        until: datetime | None = None,
        model_version: str | None = None,
        where: Mapping[str, Scalar | Collection[Scalar]] | None = None,
        *,
        lacking: type[Fact] | None = None,
        having: type[Fact] | None = None,
        descending: bool = False,
        limit: int | None = None,
        after: Cursor | None = None,
    ) -> Select[F]:
        """Facts of a record class; the rest as the attributes say, `lacking` and `having` by their classes too."""
        return Select(
            record.kind,
            since,
            until,
            model_version,
            where or {},
            None if lacking is None else lacking.kind,
            None if having is None else having.kind,
            descending,
            limit,
            after,
        )

    def __attrs_post_init__(self) -> None:
        record = kind_of(self.kind)
        take_instant(self, "since")
        take_instant(self, "until")
        for other in (self.lacking, self.having):
            if other is not None:
                kind_of(other)
        if self.model_version is not None:
            check_id("model_version", self.model_version)
            if "model_version" not in (*record.attributes, *record.key_fields):
                raise InvalidQueryError(f"a {self.kind} has no model_version to select by")
        object.__setattr__(self, "where", _plain(self.where))
        check_attributes(record, self.where)
        object.__setattr__(self, "descending", check_flag("descending", self.descending))
        check_limit(self.limit)
        if self.after is not None:
            check_cursor(record, self.after)


def check_cursor(record: type[Fact], cursor: Any) -> None:
    """Refuse what could not be the cursor of a fact of this kind."""
    if not isinstance(cursor, Cursor):
        raise InvalidQueryError(f"after must be the cursor of a fact, got {shown(cursor)}")
    at: Any
    key: Any
    at, key = cursor
    if at is None:
        raise InvalidQueryError("the fact of this cursor has not been stored yet, so it has no time")
    check_instant("after", at)
    if not isinstance(key, tuple) or len(key) != len(record.key_fields) or None in key:
        raise InvalidQueryError(
            f"the key of a {record.kind} is {' and '.join(record.key_fields)} as text, got {shown(key)}"
        )
    for name, part in zip(record.key_fields, key, strict=True):
        check_id(f"after.{name}", part)
        if name == "at" and part != key_text(at):
            raise InvalidQueryError(f"the cursor of a {record.kind} has its time in its key too, got {shown(part)}")


def have_in_common(kind: str, other: str) -> bool:
    """Whether the first part of the key means the same for both kinds, as `having` and `lacking` need."""
    return kind_of(kind).key_fields[0] == kind_of(other).key_fields[0]


def check_limit(limit: Any) -> None:
    """Refuse anything but None or an int of at least 0."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidQueryError(f"limit must be None or an int of at least 0, got {shown(limit)}")


def check_attributes(record: type[Fact], names: Iterable[str]) -> None:
    """Refuse names that are neither a declared attribute nor a part of the key (`at` apart)."""
    known = {*record.attributes, *record.key_fields} - {"at"}
    for name in names:
        if name not in known:
            raise InvalidQueryError(
                f"a {record.kind} is not indexed by {shown(name)}; it is by {', '.join(sorted(known))}"
            )


def alternatives(wanted: Scalar | Collection[Scalar]) -> Sequence[Scalar] | None:
    """The values of a `where` entry that is a collection; None where it is a single value."""
    if wanted is None or isinstance(wanted, str | int):
        return None
    return list(wanted)


def _plain(where: Any) -> dict[str, Scalar | list[Scalar]]:
    """A fresh copy of a `where`, whose values are Python's own; refused is what no attribute can have."""
    if not isinstance(where, Mapping):
        raise InvalidQueryError(f"where must be a mapping of attributes to values, got {shown(where)}")
    found: dict[str, Scalar | list[Scalar]] = {}
    for name, wanted in where.items():
        if isinstance(wanted, Collection) and not isinstance(wanted, str | bytes | bytearray | Mapping):
            found[name] = [_scalar(name, one) for one in check_collection(name, wanted, "values")]
        else:
            found[name] = _scalar(name, wanted)
    return found


def _scalar(name: str, value: Any) -> Scalar:
    if value is None or type(value) in (str, int, bool):
        return cast("Scalar", value)
    if isinstance(value, str):
        return str.__str__(value)
    if fields.is_bool(value):
        return bool(value)
    try:
        return int.__pos__(operator.index(value))
    except TypeError:
        message = f"{name} must be a str, an int, a bool or None, or a collection of such values, got {shown(value)}"
        raise InvalidQueryError(message) from None
