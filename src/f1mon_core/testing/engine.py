"""What processes race for: rules that fire at most once in a cooldown, by a step of the kit's own.

It proves the store, not alerting: the step knows a cooldown and nothing else, and stores a document, facts of two kinds
and a further document at once. Who has a real engine holds it to the same laws as another `Engine`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert, IncidentEvent
from f1mon_core.records.times import to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select
from f1mon_core.testing.facts import HOUR, alert


class Engine:
    """Decides whether a rule fires: where it has not within its cooldown, whoever claims it first makes it fire.

    Attributes:
        cooldown: A whole number of microseconds.
    """

    cooldown: timedelta = HOUR

    def key(self, rule_id: str) -> str:
        """The key of the document that a claim of a rule locks."""
        return state_key("rule", rule_id)

    def fires(self, store: Storage, rule_id: str) -> bool:
        """Claim a rule; whether it fired."""
        operation_id = new_operation_id()
        step = firing(rule_id, self.cooldown, operation_id)
        return bool(plans.run(plans.settle(self.key(rule_id), step, operation_id=operation_id), store))

    def fired(self, store: Storage, rule_id: str) -> list[Alert]:
        """What is stored of how often a rule fired, oldest first."""
        return [fact for fact in store.find(Select("alert", where={"rule_id": rule_id})) if isinstance(fact, Alert)]

    def last_fired(self, store: Storage, rule_id: str) -> int | None:
        """When a rule fired last as its document has it, in microseconds since 1970."""
        last = store.state(self.key(rule_id))[self.key(rule_id)]["last_fired"]
        assert last is None or isinstance(last, int)
        return last

    def assert_whole(self, store: Storage, rule_id: str) -> None:
        """State, facts of both kinds and further documents of every claim are there together."""
        found = self.fired(store, rule_id)
        assert self.last_fired(store, rule_id) == to_micros(found[-1].instant)
        events = [
            event.details["alert_id"]
            for event in store.find(Select("incident_event", where={"event": ["firing", "repeated", "escalated"]}))
            if isinstance(event, IncidentEvent)
        ]
        assert sorted(map(str, events)) == sorted(fact.alert_id for fact in found)
        waiting = {str(document["alert_id"]) for document in store.state(state_prefix("delivery")).values()}
        assert waiting == {fact.alert_id for fact in found}


def firing(rule_id: str, cooldown: timedelta, operation_id: str) -> Step:
    """The step of a claim: two facts, a document and its own state, unless it fired within the cooldown."""

    def step(document: Document | None, now: datetime) -> Change:
        last = None if document is None else document["last_fired"]
        if isinstance(last, int) and to_micros(now) - last < cooldown // timedelta(microseconds=1):
            return Change(document, result=False)
        made = alert(f"{rule_id}/{operation_id}", rule_id=rule_id, at=None)
        event = IncidentEvent(
            event_id=operation_id,
            event="firing",
            rule_id=rule_id,
            incident_id=rule_id,
            details={"alert_id": made.alert_id},
        )
        also: dict[str, Document] = {state_key("delivery", made.alert_id, "console"): {"alert_id": made.alert_id}}
        return Change({"last_fired": to_micros(now)}, [made, event], also, result=True)

    return step
