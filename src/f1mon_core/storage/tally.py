"""Cells and tallies: the pushed-down arithmetic every windowed metric is a pure function of.

A tally adds: counts, minima and maxima exactly, sums up to rounding. That law makes roll-ups and sharding possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import attrs

from f1mon_core.errors import InvalidQueryError, InvalidRecordError, shown
from f1mon_core.records import fields
from f1mon_core.records.times import EPOCH, LATEST, duration_micros, from_micros, to_micros
from f1mon_core.text import is_one_of

Bins: TypeAlias = int | Literal["exact"]
Basis: TypeAlias = Literal["prediction", "outcome"]

SegmentChoice: TypeAlias = int | str | tuple[int | str | None, ...] | None
T = TypeVar("T")

MAX_BINS = 10_000
MAX_SEGMENTS_BY = 2
MAX_GROUPS = 10_000
"""A tally by segments answers at most so many groups."""
BUCKET_ORIGIN = EPOCH - timedelta(days=3)
"""Time buckets are counted from Monday 1969-12-29, so that weeks start on Monday and hours and days at UTC's."""

KEPT_BINS = 10
KEPT_BUCKET = timedelta(hours=1)
KEPT_SEGMENT_BUCKET = timedelta(days=1)
"""Pruned predictions leave cells of this resolution behind: all of them by the hour, each segment by the day."""
KEPT_VALUES = 256
"""A segment with more values than this, of one model in one prune, leaves none."""


class CellKey(NamedTuple):
    """What the predictions of one cell share.

    Attributes:
        actual: The current outcome, None where it is not known.
        bin: The confidence bin's index, or the confidence itself in an `"exact"` tally.
        bucket: Microseconds since 1970 at which the time bucket starts; None in a tally without buckets.
        delay: Whole units between the prediction and its first outcome; None without an outcome or a unit.
        segments: The value of each segment named in the query's `by`, in its order; None for predictions without it.
            With `beside`, behind them the other model's predicted class.
    """

    model_version: str
    predicted: int | str
    actual: int | str | None
    bin: int | float
    bucket: int | None = None
    delay: int | None = None
    segments: tuple[int | str | None, ...] = ()


class Moments(NamedTuple):
    """The confidences of one cell.

    Attributes:
        n: How many there are.
        minimum, maximum: The extremes of all predictions of the same model, predicted class, bin, bucket and segments,
            whatever their outcome and its delay: no roll-up could tell those of the unlabelled ones apart.
        total: Sum of the deviations from the bin's midpoint (0.0 in an exact tally).
        squares: Sum of the squared deviations from the bin's midpoint.
    """

    n: int
    minimum: float
    maximum: float
    total: float
    squares: float

    def __add__(self, other: Moments) -> Moments:  # type: ignore[override]
        return Moments(
            self.n + other.n,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares,
        )


@attrs.frozen
class Tally:
    """Cells under one set of bins.

    Attributes:
        bins: The number of equal-width confidence bins, or "exact".
        cells: The non-empty cells.
    """

    bins: Bins
    cells: Mapping[CellKey, Moments] = attrs.field(factory=dict)

    def __add__(self, other: Tally) -> Tally:
        if self.bins != other.bins:
            raise InvalidQueryError(f"tallies of {self.bins} and {other.bins} bins do not add")
        return Tally(self.bins, levelled(merge_cells([*self.cells.items(), *other.cells.items()])))

    @property
    def count(self) -> int:
        """How many predictions were counted."""
        return sum(cell.n for cell in self.cells.values())

    @property
    def models(self) -> set[str]:
        """Whose predictions were counted."""
        return {key.model_version for key in self.cells}


def _names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InvalidQueryError(f"by must be a sequence of segment names, got {shown(names)}")
    checked = tuple(_checked(name, "by", fields.segment_name) for name in names[: MAX_SEGMENTS_BY + 1])
    if len(checked) > MAX_SEGMENTS_BY or len(set(checked)) < len(checked):
        raise InvalidQueryError(f"by takes at most {MAX_SEGMENTS_BY} different segment names, got {shown(names)}")
    return checked


def _where(where: Any) -> dict[str, SegmentChoice]:
    """A copy of the conditions, each a value or a tuple of values as they are stored."""
    if not isinstance(where, Mapping):
        raise InvalidQueryError(f"where must be a mapping of segment names to values, got {shown(where)}")
    return {_checked(name, "where", fields.segment_name): _choice(name, wanted) for name, wanted in where.items()}


def check_where(where: Any) -> dict[str, SegmentChoice]:
    """The conditions of a `where`, each a value or a tuple of values as they are stored; none for None.

    Raises:
        InvalidQueryError: If it is no mapping of segment names to values they can have.
    """
    return {} if where is None else _where(where)


def check_by(by: Any) -> tuple[str, ...]:
    """The names of segments to split by, of one name or a sequence of at most two; none for None.

    Raises:
        InvalidQueryError: If there are more, or one that no segment can have.
    """
    return () if by is None else _names((by,) if isinstance(by, str) else by)


def chosen(where: Mapping[str, SegmentChoice], segments: Mapping[str, Any]) -> bool:
    """Whether segments have the values that a `where` wants; values compare with their type."""
    for name, wanted in where.items():
        value = segments.get(name)
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(type(choice) is type(value) and choice == value for choice in choices):
            return False
    return True


def _choice(name: str, wanted: Any) -> SegmentChoice:
    if wanted is None or isinstance(wanted, str) or not isinstance(wanted, Iterable):
        return _one_choice(name, wanted)
    return tuple(_one_choice(name, one) for one in wanted)


def _one_choice(name: str, value: Any) -> int | str | None:
    return None if value is None else _checked(value, f"where.{name}", fields.segment_value)


def _checked(value: Any, name: str, check: Callable[[Any, str], T]) -> T:
    try:
        return check(value, name)
    except InvalidRecordError as error:
        raise InvalidQueryError(str(error)) from error


@attrs.frozen(kw_only=True)
class TallyQuery:
    """Which predictions to count, and into which cells.

    Attributes:
        model_version: One model's predictions; None for all.
        since, until: The half-open window `[since, until)`; None is unbounded.
        basis: Whose time falls into the window and its buckets: "prediction" the prediction's own, "outcome" the
            later of its own and the first known_at of its item's outcome (predictions without an outcome are then not
            counted; one made after its item was labelled was not wrong before it was made).
        as_of: Only what was knowable then: predictions made and outcomes known at or before it.
        as_recorded: Only what the store held then: predictions and outcomes recorded at or before it.
        bins: Equal-width bins `[i/n, (i+1)/n)`, the last one closed; or "exact", a cell per distinct confidence.
        bucket: Width of the time buckets cells are split by; None for one.
        delay: Unit of the label delay cells are split by; None for no split.
        by: At most two names of segments that cells are split by.
        where: Segment name to the value it has, or to a collection of values it may have; None is a prediction without
            the name. Values compare with their type. An empty collection selects nothing.
        beside: Another model: counted are the items that both predicted, each in the cell of the `model_version` asked
            for, and a cell's `segments` end with what the other model answered. An item stands at the earlier of the
            two predictions. A store that does not know it splits by `by` alone, so its cells show that.
    """

    model_version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    basis: Basis = "prediction"
    as_of: datetime | None = None
    as_recorded: datetime | None = None
    bins: Bins = 10
    bucket: timedelta | None = None
    delay: timedelta | None = None
    by: tuple[str, ...] = attrs.field(default=(), converter=_names)
    where: Mapping[str, SegmentChoice] = attrs.field(factory=dict, converter=_where)
    beside: str | None = None

    def __attrs_post_init__(self) -> None:
        check_bins(self.bins)
        if not is_one_of(self.basis, ("prediction", "outcome")):
            raise InvalidQueryError(f"basis must be 'prediction' or 'outcome', got {shown(self.basis)}")
        for name in ("since", "until", "as_of", "as_recorded"):
            take_instant(self, name)
        if self.model_version is not None:
            check_id("model_version", self.model_version)
        for name in ("bucket", "delay"):
            if (width := getattr(self, name)) is not None:
                width = plain_duration(width)
                check_width(name, width)
                object.__setattr__(self, name, width)
        if self.beside is not None:
            self._check_beside(self.beside)

    def _check_beside(self, other: str) -> None:
        check_id("beside", other)
        if self.model_version is None or other == self.model_version:
            raise InvalidQueryError(f"beside is another model than model_version, got {other!r:.80} twice or alone")
        if self.basis != "prediction":
            raise InvalidQueryError(f"beside counts items by prediction time, got basis={self.basis!r}")


def check_bins(bins: object, name: str = "bins") -> None:
    """Refuse anything but "exact" or a number of bins from 1 to `MAX_BINS`."""
    if (isinstance(bins, str) and bins == "exact") or (type(bins) is int and 1 <= bins <= MAX_BINS):
        return
    raise InvalidQueryError(f"{name} must be 'exact' or an int from 1 to {MAX_BINS}, got {shown(bins)}")


def plain_duration(value: Any) -> Any:
    """A timedelta of a subclass, such as pandas', as one of the standard library's; all else as it is."""
    if type(value) is timedelta or not isinstance(value, timedelta):
        return value
    return timedelta(value.days, value.seconds, value.microseconds)


def check_width(name: str, width: Any) -> None:
    """Refuse anything but a positive timedelta that a store's calendar can hold."""
    if not isinstance(width, timedelta) or not timedelta(0) < width <= LATEST - EPOCH:
        raise InvalidQueryError(f"{name} must be a positive timedelta of less than 8,030 years, got {shown(width)}")


def check_collection(name: str, given: Any, of: str) -> list[Any]:
    """The items of a collection; text is none. Raises `InvalidQueryError`."""
    refusal = f"{name} must be a collection of {of}, got {shown(given)}"
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidQueryError(refusal)
    try:
        return list(given)
    except Exception as error:  # it claims to be iterable, and is not: an array without a dimension
        raise InvalidQueryError(refusal) from error


def check_instant(name: str, value: Any) -> None:
    """Refuse anything but None or a datetime a store can hold."""
    _as_query(name, value, fields.instant)


def take_instant(query: attrs.AttrsInstance, name: str) -> None:
    """Check an optional instant of a frozen query, and keep it as stores compare it: a plain datetime in UTC."""
    if (given := getattr(query, name)) is not None:
        object.__setattr__(query, name, _checked(given, name, fields.instant))


def check_id(name: str, value: Any) -> None:
    """Refuse anything but None or an identifier a store can hold."""
    _as_query(name, value, fields.identifier)


def check_text(name: str, value: Any) -> None:
    """Refuse anything but a str, of what is looked up and nowhere kept."""
    if _checked(value, name, fields.text).find("\0") >= 0:
        raise InvalidQueryError(f"{name} must not hold a NUL character, got {shown(value)}")


def check_flag(name: str, value: Any) -> bool:
    """A bool, numpy's too. Raises `InvalidQueryError` for anything else."""
    return _checked(value, name, fields.flag)


def _as_query(name: str, value: Any, check: Callable[[Any, str], object]) -> None:
    if value is not None:
        _checked(value, name, check)


def bin_of(confidence: float, bins: Bins) -> int | float:
    """The bin of a confidence: i with i/n <= confidence < (i+1)/n as doubles, 1.0 in the last; or itself.

    Multiplying alone is not enough: 0.29 * 100 is 28.999999999999996, yet 0.29 is not below 29/100.
    """
    if bins == "exact":
        return confidence
    index = min(int(confidence * bins), bins - 1)
    if index + 1 < bins and confidence >= (index + 1) / bins:
        return index + 1
    if confidence < index / bins:
        return index - 1
    return index


def midpoint(bin: float, bins: Bins) -> float:  # noqa: A002 - the field's own word
    """The middle of a bin, from which deviations are taken; of an exact bin, its confidence."""
    return float(bin) if bins == "exact" else (2 * bin + 1) / (2 * bins)


def bucket_of(micros: int, width: timedelta | None) -> int | None:
    """The start, in microseconds since 1970, of the time bucket that holds an instant."""
    if width is None:
        return None
    origin = to_micros(BUCKET_ORIGIN)
    step = duration_micros(width)
    return (micros - origin) // step * step + origin


def moments_of(confidence: float, middle: float) -> Moments:
    """The moments of a single confidence."""
    deviation = confidence - middle
    return Moments(1, confidence, confidence, deviation, deviation * deviation)


def merge_cells(cells: Iterable[tuple[CellKey, Moments]]) -> dict[CellKey, Moments]:
    """Cells with the moments of equal keys added; sums are exact before one rounding (`math.fsum`)."""
    merged: dict[CellKey, Moments] = {}
    several: dict[CellKey, list[Moments]] = {}
    for key, moments in cells:
        if (first := merged.get(key)) is None:
            merged[key] = moments
        else:
            several.setdefault(key, [first]).append(moments)
    return {**merged, **{key: _merged(parts) for key, parts in several.items()}} if several else merged


def levelled(cells: Mapping[CellKey, Moments]) -> dict[CellKey, Moments]:
    """Cells with the extremes of all predictions that share everything but the outcome and its delay."""
    extremes: dict[tuple[Any, ...], tuple[float, float]] = {}
    alike = [(model, answer, place, bucket, group) for model, answer, _, place, bucket, _, group in cells]
    for shared, moments in zip(alike, cells.values(), strict=True):
        if (found := extremes.get(shared)) is None:
            extremes[shared] = moments[1:3]
        else:
            extremes[shared] = min(found[0], moments.minimum), max(found[1], moments.maximum)
    if len(extremes) == len(cells):
        return dict(cells)
    return {
        key: moments if moments[1:3] == (found := extremes[shared]) else Moments(moments.n, *found, *moments[3:])
        for shared, (key, moments) in zip(alike, cells.items(), strict=True)
    }


def answered(query: TallyQuery, cells: Iterable[tuple[CellKey, Moments]]) -> Tally:
    """The tally of a query from cells of every part it was answered from: added, and with common extremes.

    Raises:
        InvalidQueryError: If there are more than `MAX_GROUPS` groups of segments.
    """
    merged = merge_cells(cells)
    if query.by and (groups := len({key.segments for key in merged})) > MAX_GROUPS:
        raise InvalidQueryError(
            f"by {' and '.join(query.by)} makes {groups} groups, at most {MAX_GROUPS} are answered: "
            "select some by where=, or ask for a shorter window"
        )
    return Tally(query.bins, merged if query.bins == "exact" else levelled(merged))  # those of one confidence are level


def segments_of(query: TallyQuery, segments: Mapping[str, int | str]) -> tuple[int | str | None, ...] | None:
    """The group of a prediction with these segments; None if the query's `where` leaves it out."""
    return tuple(segments.get(name) for name in query.by) if chosen(query.where, segments) else None


def _merged(parts: list[Moments]) -> Moments:
    return Moments(
        sum(part.n for part in parts),
        min(part.minimum for part in parts),
        max(part.maximum for part in parts),
        math.fsum(part.total for part in parts),
        math.fsum(part.squares for part in parts),
    )


def bucket_start(key: CellKey) -> datetime | None:
    """The instant a cell's time bucket starts."""
    return None if key.bucket is None else from_micros(key.bucket)
