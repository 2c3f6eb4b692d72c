"""Laws of items: several models, one outcome, labels of any kind, segments."""

from __future__ import annotations

from typing import cast

import pytest

from f1mon_core.errors import ConflictError
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Prediction
from f1mon_core.records.times import MICROSECOND
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, outcome, prediction
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.model import written


class ItemLaws(Laws):
    """What a store promises of items that several models predict."""

    def test_several_models_may_predict_one_item(self) -> None:
        with self.store() as store:
            champion, challenger = (
                prediction("a", model_version="m"),
                prediction("a", model_version="n", confidence=0.6),
            )
            assert store.append([champion, challenger]) == Appended(2, 0)
            assert store.append([challenger, champion, prediction("a", model_version="N")]) == Appended(1, 2)
            assert store.tally(TallyQuery(model_version="n")).count == 1
            assert store.count(Select("prediction"), ["model_version"]) == {("m",): 1, ("n",): 1, ("N",): 1}

    def test_an_outcome_labels_every_models_prediction_of_its_item_also_those_that_come_later(self) -> None:
        def labels(store: Storage) -> dict[str, ClassLabel | None]:
            return {key.model_version: key.actual for key in store.tally(TallyQuery()).cells}

        with self.store() as store:
            store.append([prediction("a", model_version="m"), prediction("a", model_version="n")])
            store.append([outcome("a", 1, NOON)])
            assert labels(store) == {"m": 1, "n": 1}
            store.append([prediction("a", model_version="third")])
            assert labels(store) == {"m": 1, "n": 1, "third": 1}
            store.append([outcome("a", 0), prediction("a", model_version="fourth"), prediction("b", model_version="o")])
            assert labels(store) == {"m": 0, "n": 0, "third": 0, "fourth": 0, "o": None}
            store.append([outcome("c", 1), prediction("c", model_version="p"), prediction("c", model_version="q")])
            assert labels(store)["p"] == labels(store)["q"] == 1

    def test_a_conflict_names_the_models_own_fact(self) -> None:
        with self.store() as store:
            for number, model in enumerate("mno"):
                store.append([prediction("a", model_version=model, confidence=number / 10)])
            store.append([outcome("a", 1, NOON)])
            for number, model in enumerate("mno"):
                with pytest.raises(ConflictError) as refused:
                    store.append([prediction("a", model_version=model, confidence=0.9)])
                stored = cast("Prediction", refused.value.stored)
                assert (stored.key, stored.confidence) == (("a", model), number / 10)
                assert model in str(refused.value)

    def test_labels_compare_with_their_type(self) -> None:
        with self.store() as store:
            store.append([prediction("number", predicted_outcome=1), prediction("text", predicted_outcome="1")])
            for name, other in (("number", "1"), ("text", 1)):
                with pytest.raises(ConflictError):
                    store.append([prediction(name, predicted_outcome=other)])
            store.append([outcome("number", 1, NOON), outcome("text", "1", NOON)])
            for name, actual in (("number", "1"), ("text", 1)):
                with pytest.raises(ConflictError):
                    store.append([outcome(name, actual, NOON)])
                assert store.append([outcome(name, actual)]) == Appended(1, 0)
            cells = store.tally(TallyQuery()).cells
            assert {repr((key.predicted, key.actual)) for key in cells} == {"(1, '1')", "('1', 1)"}

    def test_a_bool_label_is_kept_as_0_or_1(self) -> None:
        with self.store() as store:
            store.append([prediction("a", predicted_outcome=True), outcome("a", False, NOON)])
            again = [prediction("a", predicted_outcome=1), outcome("a", 0, NOON), outcome("a", False)]
            assert store.append(again) == Appended(0, 3)
            assert [repr((key.predicted, key.actual)) for key in store.tally(TallyQuery()).cells] == ["(1, 0)"]

    def test_labels_that_look_alike_are_different_labels(self) -> None:
        labels: list[ClassLabel] = [
            "a",
            "A",
            "a ",
            " a",
            "ä",
            "a\u0308",
            "ß",
            "ss",
            "01",
            "1",
            1,
            "1.0",
            "\n",
            "x" * 254 + "a",
            "x" * 255,
        ]
        with self.store() as store:
            for number, label in enumerate(labels):
                store.append([prediction(f"p-{number}", predicted_outcome=label), outcome(f"p-{number}", label)])
            found = {repr((key.predicted, key.actual)): n.n for key, n in store.tally(TallyQuery()).cells.items()}
            assert found == {repr((label, label)): 1 for label in labels}
            for number, label in enumerate(labels):
                for select in (
                    Select("prediction", where={"predicted_outcome": label}),
                    Select("outcome", where={"actual_outcome": label}),
                ):
                    assert [fact.key[0] for fact in store.find(select)] == [f"p-{number}"]

    def test_segments_are_part_of_the_fact(self) -> None:
        with self.store() as store:
            stored = prediction("a", segments={"country": "DE", "tier": 1})
            store.append([stored, prediction("plain")])
            assert store.append([prediction("a", segments={"tier": True, "country": "DE"})]) == Appended(0, 1)
            for wrong in (
                {},
                {"country": "DE"},
                {"country": "DE", "tier": "1"},
                {"country": "DE", "tier": 2},
                {"country": "de", "tier": 1},
                {"country": "DE", "tier": 1, "new": ""},
            ):
                with pytest.raises(ConflictError, match="segments"):
                    store.append([prediction("a", segments=wrong)])
            with pytest.raises(ConflictError, match="segments"):
                store.append([prediction("plain", segments={"country": "DE"})])
            assert [written(fact, stamps=False) for fact in store.find(Select("prediction"))] == [
                written(fact, stamps=False) for fact in (stored, prediction("plain"))
            ]

    def test_predictions_of_items_labelled_a_day_before_are_counted(self) -> None:
        with self.store() as store:
            store.append([outcome("old", 1, NOON - 24 * HOUR - MICROSECOND), outcome("day", 1, NOON - 24 * HOUR)])
            store.append([outcome("old", 0, NOON)])
            made = [prediction(name, model_version=model) for name in ("old", "day", "never") for model in "mn"]
            assert store.append(made).prelabelled == 2
            assert store.append(made).prelabelled == 0
            batch = [outcome("own", 1, NOON - 48 * HOUR), prediction("own"), prediction("own", model_version="n")]
            assert store.append(batch).prelabelled == 2
            assert (
                store.append([prediction("before", at=NOON - 72 * HOUR), outcome("before", 1, NOON)]).prelabelled == 0
            )

    def test_outcomes_of_items_nobody_predicted_are_counted_or_not_spoken_of(self) -> None:
        with self.store() as store:
            store.append([prediction("a"), prediction("b")])
            batch = [outcome("a", 1), outcome("early", 1, NOON), outcome("early", 0, NOON + HOUR), outcome("own", 1)]
            assert store.append([*batch, prediction("own")]).unmatched in {2, None}
            assert store.append([outcome("early", 0), outcome("early", 1, NOON)]).unmatched in {0, None}
            assert store.append([prediction("early"), outcome("early", 1)]).unmatched in {0, None}
