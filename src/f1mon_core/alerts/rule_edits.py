"""Edits of a rule: the pure steps that store, replace or remove it, and tell its instances."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from f1mon_core.alerts import rule_files
from f1mon_core.alerts.incident import ending, event_of
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.watch import Incident, Instance, Watch, read, written
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Fact, RuleRevision
from f1mon_core.records.times import to_micros
from f1mon_core.storage.change import Change, Step


def definition(rule_id: str, given: AlertRule | None, operation_id: str, before: str | None = None) -> Step:
    """The step that stores, replaces or (with None) removes a rule's definition, and appends its revision.

    The cooldown survives every edit. An open incident is closed where nothing will evaluate it any more: the rule is
    removed, disabled, or has another scope; whoever was told that it fired is told that. The result is the revision
    that now stands, and the scope.

    Args:
        rule_id: Which rule.
        given: The definition; without a scope it keeps the stored one.
        operation_id: That of the transition.
        before: The scope of a rule that was removed.
    """

    def step(document: Document | None, now: datetime) -> Change:
        watch = read(document)
        old = watch.rule
        new = None if given is None else given.settled(before if old is None else old.scope)
        result: Document = {"revision": watch.revision, "scope": None if new is None else new.scope}
        if old == new:
            return Change(document, result=result)
        why = _end_of(new, None if old is None else old.scope)
        facts: list[Fact] = []
        also: dict[str, Document] = {}
        if why is not None and watch.incident is not None:
            also = {} if old is None else ending(watch.incident, old, now, "closed", why)
            facts += closed(watch, rule_id, why, now, operation_id)
        watch.rule = new
        watch.revision += 1
        facts.append(
            RuleRevision(
                rule_id=rule_id,
                revision=watch.revision,
                definition=None if new is None else rule_files.to_document(new),
                at=now,
                at_given=False,
            )
        )
        return Change(written(watch), facts, also, result | {"revision": watch.revision})

    return step


def revising(
    rule_id: str,
    revision: int,
    new: AlertRule | None,
    operation_id: str,
    old: AlertRule | None = None,
    instance: Instance | None = None,
) -> Step:
    """The step that tells an instance of its rule's revision, and closes it if it is not evaluated any more.

    `old` is the rule as it was, which says whether its end is told; an instance does not know. `instance` says whose
    state it is, where the document may not.
    """
    why = _end_of(new, "instance") or _end_of_segments(new, old, instance)

    def step(document: Document | None, now: datetime) -> Change:
        watch = read(document)
        if document is None or watch.revision > revision:
            return Change(document)
        facts: list[Fact] = []
        also: dict[str, Document] = {}
        if why is not None and watch.incident is not None:
            also = {} if old is None else ending(watch.incident, old, now, "closed", why)
            facts = closed(watch, rule_id, why, now, operation_id)
        watch.revision = revision
        return Change(written(watch), facts, also)

    return step


def _end_of(new: AlertRule | None, scope: str | None) -> str | None:
    """Why the incidents that a rule had in a scope end with an edit."""
    if new is None:
        return "the rule was removed"
    if not new.enabled:
        return "the rule was disabled"
    if scope not in (None, new.scope):
        return "the scope of the rule was changed"
    return None


def _end_of_segments(new: AlertRule | None, old: AlertRule | None, instance: Instance | None) -> str | None:
    """Why an incident ends with an edit that tells the rule's instances apart by other segments."""
    if new is None or old is None or instance is None or set(new.by) == set(old.by):
        return None
    names = set(instance.labels)
    if names == set(new.by) or (names and names != set(old.by)):  # labels of one's own stay where they were
        return None
    return f"the rule is by {' and '.join(new.by)} now" if new.by else "the rule is by no segment any more"


def closed(
    watch: Watch,
    rule_id: str,
    reason: str,
    now: datetime,
    operation_id: str,
    event: str = "closed",
    details: Document | None = None,
) -> list[Fact]:
    """End the incident of a watch otherwise than by a good sample; the event that says so."""
    said = event_of(cast("Incident", watch.incident), rule_id, event, reason, now, operation_id, details or {})
    watch.incident, watch.evaluated = None, []
    watch.phase, watch.phase_since, watch.phase_reason = "inactive", to_micros(now), reason
    return [said]
