"""Hostile input and what becomes of it: the same value back, or the same typed error, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs

from f1mon_core.records.kinds import Cursor, Fact, HealthSnapshot, RuleRevision
from f1mon_core.records.times import EPOCH, LATEST
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import NOON, acknowledgement, alert, outcome, prediction

MEBIBYTE = 1 << 20


@attrs.frozen
class Hostile:
    """One hostile input.

    Attributes:
        make: Makes the fact, or raises.
        field: The field that is refused; None for what is stored.
        kept: Fields and the values they have when they come back, where those differ from the fact made.
    """

    make: Callable[[], Fact]
    field: str | None = None
    kept: Mapping[str, Any] = attrs.field(factory=dict)


def nested(depth: int) -> dict[str, Any]:
    """An object so deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"x": value}
    return value


def _features(value: Any, *, refused: bool = False, kept: Any = None) -> Hostile:
    return Hostile(
        lambda: prediction(features={"x": value}),
        "features.x" if refused else None,
        {} if kept is None else {"features": {"x": kept}},
    )


class Unprintable:
    """What raises when an error message shows it."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


STORED: Mapping[str, Hostile] = {
    "an id of 255 characters": Hostile(lambda: prediction("\U0001f3ce" * 255)),
    "an id of one control character": Hostile(lambda: prediction("\x01")),
    "an id that is a path": Hostile(lambda: prediction("../../etc/passwd")),
    "an id that is SQL": Hostile(lambda: prediction("'; DROP TABLE prediction; --")),
    "an id that is a format": Hostile(lambda: prediction("%s%(x)s{0}${x}:name")),
    "an id that is a line break": Hostile(lambda: prediction("a\n{\r\u2028\x85")),
    "an id with a byte order mark": Hostile(lambda: prediction("\ufeffa")),
    "an id that is right to left": Hostile(lambda: prediction("\u202eabc")),
    "text with NUL": Hostile(lambda: alert(title="a\0b", message="\0")),
    "text that is empty": Hostile(lambda: alert(title="", message="")),
    "text of almost a mebibyte": Hostile(lambda: alert(message="x" * (MEBIBYTE - 2))),
    "NUL in features": _features("a\0b"),
    "NUL as a key": Hostile(lambda: prediction(features={"\0": 1, "": 2})),
    "the largest and smallest 64-bit labels": Hostile(lambda: prediction(predicted_outcome=2**63 - 1)),
    "the smallest 64-bit label": Hostile(lambda: outcome("p", -(2**63), NOON)),
    "a bool as a label": Hostile(lambda: prediction(predicted_outcome=True), kept={"predicted_outcome": 1}),
    "a bool as an outcome": Hostile(lambda: outcome("p", False, NOON), kept={"actual_outcome": 0}),
    "a label of text": Hostile(lambda: prediction(predicted_outcome="malignant")),
    "a label that looks like a number": Hostile(lambda: outcome("p", "1", NOON)),
    "a label that is a space": Hostile(lambda: prediction(predicted_outcome=" ")),
    "a label of 255 characters": Hostile(lambda: prediction(predicted_outcome="\U0001f3ce" * 255)),
    "a label that is SQL": Hostile(lambda: outcome("p", "'; DROP TABLE prediction; --", NOON)),
    "segments of text, numbers and nothing": Hostile(
        lambda: prediction(segments={"country": "DE", "tier": -(2**63), "none": "", "0": 0, "text": "0"})
    ),
    "a bool as a segment": Hostile(
        lambda: prediction(segments={"new": True, "old": False}), kept={"segments": {"new": 1, "old": 0}}
    ),
    "segments of hostile names": Hostile(
        lambda: prediction(segments={"\U0001f3ce" * 64: 1, "%s${x}'\"`": 2, "\n": 3, " ": 4, "a.b[0]": 5, "\x01": 6})
    ),
    "segments of hostile values": Hostile(
        lambda: prediction(segments={"a": "\U0001f3ce" * 255, "b": "'; --", "c": "\u2028\n", "d": "a ", "e": "A"})
    ),
    "as many segments as there may be": Hostile(lambda: prediction(segments={f"s{n}": n for n in range(16)})),
    "a label beyond the integers of a double": Hostile(lambda: prediction(predicted_outcome=2**53 + 1)),
    "64-bit integers in features": _features([2**63 - 1, -(2**63), 2**53 + 1]),
    "doubles at their edges": _features([5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e22, 123456789.123456789]),
    "numbers that look alike": _features([1, 1.0, True, "1", None]),
    "negative zero": Hostile(lambda: prediction(confidence=-0.0), kept={"confidence": 0.0}),
    "negative zero in features": _features([-0.0, -0.0], kept=[0.0, 0.0]),
    "confidence of a denormal": Hostile(lambda: prediction(confidence=5e-324)),
    "confidence as a Decimal": Hostile(lambda: prediction(confidence=Decimal("0.25")), kept={"confidence": 0.25}),
    "confidence as a Fraction": Hostile(lambda: prediction(confidence=Fraction(1, 4)), kept={"confidence": 0.25}),
    "confidence as an int": Hostile(lambda: prediction(confidence=1), kept={"confidence": 1.0}),
    "NaN in features": _features([1, float("nan")], kept=[1, None]),
    "infinity in features": _features({"y": float("-inf")}, kept={"y": None}),
    "a datetime in features": _features(NOON, kept="2026-05-01T12:00:00+00:00"),
    "a Decimal in features": _features(Decimal("12.50"), kept=12.5),
    "confidence of a float32 above 1": Hostile(lambda: prediction(confidence=1 + 2**-23), kept={"confidence": 1.0}),
    "JSON 64 deep": Hostile(lambda: prediction(features=nested(64))),
    "a tuple in features": _features((1, (2,)), kept=[1, [2]]),
    "ten thousand features": Hostile(
        lambda: prediction(features={f"f{number}": number / 7 for number in range(10_000)})
    ),
    "features of almost a mebibyte": _features("x" * (MEBIBYTE - 8)),
    "astral characters of almost a mebibyte": _features("\U0001f3ce" * (MEBIBYTE // 12 - 1)),
    "the first instant": Hostile(lambda: prediction(at=EPOCH)),
    "the last instant": Hostile(lambda: prediction(at=LATEST)),
    "another time zone": Hostile(
        lambda: prediction(at=NOON.astimezone(timezone(timedelta(hours=14)))), kept={"at": NOON}
    ),
    "the largest revision": Hostile(lambda: RuleRevision(rule_id="r", revision=2**63 - 1, at=NOON)),
    "an acknowledgement by nobody": Hostile(lambda: acknowledgement(by=None, note=None)),  # type: ignore[arg-type]
    "a snapshot of nothing": Hostile(lambda: HealthSnapshot(snapshot_id="s", model_version="m", at=NOON)),
}
"""What must come back as it went in."""

REFUSED: Mapping[str, Hostile] = {
    "an empty id": Hostile(lambda: prediction(""), "prediction_id"),
    "an id of 256 characters": Hostile(lambda: prediction("x" * 256), "prediction_id"),
    "an id with NUL": Hostile(lambda: prediction("a\0"), "prediction_id"),
    "an id with a lone surrogate": Hostile(lambda: prediction("\ud800"), "prediction_id"),
    "an id that is bytes": Hostile(lambda: prediction(b"a"), "prediction_id"),  # type: ignore[arg-type]
    "an id that is None": Hostile(lambda: prediction(None), "prediction_id"),  # type: ignore[arg-type]
    "a model without a name": Hostile(lambda: prediction(model_version=""), "model_version"),
    "text with a lone surrogate": Hostile(lambda: alert(message="\udfff"), "message"),
    "text of more than a mebibyte": Hostile(lambda: alert(message="x" * MEBIBYTE), "message"),
    "a label of nothing": Hostile(lambda: prediction(predicted_outcome=""), "predicted_outcome"),
    "a label that is None": Hostile(lambda: outcome(actual=None), "actual_outcome"),  # type: ignore[arg-type]
    "a label of 256 characters": Hostile(lambda: outcome(actual="x" * 256), "actual_outcome"),
    "a label with NUL": Hostile(lambda: prediction(predicted_outcome="a\0"), "predicted_outcome"),
    "a label with a lone surrogate": Hostile(lambda: prediction(predicted_outcome="\ud800"), "predicted_outcome"),
    "a label of bytes": Hostile(lambda: outcome(actual=b"a"), "actual_outcome"),  # type: ignore[arg-type]
    "a Decimal as a label": Hostile(lambda: prediction(predicted_outcome=Decimal(1)), "predicted_outcome"),
    "segments that are a list": Hostile(lambda: prediction(segments=["country"]), "segments"),
    "segments that are None": Hostile(lambda: prediction(segments=None), "segments"),
    "17 segments": Hostile(lambda: prediction(segments={f"s{n}": n for n in range(17)}), "segments"),
    "a segment without a name": Hostile(lambda: prediction(segments={"": 1}), "segments"),
    "a segment named by a number": Hostile(lambda: prediction(segments={1: 1}), "segments"),
    "a segment named by 65 characters": Hostile(lambda: prediction(segments={"x" * 65: 1}), "segments"),
    "a segment named with NUL": Hostile(lambda: prediction(segments={"a\0": 1}), "segments"),
    "a segment of None": Hostile(lambda: prediction(segments={"x": None}), "segments.x"),
    "a segment of a float": Hostile(lambda: prediction(segments={"x": 1.0}), "segments.x"),
    "a segment of 2**63": Hostile(lambda: prediction(segments={"x": 2**63}), "segments.x"),
    "a segment of 256 characters": Hostile(lambda: prediction(segments={"x": "x" * 256}), "segments.x"),
    "a segment with NUL": Hostile(lambda: prediction(segments={"x": "a\0"}), "segments.x"),
    "a segment with a lone surrogate": Hostile(lambda: prediction(segments={"x": "\udfff"}), "segments.x"),
    "a segment of a list": Hostile(lambda: prediction(segments={"x": ["DE"]}), "segments.x"),
    "a float as a label": Hostile(lambda: prediction(predicted_outcome=1.0), "predicted_outcome"),
    "a label of 2**63": Hostile(lambda: prediction(predicted_outcome=2**63), "predicted_outcome"),
    "a label of 2**200": Hostile(lambda: outcome(actual=2**200), "actual_outcome"),
    "NaN as confidence": Hostile(lambda: prediction(confidence=float("nan")), "confidence"),
    "infinite confidence": Hostile(lambda: prediction(confidence=float("inf")), "confidence"),
    "confidence above 1": Hostile(lambda: prediction(confidence=1.0000000000000002), "confidence"),
    "confidence below 0": Hostile(lambda: prediction(confidence=-5e-324), "confidence"),
    "confidence as text": Hostile(lambda: prediction(confidence="0.5"), "confidence"),
    "confidence as a bool": Hostile(lambda: prediction(confidence=True), "confidence"),
    "2**200 in features": _features(2**200, refused=True),
    "a lone surrogate in features": _features("\ud83c", refused=True),
    "a lone surrogate as a key": Hostile(lambda: prediction(features={"\ud83c": 1}), "features"),
    "an int as a key": Hostile(lambda: prediction(features={1: 1}), "features"),
    "bytes in features": _features(b"x", refused=True),
    "a set in features": _features({1}, refused=True),
    "a set deep in features": Hostile(lambda: prediction(features={"x": [0, {"a b": {1}}]}), "features.x[1]['a b']"),
    "what cannot be shown in features": _features(Unprintable(), refused=True),
    "JSON 65 deep": Hostile(lambda: prediction(features=nested(65)), "features"),
    "JSON 100,000 deep": Hostile(lambda: prediction(features=nested(100_000)), "features"),
    "features of 10 MB": _features("x" * 10_000_000, refused=True),
    "a million features": Hostile(lambda: prediction(features={str(n): 0.5 for n in range(200_000)}), "features"),
    "features that are a list": Hostile(lambda: prediction(features=[1]), "features"),
    "features that are text": Hostile(lambda: prediction(features="{}"), "features"),
    "a naive time": Hostile(lambda: prediction(at=datetime(2026, 5, 1)), "at"),  # noqa: DTZ001 - that is the point
    "a time before 1970": Hostile(lambda: prediction(at=EPOCH - timedelta(microseconds=1)), "at"),
    "a time beyond 9999": Hostile(
        lambda: prediction(at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))), "at"
    ),
    "a time as a number": Hostile(lambda: prediction(at=0), "at"),
    "a time as text": Hostile(lambda: outcome(known_at="2026-05-01T12:00:00Z"), "at"),  # type: ignore[arg-type]
    "a severity that is none": Hostile(lambda: alert(severity="fatal"), "severity"),
    "revision 0": Hostile(lambda: RuleRevision(rule_id="r", revision=0), "revision"),
}
"""What must be refused by an `InvalidRecordError` that names the field."""

QUESTIONS: Mapping[str, Callable[[Any], Any]] = {
    "an unknown kind": lambda store: store.find(Select("nothing")),
    "an attribute that is not declared": lambda store: store.find(Select("prediction", where={"confidence": 1})),
    "an attribute that is SQL": lambda store: store.find(Select("prediction", where={"1=1; --": 1})),
    "a model of a kind without one": lambda store: store.find(Select("outcome", model_version="m")),
    "a negative limit": lambda store: store.find(Select("prediction", limit=-1)),
    "a limit that is a bool": lambda store: store.find(Select("prediction", limit=True)),
    "a naive window": lambda store: store.find(Select("prediction", since=datetime(2026, 5, 1))),  # noqa: DTZ001
    "a cursor that is none": lambda store: store.find(Select("prediction", after=(NOON, ("a",)))),  # type: ignore[arg-type]
    "a cursor of another kind": lambda store: store.find(Select("prediction", after=Cursor(NOON, ("a",)))),
    "a cursor without a key": lambda store: store.find(Select("prediction", after=Cursor(NOON, ()))),
    "a cursor that is not text": lambda store: store.find(Select("prediction", after=Cursor(NOON, ("a", 1)))),  # type: ignore[arg-type]
    "a cursor with NUL": lambda store: store.find(Select("prediction", after=Cursor(NOON, ("a\0", "m")))),
    "a cursor that is no unicode": lambda store: store.find(Select("alert", after=Cursor(NOON, ("\ud800",)))),
    "a cursor with two times": lambda store: store.find(Select("outcome", after=Cursor(NOON, ("a", "x")))),
    "a cursor at no time": lambda store: store.find(Select("prediction", after=Cursor(None, ("a", "m")))),  # type: ignore[arg-type]
    "a cursor at a naive time": lambda store: store.find(
        Select("prediction", after=Cursor(datetime(2026, 5, 1), ("a", "m")))  # noqa: DTZ001
    ),
    "no bins": lambda store: store.tally(TallyQuery(bins=0)),
    "too many bins": lambda store: store.tally(TallyQuery(bins=10_001)),
    "a bool of bins": lambda store: store.tally(TallyQuery(bins=True)),
    "a bucket without width": lambda store: store.tally(TallyQuery(bucket=timedelta(0))),
    "an unknown basis": lambda store: store.tally(TallyQuery(basis="matured")),  # type: ignore[arg-type]
    "a segment that cannot be one": lambda store: store.tally(TallyQuery(by=("",))),
    "a segment that is text alone": lambda store: store.tally(TallyQuery(by="country")),
    "three segments": lambda store: store.tally(TallyQuery(by=("a", "b", "c"))),
    "one segment twice": lambda store: store.tally(TallyQuery(by=("a", "a"))),
    "a value that no segment has": lambda store: store.tally(TallyQuery(where={"x": 1.0})),
    "a value that is no text": lambda store: store.tally(TallyQuery(where={"x": ["a", b"b"]})),
    "conditions that are a list": lambda store: store.tally(TallyQuery(where=["x"])),
    "a negative limit of documents": lambda store: store.state("", limit=-1),
    "a limit of documents that is a float": lambda store: store.state("", limit=1.5),
    "a limit of documents that is a bool": lambda store: store.state("", limit=True),
    "a key to go on behind that is a number": lambda store: store.state("", after=5),
    "a key to go on behind with NUL": lambda store: store.state("", after="a\0"),
    "a place where no page ended": lambda store: store.dump("nowhere"),
    "a place that is a number": lambda store: store.dump(1),
    "a prefix with NUL": lambda store: store.state("a\0"),
    "a naive due_before": lambda store: store.state("", due_before=datetime(2026, 5, 1)),  # noqa: DTZ001
    "a naive prune": lambda store: store.prune(datetime(2026, 5, 1)),  # noqa: DTZ001
    "prune before None": lambda store: store.prune(None),
    "prune that keeps an unknown kind": lambda store: store.prune(NOON, ["nothing"]),
}
"""Questions that cannot be asked: each an `InvalidQueryError`."""
