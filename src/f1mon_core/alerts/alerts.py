"""Plans of alerts, their acknowledgement, and the history of incidents."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core import recording
from f1mon_core.alerts import grouping, incident, outbox, watch
from f1mon_core.alerts.evaluate_rule import alert_of
from f1mon_core.alerts.rules import channel_names
from f1mon_core.errors import ConflictError, InvalidQueryError, NotFoundError, shown
from f1mon_core.recording.lists import Listed
from f1mon_core.records import documents
from f1mon_core.records.fields import SEVERITIES, Document, Severity
from f1mon_core.records.ids import new_operation_id, time_id
from f1mon_core.records.kinds import Acknowledgement, Alert, Cursor, IncidentEvent
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, state_key
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import check_text
from f1mon_core.text import is_one_of

OneOrMany: TypeAlias = str | Collection[str]

_IDS_PER_QUESTION = 500


def create_alert(
    severity: Severity,
    title: str,
    message: str,
    metric_name: str,
    metric_value: float | None,
    threshold: float | None,
    component: str,
    model_version: str,
    channels: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Plan[Alert]:
    """Store an alert that a person or another program decided on, with its deliveries, in one commit."""
    operation_id = new_operation_id()
    named = channel_names(channels, "channels")

    def step(document: Document | None, now: datetime) -> Change:
        made = Alert(
            alert_id=time_id(now, operation_id),
            severity=severity,
            title=title,
            message=message,
            metric_name=metric_name,
            metric_value=metric_value,
            threshold=threshold,
            component=component,
            model_version=model_version,
            metadata=recording.given(metadata),
            at=now,
            at_given=False,
        )
        said: Document = {**grouping.said(None, model_version, component), "severity": made.severity}
        also = outbox.waiting(made.alert_id, named, now, said=said)
        return Change(document, [made], also, {"alert": documents.to_document(made)})

    done = yield from plans.settle(state_key("alert", operation_id), step, operation_id=operation_id)
    return cast("Alert", alert_of(done))


@attrs.frozen
class Acknowledged:
    """What came of an acknowledgement.

    Attributes:
        first: The acknowledgement that stands: who, when, and the note.
        new: Whether it is the one just made, and not an earlier one.
    """

    first: Acknowledgement
    new: bool


@attrs.frozen
class AlertStatistics:
    """How many alerts are stored.

    Attributes:
        by_severity: Every severity, also with 0.
        by_component: Every component that has an alert.
    """

    total: int
    unacknowledged: int
    by_severity: Mapping[str, int]
    by_component: Mapping[str, int]


def alerts(
    *,
    severity: OneOrMany | None = None,
    acknowledged: bool | None = None,
    component: OneOrMany | None = None,
    model_version: str | None = None,
    metric_name: OneOrMany | None = None,
    rule_id: OneOrMany | None = None,
    incident_id: OneOrMany | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    descending: bool = True,
    limit: int | None = None,
    after: Cursor | None = None,
) -> Plan[Listed[Alert]]:
    """Stored alerts, newest first."""
    given: dict[str, OneOrMany | None] = {
        "severity": _severities(severity),
        "component": component,
        "metric_name": metric_name,
        "rule_id": rule_id,
        "incident_id": incident_id,
    }
    where = {name: wanted for name, wanted in given.items() if wanted is not None}
    select = Select.of(
        Alert,
        since,
        until,
        model_version,
        where,
        lacking=Acknowledgement if acknowledged is False else None,
        having=Acknowledgement if acknowledged is True else None,
        descending=descending,
        limit=limit,
        after=after,
    )
    return Listed((yield from plans.find(select)))


def _severities(wanted: OneOrMany | None) -> OneOrMany | None:
    if wanted is None:
        return None
    if not isinstance(wanted, str | Collection):
        raise InvalidQueryError(
            f"severity must be one of {', '.join(SEVERITIES)}, or some of them, got {shown(wanted)}"
        )
    for one in [wanted] if isinstance(wanted, str) else wanted:
        if not is_one_of(one, SEVERITIES):
            raise InvalidQueryError(f"severity: there is no {shown(one)}; they are {', '.join(SEVERITIES)}")
    return wanted


def alert(alert_id: str) -> Plan[Alert]:
    """One alert. Raises `NotFoundError` if it is not stored."""
    check_text("alert_id", alert_id)
    found = yield from plans.find(Select.of(Alert, where={"alert_id": alert_id}))
    if not found:
        raise NotFoundError(f"no alert {alert_id!r} is stored")
    return found[0]


def acknowledge(alert_id: str, by: str | None, note: str | None = None) -> Plan[Acknowledged]:
    """Take an alert on; the first one does, for ever."""
    wanted = yield from alert(alert_id)
    earlier = yield from _acknowledgement(alert_id)
    if earlier is not None:
        return Acknowledged(earlier, new=False)
    step = incident.acknowledgement(wanted, by, note)
    try:
        done: Any = yield from plans.settle(watch.alert_key(wanted), step, operation_id=new_operation_id())
    except ConflictError:
        done = None
    first = yield from _acknowledgement(alert_id)
    if first is None:
        raise NotFoundError(f"alert {alert_id!r} was pruned while it was acknowledged")
    mine = done is not None and documents.from_document(done["acknowledgement"]).at == first.at
    return Acknowledged(first, new=mine)


def _acknowledgement(alert_id: str) -> Plan[Acknowledgement | None]:
    found = yield from plans.find(Select.of(Acknowledgement, where={"alert_id": alert_id}))
    return found[0] if found else None


def acknowledgements(alert_ids: Collection[str]) -> Plan[dict[str, Acknowledgement]]:
    """The acknowledgement of each alert that has one."""
    if not isinstance(alert_ids, Iterable):
        raise InvalidQueryError(f"alert_ids must be a collection of ids, got {shown(alert_ids)}")
    wanted = list(alert_ids)
    held: dict[str, Acknowledgement] = {}
    for begin in range(0, len(wanted), _IDS_PER_QUESTION):
        select = Select.of(Acknowledgement, where={"alert_id": wanted[begin : begin + _IDS_PER_QUESTION]})
        held |= {one.alert_id: one for one in (yield from plans.find(select))}
    return held


def alert_statistics() -> Plan[AlertStatistics]:
    """How many alerts there are, by severity and component: grouped counts of the store, with no cap.

    The store counts all in one question and those nobody acknowledged in another, which comes first: what fires in
    between is in the total, so that no more are unacknowledged than there are.
    """
    unacknowledged = yield from plans.count(Select.of(Alert, lacking=Acknowledgement))
    counts = yield from plans.count(Select.of(Alert), ("severity", "component"))
    by_severity = dict.fromkeys(reversed(SEVERITIES), 0)
    by_component: dict[str, int] = {}
    for (severity, component), number in counts.items():
        by_severity[str(severity)] += number
        by_component[str(component)] = by_component.get(str(component), 0) + number
    total = sum(by_severity.values())
    return AlertStatistics(total, unacknowledged.get((), 0), by_severity, dict(sorted(by_component.items())))


def incident_history(
    *,
    rule_id: str | None = None,
    incident_id: str | None = None,
    model_version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Plan[list[IncidentEvent]]:
    """Every transition of incidents, oldest first."""
    given = {"rule_id": rule_id, "incident_id": incident_id}
    where: dict[str, Scalar | Collection[Scalar]] = {name: one for name, one in given.items() if one is not None}
    select = Select.of(IncidentEvent, since, until, model_version, where)
    return list((yield from plans.find(select)))
