"""Plans of the stored rules."""

from __future__ import annotations

from typing import Any, cast

from f1mon_core.alerts import rule_edits, rule_files
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.watch import Watch
from f1mon_core.errors import InvalidRecordError, NotFoundError, StorageError
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import RuleRevision
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import check_text


def add_rule(rule: AlertRule) -> Plan[int]:
    """Store a rule, or a new revision of it. Returns its revision."""
    if not isinstance(rule, AlertRule):
        raise InvalidRecordError("rule", rule, "must be an AlertRule")
    return (yield from _define(rule.rule_id, rule))


def remove_rule(rule_id: str) -> Plan[None]:
    """Remove a rule; its revisions and alerts stay."""
    check_text("rule_id", rule_id)
    watch = watches.read((yield from plans.document(watches.rule_key(rule_id))))
    if watch.rule is None:
        yield from _revise_instances(rule_id, watch.revision, None)
        raise NotFoundError(f"no rule {rule_id!r} is stored; the rules are listed by `f1mon rules list`")
    yield from _define(rule_id, None)


def _define(rule_id: str, new: AlertRule | None) -> Plan[int]:
    operation_id = new_operation_id()
    before = None if new is None or new.scope is not None else (yield from _last_scope(rule_id))
    step = rule_edits.definition(rule_id, new, operation_id, before)
    done = cast("dict[str, Any]", (yield from plans.settle(watches.rule_key(rule_id), step, operation_id=operation_id)))
    yield from _revise_instances(rule_id, done["revision"], None if new is None else new.settled(done["scope"]))
    return int(done["revision"])


def _last_scope(rule_id: str) -> Plan[str | None]:
    """The scope a rule of this id last had, also where it was removed."""
    select = Select.of(RuleRevision, where={"rule_id": rule_id}, descending=True)
    for one in (yield from plans.find(select)):
        if one.definition is not None:
            return str(one.definition.get("scope", "rule"))
    return None


def _revise_instances(rule_id: str, revision: int, new: AlertRule | None) -> Plan[None]:
    """Tell every instance of the revision, so that nobody who read an older one evaluates it under that.

    Where nothing was edited, this finishes what an edit that was cut short left undone.
    """
    unreadable: dict[str, StorageError] = {}
    held = yield from instances(rule_id, unreadable)
    behind = {key: watch.instance for key, watch in held.items() if watch.revision < revision}
    if behind:
        old = yield from _as_it_was(rule_id, revision)
        for key, instance in behind.items():
            operation_id = new_operation_id()
            step = rule_edits.revising(rule_id, revision, new, operation_id, old, instance)
            yield from plans.settle(key, step, operation_id=operation_id)
    for error in unreadable.values():
        error.add_note(f"revision {revision} of the rule is stored, and every other instance knows it")
        raise error


def _as_it_was(rule_id: str, revision: int) -> Plan[AlertRule | None]:
    """The newest definition before a revision by which a rule was evaluated."""
    for one in reversed((yield from rule_revisions(rule_id))):
        if one.revision < revision and one.definition is not None and one.definition.get("enabled", True):
            return rule_files.from_document(one.definition)
    return None


def instances(rule_id: str, unreadable: dict[str, StorageError] | None = None) -> Plan[dict[str, Watch]]:
    """The watches of all instances of a rule, each with its `instance`, by their key.

    Args:
        rule_id: The rule.
        unreadable: Takes the errors of documents that cannot be read, by their key, so that one holds up no other.

    Raises:
        SchemaError, CorruptStoreError: If a document cannot be read, and nobody takes its error.
    """
    held: dict[str, Watch] = {}
    for key, document in (yield from plans.state(watches.instances_prefix(rule_id))).items():
        try:
            held[key] = watches.read_instance(key, document)
        except StorageError as error:
            if unreadable is None:
                raise
            unreadable[key] = error
    return {key: watch for key, watch in held.items() if watch.instance and watch.instance.rule_id == rule_id}


def stored_rules() -> Plan[list[AlertRule]]:
    """Every stored rule, by its id."""
    found = (yield from plans.state(watches.RULES)).values()
    held = [watch.rule for watch in map(watches.read, found) if watch.rule is not None]
    return sorted(held, key=lambda one: one.rule_id)


def rule(rule_id: str) -> Plan[AlertRule | None]:
    """The stored rule of an id."""
    return watches.read((yield from plans.document(watches.rule_key(rule_id)))).rule


def rule_revisions(rule_id: str) -> Plan[list[RuleRevision]]:
    """Every revision of a rule, oldest first."""
    check_text("rule_id", rule_id)
    return list((yield from plans.find(Select.of(RuleRevision, where={"rule_id": rule_id}))))
