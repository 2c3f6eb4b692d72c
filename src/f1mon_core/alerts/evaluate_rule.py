"""Plans that put a value to rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from f1mon_core.alerts import incident
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.stored_rules import stored_rules
from f1mon_core.alerts.verdict import Reading
from f1mon_core.errors import EvaluationError, InvalidQueryError, NotFoundError
from f1mon_core.records import documents, fields
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert
from f1mon_core.storage import plans
from f1mon_core.storage.change import check_operation_id
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import check_text


def evaluate_rule(
    rule: AlertRule | str,
    value: Any,
    model_version: str,
    *,
    labels: Mapping[str, Any] | None = None,
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
    if not isinstance(rule, AlertRule):
        check_text("rule", rule)
    if operation_id is not None:
        check_operation_id(operation_id)
    fields.identifier(model_version, "model_version")
    marks, given = _plain(labels, "labels"), _plain(context, "context")
    if isinstance(rule, AlertRule):
        _check_labels(rule, marks)
    operation_id = first = operation_id or new_operation_id()
    seen = 0
    if isinstance(rule, AlertRule):
        rule = rule.settled("rule")
        asked = incident.Evaluation(
            watches.watch_key(rule, model_version, marks),
            reading,
            model_version,
            operation_id,
            rule=rule,
            labels=marks,
            context=given,
        )
        return alert_of((yield from plans.settle(asked.key, incident.evaluation(asked), operation_id=operation_id)))
    while True:
        watch = watches.read((yield from plans.document(watches.rule_key(rule))))
        if watch.rule is None:
            raise NotFoundError(f"no rule {rule!r} is stored; the rules are listed by `f1mon rules list`")
        _check_labels(watch.rule, marks)
        instance = watch.rule.scope == "instance"
        asked = incident.Evaluation(
            watches.watch_key(watch.rule, model_version, marks),
            reading,
            model_version,
            operation_id,
            rule=watch.rule if instance else None,
            revision=watch.revision if instance else None,
            labels=marks,
            context=given,
        )
        result = yield from plans.settle(asked.key, incident.evaluation(asked), operation_id=operation_id)
        if result != incident.STALE:
            return alert_of(result)
        seen += 1
        operation_id = f"{first}~{seen}"  # derived, so that a caller who repeats the first comes to the same result


def _check_labels(rule: AlertRule, labels: Document) -> None:
    """Refuse a value of a whole model where a rule has a state for each segment."""
    if not set(rule.by) <= set(labels):
        names = " and ".join(rule.by)
        example = ", ".join(f"{name!r}: …" for name in rule.by)
        raise InvalidQueryError(f"rule {rule.rule_id!r} is by {names}: say of which by labels={{{example}}}")


def _plain(given: Mapping[str, Any] | None, name: str) -> Document:
    return {} if given is None else fields.json_object(given, name)


def alert_of(result: Any) -> Alert | None:
    """The alert in the result of an evaluation's step; None if none fired."""
    document = result["alert"]
    return None if document is None else cast("Alert", documents.from_document(document))


def check_alert_rules(
    metric_name: str,
    value: Any,
    component: str | None,
    model_version: str,
    *,
    labels: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Plan[list[Alert]]:
    """Evaluate every stored, enabled rule that matches against one value; the alerts that fired.

    A rule by segments matches a value of which the labels name them.

    Raises:
        EvaluationError: If a rule could not be evaluated, after all the others were.
    """
    reading = Reading.of(value)
    fields.identifier(metric_name, "metric_name")
    if component is not None:
        fields.identifier(component, "component")
    fields.identifier(model_version, "model_version")
    marks = _plain(labels, "labels")
    _plain(context, "context")
    fired: list[Alert] = []
    failures: dict[str, Exception] = {}
    for stored in (yield from stored_rules()):
        if stored.matches(metric_name, component, model_version) and set(stored.by) <= set(marks):
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
