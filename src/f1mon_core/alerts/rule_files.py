"""Rules as documents and as TOML files."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from f1mon_core.alerts import possible
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.errors import ConfigurationError, InvalidRecordError
from f1mon_core.records.fields import Document, Json

if TYPE_CHECKING:
    import cattrs

_UNKNOWN = re.compile(r"extra fields found \(([^)]*)\)")
_NUMBER = re.compile(r" @ .*\[(\d+)\]")


def _as_is(value: Any, _: Any) -> Any:
    return value  # the rule checks and normalises its own fields


@cache
def converter() -> cattrs.Converter:
    """The converter of rules; errors carry the path to what was refused."""
    import cattrs  # noqa: PLC0415 - only for who has rules
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415

    made = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    fields: dict[str, Any] = {name: override(struct_hook=_as_is) for name in attrs.fields_dict(AlertRule)}
    made.register_structure_hook(AlertRule, make_dict_structure_fn(AlertRule, made, **fields))
    return made


def to_document(rule: AlertRule) -> Document:
    """A rule as a JSON object of all its fields."""
    document: Document = {}
    for name in attrs.fields_dict(AlertRule):
        value = getattr(rule, name)
        document[name] = list(value) if isinstance(value, tuple) else value
    return document


def from_document(document: Mapping[str, Any]) -> AlertRule:
    """The rule of a JSON object, also of one stored before a rule that can never fire was refused.

    Raises:
        ConfigurationError: With the path of every field that is refused.
    """
    with possible.trusting():
        rule: AlertRule = _structured("rule", lambda: converter().structure(document, AlertRule))
    return rule


def from_toml(text: str, name: str = "rules.toml") -> list[AlertRule]:
    """The rules of a TOML document: an array of tables `[[rules]]` with the fields of `AlertRule`.

    `metric_type` may be left out and is then "threshold".

    Raises:
        ConfigurationError: With the path and reason of everything that is refused, all at once.
    """
    if text.startswith("\ufeff"):
        raise ConfigurationError(f"{name}: begins with a byte order mark, which TOML does not know: save it without")
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    except RecursionError:
        raise ConfigurationError(f"{name}: nested too deeply") from None
    if unknown := sorted(set(parsed) - {"rules"}):
        raise ConfigurationError(f"{name}: unknown key {unknown[0]!r}; rules stand in [[rules]] tables")
    tables = parsed.get("rules", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{name}: rules must be an array of tables, [[rules]]")
    tables = [{"metric_type": "threshold", **table} for table in tables]
    ids = [table.get("rule_id") for table in tables]
    found: list[AlertRule] = _structured(name, lambda: converter().structure(tables, list[AlertRule]), ids)
    seen: set[str] = set()
    for rule in found:
        if rule.rule_id in seen:
            raise ConfigurationError(f"{name}: rule_id {rule.rule_id!r} is given twice")
        seen.add(rule.rule_id)
    return found


def _structured(name: str, structure: Callable[[], Any], ids: Sequence[Any] = ()) -> Any:
    import cattrs  # noqa: PLC0415 - as `converter`

    try:
        return structure()
    except cattrs.BaseValidationError as error:
        told = [_with_rule(line, ids) for line in cattrs.transform_error(error, name, _told)]
        raise ConfigurationError("\n".join(told)) from error


def _with_rule(line: str, ids: Sequence[Any]) -> str:
    """What is refused, with the id of its rule behind the place where it stands, and the closest names of fields."""
    told: list[str] = []
    found = _NUMBER.search(line)
    if found is not None and int(found[1]) < len(ids) and isinstance(rule_id := ids[int(found[1])], str):
        told.append(f"rule {rule_id!r}")
    if (unknown := _UNKNOWN.search(line)) is not None:
        names = [*attrs.fields_dict(AlertRule)]
        close = [difflib.get_close_matches(name, names, n=1) for name in unknown[1].split(", ")]
        told += [f"did you mean {one[0]!r}?" for one in close if one]
    return f"{line} ({'; '.join(told)})" if told else line


def _told(error: BaseException, kind: type | None) -> str:
    if isinstance(error, InvalidRecordError):
        return str(error)
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    from cattrs.v import format_exception  # noqa: PLC0415 - as `converter`

    return format_exception(error, kind)


def difference(old: AlertRule | None, new: AlertRule | None) -> dict[str, tuple[Json, Json]]:
    """The fields that differ, each as (old, new); all of them where one of the two is None."""
    before, after = (None if rule is None else to_document(rule) for rule in (old, new))
    names = attrs.fields_dict(AlertRule)
    pairs = {name: ((before or {}).get(name), (after or {}).get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if before is None or after is None or pair[0] != pair[1]}
