"""Drift results: what any drift library found, kept as facts. None of those libraries is imported here.

Understood are a mapping with the fields of `DriftResult`, a result of `scipy.stats` (anything with `statistic` and
`pvalue`), a bare distance, and Evidently's reports: the snapshot of `Report.run` since 0.6 and the older report, as
objects or as the dictionaries they make of themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs

from f1mon_core import recording
from f1mon_core.errors import InvalidRecordError, shown
from f1mon_core.records.fields import Document, number
from f1mon_core.records.kinds import DriftResult
from f1mon_core.storage.plans import Plan

_EVIDENTLY_P_VALUES = frozenset(
    {
        *("anderson", "anderson-darling", "chisquare", "chi-square p_value", "cramer_von_mises", "cramer-von mises"),
        *("empirical_mmd", "es", "epps-singleton", "fisher_exact", "fisher's exact test", "g_test"),
        *("ks", "k-s p_value", "mannw", "mann-whitney u-rank test", "t_test", "tvd", "total-variation-distance"),
        *("z", "z-test p_value"),
    }
)
"""Evidently's tests whose drift score is a p-value, by name and display name in lower case."""

_EVIDENTLY_DISTANCES = frozenset(
    {
        *("abs_text_content_drift", "absolute text content drift", "ed", "energy-distance"),
        *("hellinger", "hellinger distance", "jensenshannon", "jensen-shannon distance"),
        *("kl_div", "kullback-leibler divergence", "psi", "wasserstein", "wasserstein distance (normed)"),
    }
)
"""Those whose score grows with the drift and is compared with the threshold."""

_EVIDENTLY_PERCENTILES = frozenset({"perc_text_content_drift", "percentile text content drift"})
"""Those whose threshold is a percentile of what chance would score, which the report does not tell."""

_VALUE_DRIFT = "ValueDrift"
_SUFFICIENT = "a mapping, a scipy result, a number or an Evidently report"


@attrs.frozen(kw_only=True)
class DriftDefaults:
    """What a result does not say of itself.

    Attributes:
        threshold: Drift is a p-value below it, or a distance of at least it; the verdict is derived from it, whatever
            the result's own was.
        detected: The verdict, where it is not to be derived.
    """

    model_version: str | None = None
    feature: str | None = None
    method: str | None = None
    threshold: float | None = None
    detected: bool | None = None
    at: datetime | None = None
    metadata: Mapping[str, Any] | None = None


def record(result: Any, defaults: DriftDefaults) -> Plan[list[DriftResult]]:
    """Keep what a drift library found; one fact for each feature, all or none."""
    found = list(drift_results(result, defaults))
    return (yield from recording.all_kept(found))


def drift_results(result: Any, defaults: DriftDefaults) -> Iterator[DriftResult]:
    """The facts that a result of any known shape comes to.

    Raises:
        InvalidRecordError: If the shape is unknown, holds no drift, or the verdict can neither be read nor derived; or
            if one feature or one verdict is given for several.
    """
    if isinstance(result, DriftResult):
        yield result
        return
    fields = list(_fields_of(result, defaults))
    if not fields:
        raise InvalidRecordError("result", result, "must hold the drift of at least one feature")
    for name in ("feature", "detected") if len(fields) > 1 else ():
        if (given := getattr(defaults, name)) is not None:
            raise InvalidRecordError(name, given, f"must not be given for a result of {len(fields)} features")
    for one in fields:
        yield _result(one, defaults)


def _fields_of(result: Any, defaults: DriftDefaults) -> Iterator[dict[str, Any]]:
    """The fields of `DriftResult` that a result gives, once for each feature."""
    for export in ("as_dict", "dict"):
        if not isinstance(result, Mapping | type) and callable(method := getattr(result, export, None)):
            result = method()
    if isinstance(result, Mapping):
        if isinstance(result.get("metrics"), list):
            yield from _evidently(result, defaults)
        else:
            yield _as_mapping(result)
    elif hasattr(result, "pvalue"):
        yield {"statistic": result.statistic, "p_value": result.pvalue, "method": type(result).__name__}
    else:
        try:
            yield {"statistic": number(result, "result")}
        except InvalidRecordError:
            raise InvalidRecordError("result", result, f"must be {_SUFFICIENT}") from None


def _as_mapping(result: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(result.items())
    except Exception as error:
        raise InvalidRecordError("result", result, f"must be {_SUFFICIENT}") from error


def _result(fields: dict[str, Any], defaults: DriftDefaults) -> DriftResult:
    """A fact from what a result says, completed with what the caller said; the caller's word goes first."""
    for name in fields:
        if name not in attrs.fields_dict(DriftResult):
            raise InvalidRecordError("result", name, "must hold fields of a drift_result only")
    complete = {
        **fields,
        **{name: value for name, value in attrs.asdict(defaults, recurse=False).items() if value is not None},
    }
    for name in ("model_version", "feature"):
        if complete.get(name) is None:
            raise InvalidRecordError(name, None, "must be given: the result does not say it")
    scored = complete.get("p_value") is not None or complete.get("statistic") is not None
    if complete.get("detected") is None or (defaults.detected is None and defaults.threshold is not None and scored):
        complete["detected"] = _verdict(complete)
    return DriftResult(**complete)


def _verdict(fields: Mapping[str, Any]) -> bool:
    threshold = fields.get("threshold")
    if threshold is not None:
        threshold = number(threshold, "threshold")
        if fields.get("p_value") is not None:
            return number(fields["p_value"], "p_value") < threshold
        if fields.get("statistic") is not None:
            return number(fields["statistic"], "statistic") >= threshold
    raise InvalidRecordError(
        "detected",
        None,
        f"must be given for {shown(fields['feature'])}, or a threshold to derive it with (Evidently says it with "
        "include_tests=True)",
    )


# Evidently ------------------------------------------------------------------------------------------------------------


def _evidently(report: Mapping[str, Any], defaults: DriftDefaults) -> Iterator[dict[str, Any]]:
    for one in _evidently_scores(report):
        if one.pop("unknown") and (one["detected"], defaults.detected) == (None, None):
            raise InvalidRecordError(
                "method", one["method"], "is no Evidently method known here: give detected=, or run its tests"
            )
        yield one


def _evidently_scores(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    verdicts = _evidently_verdicts(report)
    for metric in report["metrics"]:
        if "result" in metric:
            yield from _evidently_before_0_6(metric["result"])
        elif str(metric.get("metric_name", metric.get("metric_id", ""))).startswith(_VALUE_DRIFT):
            config: Mapping[str, Any] = metric.get("config", {})
            yield _score(
                config.get("column"),
                config.get("method"),
                metric.get("value"),
                config.get("threshold"),
                verdicts.get(metric.get("id")),
            )


def _evidently_verdicts(report: Mapping[str, Any]) -> dict[Any, bool]:
    """Whether the tests of a report that ran with `include_tests=True` failed, by the id of their metric."""
    return {
        test.get("metric_config", {}).get("metric_id"): test.get("status") == "FAIL"
        for test in report.get("tests") or ()
        if test.get("status") in {"FAIL", "SUCCESS"}
    }


def _evidently_before_0_6(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    columns: Mapping[str, Any] = result.get("drift_by_columns", {})
    for one in columns.values() if columns else [result] if "drift_score" in result else []:
        yield _score(
            one.get("column_name"),
            one.get("stattest_name"),
            one.get("drift_score"),
            one.get("stattest_threshold"),
            one.get("drift_detected"),
        )


def _score(column: Any, method: Any, score: Any, threshold: Any, detected: Any) -> dict[str, Any]:
    """A drift score as a p-value or a statistic, by what its method is known to yield."""
    name = str(method).lower()
    metadata: Document = {"source": "evidently"}
    is_p_value = "p_value" in name or name in _EVIDENTLY_P_VALUES
    if name in _EVIDENTLY_PERCENTILES:
        metadata["percentile"], threshold = threshold, None
    return {
        "unknown": not (is_p_value or name in _EVIDENTLY_DISTANCES or name in _EVIDENTLY_PERCENTILES),
        "feature": column,
        "method": str(method),
        "p_value" if is_p_value else "statistic": score,
        "threshold": threshold,
        "detected": detected,
        "metadata": metadata,
    }
