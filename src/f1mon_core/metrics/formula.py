"""How a metric is registered: its formula under its name, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from f1mon_core.metrics.metric import Metric

Cells: TypeAlias = Literal["any", "binned", "exact"]

Labels: TypeAlias = Literal["none", "compared", "positive"]

FormulaT = TypeVar("FormulaT", bound=Callable[..., Metric])


@attrs.frozen
class Formula:
    """How a metric is computed.

    Attributes:
        of: The metric of a measurement, under the name given.
        cells: What it needs: cells of any bins, of the number of bins asked for, or one per distinct confidence.
        labels: What it needs of labels: none, that they can be compared, or a positive class among them too.
    """

    of: Callable[[Any, str], Metric]
    cells: Cells = "any"
    labels: Labels = "compared"


FORMULAS: dict[str, Formula] = {}
"""Every metric by its name, in the order of tables."""


def formula(*names: str, cells: Cells = "any", labels: Labels = "compared") -> Callable[[FormulaT], FormulaT]:
    """Register a method of `Measurement` as the formula of these metrics."""

    def register(method: FormulaT) -> FormulaT:
        FORMULAS.update(dict.fromkeys(names, Formula(method, cells, labels)))
        return method

    return register
