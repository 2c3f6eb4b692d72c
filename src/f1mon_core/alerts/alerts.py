"""Plans of rules, alerts and incidents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core.alerts import incident as incidents
from f1mon_core.alerts import outbox
from f1mon_core.alerts.rules import AlertRule, Reading
from f1mon_core.errors import ConflictError, EvaluationError, InvalidQueryError, NotFoundError
from f1mon_core.records import documents as codec
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id, time_id
from f1mon_core.records.kinds import (
    SEVERITIES,
    Acknowledgement,
    Alert,
    Cursor,
    IncidentEvent,
    RuleRevision,
    Severity,
)
from f1mon_core.storage import plans
from f1mon_core.storage.contract import Change, Scalar, Select, state_key
from f1mon_core.storage.plans import Plan

OneOrMany: TypeAlias = str | Collection[str]

_IDS_PER_QUESTION = 500


# Rules --------------------------------------------------------------------------------------------------------------


def add_rule(rule: AlertRule) -> Plan[int]:
    """Store a rule, or a new revision of it. Returns its revision."""
    return (yield from _define(rule.rule_id, rule))


def remove_rule(rule_id: str) -> Plan[None]:
    """Remove a rule; its revisions and alerts stay."""
    watch = incidents.read((yield from plans.document(incidents.rule_key(rule_id))))
    if watch.rule is None:
        yield from _revise_instances(rule_id, watch.revision, None)
        raise NotFoundError(f"no rule {rule_id!r} is stored; the rules are listed by `f1mon rules list`")
    yield from _define(rule_id, None)


def _define(rule_id: str, new: AlertRule | None) -> Plan[int]:
    operation_id = new_operation_id()
    step = incidents.definition(rule_id, new, operation_id)
    revision = cast("int", (yield from plans.settle(incidents.rule_key(rule_id), step, operation_id=operation_id)))
    yield from _revise_instances(rule_id, revision, new)
    return revision


def _revise_instances(rule_id: str, revision: int, new: AlertRule | None) -> Plan[None]:
    """Tell every instance of the revision, so that nobody who read an older one evaluates it under that.

    Where nothing was edited, this finishes what an edit that was cut short left undone.
    """
    for key, document in (yield from plans.state(incidents.instances_prefix(rule_id))).items():
        if cast("int", document["revision"]) < revision:
            operation_id = new_operation_id()
            step = incidents.revising(rule_id, revision, new, operation_id)
            yield from plans.settle(key, step, operation_id=operation_id)


def stored_rules() -> Plan[list[AlertRule]]:
    """Every stored rule, by its id."""
    found = (yield from plans.state("rule/")).values()
    held = [watch.rule for watch in map(incidents.read, found) if watch.rule is not None]
    return sorted(held, key=lambda one: one.rule_id)


def rule(rule_id: str) -> Plan[AlertRule | None]:
    """The stored rule of an id."""
    return incidents.read((yield from plans.document(incidents.rule_key(rule_id)))).rule


def rule_revisions(rule_id: str) -> Plan[list[RuleRevision]]:
    """Every revision of a rule, oldest first."""
    found = yield from plans.find(Select("rule_revision", where={"rule_id": rule_id}))
    return cast("list[RuleRevision]", list(found))


# Evaluation ---------------------------------------------------------------------------------------------------------


def evaluate_rule(
    rule: AlertRule | str,
    value: Any,
    model_version: str,
    *,
    labels: Mapping[str, str] | None = None,
    context: Mapping[str, Any] | None = None,
    operation_id: str | None = None,
) -> Plan[Alert | None]:
    """Evaluate one rule against one value; the alert if it fired.

    Args:
        rule: The id of a stored rule, which is then evaluated as it stands under the lock; or a rule, evaluated as
            it is given whatever is stored.
        value: A number, None, NaN, or anything with the attributes of a `Metric`.
        model_version: The model the value is of.
        labels: What else makes an instance, for a rule of scope "instance".
        context: JSON kept with the alert.
        operation_id: Repeating it returns the first result.
    """
    reading = Reading.of(value)
    operation_id = first = operation_id or new_operation_id()
    given = dict(context or {})
    seen = 0
    if isinstance(rule, AlertRule):
        asked = incidents.Evaluation(
            incidents.watch_key(rule, model_version, labels),
            reading,
            model_version,
            operation_id,
            rule=rule,
            labels=labels or {},
            context=given,
        )
        return _alert_of((yield from plans.settle(asked.key, incidents.evaluation(asked), operation_id=operation_id)))
    while True:
        watch = incidents.read((yield from plans.document(incidents.rule_key(rule))))
        if watch.rule is None:
            raise NotFoundError(f"no rule {rule!r} is stored; the rules are listed by `f1mon rules list`")
        instance = watch.rule.scope == "instance"
        asked = incidents.Evaluation(
            incidents.watch_key(watch.rule, model_version, labels),
            reading,
            model_version,
            operation_id,
            rule=watch.rule if instance else None,
            revision=watch.revision if instance else None,
            labels=labels or {},
            context=given,
        )
        result = yield from plans.settle(asked.key, incidents.evaluation(asked), operation_id=operation_id)
        if result != incidents.STALE:
            return _alert_of(result)
        seen += 1
        operation_id = f"{first}~{seen}"  # derived, so that a caller who repeats the first comes to the same result


def _alert_of(result: Any) -> Alert | None:
    document = result["alert"]
    return None if document is None else cast("Alert", codec.from_document(document))


def check_alert_rules(
    metric_name: str,
    value: Any,
    component: str | None,
    model_version: str,
    *,
    labels: Mapping[str, str] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Plan[list[Alert]]:
    """Evaluate every stored, enabled rule that matches against one value; the alerts that fired.

    Raises:
        EvaluationError: If a rule could not be evaluated, after all the others were.
    """
    reading = Reading.of(value)
    fired: list[Alert] = []
    failures: dict[str, Exception] = {}
    for stored in (yield from stored_rules()):
        if stored.matches(metric_name, component, model_version):
            try:
                plan = evaluate_rule(stored.rule_id, reading, model_version, labels=labels, context=context)
                alert = yield from plan
            except NotFoundError:
                continue  # removed since it was listed
            except Exception as error:  # noqa: BLE001 - raised below, once the other rules had their turn
                failures[stored.rule_id] = error
                continue
            if alert is not None:
                fired.append(alert)
    raise_failures(fired, failures)
    return fired


def raise_failures(fired: Sequence[Alert], failures: Mapping[str, Exception]) -> None:
    """Raise what went wrong with some rules, if anything did, together with what fired of the others."""
    if failures:
        raise EvaluationError(fired, failures) from next(iter(failures.values()))


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
            metadata=cast("Document", metadata or {}),
            at=now,
            at_given=False,
        )
        also = outbox.waiting(made.alert_id, channels, now)
        return Change(document, [made], also, {"alert": codec.to_document(made)})

    done = yield from plans.settle(state_key("alert", operation_id), step, operation_id=operation_id)
    return cast("Alert", _alert_of(done))


# Alerts -------------------------------------------------------------------------------------------------------------


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
) -> Plan[list[Alert]]:
    """Stored alerts, newest first."""
    given = {
        "severity": _severities(severity),
        "component": component,
        "metric_name": metric_name,
        "rule_id": rule_id,
        "incident_id": incident_id,
    }
    where = {name: wanted for name, wanted in given.items() if wanted is not None}
    select = Select(
        "alert",
        since,
        until,
        model_version,
        cast("Mapping[str, Scalar | Collection[Scalar]]", where),
        lacking="acknowledgement" if acknowledged is False else None,
        having="acknowledgement" if acknowledged is True else None,
        descending=descending,
        limit=limit,
        after=after,
    )
    return cast("list[Alert]", list((yield from plans.find(select))))


def _severities(wanted: OneOrMany | None) -> OneOrMany | None:
    named = [wanted] if isinstance(wanted, str) else wanted or ()
    for one in named:
        if one not in SEVERITIES:
            raise InvalidQueryError(f"no severity {one!r}; they are {', '.join(SEVERITIES)}")
    return wanted


def alert(alert_id: str) -> Plan[Alert]:
    """One alert. Raises `NotFoundError` if it is not stored."""
    found = yield from plans.find(Select("alert", where={"alert_id": alert_id}))
    if not found:
        raise NotFoundError(f"no alert {alert_id!r} is stored")
    return cast("Alert", found[0])


def acknowledge(alert_id: str, by: str | None, note: str | None = None) -> Plan[Acknowledged]:
    """Take an alert on; the first one does, for ever."""
    wanted = yield from alert(alert_id)
    earlier = yield from _acknowledgement(alert_id)
    if earlier is not None:
        return Acknowledged(earlier, new=False)
    step = incidents.acknowledgement(wanted, by, note)
    try:
        done: Any = yield from plans.settle(incidents.alert_key(wanted), step, operation_id=new_operation_id())
    except ConflictError:
        done = None
    first = yield from _acknowledgement(alert_id)
    if first is None:
        raise NotFoundError(f"alert {alert_id!r} was pruned while it was acknowledged")
    mine = done is not None and codec.from_document(done["acknowledgement"]).at == first.at
    return Acknowledged(first, new=mine)


def _acknowledgement(alert_id: str) -> Plan[Acknowledgement | None]:
    found = yield from plans.find(Select("acknowledgement", where={"alert_id": alert_id}))
    return cast("Acknowledgement", found[0]) if found else None


def acknowledgements(alert_ids: Collection[str]) -> Plan[dict[str, Acknowledgement]]:
    """The acknowledgement of each alert that has one."""
    wanted = list(alert_ids)
    held: dict[str, Acknowledgement] = {}
    for begin in range(0, len(wanted), _IDS_PER_QUESTION):
        select = Select("acknowledgement", where={"alert_id": wanted[begin : begin + _IDS_PER_QUESTION]})
        held |= {one.alert_id: one for one in cast("Sequence[Acknowledgement]", (yield from plans.find(select)))}
    return held


def alert_statistics() -> Plan[AlertStatistics]:
    """How many alerts there are, by severity and component: grouped counts of the store, with no cap.

    The store counts all in one question and those nobody acknowledged in another, which comes first: what fires in
    between is in the total, so that no more are unacknowledged than there are.
    """
    unacknowledged = yield from plans.count(Select("alert", lacking="acknowledgement"))
    counts = yield from plans.count(Select("alert"), ("severity", "component"))
    by_severity = dict.fromkeys(reversed(SEVERITIES), 0)
    by_component: dict[str, int] = {}
    for (severity, component), number in cast("Mapping[tuple[str, str], int]", counts).items():
        by_severity[severity] += number
        by_component[component] = by_component.get(component, 0) + number
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
    select = Select("incident_event", since, until, model_version, where)
    return cast("list[IncidentEvent]", list((yield from plans.find(select))))
