"""`f1mon models`: the models of a store, and those that are no longer in service."""

from __future__ import annotations

import click

from f1mon_core.alerts.retired import Retired
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option, value_of
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.segments import subject
from f1mon_core.cli.streams import talk
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.select import Select
from f1mon_core.text import printable

_segment_option = click.option(
    "--segment",
    "segments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only its instances of this segment, of rules by segments; repeatable.",
)


@click.group
def models() -> None:
    """List models, and retire those that are no longer in service."""


@models.command("list")
@json_option
@pass_place
def list_models(place: Place, *, as_json: bool) -> None:
    """List the models of which predictions are stored, and the retired ones."""
    with place.open() as monitor:
        counted = monitor.storage.count(Select.of(Prediction), ("model_version",))
        gone, segments = monitor.retired(), monitor.retired_segments()
    known = {str(model): number for (model,), number in counted.items()}
    rows: list[tuple[str, int | None, str | None, str | None]] = [
        (model, known.get(model, 0), None if model not in gone else stamp(gone[model].at), _why(gone.get(model)))
        for model in sorted({*known, *gone})
    ]
    if as_json:
        names = ("model_version", "predictions", "retired", "why")
        told = {
            name: [_told(one) for one in segments if one.model_version == name] for name in [row[0] for row in rows]
        }
        document([dict(zip(names, row, strict=True)) | {"retired_segments": told[row[0]]} for row in rows])
        return
    rows += [(subject(one.model_version, one.segments), None, stamp(one.at), _why(one)) for one in segments]
    table(("model", "predictions", "retired", "why"), sorted(rows, key=lambda row: str(row[0])), right=(1,))


@models.command
@click.argument("name")
@_segment_option
@click.option("--by", metavar="WHO", help="Who retires it.")
@click.option("--reason", metavar="TEXT", help="Why; the history of its incidents keeps it.")
@pass_place
def retire(place: Place, name: str, *, segments: tuple[str, ...], by: str | None, reason: str | None) -> None:
    """Evaluate no rule for a model, or a segment of it, any more, and end its open incidents."""
    of = _segments_of(segments)
    with place.open() as monitor:
        ended = monitor.retire(name, segments=of, by=by, reason=reason)
    talk(printable(f"retired {subject(name, of)}; {ended} incidents ended"))


@models.command
@click.argument("name")
@_segment_option
@pass_place
def unretire(place: Place, name: str, *, segments: tuple[str, ...]) -> None:
    """Evaluate the rules for a model, or a segment of it, again."""
    of = _segments_of(segments)
    with place.open() as monitor:
        monitor.unretire(name, segments=of)
    talk(printable(f"{subject(name, of)} is evaluated again"))


def _segments_of(given: tuple[str, ...]) -> dict[str, ClassLabel]:
    """The segments that are named, one value each: a number where it reads as one, the text "1" in quotes."""
    found: dict[str, ClassLabel] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals) or name in found:
            raise click.UsageError(f"--segment {one!r} is no NAME=VALUE, or its name was given before")
        found[name] = value_of(value)
    return found


def _told(one: Retired) -> dict[str, object]:
    return {"segments": dict(one.segments), "retired": stamp(one.at), "why": _why(one)}


def _why(one: Retired | None) -> str | None:
    return None if one is None else ", ".join(filter(None, (one.reason, one.by and f"by {one.by}"))) or None
