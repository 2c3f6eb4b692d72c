"""Cells and tallies: the pushed-down arithmetic every windowed metric is a pure function of.

A tally adds: counts, minima and maxima exactly, sums up to rounding. That law makes roll-ups and sharding possible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.records import fields
from f1mon_core.records.times import EPOCH, LATEST, duration_micros, from_micros, to_micros

Bins: TypeAlias = int | Literal["exact"]
Basis: TypeAlias = Literal["prediction", "outcome"]

MAX_BINS = 10_000
BUCKET_ORIGIN = EPOCH - timedelta(days=3)
"""Time buckets are counted from Monday 1969-12-29, so that weeks start on Monday and hours and days at UTC's."""

KEPT_BINS = 10
KEPT_BUCKET = timedelta(hours=1)
"""Pruned predictions leave cells of this resolution behind."""


class CellKey(NamedTuple):
    """What the predictions of one cell share.

    Attributes:
        actual: The current outcome, None where it is not known.
        bin: The confidence bin's index, or the confidence itself in an `"exact"` tally.
        bucket: Microseconds since 1970 at which the time bucket starts; None in a tally without buckets.
        delay: Whole units between the prediction and its first outcome; None without an outcome or a unit.
    """

    model_version: str
    predicted: int
    actual: int | None
    bin: int | float
    bucket: int | None = None
    delay: int | None = None


class Moments(NamedTuple):
    """The confidences of one cell.

    Attributes:
        n: How many there are.
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
        return Tally(self.bins, merge_cells([*self.cells.items(), *other.cells.items()]))

    @property
    def count(self) -> int:
        """How many predictions were counted."""
        return sum(cell.n for cell in self.cells.values())

    @property
    def models(self) -> set[str]:
        """Whose predictions were counted."""
        return {key.model_version for key in self.cells}


@attrs.frozen(kw_only=True)
class TallyQuery:
    """Which predictions to count, and into which cells.

    Attributes:
        model_version: One model's predictions; None for all.
        since, until: The half-open window `[since, until)`; None is unbounded.
        basis: Whose time falls into the window and its buckets: "prediction" the prediction's own, "outcome" the
            first known_at of its outcome (predictions without an outcome are then not counted).
        as_of: Only what was knowable then: predictions made and outcomes known at or before it.
        as_recorded: Only what the store held then: predictions and outcomes recorded at or before it.
        bins: Equal-width bins `[i/n, (i+1)/n)`, the last one closed; or "exact", a cell per distinct confidence.
        bucket: Width of the time buckets cells are split by; None for one.
        delay: Unit of the label delay cells are split by; None for no split.
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

    def __attrs_post_init__(self) -> None:
        check_bins(self.bins)
        if self.basis not in ("prediction", "outcome"):
            raise InvalidQueryError(f"basis must be 'prediction' or 'outcome', got {self.basis!r}")
        for name in ("since", "until", "as_of", "as_recorded"):
            check_instant(name, getattr(self, name))
        if self.model_version is not None:
            check_id("model_version", self.model_version)
        for name in ("bucket", "delay"):
            if (width := getattr(self, name)) is not None:
                check_width(name, width)


def check_bins(bins: object) -> None:
    """Refuse anything but "exact" or a number of bins from 1 to `MAX_BINS`."""
    if bins == "exact" or (type(bins) is int and 1 <= bins <= MAX_BINS):
        return
    raise InvalidQueryError(f"bins must be 'exact' or an int from 1 to {MAX_BINS}, got {bins!r}")


def check_width(name: str, width: Any) -> None:
    """Refuse anything but a positive timedelta that a store's calendar can hold."""
    if not isinstance(width, timedelta) or not timedelta(0) < width <= LATEST - EPOCH:
        raise InvalidQueryError(f"{name} must be a positive timedelta of less than 8,030 years, got {width!r:.80}")


def check_instant(name: str, value: Any) -> None:
    """Refuse anything but None or a datetime a store can hold."""
    _as_query(name, value, fields.instant)


def check_id(name: str, value: Any) -> None:
    """Refuse anything but None or an identifier a store can hold."""
    _as_query(name, value, fields.identifier)


def _as_query(name: str, value: Any, check: Any) -> None:
    if value is not None:
        try:
            check(value, name)
        except InvalidRecordError as error:
            raise InvalidQueryError(str(error)) from error


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
    grouped: dict[CellKey, list[Moments]] = {}
    for key, moments in cells:
        grouped.setdefault(key, []).append(moments)
    return {key: parts[0] if len(parts) == 1 else _merged(parts) for key, parts in grouped.items()}


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
