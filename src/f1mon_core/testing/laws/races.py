"""What several processes may rely on: each law runs real ones, forked from one warm process, against one place."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import datetime
from typing import Any, ClassVar, cast

import pytest

from f1mon_core.errors import ConflictError, PrunedError
from f1mon_core.records.kinds import Acknowledgement, Fact, Outcome, Prediction
from f1mon_core.records.times import MICROSECOND
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Appended, Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.engine import Engine
from f1mon_core.testing.facts import MINUTE, NOON, SECOND, acknowledgement, alert, outcome, prediction
from f1mon_core.testing.laws.base import Laws, demands
from f1mon_core.testing.laws.prune import OLD, PRUNED_BEFORE
from f1mon_core.testing.laws.transition import counted
from f1mon_core.testing.location import Place
from f1mon_core.testing.races import Member, Slots, crew, fork_and_wait, spawned

RULE = "low-accuracy"


def append_and_count(place: Place) -> tuple[Appended, dict[Any, int]]:
    """What a spawned process does: repeat a fact, add one, count."""
    with place.handle() as store:
        return store.append([prediction("a"), prediction("b")]), dict(store.count(Select("prediction")))


class RaceLaws(Laws):
    """What `Storage` promises to processes that work at once.

    Attributes:
        processes: How many work at once.
        windows: How many cooldowns they evaluate one rule over.
        fresh_rules: How many rules that never fired they evaluate.
        meetings: How often a prediction and its outcome are appended at the same moment.
        items: At how many items two models' predictions, an outcome, its correction and a contradiction meet.
        engine: What decides whether a rule fires: the kit's own, or somebody else's.
    """

    processes: ClassVar[int] = 8
    windows: ClassVar[int] = 100
    fresh_rules: ClassVar[int] = 40
    meetings: ClassVar[int] = 1000
    items: ClassVar[int] = 1000
    engine: ClassVar[Engine] = Engine()

    @demands("shared")
    def test_processes_that_evaluate_one_rule_fire_once_in_each_cooldown(self) -> None:
        with self.place() as place:
            place.open().check()  # the place is made before the processes race for it

            def evaluate(member: Member) -> int:
                store, fired = member.place.open(), 0
                for _ in range(self.windows):
                    fired += self.engine.fires(store, RULE)
                    # A window is one cooldown: it is over when all have evaluated, and then the clock is turned.
                    member.barrier.wait()
                return fired

            fired = crew(place, self.processes, evaluate, at_barrier=lambda: place.clock.advance(self.engine.cooldown))
            found = self.engine.fired(place.open(), RULE)
            windows = [NOON + number * self.engine.cooldown for number in range(self.windows)]
            assert [fact.at for fact in found] == windows
            assert sum(fired) == self.windows

    @demands("shared")
    def test_processes_that_evaluate_rules_that_never_fired_fire_each_once(self) -> None:
        with self.place() as place:
            place.open().check()

            def evaluate(member: Member) -> list[bool]:
                store, fired = member.place.open(), []
                for number in range(self.fresh_rules):
                    member.barrier.wait()
                    fired.append(self.engine.fires(store, f"rule-{number}"))
                return fired

            fired = crew(place, self.processes, evaluate)
            store = place.open()
            for number in range(self.fresh_rules):
                assert len(self.engine.fired(store, f"rule-{number}")) == 1, number
                assert sum(own[number] for own in fired) == 1, number

    @demands("shared")
    def test_transitions_of_several_processes_lose_nothing(self) -> None:
        each = 25
        with self.place() as place:
            place.open().check()

            def count(member: Member) -> list[Any]:
                store = member.place.open()
                member.barrier.wait()
                return [
                    store.transition("k", counted, operation_id=f"{member.number}-{number}") for number in range(each)
                ]

            results = sorted(one for own in crew(place, self.processes, count) for one in own)
            assert results == list(range(1, each * self.processes + 1))
            assert place.open().state("k") == {"k": {"n": each * self.processes}}

    @demands("shared")
    def test_an_operation_repeated_by_several_processes_is_done_once(self) -> None:
        with self.place() as place:
            place.open().check()

            def repeat(member: Member) -> list[Any]:
                store, answers = member.place.open(), []
                for number in range(20):
                    member.barrier.wait()
                    answers.append(store.transition("k", counted, operation_id=f"op-{number}"))
                return answers

            answers = crew(place, self.processes, repeat)
            assert answers == [list(range(1, 21))] * self.processes

    @demands("shared")
    def test_overlapping_batches_in_different_orders_are_stored_once_and_never_deadlock(self) -> None:
        names = [f"p-{number:03d}" for number in range(120)]
        with self.place() as place:
            place.open().check()

            def append(member: Member) -> int:
                store, rng, new = member.place.open(), random.Random(member.number), 0  # noqa: S311 - an order
                for _ in range(4):
                    batch = [fact for name in names for fact in (prediction(name), outcome(name, 1, NOON), alert(name))]
                    rng.shuffle(batch)
                    member.barrier.wait()
                    for begin in range(0, len(batch), 60):
                        new += store.append(batch[begin : begin + 60]).new
                return new

            new = crew(place, self.processes, append)
            store = place.open()
            assert sum(new) == 3 * len(names)
            assert [fact.key[0] for fact in store.find(Select("prediction"))] == names
            assert [fact.key[0] for fact in store.find(Select("outcome"))] == names
            assert store.tally(TallyQuery()).count == len(names)

    @demands("shared")
    def test_of_several_conflicting_batches_one_is_stored_whole(self) -> None:
        with self.place() as place:
            place.open().check()

            def append(member: Member) -> list[bool]:
                store, won = member.place.open(), []
                for number in range(20):
                    names = [f"{number}-{part}" for part in range(5)]
                    if member.number % 2:
                        names.reverse()
                    member.barrier.wait()
                    try:
                        store.append(prediction(name, predicted_outcome=member.number) for name in names)
                    except ConflictError:
                        won.append(False)
                    else:
                        won.append(True)
                return won

            won = crew(place, self.processes, append)
            groups = place.open().count(Select("prediction"), ["predicted_outcome"])
            assert [sum(own[number] for own in won) for number in range(20)] == [1] * 20
            assert groups == {(own,): 5 * sum(wins) for own, wins in enumerate(won) if sum(wins)}

    @demands("shared")
    def test_of_concurrent_acknowledgements_one_wins_for_ever(self) -> None:
        names = [f"a-{number}" for number in range(30)]
        with self.place() as place:
            place.open().append(alert(name) for name in names)

            def acknowledge(member: Member) -> list[str | None]:
                store, me, winners = member.place.open(), f"person-{member.number}", []
                for name in names:
                    member.barrier.wait()
                    try:
                        store.append([acknowledgement(name, by=me)])
                    except ConflictError as lost:
                        winners.append(cast("Acknowledgement", lost.stored).by)
                    else:
                        winners.append(me)
                return winners

            told = crew(place, self.processes, acknowledge)
            stored = {fact.alert_id: fact.by for fact in _all(place.open(), Acknowledgement)}
            assert told == [[stored[name] for name in names]] * self.processes

    @demands("shared")
    def test_a_prediction_and_its_outcome_meet_whoever_comes_first(self) -> None:
        with self.place() as place:
            place.open().check()

            def append(member: Member) -> None:
                store = member.place.open()
                for number in range(self.meetings):
                    fact = outcome(f"p-{number}", 1) if member.number else prediction(f"p-{number}")
                    member.barrier.wait()
                    store.append([fact])

            crew(place, 2, append)
            store = place.open()
            assert store.count(Select("prediction", lacking="outcome")) == {}
            assert {key.actual: cell.n for key, cell in store.tally(TallyQuery()).cells.items()} == {1: self.meetings}

    @demands("shared")
    def test_two_models_an_outcome_its_correction_and_a_contradiction_meet_at_one_item(self) -> None:
        champion: dict[str, Any] = {"model_version": "champion"}
        challenger: dict[str, Any] = {"model_version": "challenger", "segments": {"x": "1"}}

        def offered(number: int, item: str) -> Fact:
            return (
                prediction(item, **champion),
                prediction(item, **challenger),
                outcome(item, 1, NOON),
                outcome(item, 0, NOON + SECOND),
                prediction(item, segments={"x": 1}, **champion),
            )[number % 5]

        with self.place() as place:
            place.open().check()

            def append(member: Member) -> list[bool]:
                store, refused = member.place.open(), []
                for number in range(self.items):
                    fact = offered(member.number, f"p-{number}")
                    member.barrier.wait()
                    try:
                        store.append([fact])
                    except ConflictError:
                        refused.append(True)
                    else:
                        refused.append(False)
                return refused

            refused = crew(place, 8, append)
            store = place.open()
            champions = [fact for fact in _all(store, Prediction) if fact.model_version == "champion"]
            won = {fact.prediction_id: bool(fact.segments) for fact in champions}
            # The champion is offered by the first and the sixth process, what contradicts it by the fifth.
            for number, own in enumerate(zip(*refused, strict=True)):
                late = won[f"p-{number}"]
                assert own == (late, False, False, False, not late, late, False, False)
            assert store.count(Select("prediction", lacking="outcome")) == {}
            labelled = {(key.model_version, key.actual): n.n for key, n in store.tally(TallyQuery()).cells.items()}
            assert labelled == {("champion", 0): self.items, ("challenger", 0): self.items}

    @demands("shared")
    def test_models_that_come_to_one_item_at_once_are_all_kept(self) -> None:
        names = [f"p-{number}" for number in range(6)]
        with self.place() as place:
            place.open().append(fact for name in names for fact in (prediction(name), outcome(name, 1, NOON)))

            def append(member: Member) -> list[tuple[int, int]]:
                store, came = member.place.open(), []
                for name in names:
                    fact = prediction(name, model_version=f"m-{member.number // 2}", confidence=member.number / 10)
                    member.barrier.wait()
                    try:
                        appended = store.append([fact])
                    except ConflictError:
                        came.append((0, 0))
                    else:
                        came.append((appended.new, appended.repeated))
                return came

            # Each model comes twice, and contradicts itself.
            came = crew(place, 2 * (self.processes // 2), append)
            models = [f"m-{number}" for number in range(self.processes // 2)]
            for number in range(len(models)):
                pairs = zip(came[2 * number], came[2 * number + 1], strict=True)
                assert [sorted(pair) for pair in pairs] == [[(0, 0), (1, 0)]] * len(names)
            store = place.open()
            found = [fact.key for fact in _all(store, Prediction)]
            assert found == [(name, model) for name in names for model in [*models, "podium-1"]]
            cells = store.tally(TallyQuery()).cells.items()
            labelled = Counter((key.model_version, key.actual) for key, n in cells for _ in range(n.n))
            assert labelled == {(model, 1): len(names) for model in [*models, "podium-1"]}

    @demands("shared")
    def test_of_concurrent_corrections_the_newest_known_at_is_current(self) -> None:
        each = 12
        with self.place() as place:
            place.open().append([prediction("p")])

            def correct(member: Member) -> None:
                store, rng = member.place.open(), random.Random(member.number)  # noqa: S311 - an order
                own = [number * self.processes + member.number for number in range(each)]
                rng.shuffle(own)
                member.barrier.wait()
                for number in own:
                    store.append([outcome("p", number, NOON + number * SECOND)])

            crew(place, self.processes, correct)
            store = place.open()
            last = each * self.processes - 1
            assert [key.actual for key in store.tally(TallyQuery()).cells] == [last]
            assert store.append([outcome("p", last)]) == Appended(0, 1)
            found = [fact.actual_outcome for fact in _all(store, Outcome)]
            assert found == list(range(last + 1))

    @demands("shared")
    def test_concurrent_corrections_without_known_at_all_have_their_own_instant(self) -> None:
        with self.place() as place:
            place.open().append([prediction("p")])

            def correct(member: Member) -> int:
                store = member.place.open()
                member.barrier.wait()
                return sum(store.append([outcome("p", 100 * member.number + number)]).new for number in range(10))

            new = crew(place, self.processes, correct)
            found = _all(place.open(), Outcome)
            assert sum(new) == 10 * self.processes
            assert [fact.at for fact in found] == [NOON + number * MICROSECOND for number in range(10 * self.processes)]
            assert [key.actual for key in place.open().tally(TallyQuery()).cells] == [found[-1].actual_outcome]

    @demands("shared")
    def test_a_repeat_of_what_another_process_prunes_never_counts_twice(self) -> None:
        names = [f"p-{number:02d}" for number in range(40)]
        with self.place() as place:
            facts = [prediction(name, at=OLD + number * MINUTE) for number, name in enumerate(names)]
            place.open().append(facts)
            begun = Slots(self.processes)

            def repeat(member: Member) -> None:
                store = member.place.open()
                member.barrier.wait()
                begun[member.number] = 1
                if not member.number:
                    for other in range(self.processes):
                        begun.await_positive(other)  # else it may be over before they wake
                    store.prune(PRUNED_BEFORE)
                    return
                for fact in facts:
                    try:
                        assert store.append([fact, outcome(fact.prediction_id, 1)]).new in {0, 1}
                    except PrunedError:
                        continue

            crew(place, self.processes, repeat)
            store = place.open()
            assert store.find(Select("prediction")) == []
            assert store.find(Select("outcome")) == []
            assert store.tally(TallyQuery()).count == len(names)
            for fact in facts:
                with pytest.raises(PrunedError):
                    store.append([fact])

    @demands("shared")
    def test_readers_in_other_processes_see_all_of_a_batch_or_nothing(self) -> None:
        with self.place() as place:
            place.open().check()

            written = Slots(1)

            def work(member: Member) -> list[int]:
                store, seen = member.place.open(), [0]
                member.barrier.wait()
                if member.number == 0:
                    try:
                        for number in range(12):
                            store.append(prediction(f"{number}-{part}") for part in range(100))
                    finally:
                        written[0] = 1
                while not written[0]:
                    seen.append(store.count(Select("prediction")).get((), 0))
                    time.sleep(0.001)  # a reader that never rests takes the core that the writer needs
                return [*seen, store.count(Select("prediction"))[()]]

            for seen in crew(place, 3, work):
                assert all(number % 100 == 0 for number in seen)
                assert seen == sorted(seen)
                assert seen[-1] == 1200

    @demands("shared")
    def test_the_clock_is_read_after_the_lock_among_processes(self) -> None:
        with self.place() as place:
            place.open().check()

            def step(document: Any, now: datetime) -> Change:
                # Whoever holds the lock turns the clock; the next must see it turned.
                place.clock.advance(SECOND)
                change = counted(document, now)
                return Change(change.state, result=[change.result, (now - NOON) // SECOND])

            def stamp(member: Member) -> list[Any]:
                store = member.place.open()
                member.barrier.wait()
                return [store.transition("k", step, operation_id=f"{member.number}-{number}") for number in range(25)]

            stamps = sorted(one for own in crew(place, self.processes, stamp) for one in own)
            assert [turned for _, turned in stamps] == sorted(turned for _, turned in stamps)
            assert all(turned >= number - 1 for number, turned in stamps)

    @demands("shared")
    def test_claimers_blocked_for_longer_than_the_cooldown_fire_once(self) -> None:
        cooldown = self.engine.cooldown
        with self.place() as place:
            place.open().check()

            def evaluate(member: Member) -> tuple[list[bool], list[Any]]:
                store = member.place.open()
                entered: list[bool] = []
                overtaken: list[Any] = []

                def hold(document: Any, _: datetime) -> Change:
                    if not entered:
                        entered.append(True)
                        member.barrier.wait()
                        time.sleep(0.2)  # long enough for the others to come to the lock
                        place.clock.advance(2 * cooldown)
                    return Change(document, result=document is not None)

                fired = []
                member.barrier.wait()  # all have opened the place, for which a store may want the lock too
                if member.number:
                    member.barrier.wait()
                    fired.append(self.engine.fires(store, RULE))
                else:
                    overtaken.append(store.transition(self.engine.key(RULE), hold, operation_id="hold"))
                # No time has passed since, so whoever looks again finds the cooldown of what was fired.
                member.barrier.wait()
                return [*fired, self.engine.fires(store, RULE)], overtaken

            found = crew(place, self.processes, evaluate)
            # Where the store let a claimer in and had the holder begin anew, that one fired before the clock was
            # turned, and the next one when the cooldown had long passed.
            (overtaken,) = (one for _, seen in found for one in seen)
            wanted = [NOON, NOON + 2 * cooldown] if overtaken else [NOON + 2 * cooldown]
            assert [fact.at for fact in self.engine.fired(place.open(), RULE)] == wanted
            assert sum(sum(fired) for fired, _ in found) == len(wanted)

    @demands("shared")
    def test_a_handle_works_in_a_forked_child_and_still_in_its_parent(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("before")])

            def child(name: str) -> Any:
                # A native async handle belongs to the event loop it was opened in; a child opens its own.
                own = place.open() if self.colour == "async" else store
                appended = own.append([prediction(name), prediction("before")])
                return appended, own.transition("k", counted, operation_id=name), own.count(Select("prediction"))

            assert fork_and_wait(lambda: child("one")) == (Appended(1, 1), 1, {(): 2})
            store.append([prediction("parent")])
            assert store.transition("k", counted, operation_id="parent") == 2
            assert fork_and_wait(lambda: child("two")) == (Appended(1, 1), 3, {(): 4})
            assert store.count(Select("prediction")) == {(): 4}
            assert store.state("k") == {"k": {"n": 3}}

    @demands("shared")
    def test_a_spawned_process_opens_the_same_place(self) -> None:
        with self.place() as place:
            store = place.open()
            store.append([prediction("a")])
            assert spawned(append_and_count, place) == (Appended(1, 1), {(): 2})
            assert store.count(Select("prediction")) == {(): 2}


def _all(store: Storage, record: type[Any]) -> list[Any]:
    return list(store.find(Select(record.kind)))
