"""Facts from what a caller gave: a record, a mapping with its fields, or a few values."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.recording.chances import Chance
from f1mon_core.records.kinds import Fact, Outcome, Prediction
from f1mon_core.storage.contract import Appended

F = TypeVar("F", bound=Fact)

CHANCES = ("probability", "probabilities", "positive")
"""What a prediction may say instead of its confidence."""


@attrs.define
class LeftOut:
    """What whoever makes facts of rows left out of them so far.

    Attributes:
        skipped: Rows without a label.
        nulled: Values that are missing where a name is left out instead.
    """

    skipped: int = 0
    nulled: int = 0

    def told(self, appended: Appended) -> Appended:
        """What came of all rows."""
        return attrs.evolve(appended, skipped=appended.skipped + self.skipped, nulled=appended.nulled + self.nulled)


def prediction_of(given: object) -> Prediction:
    """A prediction from itself or from a mapping with its field names. Raises `InvalidRecordError`.

    A mapping may have `probability` (and `positive`) or `probabilities` in place of `confidence`.
    """
    if isinstance(given, Prediction):
        return given
    if isinstance(given, Mapping) and not given.keys().isdisjoint(CHANCES):
        fields = dict(given)
        chance = Chance(confidence=fields.get("confidence"), **{name: fields.pop(name, None) for name in CHANCES})
        fields["confidence"] = chance.of(fields.get("prediction_id"), fields.get("predicted_outcome"))
        given = fields
    return _of_fields(Prediction, given, CHANCES)


def outcome_of(given: object) -> Outcome:
    """An outcome from itself, a mapping with its field names, or `(prediction_id, actual_outcome[, known_at])`.

    Raises:
        InvalidRecordError: If it is none of them, or holds more or less than they do.
    """
    if isinstance(given, Outcome):
        return given
    if isinstance(given, Mapping):
        fields = dict(given)
        if "known_at" in fields:
            if "at" in fields:
                raise InvalidRecordError("at", fields["at"], "must not be given beside known_at, which is the same")
            fields["at"] = fields.pop("known_at")
        return _of_fields(Outcome, fields, ("known_at",))
    parts: tuple[Any, ...] = tuple(given) if isinstance(given, tuple | list) else ()
    if not 2 <= len(parts) <= 3:  # noqa: PLR2004 - with or without known_at
        raise InvalidRecordError("outcome", given, "must be (prediction_id, actual_outcome[, known_at])")
    return Outcome(prediction_id=parts[0], actual_outcome=parts[1], at=parts[2] if parts[2:] else None)


def _of_fields(kind: type[F], given: object, besides: Iterable[str] = ()) -> F:
    """A record from a mapping with its fields. Raises `InvalidRecordError` for one too many or too few."""
    if not isinstance(given, Mapping):
        raise InvalidRecordError(kind.kind, given, "must be a record or a mapping with its fields")
    fields = attrs.fields_dict(kind)
    identity = given.get(kind.key_fields[0])
    record = f"{kind.kind} {identity[:80]!r}" if isinstance(identity, str) else None
    for name in given:
        if name not in fields:
            raise InvalidRecordError(
                str(name),
                given[name],
                f"is no field of a {kind.kind}{_closest(name, [*fields, *besides])}",
                record=record,
            )
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in given:
            raise InvalidRecordError(name, None, "must be given", record=record)
    return kind(**given)


def _closest(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return "; features= and metadata= keep whatever belongs to it" if "features" in known else ""


def iterated(given: Any) -> Iterator[Any] | None:
    """What goes through a value's items; None where it has none."""
    if not isinstance(given, Iterable):
        return None
    try:
        return iter(given)
    except Exception:  # noqa: BLE001 - it claims to be iterable, and is not: an array without a dimension
        return None


def numbered(make: Callable[[Any], F], given: Any) -> Iterator[F]:
    """Facts of what was given, one by one; a refusal says which it was, counted from 0.

    Raises:
        InvalidRecordError: If one is refused, or it is not several at all.
    """
    several = None if isinstance(given, Mapping | str | bytes | Fact) else iterated(given)
    if several is None:
        raise InvalidRecordError("records", given, "must be an iterable of records or a frame: give [record] for one")
    for number, one in enumerate(several):
        try:
            made = make(one)
        except InvalidRecordError as error:
            error.where = error.where or f"record {number}"
            raise
        yield made
