"""Facts to and from JSON documents: one cattrs converter, strict, instants as integer microseconds UTC.

A document is the fact's content under its field names (defaults left out) plus `kind`, the record version `v`, `at`,
`recorded_at`, and `at_given` where it is false.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from itertools import islice
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import fields
from f1mon_core.records.fields import Document, FieldCheck, checks, ordinal, severity
from f1mon_core.records.kinds import KINDS, Fact
from f1mon_core.records.times import EPOCH, LATEST, to_micros

if TYPE_CHECKING:
    import cattrs

_LAST_MICROSECOND = to_micros(LATEST)
_STAMPS = ("at", "at_given", "recorded_at")
_TOGETHER = 1_000
"""How many contents are in memory before facts are made of them: one by one takes a page of them a tenth longer."""


def _structure_instant(value: Any, _: Any = None) -> datetime | None:
    return None if value is None else _instant(value)


def _instant(value: Any) -> datetime:
    if type(value) is not int or not 0 <= value <= _LAST_MICROSECOND:
        raise InvalidRecordError("instant", value, f"must be integer microseconds after {EPOCH.isoformat()}")
    return EPOCH + timedelta(0, 0, value)  # as `from_micros`, whose call a page of alerts would notice


def _unstructure_instant(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


def _as_is(value: Any, _: Any = None) -> Any:
    # Records check and normalise every field in their own converters, so a decoded JSON value passes through.
    return value


@cache
def converter() -> cattrs.Converter:
    """The converter of every record kind; used through the functions of this module.

    Made when first it is needed: who records predictions into a database needs none, and cattrs takes longer to import
    than all records.
    """
    import cattrs  # noqa: PLC0415 - as said
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override  # noqa: PLC0415

    made = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    for record in KINDS.values():
        instants = {field.name for field in checks(record) if field.check is fields.instant}
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


class _Contents(dict[type[Fact], "Callable[[Any], Document]"]):
    """What makes a content of a fact, by its class."""

    def __missing__(self, record: type[Fact]) -> Callable[[Any], Document]:
        made: Callable[[Any], Document] = converter().get_unstructure_hook(record)
        self[record] = made
        return made


_to_content = _Contents()


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
    from cattrs import ForbiddenExtraKeysError  # noqa: PLC0415 - as `converter`

    record = _record(kind, version)
    try:
        return converter().structure(content, record)
    except ForbiddenExtraKeysError as error:
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
    fields.identifier: str,
    fields.text: str,
    severity: str,
    fields.label: int,
    fields.count: int,
    ordinal: int,
    fields.number: float,
    fields.probability: float,
    fields.flag: bool,
    fields.content: dict,
    fields.json_array: list,
}
"""The type of what each check answers, which is what JSON makes of it too. An instant has to be made."""


Kept: TypeAlias = tuple[Any, Any, Any, Any, Any, Mapping[str, Any]]
"""What a store keeps of a fact: kind, version, `at`, `at_given`, `recorded_at` (microseconds) and its content."""


def stored_facts(kept: Iterable[Kept]) -> list[Fact]:
    """Each as `from_content`, for what a store checked when it took it: only the types of values are looked at again.

    What a hand changed in a store since then is the store's `check` to find.
    """
    left = iter(kept)
    facts: list[Fact] = []
    while some := list(islice(left, _TOGETHER)):
        facts += [
            _reader(kind, version, tuple(content), *map(type, content.values()))(at, given, recorded, *content.values())
            for kind, version, at, given, recorded, content in some
        ]
    return facts


@lru_cache(1_024)
def _reader(kind: Any, version: Any, names: tuple[str, ...], *types: type) -> Callable[..., Fact]:
    """What makes a fact of its stamps and the values of a content, for contents of these names and types.

    Compiled, as attrs compiles an `__init__`: with a loop over the fields a page of 100 alerts takes 5 to 7 % longer,
    and twice the bare driver's time, which it may take, has no room for that. The converter takes three times as long.
    """
    record = _record(kind, version)
    values = {"at": "instant(_at)", "at_given": "bool(_at_given)", "recorded_at": "instant(_recorded_at)"}
    known: dict[str, Any] = {"new": object.__new__, "record": record, "instant": _instant}
    found = dict(zip(names, types, strict=True))
    for field, how in zip(attrs.fields(record), checks(record), strict=True):
        name, default = field.name, field.default
        known[f"put_{name}"] = _setter(record, name)
        if name in values:
            continue
        if name in found:
            kept = found[name] is _KEPT.get(how.check) or (how.optional and found[name] is type(None))
            values[name] = f"_{name}" if kept else f"check_{name}(_{name})"
            known[f"check_{name}"] = partial(_checked, how)
        elif default is attrs.NOTHING:
            raise _missing(record, name)
        else:
            made = isinstance(default, _FACTORY)
            values[name] = f"default_{name}()" if made else f"default_{name}"
            known[f"default_{name}"] = default.factory if made else default
    if unknown := found.keys() - (values.keys() - set(_STAMPS)):
        raise _unknown(record, unknown)
    given = ", ".join(f"_{name}" for name in (*_STAMPS, *names))
    lines = [f"put_{name}(fact, {value})" for name, value in values.items()]
    exec("\n ".join([f"def read({given}):", "fact = new(record)", *lines, "return fact"]), known)  # noqa: S102 - of names of fields alone
    return cast("Callable[..., Fact]", known["read"])


_FACTORY: type = attrs.Factory  # type: ignore[assignment]  # its stub calls it a function


def _setter(record: type[Fact], name: str) -> Callable[[Fact, Any], None]:
    slot = inspect.getattr_static(record, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__  # past the frozen record's own refusal
    return lambda fact, value: object.__setattr__(fact, name, value)


def _checked(how: FieldCheck, value: Any) -> Any:
    return _instant(value) if how.check is fields.instant else how.check(value, how.name)


def from_stored(documents: Iterable[Mapping[str, Any]]) -> list[Fact]:
    """The facts of documents made by `to_document`, as `stored_facts`."""
    return stored_facts(map(_kept, documents))


def _kept(document: Mapping[str, Any]) -> Kept:
    content = dict(document)
    kind, version, at = content.pop("kind", None), content.pop("v", None), content.pop("at", None)
    _record(kind, version)  # or refuses
    return kind, version, at, content.pop("at_given", True), content.pop("recorded_at", None), content
