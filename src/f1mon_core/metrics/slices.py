"""Plans that answer "for whom?": a window told apart by segments, with intervals that know how many are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.metrics import shown
from f1mon_core.metrics.measurement import METRIC_NAMES
from f1mon_core.metrics.metric import Metric
from f1mon_core.metrics.performance import Measures, Performance
from f1mon_core.metrics.windows import Window, WindowRequest
from f1mon_core.recording.lists import Library, frame_of
from f1mon_core.records.fields import Document
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import CellKey, Moments, Tally, check_by, levelled, merge_cells

SegmentValue: TypeAlias = int | float | str | None
Group: TypeAlias = SegmentValue | tuple[SegmentValue, ...]
"""The value of one segment, or those of two; None for predictions without the name."""
By: TypeAlias = str | Sequence[str]

HIGH_IS_BAD = frozenset({"brier_score", "log_loss", "expected_calibration_error", "maximum_calibration_error"})
LOW_IS_BAD = frozenset(
    {"accuracy", "roc_auc", "coverage"}
    | {name for name in METRIC_NAMES if name.startswith(("precision", "recall", "f1_score"))}
)


@attrs.frozen
class Slices(Mapping[Group, Performance]):
    """A window told apart by segments: each value, or pair of values, to the performance of its predictions.

    The intervals of the slices are Clopper-Pearson's at the Šidák level, so that all of them hold together in 95 % of
    the cases, however many slices are looked at.

    Attributes:
        by: The names of the segments.
        performances: Group to its performance, in the order of the values, or the worst first where `worst` was asked.
        whole: All of it together, with the interval asked for at 95 %.
        looks: How many slices have a label; the intervals are adjusted for so many.
        level: The confidence level of each interval.
        left_out: Slices that `worst` left out.
    """

    by: tuple[str, ...]
    performances: Mapping[Group, Performance]
    whole: Performance
    looks: int
    level: float
    left_out: int = 0

    def __getitem__(self, group: Group) -> Performance:
        return self.performances[group]

    def __iter__(self) -> Iterator[Group]:
        return iter(self.performances)

    def __len__(self) -> int:
        return len(self.performances)

    @property
    def read(self) -> int | None:
        """How many predictions were read one by one, because a name is a path into them; None if none was."""
        return self.whole.read

    def surely_worse(self, name: str = "accuracy") -> list[Group]:
        """The slices whose whole adjusted interval lies on the bad side of the whole's value, in order."""
        check_sided(name)
        of_all = self.whole.metrics[name].value
        return [group for group, one in self.items() if _is_beyond(one.metrics[name], of_all, name)]

    def to_dict(self) -> Document:
        """As a JSON object: slices as a list, each with its `segments`."""
        return {
            "by": list(self.by),
            "looks": self.looks,
            "level": self.level,
            "left_out": self.left_out,
            "read": self.read,
            "whole": self.whole.to_dict(),
            "slices": [{"segments": self.named(group), **one.to_dict()} for group, one in self.items()],
        }

    def to_frame(self, library: Library = "pandas") -> Any:
        """A table of this library, one row for each slice: its segments, and the columns of `tables.to_frame`.

        Raises:
            MissingExtraError: If narwhals or the library is not installed.
        """
        segments = {f"segments.{name}": ("any", [self.named(group).get(name) for group in self]) for name in self.by}
        return frame_of({**segments, **shown.performances_columns(list(self.values()))}, library)

    def __str__(self) -> str:
        return shown.slices_line(self)

    def _repr_html_(self) -> str:
        return shown.slices_html(self)

    def named(self, group: Group) -> Document:
        """The values of a group under the names of their segments."""
        return dict(zip(self.by, group if isinstance(group, tuple) else (group,), strict=True))


def _is_beyond(metric: Metric, of_all: float | None, name: str) -> bool:
    if of_all is None or metric.low is None or metric.high is None:
        return False
    return metric.high < of_all if name in LOW_IS_BAD else metric.low > of_all


def check_sided(name: str) -> None:
    """Refuse a metric of which neither the low nor the high side is the bad one."""
    if name not in LOW_IS_BAD | HIGH_IS_BAD:
        known = ", ".join(one for one in METRIC_NAMES if one in LOW_IS_BAD | HIGH_IS_BAD)
        raise InvalidQueryError(f"{name!r} has no worse side; these have: {known}")


def check_worst(worst: Any) -> None:
    """Refuse anything but None or a number of slices."""
    if worst is not None and (type(worst) is not int or worst < 1):
        raise InvalidQueryError(f"worst is a number of slices, got {worst!r:.80}")


def check_without_by(worst: Any) -> None:
    """Refuse `worst` where nothing is told apart."""
    if worst is not None:
        raise InvalidQueryError("worst is of slices: name their segment by=")


def slices(
    request: WindowRequest, measures: Measures, by: By, worst: int | None = None, worst_by: str = "accuracy"
) -> Plan[Slices]:
    """Measure one window, told apart by segments, from one tally."""
    check_worst(worst)
    check_sided(worst_by)
    if worst is not None:
        measures = measures.with_names({worst_by})
    names = by_of(by)
    window = yield from request.resolve()
    tally, unavailable = yield from measures.tally(window, by=names)
    found = sliced(measures, tally, window, names, unavailable)
    return found if worst is None else worst_of(found, worst, worst_by)


def by_of(by: By) -> tuple[str, ...]:
    """The names of segments of a `by`. Raises `InvalidQueryError` for none."""
    if not (names := check_by(by)):
        raise InvalidQueryError("by names one segment, or two; got none")
    return names


def sliced(
    measures: Measures, tally: Tally, window: Window, names: Sequence[str], unavailable: Mapping[str, str]
) -> Slices:
    """The slices that a tally by segments comes to."""
    parts = apart(tally)
    looks = sum(is_labelled(part) for part in parts.values())
    adjusted = measures.adjusted(looks)
    return Slices(
        tuple(names),
        {
            key_of(group): adjusted.of(part, narrowed(window, names, group), unavailable)
            for group, part in parts.items()
        },
        measures.of(together(tally), window, unavailable),
        looks,
        adjusted.level,
    )


def worst_of(found: Slices, worst: int, name: str) -> Slices:
    """The slices that are worst for sure first: by the upper bound where low is bad, by the lower one where high is.

    A metric without an interval goes by its value. Slices without a value come last.
    """

    def order(one: tuple[Group, Performance]) -> tuple[Any, ...]:
        metric = one[1].metrics[name]
        if metric.value is None:
            return (1, 0.0, 0.0, 0)
        if name in LOW_IS_BAD:
            return (0, metric.value if metric.high is None else metric.high, metric.value, -metric.n)
        return (0, -(metric.value if metric.low is None else metric.low), -metric.value, -metric.n)

    kept = dict(sorted(found.items(), key=order)[:worst])
    return attrs.evolve(found, performances=kept, left_out=len(found) - len(kept))


# Tallies by segments --------------------------------------------------------------------------------------------------


def apart(tally: Tally) -> dict[tuple[Any, ...], Tally]:
    """The tally of each group, in the order of the values."""
    split: dict[tuple[Any, ...], dict[CellKey, Moments]] = {}
    for key, moments in tally.cells.items():
        split.setdefault(key.segments, {})[key._replace(segments=())] = moments
    return {group: attrs.evolve(tally, cells=split[group]) for group in in_order(split)}


def in_order(groups: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Groups in the order of their values."""
    return sorted(groups, key=_order)


def together(tally: Tally) -> Tally:
    """The same predictions, not told apart."""
    cells = merge_cells((key._replace(segments=()), moments) for key, moments in tally.cells.items())
    return attrs.evolve(tally, cells=levelled(cells))


def is_labelled(tally: Tally) -> bool:
    """Whether any prediction has its outcome."""
    return any(key.actual is not None for key in tally.cells)


def _order(group: Iterable[SegmentValue]) -> tuple[tuple[Any, ...], ...]:
    """Values in their order, numbers before texts, and behind them the predictions without the name."""
    return tuple((value is None, isinstance(value, str), 0 if value is None else value) for value in group)


def key_of(group: tuple[SegmentValue, ...]) -> Group:
    """A group as a caller knows it: the value of one segment, or those of two."""
    return group[0] if len(group) == 1 else group


def narrowed(window: Window, names: Sequence[str], group: Sequence[Any]) -> Window:
    """The window of one slice."""
    return attrs.evolve(window, where={**window.where, **dict(zip(names, group, strict=True))})
