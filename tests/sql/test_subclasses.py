"""Values of classes that only derive from what f1mon takes: kept is what they hold, in every database the same."""

import enum
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest

from f1mon_core.errors import InvalidQueryError, InvalidRecordError
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import SQLStorage

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

AT = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class Team(str, enum.Enum):  # noqa: UP042 - as older programs spell it
    RED = "red"


class Place(enum.IntEnum):
    FIRST = 1


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return "NUL: \0"


class Vast(int):
    def __int__(self):
        return 1 << 70

    __index__ = __int__


class Late(datetime):
    def __sub__(self, other):
        return timedelta(days=400 * 365)


def given(**fields):
    usual = {"prediction_id": "a", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5, "at": AT}
    return Prediction(**usual | fields)


VALUES = {
    "prediction_id": [(Team.RED, "red"), (Loud("b"), "b"), (np.str_("c"), "c")],
    "model_version": [(Team.RED, "red"), (Loud("b"), "b"), (np.str_("c"), "c")],
    "predicted_outcome": [(Place.FIRST, 1), (Vast(3), 3), (Team.RED, "red"), (np.int64(4), 4), (np.str_("c"), "c")],
    "confidence": [(np.float64(0.25), 0.25), (np.float32(0.25), 0.25)],
    "at": [
        (pd.Timestamp(AT), AT),
        (pd.Timestamp(AT.astimezone(timezone(timedelta(hours=5)))), AT),
        (Late(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC), AT),
    ],
    "features": [({Team.RED: Place.FIRST, "b": Loud("c")}, {"red": 1, "b": "c"})],
    "segments": [({Team.RED: Team.RED, "n": Place.FIRST}, {"red": "red", "n": 1})],
}


@pytest.mark.parametrize("field", VALUES)
def test_what_is_kept_is_what_they_hold(url, field):
    with closing(SQLStorage(url)) as store:
        for number, (offered, expected) in enumerate(VALUES[field]):
            name = "a" if field == "prediction_id" else f"{number}"
            made = given(**{"prediction_id": name, field: offered})
            assert store.append([made]).new == 1
            plain = given(**{"prediction_id": name, field: expected})
            assert store.append([plain]).repeated == 1
            (found,) = store.find(Select("prediction", where={"prediction_id": plain.prediction_id}))
            kept = getattr(found, field)
            assert (kept, type(kept)) == (expected, type(expected))


def test_they_may_be_asked_by(url):
    with closing(SQLStorage(url)) as store:
        store.append([given(prediction_id="red", model_version="red", predicted_outcome=1, at=AT)])
        for where in (
            {"prediction_id": Team.RED},
            {"predicted_outcome": Place.FIRST},
            {"predicted_outcome": np.int64(1)},
        ):
            assert len(store.find(Select("prediction", where=where))) == 1
        assert len(store.find(Select("prediction", where={"predicted_outcome": pd.Series([1, 2])}))) == 1
        assert len(store.find(Select("prediction", pd.Timestamp(AT), pd.Timestamp(AT) + pd.Timedelta("1h")))) == 1
        tally = store.tally(TallyQuery(since=pd.Timestamp(AT), bucket=pd.Timedelta("1h")))
        assert [moments.n for moments in tally.cells.values()] == [1]


@pytest.mark.parametrize("value", [pd.NaT, pd.NA, np.datetime64("NaT", "s"), pd.Timestamp("2026-01-01")])
def test_what_is_no_time_is_refused_at_every_door(value):
    with Monitor.open("memory://") as monitor:
        with pytest.raises(InvalidRecordError):
            given(at=value)
        with pytest.raises(InvalidQueryError):
            monitor.performance(as_of=value)
        with pytest.raises(InvalidQueryError):
            list(monitor.predictions(since=value))
        with pytest.raises(InvalidQueryError):
            monitor.prune(value)


@pytest.mark.parametrize("where", [{"prediction_id": b"a"}, {"prediction_id": 1.0}, {"predicted_outcome": [[1]]}, 5])
def test_what_no_attribute_can_be_is_refused(where):
    with pytest.raises(InvalidQueryError):
        Select("prediction", where=where)


ENDS = [datetime.max.replace(tzinfo=UTC), pd.Timestamp.max.tz_localize(UTC)]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ["as_of", "as_recorded", "until"])
def test_the_ends_of_the_calendar_are_times(name, end):
    with Monitor.open("memory://") as monitor:
        monitor.record_prediction("a", "m", 1, 0.5, at=AT)
        monitor.record_outcome("a", 1, known_at=AT)
        far = {name: end, "last": timedelta(days=3_600_000)}
        assert monitor.performance(**far).accuracy.n == 1
        assert monitor.performance(**{name: end}, basis="matured", horizon=timedelta.max) is not None
        assert monitor.label_delay(**far) is not None
        assert monitor.capture_health(**far, model_version="m") is not None
