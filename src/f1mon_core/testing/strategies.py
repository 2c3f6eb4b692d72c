"""Hypothesis strategies for everything a store takes, hostile on purpose: what is legal but seldom thought of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from f1mon_core.records import fields
from f1mon_core.records.fields import INT64_MAX, INT64_MIN, ClassLabel, Document, Json, Segments, checks
from f1mon_core.records.kinds import KINDS, Fact, Prediction
from f1mon_core.records.times import EPOCH, LATEST, MICROSECOND, from_micros, to_micros

LOOKALIKES: list[str] = [
    *("a", "A", "a ", " a", "a\t", "ä", "a\u0308", "ß", "ss", "\ufb01", "fi", "a/b", "a%2Fb", "../x"),
    *("%", "_", "\\", "'", '"', "'; DROP TABLE prediction; --", "${x}", "NULL", "true"),
    *("0", "00", "1", "1.0", "-0", "x" * 255),
    *("\n", "\r\n", "\x01", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e"),
    *("\ufffd", "\uffff", "\U0001f3ce\ufe0f", "\U0010ffff"),
]
"""Texts that some store, somewhere, has taken for one another."""


def texts(*, min_size: int = 0, max_size: int = 40) -> st.SearchStrategy[str]:
    """All of unicode that is legal: no lone surrogates."""
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=min_size, max_size=max_size)


def ids() -> st.SearchStrategy[str]:
    """1 to 255 characters, no NUL; look-alikes and the longest ones often."""
    legal = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    longest = st.sampled_from("xä\U0001f3ce").map(lambda one: one * fields.MAX_ID_CHARACTERS)
    return st.sampled_from(LOOKALIKES) | st.text(legal, min_size=1, max_size=40) | longest


def integers() -> st.SearchStrategy[int]:
    """64-bit integers, the edges and the small ones often."""
    edges = [INT64_MIN, INT64_MIN + 1, -1, 0, 1, 2, 2**31, 2**53, 2**53 + 1, INT64_MAX - 1, INT64_MAX]
    return st.sampled_from(edges) | st.integers(INT64_MIN, INT64_MAX)


def labels() -> st.SearchStrategy[ClassLabel]:
    """Integers and texts, those that look like integers often; never a bool, which does not come back as one."""
    return integers() | st.sampled_from(["1", "0", "-1", "True", "01"]) | ids()


def segments() -> st.SearchStrategy[Segments]:
    """None, some, or as many names as there may be, each to an integer or a text, the empty one too."""
    legal = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    longest = st.sampled_from("xä\U0001f3ce").map(lambda one: one * fields.MAX_SEGMENT_NAME_CHARACTERS)
    names = st.sampled_from([one for one in LOOKALIKES if len(one) <= fields.MAX_SEGMENT_NAME_CHARACTERS])
    few = st.dictionaries(names | st.text(legal, min_size=1, max_size=8) | longest, labels() | st.just(""), max_size=3)
    return few | st.just({f"name {number}": number for number in range(fields.MAX_SEGMENTS)})


def numbers() -> st.SearchStrategy[float]:
    """Finite floats: both zeros, denormals, the largest, and ints and halves that look like others."""
    edges = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1 + 0.2, 1.0, 1e22, 2.0**53]
    return st.sampled_from(edges) | st.floats(allow_nan=False, allow_infinity=False)


def probabilities() -> st.SearchStrategy[float]:
    """Floats in [0, 1], on and beside the edges of bins."""
    edges = [0.0, -0.0, 1.0, 0.1, 0.3, 0.7, 0.29, 0.57, 0.58, 5e-324, 0.9999999999999999, 0.30000000000000004]
    return st.sampled_from(edges) | st.floats(0.0, 1.0)


def instants() -> st.SearchStrategy[datetime]:
    """Aware UTC datetimes of the years 1970 to 9999, to the microsecond, the ends often."""
    edges = [EPOCH, EPOCH + MICROSECOND, LATEST, LATEST - MICROSECOND, datetime(2038, 1, 19, 3, 14, 8, 1, UTC)]
    return st.sampled_from(edges) | st.integers(0, to_micros(LATEST)).map(from_micros)


def json_values(*, max_leaves: int = 12) -> st.SearchStrategy[Json]:
    """JSON within the limits: any text, 64-bit integers, finite floats, shallow trees."""
    leaves = st.none() | st.booleans() | integers() | numbers() | texts(max_size=12) | st.sampled_from(["\0", "\x00a"])
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(max_size=8), inner, max_size=4),
        max_leaves=max_leaves,
    )


def deep_json() -> st.SearchStrategy[Json]:
    """The deepest JSON there may be inside an object, and one wide list."""

    def nested(depth: int) -> Json:
        value: Json = {}
        for level in range(depth - 1):
            value = [value] if level % 2 else {"": value}
        return value

    return st.integers(1, fields.MAX_JSON_DEPTH - 1).map(nested) | st.just([0.5] * 1000)


def documents() -> st.SearchStrategy[Document]:
    """JSON objects: small ones, and now and then a deep or wide one."""
    small = st.dictionaries(texts(max_size=8), json_values(), max_size=4)
    return small | st.builds(lambda inner: {"deep": inner}, deep_json())


_OF_CHECK: dict[Any, st.SearchStrategy[Any]] = {
    fields.identifier: ids(),
    fields.text: texts(),
    fields.label: labels(),
    fields.segments: segments(),
    fields.count: st.sampled_from([0, 1, INT64_MAX]) | st.integers(0, INT64_MAX),
    fields.number: numbers(),
    fields.probability: probabilities(),
    fields.flag: st.booleans(),
    fields.instant: instants(),
    fields.content: documents(),
    fields.json_array: st.lists(json_values(max_leaves=5), max_size=3),
    fields.severity: st.sampled_from(fields.SEVERITIES),
    fields.ordinal: st.sampled_from([1, 2, 10, INT64_MAX]) | st.integers(1, INT64_MAX),
}


OF_STORES = frozenset({"kept_tally", "kept_cells"})
"""Kinds of facts that a store writes itself, when it is pruned."""


def facts(kind: str | None = None, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Facts of a kind, of any but those that stores write themselves if None.

    Args:
        kind: The kind's name.
        **given: Strategies for some of its fields.
    """
    if kind is None:
        return st.one_of(*(facts(name, **given) for name in sorted(KINDS) if name not in OF_STORES))
    record = KINDS[kind]
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for check in checks(record):
        if check.name in {"at_given", "recorded_at"}:
            continue
        strategy = given[check.name] if check.name in given else _OF_CHECK[check.check]
        chosen[check.name] = st.none() | strategy if check.optional and check.name not in given else strategy
    return st.builds(record, **chosen)


@st.composite
def batches(draw: st.DrawFn, *, max_size: int = 30) -> list[Fact]:
    """Batches of hostile facts of any kind, without two under one key; other models answer about the same items."""
    batch: list[Fact] = draw(st.lists(facts(), max_size=max_size))
    for made in [fact for fact in batch if isinstance(fact, Prediction)][:2]:
        item = st.just(made.prediction_id)
        batch += draw(st.lists(facts("prediction", prediction_id=item), max_size=2))
        batch += draw(st.lists(facts("outcome", prediction_id=item), max_size=1))
    return list({(fact.kind, _own_key(fact)): fact for fact in batch}.values())


def _own_key(fact: Fact) -> tuple[Any, ...]:
    # An untimed outcome gets its key from the store; one for each prediction is enough to be unique.
    return tuple(getattr(fact, name) for name in type(fact).key_fields if name != "at")


def near(noon: datetime) -> st.SearchStrategy[datetime]:
    """Instants around another: equal ones, neighbours by a microsecond, and full hours."""
    offsets = [timedelta(0), MICROSECOND, -MICROSECOND, timedelta(hours=1), timedelta(hours=-1), timedelta(hours=-30)]
    return st.sampled_from([noon + offset for offset in offsets]) | st.integers(-50, 50).map(
        lambda minutes: noon + timedelta(minutes=minutes)
    )


def one_of_values(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """A value for `Select.where`: one of these, or a collection of some of them, often an empty one."""
    return st.sampled_from(values) | st.lists(st.sampled_from(values), max_size=3)
