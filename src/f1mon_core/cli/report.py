"""`f1mon report`: the pages as one file."""

from __future__ import annotations

from pathlib import Path

import click

from f1mon_core.cli.dashboard import check_installed
from f1mon_core.cli.errors import CannotError
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.storage.address import masked
from f1mon_core.text import printable


@click.command
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--window", metavar="LENGTH", help="1h, 6h, 24h, 7d, 30d, 90d, 365d or all; the newest that holds data.")
@click.option("--model-version", "model_versions", metavar="V", multiple=True, help="Only this model; repeatable.")
@pass_place
def report(place: Place, *, out: Path, window: str | None, model_versions: tuple[str, ...]) -> None:
    """Write what the dashboard shows into OUT, one HTML file that needs no network. Needs the extra `dashboard`."""
    check_installed()
    from f1mon_core.web import report as made  # noqa: PLC0415 - an extra

    with place.open() as monitor:
        text = made(monitor, window=window, model_versions=model_versions or None)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotError(f"{masked(str(out))}: {error.strerror}") from error
    talk(f"{printable(str(out))}: {len(text.encode()) / 1024:.0f} KiB")
