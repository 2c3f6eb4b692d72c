"""Facts to and from JSON documents: one cattrs converter, strict, instants as integer microseconds UTC.

A document is the fact's content under its field names (defaults left out) plus `kind`, the record version `v`, `at`,
`recorded_at`, and `at_given` where it is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from f1mon_core import validation
from f1mon_core.errors import InvalidRecordError, SchemaError
from f1mon_core.records import KINDS, Fact, checks
from f1mon_core.times import EPOCH, LATEST, from_micros, to_micros
from f1mon_core.validation import Document

_LAST_MICROSECOND = to_micros(LATEST)
_STAMPS = frozenset({"at", "at_given", "recorded_at"})


def _structure_instant(value: Any, _: Any = None) -> datetime | None:
    if value is None:
        return None
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
    record = KINDS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise SchemaError(f"this f1mon knows no record kind {kind!r}; update f1mon")
    if version != record.version:
        raise SchemaError(f"a {kind} of version {version!r} was written by another f1mon; update f1mon")
    try:
        return converter.structure(content, record)
    except cattrs.ForbiddenExtraKeysError as error:
        unknown = ", ".join(sorted(error.extra_fields))
        raise InvalidRecordError(kind, content, f"has unknown fields: {unknown}") from error
    except KeyError as error:
        raise InvalidRecordError(str(error.args[0]), None, f"is missing from this {kind}") from error
