"""The numbers that are exported, as gauges: how each model does, and whether anybody would hear of it.

Labels are bounded: at most so many models, and words of f1mon's own. A number that is not known has no sample, and the
counts beside it say why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import attrs

from f1mon_core.alerts import alerts, open_incidents, overdue
from f1mon_core.alerts.watch import Phase
from f1mon_core.delivery import report
from f1mon_core.errors import InvalidQueryError, PrunedError, shown
from f1mon_core.metrics import rows
from f1mon_core.metrics.performance import Measures, Performance
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.records.times import from_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import KEPT_BINS, KEPT_BUCKET, CellKey, Moments, Tally, bucket_of

WINDOW = timedelta(hours=24)
MAX_MODELS = 50
PHASES: tuple[Phase, ...] = ("pending", "firing")

_MEASURED = ("accuracy", "expected_calibration_error")


@attrs.frozen
class Sample:
    """One value of a gauge.

    Attributes:
        labels: Name to value; values are text of unknown origin where they name a model.
        value: Finite.
    """

    labels: Mapping[str, str]
    value: float


@attrs.frozen
class Gauge:
    """A number that goes up and down.

    Attributes:
        name: Begins with `f1mon_`.
        help: What it is, in one sentence.
        samples: Its values, by labels; none where it is not known.
        unit: "1" for a count or a share, "s" for seconds.
    """

    name: str
    help: str
    samples: tuple[Sample, ...]
    unit: str = "1"


def gauges(last: timedelta | None, horizon: timedelta | None, max_models: int) -> Plan[list[Gauge]]:
    """All of them, of the predictions of the newest stretch of time.

    Args:
        last: How long it is; None for all of it.
        horizon: Only predictions that are at least so old, as their labels should have come; None for all.
        max_models: At most so many models, those with the most predictions; how many are left out is a gauge.
    """
    if type(max_models) is not int or max_models < 0:
        raise InvalidQueryError(f"max_models is a number of models, got {shown(max_models)}")
    basis = WindowRequest(last=last, basis="prediction" if horizon is None else "matured", horizon=horizon)
    window, tally = yield from _counted((yield from basis.resolve()))
    cells: dict[str, dict[CellKey, Moments]] = {}
    for key, moments in tally.cells.items():
        cells.setdefault(key.model_version, {})[key] = moments
    measures = Measures(names=_MEASURED)
    parts = {name: Tally(tally.bins, held) for name, held in cells.items()}
    most = sorted(parts, key=lambda name: (-parts[name].count, name))
    models = {
        name: measures.of(parts[name], attrs.evolve(window, model_version=name)) for name in sorted(most[:max_models])
    }
    left_out = len(most) - len(models)
    return [*_of_models(models, named(last), left_out), *(yield from _of_alerts((yield from plans.now())))]


def _counted(window: Window) -> Plan[tuple[Window, Tally]]:
    """The cells of a window; an edge in what was pruned is the full hour before, as nothing finer is kept."""
    try:
        return window, (yield from rows.tally(window.query(KEPT_BINS)))
    except PrunedError as error:
        kept_until = error.since
        floored = attrs.evolve(
            window, since=_floored(window.since, kept_until), until=_floored(window.until, kept_until)
        )
        if floored == window:
            raise
    return floored, (yield from rows.tally(floored.query(KEPT_BINS)))


def _floored(edge: datetime | None, kept_until: datetime | None) -> datetime | None:
    if edge is None or kept_until is None or edge >= kept_until:
        return edge
    return from_micros(max(0, bucket_of(to_micros(edge), KEPT_BUCKET) or 0))


def named(last: timedelta | None) -> str:
    """A length of time as the command line takes it: `24h`, `7d`, `all`; else in seconds."""
    if last is None:
        return "all"
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if last.total_seconds() % length == 0 and (unit != "d" or last.days > 1):
            return f"{last.total_seconds() / length:.0f}{unit}"
    return f"{last.total_seconds():g}s"


def _of_models(models: Mapping[str, Performance], window: str, left_out: int) -> list[Gauge]:
    def gauge(name: str, text: str, values: Mapping[str, float | None]) -> Gauge:
        labels = ({"model_version": model, "window": window} for model in values)
        pairs = zip(labels, values.values(), strict=True)
        return Gauge(f"f1mon_{name}", text, tuple(Sample(one, value) for one, value in pairs if value is not None))

    each = models.items()
    accuracy = {name: one.accuracy for name, one in each}
    error = {name: one.expected_calibration_error.value for name, one in each}
    return [
        gauge("predictions", "Predictions made in the window.", {name: one.total for name, one in each}),
        gauge("labelled_predictions", "Those whose outcome is known.", {name: one.labelled for name, one in each}),
        gauge("coverage_ratio", "The labelled share of the window.", {name: one.coverage for name, one in each}),
        gauge("accuracy_ratio", "The accuracy of the labelled.", {name: one.value for name, one in accuracy.items()}),
        gauge("accuracy_lower_bound", "Of its 95 % interval.", {name: one.low for name, one in accuracy.items()}),
        gauge("accuracy_upper_bound", "Of its 95 % interval.", {name: one.high for name, one in accuracy.items()}),
        gauge("calibration_error", "The expected calibration error of the labelled, in ten bins.", error),
        Gauge(
            "f1mon_models_left_out",
            "Models with predictions in the window that are not exported, because there are too many.",
            (Sample({"window": window}, left_out),),
        ),
    ]


def _of_alerts(now: datetime) -> Plan[list[Gauge]]:
    phases = Counter(one.phase for one in (yield from open_incidents.open_incidents()))
    late = yield from overdue.overdue()
    statistics = yield from alerts.alert_statistics()
    waiting, dead = (yield from report.pending()), (yield from report.dead())
    oldest = max(((now - from_micros(one.created)).total_seconds() for one in waiting), default=0.0)
    depth = (Sample({"state": "waiting"}, len(waiting)), Sample({"state": "dead"}, len(dead)))
    return [
        Gauge(
            "f1mon_open_incidents",
            "Incidents that have not ended, by phase.",
            tuple(Sample({"phase": phase}, phases[phase]) for phase in PHASES),
        ),
        _one("f1mon_unacknowledged_alerts", "Alerts that nobody has taken on.", statistics.unacknowledged),
        _one("f1mon_overdue_rules", "Enabled rules that nobody has evaluated for too long.", len(late)),
        Gauge("f1mon_outbox_deliveries", "Deliveries on their way, and those that are given up.", depth),
        attrs.evolve(
            _one("f1mon_outbox_oldest_seconds", "How long the oldest delivery has been on its way.", max(0.0, oldest)),
            unit="s",
        ),
    ]


def _one(name: str, text: str, value: float) -> Gauge:
    return Gauge(name, text, (Sample({}, value),))
