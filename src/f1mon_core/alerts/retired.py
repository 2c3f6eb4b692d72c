"""Retired models: those that no rule is evaluated for any more."""

from __future__ import annotations

from datetime import datetime

import attrs

from f1mon_core.alerts import rule_edits, stored_rules
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.incident import ending
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.segmented import Labels, is_of
from f1mon_core.errors import InvalidQueryError, NotFoundError
from f1mon_core.records import fields
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Prediction
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.entries import text_of, whole_of
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import check_text, check_where
from f1mon_core.text import told_segments

RETIRED = state_prefix("retired")
SEGMENTS = state_prefix("retired-segment")


@attrs.frozen
class Retired:
    """A model, or with `segments` a part of it, that was retired: when, by whom and why."""

    model_version: str
    at: datetime
    by: str | None
    reason: str | None
    segments: Labels = attrs.field(factory=dict)


def retired() -> Plan[dict[str, Retired]]:
    """The retired models, by name; not those of which only segments are."""
    found = [_of(document) for document in (yield from plans.state(RETIRED)).values()]
    return {one.model_version: one for one in sorted(found, key=lambda one: one.model_version)}


def retired_segments() -> Plan[list[Retired]]:
    """The segments of models that were retired, by model and segments."""
    found = [_of(document) for document in (yield from plans.state(SEGMENTS)).values()]
    return sorted(found, key=lambda one: (one.model_version, canonical(dict(one.segments))))


def _of(document: Document) -> Retired:
    by, reason, segments = document.get("by"), document.get("reason"), document.get("segments")
    return Retired(
        text_of(document, "model_version"),
        from_micros(whole_of(document, "at")),
        by if isinstance(by, str) else None,
        reason if isinstance(reason, str) else None,
        segments if isinstance(segments, dict) else {},
    )


def retire(
    model_version: str, by: str | None = None, reason: str | None = None, segments: Labels | None = None
) -> Plan[int]:
    """Evaluate no rule for a model, or segments of it, any more, and end its incidents. Returns how many ended.

    Raises:
        NotFoundError: If no prediction of the model is stored, nor any rule has seen it.
    """
    fields.identifier(model_version, "model_version")
    for name, said in (("by", by), ("reason", reason)):
        if said is not None:
            fields.text(said, name)
    of = _checked(segments)
    known = yield from _watched(model_version)
    if not known and not (yield from plans.find(Select.of(Prediction, model_version=model_version, limit=1))):
        raise NotFoundError(f"no model {model_version!r} is stored; `f1mon status --window all` names them")
    made: Document = {"model_version": model_version, "by": by, "reason": reason}
    if of:
        made["segments"] = of

    def mark(document: Document | None, now: datetime) -> Change:
        return Change(document or {**made, "at": to_micros(now)})

    # First the mark, then the ends: an evaluation between them finds the model retired.
    yield from plans.settle(_key(model_version, of), mark, operation_id=new_operation_id())
    what = f"the segment {told_segments(of)}" if of else "the model"
    why = f"{what} was retired" + (f": {reason}" if reason else "")
    ended = 0
    for held, rule in (yield from _watched(model_version, of)).items():
        operation_id = new_operation_id()
        step = _end(rule, model_version, why, operation_id)
        ended += bool((yield from plans.settle(held, step, operation_id=operation_id)))
    return ended


def _key(model_version: str, segments: Labels) -> str:
    if not segments:
        return state_key("retired", model_version)
    return state_key("retired-segment", model_version, canonical(dict(segments)))


def _checked(segments: Labels | None) -> Document:
    """Segments as they are stored, one value each. Raises `InvalidQueryError`."""
    found: Document = {}
    try:
        wanted = check_where(segments)
    except InvalidQueryError as error:
        raise InvalidQueryError(f"segments{str(error).removeprefix('where')}") from error
    for name, one in wanted.items():
        if isinstance(one, tuple):
            raise InvalidQueryError(f"segments.{name} must be one value, which is retired, got several")
        found[name] = one
    return found


def _watched(model_version: str, segments: Labels | None = None) -> Plan[dict[str, AlertRule]]:
    """The keys of what rules remember of a model, or of segments of it, with the rule."""
    found: dict[str, AlertRule] = {}
    for rule in (yield from stored_rules.stored_rules()):
        for key, watch in (yield from stored_rules.instances(rule.rule_id)).items():
            instance = watch.instance
            if (
                instance is not None
                and instance.model_version == model_version
                and is_of(instance.labels, segments or {})
            ):
                found[key] = rule
        if not segments and rule.model_version == model_version and rule.scope != "instance":
            found[watches.rule_key(rule.rule_id)] = rule
    return found


def _end(rule: AlertRule, model_version: str, why: str, operation_id: str) -> Step:
    def step(document: Document | None, now: datetime) -> Change:
        watch = watches.read(document)
        if watch.incident is None or watch.incident.model_version not in (None, model_version):
            return Change(document, result=False)
        also = ending(watch.incident, rule, now, "closed", why)
        facts = rule_edits.closed(watch, rule.rule_id, why, now, operation_id)
        return Change(watches.written(watch), facts, also, result=True)

    return step


def unretire(model_version: str, segments: Labels | None = None) -> Plan[None]:
    """Evaluate the rules for a model, or segments of it, again. Raises `NotFoundError` if it is not retired."""
    check_text("model_version", model_version)
    of = _checked(segments)

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        return Change(None, result=document is not None)

    if not (yield from plans.settle(_key(model_version, of), step, operation_id=new_operation_id())):
        raise NotFoundError(f"model {model_version!r}{f' by {told_segments(of)}' if of else ''} is not retired")
