"""What systems that watch others are shown: parsed back it is what the API says, and no label is unbounded."""

import asyncio
import http.server
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from f1mon_core import AsyncMonitor, InvalidQueryError, MissingExtraError, Monitor, StorageError
from f1mon_core.cli import f1mon as command
from f1mon_core.exporting import gauges, otlp
from f1mon_core.exporting.gauges import Gauge, Sample
from f1mon_core.exporting.prometheus import exposition

from ..factories import raised, rule

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = 'm"\\\n{x="1"} 7 #'


def filled(monitor):
    """Ten predictions of `m`, of which six are labelled; two unlabelled ones of a model with a hostile name."""
    for number in range(10):
        monitor.record_prediction(str(number), "m", 1, 0.8, at=NOON - HOUR)
    for number in range(6):
        monitor.record_outcome(str(number), int(number < 4))
    for number in range(2):
        monitor.record_prediction(f"h{number}", HOSTILE, 1, 0.6, at=NOON - 2 * HOUR)
    monitor.record_prediction("old", "old", 1, 0.6, at=NOON - 60 * HOUR)
    monitor.add_rule(rule(rule_id="low", min_samples=1))
    monitor.add_rule(rule(rule_id="late", metric_name="f1_score", overdue_minutes=1))


@pytest.fixture
def monitor():
    with Monitor.open("memory", clock=lambda: NOON) as opened:
        filled(opened)
        yield opened


def parsed(text):
    """`(name, labels)` to the value, by the parser of Prometheus' own client."""
    families = list(text_string_to_metric_families(text))
    assert {one.type for one in families} == {"gauge"}
    assert all(one.documentation for one in families)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for one in families for s in one.samples}


def of(name, model, window="24h"):
    return f"f1mon_{name}", (("model_version", model), ("window", window))


def test_what_is_parsed_back_is_what_the_api_says(monitor):
    found = parsed(monitor.prometheus())
    measured = monitor.performance("m", last=24 * HOUR)
    assert found[of("predictions", "m")] == measured.total == 10
    assert found[of("labelled_predictions", "m")] == measured.labelled == 6
    assert found[of("coverage_ratio", "m")] == measured.coverage
    assert found[of("accuracy_ratio", "m")] == measured.accuracy.value
    assert found[of("accuracy_lower_bound", "m")] == measured.accuracy.low
    assert found[of("accuracy_upper_bound", "m")] == measured.accuracy.high
    assert found[of("calibration_error", "m")] == measured.expected_calibration_error.value
    assert parsed(monitor.prometheus(last=None))[of("predictions", "old", "all")] == 1


def test_a_hostile_name_is_one_label_and_what_is_unknown_has_no_sample(monitor):
    found = parsed(monitor.prometheus())
    assert found[of("predictions", HOSTILE)] == 2
    assert of("accuracy_ratio", HOSTILE) not in found
    assert {dict(labels).get("model_version") for _, labels in found} == {"m", HOSTILE, None}


def test_models_are_bounded_and_those_left_out_are_counted(monitor):
    found = parsed(monitor.prometheus(max_models=1))
    assert {dict(labels).get("model_version") for _, labels in found} == {"m", None}
    assert found["f1mon_models_left_out", (("window", "24h"),)] == 1
    for wrong in (-1, 1.5, True):
        with pytest.raises(InvalidQueryError, match="max_models"):
            monitor.prometheus(max_models=wrong)


def test_what_waits_is_counted(monitor):
    monitor.record_outcome("6", 0)
    monitor.evaluate("m")
    monitor.create_alert(**raised(), channels=("console",))
    found = parsed(monitor.prometheus())
    assert found["f1mon_open_incidents", (("phase", "firing"),)] == len(monitor.incidents()) == 2
    assert found["f1mon_open_incidents", (("phase", "pending"),)] == 0
    assert found["f1mon_unacknowledged_alerts", ()] == 3
    assert found["f1mon_outbox_deliveries", (("state", "waiting"),)] == len(monitor.deliveries()) > 0
    assert found["f1mon_outbox_deliveries", (("state", "dead"),)] == 0
    assert found["f1mon_outbox_oldest_seconds", ()] == 0


def test_what_nobody_evaluates_and_nobody_delivers_grows_old():
    present = [NOON]
    with Monitor.open("memory", clock=lambda: present[0]) as monitor:
        filled(monitor)
        monitor.create_alert(**raised(), channels=("console",))
        present[0] += 2 * HOUR
        found = parsed(monitor.prometheus())
        assert found["f1mon_overdue_rules", ()] == len(monitor.overdue_rules()) == 1
        assert found["f1mon_outbox_oldest_seconds", ()] == 7_200


def test_a_window_that_begins_in_what_was_pruned_is_answered_from_the_full_hour():
    late = NOON + HOUR / 2
    with Monitor.open("memory", clock=lambda: late) as monitor:
        filled(monitor)
        monitor.prune(NOON - HOUR / 2)
        assert parsed(monitor.prometheus(last=2 * HOUR))[of("predictions", HOSTILE, "2h")] == 2
        assert parsed(monitor.prometheus(last=None))[of("predictions", "old", "all")] == 1
        assert parsed(monitor.prometheus(last=2 * HOUR, horizon=HOUR))[of("predictions", HOSTILE, "2h")] == 2


def test_only_matured_predictions_where_that_is_asked(monitor):
    found = parsed(monitor.prometheus(horizon=2 * HOUR))
    assert {dict(labels).get("model_version") for _, labels in found} == {HOSTILE, None}


@pytest.mark.parametrize(
    ("length", "name"),
    [(HOUR, "1h"), (24 * HOUR, "24h"), (7 * 24 * HOUR, "7d"), (HOUR / 2, "30m"), (timedelta(seconds=90), "90s")],
)
def test_a_window_is_named_as_the_command_line_takes_it(length, name):
    assert gauges.named(length) == name


def test_a_help_text_is_one_line_and_a_count_has_no_point():
    text = exposition([Gauge("f1mon_x", "a\nb\\", (Sample({}, 3.0), Sample({"a": "b"}, 1e-7)))])
    assert text == '# HELP f1mon_x a\\nb\\\\\n# TYPE f1mon_x gauge\nf1mon_x 3\nf1mon_x{a="b"} 1e-07\n'


def test_the_async_side_says_the_same(monitor):
    async def asked():
        async with await AsyncMonitor.open("memory", clock=lambda: NOON) as other:
            for one in monitor.predictions():
                await other.record_predictions([one])
            return await other.prometheus(), await other.gauges()

    text, found = asyncio.run(asked())
    assert parsed(text)[of("predictions", "m")] == 10
    assert exposition(found) == text


# OpenTelemetry --------------------------------------------------------------------------------------------------------


def test_instruments_answer_what_the_store_says(monitor):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    looks = []
    otlp.observe(lambda: looks.append(1) or monitor.gauges(), provider.get_meter("test"))
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    found = {
        (one.name, tuple(sorted(point.attributes.items()))): point.value
        for one in scope.metrics
        for point in one.data.data_points
    }
    assert found == parsed(monitor.prometheus())
    assert len(looks) == 1
    provider.shutdown()


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what is sent, and answers as its server is told."""

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
    server.bodies, server.answer = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_values_are_sent_to_a_collector(monitor, collector):
    address = f"http://127.0.0.1:{collector.server_port}/v1/metrics"
    otlp.send(monitor.gauges(), address)
    request = ExportMetricsServiceRequest.FromString(collector.bodies[0])
    sent = request.resource_metrics[0].scope_metrics[0].metrics
    accuracy = next(one for one in sent if one.name == "f1mon_accuracy_ratio")
    (point,) = accuracy.gauge.data_points
    assert point.as_double == monitor.performance("m", last=24 * HOUR).accuracy.value
    collector.answer = 400
    with pytest.raises(StorageError, match="did not accept"):
        otlp.send(monitor.gauges(), address)


def test_without_the_extra_the_error_says_what_to_install(monitor, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'f1mon\[otel\]'"):
        otlp.send(monitor.gauges())


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Monitor.open("jsonl", path=tmp_path / "store", clock=lambda: NOON) as opened:
        filled(opened)
    return ("--path", "store")


def f1mon(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments, prog_name="f1mon")
    assert (ended.value.code or 0) == code
    return capsys.readouterr()


def test_a_file_for_the_collector_is_replaced_whole(store, tmp_path, capsys):
    printed = f1mon(capsys, *store, "metrics", "--window", "all").out
    assert parsed(printed)[of("predictions", "m", "all")] == 10
    file = tmp_path / "f1mon.prom"
    file.write_text("old")
    f1mon(capsys, *store, "metrics", "--window", "all", "--output", "f1mon.prom")
    assert parsed(file.read_text()).keys() == parsed(printed).keys()
    assert file.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".f1mon")] == []
    assert "cannot be written" in f1mon(capsys, *store, "metrics", "--output", "no/where.prom", code=1).err
    assert "not both" in f1mon(capsys, *store, "metrics", "--output", "x", "--otlp", "http://x", code=2).err


def test_values_are_sent_by_the_command(store, collector, capsys):
    address = f"http://127.0.0.1:{collector.server_port}/v1/metrics"
    assert "values sent" in f1mon(capsys, *store, "metrics", "--window", "all", "--otlp", address).err
    assert len(collector.bodies) == 1
