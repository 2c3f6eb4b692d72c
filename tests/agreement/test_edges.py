"""Confidences on and beside the edges of bins land alike in every backend."""

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from f1mon_core.storage.tally import TallyQuery

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EDGES = [0.0, 0.1, 0.3, 0.7, math.nextafter(0.7, 0), math.nextafter(0.7, 1), 1.0, math.nextafter(1.0, 0), 0.29, 5e-324]
BINS = [1, 3, 7, 10, 49, 100, 1_000, 10_000]


def bins_that_hold(confidence, bins):
    """The bins whose edges, as doubles, lie around a confidence: looked for one by one, not computed."""
    return [
        i
        for i in range(bins)
        if i / bins <= confidence and (confidence < (i + 1) / bins or (i == bins - 1 and confidence == 1))
    ]


@pytest.mark.parametrize("bins", BINS)
def test_each_edge_is_in_the_one_bin_that_holds_it(monitor, bins):
    edges = sorted({*EDGES, *(i / bins for i in range(0, bins + 1, max(1, bins // 50)))})
    monitor.record_predictions(
        {"prediction_id": str(i), "model_version": f"m{i}", "predicted_outcome": 1, "confidence": edge, "at": NOON}
        for i, edge in enumerate(edges)
    )
    cells = monitor.storage.tally(TallyQuery(bins=bins)).cells
    assert {key.model_version: [key.bin] for key in cells} == {
        f"m{i}": bins_that_hold(edge, bins) for i, edge in enumerate(edges)
    }
    for key, moments in cells.items():
        edge = edges[int(key.model_version[1:])]
        deviation = Fraction(edge) - Fraction(2 * key.bin + 1, 2 * bins)
        assert moments[:3] == (1, edge, edge)
        assert moments[3:] == pytest.approx((float(deviation), float(deviation**2)), rel=1e-9, abs=1e-16)


def test_the_named_edges_in_ten_bins(monitor):
    monitor.record_predictions(
        {"prediction_id": str(i), "model_version": "m", "predicted_outcome": i, "confidence": edge, "at": NOON}
        for i, edge in enumerate([0.0, 0.1, 0.3, 0.7, math.nextafter(0.7, 1), math.nextafter(0.7, 0), 1.0])
    )
    cells = monitor.storage.tally(TallyQuery()).cells
    assert {key.predicted: key.bin for key in cells} == {0: 0, 1: 1, 2: 3, 3: 7, 4: 7, 5: 6, 6: 9}
