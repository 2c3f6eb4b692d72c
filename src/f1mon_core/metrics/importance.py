"""Feature importances: what mattered to a model, when, and how that moves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidRecordError
from f1mon_core.records.kinds import FeatureImportance
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select


def record(
    model_version: str,
    importances: Mapping[str, float],
    method: str,
    at: datetime | None,
    metadata: Mapping[str, Any] | None,
) -> Plan[list[FeatureImportance]]:
    """Keep the importances of one computation, ranked by their size; all or none."""
    named = _named(importances)
    found = [
        FeatureImportance(
            model_version=model_version,
            feature=feature,
            importance=value,
            method=method,
            metadata=recording.given(metadata),
            at=at,
        )
        for feature, value in named.items()
    ]
    sizes = sorted(abs(one.importance) for one in found)
    ranks = {size: len(sizes) - index for index, size in enumerate(sizes)}
    ranked = [attrs.evolve(one, rank=ranks[abs(one.importance)]) for one in found]
    return (yield from recording.all_kept(ranked))


def _named(importances: Any) -> dict[str, Any]:
    reason = "must be a mapping of at least one feature to its importance: dict(zip(names, model.feature_importances_))"
    try:
        named = dict(importances.items()) if isinstance(importances, Mapping) else {}
    except Exception as error:
        raise InvalidRecordError("importances", importances, reason) from error
    if not named:
        raise InvalidRecordError("importances", importances, reason)
    return named


def latest(model_version: str, method: str | None, as_of: datetime | None) -> Plan[dict[str, FeatureImportance]]:
    """Each feature's newest importance, by feature, the most important first."""
    where = {} if method is None else {"method": method}
    until = as_of
    counted = yield from plans.count(Select.of(FeatureImportance, None, until, model_version, where), by=("feature",))
    newest: list[FeatureImportance] = []
    for (feature,) in counted:
        wanted = {**where, "feature": str(feature)}
        select = Select.of(FeatureImportance, None, until, model_version, wanted, descending=True, limit=1)
        newest += yield from plans.find(select)
    newest.sort(key=lambda one: (-abs(one.importance), one.feature))
    return {one.feature: one for one in newest}
