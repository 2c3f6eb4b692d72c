"""Facts to rows and back. Flags are 0 or 1, instants microseconds, documents ASCII JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, TypeAlias, cast

from f1mon_core.errors import CorruptStoreError, F1monError, InvalidQueryError, SchemaError
from f1mon_core.records import fields
from f1mon_core.records.documents import Kept, content_document, from_content, stored_facts
from f1mon_core.records.fields import Segments, checks, ordinal
from f1mon_core.records.json_text import canonical, decoded, encoded, encoded_all
from f1mon_core.records.kinds import Alert, Fact, Outcome, Prediction, key_text
from f1mon_core.records.times import to_micros
from f1mon_core.storage.select import Scalar
from f1mon_sql.tables.definitions import ATTRIBUTE_BYTES, KIND_CHARACTERS

PREDICTION_COLUMNS = (
    "prediction_id",
    "ordinal",
    "predicted_at",
    "at_given",
    "recorded_at",
    "model_version",
    "predicted_outcome",
    "predicted_text",
    "confidence",
    "segments",
)
CURRENT_COLUMNS = ("actual_outcome", "actual_text", "known_at", "first_known_at")
"""What the rows of an item hold of its outcomes."""
JOINED_COLUMNS = (*PREDICTION_COLUMNS, *CURRENT_COLUMNS)
PRUNED_COLUMNS = ("prediction_id", "ordinal", "model_version", "pruned", *CURRENT_COLUMNS)
FEATURE_COLUMNS = ("prediction_id", "ordinal", "features", "metadata")
OUTCOME_COLUMNS = ("prediction_id", "known_at", "at_given", "recorded_at", "actual_outcome", "actual_text")
ALERT_COLUMNS = ("alert_id", "at", "at_given", "recorded_at", "v", *Alert.attributes, "content")
FACT_COLUMNS = ("kind", "key_1", "key_2", "at", "at_given", "recorded_at", "v", "content")
ATTRIBUTE_COLUMNS = ("kind", "key_1", "key_2", "name", "at", "value")
STATE_COLUMNS = ("state_key", "document", "due")
OPERATION_COLUMNS = ("operation", "at", "result")

Row: TypeAlias = tuple[Any, ...]
KEY_PARTS = 2


def label_columns(label: int | str) -> tuple[int | None, str | None]:
    """A label as its two columns."""
    return (None, label) if isinstance(label, str) else (label, None)


def label_of(number: Any, text: Any) -> Any:
    """A label from its two columns."""
    return number if text is None else text


def segments_from(text: str | None) -> Segments:
    """Segments from their column."""
    return {} if text is None else cast("Segments", decoded(text))


def prediction_rows(facts: Sequence[Prediction], ordinals: Iterable[int], recorded_at: int | None) -> list[Row]:
    """Predictions in the order of `PREDICTION_COLUMNS`; as recorded at an instant, or None for that of each."""
    rows: list[Row] = []
    for fact, place in zip(facts, ordinals, strict=True):
        label = fact.predicted_outcome
        number, text = (None, label) if isinstance(label, str) else (label, None)
        rows.append(
            (
                fact.prediction_id,
                place,
                to_micros(fact.at),  # type: ignore[arg-type]  # a staged fact has one
                1 if fact.at_given else 0,
                to_micros(fact.recorded_at) if recorded_at is None else recorded_at,  # type: ignore[arg-type]
                fact.model_version,
                number,
                text,
                fact.confidence,
                canonical(fact.segments) if fact.segments else None,  # type: ignore[arg-type]  # of JSON values
            )
        )
    return rows


def feature_rows(facts: Sequence[Prediction], ordinals: Sequence[int]) -> list[Row]:
    """Features and metadata of those that have any, in the order of `FEATURE_COLUMNS`."""
    having = [fact for fact in facts if fact.features or fact.metadata]
    if len(having) < len(facts):
        ordinals = [one for fact, one in zip(facts, ordinals, strict=True) if fact.features or fact.metadata]
    features = encoded_all([fact.features for fact in having])
    some = any(fact.metadata for fact in having)
    metadata = encoded_all([fact.metadata for fact in having]) if some else repeat("{}", len(having))
    return list(zip([fact.prediction_id for fact in having], ordinals, features, metadata, strict=True))


def outcome_row(fact: Outcome, recorded_at: int) -> Row:
    """An outcome in the order of `OUTCOME_COLUMNS`."""
    return (
        fact.prediction_id,
        to_micros(fact.instant),
        int(fact.at_given),
        recorded_at,
        *label_columns(fact.actual_outcome),
    )


def alert_row(fact: Alert, recorded_at: int) -> Row:
    """An alert in the order of `ALERT_COLUMNS`."""
    return (
        fact.alert_id,
        to_micros(fact.instant),
        int(fact.at_given),
        recorded_at,
        fact.version,
        *(getattr(fact, name) for name in Alert.attributes),
        encoded(content_document(fact)),
    )


def fact_row(fact: Fact, recorded_at: int) -> Row:
    """A fact of any other kind in the order of `FACT_COLUMNS`."""
    return (
        fact.kind,
        *key_columns(fact),
        to_micros(fact.instant),
        int(fact.at_given),
        recorded_at,
        fact.version,
        encoded(content_document(fact)),
    )


def key_columns(fact: Fact) -> tuple[str, str]:
    """The key of a fact as the two columns of `facts`."""
    return padded_key(fact.key, fact.kind)


def padded_key(key: Sequence[str], kind: str) -> tuple[str, str]:
    """A key of one or two parts as two."""
    if len(key) > KEY_PARTS or len(kind) > KIND_CHARACTERS:
        raise InvalidQueryError(f"a {kind} cannot be kept in SQL: at most two key parts and {KIND_CHARACTERS} letters")
    return (key[0], key[1] if len(key) == KEY_PARTS else "")


def attribute_rows(fact: Fact) -> list[Row]:
    """The declared attributes of a fact in the order of `ATTRIBUTE_COLUMNS`."""
    return [
        (fact.kind, *key_columns(fact), name, to_micros(fact.instant), attribute_text(getattr(fact, name)))
        for name in fact.attributes
    ]


def attribute_text(value: Scalar) -> str:
    """An attribute's value and type as text, of a size an index can hold: 1, True and "1" differ."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text.encode()) <= ATTRIBUTE_BYTES:
        return text
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def attribute_value(text: str) -> Scalar:
    """The value of `attribute_text`; LookupError for one that was too long to be kept."""
    if text.startswith("sha256:"):
        raise LookupError(text)
    return cast("Scalar", json.loads(text))


READ_COLUMNS = tuple(name for name in PREDICTION_COLUMNS if name != "ordinal")
"""What `prediction_parts` reads, before features and metadata."""


def prediction_parts(row: Sequence[Any]) -> Kept:
    """A prediction from its `READ_COLUMNS`, then features and metadata or None."""
    prediction_id, at, at_given, recorded_at, model_version, number, text, confidence, segments, features, metadata = (
        row
    )
    content = {
        "prediction_id": prediction_id,
        "model_version": model_version,
        "predicted_outcome": label_of(number, text),
        "confidence": confidence,
        "features": {} if features is None else decoded(features),
        "metadata": {} if metadata is None else decoded(metadata),
    }
    if segments is not None:
        content["segments"] = decoded(segments)
    return Prediction.kind, Prediction.version, at, at_given, recorded_at, content


def outcome_parts(row: Sequence[Any]) -> Kept:
    """An outcome from the columns of `OUTCOME_COLUMNS`."""
    prediction_id, known_at, at_given, recorded_at, number, text = row
    content = {"prediction_id": prediction_id, "actual_outcome": label_of(number, text)}
    return Outcome.kind, Outcome.version, known_at, at_given, recorded_at, content


def content_parts(kind: str, row: Sequence[Any]) -> Kept:
    """An alert or a fact of any other kind from at, at_given, recorded_at, v and content."""
    at, at_given, recorded_at, version, text = row
    content = decoded(text)
    if not isinstance(content, dict):
        raise CorruptStoreError(f"the content of a stored {kind} is no object; run `f1mon check`")
    return kind, version, at, at_given, recorded_at, content


def checked(parts: Callable[[Sequence[Any]], Kept], row: Sequence[Any]) -> Fact:
    """A fact from its row, with every check that it passed when it was stored. Raises as `restored`."""
    with _readable():
        kind, version, at, at_given, recorded_at, content = made = parts(row)
        stored_facts([made])  # or what is found sound here might not be readable
        stamps = {"at": at, "at_given": bool(at_given), "recorded_at": recorded_at}
        return from_content(kind, version, {**content, **stamps})


def restored(parts: Callable[[Sequence[Any]], Kept], rows: Iterable[Sequence[Any]]) -> list[Fact]:
    """Facts from their rows. Raises `CorruptStoreError` if no fact of f1mon looks like one of them."""
    with _readable():
        return stored_facts(map(parts, rows))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (SchemaError, CorruptStoreError):
        raise
    except F1monError as error:
        raise CorruptStoreError(f"a stored row cannot be read ({error}); run `f1mon check`") from error
    except (TypeError, ValueError) as error:
        raise CorruptStoreError(f"a stored row cannot be read ({type(error).__name__}); run `f1mon check`") from error


def key_type(record: type[Fact], name: str) -> type[int | str]:
    """Whether a part of a key is an integer or text."""
    check = next(field.check for field in checks(record) if field.name == name)
    return int if check in {fields.count, ordinal} else str


def key_part(record: type[Fact], name: str, text: str) -> Scalar:
    """The value of a key's part from its text."""
    return int(text) if key_type(record, name) is int else text


def key_choice(record: type[Fact], name: str, wanted: Scalar) -> str | None:
    """The text of a key's part that equals `wanted`, None if no part of that type does."""
    return key_text(wanted) if type(wanted) is key_type(record, name) else None
