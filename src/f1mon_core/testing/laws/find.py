"""`Storage.find` and `Storage.count`, sentence by sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.kinds import (
    Cursor,
    DriftResult,
    HealthSnapshot,
    Prediction,
    RuleRevision,
)
from f1mon_core.records.times import EPOCH, MICROSECOND
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select
from f1mon_core.testing.facts import HOUR, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.append import MANY
from f1mon_core.testing.laws.base import Laws


def ids(found: Any) -> list[str]:
    """The first part of each fact's key."""
    return [fact.key[0] for fact in found]


def paged(store: Storage, size: int, **select: Any) -> list[str]:
    """Ids read page by page."""
    read: list[str] = []
    after: Cursor | None = None
    while page := store.find(Select(**select, limit=size, after=after)):
        assert len(page) <= size
        assert page[-1].cursor != after, "paging does not go on"
        read += ids(page)
        after = page[-1].cursor
    return read


class FindLaws(Laws):
    """What `find` promises."""

    def test_facts_come_in_order_of_time_whatever_the_order_they_came_in(self) -> None:
        with self.store() as store:
            for number in (3, 0, 4, 1, 2):
                store.append([prediction(f"p-{4 - number}", at=NOON + number * MICROSECOND)])
            assert ids(store.find(Select("prediction"))) == ["p-4", "p-3", "p-2", "p-1", "p-0"]
            assert ids(store.find(Select("prediction", descending=True))) == ["p-0", "p-1", "p-2", "p-3", "p-4"]

    def test_equal_times_are_ordered_by_key_by_code_point(self) -> None:
        names = ["b", "a", "Z", "ä", "é", "z", "a ", "aa", "_", "10", "9", "\uffff", "\U0001f3ce", "Ω", "~", "\x01"]
        with self.store() as store:
            store.append(prediction(name) for name in names)
            store.append(alert(name) for name in names)
            for kind in ("prediction", "alert"):
                assert ids(store.find(Select(kind))) == sorted(names)
                assert ids(store.find(Select(kind, descending=True))) == sorted(names, reverse=True)

    def test_keys_order_part_by_part(self) -> None:
        with self.store() as store:
            revisions = [("r", 2), ("r", 10), ("r", 1), ("r!", 1), ("q", 11), ("r\x01", 3)]
            store.append(RuleRevision(rule_id=rule, revision=number, at=NOON) for rule, number in revisions)
            found = [fact for fact in store.find(Select("rule_revision")) if isinstance(fact, RuleRevision)]
            assert [(fact.rule_id, fact.revision) for fact in found] == sorted(revisions)

    def test_a_window_is_half_open(self) -> None:
        with self.store() as store:
            for kind, made in (("prediction", prediction), ("alert", alert)):
                store.append(
                    made(name, at=NOON + offset) for name, offset in (("a", -MICROSECOND), ("b", 0 * HOUR), ("c", HOUR))
                )
                assert ids(store.find(Select(kind, since=NOON, until=NOON + HOUR))) == ["b"]
                assert ids(store.find(Select(kind, since=NOON))) == ["b", "c"]
                assert ids(store.find(Select(kind, until=NOON))) == ["a"]
                assert ids(store.find(Select(kind, since=NOON, until=NOON + HOUR + MICROSECOND))) == ["b", "c"]
                assert ids(store.find(Select(kind, since=NOON, until=NOON))) == []
            store.append([outcome("b", 1, NOON), outcome("c", 1, NOON + HOUR)])
            assert ids(store.find(Select("outcome", since=NOON, until=NOON + HOUR))) == ["b"]

    def test_a_model_version_selects_exactly_its_facts(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version="m"), prediction("b", model_version="M")])
            store.append([prediction("c", model_version="m "), alert("x", model_version="m")])
            assert ids(store.find(Select("prediction", model_version="m"))) == ["a"]
            assert ids(store.find(Select("alert", model_version="m"))) == ["x"]
            assert ids(store.find(Select("prediction", model_version="n"))) == []

    def test_where_takes_a_value_or_a_collection_of_values(self) -> None:
        with self.store() as store:
            store.append(alert(severity, severity=severity) for severity in ("info", "warning", "critical"))
            assert ids(store.find(Select("alert", where={"severity": "info"}))) == ["info"]
            assert ids(store.find(Select("alert", where={"severity": ("info", "critical")}))) == ["critical", "info"]
            assert ids(store.find(Select("alert", where={"severity": {"info"}, "component": "model"}))) == ["info"]
            assert ids(store.find(Select("alert", where={"severity": "info", "component": "data"}))) == []

    def test_where_may_name_any_part_of_the_key(self) -> None:
        with self.store() as store:
            store.append(outcome(name, 1, NOON) for name in "abc")
            store.append(RuleRevision(rule_id="r", revision=number, at=NOON) for number in (1, 2, 3))
            assert ids(store.find(Select("outcome", where={"prediction_id": ["a", "c", "z"]}))) == ["a", "c"]
            found = store.find(Select("rule_revision", where={"rule_id": "r", "revision": [3, 1]}))
            assert [fact.key[1].lstrip("0") for fact in found] == ["1", "3"]

    def test_an_empty_collection_selects_nothing(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), alert("x")])
            empties: list[Any] = [(), [], set(), frozenset()]
            for empty in empties:
                assert store.find(Select("prediction", where={"prediction_id": empty})) == []
                assert store.find(Select("alert", where={"severity": empty})) == []
                assert store.count(Select("alert", where={"severity": empty})) == {}

    def test_where_finds_what_is_missing(self) -> None:
        with self.store() as store:
            store.append([alert("by-hand"), alert("by-rule", rule_id="r"), alert("none", rule_id="None")])
            assert ids(store.find(Select("alert", where={"rule_id": None}))) == ["by-hand"]
            assert ids(store.find(Select("alert", where={"rule_id": [None, "r"]}))) == ["by-hand", "by-rule"]

    def test_where_values_compare_with_their_type(self) -> None:
        with self.store() as store:
            store.append([prediction("zero", predicted_outcome=0), prediction("one", predicted_outcome=1)])
            store.append(
                [
                    DriftResult(drift_id="yes", model_version="m", feature="1", detected=True, at=NOON),
                    DriftResult(drift_id="no", model_version="m", feature="0", detected=False, at=NOON),
                ]
            )
            assert ids(store.find(Select("prediction", where={"predicted_outcome": 1}))) == ["one"]
            assert ids(store.find(Select("prediction", where={"predicted_outcome": True}))) == []
            assert ids(store.find(Select("prediction", where={"predicted_outcome": "1"}))) == []
            store.append([prediction("text", predicted_outcome="1"), outcome("one", 1), outcome("text", "1")])
            assert ids(store.find(Select("prediction", where={"predicted_outcome": "1"}))) == ["text"]
            assert ids(store.find(Select("prediction", where={"predicted_outcome": [1, "0"]}))) == ["one"]
            assert ids(store.find(Select("outcome", where={"actual_outcome": "1"}))) == ["text"]
            assert ids(store.find(Select("outcome", where={"actual_outcome": 1}))) == ["one"]
            assert ids(store.find(Select("drift_result", where={"detected": True}))) == ["yes"]
            assert ids(store.find(Select("drift_result", where={"detected": 1}))) == []
            assert ids(store.find(Select("drift_result", where={"detected": [False, "x"]}))) == ["no"]
            assert ids(store.find(Select("drift_result", where={"feature": 1}))) == []

    def test_where_finds_the_edges_of_64_bits(self) -> None:
        edges = [-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1]
        with self.store() as store:
            store.append(prediction(str(edge), predicted_outcome=edge) for edge in edges)
            store.append(outcome(str(edge), edge, NOON) for edge in edges)
            for edge in edges:
                assert ids(store.find(Select("prediction", where={"predicted_outcome": edge}))) == [str(edge)]
                assert ids(store.find(Select("outcome", where={"actual_outcome": edge}))) == [str(edge)]

    def test_lacking_and_having_ask_for_facts_of_another_kind(self) -> None:
        with self.store() as store:
            store.append(prediction(name) for name in "abc")
            store.append([outcome("b", 1), outcome("b", 0), outcome("other", 1)])
            store.append([*(alert(name) for name in "abc"), acknowledgement("a")])
            assert ids(store.find(Select("prediction", having="outcome"))) == ["b"]
            assert ids(store.find(Select("prediction", lacking="outcome"))) == ["a", "c"]
            assert ids(store.find(Select("alert", having="acknowledgement"))) == ["a"]
            assert ids(store.find(Select("alert", lacking="acknowledgement"))) == ["b", "c"]
            assert ids(store.find(Select("alert", lacking="delivery"))) == ["a", "b", "c"]
            assert ids(store.find(Select("alert", having="delivery"))) == []
            assert ids(store.find(Select("acknowledgement", having="alert"))) == ["a"]

    def test_several_models_predictions_of_an_item_are_found_by_time_and_model(self) -> None:
        with self.store() as store:
            store.append([prediction("a", model_version=model) for model in ("n", "M", "m")])
            store.append([prediction("a", model_version="first", at=NOON - HOUR), prediction("b", model_version="m")])
            select = Select("prediction", where={"prediction_id": "a"})
            wanted = ["first", "M", "m", "n"]
            assert [fact.key for fact in store.find(select)] == [("a", model) for model in wanted]
            assert [fact.key[1] for fact in store.find(attrs.evolve(select, descending=True))] == wanted[::-1]
            both = {"prediction_id": "a", "model_version": "m"}
            assert [fact.key for fact in store.find(Select("prediction", where=both))] == [("a", "m")]
            assert store.count(Select("prediction"), ["prediction_id"]) == {("a",): 4, ("b",): 1}

    def test_lacking_and_having_ask_for_the_item_whichever_model_predicted_it(self) -> None:
        with self.store() as store:
            store.append([prediction(name, model_version=model) for name in "ab" for model in "mn"])
            store.append([outcome("a", 1, NOON), outcome("a", 0, NOON + HOUR), outcome("early", 1)])
            assert [fact.key for fact in store.find(Select("prediction", having="outcome"))] == [
                ("a", "m"),
                ("a", "n"),
            ]
            assert store.count(Select("prediction", lacking="outcome"), ["model_version"]) == {("m",): 1, ("n",): 1}
            assert ids(store.find(Select("outcome", having="prediction"))) == ["a", "a"]
            assert ids(store.find(Select("outcome", lacking="prediction"))) == ["early"]

    def test_kinds_whose_keys_begin_with_another_field_have_none_in_common(self) -> None:
        with self.store() as store:
            store.append([prediction("x"), alert("x"), RuleRevision(rule_id="x", revision=1)])
            for kind, other in (("prediction", "alert"), ("alert", "rule_revision"), ("rule_revision", "outcome")):
                assert store.find(Select(kind, having=other)) == []
                assert ids(store.find(Select(kind, lacking=other))) == ["x"]

    def test_lacking_and_having_compare_whole_parts_of_keys(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), prediction("a%"), prediction("A"), outcome("ab", 1), outcome("a ", 1)])
            assert ids(store.find(Select("prediction", having="outcome"))) == []
            assert store.count(Select("prediction", lacking="outcome")) == {(): 3}

    def test_a_limit_counts_after_every_filter(self) -> None:
        with self.store() as store:
            store.append(prediction(f"p-{number}", at=NOON + number * SECOND) for number in range(6))
            store.append(outcome(f"p-{number}", 1) for number in (0, 1, 3))
            assert ids(store.find(Select("prediction", lacking="outcome", limit=2))) == ["p-2", "p-4"]
            assert ids(store.find(Select("prediction", limit=2, descending=True))) == ["p-5", "p-4"]
            assert store.find(Select("prediction", limit=0)) == []
            assert len(store.find(Select("prediction", limit=100))) == 6

    def test_paging_reads_every_fact_once_also_among_equal_times(self) -> None:
        with self.store() as store:
            for kind, made in (("prediction", prediction), ("alert", alert)):
                names = [f"p-{number:02d}" for number in range(17)]
                store.append(made(name, at=NOON + int(name[2:]) // 6 * SECOND) for name in names)
                for size in (1, 5, 6, 17, 18):
                    assert paged(store, size, kind=kind) == names
                    assert paged(store, size, kind=kind, descending=True) == names[::-1]

    def test_paging_works_among_revisions_of_one_prediction(self) -> None:
        with self.store() as store:
            store.append(outcome(name, number, NOON + number * MICROSECOND) for name in "ab" for number in range(5))
            assert paged(store, 3, kind="outcome") == list("ababababab")
            assert paged(store, 3, kind="outcome", where={"prediction_id": "a"}) == list("aaaaa")

    def test_paging_works_among_several_models_of_one_item(self) -> None:
        with self.store() as store:
            store.append(prediction(name, model_version=f"m-{number}") for name in "ab" for number in range(5))
            for size in (1, 3, 7):
                assert paged(store, size, kind="prediction") == list("aaaaabbbbb")
                assert paged(store, size, kind="prediction", where={"prediction_id": "b"}) == list("bbbbb")
                assert paged(store, size, kind="prediction", descending=True) == list("bbbbbaaaaa")

    def test_paging_is_not_moved_by_facts_that_come_behind_the_cursor(self) -> None:
        with self.store() as store:
            store.append(prediction(name, at=NOON) for name in "bdf")
            first = store.find(Select("prediction", limit=2))
            store.append([prediction("a", at=NOON), prediction("e", at=NOON), prediction("z", at=NOON - HOUR)])
            assert ids(store.find(Select("prediction", after=first[-1].cursor))) == ["e", "f"]

    def test_a_cursor_need_not_be_a_stored_fact(self) -> None:
        with self.store() as store:
            store.append(prediction(name, at=NOON) for name in "bd")
            for key in (("c", "m"), ("b", "z"), ("d", "a")):
                assert ids(store.find(Select("prediction", after=Cursor(NOON, key)))) == ["d"]
                assert ids(store.find(Select("prediction", after=Cursor(NOON, key), descending=True))) == ["b"]
            assert ids(store.find(Select("prediction", after=Cursor(NOON - HOUR, ("z", "z"))))) == ["b", "d"]
            assert ids(store.find(Select("prediction", after=Cursor(NOON + HOUR, ("a", "a"))))) == []

    def test_there_is_no_hidden_limit(self) -> None:
        with self.store() as store:
            store.append(prediction(f"p-{number:05d}", at=NOON + number * SECOND) for number in range(MANY))
            found = store.find(Select("prediction"))
            assert len(found) == MANY
            assert store.count(Select("prediction")) == {(): MANY}
            assert ids(found) == sorted(ids(found))

    def test_where_takes_more_values_than_a_statement_has_parameters(self) -> None:
        with self.store() as store:
            store.append(prediction(name) for name in ("p-00000", "p-40000", "p-69999", "q"))
            wanted = [f"p-{number:05d}" for number in range(70_000)]
            select = Select("prediction", where={"prediction_id": wanted})
            assert ids(store.find(select)) == ["p-00000", "p-40000", "p-69999"]
            assert store.count(select) == {(): 3}

    def test_facts_come_back_whole(self) -> None:
        snapshot = HealthSnapshot(
            snapshot_id="s",
            model_version="m",
            metrics={"accuracy": {"value": None, "n": 0, "reason": "no labelled predictions"}},
            window_start=NOON - HOUR,
            window_end=NOON,
            trend=-0.0,
            degradation_detected=True,
            trusted=False,
            metadata={"ä": [1, 2.5, None, True, "\u2028"], "deep": {"er": [[]]}},
            at=NOON + timedelta(days=1),
        )
        with self.store() as store:
            store.append([snapshot])
            (found,) = store.find(Select("health_snapshot"))
            assert isinstance(found, HealthSnapshot)
            for name in ("snapshot_id", "model_version", "metrics", "window_start", "window_end", "trend", "at"):
                assert getattr(found, name) == getattr(snapshot, name)
            assert repr(found.metadata) == repr(snapshot.metadata)
            assert (found.degradation_detected, found.trusted, found.at_given) == (True, False, True)

    def test_features_come_back_value_by_value_and_type_by_type(self) -> None:
        features = {
            "integers": [2**53 + 1, -(2**63), 2**63 - 1, 0],
            "floats": [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1 + 0.2, 1.0, -0.5],
            "others": [True, False, None, 1, "1", {}, [], ""],
            "text": ["a\0b", "\U0001f3ce", "\uffff", "e\u0301", "a\r\n\u2028b", "'; --", '\\"'],
            "\0\U0001f3ce": {"": {"nested": [[{}]]}},
            "large": "ä" * 100_000,
        }
        with self.store() as store:
            store.append([prediction(features=features)])
            (found,) = store.find(Select("prediction"))
            assert isinstance(found, Prediction)
            assert sorted(found.features) == sorted(features)
            for name, value in features.items():
                assert repr(found.features[name]) == repr(value), name

    def test_a_window_without_a_start_begins_with_1970(self) -> None:
        with self.store() as store:
            store.append([prediction("first", at=EPOCH), alert("first", at=EPOCH)])
            for kind in ("prediction", "alert"):
                assert ids(store.find(Select(kind))) == ["first"]
                assert ids(store.find(Select(kind, since=EPOCH, until=EPOCH + MICROSECOND))) == ["first"]
                assert ids(store.find(Select(kind, until=EPOCH))) == []

    def test_kinds_do_not_mix(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), alert("a"), acknowledgement("a"), outcome("a", 1)])
            for kind in ("prediction", "alert", "acknowledgement", "outcome"):
                assert [fact.kind for fact in store.find(Select(kind))] == [kind]


class CountLaws(Laws):
    """What `count` promises."""

    def test_count_groups_by_the_values_of_attributes(self) -> None:
        with self.store() as store:
            store.append(
                alert(f"{severity}{number}", severity=severity, component=component)
                for number, (severity, component) in enumerate(
                    [("info", "data"), ("info", "model"), ("critical", "model"), ("info", "model")]
                )
            )
            assert store.count(Select("alert")) == {(): 4}
            assert store.count(Select("alert"), ["severity"]) == {("info",): 3, ("critical",): 1}
            assert store.count(Select("alert"), ["component", "severity"]) == {
                ("data", "info"): 1,
                ("model", "info"): 2,
                ("model", "critical"): 1,
            }

    def test_count_keeps_the_type_of_what_it_groups_by(self) -> None:
        with self.store() as store:
            store.append(prediction(str(number), predicted_outcome=number % 2) for number in range(3))
            store.append(
                DriftResult(drift_id=name, model_version="m", feature="f", detected=name == "a", at=NOON)
                for name in "abc"
            )
            store.append([alert("x"), alert("y", rule_id="r")])
            store.append([prediction("text", predicted_outcome="1")])
            labels = store.count(Select("prediction"), ["predicted_outcome"])
            assert {repr(group): n for group, n in labels.items()} == {"(0,)": 2, "(1,)": 1, "('1',)": 1}
            flags = store.count(Select("drift_result"), ["detected"])
            assert {repr(group): n for group, n in flags.items()} == {"(True,)": 1, "(False,)": 2}
            rules = store.count(Select("alert"), ["rule_id"])
            assert {repr(group): n for group, n in rules.items()} == {"(None,)": 1, "('r',)": 1}

    def test_count_has_no_empty_groups(self) -> None:
        with self.store() as store:
            assert store.count(Select("prediction")) == {}
            assert store.count(Select("alert"), ["severity"]) == {}

    def test_count_answers_for_the_facts_find_selects(self) -> None:
        with self.store() as store:
            store.append(prediction(f"p-{number}", at=NOON + number * SECOND) for number in range(5))
            store.append([outcome("p-1", 1), outcome("p-2", 1), outcome("p-2", 0)])
            window = {"since": NOON + SECOND, "until": NOON + 4 * SECOND}
            for extra in ({}, {"having": "outcome"}, {"lacking": "outcome"}, {"where": {"prediction_id": ["p-1"]}}):
                select = Select("prediction", **window, **extra)  # type: ignore[arg-type]
                assert store.count(select) == {(): len(store.find(select))}
            assert store.count(Select("outcome"), ["prediction_id"]) == {("p-1",): 1, ("p-2",): 2}

    def test_count_refuses_a_limit_and_a_cursor(self) -> None:
        with self.store() as store:
            for select in (Select("prediction", limit=1), Select("prediction", after=Cursor(NOON, ("a", "m")))):
                with pytest.raises(InvalidQueryError):
                    store.count(select)

    def test_count_refuses_an_attribute_that_is_not_declared(self) -> None:
        with self.store() as store:
            for name in ("confidence", "at", "features", "x; drop table", ""):
                with pytest.raises(InvalidQueryError):
                    store.count(Select("prediction"), [name])
