"""`f1mon models`: the models of a store, and those that are no longer in service."""

from __future__ import annotations

import click

from f1mon_core.alerts.retired import Retired
from f1mon_core.cli.output import document, stamp, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.select import Select
from f1mon_core.text import printable


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
        gone = monitor.retired()
    known = {str(model): number for (model,), number in counted.items()}
    rows = [
        (model, known.get(model, 0), None if model not in gone else stamp(gone[model].at), _why(gone.get(model)))
        for model in sorted({*known, *gone})
    ]
    if as_json:
        names = ("model_version", "predictions", "retired", "why")
        document([dict(zip(names, row, strict=True)) for row in rows])
        return
    table(("model", "predictions", "retired", "why"), rows, right=(1,))


@models.command
@click.argument("name")
@click.option("--by", metavar="WHO", help="Who retires it.")
@click.option("--reason", metavar="TEXT", help="Why; the history of its incidents keeps it.")
@pass_place
def retire(place: Place, name: str, *, by: str | None, reason: str | None) -> None:
    """Evaluate no rule for a model any more, and end its open incidents."""
    with place.open() as monitor:
        ended = monitor.retire(name, by=by, reason=reason)
    talk(printable(f"retired {name}; {ended} incidents ended"))


@models.command
@click.argument("name")
@pass_place
def unretire(place: Place, name: str) -> None:
    """Evaluate the rules for a model again."""
    with place.open() as monitor:
        monitor.unretire(name)
    talk(printable(f"{name} is evaluated again"))


def _why(one: Retired | None) -> str | None:
    return None if one is None else ", ".join(filter(None, (one.reason, one.by and f"by {one.by}"))) or None
