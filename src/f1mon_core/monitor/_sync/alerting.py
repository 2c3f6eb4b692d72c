"""Rules, the alerts they make, and silences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from f1mon_core.alerts import alerts as alerting
from f1mon_core.alerts import doubts, evaluate_rule, open_incidents, overdue, retired, silences, standing, stored_rules
from f1mon_core.alerts import evaluate as evaluating
from f1mon_core.alerts.alerts import Acknowledged, AlertStatistics, OneOrMany
from f1mon_core.alerts.doubts import Doubt
from f1mon_core.alerts.evaluate import EvaluationRequest
from f1mon_core.alerts.open_incidents import OpenIncident
from f1mon_core.alerts.overdue import Overdue
from f1mon_core.alerts.retired import Retired
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.silences import Silence
from f1mon_core.alerts.standing import Standing
from f1mon_core.delivery import heartbeat
from f1mon_core.delivery.report import Pending
from f1mon_core.metrics.windows import WindowBasis
from f1mon_core.monitor._sync.running import Running
from f1mon_core.recording.lists import Listed
from f1mon_core.records.kinds import Acknowledgement, Alert, Cursor, IncidentEvent, RuleRevision


class Alerting(Running):
    """Rules and their evaluation; alerts, who took them on, and what is silenced."""

    def add_rule(self, rule: AlertRule) -> int:
        """Store a rule, or a new revision of the one of that id; its cooldown stays. Returns the revision."""
        return self._run(stored_rules.add_rule(rule))

    def rules(self) -> list[AlertRule]:
        """Every stored rule, by its id."""
        return self._run(stored_rules.stored_rules())

    def rule_doubts(self, rules: Iterable[AlertRule] | None = None) -> list[Doubt]:
        """What may never fire: enabled rules on what is neither computed nor recorded, or on models nobody has seen.

        Args:
            rules: Rules that need not be stored; those that are if None.
        """
        return self._run(doubts.doubts(rules))

    def standings(self, rule_id: str | None = None) -> list[Standing]:
        """Where each stored rule and each of its instances is: its phase and reason, and what it last saw.

        Args:
            rule_id: Only this rule.
        """
        return self._run(standing.standings(rule_id))

    def remove_rule(self, rule_id: str) -> None:
        """Remove a rule and close its open incidents; its revisions and alerts stay.

        Raises:
            NotFoundError: If no rule is stored under that id.
        """
        self._run(stored_rules.remove_rule(rule_id))

    def rule_revisions(self, rule_id: str) -> list[RuleRevision]:
        """Every revision of a rule, oldest first; a removal is one without a definition."""
        return self._run(stored_rules.rule_revisions(rule_id))

    def evaluate_rule(
        self,
        rule: AlertRule | str,
        value: Any,
        model_version: str,
        *,
        labels: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        operation_id: str | None = None,
    ) -> Alert | None:
        """Evaluate one rule against one value; the alert if it fired, of any number of processes in exactly one.

        Args:
            rule: The id of a stored rule, evaluated as it stands when its state is locked; or a rule, evaluated as
                it is given, whatever is stored under its id.
            value: A number (numpy and Decimal scalars too) or a `Metric`; None, NaN and infinities are no data.
            model_version: The model the value is of.
            labels: What else makes an instance, for a rule of scope "instance"; of a rule by segments, their values.
            context: JSON kept with the alert.
            operation_id: Repeating a call with the same one returns the first result for at least 24 hours.

        Raises:
            NotANumberError: If the value is a bool, a str or another object.
            NotFoundError: If no rule is stored under the id given.
            InvalidQueryError: If the rule is by segments, and the labels do not say of which the value is.
        """
        plan = evaluate_rule.evaluate_rule(
            rule, value, model_version, labels=labels, context=context, operation_id=operation_id
        )
        return self._evaluated(plan)

    def evaluate(
        self,
        model_version: str | None = None,
        *,
        component: str | None = None,
        metric_name: str | None = None,
        rule_id: str | None = None,
        until: datetime | None = None,
        last: timedelta = timedelta(hours=1),
        basis: WindowBasis = "prediction",
        horizon: timedelta | None = None,
    ) -> list[Alert]:
        """Measure a window and evaluate every stored, enabled rule that matches; the alerts that fired.

        Rules on metrics that `performance` does not have go by the newest facts in the window: `drifted_features`,
        `drift_statistic:<feature>`, `drift_p_value:<feature>`, `feature_importance:<feature>` and
        `degradation:<metric>` by what `record_drift`, `record_importances` and `analyze_degradation` kept, any other
        by the newest `MetricSnapshot` of that name. Rules of the metric_type "no_outcomes" go by how many predictions
        got their first outcome in it. A rule by segments is evaluated for each value in the window and each it was
        evaluated for before, at most `max_instances` of a model; what was left out is logged, and is in `standings`.

        Args:
            model_version: One model. If None, a rule of scope "instance" is evaluated for each model of the window,
                a rule of scope "rule" that names no model over all of them together (as model "all").
            component: Only rules of this component.
            metric_name: Only rules on this metric.
            rule_id: Only this rule.
            until: The end of the windows; the present if None.
            last: The length of the window, for rules that do not name theirs.
            basis: As in `performance`, for rules that do not name theirs.
            horizon: As in `performance`, for rules that do not name theirs.

        Raises:
            InvalidQueryError: If no window can be made of what is asked.
            NotFoundError: If no rule is stored under the `rule_id` given.
            EvaluationError: If a rule could not be evaluated, after all the others were; it holds what fired.
        """
        request = EvaluationRequest(
            model_version=model_version,
            component=component,
            metric_name=metric_name,
            rule_id=rule_id,
            until=until,
            last=last,
            basis=basis,
            horizon=horizon,
        )
        fired = self._evaluated(evaluating.evaluate(request))
        if self._ping is not None and (model_version, component, metric_name, rule_id) == (None, None, None, None):
            self._run(heartbeat.beat(self._ping, f"{len(fired)} fired"))
        return fired

    def ping_after_evaluation(self, address: str | None = None) -> None:
        """From now on call an address after each whole `evaluate`, for a service that misses the call.

        POST, or GET where that is not allowed, tried three times; as healthchecks.io and its like expect. A round in
        which a rule could not be evaluated, or that was of some rules only, is none. That the address could not be
        reached is logged.

        Args:
            address: `http://…` or `https://…`; that of F1MON_PING if None, and "" for none.

        Raises:
            ConfigurationError: If it is no such address.
        """
        self._ping = heartbeat.named(address, heartbeat.AFTER_EVALUATING)

    def check_alert_rules(
        self,
        metric_name: str,
        value: Any,
        component: str | None,
        model_version: str,
        *,
        labels: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[Alert]:
        """Evaluate every stored, enabled rule of this metric, component and model; the alerts that fired.

        Raises:
            NotANumberError: If the value is a bool, a str or another object.
            EvaluationError: If a rule could not be evaluated, after all the others were; it holds what fired.
        """
        plan = evaluate_rule.check_alert_rules(
            metric_name, value, component, model_version, labels=labels, context=context
        )
        return self._evaluated(plan)

    def create_alert(
        self,
        severity: str,
        title: str,
        message: str,
        metric_name: str,
        metric_value: float | None,
        threshold: float | None,
        component: str,
        model_version: str,
        channels: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Alert:
        """Store an alert that no rule made, with its deliveries, in one commit."""
        plan = alerting.create_alert(
            severity,
            title,
            message,
            metric_name,
            metric_value,
            threshold,
            component,
            model_version,
            channels,
            metadata,
        )
        return self._evaluated(plan)

    def alerts(
        self,
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
    ) -> Listed[Alert]:
        """Stored alerts, newest first; page with `after=page[-1].cursor`.

        Args:
            severity: One severity, or a collection of them.
            component: One component or several.
            metric_name: One metric or several.
            rule_id: One rule or several.
            incident_id: One incident or several.
            acknowledged: True for those that somebody took on, False for the open ones, None for both.
            model_version: The model they are about.
            since: Not before this instant.
            until: Before this instant.
            descending: Newest first.
            limit: At most so many; None for all.
            after: Continue behind this cursor.
        """
        plan = alerting.alerts(
            severity=severity,
            acknowledged=acknowledged,
            component=component,
            model_version=model_version,
            metric_name=metric_name,
            rule_id=rule_id,
            incident_id=incident_id,
            since=since,
            until=until,
            descending=descending,
            limit=limit,
            after=after,
        )
        return self._run(plan)

    def alert(self, alert_id: str) -> Alert:
        """One alert. Raises `NotFoundError` if it is not stored."""
        return self._run(alerting.alert(alert_id))

    def acknowledge(self, alert_id: str, by: str | None, note: str | None = None) -> Acknowledged:
        """Take an alert on. The first one does, for ever; a later one changes nothing and is told who was first.

        Raises:
            NotFoundError: If no alert is stored under that id.
        """
        return self._run(alerting.acknowledge(alert_id, by, note))

    def acknowledgements(self, alert_ids: Collection[str]) -> dict[str, Acknowledgement]:
        """The acknowledgement of each of these alerts that has one, by alert id."""
        return self._run(alerting.acknowledgements(alert_ids))

    def alert_statistics(self) -> AlertStatistics:
        """How many alerts are stored, by severity and component, counted by the store and with no cap.

        Those that nobody has acknowledged are a second count: one that is acknowledged in between is not among them.
        """
        return self._run(alerting.alert_statistics())

    def incident_history(
        self,
        *,
        rule_id: str | None = None,
        incident_id: str | None = None,
        model_version: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[IncidentEvent]:
        """Every transition of incidents with its reason, oldest first."""
        plan = alerting.incident_history(
            rule_id=rule_id, incident_id=incident_id, model_version=model_version, since=since, until=until
        )
        return self._run(plan)

    def incidents(self) -> Listed[OpenIncident]:
        """What is pending or fires now, since when and who has it; oldest first."""
        return self._run(open_incidents.open_incidents())

    def resolve(self, incident_id: str, reason: str, by: str | None = None) -> OpenIncident:
        """End an incident by hand; the incident as it was.

        Where the rule has `notify_resolved`, whoever was told is told the end. A breach that comes after begins an
        incident of its own; the cooldown stays.

        Args:
            incident_id: Its id, or that of one of its alerts.
            reason: Why, kept in its history.
            by: Who.

        Raises:
            InvalidQueryError: If the reason is empty.
            NotFoundError: If no such incident is open.
        """
        return self._run(open_incidents.resolve(incident_id, reason, by))

    def retire(
        self,
        model_version: str,
        *,
        segments: Mapping[str, Any] | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Evaluate no rule for a model any more, and end its open incidents. Returns how many ended.

        A model whose traffic stopped is evaluated as no data until then. Its facts stay.

        Args:
            model_version: The model.
            segments: Only its instances of these segments, one value each, of rules by segments: a country that is
                served no more.
            by: Who retires it.
            reason: Why; the history of its incidents keeps it.

        Raises:
            NotFoundError: If nothing is stored of the model.
        """
        return self._run(retired.retire(model_version, by, reason, segments))

    def unretire(self, model_version: str, *, segments: Mapping[str, Any] | None = None) -> None:
        """Evaluate the rules for a model, or for segments of it, again.

        Raises:
            NotFoundError: If it is not retired.
        """
        self._run(retired.unretire(model_version, segments))

    def retired(self) -> dict[str, Retired]:
        """The retired models, by name."""
        return self._run(retired.retired())

    def retired_segments(self) -> list[Retired]:
        """The segments of models that were retired, each with its `segments`."""
        return self._run(retired.retired_segments())

    def overdue_rules(self) -> list[Overdue]:
        """The enabled rules that nobody has evaluated for longer than they allow."""
        return self._run(overdue.overdue())

    def unheard(self) -> list[Pending]:
        """The dead letters that still matter: of open incidents, and of alerts without one that nobody took on."""
        return [Pending.of(document) for document in self._run(open_incidents.unheard())]

    def discard_dead_letters(
        self, reason: str, *, by: str | None = None, alert_id: str | None = None, channel: str | None = None
    ) -> int:
        """Give dead letters up: all, those of one alert, or of one channel. Returns how many.

        Args:
            reason: Why; the history of the incident keeps it as an event "discarded".
            by: Who.
            alert_id: Only those of this alert.
            channel: Only those of this channel.

        Raises:
            InvalidQueryError: If the reason is empty.
        """
        return self._run(open_incidents.discard(reason, by, alert_id, channel))

    def silence(
        self,
        end: datetime,
        *,
        start: datetime | None = None,
        rule_id: str | None = None,
        component: str | None = None,
        model_version: str | None = None,
        metric_name: str | None = None,
        severity: str | None = None,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        comment: str | None = None,
    ) -> Silence:
        """Store matching alerts without telling anybody, in the half-open time `[start, end)`.

        What still fires at the end and was not told is told once. Alerts match that have every value given here.

        Args:
            end: When it ends.
            start: When it begins; at once if None.
            rule_id: Only alerts of this rule.
            component: Only alerts of this component.
            model_version: Only alerts about this model.
            metric_name: Only alerts on this metric.
            severity: Only alerts of this severity.
            where: Only alerts about these segments: name to a value, or to a collection of values.
            by: Who asked for it.
            comment: Why.
        """
        match = {
            "rule_id": rule_id,
            "component": component,
            "model_version": model_version,
            "metric_name": metric_name,
            "severity": severity,
        }
        return self._run(silences.add(start, end, match, by, comment, where))

    def silences(self) -> list[Silence]:
        """Every silence that was not lifted, past ones too, oldest first."""
        return self._run(silences.listed())

    def lift_silence(self, silence_id: str) -> None:
        """Remove a silence. What it holds back is told as at its end: what still fires, and was told nobody.

        Raises:
            NotFoundError: If no silence is stored under that id.
        """
        self._run(silences.lift(silence_id))
