"""Which column of a table is which field of a fact."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.records.kinds import Outcome, Prediction

Choice: TypeAlias = Collection[str] | Mapping[str, str] | Literal["rest"] | None
"""Columns by name, or under other names `{name: column}`; "rest" for all that are nothing else."""

FIELDS: Mapping[type[Prediction | Outcome], tuple[str, ...]] = {
    Prediction: (
        *("prediction_id", "model_version", "predicted_outcome", "confidence", "probability", "at"),
        *("features", "metadata", "segments"),
    ),
    Outcome: ("prediction_id", "actual_outcome", "known_at"),
}
"""What a column may be: of a prediction, of an outcome."""
GROUPS = ("features", "metadata", "segments")
"""The fields that several columns go into."""
REST = "rest"


@attrs.frozen(kw_only=True)
class Layout:
    """The columns of a table, by what they are.

    Attributes:
        kind: What a row is: `Prediction` or `Outcome`.
        fields: Field to its column.
        groups: `features`, `metadata` and `segments` to what is in them: name to column.
        probabilities: Label to the column of its probability; empty where none is.
        given: Fields that are the same in every row.
        rest: The group that all other columns go into; None where they are left out.
    """

    kind: type[Prediction | Outcome]
    fields: Mapping[str, str]
    groups: Mapping[str, Mapping[str, str]]
    probabilities: Mapping[Any, str] = attrs.field(factory=dict)
    given: Mapping[str, Any] = attrs.field(factory=dict)
    rest: str | None = None
    known: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "known", frozenset(self.columns))

    @property
    def columns(self) -> list[str]:
        """Every column that is read, once."""
        inside = [column for group in self.groups.values() for column in group.values()]
        return list(dict.fromkeys([*self.fields.values(), *inside, *self.probabilities.values()]))

    def column_of(self, path: str) -> str | None:
        """The column that a refused field came from; None where it came from none."""
        field = path.partition(".")[0].partition("[")[0]
        for name, column in self.groups.get(field, {}).items():
            if path.startswith((f"{field}.{name}", f"{field}[{name!r}")):
                return column
        return self.fields.get(field) or (self.fields.get("known_at") if field == "at" else None)


def layout(
    kind: type[Prediction | Outcome],
    names: Sequence[str],
    *,
    columns: Mapping[str, Any] | None = None,
    groups: Mapping[str, Choice] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Layout:
    """The layout of a table with these columns; those called like a field are that field.

    Args:
        kind: What a row is.
        names: The table's columns.
        columns: Field to column, where it is called otherwise; `probabilities` to `{label: column}`.
        groups: What goes into features, metadata and segments.
        given: Fields that no column has, the same for all rows.

    Raises:
        InvalidRecordError: If a field or a column is unknown, or one that every row needs is missing.
    """
    asked = _asked(kind, names, columns)
    probabilities = _probabilities(asked.pop("probabilities", None), names)
    constant = {name: value for name, value in (given or {}).items() if value is not None}
    fields = {field: field for field in FIELDS[kind] if field in names and field not in asked} | asked
    for field in (
        *_chances(asked, probabilities, fields),
        *(group for group, chosen in (groups or {}).items() if chosen),
    ):
        fields.pop(field, None)
    for field, value in constant.items():
        if field in fields:
            raise InvalidRecordError(field, value, f"is given twice: for all rows, and as column {fields[field]!r}")
    if kind is Outcome and "known_at" not in fields and "at" in names:
        fields["known_at"] = "at"
    made = _grouped(groups or {}, names, {*fields.values(), *probabilities.values()})
    rest = next((group for group, choice in (groups or {}).items() if isinstance(choice, str)), None)
    found = Layout(kind=kind, fields=fields, groups=made, probabilities=probabilities, given=constant, rest=rest)
    _complete(found, names)
    return found


def _asked(kind: type[Prediction | Outcome], names: Sequence[str], columns: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that were named, by field."""
    if not isinstance(columns, Mapping | None):
        raise InvalidRecordError("columns", columns, 'must be a mapping, as in {"prediction_id": "request_id"}')
    asked = dict(columns or {})
    if kind is Outcome and "at" in asked:
        asked["known_at"] = asked.pop("at")
    known = FIELDS[kind]
    for field, column in asked.items():
        if field == "probabilities" and kind is Prediction:
            continue
        if field not in known:
            reason = f"must name fields of {'an' if kind is Outcome else 'a'} {kind.kind}: {', '.join(known)}"
            raise InvalidRecordError("columns", field, reason)
        _there(column, names, f"columns.{field}")
    return asked


def _chances(asked: Mapping[str, Any], probabilities: Mapping[Any, str], fields: Mapping[str, str]) -> list[str]:
    """The fields that say a confidence in another way than the one that counts."""
    ways = [name for name in ("confidence", "probability") if name in asked] + ["probabilities"] * bool(probabilities)
    if len(ways) > 1:
        raise InvalidRecordError(
            "columns", " and ".join(ways), "must name one of confidence, probability, probabilities"
        )
    way = ways[0] if ways else "confidence" if "confidence" in fields else "probability"
    return [name for name in ("confidence", "probability") if name != way]


def _complete(found: Layout, names: Sequence[str]) -> None:
    """Refuse a table that lacks what every row needs."""
    needed = {"prediction_id", "actual_outcome"} if found.kind is Outcome else {"prediction_id", "model_version"}
    if found.kind is Prediction:
        needed |= {"predicted_outcome", "confidence"}
        if found.probabilities or "probability" in found.fields:
            needed.discard("confidence")
    for field in (one for one in FIELDS[found.kind] if one in needed):
        if field not in found.fields and field not in found.given:
            other = {"model_version": ", or model_version= for all rows", "confidence": ", or that of probability"}
            reason = (
                f"needs a column: name it in columns, as in {{{field!r}: …}}{other.get(field, '')}; "
                f"there are {_listed(names)}"
            )
            raise InvalidRecordError(field, None, reason)


def _grouped(groups: Mapping[str, Choice], names: Sequence[str], taken: set[str]) -> dict[str, dict[str, str]]:
    """What goes into each group: name to column."""
    made: dict[str, dict[str, str]] = {}
    rests = [group for group, choice in groups.items() if isinstance(choice, str) and choice == REST]
    if len(rests) > 1:
        raise InvalidRecordError(rests[1], REST, f"must not take the rest, which {rests[0]} takes")
    for group, choice in groups.items():
        if choice is None or group in rests:
            continue
        if isinstance(choice, str):
            raise InvalidRecordError(group, choice, f'must be a list of columns, as in ["{choice:.80}"], or "rest"')
        if not isinstance(choice, Mapping | Iterable):
            raise InvalidRecordError(group, choice, 'must be a list of columns, {name: column}, or "rest"')
        chosen = dict(choice) if isinstance(choice, Mapping) else {name: name for name in choice}
        for column in chosen.values():
            _there(column, names, group)
        made[group] = chosen
        taken |= set(chosen.values())
    for group in rests:
        made[group] = {name: name for name in names if name not in taken}
    return made


def _probabilities(asked: Any, names: Sequence[str]) -> dict[Any, str]:
    if asked is None:
        return {}
    if not isinstance(asked, Mapping):
        raise InvalidRecordError("columns.probabilities", asked, "must be {label: column}")
    for column in asked.values():
        _there(column, names, "columns.probabilities")
    return dict(asked)


def _there(column: Any, names: Sequence[str], field: str) -> None:
    if column not in names:
        close = difflib.get_close_matches(str(column), names, n=1)
        hint = f": did you mean {close[0]!r}?" if close else f"; there are {_listed(names)}"
        raise InvalidRecordError(field, column, f"must be a column of the table{hint}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r}"[:60] for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"  # noqa: PLR2004 - as above
