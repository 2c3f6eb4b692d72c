"""Open incidents: what is pending or fires now, since when and who has it; and their end by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from f1mon_core.alerts import outbox, rule_edits
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.incident import ending, note_of
from f1mon_core.alerts.inhibition import Inhibitors
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.watch import Incident, Phase, Watch
from f1mon_core.errors import InvalidQueryError, NotFoundError
from f1mon_core.recording.lists import Listed
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Acknowledgement, Alert
from f1mon_core.records.times import from_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, key_parts, state_prefix
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import check_id

INSTANCES = state_prefix("instance")
_IDS_PER_QUESTION = 500


@attrs.frozen(kw_only=True)
class OpenIncident:
    """A breach that has not ended.

    Attributes:
        rule_id: As far as it is known: an overlong one stands in no key.
        model_version: Of the newest breach; "all" for all models together.
        phase, reason: "pending" or "firing", and why.
        opened: The first breach.
        severity: That of the newest breach.
        alert_ids: Its alerts, oldest first.
        taken_by, taken_at: Who acknowledged it ("somebody" without a name), and when.
        inhibited_by: The rule that fires for its model now and keeps it from being told.
    """

    incident_id: str
    rule_id: str
    model_version: str | None
    labels: Mapping[str, Any]
    phase: Phase
    reason: str
    opened: datetime
    severity: str | None
    alert_ids: tuple[str, ...]
    taken_by: str | None
    taken_at: datetime | None
    inhibited_by: str | None = None

    @classmethod
    def of(cls, rule_id: str, watch: Watch) -> OpenIncident:
        """What a watch with an incident says."""
        incident = cast("Incident", watch.incident)
        taken = incident.acknowledged
        return cls(
            incident_id=incident.incident_id,
            rule_id=rule_id,
            model_version=incident.model_version,
            labels={} if watch.instance is None else watch.instance.labels,
            phase=watch.phase,
            reason=watch.phase_reason,
            opened=from_micros(incident.opened),
            severity=incident.severity,
            alert_ids=tuple(incident.alerts),
            taken_by=None if taken is None else str(taken.get("by") or "somebody"),
            taken_at=None if taken is None else from_micros(taken["at"]),
        )


def _open() -> Plan[list[tuple[str, str, Watch]]]:
    """Key, rule id and watch of each open incident, oldest first."""
    found: list[tuple[str, str, Watch]] = []
    for prefix in (watches.RULES, INSTANCES):
        for key, document in (yield from plans.state(prefix)).items():
            watch = watches.read_instance(key, document) if prefix == INSTANCES else watches.read(document)
            if watch.incident is not None:
                named = watch.rule or watch.instance
                found.append((key, key_parts(key)[1] if named is None else named.rule_id, watch))
    return sorted(found, key=lambda one: cast("Incident", one[2].incident).opened)


def open_incidents() -> Plan[Listed[OpenIncident]]:
    """What is pending or fires, oldest first."""
    inhibitors = Inhibitors()
    found: Listed[OpenIncident] = Listed()
    for _, rule_id, watch in (yield from _open()):
        one = OpenIncident.of(rule_id, watch)
        by = (yield from inhibitors.of_rule(rule_id, (), one.model_version)) if one.phase == "firing" else None
        found.append(attrs.evolve(one, inhibited_by=by))
    return found


def _is_stated(reason: object) -> bool:
    return isinstance(reason, str) and bool(reason.strip())


def resolve(incident_id: str, reason: str, by: str | None = None) -> Plan[OpenIncident]:
    """End an incident by hand, by its id or that of one of its alerts.

    Raises:
        InvalidQueryError: If no reason is given.
        NotFoundError: If no such incident is open.
    """
    if not _is_stated(reason):
        raise InvalidQueryError("an incident that is resolved by hand needs a reason")
    check_id("incident_id", incident_id)
    wanted = {incident_id}
    for alert in (yield from plans.find(Select.of(Alert, where={"alert_id": incident_id}))):
        wanted |= {alert.incident_id} if alert.incident_id is not None else set()
    for key, rule_id, watch in (yield from _open()):
        incident = cast("Incident", watch.incident)
        if incident.incident_id in wanted:
            rule = watch.rule or watches.read((yield from plans.document(watches.rule_key(rule_id)))).rule
            operation_id = new_operation_id()
            step = _resolution(incident.incident_id, rule_id, rule, reason, by, operation_id)
            if (yield from plans.settle(key, step, operation_id=operation_id)):
                return OpenIncident.of(rule_id, watch)
    raise NotFoundError(f"no incident {incident_id!r} is open; `f1mon incidents` lists those that are")


def _resolution(
    incident_id: str, rule_id: str, rule: AlertRule | None, reason: str, by: str | None, operation_id: str
) -> Step:
    def step(document: Document | None, now: datetime) -> Change:
        watch = watches.read(document)
        incident = watch.incident
        if incident is None or incident.incident_id != incident_id:
            return Change(document, result=False)
        also = {} if rule is None else ending(incident, rule, now, "resolved", f"by {by or 'hand'}: {reason}")
        details: Document = {"by": by, "by_hand": True}
        facts = rule_edits.closed(watch, rule_id, reason, now, operation_id, "resolved", details)
        watch.phase_reason = f"resolved by {by or 'hand'}: {reason}"
        return Change(watches.written(watch), facts, also, result=True)

    return step


def unheard() -> Plan[list[Document]]:
    """The dead letters that still matter: of an open incident, or of an alert without one that nobody took on."""
    dead = yield from outbox.dead_letters()
    if not dead:
        return []
    still = {cast("Incident", watch.incident).incident_id for _, _, watch in (yield from _open())}
    ids = sorted({str(document["alert_id"]) for document in dead.values()})
    matter: set[str] = set()
    for begin in range(0, len(ids), _IDS_PER_QUESTION):
        where = {"alert_id": ids[begin : begin + _IDS_PER_QUESTION]}
        taken = {one.alert_id for one in (yield from plans.find(Select.of(Acknowledgement, where=where)))}
        for alert in (yield from plans.find(Select.of(Alert, where=where))):
            if alert.incident_id in still or (alert.incident_id is None and alert.alert_id not in taken):
                matter.add(alert.alert_id)
    return [document for document in dead.values() if document["alert_id"] in matter]


def discard(reason: str, by: str | None = None, alert_id: str | None = None, channel: str | None = None) -> Plan[int]:
    """Give dead letters up: all, those of an alert, or of a channel. Their incident's history keeps the reason."""
    if not _is_stated(reason):
        raise InvalidQueryError("a dead letter that is discarded needs a reason")
    discarded = 0
    for key, document in (yield from outbox.dead_letters()).items():
        if alert_id in (None, document["alert_id"]) and channel in (None, document["channel"]):
            alerts = yield from plans.find(Select.of(Alert, where={"alert_id": str(document["alert_id"])}))
            operation_id = new_operation_id()
            step = _discarding(alerts[0] if alerts else None, reason, by, operation_id)
            discarded += bool((yield from plans.settle(key, step, operation_id=operation_id)))
    return discarded


def _discarding(alert: Alert | None, reason: str, by: str | None, operation_id: str) -> Step:
    def step(document: Document | None, now: datetime) -> Change:
        if document is None:
            return Change(None, result=False)
        details: Document = {"channel": document["channel"], "by": by, "error": document.get("error")}
        event = None if alert is None else note_of(alert, "discarded", reason, now, operation_id, details)
        return Change(None, [] if event is None else [event], result=True)

    return step
