"""What a feature held in some predictions, as drift is computed from it: numbers by rank, categories by count.

Both are small where they are kept, and add: a number's ranks stay bounds that hold whatever was left out or merged.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs

from f1mon_core.errors import CorruptStoreError, InvalidRecordError
from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import canonical

Sort: TypeAlias = Literal["number", "category"]

KEPT_CATEGORIES = 256
"""So many categories of a kept sample have a count of their own; the others are counted together."""

_LONGEST = 120
_DIGEST = 16


@attrs.frozen
class Numbers:
    """Numbers by rank.

    Attributes:
        points: Distinct values, ascending; the least and the greatest are among them.
        below: For each point, at most so many of the numbers are less than it.
        upto: For each point, at least so many are less than or equal to it.
        n: How many numbers there are.
        missing: How many values were missing, or were no number.
    """

    points: Sequence[float]
    below: Sequence[int]
    upto: Sequence[int]
    n: int
    missing: int = 0

    sort: Sort = "number"

    @classmethod
    def of(cls, values: Iterable[float], missing: int = 0) -> Numbers:
        """Of all these numbers, exactly."""
        ordered = sorted(values)
        points, below, upto = array("d"), array("q"), array("q")
        for rank, value in enumerate(ordered):
            if points and points[-1] == value:
                upto[-1] = rank + 1
            else:
                points.append(value)
                below.append(rank)
                upto.append(rank + 1)
        return cls(points, below, upto, len(ordered), missing)

    @property
    def is_exact(self) -> bool:
        """Whether every number is one of the points."""
        return all(start == end for start, end in zip(self.below, (0, *self.upto), strict=False))

    @property
    def counts(self) -> list[int]:
        """How many numbers each point stands for: those behind the point before, up to it."""
        return [end - start for start, end in zip((0, *self.upto), self.upto, strict=False)]

    def at_most(self, value: float) -> int:
        """At least so many of the numbers are less than or equal to a value."""
        place = bisect_right(self.points, value)
        return self.upto[place - 1] if place else 0

    def less(self, value: float) -> int:
        """At most so many of the numbers are less than a value."""
        place = bisect_left(self.points, value)
        return self.below[place] if place < len(self.points) else self.n

    def less_at_least(self, value: float) -> int:
        """At least so many of the numbers are less than a value."""
        place = bisect_left(self.points, value)
        return self.upto[place - 1] if place else 0

    def less_or_equal(self, value: float) -> int:
        """At most so many of the numbers are less than or equal to a value."""
        place = bisect_right(self.points, value)
        return self.below[place] if place < len(self.points) else self.n

    def quantile(self, share: float) -> float:
        """The least point that so great a share of the numbers does not exceed."""
        return self.points[min(bisect_left(self.upto, share * self.n), len(self.points) - 1)]

    def __add__(self, other: Numbers) -> Numbers:
        points = sorted({*self.points, *other.points})
        return Numbers(
            points,
            [self.less(one) + other.less(one) for one in points],
            [self.at_most(one) + other.at_most(one) for one in points],
            self.n + other.n,
            self.missing + other.missing,
        )

    def kept(self, points: int) -> Numbers:
        """The same by at most so many points, of equal shares of the numbers; at least 2.

        A rank is then known to about n / points: the numbers that lie between two points that were neighbours.
        """
        if len(self.points) <= points:
            return self
        wanted = (self.n * step / (points - 1) for step in range(1, points))
        places = sorted({0, len(self.points) - 1, *(bisect_left(self.upto, rank) for rank in wanted)})
        places = [place for place in places if place < len(self.points)][:points]
        return attrs.evolve(
            self,
            points=[self.points[place] for place in places],
            below=[self.below[place] for place in places],
            upto=[self.upto[place] for place in places],
        )

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {
            "sort": self.sort,
            "n": self.n,
            "missing": self.missing,
            "points": list(self.points),
            "below": list(self.below),
            "upto": list(self.upto),
        }


@attrs.frozen
class Categories:
    """Categories by count.

    Attributes:
        counts: The canonical JSON of a value to how often it occurred; of a long one its beginning and a digest.
        rest: How many values were of other categories.
        missing: How many were missing.
    """

    counts: Mapping[str, int]
    rest: int = 0
    missing: int = 0

    sort: Sort = "category"

    @property
    def n(self) -> int:
        """How many values there are."""
        return sum(self.counts.values()) + self.rest

    def __add__(self, other: Categories) -> Categories:
        counts = Counter(self.counts) + Counter(other.counts)
        return Categories(dict(counts), self.rest + other.rest, self.missing + other.missing)

    def kept(self, categories: int = KEPT_CATEGORIES) -> Categories:
        """The same with a count of their own for the most frequent categories only."""
        order = sorted(self.counts, key=lambda one: (-self.counts[one], one))
        rest = self.rest + sum(self.counts[one] for one in order[categories:])
        return attrs.evolve(self, counts={one: self.counts[one] for one in order[:categories]}, rest=rest)

    def to_dict(self) -> Document:
        """As a JSON object."""
        return {"sort": self.sort, "counts": dict(self.counts), "rest": self.rest, "missing": self.missing}


Sample: TypeAlias = Numbers | Categories


def from_dict(kept: Any) -> Sample:
    """The sample that `to_dict` wrote. Raises `CorruptStoreError` for anything else."""
    try:
        if kept["sort"] == "number":
            points, below, upto = (cast("Sequence[Any]", kept[name]) for name in ("points", "below", "upto"))
            if len(points) == len(below) == len(upto) > 0 or not kept["n"]:
                return Numbers(points, below, upto, kept["n"], kept["missing"])
        elif kept["sort"] == "category":
            return Categories(dict(kept["counts"]), kept["rest"], kept["missing"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptStoreError("a reference sample cannot be read: record it again") from error
    raise CorruptStoreError("a reference sample is of no known sort: record it again")


# Gathering ------------------------------------------------------------------------------------------------------------


@attrs.define
class Gathered:
    """The values of one feature, as they come.

    Attributes:
        numbers: Those that are numbers; a bool is none.
        categories: The texts and bools, by their canonical JSON.
        other: How many were lists or objects.
    """

    numbers: array[float] = attrs.field(factory=lambda: array("d"))
    categories: Counter[str] = attrs.field(factory=Counter)
    other: int = 0

    def take(self, value: Any) -> None:
        """One value as features hold it: JSON; null is left to `sample`."""
        if isinstance(value, bool | str):
            self.categories[_category(value)] += 1
        elif isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                self.numbers.append(number)
        elif value is not None:
            self.other += 1

    @property
    def sort(self) -> Sort | None:
        """What it is: numbers where more than half of its values are; None where there are lists or objects alone."""
        texts = self.categories.total()
        if not texts and not self.numbers:
            return None
        return "number" if len(self.numbers) > texts else "category"

    def sample(self, sort: Sort, total: int) -> Sample:
        """As a sample of a sort, out of so many predictions; what is missing or of another sort counts as missing."""
        if sort == "number":
            return Numbers.of(self.numbers, total - len(self.numbers))
        counts = Counter(self.categories)
        for number, count in Counter(self.numbers).items():
            counts[_category(int(number) if number.is_integer() else number)] += count
        return Categories(dict(counts), 0, total - counts.total())


def _category(value: Any) -> str:
    text = canonical(value)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{text[: _LONGEST - _DIGEST]}…{digest}"


def gathered(columns: Mapping[str, Iterable[Any]]) -> tuple[dict[str, Gathered], int]:
    """The features of columns of equal length, and that length. Raises `InvalidRecordError` where they differ."""
    found: dict[str, Gathered] = {}
    lengths: dict[str, int] = {}
    for name, cells in columns.items():
        into = found[name] = Gathered()
        for lengths[name], cell in enumerate(cells, 1):
            into.take(cell)
        lengths.setdefault(name, 0)
    if len(set(lengths.values())) > 1:
        raise InvalidRecordError("sample", lengths, "must have columns of one length")
    return found, max(lengths.values(), default=0)
