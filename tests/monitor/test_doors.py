"""Whatever is handed to any argument of any public method of a monitor: an answer, or an error of f1mon's."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest

from f1mon_core import AlertRule, HealthSnapshot, Monitor, Outcome, Prediction
from f1mon_core.errors import ConfigurationError, EvaluationError, F1monError, InvalidQueryError, NotFoundError
from f1mon_core.metrics.performance import PerformanceOptions
from f1mon_sql.connect.settings import Settings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Unequal:
    """Compares as a frame does: neither true nor false."""

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("the truth value of this is ambiguous")

    def __eq__(self, other: object) -> bool:
        return self  # type: ignore[return-value]


HOSTILE: Mapping[str, Any] = {
    "None": None,
    "True": True,
    "0": 0,
    "-1": -1,
    "1": 1,
    "10**30": 10**30,
    "1.5": 1.5,
    "nan": float("nan"),
    "-inf": float("-inf"),
    "Decimal NaN": Decimal("NaN"),
    "Decimal sNaN": Decimal("sNaN"),
    "Decimal 1e999": Decimal("1e999"),
    "Fraction": Fraction(1, 3),
    "complex": 1j,
    "''": "",
    "'x'": "x",
    "NUL": "a\0b",
    "surrogate": "\ud800",
    "300 characters": "x" * 300,
    "5000 digits": 10**5000,
    "bytes": b"x",
    "[]": [],
    "[1]": [1],
    "[[]]": [[]],
    "[object]": [object()],
    "[NA]": [pd.NA],
    "{}": {},
    "{1: 2}": {1: 2},
    "{'a': NA}": {"a": pd.NA},
    "{'a': Series}": {"a": pd.Series([1, 2])},
    "{'a': unequal}": {"a": Unequal()},
    "set": {1, "x"},
    "object": object(),
    "a class": dict,
    "a function": lambda: None,
    "unequal": Unequal(),
    "naive": datetime(2026, 3, 1),  # noqa: DTZ001
    "year 1": datetime.min.replace(tzinfo=UTC),
    "year 1 east": datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    "year 9999": datetime.max.replace(tzinfo=UTC),
    "year 9999 west": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    "date": date(2026, 3, 1),
    "timedelta(0)": timedelta(0),
    "timedelta.max": timedelta.max,
    "timedelta.min": timedelta.min,
    "NA": pd.NA,
    "NaT": pd.NaT,
    "Series": pd.Series([1, 2]),
    "DataFrame": pd.DataFrame({"a": [1]}),
    "Timestamp": pd.Timestamp("2026-03-01"),
    "Timedelta": pd.Timedelta("1h"),
    "array": np.array([1, 2]),
    "array of text": np.array(["x", "y"]),
    "datetime64": np.datetime64("2026-03-01"),
    "float64": np.float64("nan"),
    "int64": np.int64(3),
    "bool_": np.bool_(True),
}

RULE = AlertRule("r", "accuracy", "threshold", 0.9, "<", "critical", "c", scope="rule")


def _event() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


BASES: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "acknowledge": lambda it: {"alert_id": it.alert, "by": "me"},
    "acknowledgements": lambda it: {"alert_ids": [it.alert]},
    "add_rule": lambda _: {"rule": RULE},
    "alert": lambda it: {"alert_id": it.alert},
    "analyze_degradation": lambda _: {"model_version": "m"},
    "capture_health": lambda _: {"model_version": "m"},
    "check_alert_rules": lambda _: {
        "metric_name": "accuracy", "value": 0.1, "component": "c", "model_version": "m",
    },
    "compare": lambda _: {"version_a": "m", "version_b": "n"},
    "create_alert": lambda _: {
        "severity": "info", "title": "t", "message": "m", "metric_name": "accuracy", "metric_value": 0.5,
        "threshold": 0.6, "component": "c", "model_version": "m",
    },
    "deliver_until": lambda _: {"stop": _event()},
    "delivered": lambda it: {"alert_ids": [it.alert]},
    "discard_dead_letters": lambda _: {"reason": "old"},
    "drift": lambda _: {"model_version": "m", "last": timedelta(days=1)},
    "estimate_accuracy": lambda _: {"model_version": "m", "horizon": timedelta(hours=1), "last": timedelta(hours=1)},
    "evaluate_rule": lambda _: {"rule": RULE, "value": 0.1, "model_version": "m"},
    "importance_trend": lambda _: {"model_version": "m", "feature": "f"},
    "latest_importances": lambda _: {"model_version": "m"},
    "lift_silence": lambda it: {"silence_id": it.silence},
    "prediction": lambda _: {"prediction_id": "p0"},
    "prune": lambda _: {"before": datetime(2020, 1, 1, tzinfo=UTC)},
    "record_drift": lambda _: {"result": 0.5, "model_version": "m", "feature": "f", "detected": True},
    "record_health": lambda it: {"snapshot": it.health},
    "record_importances": lambda _: {"model_version": "m", "importances": {"f": 0.5}},
    "record_metric": lambda _: {"model_version": "m", "metric_name": "rmse", "value": 0.5},
    "record_outcome": lambda _: {"prediction_id": "p0", "actual_outcome": 1},
    "record_prediction": lambda _: {
        "prediction_id": "p", "model_version": "m", "predicted_outcome": 1, "confidence": 0.5,
    },
    "record_reference": lambda _: {"model_version": "m", "sample": {"grid": [1, 2]}},
    "remove_reference": lambda _: {"model_version": "m"},
    "remove_rule": lambda _: {"rule_id": "r"},
    "resolve": lambda _: {"incident_id": "i", "reason": "over"},
    "retire": lambda _: {"model_version": "m"},
    "rule_revisions": lambda _: {"rule_id": "r"},
    "silence": lambda _: {"end": NOW + timedelta(hours=1)},
    "trend": lambda _: {"model_version": "m", "every": "day", "since": NOW, "until": NOW},
    "unretire": lambda _: {"model_version": "m"},
}  # fmt: skip
"""The arguments a method needs; a method without an entry needs none."""

ALSO = {
    "alert_ids": ("alert_id",),
    "version_a": ("model_version",),
    "url": ("address",),
    "path": ("could not",),
    "importances": ("importance", "feature"),
    "quantiles": ("quantile",),
}
"""How else an error may name an argument: by the field or the member that it is about."""

APART = {
    "close",
    "open",
    "record_predictions",  # of frames: tests/test_recording.py
    "record_outcomes",
}


class Seeded:
    """A monitor in memory with some of everything."""

    def __init__(self) -> None:
        self.monitor = monitor = Monitor.open("memory", clock=lambda: NOW)
        for number in range(4):
            at = NOW - timedelta(hours=30 - number)
            monitor.storage.append([Prediction(f"p{number}", "m", number % 2, 0.7, at=at)])
            monitor.storage.append([Outcome(f"p{number}", 1, at=at + timedelta(hours=2))])
        monitor.add_rule(RULE)
        alert = monitor.evaluate_rule("r", 0.1, "m")
        assert alert is not None
        self.alert = alert.alert_id
        self.silence = monitor.silence(NOW + timedelta(hours=1)).silence_id
        self.health: HealthSnapshot = monitor.capture_health("m")
        monitor.record_importances("m", {"f": 0.25})


def _methods() -> Iterator[str]:
    for name, _ in inspect.getmembers(Monitor, callable):
        if not name.startswith("_") and name not in APART:
            yield name


def _arguments(name: str) -> list[str]:
    found = []
    for parameter in inspect.signature(getattr(Monitor, name)).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found += list(PerformanceOptions.__annotations__)
        elif parameter.name != "self":
            found.append(parameter.name)
    return found


@pytest.mark.parametrize("name", list(_methods()))
def test_no_error_but_f1mons_own_escapes(name: str) -> None:
    """Each argument by itself with each hostile value."""
    escaped = []
    it = Seeded()
    for argument in _arguments(name):
        for told, value in HOSTILE.items():
            given = {**BASES.get(name, lambda _: {})(it), argument: value}
            try:
                getattr(it.monitor, name)(**given)
            except F1monError as error:
                said = str(error)
                named = any(one in said for one in (argument, *ALSO.get(argument, ())))
                if not named and not isinstance(error, NotFoundError | EvaluationError):
                    escaped.append(f"{name}({argument}={told}) names no argument: {type(error).__name__}: {said[:80]}")
            except Exception as error:  # noqa: BLE001 - it is what must not be
                escaped.append(f"{name}({argument}={told}): {type(error).__name__}: {str(error)[:80]}")
    it.monitor.close()
    assert not escaped, "\n".join(escaped)


OPENING = {
    "memory": ("url", "clock", "channels", "enrich"),
    "jsonl": ("path", "url", "durability", "lock_timeout", "strict", "clock"),
    "sql": ("url", "clock", *attrs.fields_dict(Settings)),
}


@pytest.mark.parametrize("backend", OPENING)
def test_no_option_opens_a_store_with_an_error_of_another(backend: str, tmp_path: Path, monkeypatch) -> None:
    """Neither sync nor async, nor with an option that there is not."""
    monkeypatch.chdir(tmp_path)
    needed = {"memory": {}, "jsonl": {"path": "store"}, "sql": {"url": "sqlite:///store.db"}}[backend]
    escaped = []
    for option, told, value in [(one, *other) for one in OPENING[backend] for other in HOSTILE.items()]:
        given = {**needed, option: value}
        if option == "url":
            given.pop("path", None)
        try:
            Monitor.open(backend, **given).close()
        except F1monError as error:
            if not any(one in str(error) for one in (option, *ALSO.get(option, ()))):
                escaped.append(f"{option}={told} names no option: {type(error).__name__}: {str(error)[:80]}")
        except Exception as error:  # noqa: BLE001 - it is what must not be
            escaped.append(f"{option}={told}: {type(error).__name__}: {str(error)[:80]}")
    assert not escaped, "\n".join(escaped)


def test_what_names_no_backend_and_no_option() -> None:
    for value in HOSTILE.values():
        if value is not None:
            with pytest.raises(F1monError, match=r"backend|address"):
                Monitor.open(value)
    for backend, wrong, closest in (("memory", "clok", "clock"), ("jsonl", "pth", "path"), ("sql", "eco", "echo")):
        url = {"url": "sqlite://"} if backend == "sql" else {}
        with pytest.raises(ConfigurationError, match=f"no option {wrong}; did you mean '{closest}'.*clock"):
            Monitor.open(backend, **{wrong: 1}, **url)
    with Monitor.open("memory") as monitor, pytest.raises(InvalidQueryError, match="'lst'; did you mean 'last'"):
        monitor.trend(every="day", lst=timedelta(days=1))  # type: ignore[call-arg]


@pytest.mark.parametrize("now", ["9999-12-31T23:59:59.999999+00:00", "1970-01-01T00:00:00+00:00"])
@pytest.mark.parametrize("backend", ["memory", "jsonl", "sql"])
def test_a_clock_at_the_calendars_ends(backend: str, now: str, tmp_path: Path) -> None:
    """Every method with its usual arguments, and what carries a store elsewhere."""
    clock = partial(datetime.fromisoformat, now)
    options = {"memory": {}, "jsonl": {"path": tmp_path}, "sql": {"url": f"sqlite:///{tmp_path}/f1mon.db"}}[backend]
    with Monitor.open(backend, clock=clock, **options) as monitor:
        monitor.record_prediction("p0", "m", 1, 0.7)
        monitor.record_outcome("p0", 1)
        monitor.add_rule(attrs.evolve(RULE, remind_minutes=60.0, notify_resolved=True, cooldown_minutes=600.0))
        alert = monitor.evaluate_rule("r", 0.1, "m")
        assert alert is not None
        until = clock() if clock().year > 2000 else clock() + timedelta(days=1)
        given = SimpleNamespace(alert=alert.alert_id, silence="s", health=HealthSnapshot(model_version="m"))
        needed = {
            **BASES,
            "silence": lambda _: {"end": until},
            "resolve": lambda it: {"incident_id": it.alert, "reason": "over"},
            "prune": lambda _: {"before": until},
        }
        for name in _methods():
            with suppress(F1monError):
                getattr(monitor, name)(**needed.get(name, lambda _: {})(given))
        assert monitor.models()
        with Monitor.open("memory", clock=clock) as other:
            other.storage.restore(monitor.storage.dump().records)


def test_a_clock_before_what_a_store_keeps(tmp_path: Path) -> None:
    """Set to year 1 while a store is open: what only reads, carries or delivers works, and no other error comes."""
    for backend, options in (
        ("memory", {}),
        ("jsonl", {"path": tmp_path}),
        ("sql", {"url": f"sqlite:///{tmp_path}/f1mon.db"}),
    ):
        present = [NOW]
        with Monitor.open(backend, clock=lambda present=present: present[0], **options) as monitor:
            alert = monitor.evaluate_rule(RULE, 0.1, "m")
            assert alert is not None
            given = SimpleNamespace(alert=alert.alert_id, silence="s", health=HealthSnapshot(model_version="m"))
            present[0] = datetime.min.replace(tzinfo=UTC)
            for name in _methods():
                with suppress(F1monError):
                    getattr(monitor, name)(**BASES.get(name, lambda _: {})(given))
            assert [one.alert_id for one in monitor.alerts()] == [alert.alert_id]
            assert list(monitor.storage.dump().records)
