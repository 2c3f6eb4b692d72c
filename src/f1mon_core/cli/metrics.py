"""`f1mon metrics`: numbers for Prometheus' textfile collector, or for a collector of OpenTelemetry."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import click

from f1mon_core.cli.errors import CannotError
from f1mon_core.cli.parameters import Window
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.exporting import otlp
from f1mon_core.exporting.gauges import MAX_MODELS
from f1mon_core.exporting.prometheus import exposition
from f1mon_core.text import printable

_READABLE = 0o644
"""The collector is another user than cron."""


@click.command
@click.option("--window", type=Window(), default="24h", show_default=True, help="90m, 24h, 7d, 2w, … or all.")
@click.option("--horizon", type=Window(unbounded=False), help="Only predictions at least so old: 14d.")
@click.option(
    "--max-models", type=click.IntRange(0), default=MAX_MODELS, show_default=True, help="Those with most predictions."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Replace this file, else stdout.")
@click.option("--otlp", "endpoint", metavar="ADDRESS", help="Send by OTLP over HTTP: http://localhost:4318/v1/metrics.")
@pass_place
def metrics(
    place: Place,
    *,
    window: timedelta | None,
    horizon: timedelta | None,
    max_models: int,
    output: Path | None,
    endpoint: str | None,
) -> None:
    """Write accuracy, counts, coverage, incidents, overdue rules and the outbox as Prometheus reads them.

    With --output the file is replaced as one, as the textfile collector of the node exporter wants it. With --otlp they
    are sent to a collector of OpenTelemetry instead (extra `otel`).
    """
    if output is not None and endpoint is not None:
        raise click.UsageError("give --output or --otlp, not both")
    with place.open() as monitor:
        found = monitor.gauges(last=window, horizon=horizon, max_models=max_models)
    if endpoint is not None:
        otlp.send(found, endpoint)
        talk(f"{sum(len(one.samples) for one in found)} values sent")
    elif output is None:
        click.echo(exposition(found), nl=False)
    else:
        _replace(output, exposition(found))


def _replace(path: Path, text: str) -> None:
    """Put a file in the place of another, whole; nobody reads half of it."""
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(partial).chmod(_READABLE)
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CannotError(printable(f"{path} cannot be written: {error.strerror or error}")) from error
