"""Reference samples: what the features of a training set looked like, kept in the store beside the predictions.

A reference is one state document, so no prune takes it, and it is replaced, or added to, as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from f1mon_core.errors import CorruptStoreError, InvalidQueryError, InvalidRecordError, NotFoundError
from f1mon_core.metrics import samples
from f1mon_core.metrics.samples import Numbers, Sample
from f1mon_core.recording import frames
from f1mon_core.records.fields import MAX_JSON_BYTES, Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.json_text import canonical
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import check_flag, check_id
from f1mon_core.text import closest

TRAINING = "training"
"""The name of a reference that is given none."""

_VERSION = 1
_MOST_POINTS, _ALL_POINTS, _LEAST_POINTS = 1_000, 24_000, 20
"""A number has at most so many points, all of a reference's together so many, and none has fewer than the last."""


@attrs.frozen
class Reference:
    """A stored sample of a model's features.

    Attributes:
        model_version: The model.
        name: "training" unless another was given.
        rows: How many rows it was made of.
        features: Each feature's values: `Numbers` by rank, `Categories` by count.
        left_out: Columns that hold lists or objects, or nothing at all.
        recorded_at: When the store last changed it.
    """

    model_version: str
    name: str
    rows: int
    features: Mapping[str, Sample]
    left_out: tuple[str, ...]
    recorded_at: datetime

    def __str__(self) -> str:
        left = f", without {', '.join(self.left_out)}" if self.left_out else ""
        return f"reference {self.name} of {self.model_version}: {self.rows} rows, {len(self.features)} features{left}"

    def to_dict(self) -> Document:
        """As a JSON object, without the values."""
        return {
            "name": self.name,
            "model_version": self.model_version,
            "rows": self.rows,
            "features": {name: one.sort for name, one in self.features.items()},
            "left_out": list(self.left_out),
            "recorded_at": self.recorded_at.isoformat(),
        }


def record_reference(
    model_version: str, sample: Any, name: str, features: Collection[str] | None, *, add: bool
) -> Plan[Reference]:
    """Keep a sample as the reference of a model, in place of what had its name, or added to it."""
    _check(model_version, name)
    add = check_flag("add", add)
    columns = frames.columns_of(sample, features)
    found, rows = samples.gathered(columns)
    if not found or not rows:
        raise InvalidRecordError("sample", None, "must have at least one column and one row")
    made = {one: values.sample(values.sort, rows) for one, values in found.items() if values.sort is not None}
    left_out = tuple(one for one, values in found.items() if values.sort is None)
    key, operation_id = state_key("reference", model_version, name), new_operation_id()
    step = _kept(model_version, name, rows, made, left_out, add=add)
    yield from plans.settle(key, step, operation_id=operation_id)
    return (yield from stored(model_version, name))


def _kept(
    model_version: str, name: str, rows: int, made: Mapping[str, Sample], left_out: Iterable[str], *, add: bool
) -> Step:
    def step(document: Document | None, now: datetime) -> Change:
        together, count, left = dict(made), rows, tuple(left_out)
        if add and document is not None:
            before = _of(document)
            together, count = _added(before, made), count + before.rows
            left = tuple(one for one in dict.fromkeys((*before.left_out, *left)) if one not in together)
        return _change(model_version, name, count, together, left, now)

    return step


def _change(
    model_version: str, name: str, rows: int, features: Mapping[str, Sample], left_out: Iterable[str], now: datetime
) -> Change:
    numbers = sum(isinstance(one, Numbers) for one in features.values())
    points = max(_LEAST_POINTS, min(_MOST_POINTS, _ALL_POINTS // max(1, numbers)))
    kept = {one: held.kept(points) if isinstance(held, Numbers) else held.kept() for one, held in features.items()}
    document: Document = {
        "version": _VERSION,
        "model_version": model_version,
        "name": name,
        "rows": rows,
        "at": to_micros(now),
        "left_out": list(left_out),
        "features": {one: held.to_dict() for one, held in kept.items()},
    }
    if (size := len(canonical(document))) > MAX_JSON_BYTES:
        reason = f"takes {size} bytes of the {MAX_JSON_BYTES} that a reference may: name fewer columns by features="
        raise InvalidRecordError("sample", f"{len(kept)} features", reason)
    return Change(document)


def _added(before: Reference, made: Mapping[str, Sample]) -> dict[str, Sample]:
    """Two samples together. Raises `InvalidRecordError` where they differ in their features or in the sort of one."""
    if before.features.keys() != made.keys():
        differing = sorted(before.features.keys() ^ made.keys())
        raise InvalidRecordError("sample", differing, "must have the features of the reference that it is added to")
    together: dict[str, Sample] = {}
    for name, one in before.features.items():
        other = made[name]
        if one.sort != other.sort:
            raise InvalidRecordError(f"sample.{name}", other.sort, f"must be of the reference's sort, {one.sort}")
        together[name] = cast("Any", one) + other
    return together


def stored(model_version: str, name: str) -> Plan[Reference]:
    """The reference of a model. Raises `NotFoundError`, which names those there are."""
    _check(model_version, name)
    document = yield from plans.document(state_key("reference", model_version, name))
    if document is None:
        others = [one.name for one in (yield from listed(model_version))]
        known = f"there are {', '.join(others)}" if others else "it has none: `record_reference` keeps one"
        raise NotFoundError(f"no reference {name!r} of {model_version!r} is stored; {known}{closest(name, others)}")
    return _of(document)


def _check(model_version: Any, name: Any) -> None:
    for argument, given in (("model_version", model_version), ("name", name)):
        if given is None:
            raise InvalidQueryError(f"{argument} must be given: a reference is of one model, and has a name")
        check_id(argument, given)


def listed(model_version: str | None) -> Plan[list[Reference]]:
    """The stored references of a model, or of all."""
    if model_version is not None:
        check_id("model_version", model_version)
    prefix = state_prefix("reference", *(() if model_version is None else (model_version,)))
    found = [_of(document) for document in (yield from plans.state(prefix)).values()]
    return [one for one in found if model_version in (None, one.model_version)]


def remove(model_version: str, name: str) -> Plan[None]:
    """Remove a reference. Raises `NotFoundError`."""
    _check(model_version, name)

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        return Change(None, result=document is not None)

    key = state_key("reference", model_version, name)
    if not (yield from plans.settle(key, step, operation_id=new_operation_id())):
        raise NotFoundError(f"no reference {name!r} of {model_version!r} is stored")


def _of(document: Any) -> Reference:
    """The reference that a document says. Raises `CorruptStoreError`."""
    try:
        if document["version"] != _VERSION:
            raise CorruptStoreError(f"this reference is of version {document['version']}, which a newer f1mon reads")
        return Reference(
            document["model_version"],
            document["name"],
            document["rows"],
            {name: samples.from_dict(kept) for name, kept in document["features"].items()},
            tuple(document["left_out"]),
            from_micros(document["at"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptStoreError("a stored reference cannot be read: record it again") from error
