"""Tables of performances: nulls, never NaN."""

import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from f1mon_core import MissingExtraError
from f1mon_core.monitor import Monitor

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def trend():
    with Monitor.open("memory", clock=lambda: MONDAY) as monitor:
        for day in (0, 2):
            monitor.record_prediction(str(day), "m", 1, 0.75, at=MONDAY + day * DAY)
        monitor.record_outcome("0", 1)
        yield monitor.trend("m", every="day")


def test_pandas_has_a_row_for_each_bucket(trend):
    frame = trend.to_pandas()
    assert list(frame["since"]) == [pd.Timestamp(MONDAY + day * DAY) for day in range(3)]
    assert list(frame["total"]) == [1, 0, 1]
    assert frame["accuracy"].dtype == pd.Float64Dtype()
    assert frame["accuracy"].iloc[0] == 1.0
    assert frame["accuracy"].iloc[1] is pd.NA
    assert frame["accuracy_reason"].iloc[2] == "no labelled predictions"


def test_arrow_has_nulls_where_there_is_no_value(trend):
    table = trend.to_arrow()
    assert isinstance(table, pa.Table)
    assert table["accuracy"].to_pylist() == [1.0, None, None]
    assert table["since"].type == pa.timestamp("us", "UTC")
    assert table["total"].to_pylist() == [1, 0, 1]


def test_an_empty_trend_is_an_empty_table(trend):
    assert type(trend)().to_pandas().empty
    assert type(trend)().to_arrow().num_rows == 0


def test_without_the_extra_the_error_says_what_to_install(trend, monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'f1mon\[pandas\]'"):
        trend.to_pandas()
