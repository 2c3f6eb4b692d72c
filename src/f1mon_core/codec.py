"""Facts to and from JSON documents: one cattrs converter, strict, instants as integer microseconds UTC.

A document is the fact's content under its field names (defaults left out) plus `kind`, the record version `v`, `at`,
`recorded_at`, and `at_given` where it is false.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from operator import call
from types import MemberDescriptorType
from typing import Any, NamedTuple

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from f1mon_core import validation
from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import KINDS, Fact, checks, ordinal, severity
from f1mon_core.times import EPOCH, LATEST, from_micros, to_micros
from f1mon_core.validation import Document

_LAST_MICROSECOND = to_micros(LATEST)
_STAMPS = ("at", "at_given", "recorded_at")


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


class _Layout(NamedTuple):
    """What documents with the same names and types have in common.

    Attributes:
        doubtful: The names of values that are not of the type their field keeps, and what they have to pass.
        put: What sets a field of a record: the stamps', those of the values in their order, those of the defaults.
        defaults: The defaults of the fields that the documents leave out.
        made: What sets the fields whose default is made anew, and what makes it.
    """

    doubtful: tuple[tuple[str, Callable[[Any, str], Any]], ...]
    put: tuple[Callable[[Fact, Any], None], ...]
    defaults: tuple[Any, ...]
    made: tuple[tuple[Callable[[Fact, Any], None], Callable[[], Any]], ...]


@lru_cache(1_024)
def _layout(kind: str, names: tuple[str, ...], types: tuple[type, ...]) -> _Layout:
    record = KINDS[kind]
    fields = {field.name: field.default for field in attrs.fields(record) if field.name not in _STAMPS}
    if unknown := set(names) - fields.keys():
        raise _unknown(record, unknown)
    doubtful = []
    how = {name: (check, optional) for name, check, optional in checks(record)}
    for name, found in zip(names, types, strict=True):
        check, optional = how[name]
        if found is not _KEPT.get(check) and not (optional and found is type(None)):
            doubtful.append((name, _structure_instant if check is validation.instant else check))
    defaults: dict[str, Any] = {}
    made = []
    for name in fields.keys() - set(names):
        default: Any = fields[name]
        if default is attrs.NOTHING:
            raise _missing(record, name)
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            made.append((_setter(record, name), default.factory))
        else:
            defaults[name] = default
    put = tuple(_setter(record, name) for name in (*_STAMPS, *names, *defaults))
    return _Layout(tuple(doubtful), put, tuple(defaults.values()), tuple(made))


def _setter(record: type[Fact], name: str) -> Callable[[Fact, Any], None]:
    slot = inspect.getattr_static(record, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__  # past the frozen record's own refusal
    return lambda fact, value: object.__setattr__(fact, name, value)


def stored_fact(kind: Any, version: Any, at: Any, at_given: Any, recorded_at: Any, content: Mapping[str, Any]) -> Fact:
    """As `from_content`, for what a store checked when it took it: only the types of the values are looked at again.

    A page of alerts is read in half the time so. What a hand changed in a store since then is `check`'s to find.
    """
    record = _record(kind, version)
    layout = _layout(kind, tuple(content), tuple(map(type, content.values())))
    if layout.doubtful:
        content = {**content, **{name: check(content[name], name) for name, check in layout.doubtful}}
    fact = object.__new__(record)
    values = (_instant(at), bool(at_given), _instant(recorded_at), *content.values(), *layout.defaults)
    deque(map(call, layout.put, repeat(fact), values), maxlen=0)  # a loop without a step of Python's for each field
    for put, factory in layout.made:
        put(fact, factory())
    return fact


def from_stored(document: Mapping[str, Any]) -> Fact:
    """The fact of a document that a store kept, as `stored_fact`."""
    content = dict(document)
    kind, version, at = content.pop("kind", None), content.pop("v", None), content.pop("at", None)
    return stored_fact(kind, version, at, content.pop("at_given", True), content.pop("recorded_at", None), content)
