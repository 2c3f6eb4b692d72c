"""Evaluation of the stored rules over windows of what is stored: what `Monitor.evaluate` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import attrs

from f1mon_core.alerts import evaluate_rule, readings, retired, segmented, stored_rules
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.possible import NO_OUTCOMES
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.alerts.verdict import Reading
from f1mon_core.errors import NotFoundError, PrunedError, StorageError
from f1mon_core.metrics.formula import FORMULAS
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.performance import Measures, Performance
from f1mon_core.metrics.slices import Slices, narrowed, sliced
from f1mon_core.metrics.windows import Window, WindowBasis, WindowRequest, minus, told_where
from f1mon_core.records.fields import ClassLabel, Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert, Prediction
from f1mon_core.records.times import to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import Basis, Tally, TallyQuery, check_id

ALL_MODELS = "all"
"""The `model_version` of alerts about all models together."""


@attrs.frozen(kw_only=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes:
        model_version: Only this model. If None, a rule of scope "instance" is evaluated for each model of the window
            (with predictions in it, or with facts the metric is read from),
            and a rule of scope "rule" that names no model over all of them together, as model "all".
        component, metric_name, rule_id: Only the rules of these.
        until: The end of the windows; the present if None.
        last: The window of rules that do not name theirs.
        basis, horizon: As in `Monitor.performance`, for rules that do not name theirs.
    """

    model_version: str | None = None
    component: str | None = None
    metric_name: str | None = None
    rule_id: str | None = None
    until: datetime | None = None
    last: timedelta = timedelta(hours=1)
    basis: WindowBasis = "prediction"
    horizon: timedelta | None = None

    def window_of(self, rule: AlertRule, model: str | None) -> WindowRequest:
        """The window a rule is evaluated over."""
        last = self.last if rule.window_minutes is None else timedelta(minutes=rule.window_minutes)
        basis, horizon = self.basis, self.horizon
        if rule.basis is not None:
            basis = cast("WindowBasis", rule.basis)
            horizon = None if rule.horizon_minutes is None else timedelta(minutes=rule.horizon_minutes)
        return WindowRequest(model_version=model, until=self.until, last=last, basis=basis, horizon=horizon)

    def check(self) -> None:
        """Refuse what no window can be made of. Raises `InvalidQueryError`."""
        for name in ("model_version", "component", "metric_name", "rule_id"):
            check_id(name, getattr(self, name))
        WindowRequest(
            model_version=self.model_version, until=self.until, last=self.last, basis=self.basis, horizon=self.horizon
        )

    def wants(self, rule: AlertRule) -> bool:
        """Whether a rule is to be evaluated."""
        return rule.matches(
            self.metric_name or rule.metric_name, self.component, self.model_version
        ) and self.rule_id in (None, rule.rule_id)


def evaluate(request: EvaluationRequest) -> Plan[list[Alert]]:
    """Evaluate every rule that is asked for; the alerts that fired, in the order of rules and models.

    Raises:
        InvalidQueryError: If no window can be made of what is asked.
        NotFoundError: If the one rule that is asked for is not stored.
        EvaluationError: If a rule could not be evaluated, after all the others were.
    """
    request.check()
    stored = yield from stored_rules.stored_rules()
    if request.rule_id is not None and request.rule_id not in {rule.rule_id for rule in stored}:
        raise NotFoundError(f"no rule {request.rule_id!r} is stored; the rules are listed by `f1mon rules list`")
    rules = [rule for rule in stored if request.wants(rule)]
    measured = _Readings({rule.metric_name for rule in rules}, (yield from plans.now()))
    segments = (yield from retired.retired_segments()) if any(rule.by for rule in rules) else []
    fired: list[Alert] = []
    failures: dict[str, Exception] = {}
    for rule in rules:
        unreadable: dict[str, StorageError] = {}
        try:
            models = yield from _models(rule, request, unreadable)
            known = list((yield from stored_rules.instances(rule.rule_id, unreadable)).values()) if rule.by else []
        except Exception as error:  # noqa: BLE001 - raised below, once the other rules had their turn
            failures[rule.rule_id] = error
            continue
        if unreadable:  # the other models have their turn
            failures[rule.rule_id] = next(iter(unreadable.values()))
        left_out: dict[str, int] = {}
        evaluated = 0
        for model in models:
            try:
                window = yield from request.window_of(rule, model).resolve()
                if rule.by and model is not None:
                    gone = [one.segments for one in segments if one.model_version == model]
                    seen = yield from measured.by_segment(rule, window)
                    wanted, left_out[model] = segmented.subjects(rule, model, seen, known, gone)
                else:
                    reading, context = yield from measured.of(rule, window)
                    wanted = [segmented.Subject({}, reading, context)]
            except Exception as error:  # noqa: BLE001 - as above
                failures.setdefault(rule.rule_id, error)
                continue
            evaluated += len(wanted)
            if not (yield from _evaluate(rule, model or ALL_MODELS, wanted, fired, failures)):
                break  # removed since the rules were listed
        said = segmented.say_left_out(rule, left_out)
        if not evaluated or said is not None or rule.by:
            step = _looked(said or "", always=not evaluated)
            yield from plans.settle(watches.rule_key(rule.rule_id), step, operation_id=new_operation_id())
    evaluate_rule.raise_failures(fired, failures)
    return fired


def _evaluate(
    rule: AlertRule,
    model: str,
    wanted: Sequence[segmented.Subject],
    fired: list[Alert],
    failures: dict[str, Exception],
) -> Plan[bool]:
    """Evaluate a rule for each of some instances of a model; False if it is not stored any more."""
    for one in wanted:
        try:
            alert = yield from evaluate_rule.evaluate_rule(
                rule.rule_id, one.reading, model, labels=one.labels, context=one.context
            )
        except NotFoundError:
            return False
        except Exception as error:  # noqa: BLE001 - raised at the end, once the other instances had their turn
            failures.setdefault(rule.rule_id, error)
            continue
        if alert is not None:
            fired.append(alert)
    return True


def _looked(said: str, *, always: bool) -> Step:
    """Write down that a rule was evaluated, for no model: nobody may think that nobody looked.

    Args:
        said: What instances were left out, kept as the reason of the rule's own state.
        always: Whether it is written although nothing is said, now or before.
    """

    def step(document: Document | None, now: datetime) -> Change:
        watch = watches.read(document)
        if watch.rule is None or not (always or said or watch.phase_reason):
            return Change(document)
        if watch.rule.by:
            watch.phase_reason = said
        watch.sample = watches.Sample(to_micros(now), ALL_MODELS) if always or said else None
        return Change(watches.written(watch))

    return step


def _models(
    rule: AlertRule, request: EvaluationRequest, unreadable: dict[str, StorageError]
) -> Plan[Sequence[str | None]]:
    """The models a rule is evaluated for; None is all of them together. `unreadable` as in `stored_rules.instances`."""
    gone = (yield from retired.retired()).keys()
    if (named := request.model_version or rule.model_version) is not None:
        return [] if named in gone else [named]
    if rule.scope != "instance":
        return [None]
    window = yield from request.window_of(rule, None).resolve()
    try:
        seen = (yield from plans.tally(window.query(1))).models
        if rule.metric_type == NO_OUTCOMES:
            seen |= (yield from _waiting(window)).models
    except PrunedError:
        # What the kept cells cannot tell is no data for those that are known to be there.
        counted = yield from plans.count(Select.of(Prediction, window.since, window.until), ("model_version",))
        seen = {str(model) for (model,) in counted}
    if rule.metric_type != NO_OUTCOMES and rule.metric_name not in METRIC_NAMES:
        seen |= yield from readings.models(rule.metric_name, window)
    # So is every model it was evaluated for before: one that fell silent is no data until somebody retires it.
    known = (yield from stored_rules.instances(rule.rule_id, unreadable)).values()
    silent = {
        watch.instance.model_version
        for watch in known
        if watch.instance is not None and watch.instance.model_version is not None
    }
    return sorted((seen | silent) - gone)


class _Readings:
    """The readings of one evaluation; rules on the same window share its tally."""

    def __init__(self, metric_names: set[str], now: datetime) -> None:
        self._now = now
        self._names = metric_names.intersection(METRIC_NAMES)
        self._measured: dict[tuple[Window, ClassLabel | None], Performance] = {}
        self._sliced: dict[tuple[Window, ClassLabel | None, tuple[str, ...]], tuple[Measures, Tally, Slices]] = {}

    def by_segment(self, rule: AlertRule, window: Window) -> Plan[segmented.Seen]:
        """What a rule by segments is shown of a window of one model.

        Raises:
            InvalidQueryError: If the segments have more values than are answered.
        """
        context: Document = {"as_recorded": self._now.isoformat()}
        try:
            if rule.metric_type == NO_OUTCOMES:
                seen = yield from segmented.arrivals(window, rule.by)
            else:
                seen = yield from self._slices(rule, window)
        except PrunedError as error:
            reason = f"pruned: {error}"
            seen = segmented.Seen({}, lambda _: (Reading(None, reason=reason), {}))

        def shown(group: tuple[Any, ...]) -> tuple[Reading, Document]:
            reading, more = seen.shown(group)
            return reading, {"window": _told(narrowed(window, rule.by, group)), **context, **more}

        return segmented.Seen(seen.groups, shown)

    def _slices(self, rule: AlertRule, window: Window) -> Plan[segmented.Seen]:
        key = (window, rule.positive, rule.by)
        if key not in self._sliced:
            measures = Measures(names=self._names, positive=rule.positive)
            tally, unavailable = yield from measures.tally(window, by=rule.by)
            found = sliced(measures, tally, window, rule.by, unavailable)
            self._sliced[key] = measures.adjusted(found.looks), attrs.evolve(tally, cells={}), found
        adjusted, empty, found = self._sliced[key]
        performances = {tuple(one.window.where[name] for name in rule.by): one for one in found.values()}

        def shown(group: tuple[Any, ...]) -> tuple[Reading, Document]:
            performance = performances.get(group) or adjusted.of(empty, window)
            reading, more = _shown(rule, performance)
            return reading, {**more, "looks": found.looks, "level": found.level}

        return segmented.Seen({group: one.total for group, one in performances.items()}, shown)

    def of(self, rule: AlertRule, window: Window) -> Plan[tuple[Reading, Document]]:
        """The reading of a rule's metric over a window, and what an alert should say of it.

        By the window and `as_recorded` the value can be derived again, whatever outcomes and corrections came since.
        """
        context: Document = {"window": _told(window), "as_recorded": self._now.isoformat()}
        try:
            if rule.metric_type == NO_OUTCOMES:
                return (yield from _outcomes_arrived(window)), context
            if rule.metric_name not in METRIC_NAMES:
                return (yield from readings.reading(rule.metric_name, window)), context
            key = (window, rule.positive)
            if key not in self._measured:
                measures = Measures(names=self._names, positive=rule.positive)
                tally, unavailable = yield from measures.tally(window)
                self._measured[key] = measures.of(tally, window, unavailable)
        except PrunedError as error:
            return Reading(None, reason=f"pruned: {error}"), context
        reading, more = _shown(rule, self._measured[key])
        return reading, context | more


def _shown(rule: AlertRule, performance: Performance) -> tuple[Reading, Document]:
    """The reading of a rule's metric, and what an alert says it rests on: also which class is the positive one."""
    more: Document = {"total": performance.total, "labelled": performance.labelled}
    if FORMULAS[rule.metric_name].labels == "positive" and performance.positive is not None:
        more["positive"] = performance.positive
    return Reading.of(performance.metrics[rule.metric_name]), more


def _outcomes_arrived(window: Window) -> Plan[Reading]:
    """How many predictions got their first outcome in the window; no data while none waits for one.

    Waiting is a prediction without an outcome that was made in the window, or in the one of the same length before.
    """
    arrived = (yield from plans.tally(_query(window, window.since, "outcome"))).count
    return segmented.arrival(arrived, None if arrived else (yield from _waiting(window)))


def _waiting(window: Window) -> Plan[Tally]:
    """The predictions made in the window or in the one of the same length before."""
    earlier = None
    if window.since is not None and window.until is not None:
        earlier = minus(window.since, window.until - window.since)
    return (yield from plans.tally(_query(window, earlier, "prediction")))


def _query(window: Window, since: datetime | None, basis: Basis) -> TallyQuery:
    return attrs.evolve(window.query(1), since=since, basis=basis)


def _told(window: Window) -> Document:
    """A window as an alert keeps it: enough to measure it again."""
    told: Document = {"basis": window.basis, **told_where(window.where)}
    for name in ("since", "until"):
        if (edge := getattr(window, name)) is not None:
            told[name] = edge.isoformat()
    if window.horizon is not None:
        told["horizon_minutes"] = window.horizon.total_seconds() / 60
    return told


def context_window(context: Mapping[str, object]) -> Document:
    """The window an alert's context tells of; empty for one without."""
    window = context.get("window")
    return dict(window) if isinstance(window, dict) else {}
