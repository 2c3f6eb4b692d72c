"""What a line of the old system's files means: facts, repairs, or a reason to set it aside. Nothing here is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import attrs

from f1mon_core.errors import InvalidRecordError
from f1mon_core.legacy.records import health_metrics, instant, label, without_nan
from f1mon_core.records.fields import MAX_ID_CHARACTERS, Document
from f1mon_core.records.kinds import (
    Acknowledgement,
    Alert,
    Fact,
    HealthSnapshot,
    MetricSnapshot,
    Prediction,
)

ADOPTION = "f1mon_adoption"
"""The metadata key under which an adopted record says what became of its line."""

_REPAIRS = frozenset({"repaired", "nulled"})
"""What is said there of a line's repairs, not of its content."""

_OWN = "own"
"""Where that says what the record's metadata had under its key."""

UNSPECIFIED = "unspecified"
"""The model of an old metric, which named none."""

_BOM = b"\xef\xbb\xbf"
_FIRST_KEY = '{"timestamp"'
"""How the old system began every line."""

_BLANKS = (" ", "\t", "\r", "\n")
_decoder = json.JSONDecoder()


class Unreadable(Exception):
    """Why a line holds no record."""


@attrs.frozen
class Line:
    """One line of a file.

    Attributes:
        number: From 1.
        whole: Its bytes, with the newline if it has one.
    """

    number: int
    whole: bytes

    @property
    def raw(self) -> bytes:
        """Its bytes without the end of the line."""
        return self.whole.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def terminated(self) -> bool:
        """Whether it ends in a newline, so that nothing can be added to it."""
        return self.whole.endswith(b"\n")


@attrs.frozen
class Read:
    """One record: the part of a line that it is, its fields, and what had to be repaired for it."""

    line: Line
    fields: dict[str, Any]
    repairs: tuple[str, ...] = ()


@attrs.frozen
class Torn:
    """A part of a line that is no record, and why."""

    line: Line
    reason: str


def wide_encoding(beginning: bytes) -> str | None:
    """What a file is written in by its first two bytes, where that is UTF-16; else None."""
    if beginning in {b"\xff\xfe", b"\xfe\xff"}:
        return "UTF-16"
    return {b"{\0": "UTF-16LE", b"[\0": "UTF-16LE", b"\0{": "UTF-16BE", b"\0[": "UTF-16BE"}.get(beginning)


def nothing_adopted(name: str, encoding: str | None) -> str:
    """Why nothing of a file was adopted, and what to do where that is for its encoding."""
    if encoding is None:
        return f"nothing in {name} could be adopted: all of it is set aside"
    return (
        f"{name} is {encoding}, and the old system's files are UTF-8: all of it is set aside; convert it and adopt"
        f" again: iconv -f {encoding} -t UTF-8 {name} > converted && mv converted {name}"
    )


def lines(file: BinaryIO, number: int) -> Iterator[Line]:
    """The lines from where `file` stands, the first of them counted `number`; split at newlines only."""
    for count, whole in enumerate(file, number):
        yield Line(count, whole)


def read(line: Line) -> list[Read | Torn]:
    """What a line holds, in its order: one record, as a rule.

    A torn write left no newline, so the next record was glued to it; of several, every whole one is read.

    Raises:
        Unreadable: If there is no whole record in it.
    """
    repairs: tuple[str, ...] = ()
    raw = line.raw
    if line.number == 1 and raw.startswith(_BOM):
        raw = raw[len(_BOM) :]
        repairs = ("a byte order mark was skipped",)
    try:
        return [Read(Line(line.number, raw), parsed(raw), repairs)]
    except Unreadable:
        parts = list(_parts(Line(line.number, raw)))
        if not any(isinstance(part, Read) for part in parts):
            raise
    return [attrs.evolve(parts[0], repairs=repairs) if isinstance(parts[0], Read) else parts[0], *parts[1:]]


def _parts(line: Line) -> Iterator[Read | Torn]:
    """The whole records in a line, and what lies between them."""
    text = line.raw.decode(errors="surrogateescape")
    taken, at = 0, _behind_blanks(text, 0)
    while at >= 0:
        found = _record_at(text, at)
        if found is None:
            at = text.find(_FIRST_KEY, at + 1)
            continue
        fields, end = found
        yield from _torn(line, text[taken:at])
        yield Read(Line(line.number, text[at:end].encode()), fields)
        taken, at = end, _behind_blanks(text, end)
        if not text.startswith("{", at):
            at = text.find(_FIRST_KEY, at)
    yield from _torn(line, text[taken:])


def _record_at(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    """The JSON object that begins at a place, and where it ends; None if there is no whole one."""
    try:
        fields, end = _decoder.raw_decode(text, start)
        text[start:end].encode()  # fails on bytes that were no UTF-8
    except (ValueError, RecursionError):
        return None
    return (fields, end) if isinstance(fields, dict) else None


def _behind_blanks(text: str, start: int) -> int:
    while text[start : start + 1] in _BLANKS:
        start += 1
    return start


def _torn(line: Line, text: str) -> Iterator[Torn]:
    if text := text.strip("".join(_BLANKS)):
        raw = text.encode(errors="surrogateescape")
        yield Torn(Line(line.number, raw), "not a whole record; whole ones were glued to it")


def parsed(raw: bytes) -> dict[str, Any]:
    """The JSON object that some bytes are. Raises `Unreadable`."""
    try:
        fields = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Unreadable(f"not a JSON object but a {type(fields).__name__}")
    return fields


def digest(value: Any) -> str:
    """The SHA-256 of bytes, or of a JSON value's canonical form (NaN included), in hexadecimal."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(value).hexdigest()


# Records ------------------------------------------------------------------------------------------------------------


class Fields:
    """The fields of one line, taken one by one; what nobody took, and what was repaired, goes into the metadata."""

    def __init__(self, read: Read) -> None:
        self._left = dict(read.fields)
        self._nulled: list[str] = []
        self._note: Document = {"repaired": list(read.repairs)} if read.repairs else {}

    def take(self, name: str, *default: Any) -> Any:
        """A field as it is. Raises `InvalidRecordError` if it is missing and has no default."""
        if name not in self._left:
            if default:
                return default[0]
            raise InvalidRecordError(name, None, "is missing")
        return self._left.pop(name)

    def number(self, name: str) -> Any:
        """A field that may be missing, in which NaN and infinities are None."""
        return without_nan(self.take(name, None), name, self._nulled)

    def object(self, name: str) -> Document:
        """A JSON object that may be missing or null, in which NaN and infinities are None."""
        given = self.take(name, None)
        if given is not None and not isinstance(given, Mapping):
            raise InvalidRecordError(name, given, "must be an object")
        made: Document = without_nan(given or {}, name, self._nulled)
        return made

    def note(self, name: str, value: Any) -> None:
        """Keep something about the line in its metadata."""
        self._note[name] = value

    def metadata(self, own: Document | None = None) -> Document:
        """The record's own metadata, and under `ADOPTION` what was unknown or repaired."""
        unknown = without_nan(self._left, "", self._nulled)
        note = {
            **self._note,
            **({"unknown": unknown} if unknown else {}),
            **({"nulled": [name.removeprefix(".") for name in self._nulled]} if self._nulled else {}),
        }
        own = own or {}
        if note and ADOPTION in own:
            note[_OWN] = own[ADOPTION]
        return {**own, **({ADOPTION: note} if note else {})}

    @property
    def repairs(self) -> list[str]:
        """What was changed, in words."""
        repaired = self._note.get("repaired")
        nulled = [f"NaN or infinity in {name.removeprefix('.')} became null" for name in self._nulled]
        return [*map(str, repaired if isinstance(repaired, list) else ()), *nulled]


def unrepaired(fact: Fact) -> Fact:
    """An adopted fact as if its line had needed no repair: two that are the same then repeat each other."""
    metadata: Document = getattr(fact, "metadata", {})
    note = metadata.get(ADOPTION)
    if not isinstance(note, Mapping) or not _REPAIRS & note.keys():
        return fact
    kept: Document = {name: value for name, value in note.items() if name not in _REPAIRS}
    if kept.keys() == {_OWN}:
        changed = {**metadata, ADOPTION: kept[_OWN]}
    elif kept:
        changed = {**metadata, ADOPTION: kept}
    else:
        changed = {name: value for name, value in metadata.items() if name != ADOPTION}
    changes: dict[str, Any] = {"metadata": changed}
    return attrs.evolve(fact, **changes)


def prediction(fields: Fields, _: Line) -> list[Fact]:
    """A line of predictions.jsonl."""
    features = fields.object("features")
    own = fields.object("metadata")
    taken = {
        "at": instant(fields.take("timestamp")),
        "prediction_id": fields.take("prediction_id"),
        "model_version": fields.take("model_version"),
        "predicted_outcome": label(fields.take("predicted_outcome"), "predicted_outcome"),
        "confidence": fields.take("confidence"),
    }
    return [Prediction(features=features, metadata=fields.metadata(own), **taken)]


def health_snapshot(fields: Fields, line: Line) -> list[Fact]:
    """A line of health_snapshots.jsonl; untrusted, because its accuracy was computed as mean confidence."""
    metrics = health_metrics({name: fields.number(name) for name in health_metrics({})})
    taken = {
        "at": instant(fields.take("timestamp")),
        "model_version": fields.take("model_version"),
        "trend": fields.number("prediction_accuracy_trend"),
        "degradation_detected": bool(fields.take("degradation_detected", False)),
    }
    return [
        HealthSnapshot(
            metrics=metrics, metadata=fields.metadata(), trusted=False, snapshot_id=digest(line.raw), **taken
        )
    ]


def metric(fields: Fields, line: Line) -> list[Fact]:
    """A line of metrics.jsonl."""
    taken = {
        "at": instant(fields.take("timestamp")),
        "metric_name": fields.take("metric_name"),
        "model_version": fields.take("model_version", UNSPECIFIED),
        "value": fields.number("value"),
    }
    own = {name: fields.number(name) for name in ("window_size", "threshold", "status")}
    return [MetricSnapshot(metadata=fields.metadata(own), snapshot_id=digest(line.raw), **taken)]


Translate = Callable[[Fields, Line], list[Fact]]


# Alerts -------------------------------------------------------------------------------------------------------------

_ACKNOWLEDGEMENT = ("acknowledged", "acknowledged_at", "acknowledged_by")


@attrs.frozen
class OldAlert:
    """One line of alerts.jsonl.

    Attributes:
        content: The digest of what the alert says, NaN and null alike; its acknowledgement apart, which the old system
            wrote over.
    """

    read: Read
    alert_id: str
    content: str

    @classmethod
    def of(cls, read: Read) -> OldAlert:
        """Raises `InvalidRecordError` if there is no usable id."""
        alert_id = read.fields.get("alert_id")
        if not isinstance(alert_id, str) or not alert_id:
            raise InvalidRecordError("alert_id", alert_id, "must be a str of at least one character")
        said = {name: value for name, value in read.fields.items() if name not in _ACKNOWLEDGEMENT}
        return cls(read, alert_id, digest(without_nan(said, "", [])))


def derived_ids(alerts: Sequence[OldAlert], first: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """The id of each different alert, by its old id and content.

    The first of an old id keeps it, the others become `<id>-<8 hex of the content's digest>`.

    Args:
        alerts: In the order of the file.
        first: Old ids that are given away already, to the content that has them.
    """
    holders = dict(first)
    ids: dict[tuple[str, str], str] = {}
    for one in alerts:
        holder = holders.setdefault(one.alert_id, one.content)
        short = one.content[:8]
        own = one.alert_id if holder == one.content else f"{one.alert_id[: MAX_ID_CHARACTERS - 9]}-{short}"
        ids[one.alert_id, one.content] = own
    return ids


def alert(fields: Fields, alert_id: str, old_id: str) -> list[Fact]:
    """A line of alerts.jsonl under the id it gets: the alert, and its acknowledgement if it has one."""
    at = instant(fields.take("timestamp"))
    fields.take("alert_id")
    acknowledged = fields.take("acknowledged", False)
    when, who = fields.take("acknowledged_at", None), fields.take("acknowledged_by", None)
    if alert_id != old_id:
        fields.note("alert_id", old_id)
    taken = {name: fields.take(name) for name in ("severity", "title", "message", "metric_name", "component")}
    made = Alert(
        alert_id=alert_id,
        at=at,
        model_version=fields.take("model_version"),
        metric_value=fields.number("metric_value"),
        threshold=fields.number("threshold"),
        metadata=fields.metadata(),
        **taken,
    )
    if not acknowledged:
        return [made]
    since = at if when is None else instant(when, "acknowledged_at")
    return [made, Acknowledgement(alert_id=alert_id, at=since, by=who or None)]


def rule_documents(raw: bytes) -> list[dict[str, Any]]:
    """The rules in alert_rules.json, oldest first. Raises `Unreadable`."""
    try:
        given = json.loads(raw.removeprefix(_BOM).decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(given, list):
        raise Unreadable("not a list of rules")
    return given
