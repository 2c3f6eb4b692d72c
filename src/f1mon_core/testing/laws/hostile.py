"""Hostile input: the same value back, or the same typed error; and any sequence of verbs agrees with the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Fact, Outcome
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.select import Select
from f1mon_core.testing import strategies
from f1mon_core.testing.corpus import QUESTIONS, REFUSED, STORED
from f1mon_core.testing.facts import alert, prediction
from f1mon_core.testing.laws.append import everything
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.machine import run_machine
from f1mon_core.testing.model import Model, written


def searched(laws: HostileLaws, law: Callable[..., None], **drawn: Any) -> None:
    """Look for an example that breaks a law."""
    profile = settings(
        max_examples=laws.examples,
        deadline=None,
        derandomize=laws.derandomize,
        database=None,
        print_blob=False,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if laws.shrink else [])],
        suppress_health_check=list(HealthCheck),
    )
    with warnings.catch_warnings():
        # Told of an example that breaks the law: where warnings are errors, it would hide what the example shows.
        warnings.filterwarnings("ignore", "Generating overly large repr")
        profile(given(**drawn)(law))()


class HostileLaws(Laws):
    """What becomes of input that nobody expects.

    Attributes:
        examples: How many batches of hostile facts are tried.
        sequences: How many sequences of verbs are tried.
        steps: The most verbs in one.
        derandomize: Whether every run tries the same ones.
        shrink: Whether to look for the shortest example once one is found, which takes minutes on a slow store.
    """

    examples: ClassVar[int] = 15
    sequences: ClassVar[int] = 30
    steps: ClassVar[int] = 30
    derandomize: ClassVar[bool] = True
    shrink: ClassVar[bool] = True

    def test_any_sequence_of_verbs_agrees_with_the_model(self) -> None:
        run_machine(self, self.sequences, self.steps, derandomize=self.derandomize, shrink=self.shrink)

    def test_any_legal_fact_comes_back_as_it_was(self) -> None:
        def law(batch: list[Fact]) -> None:
            with self.place() as place:
                store, model = place.open(), Model()
                wanted = model.append(batch, place.clock())
                assert store.append(batch) == wanted
                for kind in {fact.kind for fact in batch}:
                    for descending in (False, True):
                        select = Select(kind, descending=descending)
                        assert [written(one) for one in store.find(select)] == [
                            written(one) for one in model.find(select)
                        ]
                timed = [fact for fact in batch if fact.at is not None or not isinstance(fact, Outcome)]
                assert store.append(timed) == Appended(0, len(timed))

        searched(self, law, batch=strategies.batches())

    def test_any_legal_document_comes_back_as_it_was(self) -> None:
        def law(documents: dict[str, Document], result: Any) -> None:
            with self.store() as store:
                for number, (key, document) in enumerate(documents.items()):
                    step: Any = lambda _, __, own=document: Change(own, result=result)  # noqa: E731
                    for _ in range(2):
                        answer = store.transition(key, step, operation_id=f"op-{number}")
                        assert spelled(answer) == spelled(Change(None, result=result).result)
                found = store.state("")
                assert list(found) == sorted(documents)
                assert {key: spelled(one) for key, one in found.items()} == {
                    key: spelled(one) for key, one in documents.items()
                }

        keyed = st.dictionaries(strategies.ids(), strategies.documents(), max_size=5)
        searched(self, law, documents=keyed, result=strategies.json_values())

    def test_hostile_values_come_back_as_they_were(self) -> None:
        with self.store() as store:
            for number, (name, hostile) in enumerate(STORED.items()):
                fact = hostile.make()
                if fact.key[0] in {"p", "a"}:  # the default ids: make them differ
                    own: Any = {type(fact).key_fields[0]: f"{fact.key[0]}-{number}"}
                    fact = attrs.evolve(fact, **own)
                assert store.append([fact]) == Appended(1, 0), name
                assert store.append([fact]) == Appended(0, 1), name
                (found,) = store.find(Select(fact.kind, where={type(fact).key_fields[0]: fact.key[0]}))
                wanted = attrs.evolve(fact, at=found.at, recorded_at=found.recorded_at, at_given=found.at_given)
                assert written(found) == written(attrs.evolve(wanted, **hostile.kept)), name

    def test_refused_values_are_refused_by_the_name_of_their_field_and_leave_nothing(self) -> None:
        with self.store() as store:
            for name, hostile in REFUSED.items():
                with pytest.raises(InvalidRecordError) as refused:
                    store.append(make() for make in (prediction, alert, hostile.make))
                assert refused.value.field == hostile.field, name
                assert str(hostile.field) in str(refused.value), name
                assert str(hostile.field) in repr(refused.value), name
            assert everything(store) == []

    def test_questions_that_cannot_be_asked_are_refused(self) -> None:
        with self.store() as store:
            store.append([prediction()])
            for name, ask in QUESTIONS.items():
                try:
                    answer = ask(store)
                except InvalidQueryError:
                    continue
                pytest.fail(f"{name} was answered with {answer!r}")
            assert len(everything(store)) == 1


def spelled(value: Any) -> str:
    """JSON spelled out with its types, -0.0 read as the 0.0 that stores keep."""
    return repr(_without_negative_zero(value))


def _without_negative_zero(value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _without_negative_zero(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_without_negative_zero(item) for item in value]
    return value
