"""Gauges as Prometheus reads them: the text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from f1mon_core.exporting.gauges import Gauge

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(gauges: Iterable[Gauge]) -> str:
    """The text of an answer to a scrape; a gauge without a sample is named all the same."""
    lines: list[str] = []
    for one in gauges:
        lines += [f"# HELP {one.name} {_escaped(one.help)}", f"# TYPE {one.name} gauge"]
        lines += [f"{one.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in one.samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    told = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{told}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
