"""Cursors outside their window, conditions on nothing, long values, late times, many operations, odd arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from f1mon_core.errors import ConflictError, InvalidQueryError, PrunedError
from f1mon_core.records.kinds import (
    Cursor,
    DriftResult,
    Fact,
    HealthSnapshot,
    IncidentEvent,
    MetricSnapshot,
    RuleRevision,
)
from f1mon_core.records.times import LATEST, MICROSECOND, to_micros
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import everything
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.laws.find import ids
from f1mon_core.testing.laws.transition import counted, put, store_documents
from f1mon_core.testing.model import Model, disagreement, written

FAR = datetime(2300, 1, 1, 12, tzinfo=UTC)
"""Beyond 2255, where microseconds since 1970 are more than a double can tell apart."""


def one_of_each(name: str, at: datetime) -> list[Fact]:
    """A fact of each kind that callers record, with the same first part of its key."""
    drift: Any = {"model_version": "m", "feature": "f", "detected": False}
    return [
        prediction(name, at=at),
        outcome(name, 1, at),
        alert(name, at=at),
        acknowledgement(name, at=at),
        RuleRevision(rule_id=name, revision=1, at=at),
        IncidentEvent(event_id=name, event="fired", rule_id="r", incident_id="i", at=at),
        MetricSnapshot(snapshot_id=name, model_version="m", metric_name="n", at=at),
        HealthSnapshot(snapshot_id=name, model_version="m", at=at),
        DriftResult(drift_id=name, at=at, **drift),
    ]


class EdgeLaws(Laws):
    """What is asked and given at the edges of what may be.

    Attributes:
        operations: How many operations of one day must be remembered.
    """

    operations = 1_200

    # Cursors and conditions -------------------------------------------------------------------------------------------

    def test_a_cursor_outside_the_window_is_a_place_like_any_other(self) -> None:
        facts = [fact for number, name in enumerate("bdfh") for fact in one_of_each(name, NOON + number * HOUR)]
        instants = (NOON - HOUR, NOON, NOON + HOUR, NOON + 2 * HOUR - MICROSECOND, NOON + 3 * HOUR, NOON + 9 * HOUR)
        windows: list[dict[str, Any]] = [
            {},
            {"since": NOON + HOUR},
            {"until": NOON + 2 * HOUR},
            {"since": NOON + HOUR, "until": NOON + 3 * HOUR},
            {"since": NOON + 2 * HOUR, "until": NOON + HOUR},
        ]
        with self.store() as store:
            model = Model()
            store.append(facts)
            model.append(facts, NOON)
            for fact in facts[:9]:
                for at, window, descending in product(instants, windows, (False, True)):
                    for name in ("a", "d", "z"):
                        key = (name, *one_of_each(name, at)[facts.index(fact)].key[1:])
                        for limit in (None, 1):
                            place = Cursor(at, key)
                            asked = Select(fact.kind, **window, descending=descending, after=place, limit=limit)
                            assert ids(store.find(asked)) == ids(model.find(asked)), asked

    def test_conditions_on_nothing_find_what_lacks_a_value_and_nothing_else(self) -> None:
        with self.store() as store, self.store() as other:
            del other
            facts: list[Fact] = [
                alert("plain"),
                alert("empty", rule_id="None"),
                alert("ruled", rule_id="r"),
                acknowledgement("plain", None),  # type: ignore[arg-type]
                acknowledgement("ruled", "None"),
            ]
            store.append(facts)
            model = Model()
            model.append(facts, NOON)
            for kind, name, values in (
                ("alert", "rule_id", (None, "None", "r", [None], [None, "r"], ["r", "None"], "null", "")),
                ("acknowledgement", "by", (None, "None", [None], [None, "None"], "null", "")),
            ):
                for value, descending in product(values, (False, True)):
                    asked = Select(kind, where={name: value}, descending=descending)
                    assert ids(store.find(asked)) == ids(model.find(asked)), asked
                    assert dict(store.count(asked, [name])) == model.count(asked, [name]), asked
            open_ = Select("alert", where={"rule_id": None}, lacking="acknowledgement")
            assert store.find(open_) == []
            assert ids(store.find(Select("alert", where={"rule_id": [None, "r"]}, having="acknowledgement"))) == [
                "plain",
                "ruled",
            ]

    def test_long_values_are_told_apart_by_their_last_character(self) -> None:
        for letter in ("x", "\U0001f3ce"):
            longs = [letter * 254 + last for last in ("a", "A", "b", " ", "")]
            with self.store() as store:
                store.append(alert(f"a-{n}", rule_id=one, model_version=one) for n, one in enumerate(longs))
                store.append(prediction(one, model_version=one, segments={"s": one}) for one in longs)
                assert dict(store.count(Select("alert"), ["rule_id"])) == {(one,): 1 for one in longs}
                assert dict(store.count(Select("prediction"), ["model_version"])) == {(one,): 1 for one in longs}
                assert len(store.tally(TallyQuery(by=("s",))).cells) == len(longs)
                for number, one in enumerate(longs):
                    assert ids(store.find(Select("alert", where={"rule_id": one}))) == [f"a-{number}"]
                    assert ids(store.find(Select("alert", model_version=one))) == [f"a-{number}"]
                    assert ids(store.find(Select("prediction", where={"prediction_id": one}))) == [one]
                    assert store.tally(TallyQuery(model_version=one)).count == 1
                    assert store.tally(TallyQuery(where={"s": one})).count == 1

    # Late times -------------------------------------------------------------------------------------------------------

    def test_times_beyond_2255_are_found_to_the_microsecond(self) -> None:
        instants = [FAR + number * MICROSECOND for number in range(3)]
        with self.store() as store:
            for number, at in enumerate(instants):
                store.append(one_of_each(str(number), at))
            for kind in (fact.kind for fact in one_of_each("a", FAR)):
                found = store.find(Select(kind))
                assert [fact.at for fact in found] == instants, kind
                assert ids(store.find(Select(kind, since=instants[1], until=instants[2]))) == ["1"]
                assert ids(store.find(Select(kind, until=instants[1]))) == ["0"]
                assert ids(store.find(Select(kind, after=found[1].cursor))) == ["2"]
                assert ids(store.find(Select(kind, after=found[1].cursor, descending=True))) == ["0"]
                other = {fact.kind: fact for fact in one_of_each("1", FAR)} | {"outcome": outcome("1", 0, instants[1])}
                with pytest.raises(ConflictError):
                    store.append([other[kind]])

    def test_times_beyond_2255_are_tallied_to_the_microsecond(self) -> None:
        facts: list[Fact] = [
            *(prediction(str(number), at=FAR + number * MICROSECOND) for number in range(3)),
            *(outcome(str(number), 1, FAR + HOUR + number * MICROSECOND) for number in range(3)),
            outcome("1", 0, FAR + HOUR + 2 * MICROSECOND),
        ]
        edges = [FAR + number * MICROSECOND for number in range(4)]
        model = Model()
        model.append(facts, NOON)
        with self.store() as store:
            store.append(facts)
            queries = [TallyQuery(since=edge, bucket=HOUR, delay=MICROSECOND) for edge in edges]
            queries += [TallyQuery(until=edge) for edge in edges]
            queries += [TallyQuery(basis="outcome", since=edge + HOUR) for edge in edges]
            queries += [TallyQuery(as_of=edge + HOUR) for edge in edges]
            for query in queries:
                assert disagreement(store.tally(query), model.tally(query)) is None, query
            store.append([outcome("1", 1)])
            assert [fact.at for fact in store.find(Select("outcome", where={"prediction_id": "1"}))][-1] == (
                FAR + HOUR + 3 * MICROSECOND
            )

    def test_times_beyond_2255_are_pruned_and_due_to_the_microsecond(self) -> None:
        with self.store() as store:
            store.append([prediction("old", at=FAR - MICROSECOND), prediction("new", at=FAR)])
            store.append([alert("old", at=FAR - MICROSECOND), alert("new", at=FAR)])
            assert store.prune(FAR + MINUTE).removed == {"prediction": 1, "alert": 1}
            assert ids(everything_of(store, "prediction", "alert")) == ["new", "new"]
            with pytest.raises(PrunedError):
                store.append([alert("older", at=FAR - MICROSECOND)])
            assert store.append([alert("equal", at=FAR)]) == Appended(1, 0)
            for number in range(3):
                store_documents(store, f"k{number}", due=to_micros(FAR) + number)
            assert list(store.state("k", due_before=FAR + MICROSECOND)) == ["k0"]
            assert list(store.state("k", due_before=FAR + 2 * MICROSECOND)) == ["k0", "k1"]
            assert len(store.state("k", due_before=LATEST)) == 3

    # Operations and documents -----------------------------------------------------------------------------------------

    def test_thousands_of_operations_of_one_day_are_all_remembered(self) -> None:
        with self.place() as place:
            store = place.open()
            for number in range(self.operations):
                store.transition("k", counted, operation_id=f"op-{number}")
                if number % 400 == 0:
                    place.clock.advance(7 * HOUR)
            store.prune(place.clock())
            for number in (0, 1, 199, 400, self.operations // 2, self.operations - 1):
                assert store.transition("k", counted, operation_id=f"op-{number}") == number + 1
            assert store.state("k") == {"k": {"n": self.operations}}

    def test_keys_and_operation_ids_do_not_run_together(self) -> None:
        signs = ["", "/", ":", "|", ",", "\x01", "\x1f", " ", '"', "\\", "-", "_", "a"]
        with self.store() as store:
            done: dict[tuple[str, str], int] = {}
            for sign in signs:
                begun = f"{sign}a{sign}b" if sign else "ab"
                for key, operation in ((f"k{sign}a", "b"), ("k", begun), ("k", f"a{sign}b")):
                    done.setdefault((key, operation), len(done))
                    number = done[key, operation]
                    for _ in range(2):
                        answer = store.transition(key, put({"n": number}, result=number), operation_id=operation)
                        assert answer == number, (key, operation)
            for (key, operation), number in done.items():
                assert store.transition(key, counted, operation_id=operation) == number

    def test_documents_and_facts_named_as_a_store_might_name_its_own_stay_apart(self) -> None:
        names = [
            *("store", "fact", "time", "item", "document", "operation", "schema", "version", "meta", "about", "clock"),
            *("f1mon", "pruned", "horizon", "kept_tally", "prediction", "outcome", "alert", "state", "lock", "keys"),
            *("sqlite_master", "pg_class", "*", "%", ".", "..", "-", "null", "None", "0", "NaN", "true", "id", "\x01"),
        ]
        with self.store() as store:
            facts = [fact for name in names for fact in (prediction(name), outcome(name, 1, NOON), alert(name))]
            assert store.append(facts) == Appended(len(facts), 0)
            for number, name in enumerate(names):
                assert store.transition(name, put({name: number}, result=name), operation_id=name) == name
            assert dict(store.state("")) == {name: {name: number} for number, name in enumerate(names)}
            assert list(store.state("")) == sorted(names)
            assert ids(store.find(Select("prediction"))) == sorted(names)
            for number, name in enumerate(names):
                assert store.state(name, limit=1) == {name: {name: number}}
                assert ids(store.find(Select("alert", where={"alert_id": name}))) == [name]
            for name in names:
                store.transition(name, put(None), operation_id="gone")
            assert store.state("") == {}
            assert store.append(facts) == Appended(0, len(facts))
            assert store.tally(TallyQuery()).count == len(names)

    # The listing of documents -----------------------------------------------------------------------------------------

    def test_prefixes_at_the_edges_of_unicode_find_what_begins_with_them(self) -> None:
        edges = ["\x01", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffe", "\uffff"]
        edges += ["\U00010000", "\U0010fffe", "\U0010ffff"]
        keys = sorted([f"k{edge}{more}" for edge in edges for more in ("", "a", edge)] + ["k", "l", *edges])
        with self.store() as store:
            store_documents(store, *keys)
            for edge in (*edges, *(2 * edge for edge in edges)):
                for prefix in (edge, f"k{edge}", f"k{edge}a"):
                    wanted = [key for key in keys if key.startswith(prefix)]
                    assert list(store.state(prefix)) == wanted, prefix
                    after = [one for one in wanted if one > prefix]
                    assert list(store.state(prefix, after=prefix, limit=2)) == after[:2]
                assert list(store.state("k", after=f"k{edge}")) == [
                    one for one in keys if one.startswith("k") and one > f"k{edge}"
                ]

    def test_a_prefix_or_an_instant_that_cannot_be_one_is_refused(self) -> None:
        with self.store() as store:
            store_documents(store, "k", due=0)
            prefixes: Sequence[Any] = (None, 5, 1.5, True, b"k", ["k"], ("k",), "\ud800", "k\udfff", "a\0", "x" * 701)
            for wrong in prefixes:
                with pytest.raises(InvalidQueryError):
                    store.state(wrong)
            instants: Sequence[Any] = (0, 1.5, "2026", True, NOON.date(), NOON.replace(tzinfo=None), timedelta(0))
            for wrong in instants:
                with pytest.raises(InvalidQueryError):
                    store.state("k", due_before=wrong)

    def test_a_limit_has_one_meaning_however_large_and_whatever_else_is_asked(self) -> None:
        keys = [f"k{number}" for number in range(5)]
        with self.store() as store:
            store_documents(store, *keys, due=to_micros(NOON))
            for limit in (5, 6, 1_000, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30):
                assert list(store.state("k", limit=limit)) == keys
                assert list(store.state("k", limit=limit, after="k2", due_before=NOON + SECOND)) == keys[3:]
                assert ids(store.find(Select("prediction", limit=limit))) == []
            for wrong in (-1, -(2**63), 1.0, float("nan"), "5", b"5", [5], False):
                with pytest.raises(InvalidQueryError):
                    store.state("k", limit=wrong)  # type: ignore[arg-type]
            assert store.state("k", limit=0, after="k2", due_before=NOON + SECOND) == {}
            assert list(store.state("k", after="k9")) == []
            assert list(store.state("k3", after="k1")) == ["k3"]
            assert list(store.state("k3", after="k3")) == []


def everything_of(store: Any, *kinds: str) -> list[Fact]:
    """The facts of some kinds."""
    return [fact for fact in everything(store) if fact.kind in kinds and written(fact)]
