"""Facts to and from JSON documents: one cattrs converter, strict, instants as integer microseconds UTC.

A document is the fact's content under its field names (defaults left out) plus `kind`, the record version `v`, `at`,
`recorded_at`, and `at_given` where it is false.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import islice, repeat
from operator import add
from types import MemberDescriptorType
from typing import Any, NamedTuple, TypeAlias

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import fields as validation
from f1mon_core.records.fields import Document, FieldCheck, checks, ordinal, severity
from f1mon_core.records.kinds import KINDS, Fact
from f1mon_core.records.times import EPOCH, LATEST, from_micros, to_micros

_LAST_MICROSECOND = to_micros(LATEST)
_STAMPS = ("at", "at_given", "recorded_at")
_TOGETHER = 1_000
"""How many stored facts are made together; their contents are in memory twice meanwhile."""


def _structure_instant(value: Any, _: Any = None) -> datetime | None:
    return None if value is None else _instant(value)


def _instant(value: Any) -> datetime:
    if type(value) is not int or not 0 <= value <= _LAST_MICROSECOND:
        raise InvalidRecordError("instant", value, f"must be integer microseconds after {EPOCH.isoformat()}")
    return from_micros(value)


def _unstructure_instant(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


def _as_is(value: Any, _: Any = None) -> Any:
    # Records check and normalise every field in their own converters, so a decoded JSON value passes through.
    return value


def _make_converter() -> cattrs.Converter:
    made = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    for record in KINDS.values():
        instants = {field.name for field in checks(record) if field.check is validation.instant}
        reading: dict[str, Any] = {}
        writing: dict[str, Any] = {}
        for name in attrs.fields_dict(record):
            reading[name] = override(struct_hook=_structure_instant if name in instants else _as_is)
            writing[name] = override(
                omit=name in _STAMPS or None, unstruct_hook=_unstructure_instant if name in instants else _as_is
            )
        made.register_structure_hook(record, make_dict_structure_fn(record, made, **reading))
        made.register_unstructure_hook(
            record, make_dict_unstructure_fn(record, made, _cattrs_omit_if_default=True, **writing)
        )
    return made


converter = _make_converter()
"""The converter of every record kind; used through the functions of this module."""

_to_content: dict[type[Fact], Callable[[Any], Document]] = {
    record: converter.get_unstructure_hook(record) for record in KINDS.values()
}


def content_document(fact: Fact) -> Document:
    """The content of a fact as a JSON object: all fields that differ from their default, but no stamps."""
    return _to_content[type(fact)](fact)


def to_document(fact: Fact) -> Document:
    """A fact as a self-describing JSON object."""
    document: Document = {"kind": fact.kind, "v": fact.version, "at": _unstructure_instant(fact.at)}
    if not fact.at_given:
        document["at_given"] = False
    document["recorded_at"] = _unstructure_instant(fact.recorded_at)
    document.update(_to_content[type(fact)](fact))
    return document


def from_documents(documents: Iterable[Mapping[str, Any]]) -> list[Fact]:
    """The facts of documents as `from_document`."""
    return list(map(from_document, documents))


def from_document(document: Mapping[str, Any]) -> Fact:
    """The fact of a document made by `to_document`.

    Raises:
        InvalidRecordError: If a field is missing, unknown or refused by its record.
        SchemaError: If the record was written by a newer f1mon.
    """
    content = dict(document)
    return from_content(content.pop("kind", None), content.pop("v", None), content)


def from_content(kind: Any, version: Any, content: Mapping[str, Any]) -> Fact:
    """The fact of `kind` whose fields, stamps included, are `content`. Errors as in `from_document`."""
    record = _record(kind, version)
    try:
        return converter.structure(content, record)
    except cattrs.ForbiddenExtraKeysError as error:
        raise _unknown(record, error.extra_fields) from error
    except KeyError as error:
        raise _missing(record, str(error.args[0])) from error


def _record(kind: Any, version: Any) -> type[Fact]:
    record = KINDS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise SchemaError(f"this f1mon knows no record kind {kind!r}; update f1mon")
    if version != record.version:
        raise SchemaError(f"a {kind} of version {version!r} was written by another f1mon; update f1mon")
    return record


def _unknown(record: type[Fact], names: Iterable[str]) -> InvalidRecordError:
    return InvalidRecordError(record.kind, None, f"has unknown fields: {', '.join(sorted(names))}")


def _missing(record: type[Fact], name: str) -> InvalidRecordError:
    return InvalidRecordError(name, None, f"is missing from this {record.kind}")


# What a store checked when it took it ---------------------------------------------------------------------------------

_KEPT: Mapping[Callable[[Any, str], Any], type] = {
    validation.identifier: str,
    validation.text: str,
    severity: str,
    validation.label: int,
    validation.count: int,
    ordinal: int,
    validation.number: float,
    validation.probability: float,
    validation.flag: bool,
    validation.json_object: dict,
    validation.json_array: list,
}
"""The type of what each check answers, which is what JSON makes of it too. An instant has to be made."""


Kept: TypeAlias = tuple[Any, Any, Any, Any, Any, Mapping[str, Any]]
"""What a store keeps of a fact: kind, version, `at`, `at_given`, `recorded_at` (microseconds) and its content."""


class _Field(NamedTuple):
    """How the values of one field are kept: those of these types as they are, others as `check` answers or refuses."""

    put: Callable[[Fact, Any], None]
    kept: frozenset[type]
    check: Callable[[Any], Any]


class _Layout(NamedTuple):
    """What facts whose contents have the same names have in common.

    Attributes:
        record: Their class.
        stamps: What sets the stamps of a record.
        fields: How the values of a content are kept, in their order.
        defaults: What sets the fields that the contents leave out, and to what.
        made: What sets those whose default is made anew, and what makes it.
    """

    record: type[Fact]
    stamps: tuple[Callable[[Fact, Any], None], ...]
    fields: tuple[_Field, ...]
    defaults: tuple[tuple[Callable[[Fact, Any], None], Any], ...]
    made: tuple[tuple[Callable[[Fact, Any], None], Callable[[], Any]], ...]


@lru_cache(1_024)
def _layout(kind: str, version: Any, *names: str) -> _Layout:
    record = _record(kind, version)
    fields = {field.name: field.default for field in attrs.fields(record) if field.name not in _STAMPS}
    if unknown := set(names) - fields.keys():
        raise _unknown(record, unknown)
    defaults = []
    made = []
    for name in fields.keys() - set(names):
        default: Any = fields[name]
        if default is attrs.NOTHING:
            raise _missing(record, name)
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            made.append((_setter(record, name), default.factory))
        else:
            defaults.append((_setter(record, name), default))
    how = {one.name: one for one in checks(record)}
    return _Layout(
        record,
        tuple(_setter(record, name) for name in _STAMPS),
        tuple(_field(record, how[name]) for name in names),
        tuple(defaults),
        tuple(made),
    )


def _field(record: type[Fact], how: FieldCheck) -> _Field:
    name, check, optional = how
    kept = {_KEPT[check]} if check in _KEPT else set()
    if optional:
        kept.add(type(None))
    made = _instant if check is validation.instant else partial(_checked, check, name)
    return _Field(_setter(record, name), frozenset(kept), made)


def _checked(check: Callable[[Any, str], Any], name: str, value: Any) -> Any:
    return check(value, name)


def _setter(record: type[Fact], name: str) -> Callable[[Fact, Any], None]:
    slot = inspect.getattr_static(record, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__  # past the frozen record's own refusal
    return lambda fact, value: object.__setattr__(fact, name, value)


def stored_facts(kept: Iterable[Kept]) -> list[Fact]:
    """Each as `from_content`, for what a store checked when it took it: only the types of values are looked at again.

    Facts that look alike are made together, field by field: a page of alerts is read in a third of the time so. What
    a hand changed in a store since then is `check`'s to find.
    """
    left = iter(kept)
    facts: list[Fact] = []
    while some := list(islice(left, _TOGETHER)):
        facts += _made(some)
    return facts


def _made(kept: Sequence[Kept]) -> list[Fact]:
    facts: list[Fact] = []
    alike: dict[tuple[Any, ...], tuple[_Layout, list[Fact], list[Kept]]] = {}
    for one in kept:
        shape = (one[0], one[1], *one[5])
        if (group := alike.get(shape)) is None:
            group = alike[shape] = (_layout(*shape), [], [])
        layout, made, rows = group
        fact = object.__new__(layout.record)
        facts.append(fact)
        made.append(fact)
        rows.append(one)
    for group in alike.values():
        _fill(*group)
    return facts


def _fill(layout: _Layout, facts: Sequence[Fact], rows: Sequence[Kept]) -> None:
    """Set every field of facts of one layout."""
    _, _, at, at_given, recorded_at, contents = zip(*rows, strict=True)
    stamps = (_instants(at), map(bool, at_given), _instants(recorded_at))
    for put, values in zip(layout.stamps, stamps, strict=True):
        _put(put, facts, values)
    columns = zip(*(content.values() for content in contents), strict=True)
    for (put, kept, check), column in zip(layout.fields, columns, strict=True):
        sound = kept.issuperset(map(type, column))
        _put(put, facts, column if sound else [one if type(one) in kept else check(one) for one in column])
    for put, default in layout.defaults:
        _put(put, facts, repeat(default))
    for put, factory in layout.made:
        _put(put, facts, (factory() for _ in facts))


def _put(put: Callable[[Fact, Any], None], facts: Iterable[Fact], values: Iterable[Any]) -> None:
    deque(map(put, facts, values), maxlen=0)  # a loop without a step of Python's for each fact


def _instants(column: Sequence[Any]) -> list[datetime]:
    if set(map(type, column)) == {int} and min(column) >= 0 and max(column) <= _LAST_MICROSECOND:
        return list(map(add, repeat(EPOCH), map(timedelta, repeat(0), repeat(0), column)))  # as `from_micros`
    return list(map(_instant, column))  # which refuses


def from_stored(documents: Iterable[Mapping[str, Any]]) -> list[Fact]:
    """The facts of documents made by `to_document`, as `stored_facts`."""
    return stored_facts(map(_kept, documents))


def _kept(document: Mapping[str, Any]) -> Kept:
    content = dict(document)
    kind, version, at = content.pop("kind", None), content.pop("v", None), content.pop("at", None)
    _record(kind, version)  # or refuses
    return kind, version, at, content.pop("at_given", True), content.pop("recorded_at", None), content
