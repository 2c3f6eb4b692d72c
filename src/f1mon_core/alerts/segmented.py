"""What a rule by segments is evaluated for: the instances of a model that have their turn, and what they are shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs

from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.verdict import Reading
from f1mon_core.alerts.watch import Watch
from f1mon_core.metrics import rows
from f1mon_core.metrics.slices import apart
from f1mon_core.metrics.windows import Window, minus
from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import canonical
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import Tally

Labels: TypeAlias = Mapping[str, Any]
"""The segments of an instance: name to its value; None for the predictions without the name."""

_log = logging.getLogger("f1mon.alerts")


@attrs.frozen
class Subject:
    """One instance to evaluate, with what it is shown."""

    labels: Labels
    reading: Reading
    context: Document


@attrs.frozen
class Seen:
    """What the window of a rule has of one model.

    Attributes:
        groups: The values of the segments, each with how many predictions have them.
        shown: What a group is shown, also one that the window does not have.
    """

    groups: Mapping[tuple[Any, ...], int]
    shown: Callable[[tuple[Any, ...]], tuple[Reading, Document]]


def subjects(
    rule: AlertRule, model: str, seen: Seen, known: Iterable[Watch], gone: Collection[Labels]
) -> tuple[list[Subject], int]:
    """The instances to evaluate of one model, and how many were left out.

    First those with an open incident, then those of the window by how many predictions they have, then those that an
    evaluation saw before; at most `max_instances` of them. Retired ones are none.
    """
    found: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}
    for group, n in seen.groups.items():
        _put(found, group, (1, -n))
    for watch in known:
        instance = watch.instance
        if instance is None or instance.model_version != model or set(instance.labels) != set(rule.by):
            continue
        _put(found, tuple(instance.labels[name] for name in rule.by), (2 if watch.incident is None else 0, 0))
    in_service = [
        (order, key, group)
        for key, (order, group) in found.items()
        if not any(is_of(dict(zip(rule.by, group, strict=True)), one) for one in gone)
    ]
    chosen = sorted(in_service, key=lambda one: one[:2])[: rule.max_instances]
    made = [Subject(dict(zip(rule.by, group, strict=True)), *seen.shown(group)) for _, _, group in chosen]
    return sorted(made, key=lambda one: canonical(dict(one.labels))), len(in_service) - len(chosen)


def _put(
    found: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]], group: tuple[Any, ...], order: tuple[int, int]
) -> None:
    key = canonical(list(group))  # 1 and "1" are two values
    if key not in found or order < found[key][0]:
        found[key] = (order, group)


def is_of(labels: Labels, some: Labels) -> bool:
    """Whether an instance has all of some segments; values compare with their type."""
    return all(name in labels and canonical([labels[name]]) == canonical([value]) for name, value in some.items())


def say_left_out(rule: AlertRule, left_out: Mapping[str, int]) -> str | None:
    """Say in the log how many instances of a rule were left out, and in words for its state; None if none was."""
    if not any(left_out.values()):
        return None
    of = ", ".join(f"{n} of {model}" for model, n in sorted(left_out.items()) if n)
    said = f"instances left out: {of}; max_instances is {rule.max_instances}"
    _log.warning("rule %s: %s", rule.rule_id, said, extra={"rule_id": rule.rule_id, "left_out": dict(left_out)})
    return said


# How many outcomes arrived --------------------------------------------------------------------------------------------


def arrivals(window: Window, names: Sequence[str]) -> Plan[Seen]:
    """For rules on how many outcomes arrived: of each group, as `evaluate` counts them of a model."""
    by = tuple(names)
    query = window.query(1, by=by)
    arrived = apart((yield from rows.tally(attrs.evolve(query, basis="outcome"))))
    earlier = None
    if window.since is not None and window.until is not None:
        earlier = minus(window.since, window.until - window.since)
    waiting = apart((yield from rows.tally(attrs.evolve(query, since=earlier, basis="prediction"))))

    def shown(group: tuple[Any, ...]) -> tuple[Reading, Document]:
        return arrival(_count(arrived.get(group)), waiting.get(group)), {}

    return Seen({group: _count(waiting.get(group)) for group in {**arrived, **waiting}}, shown)


def _count(tally: Tally | None) -> int:
    return 0 if tally is None else tally.count


def arrival(arrived: int, waiting: Tally | None) -> Reading:
    """The reading of how many outcomes arrived; no data while no prediction waits for one."""
    if arrived:
        return Reading(float(arrived), n=arrived)
    cells = {} if waiting is None else waiting.cells
    pending = sum(cell.n for key, cell in cells.items() if key.actual is None)
    if not pending:
        return Reading(None, n=0, reason="no prediction waits for an outcome")
    return Reading(0.0, n=pending)


def labels_of(context: Mapping[str, Any]) -> Labels:
    """The segments that an alert's context tells of; none for an alert without."""
    labels = context.get("labels")
    return cast("Labels", labels) if isinstance(labels, Mapping) else {}
