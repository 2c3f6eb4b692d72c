"""`f1mon reference`: what a model was trained on, kept to hold windows against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from f1mon_core.cli.errors import CannotError, MisusedError
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.metrics.references import TRAINING
from f1mon_core.recording.cells import Meaning
from f1mon_core.recording.files import format_of, opened
from f1mon_core.text import closest, printable

_name_option = click.option("--name", default=TRAINING, show_default=True, help="Under which it is found again.")


@click.group
def reference() -> None:
    """Keep, list and remove samples of training data, which `f1mon drift --reference NAME` holds windows against."""


@reference.command
@click.argument("model", metavar="MODEL")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@_name_option
@click.option("--feature", "features", multiple=True, metavar="COLUMN", help="Only this column; repeatable.")
@click.option("--text", "as_text", multiple=True, metavar="COLUMN", help="A column that stays text, also of numbers.")
@click.option("--merge", is_flag=True, help="Add to what has this name, instead of replacing it.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="If the name does not say it.")
@click.option("--delimiter", metavar="CHARACTER", help="What is between the fields of CSV; a comma.")
@pass_place
def add(
    place: Place,
    *,
    model: str,
    file: Path,
    name: str,
    features: tuple[str, ...],
    as_text: tuple[str, ...],
    merge: bool,
    form: Any,
    delimiter: str | None,
) -> None:
    """Keep the columns of FILE (CSV, JSON lines, Parquet) as what MODEL was trained on: ranks and counts, no rows."""
    with place.open() as monitor:
        columns = _columns(file, form or format_of(file), delimiter, features, frozenset(as_text))
        kept = monitor.record_reference(model, columns, name, features=features or None, add=merge)
    talk(str(kept))


def _columns(
    file: Path, form: Any, delimiter: str | None, features: tuple[str, ...], as_text: frozenset[str]
) -> dict[str, list[Any]]:
    """The columns of a file, cells as `f1mon import` reads those of features."""
    meaning = Meaning(typed=form != "csv", as_text=as_text)
    with opened(file, form, delimiter=delimiter) as rows:
        for one in (*features, *as_text):
            if one not in rows.names:
                raise MisusedError(printable(f"{file.name} has no column {one!r}{closest(one, rows.names)}"))
        names = [one for one in rows.names if not features or one in features]
        read = {one: meaning.free(one) for one in names}
        columns: dict[str, list[Any]] = {one: [] for one in names}
        for row in rows.rows():
            if row.problem is not None or row.cells is None:
                raise CannotError(printable(f"{file.name}, {rows.unit} {row.place}: {row.problem}"))
            for one, meant in read.items():
                columns[one].append(meant(row.cells[one], one))
    return columns


@reference.command("list")
@json_option
@pass_place
def list_references(place: Place, *, as_json: bool) -> None:
    """List the samples that are kept."""
    with place.open() as monitor:
        found = monitor.references()
    if as_json:
        document([one.to_dict() for one in found])
        return
    rows = [(one.model_version, one.name, one.rows, len(one.features), stamp(one.recorded_at)) for one in found]
    table(("model", "name", "rows", "features", "recorded"), rows, right=(2, 3))


@reference.command
@click.argument("model", metavar="MODEL")
@_name_option
@pass_place
def remove(place: Place, *, model: str, name: str) -> None:
    """Remove a sample."""
    with place.open() as monitor:
        monitor.remove_reference(model, name)
    talk(printable(f"removed {name} of {model}"))
