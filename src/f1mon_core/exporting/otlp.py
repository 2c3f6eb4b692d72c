"""Gauges for OpenTelemetry, by its own library (extra `otel`): as instruments of a meter, or sent once by OTLP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any

from f1mon_core._version import __version__
from f1mon_core.errors import MissingExtraError, StorageError
from f1mon_core.exporting.gauges import Gauge

_FRESH_SECONDS = 5.0
"""Instruments that are read within this time of one another are answered by one look at the store."""
_TIMEOUT_SECONDS = 10.0


class _Looked:
    """What a store says of itself, looked at once for all instruments of a collection."""

    def __init__(self, look: Callable[[], Sequence[Gauge]]) -> None:
        self._look = look
        self._lock = Lock()
        self._until = 0.0
        self._found: dict[str, Gauge] = {}

    def __call__(self) -> dict[str, Gauge]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = {one.name: one for one in self._look()}
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._found


def observe(look: Callable[[], Sequence[Gauge]], meter: Any) -> None:
    """Make instruments of a meter that answer what a store says when they are collected.

    Args:
        look: `monitor.gauges`, or a partial of it. Over an `AsyncMonitor` a function that asks its event loop and
            waits: readers collect on a thread of their own.
        meter: An `opentelemetry.metrics.Meter`; whose provider, reader and exporter are is the program's own affair.
            A look that fails is logged by the reader, and its collection goes without these instruments.
    """
    observation = _library().metrics.Observation
    looked = _Looked(look)
    for one in looked().values():
        meter.create_observable_gauge(
            one.name, [partial(_observed, looked, observation, one.name)], unit=one.unit, description=one.help
        )


def _observed(looked: _Looked, observation: Any, name: str, _options: Any) -> Iterator[Any]:
    gauge = looked().get(name)
    for sample in () if gauge is None else gauge.samples:
        yield observation(sample.value, dict(sample.labels))


def send(gauges: Iterable[Gauge], endpoint: str | None = None) -> None:
    """Send gauges once, by OTLP over HTTP.

    Args:
        gauges: What `monitor.gauges()` answered.
        endpoint: Such as `http://localhost:4318/v1/metrics`; the library's own variables decide if None
            (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, …).

    Raises:
        MissingExtraError: If the extra `otel` is not installed.
        StorageError: If they were not accepted.
    """
    library = _library()
    found = list(gauges)
    reader = library.reader()
    provider = library.provider(metric_readers=[reader], shutdown_on_exit=False)
    exporter = library.exporter(endpoint=endpoint, timeout=_TIMEOUT_SECONDS)
    try:
        observe(lambda: found, provider.get_meter("f1mon", __version__))
        data = reader.get_metrics_data()
        result = exporter.export(data, timeout_millis=_TIMEOUT_SECONDS * 1_000)
    finally:
        exporter.shutdown()
        provider.shutdown()
    if result.name != "SUCCESS":
        raise StorageError("the collector did not accept the metrics; the log of opentelemetry says why")


class _Library:
    """The parts of OpenTelemetry that are used."""

    def __init__(self) -> None:
        from opentelemetry import metrics  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

        self.metrics: Any = metrics
        self.exporter: Any = OTLPMetricExporter
        self.provider: Any = MeterProvider
        self.reader: Any = InMemoryMetricReader


def _library() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        raise MissingExtraError("this needs the extra `otel`: pip install 'f1mon[otel]'") from error
