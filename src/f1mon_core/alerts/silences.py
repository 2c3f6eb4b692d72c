"""Silences: for a time, what matches is stored and not told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from f1mon_core.alerts import outbox
from f1mon_core.alerts.segmented import labels_of
from f1mon_core.errors import InvalidQueryError, NotFoundError
from f1mon_core.metrics.windows import told_where
from f1mon_core.records import fields
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id, time_id
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, state_key, state_prefix
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import SegmentChoice, check_text, check_where, chosen

MATCHED = ("rule_id", "component", "model_version", "metric_name", "severity")


@attrs.frozen(kw_only=True)
class Silence:
    """A half-open time `[start, end)` in which matching alerts are stored and not delivered.

    Attributes:
        match: Field of the alert to the value it must have, of `MATCHED`; empty matches every alert.
        where: The segments that the alert must be about, each a value or a tuple of values; None is without the name.
        by, comment: Who asked for it, and why.
    """

    silence_id: str
    start: datetime
    end: datetime
    match: Mapping[str, str] = attrs.field(factory=dict)
    where: Mapping[str, SegmentChoice] = attrs.field(factory=dict)
    by: str | None = None
    comment: str | None = None

    def covers(self, alert: Alert, now: datetime) -> bool:
        """Whether an alert is silenced at this instant."""
        return (
            self.start <= now < self.end
            and all(getattr(alert, name) == wanted for name, wanted in self.match.items())
            and self._is_about(labels_of(alert.context))
        )

    def _is_about(self, labels: Mapping[str, Any]) -> bool:
        """Whether an alert is about the segments; one that says nothing of a name is about none of its values."""
        return set(self.where) <= set(labels) and chosen(self.where, labels)


def add(
    start: datetime | None,
    end: datetime,
    match: Mapping[str, str | None],
    by: str | None,
    comment: str | None,
    where: Mapping[str, Any] | None = None,
) -> Plan[Silence]:
    """Store a silence; without a start it begins at once."""
    wanted = {name: value for name, value in match.items() if value is not None}
    for name, value in wanted.items():
        if name not in MATCHED:
            raise InvalidQueryError(f"a silence matches by {', '.join(MATCHED)}, not by {name!r}")
        fields.identifier(value, name)
    segments = told_where(check_where(where))
    for name, said in (("by", by), ("comment", comment)):
        if said is not None:
            fields.text(said, name)
    end = fields.instant(end, "end")
    start = None if start is None else fields.instant(start, "start")
    if start is not None and start >= end:
        raise InvalidQueryError(f"a silence ends after it starts: [{start.isoformat()}, {end.isoformat()})")
    operation_id = new_operation_id()

    def step(document: Document | None, now: datetime) -> Change:
        begin = now if start is None else start
        if begin >= end:
            raise InvalidQueryError(f"this silence would end before it starts: {end.isoformat()} has passed")
        silence_id = time_id(now, operation_id)
        made: Document = {
            "silence_id": silence_id,
            "start": to_micros(begin),
            "end": to_micros(end),
            "match": dict(wanted),
            **segments,
            "by": by,
            "comment": comment,
        }
        return Change(document, also={state_key("silence", silence_id): made}, result=made)

    return _of((yield from plans.settle("silences", step, operation_id=operation_id)))


def listed() -> Plan[list[Silence]]:
    """Every silence that was not lifted, past ones too, oldest first."""
    return [_of(document) for document in (yield from plans.state(state_prefix("silence"))).values()]


def lift(silence_id: str) -> Plan[None]:
    """End a silence now, by removing it; what it holds back is looked at again."""
    check_text("silence_id", silence_id)

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        return Change(None, result=document is not None)

    key = state_key("silence", silence_id)
    if not (yield from plans.settle(key, step, operation_id=new_operation_id())):
        raise NotFoundError(f"no silence {silence_id!r} is stored")
    for waiting, document in (yield from plans.state(outbox.WAITING)).items():
        if document.get("silenced") or "token" in document:
            yield from plans.settle(waiting, outbox.hasten(), operation_id=new_operation_id())


def covering(alert: Alert, now: datetime) -> Plan[Silence | None]:
    """The silence that covers an alert now, of several the one that ends last."""
    found = [silence for silence in (yield from listed()) if silence.covers(alert, now)]
    return max(found, key=lambda silence: silence.end, default=None)


def _of(document: Any) -> Silence:
    given = dict(cast("Mapping[str, Any]", document))
    instants = {name: from_micros(given[name]) for name in ("start", "end")}
    return Silence(**given | instants | {"where": check_where(given.get("where"))})
