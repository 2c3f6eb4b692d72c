"""Incidents: the state documents of rules, and the pure steps that move them.

The document `rule/<rule_id>` holds a rule's definition and, for scope "rule", its state: an evaluation locks both at
once. A rule of scope "instance" has a document `instance/<rule_id>/<model version>/<labels>` for each instance, which
says whose it is, remembers the newest revision of the rule it has seen and refuses to be evaluated under an older one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from f1mon_core.alerts import cooldown, grouping, outbox, rule_files, verdict
from f1mon_core.alerts.rules import AlertRule, micros, rank
from f1mon_core.alerts.verdict import Reading, Verdict, judged
from f1mon_core.alerts.watch import Incident, Instance, Phase, Sample, Watch, read, written
from f1mon_core.records import documents
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import time_id
from f1mon_core.records.kinds import Acknowledgement, Alert, Fact, IncidentEvent
from f1mon_core.records.times import LATEST, from_micros, to_micros
from f1mon_core.storage.change import Change, Step
from f1mon_core.text import apart

MAX_HELD_ALERTS = 100
"""An open incident remembers its first alert and the newest others, so that its document stays small."""
STALE = "stale"


@attrs.frozen
class Evaluation:
    """One evaluation, as its caller describes it.

    Attributes:
        key: The document it locks.
        rule: The definition to go by; None takes the one in the locked document.
        revision: The revision of `rule`, where it was read from the store; None if the caller brought it.
        context: What the value rests on, kept in the alert.
    """

    key: str
    reading: Reading
    model_version: str
    operation_id: str
    rule: AlertRule | None = None
    revision: int | None = None
    labels: Mapping[str, Any] = attrs.field(factory=dict)
    context: Document = attrs.field(factory=dict)


def evaluation(asked: Evaluation) -> Step:
    """The step that evaluates a rule: states, cooldown, alert, events and outbox in one change.

    The result is `{"alert": document | None, "phase", "reason", "incident_id"}`, or `"stale"` if the document has
    seen a newer revision of the rule than the caller, or another scope; the caller then reads the rule again. So it
    does after the first look at an instance, which only begins its document: an edit that came before would not have
    found it, and one that comes now closes it.
    """

    def step(document: Document | None, now: datetime) -> Change:
        watch = read(document)
        if asked.revision is not None and watch.revision > asked.revision:
            return Change(document, result=STALE)
        rule = asked.rule or watch.rule
        if asked.rule is None and rule is not None and rule.scope != "rule":
            return Change(document, result=STALE)  # given another scope since the caller looked
        if rule is None or not rule.enabled:
            why = "the rule is not stored" if rule is None else "the rule is disabled"
            return Change(document, result={"alert": None, "phase": watch.phase, "reason": why, "incident_id": None})
        if rule.scope == "instance":
            watch.instance = Instance(rule.rule_id, asked.model_version, dict(asked.labels))
        if asked.revision is not None:
            watch.revision = asked.revision
            if document is None:
                return Change(written(watch), result=STALE)
        turn = _Turn(asked, rule, watch, now)
        turn.take(judged(rule, asked.reading))
        return turn.change()

    return step


class _Turn:
    """One evaluation under the lock: the watch as it changes, and what is to be stored with it."""

    def __init__(self, asked: Evaluation, rule: AlertRule, watch: Watch, now: datetime) -> None:
        self.asked, self.rule, self.watch, self.now = asked, rule, watch, now
        self.micros = to_micros(now)
        self.facts: list[Fact] = []
        self.also: dict[str, Document] = {}
        self.alert: Alert | None = None

    def take(self, verdict: Verdict) -> None:
        rule, watch = self.rule, self.watch
        watch.latest = max(self.micros, watch.latest or 0)
        reading = self.asked.reading
        watch.sample = Sample(
            self.micros, self.asked.model_version, reading.value, reading.n, reading.coverage, reading.low, reading.high
        )
        if verdict.kind == "breach":
            self._breach(cast("str", verdict.severity), verdict.reason)
        elif verdict.kind == "no data" and rule.on_no_data == "fire":
            self._breach(rule.severity, f"no data: {verdict.reason}")
        elif verdict.kind == "good" or (verdict.kind == "band" and watch.phase != "firing"):
            self._good(verdict.reason)
        elif verdict.kind == "no data" and rule.on_no_data == "ok" and watch.phase == "pending":
            self._good(f"no data: {verdict.reason}")
        elif verdict.kind == "band" and watch.incident is not None:
            self._remember(breached=False)
            watch.incident.good_since = None
            watch.phase_reason = verdict.reason
        else:
            watch.phase_reason = verdict.reason if verdict.kind != "no data" else f"no data: {verdict.reason}"

    def change(self) -> Change:
        watch = self.watch
        result: Document = {
            "alert": None if self.alert is None else documents.to_document(self.alert),
            "phase": watch.phase,
            "reason": watch.phase_reason,
            "incident_id": None if watch.incident is None else watch.incident.incident_id,
        }
        return Change(written(watch), self.facts, self.also, result)

    # A breach

    def _breach(self, severity: str, reason: str) -> None:
        watch = self.watch
        self._remember(breached=True)
        incident = watch.incident
        if incident is None:
            incident = watch.incident = Incident(self._id("incident"), self.micros)
            self._move("pending", reason)
            self._event("pending", reason, severity=severity)
        incident.good_since = None
        incident.model_version = self.asked.model_version
        anew = watch.phase != "firing" and self._gap(incident)
        if incident.breach_since is None or anew:
            incident.breach_since = self.micros
        incident.breached = self.micros
        if watch.phase != "firing" and (wait := self._not_yet(incident)) is not None:
            incident.severity = severity
            watch.phase_reason = f"{reason}; {wait}" + (", anew: the breach before is too old" if anew else "")
            return
        if cooldown.suppressed(self.rule, watch, incident, severity, self.micros):
            self._suppress(incident, severity, reason)
            return
        self._fire(incident, severity, reason)

    def _gap(self, incident: Incident) -> bool:
        """Whether the breach before is too old to say that it lasted until now."""
        rule = self.rule
        oldest = micros(2 * rule.for_minutes if rule.sample_minutes is None else rule.sample_minutes)
        return incident.breached is not None and cooldown.elapsed(incident.breached, self.micros) > oldest

    def _not_yet(self, incident: Incident) -> str | None:
        """Why a pending breach does not fire yet."""
        rule = self.rule
        if (breaches := sum(self.watch.evaluated)) < rule.breaches:
            return f"{breaches} of the {rule.breaches} breaches in {rule.of_evaluations} evaluations that it takes"
        if cooldown.elapsed(cast("int", incident.breach_since), self.micros) < micros(rule.for_minutes):
            return f"it has to last for {rule.for_minutes:g} minutes"
        return None

    def _suppress(self, incident: Incident, severity: str, reason: str) -> None:
        watch, rule = self.watch, self.rule
        watch.phase_reason = f"{reason}; within the cooldown of {rule.cooldown_minutes:g} minutes"
        if watch.phase == "firing" and incident.severity != severity:
            higher = incident.severity is None or rank(severity) > rank(incident.severity)
            self._event("escalated" if higher else "de-escalated", reason, severity=severity)
        incident.severity = severity
        if rule.remind_minutes is None or incident.notified is None or incident.acknowledged is not None:
            return
        if cooldown.elapsed(incident.notified, self.micros) >= micros(rule.remind_minutes):
            self._remind(incident, reason)

    def _said(self, incident: Incident) -> Document:
        return grouping.said(self.rule, incident.model_version, self.rule.component)

    def _remind(self, incident: Incident, reason: str) -> None:
        incident.reminders += 1
        incident.notified = self.micros
        number, said = incident.reminders, self._said(incident)
        self.also |= outbox.waiting(incident.alerts[-1], self.rule.channels, self.now, "reminder", number, said)
        self._event("reminded", reason, alert_id=incident.alerts[-1])

    def _fire(self, incident: Incident, severity: str, reason: str) -> None:
        watch = self.watch
        stepped_back = watch.last_fired is not None and cooldown.stepped_back(self.rule, watch, self.micros)
        if not incident.severities:
            event = "firing"
        elif rank(severity) > max(map(rank, incident.severities)):
            event, incident.acknowledged = "escalated", None
        else:
            event = "repeated"
        alert = self.alert = self._alert_of(incident, severity, reason, event, stepped_back=stepped_back)
        incident.severity = severity
        if severity not in incident.severities:
            incident.severities.append(severity)
        incident.alerts.append(alert.alert_id)
        incident.channels = list(dict.fromkeys([*incident.channels, *self.rule.channels]))
        if len(incident.alerts) > MAX_HELD_ALERTS:
            del incident.alerts[1]
        incident.notified = self.micros
        watch.last_fired, watch.last_severity, watch.latest = self.micros, severity, self.micros
        if watch.phase != "firing":
            self._move("firing", reason)
        watch.phase_reason = reason
        self.facts.append(alert)
        said: Document = {**self._said(incident), "severity": severity}
        self.also |= outbox.waiting(alert.alert_id, self.rule.channels, self.now, said=said)
        details: Document = {"alert_id": alert.alert_id, "severity": severity}
        if stepped_back:
            details["clock_stepped_back"] = True
        self._event(event, reason, **details)

    def _alert_of(self, incident: Incident, severity: str, reason: str, event: str, *, stepped_back: bool) -> Alert:
        rule, reading, asked = self.rule, self.asked.reading, self.asked
        threshold = verdict.threshold_of(rule, severity)
        context: Document = {**asked.context, "watch": asked.key, "event": event, "reason": reason}
        for name in ("n", "coverage", "low", "high"):
            if (known := getattr(reading, name)) is not None:
                context[name] = known
        if asked.labels:
            context["labels"] = dict(asked.labels)
        if stepped_back:
            context["clock_stepped_back"] = True
        return Alert(
            alert_id=self._id("alert"),
            severity=severity,
            title=f"{rule.component.upper()}: {rule.metric_name} Alert",
            message=message_of(rule, reading.value, threshold, reason),
            metric_name=rule.metric_name,
            metric_value=reading.value,
            threshold=threshold,
            component=rule.component,
            model_version=asked.model_version,
            rule_id=rule.rule_id,
            incident_id=incident.incident_id,
            rule=rule_files.to_document(rule),
            context=context,
            at=self.now,
            at_given=False,
        )

    # A good sample

    def _good(self, reason: str) -> None:
        watch, rule = self.watch, self.rule
        self._remember(breached=False)
        incident = watch.incident
        watch.phase_reason = reason
        if incident is None:
            return
        incident.breach_since = None
        if watch.phase == "pending":
            if rule.of_evaluations == 1 or not any(watch.evaluated):
                self._event("cleared", reason)
                self._end(reason)
            return
        if sum(watch.evaluated) >= rule.breaches:
            watch.phase_reason = f"{reason}; still {sum(watch.evaluated)} breaches in {rule.of_evaluations} evaluations"
            return
        if incident.good_since is None:
            incident.good_since = self.micros
        if cooldown.elapsed(incident.good_since, self.micros) < micros(rule.keep_firing_minutes):
            watch.phase_reason = f"{reason}; it keeps firing for {rule.keep_firing_minutes:g} minutes"
            return
        self.also |= ending(incident, rule, self.now, "resolved", reason, self.asked.reading.value)
        self._event("resolved", reason)
        self._end(reason)

    def close(self, reason: str) -> None:
        """End an incident that nothing will evaluate any more."""
        if self.watch.incident is not None:
            self.also |= ending(self.watch.incident, self.rule, self.now, "closed", reason)
            self._event("closed", reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        self.watch.incident = None
        self._move("inactive", reason)

    # What all of them do

    def _remember(self, *, breached: bool) -> None:
        if self.rule.of_evaluations == 1:
            self.watch.evaluated = [breached] if breached else []
        else:
            self.watch.evaluated = [*self.watch.evaluated, breached][-self.rule.of_evaluations :]

    def _move(self, phase: Phase, reason: str) -> None:
        self.watch.phase, self.watch.phase_since, self.watch.phase_reason = phase, self.micros, reason

    def _id(self, what: str) -> str:
        return time_id(self.now, f"{what}/{self.asked.key}/{self.asked.operation_id}")

    def _event(self, event: str, reason: str, **details: Any) -> None:
        self.facts.append(
            event_of(
                cast("Incident", self.watch.incident),
                self.rule.rule_id,
                event,
                reason,
                self.now,
                f"{self.asked.key}/{self.asked.operation_id}",
                {"value": self.asked.reading.value, **details},
                self.asked.model_version,
            )
        )


def event_of(
    incident: Incident,
    rule_id: str,
    event: str,
    reason: str,
    now: datetime,
    seed: str,
    details: Document,
    model_version: str | None = None,
) -> IncidentEvent:
    """One line of an incident's history, later than every earlier one also where the clock was set back."""
    incident.event_at = min(max(to_micros(now), incident.event_at + 1), to_micros(LATEST))
    at = from_micros(incident.event_at)
    return IncidentEvent(
        event_id=time_id(at, f"{event}/{seed}"),
        event=event,
        rule_id=rule_id,
        incident_id=incident.incident_id,
        model_version=model_version or incident.model_version,
        reason=reason,
        details=details,
        at=at,
        at_given=False,
    )


def note_of(alert: Alert, event: str, reason: str, now: datetime, seed: str, details: Document) -> IncidentEvent | None:
    """A line in the history of an alert's incident about what became of telling it; None for an alert without one."""
    if alert.incident_id is None or alert.rule_id is None:
        return None
    # An alert follows its first breach and precedes what becomes of telling it, also at one and the same instant.
    incident = Incident(alert.incident_id, to_micros(now), alert.model_version, event_at=to_micros(alert.instant) + 1)
    return event_of(incident, alert.rule_id, event, reason, now, seed, {"alert_id": alert.alert_id, **details})


def ending(
    incident: Incident, rule: AlertRule, now: datetime, event: str, reason: str, value: float | None = None
) -> dict[str, Document]:
    """The documents that tell the end of an incident, if the rule wants that, to every channel its alerts went to.

    Those of an incident that an older f1mon began are taken for the rule's. Of all these the delivery leaves out who
    was not told that it fired.
    """
    if not rule.notify_resolved or not incident.alerts:
        return {}
    end: Document = {"event": event, "reason": reason, "value": value, "opened": incident.opened, "at": to_micros(now)}
    said: Document = {**grouping.said(rule, incident.model_version, rule.component), "end": end}
    return outbox.waiting(incident.alerts[-1], [*incident.channels, *rule.channels], now, "resolved", said=said)


def message_of(rule: AlertRule, value: float | None, threshold: float, reason: str) -> str:
    """The one line an alert says of its value."""
    if value is None:
        return f"{rule.metric_name} has {reason}"
    shown, limit = apart(value, threshold, "f", 4)
    return f"{rule.metric_name} is {shown} ({rule.comparison} {limit})"


# Acknowledgement ----------------------------------------------------------------------------------------------------


def acknowledgement(alert: Alert, by: str | None, note: str | None) -> Step:
    """The step by which somebody takes an alert on: the first wins, by the key of the fact."""

    def step(document: Document | None, now: datetime) -> Change:
        fact = Acknowledgement(alert_id=alert.alert_id, by=by, note=note, at=now, at_given=False)
        result: Document = {"acknowledgement": documents.to_document(fact)}
        if alert.rule_id is None or alert.incident_id is None:
            return Change(document, [fact], result=result)
        watch = read(document)
        incident = watch.incident
        if incident is None or incident.incident_id != alert.incident_id:
            return Change(document, [fact], result=result)
        details: Document = {"alert_id": alert.alert_id, "by": by}
        event = event_of(incident, alert.rule_id, "acknowledged", note or "", now, "", details)
        # One alert is acknowledged once, so the event's id comes from the alert alone and a repeat is no second event.
        event = attrs.evolve(event, event_id=time_id(alert.instant, f"acknowledged/{alert.alert_id}"))
        # An escalation starts unacknowledged: acknowledging what came before it does not stop its reminders.
        if alert.alert_id == incident.alerts[-1] or rank(alert.severity) >= max(map(rank, incident.severities)):
            incident.acknowledged = {"by": by, "at": to_micros(now), "alert_id": alert.alert_id}
        return Change(written(watch), [fact, event], result=result)

    return step
