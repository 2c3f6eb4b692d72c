"""No value leaves a damaged line, no crowded disk half of one; whatever a caller hands in is stored or refused."""

import errno
import math
import os
import sys
from decimal import Decimal
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f1mon_core import Monitor
from f1mon_core.alerts import rule_files
from f1mon_core.errors import F1monError, NotWritten
from f1mon_core.storage.change import Change
from f1mon_core.testing.facts import prediction
from f1mon_jsonl import JSONLStorage, writer
from f1mon_jsonl.disk.files import Files

from ..factories import rule


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Level(StrEnum):
    HIGH = "high"


class Number(IntEnum):
    ONE = 1


class Odd:
    pass


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.decimals(),
    st.text(st.characters(), max_size=8),
    st.binary(max_size=4),
    st.datetimes(),
    st.timedeltas(),
    st.sampled_from(
        [
            5,
            "",
            "\0",
            "\ud800",
            "\U0010ffff",
            "\u2028\x85\r\n",
            '","crc":"00000000"}\n',
            "x" * 256,
            10**400,
            math.nan,
            -0.0,
            5e-324,
            Decimal("NaN"),
            Text("sub"),
            Whole(3),
            Level.HIGH,
            Number.ONE,
            Odd(),
            object,
            1j,
        ]
    ),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=4), st.sampled_from(["", "\0", "\ud800", 1, None])), inner, max_size=3
        ),
        st.tuples(inner, inner),
        st.frozensets(st.integers(), max_size=2),
    ),
    max_leaves=5,
)

DOORS = {
    "prediction_id": lambda m, v: m.record_prediction(v, model_version="v", predicted_outcome=1, confidence=0.5),
    "model_version": lambda m, v: m.record_prediction("p", model_version=v, predicted_outcome=1, confidence=0.5),
    "label": lambda m, v: m.record_prediction("p", model_version="v", predicted_outcome=v, confidence=0.5),
    "confidence": lambda m, v: m.record_prediction("p", model_version="v", predicted_outcome=1, confidence=v),
    "at": lambda m, v: m.record_prediction("p", model_version="v", predicted_outcome=1, confidence=0.5, at=v),
    "features": lambda m, v: m.record_prediction(
        "f", model_version="v", predicted_outcome=1, confidence=0.5, features={"x": v}
    ),
    "all features": lambda m, v: m.record_prediction(
        "g", model_version="v", predicted_outcome=1, confidence=0.5, features=v
    ),
    "segments": lambda m, v: m.record_prediction(
        "s", model_version="v", predicted_outcome=1, confidence=0.5, segments={"a": v}
    ),
    "outcome": lambda m, v: m.record_outcome("p", v),
    "known_at": lambda m, v: m.record_outcome("p", 1, known_at=v),
    "item": lambda m, v: m.record_outcome(v, 1),
    "rule": lambda m, v: m.evaluate_rule(v, 0.5, "v"),
    "value": lambda m, v: m.evaluate_rule(rule(), v, "v"),
    "model": lambda m, v: m.evaluate_rule(rule(), 0.1, v),
    "labels": lambda m, v: m.evaluate_rule(rule(scope="instance"), 0.1, "v", labels={"a": v}),
    "context": lambda m, v: m.evaluate_rule(rule(), 0.1, "v", context={"a": v}),
    "operation_id": lambda m, v: m.evaluate_rule(rule(), 0.1, "v", operation_id=v),
    "state": lambda m, v: m.storage.transition("k", lambda *_: Change({"a": v}), operation_id=f"o{id(v)}"),
    "result": lambda m, v: m.storage.transition("k", lambda *_: Change(None, result=v), operation_id=f"r{id(v)}"),
    "key": lambda m, v: m.storage.transition(v, lambda *_: Change({"a": 1}), operation_id="x"),
    "also": lambda m, v: m.storage.transition("k", lambda *_: Change(None, also={"b": {"c": v}}), operation_id="y"),
    "also key": lambda m, v: m.storage.transition("k", lambda *_: Change(None, also={v: {"c": 1}}), operation_id="z"),
    "restore": lambda m, v: m.storage.restore([{"kind": "prediction", "v": v}]),
}
OF_THE_LANGUAGE = (TypeError, AttributeError, ValueError, LookupError)
"""What calling with a value of no such type raises before f1mon has looked at it."""


@pytest.fixture(scope="module")
def monitor(tmp_path_factory):
    with Monitor(JSONLStorage(tmp_path_factory.mktemp("hostile") / "store", durability="os")) as opened:
        yield opened


@settings(max_examples=150)
@given(st.sampled_from(sorted(DOORS)), VALUES)
def test_whatever_a_caller_hands_in_no_line_is_damaged(monitor, door, value):
    try:
        DOORS[door](monitor, value)
    except F1monError:
        pass
    except OF_THE_LANGUAGE as error:
        assert "msgspec" not in type(error).__module__  # noqa: PT017 - it need not be raised
    report = JSONLStorage(monitor.storage.path, durability="os").check()
    assert [one for one in report.problems if one.severity == "error"] == []


@pytest.mark.parametrize("operation_id", [5, 1.5, b"x", ["x"], Level.HIGH, "\ud800", "x" * 256, "\0"])
def test_an_operation_id_is_a_text_or_refused_and_leaves_nothing(place, operation_id):
    monitor = Monitor(place.open())
    was = place.journal.read_bytes()
    if operation_id is Level.HIGH:
        monitor.evaluate_rule(rule(), 0.1, "v", operation_id=operation_id)
    else:
        with pytest.raises(F1monError):
            monitor.evaluate_rule(rule(), 0.1, "v", operation_id=operation_id)
        assert place.journal.read_bytes() == was
    assert monitor.check().ok


def test_what_could_not_be_read_back_is_not_written(place, monkeypatch):
    """Whatever a later mistake lets through: a line is decoded before it is written."""
    store = place.open()
    store.append([prediction("a")])
    was = place.journal.read_bytes()
    sealed = writer.transaction_line
    monkeypatch.setattr(writer, "transaction_line", lambda n, s, m: sealed(n, s, [*m, ("operations", "[[1,2,3,4]]")]))
    with pytest.raises(Exception, match="Expected `str`"):
        store.append([prediction("b")])
    monkeypatch.undo()
    assert place.journal.read_bytes() == was
    store.append([prediction("b")])
    assert store.check().ok


def test_what_could_only_be_half_set_aside_is_not_there(place):
    """A crowded disk takes the name of a file and half of its bytes."""

    class Crowded(Files):
        full = False

        def pwrite(self, descriptor, data, offset):
            if self.full and len(data) > 1:
                super().pwrite(descriptor, data[: len(data) // 2], offset)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().pwrite(descriptor, data, offset)

    place.open().append([prediction("a")])
    place.journal.write_bytes(place.journal.read_bytes() + b'{"n":2,"torn')
    files = Crowded()
    store = place.open(_files=files)
    files.full = True
    with pytest.raises(NotWritten, match="No space left"):
        store.append([prediction("b")])
    assert place.aside() == []
    files.full = False
    store.append([prediction("b")])
    assert len(place.aside()) == 1
    assert place.ids() == ["a", "b"]


@pytest.mark.parametrize("depth", [70, 200, sys.getrecursionlimit(), 100_000])
@pytest.mark.parametrize("nested", ["[{}]", "{{a={}}}"])
def test_deeply_nested_toml_is_refused_by_name(depth, nested):
    left, right = nested.split("{}") if nested == "[{}]" else ("{a=", "}")
    value = left * depth + "1" + right * depth
    for field in ("conditions", "channels", "threshold", "unknown"):
        with pytest.raises(F1monError, match=r"rules\.toml"):
            rule_files.from_toml(f'[[rules]]\nrule_id = "r"\n{field} = {value}\n')
