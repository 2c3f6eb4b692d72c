"""`Storage.transition` and `Storage.state`, sentence by sentence."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from f1mon_core.errors import ConflictError, InvalidQueryError, InvalidRecordError
from f1mon_core.records.fields import Document
from f1mon_core.records.times import MICROSECOND, to_micros
from f1mon_core.storage.change import MAX_STATE_KEY_BYTES, MAX_STATE_KEY_CHARACTERS, Change, state_key, state_prefix
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select
from f1mon_core.testing.bridge import together
from f1mon_core.testing.corpus import MEBIBYTE
from f1mon_core.testing.facts import HOUR, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import MANY, everything
from f1mon_core.testing.laws.base import Laws, during

_OF_FOUR_BYTES = random.Random(7)  # noqa: S311 - text that nothing can make shorter
LONGEST = [
    "%" * (MAX_STATE_KEY_CHARACTERS - 1),
    "/" * (MAX_STATE_KEY_CHARACTERS - 1),
    "".join(map(chr, _OF_FOUR_BYTES.choices(range(0x10000, 0x110000), k=MAX_STATE_KEY_BYTES // 4 - 1))),
]
"""State keys of the greatest length, without their last character."""


class Interrupted(Exception):
    """What a step raises on purpose."""


def put(document: Document | None, *facts: Any, result: Any = None, also: Any = ()) -> Any:
    """A step that stores a document whatever was there."""
    return lambda _, __: Change(document, facts, dict(also), result)


def counted(document: Document | None, _: datetime) -> Change:
    """A step that counts how often it ran."""
    number = 1 + (document or {"n": 0})["n"]  # type: ignore[operator]
    return Change({"n": number}, result=number)


def store_documents(store: Storage, *keys: str, **fields: Any) -> None:
    """Put one document under each key."""
    for key in keys:
        store.transition(key, put({"key": key, **fields}), operation_id="put")


class TransitionLaws(Laws):
    """What `transition` promises."""

    def test_a_step_sees_nothing_at_first_and_then_what_was_stored(self) -> None:
        seen: list[Document | None] = []

        def step(document: Document | None, _: datetime) -> Change:
            seen.append(document)
            return Change({"visits": len(seen), "nested": {"list": [1, None, True, 0.5, "ä"]}})

        with self.store() as store:
            for number in range(3):
                seen_before = len(seen)
                store.transition("k", step, operation_id=f"op-{number}")
                del seen[seen_before + 1 :]
            assert seen[0] is None
            assert repr(seen[1]) == repr({"visits": 1, "nested": {"list": [1, None, True, 0.5, "ä"]}})
            assert seen[2] is not None
            assert store.state("k")["k"]["nested"] == {"list": [1, None, True, 0.5, "ä"]}

    def test_transition_returns_the_result_of_its_step(self) -> None:
        with self.store() as store:
            results: list[Any] = [None, True, 1, 1.5, "ä\x00", [], {}, {"a": [{"b": None}]}]
            for number, result in enumerate(results):
                for _ in range(2):
                    answer = store.transition("k", put({}, result=result), operation_id=f"op-{number}")
                    assert repr(answer) == repr(result)

    def test_a_step_gets_the_stores_clock(self) -> None:
        with self.place() as place:
            store = place.open()
            now = place.clock.advance(HOUR + MICROSECOND)
            seen: list[datetime] = []

            def step(_: Document | None, at: datetime) -> Change:
                seen.append(at)
                return Change({})

            store.transition("k", step, operation_id="op")
            assert seen[-1] == now
            assert seen[-1].utcoffset() is not None

    def test_facts_of_a_step_without_a_time_get_the_instant_of_the_step(self) -> None:
        with self.place() as place:
            store = place.open()
            now = place.clock.advance(HOUR)
            store.transition("k", put({}, alert("x", at=None), outcome("p", 1)), operation_id="op")
            assert [(fact.at, fact.at_given, fact.recorded_at) for fact in everything(store)] == [(now, False, now)] * 2

    def test_the_clock_is_read_after_the_lock(self) -> None:
        with self.place() as place:
            store, inside = place.open(), threading.Event()

            def slow(document: Document | None, now: datetime) -> Change:
                if document is None and now < NOON + HOUR:
                    inside.set()
                    time.sleep(0.15)  # long enough for the other to come to the lock
                    place.clock.set(NOON + HOUR)
                return record(document, now)

            def record(document: Document | None, now: datetime) -> Change:
                return Change({"at": to_micros(now)}, result=[document, to_micros(now)])

            first = partial(_transition, key="k", step=slow, operation_id="first")
            second = partial(_transition, key="k", step=record, operation_id="second")
            # A store that lets the second in and has the first begin anew comes to the other order, which is as good.
            answers = during(place, store, first, second, inside)
            wanted = [[None, to_micros(NOON)], [{"at": to_micros(NOON)}, to_micros(NOON + HOUR)]]
            assert answers in (wanted, wanted[::-1])
            assert store.state("k") == {"k": {"at": to_micros(NOON + HOUR)}}

    def test_concurrent_transitions_each_see_what_the_one_before_stored(self) -> None:
        with self.store() as store:
            calls = [partial(_transition, key="k", step=counted, operation_id=f"op-{number}") for number in range(12)]
            assert sorted(together(store, calls)) == list(range(1, 13))
            assert store.state("k")["k"] == {"n": 12}

    def test_a_document_of_none_deletes(self) -> None:
        with self.store() as store:
            store_documents(store, "k", "k2")
            store.transition("k", put(None), operation_id="delete")
            store.transition("never-there", put(None), operation_id="delete")
            assert list(store.state("")) == ["k2"]
            assert store.transition("k", counted, operation_id="again") == 1

    def test_state_facts_and_also_are_stored_together(self) -> None:
        with self.store() as store:
            facts = [alert("x"), prediction("a"), outcome("a", 1)]
            step = put({"fired": True}, *facts, also={"delivery/x/console": {"due": 1}, "delivery/x/file": {}})
            store.transition("rule/r", step, operation_id="op")
            assert store.state("") == {
                "delivery/x/console": {"due": 1},
                "delivery/x/file": {},
                "rule/r": {"fired": True},
            }
            assert [fact.kind for fact in everything(store)] == ["prediction", "outcome", "alert"]

    def test_also_is_stored_only_where_its_key_is_absent(self) -> None:
        with self.store() as store:
            store_documents(store, "there")
            also = {"there": {"new": 1}, "absent": {"new": 2}, "k": {"new": 3}}
            store.transition("k", put({}, also=also), operation_id="op")
            assert store.state("") == {"absent": {"new": 2}, "k": {}, "there": {"key": "there"}}

    def test_an_exception_in_step_leaves_nothing_and_comes_out(self) -> None:
        def step(_: Document | None, __: datetime) -> Change:
            raise Interrupted

        with self.store() as store:
            store_documents(store, "k")
            before = dict(store.state(""))
            with pytest.raises(Interrupted):
                store.transition("k", step, operation_id="op")
            with pytest.raises(Interrupted):
                store.transition("new", step, operation_id="op")
            assert store.state("") == before
            assert store.transition("k", put({"n": 1}, result="ran"), operation_id="op") == "ran"
            assert store.state("k") == {"k": {"n": 1}}

    def test_a_conflict_of_its_facts_leaves_nothing(self) -> None:
        with self.store() as store:
            store.append([acknowledgement("x", by="ada")])
            store_documents(store, "k")
            step = put({"n": 1}, alert("new"), acknowledgement("x", by="bob"), also={"other": {}})
            with pytest.raises(ConflictError) as refused:
                store.transition("k", step, operation_id="op")
            assert refused.value.stored.kind == "acknowledgement"
            assert store.state("") == {"k": {"key": "k"}}
            assert [fact.kind for fact in everything(store)] == ["acknowledgement"]
            assert store.transition("k", put({}, result="ran"), operation_id="op") == "ran"

    def test_a_repeated_fact_of_a_step_is_a_no_op(self) -> None:
        with self.store() as store:
            store.append([acknowledgement("x", by="ada")])
            assert store.transition("k", put({}, acknowledgement("x", by="ada"), result=1), operation_id="op") == 1
            assert store.count(Select("acknowledgement")) == {(): 1}

    def test_a_document_that_is_not_json_leaves_nothing(self) -> None:
        with self.store() as store:
            for number, document in enumerate(
                [{"n": float("nan")}, {"n": 2**64}, {"n": object()}, {1: 2}, {"n": "\ud800"}, [1], {"n": b"x"}]
            ):
                for step in (
                    put(document, alert("x")),  # type: ignore[arg-type]
                    put({}, alert("x"), also={"other": document}),
                    put({}, alert("x"), result={"x": document, "y": {1}}),
                ):
                    with pytest.raises(InvalidRecordError):
                        store.transition("k", step, operation_id=f"op-{number}")
            assert store.state("") == {}
            assert everything(store) == []

    def test_a_step_that_returns_something_else_leaves_nothing(self) -> None:
        with self.store() as store:
            wrongs: list[Any] = [None, {}, ({}, [])]
            for wrong in wrongs:
                with pytest.raises(TypeError):
                    store.transition("k", lambda _, __, wrong=wrong: wrong, operation_id="op")  # type: ignore[misc]
            assert store.state("") == {}

    def test_a_repeated_operation_returns_the_first_result_and_does_not_step(self) -> None:
        with self.place() as place:
            store = place.open()
            assert store.transition("k", counted, operation_id="op") == 1
            assert store.transition("k", counted, operation_id="other") == 2

            def never(_: Document | None, __: datetime) -> Change:
                raise AssertionError("a repeated operation must not be stepped again")

            assert store.transition("none", put({}, result=None), operation_id="op") is None
            assert store.transition("none", never, operation_id="op") is None
            for hours in (0, 1, 22):
                place.clock.advance(hours * HOUR)
                store.append([prediction(f"p-{hours}", at=None)])
                assert store.transition("k", never, operation_id="op") == 1
            assert store.state("k")["k"] == {"n": 2}

    def test_an_operation_is_remembered_for_24_hours_inclusive(self) -> None:
        with self.place() as place:
            store = place.open()
            assert store.transition("k", counted, operation_id="op") == 1
            for number, passed in enumerate((24 * HOUR - MICROSECOND, MICROSECOND)):
                now = place.clock.advance(passed)
                assert store.transition("k", counted, operation_id=f"other-{number}") == 2 + number
                store.append([prediction(f"p-{number}", at=None)])
                store.prune(now)
                assert store.transition("k", counted, operation_id="op") == 1
                assert store.state("k") == {"k": {"n": 2 + number}}

    def test_documents_and_results_of_almost_a_mebibyte_come_back_whole(self) -> None:
        big: list[Document] = [{"x": letter * ((MEBIBYTE - 16) // len(json.dumps(letter)[1:-1]))} for letter in "xä"]
        big.append({str(number): number / 7 for number in range(30_000)})
        with self.store() as store:
            for number, document in enumerate(big):
                step = put(document, also={f"also/{number}": document}, result=document)
                for _ in range(2):
                    assert store.transition(f"k/{number}", step, operation_id="op") == document
            found = {**store.state("k/"), **store.state("also/")}
            assert found == {f"{key}/{number}": one for number, one in enumerate(big) for key in ("k", "also")}

    def test_an_operation_is_remembered_after_its_document_was_deleted(self) -> None:
        with self.store() as store:
            store.transition("k", counted, operation_id="op")
            store.transition("k", put(None, result="gone"), operation_id="delete")
            assert store.transition("k", counted, operation_id="op") == 1
            assert store.transition("k", counted, operation_id="delete") == "gone"
            assert store.state("") == {}

    def test_an_operation_belongs_to_its_key(self) -> None:
        with self.store() as store:
            assert store.transition("k", counted, operation_id="op") == 1
            assert store.transition("K", counted, operation_id="op") == 1
            assert store.state("K") == {"K": {"n": 1}}
            assert store.transition("k", counted, operation_id="OP") == 2
            assert store.transition("k", counted, operation_id="op ") == 3

    def test_what_a_step_is_given_is_a_copy(self) -> None:
        def meddling(document: Document | None, _: datetime) -> Change:
            assert document is not None
            document["n"] = 99
            raise Interrupted

        with self.store() as store:
            store.transition("k", counted, operation_id="op")
            with pytest.raises(Interrupted):
                store.transition("k", meddling, operation_id="meddling")
            assert store.state("k")["k"] == {"n": 1}
            store.state("k")["k"]["n"] = 98
            assert store.state("k")["k"] == {"n": 1}

    def test_keys_of_hostile_text_stay_apart(self) -> None:
        keys = [
            state_key("rule", part)
            for part in ("a", "A", "a ", "ä", "a/b", "a%2Fb", "'; --", "%", "_", "\x01", "x" * 800)
        ]
        with self.store() as store:
            for number, key in enumerate(keys):
                store.transition(key, put({"n": number}), operation_id="op")
            assert store.state("") == {
                key: {"n": number} for number, key in sorted(enumerate(keys), key=lambda one: one[1])
            }

    def test_an_operation_id_that_cannot_be_one_is_refused_and_leaves_nothing(self) -> None:
        with self.store() as store:
            for wrong in ("", "a\0b", "\ud800", "x" * 256, None, 5, b"op"):
                with pytest.raises(InvalidQueryError):
                    store.transition("k", put({}, alert("x")), operation_id=wrong)  # type: ignore[arg-type]
            assert store.state("") == {}
            assert everything(store) == []
            assert store.check().ok

    def test_operation_ids_of_hostile_text_stay_apart(self) -> None:
        hostile = ["a", "A", "a ", "ä", "a\u0308", "%", "'; --", "\x01", "\n", "x" * 255, "\U0001f3ce" * 255]
        with self.store() as store:
            for number, operation_id in enumerate(hostile, 1):
                for _ in range(2):
                    assert store.transition("k", counted, operation_id=operation_id) == number

    def test_a_key_that_cannot_be_one_is_refused(self) -> None:
        with self.store() as store:
            for key in ("", "a\0b", "\ud800", "x" * 701, "\U0001f3ce" * 661, None, 1):
                with pytest.raises(InvalidQueryError):
                    store.transition(key, counted, operation_id="op")  # type: ignore[arg-type]


class StateLaws(Laws):
    """What `state` promises."""

    def test_state_lists_the_documents_below_a_prefix_in_order_of_keys(self) -> None:
        keys = ["b/2", "b/1", "a/1", "B/1", "b", "b/10", "ä/1", "b\uffff", "b\U0001f3ce"]
        with self.store() as store:
            store_documents(store, *keys)
            assert list(store.state("b/")) == ["b/1", "b/10", "b/2"]
            assert list(store.state("b")) == ["b", "b/1", "b/10", "b/2", "b\uffff", "b\U0001f3ce"]
            assert list(store.state("b/1")) == ["b/1", "b/10"]
            assert list(store.state("z")) == []

    def test_an_empty_prefix_means_all_documents(self) -> None:
        with self.store() as store:
            store_documents(store, "b", "a", "ä")
            assert list(store.state("")) == ["a", "b", "ä"]

    def test_a_prefix_is_text_and_not_a_pattern(self) -> None:
        with self.store() as store:
            store_documents(store, "a%b", "a_b", "a\\b", "axb", "A%b", "a*", "a[b]", "a?b")
            for prefix in ("a%", "a_", "a\\", "a*", "a[", "a?"):
                assert [key[:2] for key in store.state(prefix)] == [prefix]

    def test_keys_of_the_greatest_length_are_told_apart_by_their_last_character_and_lie_in_order(self) -> None:
        with self.store() as store:
            for beginning in LONGEST:
                keys = [beginning + last for last in ("/", "A", "a", "\uffff", "\U0001f3ce")]
                store_documents(store, *reversed(keys))
                assert list(store.state(beginning)) == keys
                assert list(store.state(beginning[:-1])) == keys
                assert list(store.state(keys[1])) == keys[1:2]
                assert list(store.state(beginning, after=keys[1], limit=2)) == keys[2:4]
            for beginning in LONGEST:
                assert store.transition(beginning + "a", put(None, result="gone"), operation_id="delete") == "gone"
            assert len(store.state("")) == 4 * len(LONGEST)

    def test_the_prefix_of_parts_finds_every_key_that_begins_with_them(self) -> None:
        parts = ["/" * 255, "%" * 240, "\U0001f3ce" * 255, "a", "/" * 254 + "a"]
        with self.store() as store:
            made = {(first, second): state_key("k", first, second, "{}") for first in parts for second in parts}
            store_documents(store, *made.values())
            assert len(store.state("k/")) == len(made)
            for wanted in parts:
                found = set(store.state(state_prefix("k", wanted)))
                assert found >= {key for (first, _), key in made.items() if first == wanted}
                assert found <= {key for (first, _), key in made.items() if first[:200] == wanted[:200]}

    def test_due_before_keeps_documents_due_strictly_before_it(self) -> None:
        with self.store() as store:
            for key, micros in (("early", -1), ("at", 0), ("late", 1)):
                store_documents(store, key, due=to_micros(NOON) + micros)
            store_documents(store, "never")
            others: dict[str, Any] = {"text": str(to_micros(NOON) - 1), "float": 1.0, "flag": True, "none": None}
            for key, due in others.items():
                store_documents(store, key, due=due)
            assert list(store.state("", due_before=NOON)) == ["early"]
            assert list(store.state("", due_before=NOON + MICROSECOND)) == ["at", "early"]
            assert list(store.state("l", due_before=NOON + SECOND)) == ["late"]

    def test_due_follows_the_document(self) -> None:
        def move(document: Document | None, _: datetime) -> Change:
            assert document is not None
            document["due"] = to_micros(NOON + 2 * HOUR)
            return Change(document)

        with self.store() as store:
            store_documents(store, "k", due=to_micros(NOON))
            store.transition("k", put({"due": to_micros(NOON + HOUR)}), operation_id="later")
            assert list(store.state("", due_before=NOON + SECOND)) == []
            store.transition("k", move, operation_id="changed in place")
            assert list(store.state("", due_before=NOON + HOUR + SECOND)) == []
            assert list(store.state("", due_before=NOON + 2 * HOUR + SECOND)) == ["k"]
            store.transition("k", put({}), operation_id="never")
            assert list(store.state("", due_before=NOON + 3 * HOUR)) == []

    def test_state_pages_by_limit_and_after(self) -> None:
        keys = [f"k/{number}" for number in range(7)]
        with self.store() as store:
            store_documents(store, *keys, "j", "l")
            assert list(store.state("k/", limit=3)) == keys[:3]
            assert list(store.state("k/", limit=3, after="k/2")) == keys[3:6]
            assert list(store.state("k/", after="k/2x")) == keys[3:]
            assert list(store.state("k/", after="a")) == keys
            assert list(store.state("k/", limit=0)) == []

    def test_a_limit_or_a_place_that_cannot_be_one_is_refused(self) -> None:
        with self.store() as store:
            store_documents(store, "k/1", "k/2")
            wrongs: list[dict[str, Any]] = [{"limit": one} for one in (-1, 1.5, "1", True)]
            wrongs += [{"after": one} for one in (5, b"k", "a\0", "\ud800", "x" * 701)]
            for wrong in wrongs:
                with pytest.raises(InvalidQueryError):
                    store.state("k/", **wrong)
            assert list(store.state("k/", limit=0, after="")) == []
            assert list(store.state("k/", after="")) == ["k/1", "k/2"]

    def test_limit_counts_the_documents_that_are_due(self) -> None:
        with self.store() as store:
            for number in range(6):
                store_documents(store, f"k/{number}", due=to_micros(NOON) + (number % 2) * 1000)
            assert list(store.state("k/", due_before=NOON + MICROSECOND, limit=2)) == ["k/0", "k/2"]
            assert list(store.state("k/", due_before=NOON + MICROSECOND, limit=2, after="k/2")) == ["k/4"]

    def test_state_has_no_hidden_limit(self) -> None:
        with self.store() as store:
            also = {f"k/{number:05d}": {"n": number} for number in range(MANY)}
            store.transition("k", put({}, also=also), operation_id="op")
            assert len(store.state("k/")) == MANY


def _transition(store: Any, *, key: str, step: Any, operation_id: str) -> Any:
    return store.transition(key, step, operation_id=operation_id)
