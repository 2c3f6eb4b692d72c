"""What outlives the process that stored it, also where one process at a time works on a place."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pytest

from f1mon_core.errors import PrunedError
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Alert
from f1mon_core.storage.change import Change
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, alert, outcome, prediction
from f1mon_core.testing.laws.base import Laws, demands
from f1mon_core.testing.laws.handles import assert_filled, fill
from f1mon_core.testing.laws.prune import OLD
from f1mon_core.testing.races import Begun, fork_and_kill, killed_in_turn


class DurabilityLaws(Laws):
    """What `Storage` promises of a place when the process that works on it dies.

    Attributes:
        interruptions: How many processes are killed on their way through one verb, each a little later than the last.
    """

    interruptions: ClassVar[int] = 20

    @demands("durable")
    def test_what_a_process_was_told_is_stored_is_there_after_its_kill(self) -> None:
        with self.place() as place:
            fork_and_kill(place, fill)
            assert_filled(place.open(), place)

    @demands("durable")
    def test_a_claim_killed_on_its_way_to_the_commit_is_stored_whole_or_not_at_all(self) -> None:
        def claimed(number: int, by: str, begun: Begun = lambda: None) -> Any:
            def step(document: Document | None, _: datetime) -> Change:
                begun()
                made: Document = {"by": by}
                facts = [alert(f"a-{number}", title=by, at=None)]
                return Change(made, facts, {f"delivery/{number}": made}, {"by": by, "found": document})

            return step

        def claim(store: Storage, number: int, begun: Begun) -> None:
            store.transition(f"warm/{number}", lambda *_: Change({}), operation_id="op")
            store.transition(f"rule/{number}", claimed(number, "the killed", begun), operation_id="op")

        with self.place() as place:
            for number in killed_in_turn(place, self.interruptions, claim):
                with place.handle() as store:
                    # Asked before anything is read: on a server the commit of the killed may be under way still.
                    step = claimed(number, "the next")
                    answer: Any = store.transition(f"rule/{number}", step, operation_id="op")
                    assert answer in ({"by": "the killed", "found": None}, {"by": "the next", "found": None})
                    made = {"by": answer["by"]}
                    assert store.state(f"rule/{number}").get(f"rule/{number}") == made
                    assert store.state(f"delivery/{number}").get(f"delivery/{number}") == made
                    found = store.find(Select("alert", where={"alert_id": f"a-{number}"}))
                    assert [one.title for one in found if isinstance(one, Alert)] == [answer["by"]]
            assert place.open().check().ok

    @demands("durable")
    def test_a_prune_killed_on_its_way_to_the_commit_is_done_whole_or_not_at_all(self) -> None:
        def prune(store: Storage, number: int, begun: Begun) -> None:
            at, name = OLD + number * HOUR, f"p-{number}"
            store.append([prediction(name, at=at), outcome(name, 1, at), alert(f"a-{number}", at=at)])
            begun()
            store.prune(at + HOUR)

        with self.place() as place:
            for number in killed_in_turn(place, self.interruptions, prune):
                with place.handle() as store:
                    # Done again before anything is read: on a server the killed one's commit may be under way still.
                    done = store.prune(OLD + (number + 1) * HOUR)
                    assert done.removed in ({}, {"prediction": 1, "outcome": 1, "alert": 1})
                    assert store.tally(TallyQuery()).count == number + 1
                    for kind in ("prediction", "outcome", "alert"):
                        assert store.find(Select(kind)) == []
                    for fact in (prediction(f"p-{number}", at=NOON), outcome(f"p-{number}", 0)):
                        with pytest.raises(PrunedError):
                            store.append([fact])
            assert place.open().check().ok
